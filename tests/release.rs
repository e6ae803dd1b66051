//! A release: `.ci/release`, and what a registry then gives to others.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::command_line::{assert_fails, restore};
use minisnap_tests::plain_host::run_plainly;
use minisnap_tests::server::Server;
use minisnap_tests::sources::{Sources, VERSION, sh, succeed, target};
use minisnap_tests::{between, names, root, run, scratch};
use serde_json::Value;
use tempfile::tempdir;

/// Each place that says the version, and each section of the changes.
#[test]
fn a_release_is_refused_unless_its_version_is_the_same_everywhere_and_described() {
    let folder = tempdir().unwrap();
    let sources = Sources::copy(folder.path());
    let another = |file: &str, version: &str| {
        let first = format!("error: the host's version is {VERSION}, and it is another here:\n");
        (first, format!("{file} {version}\n"))
    };
    let undescribed = |what: &str| (format!("error: host/CHANGELOG.md has no {what}"), String::new());
    let (plain, quoted) = (format!("@{VERSION};"), format!("version = \"{VERSION}\""));
    let manifest = "host/component/minisnap.component.toml";
    let cases = [
        (
            "guest/client/Cargo.toml",
            "version.workspace = true",
            "version = \"0.1.99\"",
            another("guest/client/Cargo.toml", "0.1.99"),
        ),
        (
            "guest/Cargo.toml",
            "version.workspace = true",
            "version = \"0.99.0\"",
            another("guest/Cargo.toml", "0.99.0"),
        ),
        ("host/cli/Cargo.toml", &quoted, "version = \"0\"", another("host/cli/Cargo.toml", "0")),
        ("wit/worlds.wit", &plain, "@0.1.99;", another("wit/worlds.wit", "0.1.99")),
        (
            "wit/worlds.wit",
            &plain,
            &format!("@{VERSION}-rc.1;"),
            another("wit/worlds.wit", &format!("{VERSION}-rc.1")),
        ),
        (
            "wit/README.md",
            &format!("minisnap-store@{VERSION}"),
            "minisnap-store@0.1.99",
            another("wit/README.md", "0.1.99"),
        ),
        ("host/cli/wit/command.wit", &plain, "@0.1.99;", another("host/cli/wit/command.wit", "0.1.99")),
        (
            "host/src/linker.rs",
            &format!("@{VERSION}\""),
            "@0.1.99\"",
            another("host/src/linker.rs", "0.1.99"),
        ),
        (manifest, &quoted, "version = \"0.1.00\"", another(manifest, "0.1.00")),
        (manifest, &quoted, "", another(manifest, "")),
        (
            "host/CHANGELOG.md",
            &format!("## {VERSION}, "),
            "## 0.0.9, ",
            undescribed(&format!("section `## {VERSION}, ...`")),
        ),
        (
            "host/CHANGELOG.md",
            "### WIT\n",
            "### wit\n",
            undescribed(&format!("`### WIT` in its section `## {VERSION}`")),
        ),
        (
            "host/CHANGELOG.md",
            "### Disk format\n",
            "",
            undescribed(&format!("`### Disk format` in its section `## {VERSION}`")),
        ),
    ];
    for (file, from, to, (message, place)) in cases {
        let before = fs::read_to_string(sources.folder.join(file)).unwrap();
        sources.change(file, from, to);
        let done = sources.released("--dry-run");
        assert_fails(&done, 1, &message);
        assert!(done.stderr.ends_with(&place), "{file}: {}", done.stderr);
        fs::write(sources.folder.join(file), before).unwrap();
    }
    for arguments in
        ["", "--images", "--images localhost:1", "--images localhost:1/", "--crates x", "--dry-run --crates"]
    {
        assert_fails(
            &sources.released(arguments),
            2,
            "give --dry-run, --crates, or --images with a registry and a prefix",
        );
    }
    for arguments in ["--crates", "--images localhost:1/project"] {
        assert_fails(&sources.released(arguments), 1, "is not of this commit: run .ci/release --dry-run");
        fs::write(sources.folder.join("new"), "").unwrap();
        assert_fails(&sources.released(arguments), 1, "something is not committed");
        fs::remove_file(sources.folder.join("new")).unwrap();
    }
    assert_eq!(sources.published(), "");
}

/// An OCI registry on this machine that keeps its images in a folder.
fn registry(folder: &Path) -> Server {
    Server::start(|port| {
        let config = folder.join("config.yml");
        let storage = format!("storage: {{filesystem: {{rootdirectory: {:?}}}}}", folder.join("images"));
        let http = format!("http: {{addr: \"127.0.0.1:{port}\"}}");
        fs::write(&config, format!("version: 0.1\n{storage}\n{http}\n")).unwrap();
        let mut registry = Command::new("docker-registry");
        registry.arg("serve").arg(config);
        registry
    })
}

