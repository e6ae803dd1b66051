//! `minisnap create`

use std::collections::HashSet;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use minisnap_host::{Error, SnapshotStore};
use serde_json::json;

use crate::failure::{Failure, Subject};
use crate::output::{note, print};
use crate::progress::Progress;
use crate::server::Writing;
use crate::settings::Settings;
use crate::stores::minisnap;

const EXAMPLE: &str = "Examples:
  echo '{\"counter\":42}' | minisnap create ./snapshots --seq 10
  minisnap create ./history --seq 10 --layout numbered --keep 3 state.json";

/// The state is read and stored in chunks of this many bytes.
const CHUNK: usize = 256 << 10;

/// Store a state durably as the newest snapshot
///
/// The state is streamed, so it may be larger than memory. The next create cleans up after an interrupted one.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Create {
    /// Directory of the snapshots; created if it does not exist
    dir: PathBuf,
    /// Sequence number of the last log record that the state contains; that of a stored snapshot replaces it
    #[arg(long, value_name = "N")]
    seq: u64,
    /// File with the state as JSON; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Print {"seq":N,"removed":N}, with how many older snapshots were removed
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    writing: Writing,
}

impl Create {
    pub fn run(self) -> Result<(), Failure> {
        let about_dir = Failure::about_limited(&self.dir, self.settings.max_total.is_some());
        let grant = self.settings.apply(self.writing.grant(&self.dir)?);
        let max_state = grant.max_state;
        // The first chunk before all else: what cannot be read shows before a directory is made.
        let (mut source, size) = self.open()?;
        let typed = self.is_stdin() && io::stdin().is_terminal();
        let progress = if typed { Progress::none() } else { Progress::new("storing", size) };
        let mut chunk = Vec::with_capacity(CHUNK);
        self.fill(&mut source, &mut chunk)?;
        // What is known to be too large is refused before anything is written.
        if size.is_some_and(|size| size > max_state) {
            return Err(Failure::too_large(self.source(), size, max_state, false));
        }

        let minisnap = minisnap().map_err(&about_dir)?;
        let mut store = self.settings.wait.open(&minisnap, &grant).map_err(&about_dir)?;
        // Which nobody else changes from here on.
        let before = numbers(&mut store);
        let mut given = 0;
        let about_state = |error, given| match error {
            Error::InvalidState(_) => Failure::about(self.source())(error),
            Error::TooLarge(limit) => Failure::too_large(self.source(), size, limit, given <= limit),
            error => about_dir(error),
        };
        let mut writer = store.open_writer(self.seq).map_err(&about_dir)?;
        while !chunk.is_empty() {
            given += chunk.len() as u64;
            writer.write_chunk(&chunk).map_err(|error| about_state(error, given))?;
            progress.advance(chunk.len() as u64);
            self.fill(&mut source, &mut chunk)?;
        }
        writer.commit().map_err(|error| about_state(error, given))?;
        drop(progress);
        let removed = before.difference(&numbers(&mut store)).count();
        self.tell_removed(removed);
        if self.json {
            print(format!("{}\n", json!({"seq": self.seq, "removed": removed})).as_bytes())?;
        }
        Ok(())
    }

    /// Tells on standard error if more snapshots were removed than the one that each create may cost.
    fn tell_removed(&self, removed: usize) {
        if removed > 1 {
            let kept = match self.settings.keep {
                Some(keep) => format!("`--keep` is {keep}"),
                None => "5 are kept without `--keep`".to_owned(),
            };
            let fit = if self.settings.max_total.is_some() {
                ", and no more than fit into `--max-total`"
            } else {
                ""
            };
            let subject = Subject::from(&self.dir);
            let warning =
                format!("warning: {removed} older snapshots of {subject} were removed: {kept}{fit}\n");
            // The snapshot is durable, whether this can be told or not.
            let _ = note(&warning);
        }
    }

    /// The source of the state, and its size in bytes if that is known.
    fn open(&self) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
        let (file, metadata) = if self.is_stdin() {
            // Where somebody has read of it before, what is left is not known.
            let metadata = fs::metadata("/dev/stdin").ok().filter(|_| at_start(&io::stdin()));
            (Box::new(io::stdin().lock()) as Box<dyn Read>, metadata)
        } else {
            let file =
                fs::File::open(&self.file).map_err(|error| Failure::file("read", self.source(), &error))?;
            let metadata = file.metadata().ok();
            (Box::new(file) as Box<dyn Read>, metadata)
        };
        Ok((file, metadata.filter(fs::Metadata::is_file).map(|metadata| metadata.len())))
    }

    /// Reads as much as there is, up to a whole chunk.
    fn fill(&self, source: &mut dyn Read, chunk: &mut Vec<u8>) -> Result<(), Failure> {
        chunk.clear();
        let read = source.take(CHUNK as u64).read_to_end(chunk);
        read.map(drop).map_err(|error| Failure::file("read", self.source(), &error))
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn source(&self) -> Subject {
        if self.is_stdin() { Subject::Stream("standard input") } else { Subject::from(&self.file) }
    }
}

/// The numbers of the generations in a store, of damaged ones, too.
fn numbers(store: &mut SnapshotStore) -> HashSet<u64> {
    let number = |name: &String| {
        let (number, end) = name.strip_prefix("snapshot_")?.split_at_checked(20)?;
        let is_none = end.ends_with(".tmp") || end.starts_with(".json.undone");
        let is_generation = number.bytes().all(|byte| byte.is_ascii_digit()) && !is_none;
        number.parse().ok().filter(|_| is_generation)
    };
    let files = store.files().map(|files| files.own).unwrap_or_default();
    files.iter().filter_map(number).collect()
}

fn at_start(stdin: &io::Stdin) -> bool {
    rustix::fs::tell(stdin) == Ok(0)
}
