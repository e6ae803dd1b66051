//! `minisnap status`: how the stores of all components are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use minisnap_host::grants::Grants;
use minisnap_host::{Grant, Layout};
use minisnap_tests::place::{Place, assert_refused};
use minisnap_tests::{Done, cli, minisnap, names, run};
use serde_json::{Value, json};

fn status(place: &Place, options: &[&str]) -> Done {
    run(cli().arg("status").arg(place.grants()).args(options), "")
}

fn json_of(done: &Done) -> Vec<Value> {
    let value: Value = serde_json::from_str(&done.stdout).expect("JSON");
    value["stores"].as_array().expect("a list").clone()
}

fn create(dir: &Path, layout: Layout, seqs: impl IntoIterator<Item = u64>) {
    let mut store = minisnap().open(Grant::new(dir).layout(layout)).unwrap();
    seqs.into_iter().for_each(|seq| store.create_text(&seq.to_string(), seq).unwrap());
}

fn generation(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("snapshot_{seq:020}.json"))
}

fn set_age(file: &Path, age: Duration) {
    let file = fs::File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

const GRANTS: &str = r#"root = "s"

[components.ledger]
layout = "numbered"
max-total = "1KiB"

[components.agents]
directory = "agents/{instance}"
stores = 9

[components.idle]
"#;

/// A fleet in which nothing is wrong.
fn fleet() -> Place {
    let place = Place::new(GRANTS);
    create(&place.path("s/ledger"), Layout::Numbered, 1..=3);
    create(&place.path("s/ledger.eu-1"), Layout::Numbered, 4..=5);
    create(&place.path("s/agents/a"), Layout::Pair, [6]);
    create(&place.path("s/agents/a/agent-7"), Layout::Pair, [7]);
    create(&place.path("s/agents/b"), Layout::Pair, [8]);
    create(&place.path("s/unnamed"), Layout::Pair, [9]);
    create(&place.path("s/unnamed.x"), Layout::Pair, [10]);
    create(&place.path("s/agents/c/agent-8"), Layout::Pair, [11]);
    // What is nobody's.
    fs::create_dir_all(place.path("s/lost+found")).unwrap();
    fs::create_dir_all(place.path("s/agents/.hidden")).unwrap();
    fs::write(place.path("s/file"), "").unwrap();
    place
}

#[test]
fn each_component_instance_and_store_has_a_line() {
    let place = fleet();
    let done = status(&place, &["--json"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    let found: Vec<Value> = json_of(&done)
        .iter()
        .map(|row| json!([row["component"], row["instance"], row["store"], row["seq"], row["status"]]))
        .collect();
    let expected = [
        json!(["idle", null, "", null, "none"]),
        json!(["agents", "a", "", 6, "ok"]),
        json!(["agents", "a", "agent-7", 7, "ok"]),
        json!(["agents", "b", "", 8, "ok"]),
        // Whose own store is not used.
        json!(["agents", "c", "agent-8", 11, "ok"]),
        json!(["ledger", null, "", 3, "ok"]),
        json!(["ledger", "eu-1", "", 5, "ok"]),
        json!(["unnamed", null, "", 9, "ok"]),
        json!(["unnamed", "x", "", 10, "ok"]),
    ];
    assert_eq!(found, expected);
    let ledger = &json_of(&done)[5];
    let dir = place.path("s/ledger");
    let size: u64 = names(&dir).iter().map(|name| fs::metadata(dir.join(name)).unwrap().len()).sum();
    let rest = json!([
        ledger["directory"],
        ledger["layout"],
        ledger["generations"],
        ledger["damaged"],
        ledger["size"],
        ledger["max-total"],
        ledger["soundness"],
        ledger["held-by"],
    ]);
    assert_eq!(rest, json!([dir.display().to_string(), "numbered", 3, null, size, 1024, null, null]));
    assert!(ledger["age"].as_u64().is_some_and(|age| age < 600), "{ledger}");

    let table = status(&place, &[]);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!((table.code, lines.len()), (Some(0), 10), "{table:?}");
    let head: Vec<&str> = lines[0].split_whitespace().collect();
    let expected =
        ["status", "component", "instance", "store", "layout", "generations", "seq", "age", "size", "limit"];
    assert_eq!(head, expected);
    assert!(lines[6].starts_with("ok      ledger") && lines[6].contains(&format!("{} %", size * 100 / 1024)));
}

/// Every path below a folder, with its time and its contents.
fn tree(folder: &Path) -> Vec<(PathBuf, SystemTime, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for name in names(folder) {
        let path = folder.join(name);
        let metadata = fs::metadata(&path).unwrap();
        all.push((path.clone(), metadata.modified().unwrap(), fs::read(&path).ok()));
        if metadata.is_dir() {
            all.extend(tree(&path));
        }
    }
    all
}

#[test]
fn a_status_writes_nothing_and_waits_for_nobody() {
    let place = fleet();
    let mut store = minisnap().open(Grant::new(place.path("s/ledger"))).unwrap();
    let mut writer = store.open_writer(4).unwrap();
    writer.write_chunk(b"4").unwrap();
    let before = tree(place.folder());
    let done = status(&place, &["--json", "--verify"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(tree(place.folder()), before);
    let rows = json_of(&done);
    let row = rows.iter().find(|row| row["component"] == "ledger" && row["instance"].is_null()).unwrap();
    assert_eq!((&row["held-by"], &row["seq"]), (&json!(std::process::id()), &json!(3)));
}

#[test]
fn who_may_write_is_told_and_not_who_shares_the_folder_around() {
    let place = fleet();
    let held = |done: &Done| -> Vec<Value> {
        let rows = json_of(done);
        let held = rows.iter().filter(|row| !row["held-by"].is_null());
        held.map(|row| json!([row["component"], row["instance"], row["store"], row["held-by"]])).collect()
    };
    let me = std::process::id();
    // A component of which only a named store is used holds its own directory.
    let grants = Grants::load(place.grants()).unwrap();
    let store = minisnap().open(grants.grant_instance("agents", "c").unwrap()).unwrap();
    assert_eq!(held(&status(&place, &["--json"])), [json!(["agents", "c", "agent-8", me])]);
    drop(store);
    // Whoever writes in a named store alone shares the directory around.
    let store = minisnap().open(Grant::new(place.path("s/agents/a/agent-7"))).unwrap();
    assert_eq!(held(&status(&place, &["--json"])), [json!(["agents", "a", "agent-7", me])]);
    drop(store);
}

#[test]
fn one_folder_that_cannot_be_read_hides_no_other_component() {
    let place = fleet();
    fs::rename(place.path("s/agents"), place.path("agents")).unwrap();
    fs::write(place.path("s/agents"), "").unwrap();
    let file = place.path("minisnap.prom");
    let done = status(&place, &["--json", "--prometheus", file.to_str().unwrap()]);
    let rows = json_of(&done);
    assert_eq!((done.code, rows.len(), &rows[0]["component"]), (Some(10), 6, &json!("agents")), "{done:?}");
    assert!(rows[0]["problem"].as_str().unwrap().contains("cannot list the folder"), "{done:?}");
    let unread = "minisnap_store_readable{component=\"agents\",instance=\"\",store=\"\"} 0";
    assert!(fs::read_to_string(&file).unwrap().contains(unread));
}

#[test]
fn what_may_have_lost_its_volume_is_missed_and_what_needs_no_snapshot_is_not() {
    let grants = "root = \"s\"\n[components.gone]\ndirectory = \"gone/{instance}\"\n\
                  [components.banned]\naccess = \"none\"\n[components.many]\n";
    let place = Place::new(grants);
    create(&place.path("s/many.x"), Layout::Pair, [1]);
    let rows = |done: &Done| -> Vec<Value> {
        json_of(done).iter().map(|row| json!([row["component"], row["instance"], row["status"]])).collect()
    };
    let done = status(&place, &["--json"]);
    assert_eq!(
        (done.code, rows(&done)),
        (Some(0), vec![json!(["gone", null, "none"]), json!(["many", "x", "ok"])])
    );
    let done = status(&place, &["--json", "--max-age", "1h"]);
    assert_eq!(
        (done.code, rows(&done)),
        (Some(1), vec![json!(["gone", null, "old"]), json!(["many", "x", "ok"])])
    );
    // An empty directory may be what was mounted on, whatever lies beside it.
    fs::create_dir(place.path("s/many")).unwrap();
    assert!(rows(&status(&place, &["--json", "--max-age", "1h"])).contains(&json!(["many", null, "old"])));
    fs::remove_dir(place.path("s/many")).unwrap();
    fs::write(place.grants(), grants.replace("/{instance}\"\n", "/{instance}\"\nmust-exist = true\n"))
        .unwrap();
    assert_eq!(status(&place, &[]).code, Some(10));
    create(&place.path("s/gone/y"), Layout::Pair, [1]);
    assert_eq!(status(&place, &["--max-age", "1h"]).code, Some(0));
}

#[test]
fn what_is_damaged_old_or_cannot_be_read_comes_first_and_decides_the_exit_code() {
    let place = fleet();
    let hour = Duration::from_secs(3600);
    set_age(&place.path("s/agents/b/snapshot.json"), 3 * hour);
    set_age(&generation(&place.path("s/ledger.eu-1"), 5), 3 * hour);
    let first = |done: &Done| {
        json_of(done)
            .iter()
            .map(|row| (row["status"].as_str().unwrap().to_owned(), row["component"].clone()))
            .collect::<Vec<_>>()
    };
    // Without a limit, no age is wrong.
    assert_eq!(status(&place, &[]).code, Some(0));
    let old = status(&place, &["--json", "--max-age", "2h"]);
    assert_eq!(old.code, Some(1), "{old:?}");
    assert!(old.stderr.contains("of 9 stores, 3 are older than 2h, or missing"), "{}", old.stderr);
    let old: Vec<_> =
        first(&old).into_iter().take_while(|(word, _)| word == "old").map(|(_, name)| name).collect();
    // One without any snapshot may have lost its volume.
    assert_eq!(old, ["agents", "idle", "ledger"]);
    assert_eq!(status(&place, &["--max-age", "4h"]).code, Some(1));
    create(&place.path("s/idle"), Layout::Pair, [1]);
    assert_eq!(status(&place, &["--max-age", "4h"]).code, Some(0));

    // What a create writes that never commits makes nothing newer.
    fs::write(place.path("s/agents/b/snapshot.json.new"), "partial").unwrap();
    let old = status(&place, &["--json", "--max-age", "2h"]);
    assert_eq!((old.code, &first(&old)[0]), (Some(1), &("old".to_owned(), json!("agents"))), "{old:?}");
    fs::remove_file(place.path("s/agents/b/snapshot.json.new")).unwrap();

    // A file where a directory should be.
    fs::rename(place.path("s/unnamed"), place.path("s/was")).unwrap();
    fs::remove_dir_all(place.path("s/idle")).unwrap();
    fs::write(place.path("s/idle"), "").unwrap();
    let error = status(&place, &["--json", "--max-age", "2h"]);
    assert_eq!(
        (error.code, &first(&error)[0]),
        (Some(10), &("error".to_owned(), json!("idle"))),
        "{error:?}"
    );
    assert!(
        json_of(&error)[0]["problem"].as_str().unwrap().contains("s/idle` is not a directory"),
        "{error:?}"
    );

    // Damage is found by reading.
    let dir = place.path("s/ledger");
    fs::write(generation(&dir, 2), "{\"seq\": 2, \"state\": 3}").unwrap();
    assert_eq!(status(&place, &[]).code, Some(10));
    let damaged = status(&place, &["--json", "--verify"]);
    assert_eq!(
        (damaged.code, &first(&damaged)[0]),
        (Some(6), &("damaged".to_owned(), json!("ledger"))),
        "{damaged:?}"
    );
    let row = &json_of(&damaged)[0];
    assert_eq!((&row["damaged"], &row["seq"], &row["soundness"]), (&json!(1), &json!(3), &json!("verified")));
    assert_eq!(row["problem"], "1 damaged; `restore` returns the snapshot 3");
    let table = status(&place, &["--verify"]);
    assert!(
        table.stdout.contains(&format!("ledger: `{}`: 1 damaged; `restore` returns", dir.display())),
        "{table:?}"
    );
    assert!(table.stderr.contains("of 9 stores, 1 is damaged, 1 is not to be read"), "{table:?}");
    assert!(table.stderr.contains("help: see what is damaged: minisnap verify DIR"), "{table:?}");

    // And of a pair, without.
    fs::write(place.path("s/agents/b/snapshot.seq"), "80").unwrap();
    let damaged = status(&place, &["--json"]);
    assert_eq!(
        (damaged.code, &first(&damaged)[0]),
        (Some(6), &("damaged".to_owned(), json!("agents"))),
        "{damaged:?}"
    );
}

#[test]
fn who_gets_nothing_by_a_mistake_has_a_line_and_hides_nobody() {
    let place = fleet();
    fs::rename(place.path("s/ledger"), place.path("elsewhere")).unwrap();
    let grants = Grants::load(place.grants()).unwrap();
    std::os::unix::fs::symlink("../elsewhere", place.path("s/ledger")).unwrap();
    let all = grants.status(minisnap(), false).unwrap();
    let wrong: Vec<_> = all.iter().filter(|status| status.contents.is_err()).collect();
    assert_eq!((wrong.len(), wrong[0].component.as_str(), all.len()), (1, "ledger", 9));
    assert!(wrong[0].contents.as_ref().unwrap_err().to_string().contains("escapes the root"));
    // The command line, which reads the file anew, says so at once.
    assert_refused(&status(&place, &[]), 2, "escapes the root by a link");
}

#[test]
fn the_metrics_are_those_of_each_store_and_replace_the_file_at_once() {
    let place = fleet();
    fs::write(generation(&place.path("s/ledger"), 2), "").unwrap();
    let file = place.path("minisnap.prom");
    let options = ["--verify", "--prometheus", file.to_str().unwrap()];
    assert_eq!(status(&place, &options).code, Some(6));
    let text = fs::read_to_string(&file).unwrap();
    let value = |name: &str, labels: &str| {
        let start = format!("{name}{{{labels}}} ");
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&start));
        (values.next().map(str::to_owned), values.next())
    };
    let ledger = "component=\"ledger\",instance=\"\",store=\"\"";
    let agent = "component=\"agents\",instance=\"a\",store=\"agent-7\"";
    let some = |value: &str| (Some(value.to_owned()), None);
    for (name, labels, expected) in [
        ("minisnap_snapshot_seq", ledger, some("3")),
        ("minisnap_snapshot_seq", agent, some("7")),
        ("minisnap_generations", ledger, some("3")),
        ("minisnap_damaged_generations", ledger, some("1")),
        ("minisnap_damaged_generations", agent, some("0")),
        ("minisnap_directory_limit_bytes", ledger, some("1024")),
        ("minisnap_directory_limit_bytes", agent, (None, None)),
        ("minisnap_store_readable", agent, some("1")),
        ("minisnap_store_held", agent, some("0")),
    ] {
        assert_eq!(value(name, labels), expected, "{name} of {labels}\n{text}");
    }
    let time: f64 = value("minisnap_snapshot_timestamp_seconds", agent).0.unwrap().parse().unwrap();
    let written = fs::metadata(place.path("s/agents/a/agent-7/snapshot.json")).unwrap().modified().unwrap();
    let written = written.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((time - written).abs() < 0.001, "{time}");
    // Each metric is said to be one before its first line, and no name comes back later.
    let mut seen: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.strip_suffix(" gauge").unwrap();
            assert!(!seen.contains(&name), "{name}");
            seen.push(name);
        } else if !line.starts_with("# HELP ") {
            assert_eq!(line.split('{').next(), seen.last().copied(), "{line}");
        }
    }
    assert_eq!(seen.len(), 8);

    // Whoever reads meanwhile has the old file or the new.
    let old = fs::File::open(&file).unwrap();
    assert_eq!(status(&place, &options).code, Some(6));
    use std::os::unix::fs::MetadataExt;
    assert_ne!(old.metadata().unwrap().ino(), fs::metadata(&file).unwrap().ino());
    // Where a store writes, nothing else does, and nothing is looked at before.
    let inside = place.path("s/ledger/minisnap.prom");
    let refused = status(&place, &["--prometheus", inside.to_str().unwrap()]);
    assert_refused(&refused, 10, "is in a directory of snapshots");
    assert!(!inside.exists());
}

#[test]
fn a_thousand_instances_beside_a_hundred_components_are_each_found_once() {
    let mut text = "root = \"s\"\n[components.many]\ndirectory = \"many/{instance}\"\n".to_owned();
    for component in 0..100 {
        text += &format!("[components.c{component}]\n");
    }
    let place = Place::new(&text);
    for instance in 0..1000 {
        fs::create_dir_all(place.path(&format!("s/many/i{instance}"))).unwrap();
    }
    let done = status(&place, &["--json"]);
    let mut names: Vec<String> =
        json_of(&done).iter().map(|row| format!("{} {}", row["component"], row["instance"])).collect();
    assert_eq!((done.code, names.len()), (Some(0), 1100));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 1100);
}
