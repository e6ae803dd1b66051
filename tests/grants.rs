//! A grants file: every mistake in it is named with its line, and what is right in it is what a component gets.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use minisnap_host::grants::Grants;
use minisnap_host::{Access, Error, Grant};
use minisnap_tests::place::{GRANTS, Place, assert_refused};
use minisnap_tests::{cli, minisnap, run};

#[track_caller]
pub(crate) fn assert_mistake(grants: &str, line: usize, what: &str, help: &str) {
    Place::new(grants).assert_mistake(line, what, help);
}

// What is wrong in a grants file.

#[test]
fn an_unknown_key_is_a_mistake_with_its_line() {
    assert_mistake(
        "root = \"s\"\nrot = 1\n",
        2,
        "unknown field `rot`",
        "`root`, `logs`, `remote`, `defaults`, `components`",
    );
    assert_mistake("root = \"s\"\n[defaults]\nkep = 1\n", 3, "unknown field `kep`", "`keep`");
    // Each component has its own.
    for key in ["directory = \"d\"", &format!("digest = \"sha256:{}\"", "0".repeat(64))] {
        let grants = format!("root = \"s\"\n[defaults]\n{key}\n");
        assert_mistake(&grants, 3, "is of one component", "`[components.NAME]`");
    }
    let of_a_component = "root = \"s\"\n\n[components.a]\nkeep = 1\n\n[components.b]\nmax_state = 1\n";
    assert_mistake(of_a_component, 7, "unknown field `max_state`", "`max-state`");
}

#[test]
fn a_bad_value_is_a_mistake_with_its_line() {
    for (value, what, help) in [
        ("keep = 0", "`keep`: invalid value: integer `0`", "a number of generations from 1"),
        ("keep = \"all\"", "\"all\"", "a number of generations from 1"),
        ("keep = 4294967296", "integer `4294967296`", "to 4294967295"),
        ("max-state = \"64 apples\"", "\"64 apples\"", "\"64KiB\""),
        ("max-state = true", "boolean `true`", "a number of bytes"),
        ("max-state = \"17179869184GiB\"", "\"17179869184GiB\"", "\"64KiB\""),
        ("max-state = \"-1KiB\"", "\"-1KiB\"", "\"64KiB\""),
        ("max-total = -1", "integer `-1`", "a number of bytes"),
        ("max-memory = [1]", "sequence", "a number of bytes"),
        ("stores = -1", "integer `-1`", "a number of stores from 0"),
        ("deadline = 30", "integer `30`", "a duration such as \"30s\""),
        ("deadline = \"soon\"", "\"soon\"", "a duration such as \"30s\""),
        ("layout = \"pairs\"", "`pairs`", "`pair` or `numbered`"),
        ("access = \"write\"", "`write`", "`read-write`, `read-only`, `none`"),
        ("directory = 7", "integer `7`", "a string"),
    ] {
        assert_mistake(&format!("root = \"s\"\n\n[components.a]\n{value}\n"), 4, what, help);
    }
    assert_mistake("root = 7\n", 1, "integer `7`", "a string");
    assert_mistake("root = \"\"\n", 1, "`root` is empty", "name the folder");
    assert_mistake("root = \"s\"\n[components]\na = \"b\"\n", 3, "\"b\"", "a table `[components.NAME]`");
}

#[test]
fn a_file_without_a_root_or_that_is_not_toml_is_a_mistake_with_its_line() {
    assert_mistake("[defaults]\nkeep = 1\n", 1, "there is no `root`", "root = \"snapshots\"");
    assert_mistake("root = \"s\"\n[components.a\n", 2, "unclosed table", "]");
    assert_mistake("root = \"s\"\n[components.a]\n\n[components.a]\n", 4, "duplicate key", "");
    let place = Place::new("");
    fs::remove_file(place.grants()).unwrap();
    assert_refused(&place.check(&[]), 2, "minisnap.toml`: cannot read it: ");
}

