//! A release: `.ci/release`, and what a registry then gives to others.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use minisnap_tests::command_line::{assert_fails, restore};
use minisnap_tests::{between, root, run, scratch};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// The commands that a release needs beside those of all tests, which `tests/install-tools` installs by these names.
const TOOLS: [&str; 5] = ["cargo-cyclonedx", "docker-registry", "musl-gcc", "wasmtime", "wkg"];

/// The folder in which Cargo builds these tests.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// The shell, with what `tests/install-tools` compiled, and without what a developer's settings would change.
fn sh(folder: &Path, script: &str) -> Command {
    let mut sh = Command::new("bash");
    let path = format!("{}:{}", std::env::var("PATH").unwrap(), target().join("tools/bin").display());
    sh.args(["-euc", script]).current_dir(folder).env("PATH", path);
    sh.env_remove("CARGO_TARGET_DIR").env_remove("MINISNAP_COMPONENT");
    sh
}

fn succeed(command: &mut Command) -> String {
    let done = run(command, "");
    assert_eq!(done.code, Some(0), "{command:?}\n{}{}", done.stdout, done.stderr);
    done.stdout
}

/// Copies what git knows of the sources into a folder, but for what Cargo built there.
fn copy_sources(to: &Path) {
    fs::create_dir_all(to).unwrap();
    let script = "find \"$TO\" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
        git ls-files --cached --others --exclude-standard -z | tar -c --null -T - --ignore-failed-read | tar -x -C \"$TO\"";
    succeed(sh(root(), script).env("TO", to));
}

/// Changes a file in the one place that has a text.
fn change(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Makes what is in a folder the one commit of a repository.
fn commit(folder: &Path) {
    let author = "-c user.name=a -c user.email=a@b";
    let script = format!("rm -rf .git && git init -q && git add -A && git {author} commit -q -m 0.1.0");
    succeed(&mut sh(folder, &script));
}

/// Each place that says the version, and each section of the changes.
#[test]
fn a_release_is_refused_unless_its_version_is_the_same_everywhere_and_described() {
    let sources = tempdir().unwrap();
    copy_sources(sources.path());
    let another = |file: &str, version: &str| {
        let first = "error: the host's version is 0.1.0, and it is another here:\n";
        (first.to_owned(), format!("{file}: {version}\n"))
    };
    let undescribed = |what: &str| (format!("error: host/CHANGELOG.md has no {what}"), String::new());
    let cases = [
        (
            "guest/client/Cargo.toml",
            "version.workspace = true",
            "version = \"0.1.1\"",
            another("guest/client/Cargo.toml", "0.1.1"),
        ),
        (
            "guest/Cargo.toml",
            "version.workspace = true",
            "version = \"0.2.0\"",
            another("guest/Cargo.toml", "0.2.0"),
        ),
        (
            "host/cli/Cargo.toml",
            "{ version = \"0.1.0\"",
            "{ version = \"0.1\"",
            another("host/cli/Cargo.toml", "0.1"),
        ),
        ("wit/worlds.wit", "@0.1.0;", "@0.1.1;", another("wit/worlds.wit", "0.1.1")),
        (
            "host/cli/wit/command.wit",
            "consumer@0.1.0;",
            "consumer@0.1.1;",
            another("host/cli/wit/command.wit", "0.1.1"),
        ),
        (
            "host/src/linker.rs",
            "snapshot-store@0.1.0\"",
            "snapshot-store@0.1.1\"",
            another("host/src/linker.rs", "0.1.1"),
        ),
        (
            "host/component/minisnap.component.toml",
            "version = \"0.1.0\"",
            "version = \"0.1.00\"",
            another("host/component/minisnap.component.toml", "0.1.00"),
        ),
        ("host/CHANGELOG.md", "## 0.1.0, ", "## 0.0.9, ", undescribed("section `## 0.1.0, ...`")),
        ("host/CHANGELOG.md", "### WIT\n", "### wit\n", undescribed("`### WIT` in its section `## 0.1.0`")),
        (
            "host/CHANGELOG.md",
            "### Disk format\n",
            "",
            undescribed("`### Disk format` in its section `## 0.1.0`"),
        ),
    ];
    for (file, from, to, (message, place)) in cases {
        let before = fs::read_to_string(sources.path().join(file)).unwrap();
        change(sources.path(), file, from, to);
        let done = run(&mut sh(sources.path(), ".ci/release --dry-run"), "");
        assert_fails(&done, 1, &message);
        assert!(done.stderr.ends_with(&place), "{file}: {}", done.stderr);
        fs::write(sources.path().join(file), before).unwrap();
    }
    commit(sources.path());
    let publish = |to: &str| run(&mut sh(sources.path(), &format!(".ci/release {to}")), "");
    assert_fails(
        &publish(""),
        2,
        "give --dry-run, or an OCI registry with a prefix, such as ghcr.io/arcellateam",
    );
    assert_fails(
        &publish("localhost:1"),
        1,
        "`localhost:1` is not a registry with a prefix, such as ghcr.io/arcellateam",
    );
    assert_fails(&publish("localhost:1/project"), 1, "is not of this commit: run .ci/release --dry-run");
}

/// An OCI registry on this machine, until this is dropped.
struct Registry {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempdir().unwrap();
        // Free a moment ago, which is as sure as it gets: it takes no socket.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.path().join("config.yml");
        let data = folder.path().join("data");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {data:?}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n"
        );
        fs::write(&config, text).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {:?}", fs::read_to_string(folder.path().join("log")));
            thread::sleep(Duration::from_millis(20));
        }
        Registry { child, address: format!("localhost:{port}"), _folder: folder }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The dry run makes the release's files, lists each with its sum, and publishes nothing; then the release is published, to