/// The dry run makes the release's files, lists each with its sum, and publishes nothing; then the release is published, to
/// a registry on this machine, and only once; then another project takes the WIT and the component from there, by the lines
/// of the pages, and what it made runs.
#[test]
#[cfg_attr(not(component_of_this_toolchain), ignore = "the component is not of this toolchain")]
fn in_long_runs_a_release_lists_its_files_and_others_get_them_from_a_registry() {
    let script = "for tool in cargo-cyclonedx wkg; do
            grep -qs \"\\[\\\"$tool\\\"\\]\" tools/.crates.toml || echo $tool
        done
        for tool in docker-registry musl-gcc; do type -P $tool >/dev/null || echo $tool; done";
    let missing = succeed(&mut sh(&target(), script));
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "continuous integration has them: {missing:?}");
        println!("IGNORED: run `tests/install-tools {}`", missing.trim_end().replace('\n', " "));
        return;
    }
    // What is built there stays, for the next time.
    let sources = Sources::copy(&target().join("release-trial"));
    // Its tools are those of these tests.
    succeed(&mut sh(
        &sources.folder,
        &format!("mkdir -p target && ln -sfn {:?} target/tools", target().join("tools")),
    ));
    // Where another toolchain made the component that is in the repository, this one is released. It is what the same toolchain
    // makes in another place.
    succeed(&mut sh(&sources.folder, "guest/build"));
    let component = "host/component/minisnap.wasm";
    let [here, there] = [root(), &sources.folder].map(|place| fs::read(place.join(component)).unwrap());
    // What continuous integration tests, it has built; elsewhere, one of the two may be of another toolchain.
    let is_same = there == minisnap_host::COMPONENT || std::env::var_os("CI").is_none() && there == here;
    assert!(is_same, "two builds by one toolchain differ");
    let musl = "$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-musl/lib/self-contained/libc.a";
    let musl =
        run(&mut sh(root(), &format!("[ -e {musl} ] || rustup target add x86_64-unknown-linux-musl")), "");
    if musl.code != Some(0) {
        println!("IGNORED: this machine cannot have Rust's target for musl: {}", musl.stderr);
        return;
    }
    sources.commit();
    let dry = succeed(&mut sources.release("--dry-run"));
    assert_eq!(
        (sources.published(), succeed(&mut sh(&sources.folder, "git tag"))),
        (String::new(), String::new())
    );
    let files = sources.folder.join("target/release-files");
    assert_complete(&files, &sources.folder, &dry);

    let images = tempdir().unwrap();
    let registry = registry(images.path());
    let address = format!("localhost:{}", registry.port);
    publish_once(&sources, &files, &address);
    assert_others_get_them(&files, &address);
    drop(registry);
    assert_fails(
        &sources.released(&format!("--images {address}/project")),
        1,
        "it is not known whether localhost:",
    );
}