#[test]
fn two_components_on_one_directory_are_a_mistake_with_its_line() {
    let same = "root = \"s\"\n[components.b]\ndirectory = \"d/e\"\n[components.a]\ndirectory = \"./d//e/\"\n";
    assert_mistake(same, 5, "the components `b` and `a` have one directory", "side by side");
    // One has the directory of its name.
    let of_name = "root = \"s\"\n[components.a]\ndirectory = \"b\"\n[components.b]\n";
    assert_mistake(of_name, 4, "the components `a` and `b` have one directory", "side by side");
    // Its state stays its own while it may not read it.
    let without_access = format!("{of_name}access = \"none\"\n");
    assert_mistake(&without_access, 4, "the components `a` and `b` have one directory", "side by side");
}

#[test]
fn a_directory_inside_another_is_a_mistake_with_its_line() {
    let inside = "root = \"s\"\n[components.a]\ndirectory = \"d/e/f\"\n[components.b]\ndirectory = \"d\"\n[components.d-]\n";
    assert_mistake(inside, 3, "d/e/f` of the component `a` lies inside the directory", "side by side");
    let of_name = "root = \"s\"\n[components.a]\n[components.b]\ndirectory = \"a/b\"\n";
    assert_mistake(of_name, 4, "of the component `a` (line 2)", "side by side");
    // The same beginning of a name is not the same folder.
    let beside =
        Place::new("root = \"s\"\n[components.a]\n[components.ab]\n[components.c]\ndirectory = \"d/a\"\n");
    assert_eq!(beside.check(&[]).code, Some(0));
}

#[test]
fn a_name_that_escapes_the_root_is_a_mistake_with_its_line() {
    for name in ["../a", "..", "a/b", "/a", "", "a b"] {
        let what = format!("`{name}` is no component's name");
        assert_mistake(&format!("root = \"s\"\n[components.\"{name}\"]\n"), 2, &what, "letters, digits");
    }
    let with_version = "root = \"s\"\n[components.\"a@1.0.0\"]\n";
    assert_mistake(with_version, 2, "`a@1.0.0` is no component's name", "the name alone");
}

#[test]
fn a_directory_that_escapes_the_root_is_a_mistake_with_its_line() {
    for (directory, what) in [
        ("../a", "may escape"),
        ("a/../../b", "may escape"),
        ("/a", "may escape"),
        (".", "is the root"),
        ("", "is the root"),
    ] {
        let grants = format!("root = \"s\"\n[components.a]\nkeep = 1\ndirectory = \"{directory}\"\n");
        assert_mistake(&grants, 4, what, "a directory below `root`");
    }
}

#[test]
fn links_are_followed_before_directories_are_compared() {
    let grants = "root = \"s\"\n[components.a]\n[components.b]\ndirectory = \"link\"\n";
    let place = Place::new(grants);
    let (root, link) = (place.path("s"), place.path("s/link"));
    fs::create_dir_all(root.join("a/below")).unwrap();
    let lead = |to: &Path| {
        fs::remove_file(&link).ok();
        symlink(to, &link).unwrap();
    };
    lead(Path::new("a"));
    place.assert_mistake(4, "the components `a` and `b` have one directory", "side by side");
    lead(Path::new("a/below"));
    place.assert_mistake(4, "lies inside", "side by side");
    lead(place.folder());
    place.assert_mistake(4, "escapes the root by a link", "remove the link");
    lead(&root);
    place.assert_mistake(4, "is a link to the root", "remove the link");
    lead(Path::new("nowhere"));
    place.assert_mistake(4, "cannot find out where", "leads nowhere");
    // What was right when the file was read is looked at again when it is granted.
    lead(Path::new("elsewhere"));
    fs::create_dir(root.join("elsewhere")).unwrap();
    let grants = Grants::load(place.grants()).unwrap();
    grants.grant("b").unwrap();
    lead(Path::new("a"));
    assert_eq!(grants.grant("b").unwrap_err().line(), Some(4));
    // Who has no link on the way has its directory for itself: nobody else gets it.
    assert_eq!(grants.grant("a").unwrap().dir, root.join("a"));
    // The root itself may be a link, and lie elsewhere.
    fs::rename(&root, place.path("real")).unwrap();
    symlink("real", &root).unwrap();
    fs::remove_file(place.path("real/link")).unwrap();
    Grants::load(place.grants()).unwrap().grant("b").unwrap();
}

