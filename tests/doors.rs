//! Who and what gets at a snapshot directory beside the component that it belongs to: other users, folders that turn
//! into links, bind mounts; and what a component learns of its host.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use minisnap_host::Grant;
use minisnap_tests::host::Host;
use minisnap_tests::place::{GRANTS, Place, assert_prints, assert_refused, mounting};
use minisnap_tests::{Done, HOSTILE, VERBS, cached_builder, cli, minisnap, run, start};
use tempfile::tempdir;
use wasmtime::Config;

// Other users.

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn directories_that_the_store_makes_are_for_their_user_alone() {
    let root = tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| root.path().join(name);
    // By the library, and by the command line, under a umask that would let everybody in.
    drop(minisnap().open(Grant::new(path("made/on/the/way"))).unwrap());
    let script = "umask 0; \"$@\"";
    let mut create = Command::new("sh");
    create.args(["-c", script, "sh"]).arg(cli().get_program()).arg("create").arg(path("by/verb"));
    assert_eq!(run(create.args(["--seq", "1"]), "1").code, Some(0));
    for made in ["made", "made/on", "made/on/the", "made/on/the/way", "by", "by/verb"] {
        assert_eq!(mode(&path(made)), 0o700, "{made}");
    }
    // What is there has the mode that somebody gave it.
    fs::create_dir(path("there")).unwrap();
    fs::set_permissions(path("there"), fs::Permissions::from_mode(0o755)).unwrap();
    drop(minisnap().open(Grant::new(path("there/below"))).unwrap());
    assert_eq!((mode(&path("there")), mode(&path("there/below"))), (0o755, 0o700));
    drop(minisnap().open(Grant::new(path("there"))).unwrap());
    assert_eq!((mode(&path("there")), mode(root.path())), (0o755, 0o755));
}

// Folders that turn into links.

/// A place with the snapshots of a component `victim`, and a folder `data/b`.
fn place() -> Place {
    let place = Place::new(GRANTS);
    place.install("victim@1.0.0.wasm").install("thief@1.0.0.wasm");
    assert_prints(&place.run("victim@1.0.0.wasm", &["create", "1", "1"]), &["ok"]);
    fs::create_dir_all(place.path("data/b")).unwrap();
    place
}

fn steal(place: &Place, dirs: &[&str], args: &[&str]) -> Done {
    let mut options = Vec::new();
    for dir in dirs {
        options.extend(["--dir".to_owned(), format!("{}/{dir}", place.folder().display())]);
    }
    place.run_with("thief@1.0.0.wasm", &options.iter().map(String::as_str).collect::<Vec<_>>(), args)
}

/// Runs `work` while `flip` runs again and again.
fn meanwhile<R>(flip: impl Fn() + Sync, work: impl FnOnce() -> R) -> R {
    /// Set when this is dropped, by a panic, too.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                flip();
            }
        });
        let _done = Done(&is_done);
        work()
    })
}

#[test]
fn a_folder_that_turns_into_a_link_while_it_is_opened_gives_a_component_nothing_else() {
    let place = place();
    symlink(place.path("state"), place.path("data/link")).unwrap();
    let [folder, link, aside] = ["data/b", "data/link", "data/aside"].map(|name| place.path(name));
    let flip = || {
        let wait = || thread::sleep(Duration::from_millis(2));
        fs::rename(&folder, &aside).unwrap();
        fs::rename(&link, &folder).unwrap();
        wait();
        fs::rename(&folder, &link).unwrap();
        fs::rename(&aside, &folder).unwrap();
        wait();
    };
    let mut ran = 0;
    meanwhile(flip, || {
        let started = Instant::now();
        while ran < 10 || started.elapsed() < Duration::from_secs(5) {
            let done = steal(&place, &["data/b::/x"], &["read", "/x/victim"]);
            assert!(!done.stdout.contains("Ok"), "it reads another's snapshots: {done:?}");
            ran += u32::from(done.code == Some(0));
            assert!(started.elapsed() < Duration::from_secs(60), "it ran {ran} times");
        }
    });
}

