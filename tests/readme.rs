//! What the documents say: the guarantees have their tests, and the README's commands do what is printed there.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use minisnap_tests::{COUNTER, binary, cli, program, root, run};
use tempfile::tempdir;

/// All that are for people.
const DOCUMENTS: [&str; 20] = [
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
    "README.md",
    "guest/client/LOG.md",
    "guest/DESIGN.md",
    "host/CHANGELOG.md",
    "host/README.md",
    "host/REMOTE.md",
    "tests/CRASH_STATES.md",
    "tests/GUARANTEES.md",
    "tests/README.md",
    "tests/benches/README.md",
    "tests/benches/speed.md",
    "tests/consumers/README.md",
    "tests/consumers/c/README.md",
    "tests/consumers/go/README.md",
    "tests/consumers/javascript/README.md",
    "tests/consumers/python/README.md",
    "tests/consumers/rust/README.md",
    "wit/README.md",
];

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn readme() -> String {
    document("README.md")
}

/// A test, as it stands in its source.
struct Test {
    name: String,
    /// Whether cargo ignores it unless it is asked for.
    is_ignored: bool,
}

/// The tests of a source: functions right below their attributes, of which one is `#[test]`. What is compiled on some
/// condition is none; what cargo ignores on a condition, with `cfg_attr`, is run elsewhere.
fn tests_of(source: &str) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut attributes = Vec::new();
    let mut is_in_attribute = false;
    for line in source.lines().map(str::trim) {
        if is_in_attribute || line.starts_with("#[") && !line.ends_with(']') {
            is_in_attribute = !line.ends_with(")]");
            continue;
        }
        let name = line.strip_prefix("fn ").and_then(|rest| rest.split_once('('));
        match name {
            _ if line.starts_with("#[") => {
                attributes.push(line);
                continue;
            }
            _ if line.starts_with("//") => continue,
            Some((name, _)) if attributes.contains(&"#[test]") => {
                let has = |start: &str| attributes.iter().any(|attribute| attribute.starts_with(start));
                if !has("#[cfg(") {
                    tests.push(Test { name: name.to_owned(), is_ignored: has("#[ignore") });
                }
            }
            _ => {}
        }
        attributes.clear();
    }
    tests
}

/// The names of the `.rs` files in a folder itself.
fn files(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".rs")).collect()
}

/// The files that are modules of the program of a folder's tests.
fn modules(folder: &str) -> BTreeSet<String> {
    let all = document(&format!("{folder}/all.rs"));
    // Nothing leaves one out on a condition.
    let lines = all.lines().filter(|line| !line.is_empty() && !line.starts_with("//!"));
    let name = |line: &str| line.strip_prefix("mod ")?.strip_suffix(';').map(|name| format!("{name}.rs"));
    let modules = lines.map(|line| name(line).unwrap_or_else(|| panic!("{folder}/all.rs: {line}")));
    modules.filter(|file| root().join(folder).join(file).is_file()).collect()
}

/// The files of tests that are programs, as the manifest of this package says, and the modules of the largest of those.
fn registered() -> BTreeSet<String> {
    let manifest: toml::Table = document("tests/Cargo.toml").parse().unwrap();
    assert_eq!(manifest["package"]["autotests"].as_bool(), Some(false));
    let tests = manifest["test"].as_array().unwrap();
    let runs =
        tests.iter().filter(|test| test.get("test").is_none() && test.get("required-features").is_none());
    let mut files: BTreeSet<String> = runs.map(|test| test["path"].as_str().unwrap().to_owned()).collect();
    for module in modules("tests") {
        assert!(files.insert(module.clone()), "{module} is a program");
    }
    files
}

/// Every test that `cargo test --workspace` compiles, of the store's sources and of those here.
fn all_tests() -> Vec<Test> {
    let guests = modules("guest/tests").into_iter().map(|file| format!("guest/tests/{file}"));
    let ours = registered().into_iter().map(|file| format!("tests/{file}"));
    guests.chain(ours).flat_map(|file| tests_of(&fs::read_to_string(root().join(file)).unwrap())).collect()
}

#[test]
fn every_file_of_tests_is_registered() {
    let mut found = files("tests");
    assert!(found.remove("build.rs"));
    assert_eq!(found, registered());
    let manifest: toml::Table = document("guest/Cargo.toml").parse().unwrap();
    assert_eq!(manifest["package"]["autotests"].as_bool(), Some(false));
    let program = manifest["test"].as_array().unwrap();
    assert_eq!((program.len(), program[0].as_table().unwrap().len()), (1, 2), "nothing switches it off");
    assert_eq!(program[0]["path"].as_str(), Some("tests/all.rs"));
    let mut found = files("guest/tests");
    assert!(found.remove("all.rs"));
    assert_eq!(found, modules("guest/tests"));
}

