//! The component in a host that is not ours: plain wasmtime and its WASI, with settings as that host likes.

use std::path::Path;
use std::sync::OnceLock;

use exports::arcella::minisnap::snapshot_maintenance::Layout;
use exports::arcella::minisnap::snapshot_store::{Error, Soundness};
use minisnap_tests::{cached_engine, names};
use tempfile::tempdir;
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceAny, ResourceTable};
use wasmtime::{Store as WasmStore, StoreContextMut};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

wasmtime::component::bindgen!({ path: "../wit", world: "store", additional_derives: [PartialEq] });

struct Ctx(WasiCtx, ResourceTable);

impl WasiView for Ctx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.0, table: &mut self.1 }
    }
}

/// An instance with these settings.
fn instance(settings: impl FnOnce(&mut WasiCtxBuilder)) -> (WasmStore<Ctx>, Store) {
    static PRE: OnceLock<StorePre<Ctx>> = OnceLock::new();
    let pre = PRE.get_or_init(|| {
        let engine = cached_engine();
        let component = Component::new(&engine, minisnap_host::COMPONENT).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
        StorePre::new(linker.instantiate_pre(&component).unwrap()).unwrap()
    });
    let mut wasi = WasiCtx::builder();
    settings(&mut wasi);
    let mut store = WasmStore::new(pre.engine(), Ctx(wasi.build(), ResourceTable::new()));
    let instance = pre.instantiate(&mut store).unwrap();
    (store, instance)
}

/// The same where the host's file system has other functions.
fn instance_with(
    define: impl FnOnce(&mut LinkerInstance<'_, Ctx>),
    settings: impl FnOnce(&mut WasiCtxBuilder),
) -> (WasmStore<Ctx>, Store) {
    let engine = cached_engine();
    let component = Component::new(&engine, minisnap_host::COMPONENT).unwrap();
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync::<Ctx>(&mut linker).unwrap();
    linker.allow_shadowing(true);
    define(&mut linker.instance("wasi:filesystem/types@0.2.12").unwrap());
    let mut wasi = WasiCtx::builder();
    settings(&mut wasi);
    let mut store = WasmStore::new(&engine, Ctx(wasi.build(), ResourceTable::new()));
    let instance = Store::instantiate(&mut store, &component, &linker).unwrap();
    (store, instance)
}

/// The store of the empty name.
fn open(store: &mut WasmStore<Ctx>, instance: &Store) -> Result<ResourceAny, Error> {
    instance.arcella_minisnap_snapshot_store().call_open(store, "").expect("no trap")
}

fn create(settings: impl FnOnce(&mut WasiCtxBuilder), state: &str, seq: u64) -> Result<(), Error> {
    let (mut store, instance) = instance(settings);
    let opened = open(&mut store, &instance)?;
    let stores = instance.arcella_minisnap_snapshot_store().store();
    stores.call_create(&mut store, opened, state, seq).expect("no trap")
}

fn restore(settings: impl FnOnce(&mut WasiCtxBuilder)) -> Result<(String, u64), Error> {
    let (mut store, instance) = instance(settings);
    let opened = open(&mut store, &instance)?;
    let stores = instance.arcella_minisnap_snapshot_store().store();
    let snapshot = stores.call_restore(&mut store, opened).expect("no trap")?.expect("a snapshot");
    assert_eq!(snapshot.soundness, Soundness::Verified);
    Ok((snapshot.state, snapshot.seq))
}

fn preopen(wasi: &mut WasiCtxBuilder, dir: &Path, name: &str, perms: FsPerms) {
    wasi.preopened_dir(dir, name, perms).unwrap();
}

/// A share may have no sync of directories, and says that it is an invalid call.
#[test]
fn where_no_directory_can_be_synced_a_snapshot_is_restored_and_a_create_refused() {
    let dir = tempdir().unwrap();
    let settings = |wasi: &mut WasiCtxBuilder| preopen(wasi, dir.path(), "/snapshots", FsPerms::ReadWrite);
    create(settings, "1", 7).unwrap();

    let invalid =
        |_: StoreContextMut<'_, Ctx>, _: (Resource<Descriptor>,)| Ok((Err::<(), _>(ErrorCode::Invalid),));
    let (mut store, instance) =
        instance_with(|types| types.func_wrap("[method]descriptor.sync", invalid).unwrap(), settings);
    let opened = open(&mut store, &instance).unwrap();
    let stores = instance.arcella_minisnap_snapshot_store().store();
    let restored = stores.call_restore(&mut store, opened).expect("no trap").unwrap().unwrap();
    assert_eq!((restored.state, restored.seq), ("1".to_owned(), 7));
    let created = stores.call_create(&mut store, opened, "2", 8).expect("no trap");
    assert!(
        matches!(&created, Err(Error::Io(problem)) if problem.contains("cannot sync `.`")),
        "{created:?}"
    );
    assert_eq!(restore(settings).unwrap().1, 7);
}

/// WASI lets a host return nothing before the end of a file.
#[test]
fn what_a_host_does_not_return_is_not_taken_for_damage() {
    let dir = tempdir().unwrap();
    let settings = |wasi: &mut WasiCtxBuilder| {
        preopen(wasi, dir.path(), "/snapshots", FsPerms::ReadWrite);
        wasi.env("MINISNAP_LAYOUT", "numbered");
    };
    create(settings, "1", 7).unwrap();

    let nothing = |_: StoreContextMut<'_, Ctx>, _: (Resource<Descriptor>, u64, u64)| {
        Ok((Ok::<_, ErrorCode>((Vec::<u8>::new(), false)),))
    };
    let (mut store, instance) =
        instance_with(|types| types.func_wrap("[method]descriptor.read", nothing).unwrap(), settings);
    let opened = open(&mut store, &instance).unwrap();
    let stores = instance.arcella_minisnap_snapshot_store().store();
    for result in [
        stores.call_restore(&mut store, opened).expect("no trap").map(drop),
        stores.call_create(&mut store, opened, "2", 7).expect("no trap"),
    ] {
        let Err(Error::Io(problem)) = &result else { panic!("{result:?}") };
        assert!(problem.contains("the host gave nothing before the end"), "{problem}");
    }
    assert_eq!(restore(settings).unwrap().1, 7);
}

