//! Object stores that speak S3's protocol, started on this machine: what they do with conditions, and stores in them.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use minisnap_host::Error;
use minisnap_host::remote::{Bucket, Limits, Location, RemoteStore, TakeOver, Wanted, Why};
use minisnap_tests::engines::{CEPH, Engine, Running, S3RVER, SEAWEEDFS};
use minisnap_tests::failing_calls::under_strace;
use minisnap_tests::failover::fail_over;
use minisnap_tests::trials::{Test, run_on};
use minisnap_tests::{SHORT_WRITES, cli, names};
use object_store::ObjectStoreExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use tempfile::tempdir;
use tokio::runtime::{Builder, Runtime};

/// A disk that is busy with what was built may sync for a minute.
const DEADLINE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    run_on(&[CEPH, SEAWEEDFS, S3RVER], tests_of)
}

fn tests_of(engine: &Engine) -> Vec<(&'static str, Test)> {
    if *engine == S3RVER {
        return vec![("is_refused_by_the_name_of_what_it_did", is_refused)];
    }
    let mut tests: Vec<(&str, Test)> = vec![
        ("keeps_the_conditions_of_a_put", keeps_conditions),
        ("gives_back_what_was_put_of_any_size", gives_back),
        ("refuses_wrong_credentials_and_buckets_which_is_said", refuses_strangers),
        ("is_refused_or_works_where_its_bucket_has_versions", has_versions),
        ("stands_wherever_a_directory_does", stands_for_directories),
        ("has_nothing_synced_on_this_machine_and_puts_nothing_that_its_disk_lost", syncs_nothing),
        ("lets_a_host_take_a_ledger_over_without_losing_what_was_acknowledged", fails_over),
    ];
    if *engine == CEPH {
        // SeaweedFS does not tell.
        tests.push(("is_refused_where_a_lifecycle_rule_of_its_bucket_deletes_snapshots", deletes));
    }
    tests
}

fn location(running: &Running, gateway: usize) -> Location {
    let endpoint = &running.endpoints[gateway % running.endpoints.len()];
    "s3://snapshots/some/prefix".parse::<Location>().expect("it is a location").endpoint(endpoint)
}

fn bucket(engine: &Engine, running: &Running, gateway: usize) -> Result<Arc<Bucket>, Error> {
    Bucket::connect_as(location(running, gateway), engine.key.0, engine.key.1).map(Arc::new)
}

/// `minisnap remote check`, as this user.
fn check(running: &Running, url: &str, (key, secret): (&str, &str)) -> Output {
    let mut command = cli();
    command.args(["remote", "check", url, "--endpoint", &running.endpoints[0], "--timeout", "120s"]);
    command
        .env_remove("AWS_SESSION_TOKEN")
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    command.output().expect("the command line runs")
}

fn told(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

macro_rules! must {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+).into());
        }
    };
}

fn keeps_conditions(engine: &Engine, running: &Running) -> Result<(), Failed> {
    let (code, said) = told(&check(running, "s3://snapshots/a/b", engine.key));
    let etag = if *engine == CEPH { "without quotes" } else { "as given" };
    let expected =
        format!("s3://snapshots/a/b: conditions are kept, of 8 that raced one won; ETags {etag}\n");
    must!(code == Some(0) && said == expected, "{code:?}: {said}");
    Ok(())
}

fn is_refused(engine: &Engine, running: &Running) -> Result<(), Failed> {
    let (code, said) = told(&check(running, "s3://snapshots/a/b", engine.key));
    let did = "it replaced an object although the request said `If-None-Match: *`";
    must!(code == Some(10) && said.contains(did) && said.contains("s3://snapshots/a/b"), "{code:?}: {said}");
    Ok(())
}