/// A component that may write in a folder may replace any folder in it by a link, for this run or for the next.
#[test]
fn a_planted_link_leads_a_component_nowhere() {
    let place = place();
    fs::create_dir(place.path("elsewhere")).unwrap();
    fs::remove_dir(place.path("data/b")).unwrap();
    symlink("../elsewhere", place.path("data/b")).unwrap();
    fs::create_dir(place.path("elsewhere/c")).unwrap();
    for dirs in
        [&["data/b::/x"][..], &["data::/data", "data/b::/x"], &["data/b/c::/x"], &["data/b/../data::/x"]]
    {
        let refused = steal(&place, dirs, &["read", "/x"]);
        assert_refused(
            &refused,
            2,
            &format!("`{}` is a link to `../elsewhere`", place.path("data/b").display()),
        );
    }
    assert_prints(&steal(&place, &["elsewhere::/x"], &["read", "/x"]), &["Ok(())"]);
    // A path from here is followed from here on, whatever leads here.
    symlink(place.path("data"), place.path("here")).unwrap();
    fs::create_dir(place.path("data/d")).unwrap();
    let mut command = cli();
    command.arg("run").arg(VERBS).arg("--grant").arg(place.path("own")).args(["--dir", "./d::/x"]);
    let done = run(command.current_dir(place.path("here")).args(["--", "read", "/x"]), "");
    assert_prints(&done, &["Ok(())"]);
}

/// What a store holds is what it writes in, whatever its path leads to meanwhile.
#[test]
fn a_store_whose_path_leads_elsewhere_for_a_moment_writes_nothing_there() {
    let root = tempdir().unwrap();
    let [path, other, aside] = ["held", "other", "aside"].map(|name| root.path().join(name));
    fs::create_dir(&other).unwrap();
    // A new instance for each call, each of which opens the directory.
    let minisnap = cached_builder().max_idle(0).build().unwrap();
    let mut store = minisnap.open(Grant::new(&path)).unwrap();
    let flip = || {
        fs::rename(&path, &aside).unwrap();
        fs::rename(&other, &path).unwrap();
        fs::rename(&path, &other).unwrap();
        fs::rename(&aside, &path).unwrap();
    };
    let mut made = 0;
    meanwhile(flip, || {
        let started = Instant::now();
        for seq in 0.. {
            made += u32::from(store.create_text("1", seq).is_ok());
            let is_over = started.elapsed() > Duration::from_secs(5) && made > 0;
            if is_over || started.elapsed() > Duration::from_secs(60) {
                break;
            }
        }
    });
    assert!(made > 0);
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0, "it wrote in a directory that it does not hold");
}

// What a component is told, and how long it runs.

#[test]
fn an_error_tells_a_component_no_path_of_its_host() {
    let root = tempdir().unwrap();
    let path = root.path().join("snapshots");
    let [host, other] = [Host::new(&Config::new(), minisnap()), Host::new_async(&Config::new(), minisnap())];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let args = ["exists", "restore", "create", "1", "1"];
    let too_small = Grant::new(&path).max_memory(1);
    for (grant, is_removed) in [(Grant::new(&path), true), (too_small, false)] {
        for is_async in [false, true] {
            let prepare = |host: &Host| {
                let snapshots = host.snapshots(grant.clone());
                if is_removed {
                    fs::remove_dir_all(&path).unwrap();
                }
                snapshots
            };
            let ended = if is_async {
                let snapshots = prepare(&other);
                runtime.block_on(other.run_async(&other.load(VERBS), snapshots, &args))
            } else {
                host.run(&host.load(VERBS), prepare(&host), &args)
            };
            assert_eq!(ended.printed.lines().filter(|line| line.starts_with("io: ")).count(), 3, "{ended:?}");
            let tells = ["/", "backtrace", "0x"].iter().find(|part| ended.printed.contains(**part));
            assert_eq!(tells, None, "{}", ended.printed);
        }
    }
    // What is full, what may not be written, and who is in the way.
    fs::create_dir_all(&path).unwrap();
    let full = "the directory may hold 9 bytes, of which 9 are left beside the newest snapshot and what is not the store's: \
                the new snapshot needs more";
    let denied = "the grant of the snapshot directory is for reading only";
    let busy = "a writer of this store is open: commit, discard or drop it first";
    for (grant, args, said) in [
        (Grant::new(&path).max_total(9), &["texts", "create", "1", "1"][..], format!("no-space: {full}\n")),
        (Grant::new(&path).read_only(), &["texts", "create", "1", "1"], format!("access-denied: {denied}\n")),
        (Grant::new(&path), &["texts", "hold", "1", "create", "1", "1"], format!("held\nbusy: {busy}\n")),
    ] {
        assert_eq!(host.run(&host.load(VERBS), host.snapshots(grant.clone()), args).printed, said);
        let snapshots = other.snapshots(grant);
        let ended = runtime.block_on(other.run_async(&other.load(VERBS), snapshots, args));
        assert_eq!(ended.printed, said);
        runtime.block_on(ended.snapshots.into_store_async()).unwrap();
    }
    // A directory that is not there has no snapshot, and no stores.
    let missing = Grant::new(root.path().join("missing")).read_only();
    let args = ["names", "open", "a", "open", "../x", "restore", "newest-seq", "list", "create", "1", "1"];
    let said = "\naccess-denied\ninvalid-name: a store's name has 1 to 128 letters, digits, `-` and `_`, and does not begin \
                with `snapshot_`\nnone\nnone\n\naccess-denied\n";
    assert_eq!(host.run(&host.load(VERBS), host.snapshots(missing.clone()), &args).printed, said);
    let ended = runtime.block_on(other.run_async(&other.load(VERBS), other.snapshots(missing), &args));
    assert_eq!(ended.printed, said);
}