#[test]
fn the_preopen_named_snapshots_is_the_store() {
    let dir = tempdir().unwrap();
    create(|wasi| preopen(wasi, dir.path(), "/snapshots", FsPerms::ReadWrite), "[1]", 7).unwrap();
    assert!(dir.path().join("snapshot.json").exists());
    let restored = restore(|wasi| preopen(wasi, dir.path(), "/snapshots", FsPerms::ReadOnly)).unwrap();
    assert_eq!(restored, ("[\n  1\n]".to_owned(), 7));
}

#[test]
fn a_setting_names_another_preopen() {
    let [dir, other] = [tempdir().unwrap(), tempdir().unwrap()];
    let settings = |wasi: &mut WasiCtxBuilder| {
        preopen(wasi, other.path(), "/snapshots", FsPerms::ReadWrite);
        preopen(wasi, dir.path(), "state", FsPerms::ReadWrite);
        wasi.env("MINISNAP_DIR", "state");
    };
    create(settings, "1", 7).unwrap();
    assert!(dir.path().join("snapshot.json").exists());
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

#[test]
fn without_its_preopen_the_error_says_what_to_grant() {
    let Err(Error::Io(problem)) = restore(|_| {}) else { panic!() };
    assert!(problem.contains("no directory is granted") && problem.contains("`/snapshots`"), "{problem}");

    let dir = tempdir().unwrap();
    let settings = |wasi: &mut WasiCtxBuilder| {
        preopen(wasi, dir.path(), "/data", FsPerms::ReadWrite);
        wasi.env("MINISNAP_DIR", "/state");
    };
    for problem in [create(settings, "1", 1).unwrap_err(), restore(settings).unwrap_err()] {
        let Error::Io(problem) = problem else { panic!("{problem:?}") };
        assert!(problem.contains("`/state`") && problem.contains("`/data`"), "{problem}");
    }
}

#[test]
fn a_setting_with_dots_leads_nowhere() {
    let dir = tempdir().unwrap();
    std::fs::create_dir(dir.path().join("granted")).unwrap();
    for setting in ["..", "/granted/..", "/granted/../other", "../granted", "/granted/.", "/granted/"] {
        let settings = |wasi: &mut WasiCtxBuilder| {
            preopen(wasi, &dir.path().join("granted"), "/granted", FsPerms::ReadWrite);
            wasi.env("MINISNAP_DIR", setting);
        };
        for problem in [create(settings, "1", 1).unwrap_err(), restore(settings).unwrap_err()] {
            let Error::Io(problem) = problem else { panic!("{problem:?}") };
            assert!(problem.contains(&format!("`{setting}`")) && problem.contains("`/granted`"), "{problem}");
        }
        let made = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
        assert_eq!((made(dir.path()), made(&dir.path().join("granted"))), (1, 0), "{setting}");
    }
}

#[test]
fn a_preopen_that_is_read_only_is_access_denied() {
    let dir = tempdir().unwrap();
    let denied = create(|wasi| preopen(wasi, dir.path(), "/snapshots", FsPerms::ReadOnly), "1", 1);
    assert!(matches!(denied, Err(Error::AccessDenied(_))), "{denied:?}");
}

#[test]
fn a_setting_limits_the_state_and_must_be_a_number() {
    let dir = tempdir().unwrap();
    let path = dir.path();
    let with_limit = |limit: &'static str| {
        move |wasi: &mut WasiCtxBuilder| {
            preopen(wasi, path, "/snapshots", FsPerms::ReadWrite);
            wasi.env("MINISNAP_MAX_STATE", limit);
        }
    };
    create(with_limit("4"), "1234", 1).unwrap();
    assert!(matches!(create(with_limit("4"), "12345", 2), Err(Error::TooLarge(4))));
    let Err(Error::Io(problem)) = create(with_limit("4 MiB"), "1", 2) else { panic!() };
    assert!(problem.contains("`MINISNAP_MAX_STATE` is `4 MiB`"), "{problem}");
}

