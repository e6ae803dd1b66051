//! Object stores that are started on this machine, by the scripts in `tests/engines`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::{TempDir, tempdir};

use crate::random::Random;

/// What is known of an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    /// The name of its script.
    pub name: &'static str,
    /// The key that it takes, and its secret.
    pub key: (&'static str, &'static str),
    /// How many gateways it has.
    pub gateways: usize,
}

/// Ceph's gateway.
pub const CEPH: Engine = Engine { name: "ceph", key: ("test", "testtest1"), gateways: 2 };

/// SeaweedFS, which writes through to the disk.
pub const SEAWEEDFS: Engine = Engine { name: "seaweedfs", key: ("test", "testtest1"), gateways: 2 };

/// s3rver, which takes no notice of conditions.
pub const S3RVER: Engine = Engine { name: "s3rver", key: ("S3RVER", "S3RVER"), gateways: 1 };

/// The file in which a script's errors are.
const TOLD: &str = "told";

/// An object store that runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    /// The URL of each gateway.
    pub endpoints: Vec<String>,
    child: Child,
    folder: TempDir,
}

/// Why an object store was not started.
#[derive(Debug, Clone)]
pub struct NotStarted {
    /// What its script said.
    pub why: String,
    /// Whether it is only that it is not installed.
    pub is_missing: bool,
}

impl NotStarted {
    /// That nobody wants it.
    pub fn not_asked() -> Self {
        NotStarted { why: "nobody asked for it".to_owned(), is_missing: true }
    }
}

impl Engine {
    /// Starts it, or says why it cannot be.
    ///
    /// # Errors
    ///
    /// If it is not installed, or does not start.
    pub fn start(self) -> Result<Running, NotStarted> {
        let failed = |why: String| NotStarted { why, is_missing: false };
        let mut last = failed("there are no ports".to_owned());
        // Another program may take a port meanwhile.
        for _ in 0..3 {
            match self.start_once().map_err(|error| failed(error.to_string()))? {
                Ok(running) => return Ok(running),
                Err(not_started) if not_started.is_missing => return Err(not_started),
                Err(not_started) => last = not_started,
            }
        }
        Err(last)
    }

    fn start_once(self) -> io::Result<Result<Running, NotStarted>> {
        let folder = tempdir()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a folder");
        let ports = free_ports(self.gateways);
        let mut script = Command::new(root.join("tests/engines").join(self.name));
        script.arg(folder.path().join("engine")).args(ports.iter().map(u16::to_string)).current_dir(root);
        let told = folder.path().join(TOLD);
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&told)?);
        let mut child = script.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line)?;
        if line.is_empty() {
            let is_missing = child.wait()?.code() == Some(3);
            let why = fs::read_to_string(told)?.trim().to_owned();
            return Ok(Err(NotStarted { why, is_missing }));
        }
        let endpoints = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        Ok(Ok(Running { endpoints, child, folder }))
    }
}

impl Running {
    /// The address of each gateway.
    pub fn gateways(&self) -> Vec<SocketAddr> {
        let address = |endpoint: &String| endpoint.trim_start_matches("http://").parse();
        self.endpoints.iter().map(|endpoint| address(endpoint).expect("it has a port")).collect()
    }

    /// What its script said that is wrong.
    pub fn told(&self) -> String {
        fs::read_to_string(self.folder.path().join(TOLD)).unwrap_or_default()
    }

    /// Kills a gateway, which is started again.
    ///
    /// # Errors
    ///
    /// If its script has ended.
    pub fn kill_gateway(&self, number: usize) -> io::Result<()> {
        let mut script = self.child.stdin.as_ref().expect("it is piped");
        writeln!(script, "{}", self.gateways()[number].port())
            .map_err(|error| io::Error::other(format!("the server has ended: {error}: {}", self.told())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its standard input ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Ports of which each has some more free ones above it, and 10,000 above that, where SeaweedFS listens, too. The system gives
/// none of them to who asks for any.
fn free_ports(count: usize) -> Vec<u16> {
    let mut ports: Vec<u16> = Vec::new();
    let mut random = Random::of(u64::from(std::process::id()) ^ now_in_nanoseconds());
    while ports.len() < count {
        let port = 12_000 + 10 * u16::try_from(random.below(1_000)).expect("it is below 1,000");
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if !ports.contains(&port) && (0..4).all(|more| is_free(port + more) && is_free(port + 10_000 + more))
        {
            ports.push(port);
        }
    }
    ports
}

fn now_in_nanoseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ u64::from(now.subsec_nanos()) << 32
}