/// Waits for a process, which must end before this thread has slept so many times.
#[track_caller]
fn ended_within(mut process: Child, most: u32, sleep: Duration) -> Done {
    let has_ended = (0..most).any(|_| {
        thread::sleep(sleep);
        process.try_wait().unwrap().is_some()
    });
    if !has_ended {
        process.kill().unwrap();
        panic!("it has not ended after {most} times {sleep:?}");
    }
    let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

#[test]
fn a_component_that_runs_too_long_is_ended_and_costs_no_data() {
    let dir = tempdir().unwrap();
    let attack = |options: &[&str], attacks: &[&str]| {
        let mut command = cli();
        command.arg("run").arg(HOSTILE).arg("--grant").arg(dir.path()).args(options);
        run(command.arg("--").args(attacks), "")
    };
    assert_eq!(attack(&["--timeout", "1min"], &["create", "1"]).stdout, "create: ok\n");
    let mut command = cli();
    command.arg("run").arg(HOSTILE).arg("--grant").arg(dir.path());
    let looping = start(command.args(["--timeout", "3s", "--", "half", "loop"]));
    let ended = ended_within(looping, 8, Duration::from_secs(3));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(11), "half: half written\n"), "{ended:?}");
    assert!(
        ended.stderr.contains("exceeded its timeout of 3s; `--timeout` can raise it"),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    // So is one that waits for its host.
    let mut command = cli();
    command.arg("run").arg(VERBS).arg("--grant").arg(dir.path()).args(["--timeout", "300ms", "--", "echo"]);
    let mut waiting = start(&mut command);
    let input = waiting.stdin.take();
    let ended = ended_within(waiting, 40, Duration::from_millis(300));
    drop(input);
    assert!(ended.code == Some(11) && ended.stderr.contains("exceeded its timeout of 300ms"), "{ended:?}");
    assert_eq!(attack(&[], &["restore"]).stdout, "restore: 1 \"mine\"\n");
}

