//! What the store is measured against: programs of native minisnap, and what only writes the same files.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// How many generations are kept, here and by the store.
const KEEP: usize = 5;

/// A program of native minisnap, which times itself.
pub struct Native {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    dir: PathBuf,
    /// The generations that it has made, which it never removes.
    made: VecDeque<PathBuf>,
}

impl Native {
    pub fn start(program: &str, dir: &Path) -> Self {
        fs::create_dir(dir).expect("made");
        Native::start_on(program, dir)
    }

    /// The same on what is there, or on a file.
    pub fn start_on(program: &str, dir: &Path) -> Self {
        let mut child = Command::new(program)
            .arg("bench")
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let asks = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Native { child, asks, answers, dir: dir.to_owned(), made: VecDeque::new() }
    }

    /// Seconds of a create of the generated state of so many bytes.
    pub fn create(&mut self, size: usize, seq: u64) -> f64 {
        let time = self.ask(&format!("create {size} {seq}"));
        self.made.push_back(self.dir.join(format!("snapshot_{seq:020}.json")));
        if self.made.len() > KEEP
            && let Some(oldest) = self.made.pop_front()
        {
            fs::remove_file(oldest).ok();
        }
        time
    }

    /// Seconds of a restore to a typed state.
    pub fn restore(&mut self) -> f64 {
        self.ask("restore")
    }

    /// Seconds of what the program is asked to do.
    pub fn ask(&mut self, what: &str) -> f64 {
        writeln!(self.asks, "{what}").expect("it listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        answer.trim().parse::<f64>().unwrap_or_else(|_| panic!("{what}: {answer}")) / 1e9
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What does the same to its directory as the store, and nothing else.
pub struct Floor {
    dir: PathBuf,
}

impl Floor {
    pub fn new(dir: PathBuf) -> Self {
        fs::create_dir(&dir).expect("made");
        Floor { dir }
    }

    /// Writes the file of a generation.
    pub fn numbered(&self, bytes: &[u8], seq: u64) {
        let path = |seq: u64, end: &str| self.dir.join(format!("snapshot_{seq:020}.json{end}"));
        write_synced(&path(seq, ".tmp"), bytes);
        fs::rename(path(seq, ".tmp"), path(seq, "")).expect("renamed");
        sync(&self.dir);
        if let Some(oldest) = seq.checked_sub(KEEP as u64) {
            fs::remove_file(path(oldest, "")).ok();
        }
    }

    /// Writes the three files of a pair.
    pub fn pair(&self, bytes: &[u8], seq: u64) {
        let new = |name: &str| self.dir.join(format!("{name}.new"));
        write_synced(&new("snapshot.json"), bytes);
        write_synced(&new("snapshot.seq"), seq.to_string().as_bytes());
        write_synced(&new("snapshot.sum"), &[b'0'; 95]);
        sync(&self.dir);
        for name in ["snapshot.sum", "snapshot.json", "snapshot.seq"] {
            fs::rename(new(name), self.dir.join(name)).expect("renamed");
        }
        sync(&self.dir);
    }
}

fn write_synced(path: &Path, bytes: &[u8]) {
    let mut file = File::create_new(path).expect("made");
    file.write_all(bytes).expect("written");
    file.sync_all().expect("synced");
}

fn sync(dir: &Path) {
    File::open(dir).expect("a folder").sync_all().expect("synced");
}
