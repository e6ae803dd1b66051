//! What a grants file says of object stores: every mistake is named with its line, and what is right is what a component gets.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use minisnap_host::Grant;
use minisnap_host::grants::Grants;
use minisnap_host::remote::TakeOver;
use minisnap_tests::place::Place;
use minisnap_tests::{cli, run};

use crate::grants::assert_mistake;

#[test]
fn a_mistake_in_what_is_said_of_an_object_store_has_its_line() {
    let of_component =
        |key: &str| format!("root = \"s\"\n[remote]\nurl = \"s3://b/p\"\n[components.a]\n{key}\n");
    for (key, what, help) in [
        ("store = \"cloud\"", "`cloud`", "`local` or `remote`"),
        ("store = true", "`store`: wanted string or table", ""),
        ("take-over = \"never\"", "`never`", "`open` or `released`"),
    ] {
        assert_mistake(&of_component(key), 5, what, help);
    }
    let there = "root = \"s\"\n[components.a]\nstore = \"remote\"\n";
    assert_mistake(there, 3, "there is no `[remote]`", "url = \"s3://BUCKET/PREFIX\"");
    let of_defaults = "root = \"s\"\n[defaults]\nstore = \"remote\"\n";
    assert_mistake(of_defaults, 3, "there is no `[remote]`", "url = \"s3://BUCKET/PREFIX\"");
    let remote = |keys: &str| format!("root = \"s\"\n[remote]\n{keys}\n");
    for (keys, line, what, help) in [
        ("endpoint = \"http://h\"", 2, "missing field `url`", ""),
        ("url = \"http://h/b\"", 3, "names no place in an object store", "s3://BUCKET/PREFIX"),
        ("url = \"s3://b/../c\"", 3, "names no place in an object store", "s3://BUCKET/PREFIX"),
        ("url = \"s3://b\"\nendpoint = \"h:7480\"", 4, "is no URL of a server", "https://HOST:PORT"),
        ("url = \"s3://b\"\nnode = \"host a\"", 4, "is no node's name", "as no other is named"),
        ("url = \"s3://b\"\nsecret = \"x\"", 4, "unknown field `secret`", "credentials"),
    ] {
        assert_mistake(&remote(keys), line, what, help);
    }
    let odd = of_component("store = \"remote\"\ndirectory = \"a b\"");
    let place = Place::new(&odd);
    let told = Grants::load(place.grants()).unwrap().entry("a").unwrap_err();
    assert!(told.line() == Some(6) && told.what().contains("`a b`"), "{told}");
}

#[test]
fn who_keeps_snapshots_in_an_object_store_is_named_there_as_its_directory_is() {
    let place = Place::new(
        "root = \"s\"\n[remote]\nurl = \"s3://b/p\"\nendpoint = \"http://h:1\"\nregion = \"r\"\nnode = \"n\"\n\
         credentials = \"c\"\n[defaults]\nstore = \"remote\"\ntake-over = \"released\"\n[components.a]\n\
         directory = \"x/a\"\ntake-over = \"open\"\n[components.here]\nstore = \"local\"\n[components.i]\n\
         directory = \"i/{instance}\"\n",
    );
    let grants = Grants::load(place.grants()).unwrap();
    let there = |grant: Grant| {
        let remote = grant.remote.unwrap();
        assert_eq!((remote.node.as_str(), remote.location.region.as_deref()), ("n", Some("r")));
        assert_eq!(remote.location.endpoint.as_deref(), Some("http://h:1"));
        assert_eq!(remote.credentials, Some(place.path("c")));
        (remote.url(), remote.take_over)
    };
    let url = |name: &str| format!("s3://b/p/{name}");
    assert_eq!(there(grants.grant("a").unwrap()), (url("x/a"), TakeOver::Anyone));
    assert_eq!(there(grants.grant("other").unwrap()), (url("other"), TakeOver::Itself));
    assert_eq!(there(grants.grant_instance("i", "eu").unwrap()), (url("i/eu"), TakeOver::Itself));
    assert_eq!(there(grants.grant_instance("a", "eu").unwrap()), (url("x/a.eu"), TakeOver::Anyone));
    assert_eq!(grants.grant("here").unwrap().remote, None);
    let printed = place.check(&[]).stdout;
    for shown in [url("x/a"), url("i/{instance}"), url("NAME")] {
        assert!(printed.lines().any(|line| line.ends_with(&shown)), "{shown}: {printed}");
    }
    let json: serde_json::Value = serde_json::from_str(&place.check(&["--json"]).stdout).unwrap();
    assert_eq!(json["components"][0]["url"], url("x/a"));
    assert_eq!(json["components"][1]["url"], serde_json::Value::Null);
}