/// Each user of a grants file has directories that the others may not enter.
#[test]
fn a_grants_file_serves_users_who_may_not_enter_each_others_directories() {
    let place = place();
    let state = place.path("state");
    for dir in [place.folder(), &state] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(fs::metadata(state.join("victim")).unwrap().permissions().mode() & 0o777, 0o700);
    let as_another = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(cli().get_program());
        run(command.args(args).current_dir(place.folder()), "")
    };
    let version = as_another(&["--version"]);
    if version.code != Some(0) {
        println!("IGNORED: nothing can be run as another user here: {}", version.stderr);
        return;
    }
    let done = as_another(&["grants", "check", "minisnap.toml"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
}

// Bind mounts.

#[test]
fn a_bind_mount_of_the_snapshots_is_not_given_to_a_component() {
    let place = place();
    for folder in ["outer/inner", "alias", "disk/c"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    let thief = "\"$1\" run thief@1.0.0.wasm --grants-file minisnap.toml --dir";
    for script in [
        // The directory of another, and a folder that holds all of them, under other names.
        format!("mount --bind state/victim alias; {thief} alias::/x -- read /x"),
        format!("mount --bind state alias; {thief} alias/victim::/x -- read /x"),
        // Somewhere below what is given.
        format!("mount --bind state outer/inner; {thief} outer::/x -- read /x/inner"),
        // Where the directory of another really is.
        format!("mount --bind disk/c state/victim; {thief} disk::/x -- read /x/c"),
        // Who the component is.
        format!("mount --bind . alias; {thief} alias::/x -- read /x"),
    ] {
        let Some(done) = mounting(&script, &place) else { return };
        assert_refused(&done, 2, "would give the component");
    }
    let beside = format!("mount --bind disk alias; {thief} alias::/x -- read /x/c");
    assert_prints(&mounting(&beside, &place).unwrap(), &["Ok(())"]);
}

#[test]
fn two_components_on_one_directory_by_a_bind_mount_are_a_mistake() {
    let place = Place::new("root = \"s\"\n[components.a]\n[components.b]\n");
    place.install("c@1.0.0.wasm");
    for folder in ["s/a/below", "s/b", "s/c"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    let check = "\"$1\" grants check minisnap.toml";
    for (script, what) in [
        (
            format!("mount --bind s/a s/b; {check}"),
            "minisnap.toml:3:13: the components `a` and `b` have one directory",
        ),
        (format!("mount --bind s/a/below s/b; {check}"), "lies inside the directory"),
        (
            "mount --bind s/a s/c; \"$1\" run c@1.0.0.wasm --grants-file minisnap.toml -- exists".to_owned(),
            "have one directory",
        ),
    ] {
        let Some(done) = mounting(&script, &place) else { return };
        assert_refused(&done, 2, what);
    }
    assert_eq!(place.check(&[]).code, Some(0));
}

#[test]
fn instances_on_one_directory_by_a_bind_mount_are_a_mistake() {
    let place = Place::new(
        "root = \"s\"\n[components.a]\ndirectory = \"a/{instance}\"\n[components.b]\n[components.c]\n",
    );
    for component in ["a", "b", "c", "u", "v"] {
        place.install(&format!("{component}@1.0.0.wasm"));
    }
    for folder in ["s/a/eu/x", "s/a/us", "s/b.eu", "s/b.us", "s/c", "s/u.eu", "s/u.us", "s/v"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    let run = |component: &str, options: &str| {
        format!("\"$1\" run {component}@1.0.0.wasm --grants-file minisnap.toml {options} -- exists")
    };
    let shared = |one: &str, other: &str| format!("{one} and {other} have one directory");
    let of =
        |instance: &str, component: &str| format!("the instance `{instance}` of the component `{component}`");
    for (mount, script, what) in [
        ("s/a/eu s/a/us", run("a", "--instance us"), shared(&of("eu", "a"), &of("us", "a"))),
        ("s/a/eu s/a/us", run("a", "--instance eu"), shared(&of("eu", "a"), &of("us", "a"))),
        ("s/a/eu/x s/a/us", run("a", "--instance us"), "lies inside the directory".to_owned()),
        ("s/a/eu s/c", run("c", ""), "lies inside the directory".to_owned()),
        ("s/c s/a/eu", run("a", "--instance eu"), "lies inside the directory".to_owned()),
        ("s/b.us s/b.eu", run("b", "--instance eu"), shared(&of("eu", "b"), &of("us", "b"))),
        ("s/b.us s/a/eu", run("b", "--instance us"), shared(&of("eu", "a"), &of("us", "b"))),
        (
            "s/a s/c",
            run("a", "--instance eu"),
            shared("the instances of the component `a`", "the component `c`"),
        ),
        // Those that the file does not name are compared, too.
        ("s/u.eu s/u.us", run("u", "--instance us"), shared(&of("eu", "u"), &of("us", "u"))),
        ("s/u.eu s/v", run("v", ""), shared("the component `v`", &of("eu", "u"))),
        ("s/u.eu s/v", run("u", "--instance eu"), shared("the component `v`", &of("eu", "u"))),
    ] {
        let Some(done) = mounting(&format!("mount --bind {mount}; {script}"), &place) else { return };
        assert_refused(&done, 2, &what);
    }
    // A directory that only looks like an instance's is not taken for one.
    let archive = "root = \"s\"\n[components.a]\n[components.old]\ndirectory = \"a.archive\"\n";
    let looks_alike = Place::new(archive);
    fs::create_dir_all(looks_alike.path("s/a.archive")).unwrap();
    fs::create_dir_all(looks_alike.path("s/c")).unwrap();
    let script = "mount --bind s/c s/c; \"$1\" grants check minisnap.toml";
    assert_eq!(mounting(script, &looks_alike).unwrap().code, Some(0));
    // What is mounted elsewhere keeps nobody out.
    let apart = mounting(&format!("mount --bind s/c s/c; {}", run("a", "--instance eu")), &place);
    assert_eq!(apart.unwrap().code, Some(0));
}
