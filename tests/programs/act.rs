//! What the crash tests trace: a store that does one thing, without the command line around it.
//!
//! - `act create DIR SEQ LAYOUT`: by the component in its host
//! - `act create-in-each FOLDER NAME SEQ LAYOUT`: the same in the directory `NAME` of each folder in `FOLDER`
//! - `act unsynced DIR SEQ LAYOUT N`: by the store's sources, built natively, without the sync of this number
//! - `act state STEP FOLDER SIZE`: opens a state with a log, and does that step to it
//! - `act state-loop FOLDER LAST SIZE`: opens one, or makes it, and goes on up to that number or further: prints the number of
//!   each operation, or the last of a batch, once it is acknowledged
//! - `act state-in-each STEP FOLDER SIZE`: the same in each folder in `FOLDER`
//!
//! The state of a snapshot comes on standard input.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process;
use std::rc::Rc;

use minisnap_client::state;
use minisnap_component::dir::{Dir, Entry, Listing, OsDir, Sync};
use minisnap_component::store::{self, Settings};
use minisnap_host::{Grant, Layout, Minisnap};
use minisnap_tests::logged::{self, Seen, Step};
use minisnap_tests::minisnap;

/// How many generations are kept, of which the crash tests see the older ones go.
const KEEP: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut state = String::new();
    io::stdin().read_to_string(&mut state).expect("a state on standard input");
    match args[..] {
        ["create", dir, seq, layout] => create(minisnap(), Path::new(dir), seq, layout, &state),
        ["create-in-each", folder, name, seq, layout] => {
            let minisnap = minisnap();
            for folder in folders(folder) {
                create(minisnap, &folder.join(name), seq, layout, &state);
            }
        }
        ["unsynced", dir, seq, layout, sync] => {
            // As the host makes it.
            fs::create_dir_all(dir).expect("the directory can be made");
            File::open(Path::new(dir).parent().expect("a parent"))
                .and_then(|dir| dir.sync_all())
                .expect("synced");
            let layout = match self::layout(layout) {
                Layout::Pair => store::Layout::Pair,
                Layout::Numbered => store::Layout::Numbered,
            };
            let settings = Settings { layout, keep: Some(KEEP), ..Settings::default() };
            let left = Rc::new(Cell::new(sync.parse().ok()));
            let dir = Unsynced { dir: OsDir::new(dir), left };
            let store = store::Store::new(dir).with_settings(settings);
            store.create(&state, seq.parse().expect("a number")).expect("it is created");
        }
        ["state-loop", folder, last, size] => {
            let (last, size) = (last.parse().expect("a number"), size.parse().expect("a size"));
            state_loop(Path::new(folder), last, size).expect("it goes on");
        }
        ["state", step, folder, size] => step_in(Path::new(folder), step, size),
        ["state-in-each", step, folder, size] => {
            folders(folder).iter().for_each(|folder| step_in(folder, step, size));
        }
        _ => panic!("see the top of this program's source"),
    }
}

fn folders(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders
}

/// Prints the number of the last operation. After an error of the step, which it tells, it tries once more.
fn step_in(folder: &Path, step: &str, size: &str) {
    let step = Step::ALL.into_iter().find(|known| known.name() == step).expect("a step");
    let size = size.parse().expect("a size");
    let told = |what: &str, error| eprintln!("{what}: {error}");
    let Ok(mut state) = logged::open(folder).map_err(|error| told("open", error)) else { process::exit(2) };
    if let Err(error) = step.run(&mut state, size) {
        told("first", error);
        if let Err(error) = step.run(&mut state, size) {
            told("again", error);
            process::exit(1);
        }
    }
    assert_eq!(
        *state.state(),
        Seen::at(state.sequence(), size),
        "the state is not what its operations come to"
    );
    println!("{}", state.sequence());
}

fn state_loop(folder: &Path, last: u64, size: usize) -> state::Result<()> {
    let [log, _] = logged::dirs(folder);
    if !log.exists() {
        fs::create_dir_all(&log).expect("the directory can be made");
        for dir in folder.ancestors().take(2) {
            File::open(dir).and_then(|dir| dir.sync_all()).expect("synced");
        }
    }
    let mut state = logged::open(folder)?;
    assert_eq!(
        *state.state(),
        Seen::at(state.sequence(), size),
        "the state is not what its operations come to"
    );
    while state.sequence() < last {
        let step = if state.sequence() % 5 == 0 { Step::Batch } else { Step::Apply };
        step.run(&mut state, size)?;
        println!("{}", state.sequence());
        if state.since_snapshot() >= 4 {
            state.create_snapshot()?;
        }
    }
    Ok(())
}

fn layout(name: &str) -> Layout {
    if name == "pair" { Layout::Pair } else { Layout::Numbered }
}

fn create(minisnap: &Minisnap, dir: &Path, seq: &str, layout: &str, state: &str) {
    let grant = Grant::new(dir).layout(self::layout(layout)).keep(KEEP);
    let mut store = minisnap.open(grant).expect("the directory opens");
    store.create_text(state, seq.parse().expect("a number")).expect("it is created");
}

/// A directory of which one sync does nothing.
#[derive(Clone)]
struct Unsynced {
    dir: OsDir,
    /// How many syncs are done before that one, until it has come.
    left: Rc<Cell<Option<usize>>>,
}

impl Unsynced {
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.left.get() {
            Some(0) => {
                self.left.set(None);
                Ok(())
            }
            left => {
                self.left.set(left.map(|left| left - 1));
                sync()
            }
        }
    }
}

impl Dir for Unsynced {
    type Reader = File;
    type Writer = UnsyncedFile;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        self.dir.entry(name)
    }
    fn is_same_file(&self, name: &str, other: &str) -> io::Result<bool> {
        self.dir.is_same_file(name, other)
    }
    fn open(&self, name: &str) -> io::Result<File> {
        self.dir.open(name)
    }
    fn create(&self, name: &str) -> io::Result<UnsyncedFile> {
        Ok(UnsyncedFile { file: self.dir.create(name)?, dir: self.clone() })
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.dir.rename(from, to)
    }
    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.dir.remove_file(name)
    }
    fn dir(&self, name: &str) -> io::Result<Self> {
        Ok(Unsynced { dir: self.dir.dir(name)?, ..self.clone() })
    }
    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.dir.make_dir(name)
    }

    fn list(&self) -> io::Result<Listing> {
        self.dir.list()
    }
    fn sync(&self) -> io::Result<()> {
        Unsynced::sync(self, || self.dir.sync())
    }
}

struct UnsyncedFile {
    file: File,
    dir: Unsynced,
}

impl Write for UnsyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sync for UnsyncedFile {
    fn sync(&mut self) -> io::Result<()> {
        let file = &self.file;
        Unsynced::sync(&self.dir, || file.sync_all())
    }
}