/// Every file of a release is there, and in the list; the command line runs anywhere, and nothing in the lists of what it
/// is made of is missing or too much.
fn assert_complete(files: &Path, sources: &Path, dry: &str) {
    let summed = succeed(&mut sh(files, "sha256sum --quiet -c SHA256SUMS; cat SHA256SUMS"));
    let mut expected: Vec<String> = [
        "cli-VERSION.cdx.json",
        "cli-VERSION.crate",
        "client-VERSION.crate",
        "host-VERSION.crate",
        "VERSION-x86_64-unknown-linux-musl.tar.gz",
        "store-VERSION.cdx.json",
        "store-VERSION.wasm",
        "wit-VERSION.wasm",
    ]
    .map(|name| format!("minisnap-{}", name.replace("VERSION", VERSION)))
    .to_vec();
    expected.sort_unstable();
    let named: Vec<&str> = summed.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(named, expected);
    expected.extend(["SHA256SUMS", "commit"].map(str::to_owned));
    expected.sort_unstable();
    assert_eq!(names(files), expected);
    let checked_in = sources.join("host/component/minisnap.wasm");
    assert_eq!(
        fs::read(files.join(format!("minisnap-store-{VERSION}.wasm"))).unwrap(),
        fs::read(checked_in).unwrap()
    );

    let unpacked = tempdir().unwrap();
    let archive = format!("tar --strip-components=1 -xzf {:?}/minisnap-{VERSION}-*.tar.gz", files);
    let listed =
        succeed(&mut sh(unpacked.path(), &format!("{archive}; find . -type f ! -empty -printf '%P\\n'")));
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    let mut expected: Vec<String> =
        ["LICENSE-APACHE", "LICENSE-MIT", "man/minisnap.1", "minisnap"].map(str::to_owned).to_vec();
    for verb in fs::read_dir(root().join("host/cli/src/commands")).unwrap() {
        let verb = verb.unwrap().path();
        expected.push(format!("man/minisnap-{}.1", verb.file_stem().unwrap().display()));
    }
    expected.extend(
        ["bash", "elvish", "fish", "powershell", "zsh"].map(|shell| format!("completions/minisnap.{shell}")),
    );
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for line in expected.iter().map(|file| format!("/{file}\n")).chain([summed]) {
        assert!(dry.contains(&line), "{dry}\n{line}");
    }
    // The static one in a system that has nothing else.
    let alone = match std::env::var_os("MINISNAP_STATIC") {
        Some(_) => "unshare --user --map-root-user --root=. /minisnap --version",
        None => "./minisnap --version",
    };
    let version = succeed(&mut sh(unpacked.path(), alone));
    assert!(version.starts_with(&format!("minisnap {VERSION}")), "{version}");

    for (package, file, target, with, without) in [
        ("minisnap-cli", "cli", "x86_64-unknown-linux-musl", "wasmtime", "proptest"),
        ("minisnap-component", "store", "wasm32-wasip2", "xxhash-rust", "tempfile"),
    ] {
        let text = fs::read_to_string(files.join(format!("minisnap-{file}-{VERSION}.cdx.json"))).unwrap();
        for (at, _) in text.match_indices("file://") {
            let place = &text[at + 7..];
            assert!(place.starts_with("/minisnap/") || place.starts_with('.'), "{package}: {}", &place[..40]);
        }
        let bom: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&bom["bomFormat"], &bom["specVersion"]),
            (&Value::from("CycloneDX"), &Value::from("1.5"))
        );
        let components = bom["components"].as_array().unwrap().iter();
        let mut listed: Vec<String> = components
            .map(|part| format!("{} {}", part["name"].as_str().unwrap(), part["version"].as_str().unwrap()))
            .collect();
        listed.sort_unstable();
        let has = |name: &str| listed.iter().any(|part| part.starts_with(&format!("{name} ")));
        assert!(has(with) && !has(without), "{package}: {listed:?}");
        let script = format!(
            "cargo tree --locked -p {package} -e normal,build --target {target} --prefix none -f '{{p}}' |
             sed 's/^\\([^ ]*\\) v\\([^ ]*\\).*/\\1 \\2/' | grep -v '^{package} ' | LC_ALL=C sort -u"
        );
        assert_eq!(listed, succeed(&mut sh(root(), &script)).lines().collect::<Vec<_>>(), "{package}");
    }
}

/// What the dry run made is published, in an order in which each finds what it needs; after a failure the rest; and nothing
/// is ever replaced.
fn publish_once(sources: &Sources, files: &Path, registry: &str) {
    let images = format!("--images {registry}/project");
    let store = files.join(format!("minisnap-store-{VERSION}.wasm"));
    let component = fs::read(&store).unwrap();
    fs::write(&store, &component[1..]).unwrap();
    for arguments in ["--crates", &images] {
        assert_fails(&sources.released(arguments), 1, "is not what the dry run made: run it again");
    }
    fs::write(&store, &component).unwrap();
    assert_eq!(
        (sources.published(), succeed(&mut sh(&sources.folder, "git tag"))),
        (String::new(), String::new())
    );

    fs::write(sources.fake.path().join("fails"), "minisnap-host").unwrap();
    assert_eq!(sources.released("--crates").code, Some(1));
    let line = |of: &str| format!("publish --locked --registry crates-io --package minisnap-{of}\n");
    assert_eq!(sources.published(), line("client"));
    for _ in 0..2 {
        succeed(&mut sources.release("--crates"));
        assert_eq!(sources.published(), ["client", "host", "cli"].map(line).concat());
    }
    assert_eq!(succeed(&mut sh(&sources.folder, "git tag --points-at HEAD")), format!("v{VERSION}\n"));

    // The second time, it finds them.
    for _ in 0..2 {
        let printed = succeed(&mut sources.release(&images));
        assert!(printed.contains(&format!("{registry} has arcella:minisnap@{VERSION}")), "{printed}");
        assert!(printed.contains("digest: sha256:"), "{printed}");
    }
    for file in [&store, &files.join(format!("minisnap-wit-{VERSION}.wasm"))] {
        let before = fs::read(file).unwrap();
        // A custom section more.
        fs::write(file, [&before[..], b"\0\x02\x01a"].concat()).unwrap();
        let sum = "sha256sum minisnap-* >SHA256SUMS";
        succeed(&mut sh(files, sum));
        assert_fails(&sources.released(&images), 1, &format!("{registry} has another arcella:minisnap"));
        fs::write(file, before).unwrap();
        succeed(&mut sh(files, sum));
    }
    // Of another commit, with the same version.
    let commit = fs::read_to_string(files.join("commit")).unwrap();
    let commit = commit.trim();
    succeed(&mut sh(
        &sources.folder,
        "git commit -q --allow-empty -m more; git rev-parse HEAD >target/release-files/commit",
    ));
    for arguments in ["--crates", &images] {
        assert_fails(&sources.released(arguments), 1, &format!("the tag v{VERSION} is another commit"));
    }
    sources.change("wit/README.md", "# The interface", "# The interface\nNothing is published yet.");
    succeed(&mut sh(
        &sources.folder,
        "git commit -qam early; git rev-parse HEAD >target/release-files/commit",
    ));
    assert_fails(
        &sources.released(&images),
        1,
        "it is said that nothing is published:\nwit/README.md:2:Nothing",
    );
    sources.change("host/CHANGELOG.md", ", 2026-12-01", ", not released yet");
    succeed(&mut sh(
        &sources.folder,
        "git commit -qam undated; git rev-parse HEAD >target/release-files/commit",
    ));
    assert_fails(&sources.released(&images), 1, &format!("has no date in `## {VERSION}, not released yet`"));
    let back = format!("git reset -q --hard {commit}; echo {commit} >target/release-files/commit");
    succeed(&mut sh(&sources.folder, &back));
}