fn refuses_strangers(engine: &Engine, running: &Running) -> Result<(), Failed> {
    let (key, _) = engine.key;
    for (as_whom, said_why) in [
        ((key, "verysecret"), "check AWS_SECRET_ACCESS_KEY"),
        (("nobody", "verysecret"), "check AWS_ACCESS_KEY_ID"),
    ] {
        let (code, said) = told(&check(running, "s3://snapshots/a/b", as_whom));
        must!(code == Some(8) && said.contains(said_why), "{code:?}: {said}");
        must!(!said.contains("verysecret") && !said.contains("Signature="), "a secret is told: {said}");
    }
    // SeaweedFS makes a bucket for who may.
    if *engine == CEPH {
        let (code, said) = told(&check(running, "s3://nobodys-bucket/a", engine.key));
        must!(code == Some(10) && said.contains("make the bucket, or name another"), "{code:?}: {said}");
    }
    Ok(())
}

/// Asks for what no verb does, with the credentials of the engine.
fn asks(engine: &Engine, running: &Running, what: &str, body: &str, headers: &[&str]) -> Result<(), Failed> {
    let (key, secret) = engine.key;
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--noproxy",
        "*",
        "--aws-sigv4",
        "aws:amz:us-east-1:s3",
    ]);
    curl.args(["--user", &format!("{key}:{secret}"), "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
    curl.args(headers.iter().flat_map(|header| ["-H", header]));
    curl.args(["-X", "PUT", "--data-binary", body, &format!("{}/{what}", running.endpoints[0])]);
    let (code, said) = told(&curl.output()?);
    must!(code == Some(0), "{what}: {said}");
    Ok(())
}

fn has_versions(engine: &Engine, running: &Running) -> Result<(), Failed> {
    const ENABLED: &str = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                           <Status>Enabled</Status></VersioningConfiguration>";
    const URL: &str = "s3://versioned/prefix/ledger";
    asks(engine, running, "versioned", "", &[])?;
    asks(engine, running, "versioned?versioning=", ENABLED, &[])?;
    let (code, said) = told(&check(running, URL, engine.key));
    if *engine == CEPH {
        let did = "it replaced an object although the request said `If-None-Match: *`";
        must!(code == Some(10) && said.contains(did) && said.contains("versioning"), "{code:?}: {said}");
        return Ok(());
    }
    must!(code == Some(0), "{code:?}: {said}");
    let folder = tempdir()?;
    let state = folder.path().join("state.json");
    let state = state.to_str().expect("the folder's name is UTF-8");
    fs::write(state, "7")?;
    for seq in ["1", "2", "3"] {
        let (code, said) = verb(engine, running, &["create", URL, "--seq", seq, state, "--keep", "1"]);
        must!(code == Some(0), "{code:?}: {said}");
    }
    for (args, expected) in [
        (&["list", URL, "--json"][..], "\"seq\":3"),
        (&["restore", URL, "--json"], "{\"seq\":3,\"state\":7}"),
        (&["clear", URL, "--yes"], "erased snapshot_00000000000000000003.json"),
    ] {
        let (code, said) = verb(engine, running, args);
        must!(code == Some(0) && said.contains(expected), "{args:?}: {code:?}: {said}");
    }
    let (code, said) = verb(engine, running, &["restore", URL]);
    must!(code == Some(1), "{code:?}: {said}");
    Ok(())
}

fn deletes(engine: &Engine, running: &Running) -> Result<(), Failed> {
    const RULES: &str = "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                         <Rule><ID>aborted</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><AbortIncompleteMultipartUpload>\
                         <DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>\
                         <Rule><ID>monthly</ID><Filter><Prefix>old/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>30</Days>\
                         </Expiration></Rule></LifecycleConfiguration>";
    // Of those rules.
    const MD5: &str = "Content-MD5: 9B3KAzhLeFUpWkXbjZEmpQ==";
    const URL: &str = "s3://deleting/old/ledger";
    let folder = tempdir()?;
    let state = folder.path().join("state.json");
    let state = state.to_str().expect("the folder's name is UTF-8");
    fs::write(state, "7")?;
    asks(engine, running, "deleting", "", &[])?;
    let (code, said) = verb(engine, running, &["create", URL, "--seq", "1", state]);
    must!(code == Some(0), "{code:?}: {said}");
    asks(engine, running, "deleting?lifecycle=", RULES, &[MD5])?;
    for (code, said) in
        [told(&check(running, URL, engine.key)), verb(engine, running, &["create", URL, "--seq", "2", state])]
    {
        let why = "a lifecycle rule of the bucket deletes what is put there";
        must!(code == Some(10) && said.contains(why) && said.contains("monthly"), "{code:?}: {said}");
    }
    // What is there can still be read.
    let (code, said) = verb(engine, running, &["restore", URL, "--json"]);
    must!(code == Some(0) && said.contains("\"seq\":1"), "{code:?}: {said}");
    // The other rule deletes no object.
    let (code, said) = told(&check(running, "s3://deleting/new/ledger", engine.key));
    must!(code == Some(0), "{code:?}: {said}");
    Ok(())
}

fn gives_back(engine: &Engine, running: &Running) -> Result<(), Failed> {
    let folder = tempdir()?;
    let (put, got) = (folder.path().join("put"), tempdir()?);
    let bucket = bucket(engine, running, 0)?;
    let mut store = RemoteStore::new(bucket, "sizes");
    store.open("host", TakeOver::Anyone, DEADLINE)?;
    for (seq, size) in [(1, 0), (2, 1), (3, 8 << 20), (4, (8 << 20) + 1), (5, 40_000_000)] {
        let state: Vec<u8> = (0..size).map(|at: u32| (at / 7 % 251) as u8).collect();
        fs::write(&put, &state)?;
        let limits =
            Limits { keep: 2.try_into().expect("two is not zero"), max_total: None, damaged: Vec::new() };
        store.create(&put, seq, limits, DEADLINE)?;
        let found = store.restore(Wanted::Newest, got.path(), DEADLINE)?;
        let name = found.generation.filter(|found| found.seq == seq).map(|found| found.file_name());
        must!(found.skipped.is_empty() && name.is_some(), "{seq} is not found");
        must!(fs::read(got.path().join(name.unwrap_or_default()))? == state, "{size} bytes have changed");
    }
    // Cut by hand, and emptied.
    let key = store.head().map(|head| format!("some/prefix/sizes/{}", head.generations[0].key));
    let (key, objects, runtime) = (Key::from(key.unwrap_or_default()), objects(engine, running)?, runtime()?);
    for cut in [9 << 20, 0] {
        runtime.block_on(objects.put(&key, vec![b'x'; cut].into()))?;
        let found = store.restore(Wanted::Newest, tempdir()?.path(), DEADLINE)?;
        let why: Vec<_> = found.skipped.iter().map(|skipped| skipped.why).collect();
        must!(why == [Why::Damaged] && found.generation.is_some_and(|older| older.seq == 4), "{why:?}");
    }
    store.release(DEADLINE)?;
    must!(store.keys(DEADLINE)?.len() == 2, "{:?}", store.keys(DEADLINE)?);
    Ok(())
}

/// The objects of its bucket.
fn objects(engine: &Engine, running: &Running) -> Result<AmazonS3, Failed> {
    let builder = AmazonS3Builder::new().with_endpoint(&running.endpoints[0]).with_bucket_name("snapshots");
    let builder = builder.with_access_key_id(engine.key.0).with_secret_access_key(engine.key.1);
    Ok(builder.with_region("us-east-1").with_allow_http(true).build()?)
}

/// In which they are asked for.
fn runtime() -> Result<Runtime, Failed> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A verb of the command line, as this user.
fn command(engine: &Engine, running: &Running, args: &[&str]) -> Command {
    let mut command = cli();
    let (key, secret) = engine.key;
    command.args(args).env("AWS_ENDPOINT_URL", &running.endpoints[0]);
    command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
    command
}

fn verb(engine: &Engine, running: &Running, args: &[&str]) -> (Option<i32>, String) {
    told(&command(engine, running, args).output().expect("the command line runs"))
}

/// What is made there counts for nothing before the server has it: no create waits for this machine's disk, as one in a
/// directory does. So what the disk loses is found otherwise.
fn syncs_nothing(engine: &Engine, running: &Running) -> Result<(), Failed> {
    const URL: &str = "s3://snapshots/unsynced/ledger";
    let folder = tempdir()?;
    let [state, log, here] =
        ["state.json", "log", "here"].map(|name| folder.path().join(name).to_string_lossy().into_owned());
    fs::write(&state, format!("[\"{}\"]", "x".repeat(4 << 20)))?;
    for (place, waits) in [(here.as_str(), true), (URL, false)] {
        let create = command(engine, running, &["create", place, "--seq", "1", &state, "--timeout", "120s"]);
        let calls = ["-e", "trace=fsync,fdatasync,syncfs,sync,sync_file_range,fadvise64"];
        let (done, trace) = under_strace(&create, &calls, log.as_ref(), "");
        must!(done.code == Some(0), "{done:?}");
        let made = trace.lines().filter(|line| line.contains("sync") || line.contains("fadvise"));
        must!((made.count() > 0) == waits, "{place}: {trace}");
    }
    // Each of the writes in turn.
    for (args, least) in [(&["create", URL, "--seq", "2", &state][..], 5), (&["restore", URL], 1)] {
        let mut lost = 0;
        loop {
            let _ = fs::remove_file(&log);
            let mut verb = command(engine, running, args);
            verb.env("LD_PRELOAD", SHORT_WRITES).env("SHORT_WRITE", (lost + 1).to_string());
            verb.env("SHORT_WRITE_LOG", &log).env("SHORT_WRITE_UNTOLD", "1");
            let (code, said) = told(&verb.args(["--timeout", "120s"]).output()?);
            if !Path::new(&log).exists() {
                break;
            }
            lost += 1;
            must!(code == Some(10) && said.contains("is not what was written there"), "{code:?}: {said}");
        }
        must!(lost >= least, "{args:?}: only {lost} writes were lost");
    }
    for (verb_of, said_of) in [(["verify", URL], "verified"), (["restore", URL], "seq 2")] {
        let (code, said) = verb(engine, running, &verb_of);
        must!(code == Some(0) && said.contains(said_of), "{code:?}: {said}");
    }
    Ok(())
}

fn stands_for_directories(engine: &Engine, running: &Running) -> Result<(), Failed> {
    const URL: &str = "s3://snapshots/verbs/ledger";
    let folder = tempdir()?;
    let state = folder.path().join("state.json");
    let state = state.to_str().expect("the folder's name is UTF-8");
    let patient = ["--timeout", "120s"];
    let say = |args: &[&str], code: i32, said: &str| -> Result<String, Failed> {
        let args = [args, &patient].concat();
        let (found, text) = verb(engine, running, &args);
        must!(found == Some(code) && text.contains(said), "{args:?}: {found:?}: {text}");
        must!(!text.contains(engine.key.1), "a secret is told: {text}");
        Ok(text)
    };
    say(&["restore", URL], 1, "there is no snapshot yet")?;
    say(&["rollback", URL, "--to", "1"], 1, "there is no snapshot")?;
    for seq in ["1", "2", "3", "4"] {
        fs::write(state, format!("{{\"at\": {seq}}}"))?;
        say(&["create", URL, "--seq", seq, state, "--keep", "3"], 0, "")?;
    }
    say(&["create", URL, "--seq", "2", state], 4, "the stored snapshot's, which is 4")?;
    say(&["restore", URL, "--json"], 0, "{\"seq\":4,\"state\":{\n  \"at\": 4\n}}")?;
    say(&["restore", URL, "--seq", "3"], 0, "\"at\": 3")?;
    say(&["restore", URL, "--seq", "1"], 1, "no snapshot of this number")?;
    say(&["list", URL], 0, "verified")?;
    say(&["info", URL, "--json"], 0, "\"generations\":3")?;
    say(&["verify", URL], 0, "verified")?;
    say(&["rollback", URL, "--to", "3"], 0, "undone: 4; 3 is the newest")?;
    say(&["list", URL, "--json"], 0, "\"undone\":[\"snapshot_00000000000000000004.json.undone\"]")?;

    // Back and forth, of which the copy has the same bytes.
    const COPY: &str = "s3://snapshots/verbs/copy";
    let [here, back] = ["here", "back"].map(|name| folder.path().join(name).to_string_lossy().into_owned());
    say(&["copy", URL, &here, "--all", "--dry-run"], 0, "would copy 3\nwould copy 2\n")?;
    say(&["copy", URL, &here, "--all"], 0, "copied 3\ncopied 2\n")?;
    say(&["copy", &here, COPY, "--layout", "pair"], 2, "holds the layout `numbered`")?;
    say(&["copy", &here, COPY, "--all"], 0, "copied 3\ncopied 2\n")?;
    say(&["copy", COPY, URL], 0, "present 3\n")?;
    say(&["copy", COPY, &back, "--all"], 0, "copied 3\ncopied 2\n")?;
    for name in names(Path::new(&here)) {
        let read = |dir: &str| fs::read(Path::new(dir).join(&name));
        must!(read(&here)? == read(&back)?, "{name} differs");
    }
    say(&["create", COPY, "--seq", "9", state], 0, "")?;
    say(&["copy", URL, COPY], 4, "holds the snapshot 9, which is newer")?;
    say(&["copy", URL, COPY, "--replace"], 0, "present 3\nundone 9\n")?;
    say(&["clear", COPY, "--yes"], 0, "")?;

    // Whose head is gone, or no head any more, is rebuilt.
    say(&["remote", "repair", URL], 0, "nothing to repair")?;
    let (objects, runtime) = (objects(engine, running)?, runtime()?);
    let head = Key::from("verbs/ledger/head.json");
    runtime.block_on(objects.delete(&head))?;
    say(&["restore", URL], 10, "remote repair")?;
    say(&["remote", "repair", URL, "--dry-run"], 0, "would list 3 g/")?;
    say(&["restore", URL], 10, "remote repair")?;
    say(&["remote", "repair", URL], 0, "listed 3 g/")?;
    say(&["restore", URL, "--json"], 0, "\"seq\":4")?;
    runtime.block_on(objects.put(&head, "{".into()))?;
    say(&["restore", URL], 6, "remote repair")?;
    say(&["remote", "repair", URL, "--json"], 0, "\"generations\":[4,3,2]")?;
    say(&["restore", URL, "--json"], 0, "\"seq\":4")?;

    // What a node has, no command takes by accident.
    let bucket = bucket(engine, running, 0)?;
    let location = "s3://snapshots/verbs".parse::<Location>()?.endpoint(&running.endpoints[0]);
    let bucket = Bucket::connect_as(location, engine.key.0, engine.key.1).map(Arc::new).unwrap_or(bucket);
    let mut owner = RemoteStore::new(bucket, "ledger");
    owner.open("host-a", TakeOver::Anyone, DEADLINE)?;
    say(&["create", URL, "--seq", "5", state], 9, "in use by the node host-a")?;
    say(&["clear", URL, "--yes"], 9, "--take-over")?;
    say(&["create", URL, "--seq", "5", state, "--take-over"], 0, "")?;
    must!(matches!(owner.rollback(3, DEADLINE), Err(Error::Busy(_))), "it writes after it was taken over");
    say(&["clear", URL, "--yes"], 0, "erased snapshot_00000000000000000005.json")?;
    say(&["restore", URL], 1, "there is no snapshot yet")?;
    Ok(())
}

fn fails_over(engine: &Engine, running: &Running) -> Result<(), Failed> {
    let tell = |line: String| eprintln!("{}: {line}", engine.name);
    Ok(fail_over(engine, &running.endpoints[0], "failover", tell)?)
}