#[test]
fn a_component_that_is_not_named_gets_no_directory_of_another() {
    let place =
        Place::new("root = \"s\"\n[components.a]\ndirectory = \"b\"\n[components.c]\ndirectory = \"d/e\"\n");
    place.install("b@1.0.0.wasm").install("d@1.0.0.wasm");
    let refused = place.run("b@1.0.0.wasm", &["create", "1", "1"]);
    assert_refused(&refused, 2, "minisnap.toml:3:13: the components `b` and `a` have one directory");
    let refused = place.run("d@1.0.0.wasm", &["create", "1", "1"]);
    assert_refused(&refused, 2, "minisnap.toml:5:13: the directory");
    let grants = Grants::load(place.grants()).unwrap();
    for name in ["../s/b", "..", "", "b/c"] {
        assert!(grants.grant(name).is_err(), "{name}");
    }
    // A link in the place of its directory leads nowhere else either, not even to that of one that is not named.
    for dir in ["s/b", "s/g/below"] {
        fs::create_dir_all(place.path(dir)).unwrap();
    }
    for to in ["b", "g", "g/below"] {
        symlink(to, place.path("s/f")).unwrap();
        let refused = grants.grant("f").unwrap_err();
        assert!(
            refused.what().contains("is a link") && refused.help().contains("[components.f]"),
            "{refused}"
        );
        fs::remove_file(place.path("s/f")).unwrap();
    }
    grants.grant("f").unwrap();
    // Nor one to which a link leads from that of one that is named.
    let grants = Grants::load(place.grants()).unwrap();
    for to in ["g", "g/below"] {
        symlink(to, place.path("s/d")).unwrap();
        fs::create_dir_all(place.path("s/g/below/e")).unwrap();
        fs::create_dir_all(place.path("s/g/e")).unwrap();
        grants.grant("c").unwrap();
        assert_eq!(grants.grant("g").unwrap_err().line(), Some(5), "{to}");
        fs::remove_file(place.path("s/d")).unwrap();
    }
    grants.grant("g").unwrap();
}

// What is right in one.

#[test]
fn the_effective_table_says_what_each_component_gets() {
    let place = Place::new(GRANTS);
    let root = place.path("state").display().to_string();
    let table = place.check(&[]);
    let lines: Vec<Vec<&str>> = table.stdout.lines().map(|line| line.split("  ").collect()).collect();
    let cells: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| line.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let directory = |path: &str| format!("{root}/{path}");
    assert_eq!(
        cells[0],
        ["component", "access", "layout", "keep", "max-state", "max-total", "stores", "log", "directory"]
    );
    assert_eq!(
        cells[1],
        ["banned", "none", "numbered", "default", "1.0 KiB", "none", "0", "no", &directory("banned")]
    );
    assert_eq!(
        cells[2],
        ["counter", "read-write", "numbered", "2", "1.0 KiB", "1.0 MiB", "3", "no", &directory("counter")]
    );
    assert_eq!(
        cells[3],
        ["reader", "read-only", "pair", "default", "7 B", "none", "0", "no", &directory("shared/reader")]
    );
    assert_eq!(
        cells[4],
        ["*", "read-write", "numbered", "default", "1.0 KiB", "none", "0", "no", &directory("NAME")]
    );
    assert_eq!((table.code, cells.len(), table.stderr.as_str()), (Some(0), 5, ""));
    assert!(!place.path("state").exists(), "a check made a directory");

    let json = place.check(&["--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let reader = serde_json::json!({
        "name": "reader", "directory": directory("shared/reader"), "digest": null, "access": "read-only",
        "url": null, "layout": "pair", "keep": null, "must-exist": false, "max-state": 7, "max-total": null,
        "log": null, "stores": 0, "max-instances": null, "max-memory": null, "deadline": "30s",
    });
    assert_eq!((&json["components"][2], &json["components"][1]["keep"]), (&reader, &2.into()));
    assert_eq!((json["root"].as_str(), &json["defaults"]["max-state"]), (Some(root.as_str()), &1024.into()));
}