/// By the lines of the pages, with this registry in the place of the public one, `compose` of the consumers' tools in the
/// place of `wac plug`, and the library of wasmtime in the place of its command: each calls the library behind it.
fn assert_others_get_them(files: &Path, registry: &str) {
    let page = fs::read_to_string(root().join("wit/README.md")).unwrap();
    let project = scratch();
    let config =
        between(&page, "```toml\n", "```").replace("ghcr.io", registry).replace("arcellateam/", "project/");
    let insecure = format!("[registry.{registry:?}.oci]\nprotocol = \"http\"\n");
    fs::write(project.path().join("config.toml"), config + &insecure).unwrap();
    fs::create_dir_all(project.path().join("src")).unwrap();
    fs::create_dir(project.path().join("wit")).unwrap();
    fs::write(project.path().join("wit/world.wit"), between(&page, "```wit\n", "```")).unwrap();
    let rust = fs::read_to_string(root().join("tests/consumers/rust/README.md")).unwrap();
    fs::write(project.path().join("Cargo.toml"), between(&rust, "```toml\n", "```")).unwrap();
    fs::write(project.path().join("src/main.rs"), between(&rust, "```rust\n", "```")).unwrap();
    fs::copy(root().join("tests/consumers/Cargo.lock"), project.path().join("Cargo.lock")).unwrap();
    let here = |script: &str| {
        let mut sh = sh(project.path(), script);
        sh.env("WKG_CONFIG_FILE", project.path().join("config.toml"))
            .env("WKG_CACHE_DIR", project.path().join("cache"));
        succeed(&mut sh)
    };

    let typed = between(&page, "```console\n", "```");
    here(&typed.lines().map(|line| line.trim_start_matches("$ ")).collect::<Vec<_>>().join("\n"));
    let got = fs::read(project.path().join("minisnap.wasm")).unwrap();
    assert_eq!(got, fs::read(files.join(format!("minisnap-store-{VERSION}.wasm"))).unwrap());
    let plug = between(&page, "`wac plug ", "`").replace(" --plug", "").replace(" --output", "");
    let tools = root().join("tests/consumers/tools/Cargo.toml");
    let built = target().join("polyglot/tools");
    here(&format!(
        "cargo run --locked --quiet --manifest-path {tools:?} --target-dir {built:?} -- compose {plug}"
    ));
    let runs = between(&page, "```console\n$ mkdir", "```").replace("\n$ ", "\n");
    let (commands, printed) = runs.split_at(runs.find("counted").unwrap());
    let (commands, program) = commands.trim_end().split_once("\nwasmtime run --dir ").unwrap();
    let (dir, program) = program.split_once(' ').unwrap();
    let (dir, name) = dir.split_once("::").unwrap();
    here(&format!("mkdir{commands}"));
    let [dir, program] = [dir, program].map(|path| project.path().join(path));
    let ran = run_plainly(&program, &dir, name, &[]).unwrap();
    assert_eq!(ran, printed);
    let restored = restore(&project.path().join("snapshots"));
    assert_eq!((restored.stdout.as_str(), restored.stderr.as_str()), ("1", "seq 1\n"));
}
