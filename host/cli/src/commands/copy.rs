//! `minisnap copy`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use minisnap_host::{
    Copied, CopyError, Error, Grant, Layout, Minisnap, Refusal, Selection, Skipped, SnapshotStore,
};
use serde_json::json;

use super::restore::warn_of;
use crate::archive::{self, STDIN};
use crate::failure::{Failure, Subject, plain, shell_word};
use crate::output::{note, print};
use crate::progress::Progress;
use crate::server::{Writing, is_remote};
use crate::settings::layout;
use crate::stores::{Wait, minisnap};

const EXAMPLE: &str = "Examples:
  minisnap copy ./snapshots /backup/snapshots --all
  minisnap copy /backup/snapshots ./snapshots --replace --dry-run
  minisnap copy ./snapshots - | ssh other minisnap copy - /srv/snapshots
  minisnap copy ./snapshots s3://bucket/backup/counter --endpoint http://127.0.0.1:7480";

/// How many names of folders are told.
const MAX_NAMES: usize = 5;

/// Copy snapshots to another place: back up, restore, move
///
/// The newest sound one, unless --all or --seq says otherwise. Each is checked before it is copied, and again once it is written;
/// what is there with the same state is not written again, and what is damaged there is replaced. Whoever restores from TO
/// meanwhile finds what was newest there, or the newest of those that are copied. In the layout `numbered`, files are copied byte
/// for byte; nothing is pruned.
///
/// FROM may be in use: it is not locked. If TO holds a newer snapshot, or if the two have different states under one number,
/// nothing is copied without --replace. Named stores have directories of their own: copy each. Either may be
/// s3://BUCKET/PREFIX/NAME, both on one server; there, all that is copied counts at once.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Copy {
    /// The directory to copy from; `-` is an archive on standard input, as tar writes it
    from: PathBuf,
    /// The directory to copy to, created if it does not exist; `-` is an archive on standard output
    to: PathBuf,
    /// Copy every sound generation; the layout `pair` takes the newest of them
    #[arg(long, conflicts_with = "seq")]
    all: bool,
    /// Copy this generation instead of the newest sound one
    #[arg(long, value_name = "N")]
    seq: Option<u64>,
    /// Layout for a new directory [default: that of FROM]
    #[arg(long, value_parser = layout())]
    layout: Option<Layout>,
    /// Replace what TO holds above the newest snapshot that both have alike. In the layout `numbered`, that is undone: renamed
    /// to *.undone; a pair keeps nothing of it
    #[arg(long)]
    replace: bool,
    /// Print what would be done, and change nothing; whether you may do it is not checked
    #[arg(long)]
    dry_run: bool,
    /// Fail if TO does not exist, for instance because its volume is not mounted
    #[arg(long)]
    must_exist: bool,
    /// Print {"layout":"pair"|"numbered", "copied":[N,...], "present":[N,...], "replaced":[N,...],
    /// "skipped":[{"seq":N,"problem":...},...]}, newest first; to standard error, if TO is an archive
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    wait: Wait,
}

