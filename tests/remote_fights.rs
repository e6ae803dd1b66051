//! Hosts that fight for one store in an object store, whatever becomes of them, of their links and requests, and of its gateways.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use minisnap_tests::contest::field::{Fought, fight_for};
use minisnap_tests::engines::{CEPH, Engine, Running, SEAWEEDFS};
use minisnap_tests::rounds;
use minisnap_tests::trials::{Test, run_on};

fn main() -> ExitCode {
    run_on(&[CEPH, SEAWEEDFS], |_| {
        vec![("loses_nothing_while_hosts_fight_for_a_store", loses_nothing as Test)]
    })
}

/// How long the hosts of each engine fight.
fn time() -> Duration {
    let given = std::env::var("MINISNAP_FIGHT_SECONDS").ok();
    let given = given.map(|seconds| seconds.parse().expect("MINISNAP_FIGHT_SECONDS is a number of seconds"));
    Duration::from_secs(given.unwrap_or(rounds(30, 150)))
}

/// Whether this user may make networks, where a container does not forbid that.
fn may_have_networks() -> bool {
    let tried = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

fn loses_nothing(engine: &Engine, running: &Running) -> Result<(), Failed> {
    let fought = fight_for(time(), engine, running)?;
    eprintln!("{}: {fought}", engine.name);
    let Fought { outcome, is_enough, has_networks, .. } = &fought;
    if !outcome.violations.is_empty() {
        return Err(format!("{:#?}", outcome.violations).into());
    }
    if !has_networks && std::env::var_os("CI").is_some() && may_have_networks() {
        return Err("no host had a network of its own, as it could: install iproute2".into());
    }
    if *is_enough { Ok(()) } else { Err("too little happened".into()) }
}