#[test]
fn no_two_programs_of_the_tests_have_one_name() {
    let mut names = BTreeSet::new();
    for folder in ["tests", "tests/harness", "tests/programs"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.extension().is_none_or(|extension| extension == "rs") {
                let name = path.file_stem().unwrap().to_str().unwrap().replace('-', "_");
                assert!(names.insert(name), "{}", path.display());
            }
        }
    }
    assert!(names.contains("run") && names.contains("run_verb"), "{names:?}");
}

#[test]
fn what_is_ignored_or_compiled_on_a_condition_is_told_from_a_test_that_runs() {
    let source = "#[test]\nfn runs() {}\n#[inline]\n#[test]\n/// Why.\nfn runs_too() {}\n\
        #[test]\n#[ignore = \"slow\"]\nfn ignored() {}\n#[test]\n#[cfg(any())]\nfn never() {}\n\
        fn helper() {}\n// #[test]\nfn commented() {}\n#[test]\n\nfn apart() {}\n\
        #[test]\n#[cfg_attr(\nnot(root),\nignore = \"\"\n)]\nfn where_root() {}\n";
    let found: Vec<_> = tests_of(source).into_iter().map(|test| (test.name, test.is_ignored)).collect();
    let expected = [("runs", false), ("runs_too", false), ("ignored", true), ("where_root", false)];
    assert_eq!(found, expected.map(|(name, is_ignored)| (name.to_owned(), is_ignored)));
}

#[test]
fn every_guarantee_has_a_test_that_runs_and_is_named_after_it() {
    let guarantees = document("tests/GUARANTEES.md");
    let (_, table) = guarantees.split_once("| guarantee | test |").expect("it has the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let all = all_tests();
    let mut guarantees = 0;
    for row in rows {
        let tests: Vec<&str> = row.split('|').nth(2).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        // Such a row says itself how its tests are run.
        let may_be_ignored = row.contains(" -- --ignored`");
        for test in tests {
            let is_test = |found: &Test| found.name == test && (may_be_ignored || !found.is_ignored);
            assert!(all.iter().any(is_test), "there is no test {test} that is run");
        }
        guarantees += 1;
    }
    assert!(guarantees > 10, "only {guarantees} guarantees were found");
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let all = all_tests();
    for file in DOCUMENTS {
        let text = document(file);
        let names = text
            .split('`')
            .filter(|word| word.matches('_').count() > 3 && !word.contains([' ', '/', '.', '{']));
        for name in names {
            let is_test = all.iter().any(|test| test.name == name);
            assert!(is_test, "{file} names {name}, which is no test");
        }
    }
}

#[test]
fn every_link_of_the_documents_leads_to_a_file_or_a_heading() {
    for file in DOCUMENTS {
        let text = document(file);
        // What stands outside of code.
        let prose: String = text.split('`').step_by(2).collect();
        let folder = root().join(file).parent().unwrap().to_owned();
        for link in prose.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
            if link.starts_with("https://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(file) } else { folder.join(path) };
            assert!(target.exists(), "{file} links to {link}");
            if !heading.is_empty() {
                let headings = fs::read_to_string(target).unwrap();
                let anchor =
                    |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                let is_there = headings.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(is_there, "{file} links to {link}");
            }
        }
    }
}

#[test]
fn the_chart_and_the_table_of_the_speed_are_of_one_run() {
    let page = document("tests/benches/README.md");
    let written = |name: &str| {
        assert!(page.contains(&format!("({name})")), "it shows {name}");
        document(&format!("tests/benches/{name}"))
    };
    let (table, chart) = (written("speed.md"), written("speed.svg"));
    let place = table.lines().last().unwrap();
    assert!(place.starts_with("Measured "), "{place}");
    for word in place.replace('`', "").split(' ') {
        assert!(chart.contains(word), "{word}");
    }
    // Each time of the chart stands in the table.
    let is_compared = |line: &&str| line.contains(", beside ") && line.contains(" of ");
    let shown: Vec<&str> = chart.lines().filter(is_compared).collect();
    assert!(shown.len() > 12, "{shown:?}");
    for line in shown {
        let (_, words) = line.split_once("\">").unwrap();
        let (ours, rest) = words.split_once(", beside ").unwrap();
        let (other, against) = rest.split_once(" of ").unwrap();
        let against = against.trim_end_matches("</text>");
        let row = format!("| {ours} | {against} | {other} |");
        assert!(table.contains(&row), "{row}");
    }
}

#[test]
fn the_times_of_the_readme_are_those_of_the_table() {
    let (readme, measured) = (readme(), document("tests/benches/speed.md"));
    let (_, table) = readme.split_once("| work | state | time | native |\n").expect("the README has times");
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, work, state, time, native, _] = cells[..] else { panic!("{row}") };
        let is_it = |line: &str| {
            line.starts_with(&format!("| {work} | {state} | {time} | native 0.1.3"))
                && line.contains(&format!(" | {native} | **"))
        };
        assert!(measured.lines().any(is_it), "it was measured otherwise: {row}");
    }
}