#[test]
fn a_state_streams_in_and_out() {
    let dir = tempdir().unwrap();
    let (mut store, instance) = instance(|wasi| preopen(wasi, dir.path(), "/snapshots", FsPerms::ReadWrite));
    let opened = open(&mut store, &instance).unwrap();
    let snapshots = instance.arcella_minisnap_snapshot_store();
    let (stores, writers) = (snapshots.store(), snapshots.snapshot_writer());
    for end in ["drop", "discard", "commit"] {
        let writer = stores.call_open_writer(&mut store, opened, 1).unwrap().unwrap();
        for chunk in [&b"[\"\xC3"[..], b"\xA9\"]"] {
            writers.call_write(&mut store, writer, chunk).unwrap().unwrap();
        }
        // Another handle of the store shares its one writer.
        let again = open(&mut store, &instance).unwrap();
        let second = stores.call_open_writer(&mut store, again, 2).unwrap();
        assert!(matches!(second, Err(Error::Busy(_))), "{second:?}");
        match end {
            "drop" => writer.resource_drop(&mut store).unwrap(),
            "discard" => writers.call_discard(&mut store, writer).unwrap(),
            _ => writers.call_commit(&mut store, writer).unwrap().unwrap(),
        }
        let made = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(made, if end == "commit" { 3 } else { 0 }, "{end}");
    }
    let reader = stores.call_open_reader(&mut store, opened).unwrap().unwrap().unwrap();
    // A reader outlives the handle of the store that it came from.
    opened.resource_drop(&mut store).unwrap();
    let readers = snapshots.snapshot_reader();
    assert_eq!(readers.call_info(&mut store, reader).unwrap().seq, 1);
    assert_eq!(readers.call_read(&mut store, reader, 99).unwrap().unwrap(), "[\n  \"é\"\n]".as_bytes());
    assert_eq!(readers.call_read(&mut store, reader, 99).unwrap().unwrap(), b"");
    reader.resource_drop(&mut store).unwrap();
}

