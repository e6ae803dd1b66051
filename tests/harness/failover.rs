//! A ledger that one host takes over from another: its snapshots are in an object store, its log is on the disk of its host.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use tempfile::{TempDir, tempdir};

use crate::engines::Engine;
use crate::{Done, LEDGER, cli, run};

/// A ledger that is at work, and how far it is.
struct Begun {
    child: Child,
    printed: BufReader<ChildStdout>,
    /// The number of the last snapshot that it has acknowledged, and that of the last record.
    snapshot: u64,
    recorded: u64,
}

/// What the transfers are made up from.
const SEED: &str = "7";

type Result<T> = std::result::Result<T, String>;

macro_rules! must {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+));
        }
    };
}

/// A machine, which runs the ledger.
struct Host {
    folder: TempDir,
}

impl Host {
    fn new(name: &str, engine: &Engine, endpoint: &str, prefix: &str) -> Host {
        let folder = tempdir().expect("a folder can be made");
        let grants = format!(
            "root = \"snapshots\"\nlogs = \"logs\"\n\n[remote]\nurl = \"s3://snapshots/{prefix}\"\n\
             endpoint = \"{endpoint}\"\nnode = \"{name}\"\ncredentials = \"credentials\"\n\n\
             [components.ledger]\nstore = \"remote\"\nlog = true\nkeep = 3\ndeadline = \"2min\"\n"
        );
        let (key, secret) = engine.key;
        let credentials = format!("AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={secret}\n");
        for (name, text) in [("minisnap.toml", grants), ("credentials", credentials)] {
            fs::write(folder.path().join(name), text).expect("it can be written");
        }
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(folder.path().join("credentials"), private).expect("they are ours");
        fs::copy(LEDGER, folder.path().join("ledger@1.0.0.wasm")).expect("the ledger was built");
        Host { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("logs/ledger")
    }

    fn ledger(&self, args: &[&str]) -> Command {
        let mut command = cli();
        command.arg("run").arg(self.path("ledger@1.0.0.wasm"));
        command.arg("--grants-file").arg(self.path("minisnap.toml")).arg("--").args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        run(&mut self.ledger(args), "")
    }

    /// Starts the ledger, until it has said `snapshots` times that it has made a snapshot, and then recorded three transfers more.
    fn begin(&self, snapshots: usize) -> Result<Begun> {
        let mut command = self.ledger(&["append", "1000000", SEED]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut printed = BufReader::new(child.stdout.take().expect("it is piped"));
        let (mut made, mut snapshot, mut recorded) = (0, 0, 0);
        for line in printed.by_ref().lines().map_while(std::result::Result::ok) {
            let number = |what| line.strip_prefix(what).and_then(|number| number.parse::<u64>().ok());
            if let Some(number) = number("snapshot ") {
                (made, snapshot) = (made + 1, number);
            }
            recorded = number("recorded ").unwrap_or(recorded);
            if made == snapshots && recorded == snapshot + 3 {
                return Ok(Begun { child, printed, snapshot, recorded });
            }
        }
        let _ = child.kill();
        Err(format!("the ledger ended after the record {recorded}"))
    }

    /// Gets the log of the other host, as it is on its disk.
    fn ship_log(&self, from: &Host) {
        let _ = fs::remove_dir_all(self.log());
        fs::create_dir_all(self.log()).expect("the log can be made");
        for entry in fs::read_dir(from.log()).expect("there is a log") {
            let entry = entry.expect("it can be listed");
            fs::copy(entry.path(), self.log().join(entry.file_name())).expect("it can be copied");
        }
    }
}

/// The last line of what a ledger prints: its totals.
fn totals(printed: &str) -> &str {
    printed.lines().last().unwrap_or_default()
}

/// What the ledger of a host that was never alone says at this number.
fn expected(number: u64) -> Result<String> {
    let alone = tempdir().map_err(|error| error.to_string())?;
    let dir = |name: &str| alone.path().join(name);
    fs::create_dir(dir("log")).map_err(|error| error.to_string())?;
    let ledger = |args: &[&str]| {
        let mut command = cli();
        command.arg("run").arg(LEDGER).arg("--grant").arg(dir("snapshots")).arg("--dir");
        run(command.arg(format!("{}::/log", dir("log").display())).arg("--").args(args), "")
    };
    ledger(&["append", &number.to_string(), SEED]);
    Ok(totals(&ledger(&["totals"]).stdout).to_owned())
}

fn signal(child: &Child, signal: &str) {
    let done = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(done.is_ok_and(|status| status.success()), "the process can be sent {signal}");
}

/// The number at which totals are told.
fn last(totals: &str) -> u64 {
    let number = totals.strip_prefix("totals at ").and_then(|rest| rest.split(':').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Kills the ledger of one host, takes it over on another, stops it there in the middle of its work, takes it back, and lets the
/// stopped one go on. Tells each step, or what was lost.
///
/// # Errors
///
/// What was lost.
pub fn fail_over(engine: &Engine, endpoint: &str, prefix: &str, tell: impl Fn(String)) -> Result<()> {
    let a = Host::new("host-a", engine, endpoint, prefix);
    let b = Host::new("host-b", engine, endpoint, prefix);
    let Begun { mut child, printed, snapshot, recorded } = a.begin(3)?;
    child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
    drop(printed);
    tell(format!(
        "host-a was killed, and has acknowledged the snapshot {snapshot} and the record {recorded}"
    ));

    // What a snapshot in an object store does not give: the records after it.
    let alone = b.run(&["totals"]);
    must!(alone.code == Some(1) && alone.stderr.contains("log"), "without its log, it began: {alone:?}");
    tell(format!("host-b without the log: {}", alone.stderr.trim()));
    b.ship_log(&a);
    let taken = b.run(&["totals"]);
    must!(taken.code == Some(0), "{}", taken.stderr);
    let found = last(totals(&taken.stdout));
    must!(found >= recorded && totals(&taken.stdout) == expected(found)?, "lost: {}", taken.stdout);
    let restored: u64 = taken.stdout.split([' ', ',']).nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    must!(restored >= snapshot, "the snapshot {snapshot} was lost: {}", taken.stdout);
    tell(format!("host-b with the log: {}", taken.stdout.trim().replace('\n', "; ")));

    // It only sleeps, and does not know.
    let Begun { child: sleeping, mut printed, .. } = b.begin(2)?;
    signal(&sleeping, "-STOP");
    a.ship_log(&b);
    let taken = a.run(&["append", "15", SEED]);
    must!(taken.code == Some(0), "{}", taken.stderr);
    signal(&sleeping, "-CONT");
    // It prints what it likes.
    let reader = thread::spawn(move || io::copy(&mut printed, &mut io::sink()));
    let ended = sleeping.wait_with_output().map_err(|error| error.to_string())?;
    let _ = reader.join();
    let said = String::from_utf8_lossy(&ended.stderr);
    must!(
        ended.status.code() == Some(1) && said.contains("was taken over"),
        "host-b was taken over: {:?}: {said}",
        ended.status
    );
    let kept = a.run(&["totals"]);
    let found = last(totals(&kept.stdout));
    must!(found >= last(totals(&taken.stdout)) + 15, "lost: {} after {}", kept.stdout, taken.stdout);
    must!(totals(&kept.stdout) == expected(found)?, "changed: {}", kept.stdout);
    tell(format!(
        "host-b slept, was taken over, and was told: {}; host-a: {}",
        said.trim(),
        kept.stdout.trim().replace('\n', "; ")
    ));
    Ok(())
}
