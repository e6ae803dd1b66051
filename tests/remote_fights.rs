//! Hosts that fight for one store in an object store, whatever becomes of them, of their links and requests, and of its gateways.

use std::process::ExitCode;
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

fn loses_nothing(engine: &Engine, running: &Running) -> Result<(), Failed> {
    let fought = fight_for(time(), engine, running)?;
    eprintln!("{}: {fought}", engine.name);
    let Fought { outcome, is_enough, has_networks, .. } = &fought;
    if !outcome.violations.is_empty() {
        return Err(format!("{:#?}", outcome.violations).into());
    }
    if !has_networks && std::env::var_os("CI").is_some() {
        return Err("no host had a network of its own: run this as root, with iproute2 and util-linux".into());
    }
    if *is_enough { Ok(()) } else { Err("too little happened".into()) }
}