#[test]
fn a_size_is_decimal_or_binary_as_it_says_and_never_cut() {
    let most = u64::MAX.to_string();
    for (size, bytes) in [
        ("64MB", 64_000_000),
        ("64MiB", 64 << 20),
        ("64 KiB", 64 << 10),
        ("1.5GiB", 3 << 29),
        ("17179869183GiB", u64::MAX - (1 << 30) + 1),
        (most.as_str(), u64::MAX),
    ] {
        let place = Place::new(&format!("root = \"s\"\n[components.a]\nmax-state = \"{size}\"\n"));
        assert_eq!(Grants::load(place.grants()).unwrap().grant("a").unwrap().max_state, bytes, "{size}");
    }
    let place = Place::new("");
    for size in ["17179869184GiB", "99999999999999999999", "1e3", "64 apples", "", "MiB", "-1"] {
        let mut command = cli();
        command.arg("create").arg(place.path("s")).arg("--seq=1").arg(format!("--max-state={size}"));
        let refused = run(&mut command, "1");
        assert_eq!(refused.code, Some(2), "{size}: {refused:?}");
        assert!(refused.stderr.contains("64MB (decimal) or 64MiB (binary)"), "{}", refused.stderr);
    }
    assert!(!place.path("s").exists());
}

/// In the place of a volume that is not mounted, an empty directory would start from nothing.
#[test]
fn a_directory_that_must_exist_is_not_made() {
    let place = Place::new("root = \"state\"\n[components.a]\nmust-exist = true\n");
    let grants = Grants::load(place.grants()).unwrap();
    let grant = grants.grant("a").unwrap();
    for grant in [grant.clone(), grant.clone().read_only()] {
        let opened = minisnap().open(grant).and_then(|mut store| store.restore_text());
        let Err(Error::Io(problem)) = opened else { panic!("{opened:?}") };
        assert!(problem.to_string().contains("state/a` is not there, and must exist"), "{problem}");
    }
    assert!(!place.path("state").exists());
    let dir = place.path("state/a");
    let create = || run(cli().arg("create").arg(&dir).args(["--seq", "1", "--must-exist"]), "1");
    let refused = create();
    assert_eq!(refused.code, Some(10), "{refused:?}");
    assert!(refused.stderr.contains("must exist: mount it, or make it") && !dir.exists(), "{refused:?}");
    fs::create_dir_all(&dir).unwrap();
    assert_eq!(create().code, Some(0));
    assert_eq!(minisnap().open(grant).unwrap().restore_text().unwrap().seq, 1);
}

#[test]
fn the_grants_file_of_the_page_of_the_host_says_what_is_written_there() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/README.md")).unwrap();
    let (_, section) = page.split_once("## Grant directories").expect("it has the section");
    let (_, file) = section.split_once("```toml\n").expect("the section shows a grants file");
    let (file, section) = file.split_once("```").unwrap();
    let place = Place::new(file);
    let done = place.check(&[]);
    let printed = done.stdout.replace(&place.folder().display().to_string(), "");
    let (_, console) = section.split_once("grants check minisnap.toml\n").expect("and its table");
    let cells = |table: &str| -> Vec<Vec<String>> {
        table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let expected = console.split_once("```").unwrap().0.replace("/srv", "");
    assert_eq!((done.code, cells(&printed)), (Some(0), cells(&expected)), "{done:?}");
}

#[test]
fn an_embedder_gets_the_same_grants() {
    let place = Place::new(GRANTS);
    let grants = Grants::load(place.grants()).unwrap();
    assert_eq!(grants.grant("banned").unwrap().access, Access::None);
    let reader = grants.grant("reader").unwrap();
    let expected = Grant::new(place.path("state/shared/reader")).max_state(7).read_only();
    assert_eq!(reader, expected.component("reader"));
    let other = grants.entry("other").unwrap();
    let mut expected = grants.defaults().clone().component("other");
    expected.dir = place.path("state/other");
    assert_eq!((other.grant, other.place.to_string()), (expected, place.grants().display().to_string()));
    let names: Vec<String> = grants.terms().map(|terms| terms.name).collect();
    assert_eq!(names, ["banned", "counter", "reader"]);
    // What nothing is said of is what a grant has from the start.
    let nothing = Grants::load(Place::new("root = \"s\"").grants()).unwrap().grant("a").unwrap();
    assert_eq!(nothing, Grant::new(&nothing.dir).component("a"));
}