/// a registry on this machine, and only once; then another project takes the WIT and the component from there, by the lines
/// of the pages, and wasmtime's own command runs what it made.
#[test]
fn in_long_runs_a_release_lists_its_files_and_others_get_them_from_a_registry() {
    let missing = format!("for tool in {}; do type -P $tool >/dev/null || echo $tool; done", TOOLS.join(" "));
    let missing = succeed(&mut sh(root(), &missing));
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "continuous integration has them: {missing:?}");
        println!("IGNORED: run `tests/install-tools {}`, as root", missing.trim_end().replace('\n', " "));
        return;
    }
    let sources = target().join("release-trial");
    copy_sources(&sources);
    change(&sources, "host/CHANGELOG.md", "## 0.1.0, not released yet", "## 0.1.0, 2026-12-01");
    commit(&sources);

    // Unoptimised, in a third of the time.
    let dry = succeed(sh(&sources, ".ci/release --dry-run").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"));
    let files = sources.join("target/release-files");
    assert_complete(&files, &dry);

    let registry = Registry::start();
    publish_once(&sources, &files, &registry);
    assert_others_get_them(&files, &registry);
}

/// Every file of a release is there, and in the list; the command line runs anywhere, and nothing in the lists of what it
/// is made of is missing or too much.
fn assert_complete(files: &Path, dry: &str) {
    let summed = succeed(&mut sh(files, "sha256sum --quiet -c SHA256SUMS; cat SHA256SUMS"));
    assert!(dry.contains(&summed), "{dry}\n{summed}");
    let named: Vec<&str> = summed.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let found = succeed(&mut sh(files, "find . -type f ! -name SHA256SUMS -printf '%P\\n' | LC_ALL=C sort"));
    assert_eq!(named, found.lines().collect::<Vec<_>>());
    let verbs: Vec<String> = fs::read_dir(root().join("host/cli/src/commands"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut expected: Vec<String> = verbs.iter().map(|verb| format!("man/minisnap-{verb}.1")).collect();
    expected.extend(
        ["bash", "elvish", "fish", "powershell", "zsh"].map(|shell| format!("completions/minisnap.{shell}")),
    );
    expected.extend(["client", "host", "cli"].map(|of| format!("minisnap-{of}-0.1.0.crate")));
    expected.extend(["cli", "component"].map(|of| format!("sbom/minisnap-{of}.cdx.json")));
    let single = [
        "commit",
        "man/minisnap.1",
        "minisnap-wit.wasm",
        "minisnap-x86_64-unknown-linux-musl",
        "minisnap.wasm",
    ];
    expected.extend(single.map(str::to_owned));
    expected.sort_unstable();
    assert_eq!(named, expected);
    for file in named {
        assert_ne!(fs::metadata(files.join(file)).unwrap().len(), 0, "{file}");
    }
    assert_eq!(fs::read(files.join("minisnap.wasm")).unwrap(), minisnap_host::COMPONENT);

    // In a system that has nothing else.
    let empty = tempdir().unwrap();
    fs::copy(files.join("minisnap-x86_64-unknown-linux-musl"), empty.path().join("minisnap")).unwrap();
    let version =
        succeed(&mut sh(empty.path(), "unshare --user --map-root-user --root=. /minisnap --version"));
    assert!(version.starts_with("minisnap 0.1.0"), "{version}");

    for (package, target) in
        [("minisnap-cli", "x86_64-unknown-linux-musl"), ("minisnap-component", "wasm32-wasip2")]
    {
        let file = files.join(format!("sbom/{package}.cdx.json"));
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains(target_folder_of(files)), "{package} names a folder of this machine");
        let bom: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&bom["bomFormat"], &bom["specVersion"]),
            (&Value::from("CycloneDX"), &Value::from("1.5"))
        );
        let mut listed: Vec<String> = bom["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| format!("{} {}", part["name"].as_str().unwrap(), part["version"].as_str().unwrap()))
            .collect();
        listed.sort_unstable();
        let script = format!(
            "cargo tree --locked -p {package} -e normal,build --target {target} --prefix none -f '{{p}}' |
             sed 's/^\\([^ ]*\\) v\\([^ ]*\\).*/\\1 \\2/' | grep -v '^{package} ' | LC_ALL=C sort -u"
        );
        assert_eq!(listed, succeed(&mut sh(root(), &script)).lines().collect::<Vec<_>>(), "{package}");
    }
}