/// The table of the proof has a row for each of its methods, and this store's columns are free of violations.
#[test]
fn the_table_of_the_proof_has_every_method_and_no_violation_of_this_store() {
    let page = document("tests/README.md");
    let (_, table) = page.split_once("| violations of cases |").expect("it has the table");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let methods = run(Command::new(program("proof")).arg("--list"), "").stdout;
    assert_eq!(rows.iter().map(|row| row[1]).collect::<Vec<_>>(), methods.lines().collect::<Vec<_>>());
    for row in rows {
        for ours in &row[2..5] {
            // A log is not tried in all ways.
            let is_tried = !ours.is_empty() || *ours == row[4];
            assert!(
                is_tried && (ours.is_empty() || ours.starts_with("0 of ") && *ours != "0 of 0"),
                "{row:?}"
            );
        }
    }
}

#[test]
fn the_first_command_prints_what_the_readme_prints() {
    let readme = readme();
    let (_, console) = readme.split_once("```console\n$ ").expect("the README has a command");
    let (command, output) = console.split_once("```").unwrap().0.split_once('\n').unwrap();
    let dir = tempdir().unwrap();
    // The same command, with the binary that cargo would run, and another directory.
    let command = command
        .replace("cargo run -q --", binary().to_str().unwrap())
        .replace("/tmp/snapshots", dir.path().to_str().unwrap());
    let done = run(Command::new("sh").args(["-c", &format!("({command}) 2>&1")]), "");
    // On a terminal, the number gets a line of its own.
    let printed = done.stdout.replace("}seq", "}\nseq");
    assert_eq!((done.code, printed.as_str()), (Some(0), output));
}

#[test]
fn the_component_of_the_readme_is_the_one_that_counts() {
    let readme = readme();
    let (_, snippet) = readme.split_once("```rust\nuse minisnap_client").expect("the README has a component");
    let snippet = format!("use minisnap_client{}", snippet.split_once("```").unwrap().0);
    let source = fs::read_to_string(root().join("tests/consumers/counter/src/main.rs")).unwrap();
    assert!(source.ends_with(&snippet), "the README shows another component:\n{snippet}");

    let dir = tempdir().unwrap();
    for count in 1..4 {
        let done = run(cli().arg("run").arg(COUNTER).arg("--grant").arg(dir.path()), "");
        assert_eq!((done.code, done.stdout), (Some(0), format!("counted to {count}\n")));
    }
    assert!(readme.contains("counted to 1\n"));
}

#[test]
fn the_state_of_the_readme_is_that_of_the_ledger() {
    let source = document("tests/consumers/ledger/src/main.rs");
    let readme = readme();
    let (_, snippet) =
        readme.split_once("```rust\nlet mut ledger").expect("the README has a state with a log");
    let (snippet, _) = snippet.split_once("```").unwrap();
    let code = |line: &str| line.split("//").next().unwrap().trim().to_owned();
    let lines: Vec<String> = source.lines().map(code).collect();
    for line in format!("let mut ledger{snippet}").lines().map(code) {
        assert!(lines.contains(&line), "{line}");
    }
}

#[test]
fn the_commands_of_the_history_print_what_the_readme_prints() {
    let readme = readme();
    let (_, console) = readme.split_once("```console\n$ for seq").expect("the README has a history");
    let text = format!("$ for seq{}", console.split_once("```").unwrap().0);
    let dir = tempdir().unwrap();
    let (commands, output): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("$ "));
    let script = commands.iter().map(|command| format!("{}\n", &command[2..])).collect::<String>();
    let script = script
        .replace("cargo run -q --", binary().to_str().unwrap())
        .replace("/tmp/history", dir.path().to_str().unwrap());
    let done = run(Command::new("sh").args(["-ec", &format!("exec 2>&1\n{script}")]), "");
    // The number comes on standard error, after a line break that a terminal gets.
    let printed = done.stdout.replace("}seq", "}\nseq");
    let words = |line: &str| -> Vec<String> {
        let is_time = |word: &str| word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
        line.split(' ').map(|word| if is_time(word) { "TIME" } else { word }.to_owned()).collect()
    };
    let printed: Vec<_> = printed.lines().map(words).collect();
    let expected: Vec<_> = output.into_iter().map(words).collect();
    assert_eq!((done.code, printed), (Some(0), expected));
}