#[test]
fn settings_choose_the_layout_and_its_limits_and_must_be_ones() {
    let dir = tempdir().unwrap();
    let path = dir.path();
    let with = |settings: &'static [(&'static str, &'static str)]| {
        move |wasi: &mut WasiCtxBuilder| {
            preopen(wasi, path, "/snapshots", FsPerms::ReadWrite);
            wasi.envs(settings);
        }
    };
    for seq in 1..=5 {
        create(with(&[("MINISNAP_LAYOUT", "numbered"), ("MINISNAP_KEEP", "2")]), "1", seq).unwrap();
    }
    assert_eq!(names(path), ["snapshot_00000000000000000004.json", "snapshot_00000000000000000005.json"]);
    let full = create(with(&[("MINISNAP_MAX_TOTAL", "200")]), "1", 6);
    assert!(matches!(full, Err(Error::NoSpace(_))), "{full:?}");
    for (name, value) in [("MINISNAP_LAYOUT", "triple"), ("MINISNAP_KEEP", "0"), ("MINISNAP_MAX_TOTAL", "-1")]
    {
        let settings = move |wasi: &mut WasiCtxBuilder| {
            preopen(wasi, path, "/snapshots", FsPerms::ReadWrite);
            wasi.env(name, value);
        };
        let Err(Error::Io(problem)) = create(settings, "1", 6) else { panic!() };
        assert!(problem.contains(&format!("`{name}` is `{value}`")), "{problem}");
    }
    let (mut store, instance) = instance(with(&[]));
    let maintenance = instance.arcella_minisnap_snapshot_maintenance();
    std::fs::write(path.join("snapshot_00000000000000000006.json.tmp"), "{").unwrap();
    let opened = open(&mut store, &instance).unwrap();
    assert_eq!(maintenance.call_settle(&mut store, opened).unwrap(), Ok(1));
    assert_eq!(maintenance.call_layout_of(&mut store, opened).unwrap(), Ok(Some(Layout::Numbered)));
    assert_eq!(names(path), ["snapshot_00000000000000000004.json", "snapshot_00000000000000000005.json"]);
}

#[test]
fn a_name_that_is_no_stores_is_refused_and_touches_nothing() {
    let dir = tempdir().unwrap();
    let inner = dir.path().join("granted");
    std::fs::create_dir(&inner).unwrap();
    let (mut store, instance) = instance(|wasi| preopen(wasi, &inner, "/snapshots", FsPerms::ReadWrite));
    let snapshots = instance.arcella_minisnap_snapshot_store();
    let long = "x".repeat(129);
    for name in [
        ".",
        "..",
        "../other",
        "a/b",
        "/a",
        "a\\b",
        "a\0",
        "a.b",
        " ",
        "\u{e9}",
        "snapshot_7",
        "SNAPSHOT_x",
        &long,
    ] {
        let opened = snapshots.call_open(&mut store, name).unwrap();
        assert!(matches!(&opened, Err(Error::InvalidName(_))), "{name:?}: {opened:?}");
    }
    for name in ["agent-7", "A_b", "0", "snapshot", &long[1..]] {
        let opened = snapshots.call_open(&mut store, name).unwrap();
        assert!(matches!(&opened, Err(Error::AccessDenied(_))), "{name:?}: {opened:?}");
    }
    assert_eq!(snapshots.call_names(&mut store).unwrap(), Ok(Vec::new()));
    assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