impl Copy {
    pub fn run(self) -> Result<(), Failure> {
        if is_remote(&self.to) && self.layout == Some(Layout::Pair) {
            return Err(Failure::refused(
                2,
                "an object store holds the layout `numbered`",
                "leave out --layout, or copy to a directory",
            ));
        }
        if is_archive(&self.to) && io::stdout().is_terminal() {
            return Err(Failure::refused(
                2,
                "standard output is a terminal, and takes no archive",
                "redirect it",
            ));
        }
        let scratch = match is_archive(&self.from) || is_archive(&self.to) {
            true => Some(archive::scratch()?),
            false => None,
        };
        let place = |path: &Path, name: &str| match &scratch {
            Some(scratch) if is_archive(path) => scratch.path().join(name),
            _ => path.to_owned(),
        };
        let (from, to) = (place(&self.from, "from"), place(&self.to, "to"));
        if is_archive(&self.from) {
            std::fs::create_dir(&from).map_err(|error| Failure::file("make", &from, &error))?;
            warn_of_folders(STDIN, &archive::unpack(&from)?)?;
        }
        let copied = self.copy(&from, &to)?;
        warn_of(&copied.skipped)?;
        let text = self.text(&copied);
        if is_archive(&self.to) {
            if !self.dry_run {
                archive::pack(&to)?;
            }
            note(&text)?;
        } else {
            print(text.as_bytes())?;
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<Copied, Failure> {
        let about_from = |error| self.about_from(error);
        let about_to = Failure::about(self.to());
        let minisnap = minisnap().map_err(&about_from)?;
        let grant = self.writing.server.grant(from)?.max_state(u64::MAX).stores(u32::MAX);
        let mut source = minisnap.open(grant.read_only()).map_err(&about_from)?;
        // What is not there shows before a directory is made.
        let layout = self.layout.map_or_else(|| source.layout().map_err(&about_from), Ok)?;
        if !is_archive(&self.from) {
            warn_of_folders(self.from(), &folders(from, &mut source))?;
        }
        let is_new = !is_remote(to) && !to.exists();
        let grant = self.writing.grant(to)?.max_state(u64::MAX).layout(layout);
        let mut target = self.open(&minisnap, grant).map_err(&about_to)?;
        match (self.layout, target.layout()) {
            (Some(asked), Ok(found)) if asked != found => {
                let what = format!("{} holds the layout `{found}`", self.to());
                return Err(Failure::refused(2, what, "leave out --layout, or copy to an empty directory"));
            }
            _ => {}
        }
        let selection = match (self.seq, self.all) {
            (Some(seq), _) => Selection::Seq(seq),
            (None, true) => Selection::All,
            (None, false) => Selection::Newest,
        };
        let progress = Progress::new("copying", None);
        let copied = match self.dry_run {
            true => target.plan_copy(&mut source, selection, self.replace),
            false => target.copy_from(&mut source, selection, self.replace, |bytes| progress.advance(bytes)),
        };
        drop(progress);
        if copied.is_err() && is_new && !self.dry_run {
            // It was made for nothing, unless there is something in it.
            let _ = std::fs::remove_dir(to);
        }
        copied.map_err(|error| match error {
            CopyError::From(error) => about_from(error),
            CopyError::To(error @ Error::Corrupt(_)) if self.replace && !is_remote(to) => {
                let help = format!(
                    "erase what is left of it, and copy again: minisnap clear {} --yes",
                    shell_word(&self.to)
                );
                about_to(error).with_help(help)
            }
            CopyError::To(error) => about_to(error),
            CopyError::Refused { seq, refusal, skipped } => self.refused(seq, refusal, &skipped),
            // Which another version of the library may have.
            error => about_to(Error::Io(error.to_string().into())),
        })
    }

    fn open(&self, minisnap: &Minisnap, grant: Grant) -> Result<SnapshotStore, Error> {
        let grant = if self.must_exist && !is_archive(&self.to) { grant.must_exist() } else { grant };
        if self.dry_run { minisnap.open(grant.read_only()) } else { self.wait.open(minisnap, &grant) }
    }

    fn refused(&self, seq: u64, refusal: Refusal, skipped: &[Skipped]) -> Failure {
        // Why something older is copied comes first.
        let _ = warn_of(skipped);
        let (to, dir) = (self.to(), shell_word(&self.to));
        let (what, help) = match refusal {
            Refusal::Newer => (
                format!("{to} holds the snapshot {seq}, which is newer than what is copied"),
                format!("see what it holds: minisnap list {dir}; --replace puts what is copied in its place"),
            ),
            Refusal::OnlySound => (
                format!(
                    "{to} holds the snapshot {seq}, which is damaged in {}: it may be the only sound one",
                    self.from()
                ),
                format!("copy the other way, from {dir}; or name what to go back to by --seq"),
            ),
            Refusal::HalfUndone => (
                format!(
                    "{to} holds the snapshot {seq}, which was to give way to a copy that was interrupted"
                ),
                format!(
                    "give --replace to go on with that; or remove its second name, to keep it: ls -i {dir}/*{seq}.json*"
                ),
            ),
            // With those that another version of the library may have.
            _ => (
                format!(
                    "{to} holds another state under the number {seq}: it was created again, or the two are not of one history"
                ),
                format!(
                    "compare them: minisnap restore {dir} --seq {seq}; --replace puts what is copied in its place"
                ),
            ),
        };
        Failure::refused(4, what, help)
    }

    /// A failure in what is copied.
    fn about_from(&self, error: Error) -> Failure {
        let failure = Failure::about_one_of(self.from(), self.seq.is_some())(error);
        match is_archive(&self.from) {
            true => failure.with_help(
                "give an archive of one store's directory: minisnap copy DIR -, or tar -C DIR -c .",
            ),
            false => failure,
        }
    }

    fn from(&self) -> Subject {
        if is_archive(&self.from) { STDIN } else { Subject::from(&self.from) }
    }

    /// An archive is made below the folder of temporary files.
    fn to(&self) -> Subject {
        if is_archive(&self.to) { Subject::from(&std::env::temp_dir()) } else { Subject::from(&self.to) }
    }

    fn text(&self, copied: &Copied) -> String {
        let Copied { layout, copied, present, replaced, skipped, .. } = copied;
        if self.json {
            let layout = layout.to_string();
            let skipped: Vec<_> = skipped
                .iter()
                .map(|Skipped { seq, problem }| json!({"seq": seq, "problem": problem}))
                .collect();
            let value = json!({
                "layout": layout, "copied": copied, "present": present, "replaced": replaced, "skipped": skipped,
            });
            return format!("{value}\n");
        }
        let (copy, undo) = match (self.dry_run, layout) {
            (true, Layout::Pair) => ("would copy", "would replace"),
            (true, Layout::Numbered) => ("would copy", "would undo"),
            (false, Layout::Pair) => ("copied", "replaced"),
            (false, Layout::Numbered) => ("copied", "undone"),
        };
        let lines = |what: &str, seqs: &[u64]| -> String {
            seqs.iter().map(|seq| format!("{what} {seq}\n")).collect()
        };
        lines(copy, copied) + &lines("present", present) + &lines(undo, replaced)
    }
}

fn is_archive(path: &Path) -> bool {
    path == Path::new("-")
}

/// The folders in a directory, which may be of named stores.
fn folders(dir: &Path, store: &mut SnapshotStore) -> Vec<String> {
    if is_remote(dir) {
        let names = store.names().unwrap_or_default();
        return names.into_iter().map(|name| format!("stores/{name}")).collect();
    }
    let others = store.files().map(|files| files.others).unwrap_or_default();
    others.into_iter().filter(|name| dir.join(name).is_dir()).collect()
}

fn warn_of_folders(subject: Subject, folders: &[String]) -> Result<(), Failure> {
    if folders.is_empty() {
        return Ok(());
    }
    let shown = folders.iter().take(MAX_NAMES).map(|name| plain(name).into_owned());
    let shown = shown.collect::<Vec<_>>().join(", ");
    let more = match folders.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let warning =
        format!("warning: {subject}: its folders are not copied: copy each by itself: {shown}{more}\n");
    note(&warning)
}