#[test]
fn what_the_page_of_the_host_says_of_an_object_store_is_a_grants_file() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/README.md")).unwrap();
    let (_, section) = page.split_once("## Object stores").expect("it has the section");
    let file = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let place = Place::new(file);
    let ledger = Grants::load(place.grants()).unwrap().grant("ledger").unwrap();
    assert_eq!(ledger.remote.unwrap().url(), "s3://bucket/prefix/ledger");
}

/// What is asked without an answer ends at its deadline, and says what it was.
#[test]
fn a_place_in_an_object_store_that_cannot_be_had_is_an_error_that_names_it() {
    let verb = |args: &[&str], keys: &[(&str, &str)]| {
        let mut command = cli();
        command.args(args).env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        run(command.envs(keys.iter().copied()), "1")
    };
    let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "hidden")];
    let closed = ["--endpoint", "http://127.0.0.1:9", "--timeout", "100ms"];
    let url = "s3://bucket/prefix/ledger";
    for verbs in [&["list", url][..], &["create", url, "--seq", "1"], &["clear", url, "--yes"]] {
        let done = verb(&[verbs, &closed[..]].concat(), &keys);
        assert!(done.code == Some(10) && done.stderr.contains(url), "{done:?}");
        assert!(done.stderr.contains("exceeded its deadline") && !done.stderr.contains("hidden"), "{done:?}");
        let done = verb(&[verbs, &closed[..]].concat(), &[]);
        assert!(done.code == Some(8) && done.stderr.contains("AWS_ACCESS_KEY_ID"), "{done:?}");
    }
    for wrong in ["s3://bucket", "s3:///a", "s3://bucket/", "s3://bucket/../a", "s3://bucket//a"] {
        let done = verb(&["list", wrong], &keys);
        assert!(done.code == Some(2) && done.stderr.contains("s3://BUCKET/PREFIX/NAME"), "{wrong}: {done:?}");
    }
    let place = Place::new(
        "root = \"s\"\n[remote]\nurl = \"s3://b\"\ncredentials = \"c\"\n[components.counter]\nstore = \"remote\"\n",
    );
    place.install("counter@1.0.0.wasm");
    for (text, mode, what) in [
        ("AWS_ACCESS_KEY_ID=k\nAWS_SECRET_ACCESS_KEY=hidden\n", 0o640, "chmod 600"),
        ("AWS_ACCESS_KEY_ID=k\n", 0o600, "has no AWS_SECRET_ACCESS_KEY=..."),
        ("AWS_ACCESS_KEY_ID=k\nhidden\n", 0o600, "line 2 of"),
        ("hidden=\n", 0o600, "line 1 of"),
        ("AWS_SECRET_ACCESS_KEY=hid den\n", 0o600, "AWS_SECRET_ACCESS_KEY in"),
    ] {
        fs::write(place.path("c"), text).unwrap();
        fs::set_permissions(place.path("c"), fs::Permissions::from_mode(mode)).unwrap();
        let done = place.run("counter@1.0.0.wasm", &["restore"]);
        assert!(done.code != Some(0) && done.stderr.contains(what), "{what}: {done:?}");
        assert!(!done.stderr.contains("hid"), "{done:?}");
    }
}