fn target_folder_of(files: &Path) -> &str {
    files.parent().unwrap().parent().unwrap().to_str().unwrap()
}

/// What the dry run made is published, whole and in an order in which each finds what it needs, and never replaced.
fn publish_once(sources: &Path, files: &Path, registry: &Registry) {
    let fake = tempdir().unwrap();
    let log = fake.path().join("log");
    let cargo = fake.path().join("cargo");
    // In the place of what publishes crates, for good.
    let script = format!(
        "#!/bin/sh\ncase $1 in\npublish) echo \"$@\" >>{log:?} ;;\ninfo) grep -q \" ${{3%@*}}\\$\" {log:?} ;;\n*) exec {:?} \"$@\" ;;\nesac\n",
        env!("CARGO")
    );
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!("PATH={}:$PATH; .ci/release {}/project", fake.path().display(), registry.address);
    let publish = || run(&mut sh(sources, &script), "");

    let component = fs::read(files.join("minisnap.wasm")).unwrap();
    fs::write(files.join("minisnap.wasm"), &component[..component.len() - 1]).unwrap();
    assert_fails(&publish(), 1, "is not what the dry run made: run it again");
    fs::write(files.join("minisnap.wasm"), &component).unwrap();
    fs::write(sources.join("new"), "").unwrap();
    succeed(&mut sh(sources, "git add new"));
    assert_fails(&publish(), 1, "is not of this commit: run .ci/release --dry-run");
    succeed(&mut sh(sources, "git reset -q && rm new"));
    assert!(!log.exists());

    let done = publish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let published = fs::read_to_string(&log).unwrap();
    let crates = ["client", "host", "cli"].map(|of| format!("publish --locked --package minisnap-{of}\n"));
    assert_eq!(published, crates.concat());
    assert_eq!(succeed(&mut sh(sources, "git tag --points-at HEAD")), "v0.1.0\n");

    // Again, it finds that all is there, as if the first had been stopped; and refuses another file of the same version.
    let again = publish();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&log).unwrap(), published);
    fs::write(files.join("minisnap.wasm"), [&component[..], b"\0\x02\x01aa"].concat()).unwrap();
    succeed(&mut sh(files, "sed -i '/ minisnap.wasm$/d' SHA256SUMS && sha256sum minisnap.wasm >>SHA256SUMS"));
    assert_fails(&publish(), 1, "has another arcella:minisnap-store@0.1.0");
    fs::write(files.join("minisnap.wasm"), &component).unwrap();
}

/// By the lines of the pages, with this registry in the place of the public one.
fn assert_others_get_them(files: &Path, registry: &Registry) {
    let page = fs::read_to_string(root().join("wit/README.md")).unwrap();
    let project = scratch();
    let config = between(&page, "```toml\n", "```")
        .replace("ghcr.io", &registry.address)
        .replace("arcellateam/", "project/");
    let insecure = format!("[registry.{:?}.oci]\nprotocol = \"http\"\n", registry.address);
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
        succeed(sh.env("CARGO_NET_OFFLINE", "true"))
    };

    let fetches = between(&page, "```console\n", "```");
    here(&fetches.lines().map(|line| line.trim_start_matches("$ ")).collect::<Vec<_>>().join("\n"));
    assert_eq!(
        fs::read(project.path().join("minisnap.wasm")).unwrap(),
        fs::read(files.join("minisnap.wasm")).unwrap()
    );
    here("cargo build --quiet --release --target wasm32-wasip2");
    let tools = root().join("tests/consumers/tools/Cargo.toml");
    here(&format!(
        "cargo run --locked --quiet --manifest-path {tools:?} --target-dir {:?} -- \\
         compose target/wasm32-wasip2/release/app.wasm minisnap.wasm composed.wasm",
        target().join("polyglot/tools")
    ));
    let wasmtime = between(&page, "```console\n$ wasmtime", "```");
    let (command, printed) = wasmtime.split_once('\n').unwrap();
    fs::create_dir(project.path().join("snapshots")).unwrap();
    assert_eq!(here(&format!("wasmtime{command}")), printed);
    let restored = restore(&project.path().join("snapshots"));
    assert_eq!((restored.stdout.as_str(), restored.stderr.as_str()), ("1", "seq 1\n"));
}
