//! The files of both layouts: their names, and how they are opened.

use std::io;

use crate::dir::{Dir, Entry, Kind, Listing, ReadAt};
use crate::error::{Error, Result};

/// The state, as JSON.
pub const STATE: &str = "snapshot.json";
/// The sequence number, in decimal.
pub const SEQ: &str = "snapshot.seq";
/// The sums of the two.
pub const SUMS: &str = "snapshot.sum";

/// Where the state is made.
pub const NEW_STATE: &str = "snapshot.json.new";
/// Where the number is made.
pub const NEW_SEQ: &str = "snapshot.seq.new";
/// Where the sums are made.
pub const NEW_SUMS: &str = "snapshot.sum.new";

/// The names under which the files of a snapshot are made, and those that a commit gives them, in its order.
pub const NEW: [(&str, &str); 3] = [(NEW_SUMS, SUMS), (NEW_STATE, STATE), (NEW_SEQ, SEQ)];

/// Where native minisnap 0.1.2 makes the state.
pub const NATIVE_STATE_TMP: &str = "snapshot.json.tmp";
/// Where native minisnap 0.1.2 makes the number.
pub const NATIVE_SEQ_TMP: &str = "snapshot.seq.tmp";

/// How the directory itself is called in messages.
pub const WHOLE: &str = ".";

/// Numbers and sums are far shorter than this many bytes.
const SMALL: usize = 1024;

/// A name, and what lies there. Two that are equal are taken for the same, unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name.
    pub name: String,
    /// What lies there, if anything does.
    pub entry: Option<Entry>,
}

impl Place {
    /// Looks what lies under `name`.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn look<D: Dir>(dir: &D, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let entry = retry(|| dir.entry(&name)).map_err(|e| Error::io("look at", &name, &e))?;
        Ok(Place { name, entry })
    }

    /// Whether there is a directory.
    pub fn is_dir(&self) -> bool {
        self.entry.is_some_and(|entry| entry.kind == Kind::Dir)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.entry.is_none()
    }

    /// Checks that there is a regular file, or nothing.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](Error::Corrupt) if there is something else, which opening could block or lead elsewhere.
    pub fn check_file(&self) -> Result<()> {
        match self.entry {
            None | Some(Entry { kind: Kind::File, .. }) => Ok(()),
            Some(Entry { kind, .. }) => {
                Err(Error::Corrupt(format!("{}: move it away", not_a_file(&self.name, kind))))
            }
        }
    }

    /// Opens the file, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`check_file`](Self::check_file); [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn open<D: Dir>(&self, dir: &D) -> Result<Option<D::Reader>> {
        self.check_file()?;
        if self.is_empty() {
            return Ok(None);
        }
        let name = &self.name;
        match retry(|| dir.open(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some).map_err(|e| Error::io("open", name, &e)),
        }
    }

    /// Reads a file that is short by its nature, or too much of one that is not, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn read_small<D: Dir>(&self, dir: &D) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(dir)? else { return Ok(None) };
        let text = read_whole(&file, 0, SMALL + 1).map_err(|e| Error::io("read", &self.name, &e))?;
        Ok(Some(text))
    }
}

/// What is wrong with a name under which there is no regular file.
pub fn not_a_file(name: &str, kind: Kind) -> String {
    let what = match kind {
        Kind::Link => "is a symbolic link, which is never followed",
        Kind::Dir => "is a directory, not a regular file",
        Kind::File | Kind::Other => "is not a regular file",
    };
    format!("`{name}` {what}")
}

/// Does again what a signal interrupted. Only for what changes nothing.
///
/// # Errors
///
/// As the operation, but [`Interrupted`](io::ErrorKind::Interrupted).
pub fn retry<T>(operation: impl Fn() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reads as much as there is at the offset `at`, up to `most` bytes.
///
/// # Errors
///
/// As [`read_at`](ReadAt::read_at), but for what a signal interrupted.
pub fn read_whole<R: ReadAt>(file: &R, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let more = retry(|| file.read_at(at + bytes.len() as u64, most - bytes.len()))?;
        if more.is_empty() {
            break;
        }
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

/// An error of writing to the file `name`, for a draft's [`Write`](io::Write): what a signal interrupted stays that, and is
/// written again.
#[cold]
pub fn write_error(name: &str, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        _ => io::Error::other(Error::io("write", name, &error)),
    }
}

/// What the store's directory holds.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
pub fn list<D: Dir>(dir: &D) -> Result<Listing> {
    retry(|| dir.list()).map_err(|e| Error::io("list", WHOLE, &e))
}

/// Makes the names in the store's directory durable.
///
/// # Errors
///
/// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn sync_dir<D: Dir>(dir: &D) -> Result<()> {
    dir.sync().map_err(|e| Error::io("sync", WHOLE, &e))
}

/// Makes durable what was read, where its writer may not have: without this sync, a power cut could take back
/// a snapshot that was already returned, and with it the log records that its caller dropped.
///
/// # Errors
///
/// As [`sync_dir`], but a file system that cannot be written has nothing that is pending, and one that cannot sync a
/// directory, as that of a share may be, has no creates of this store.
pub fn make_durable<D: Dir>(dir: &D) -> Result<()> {
    use io::ErrorKind::{InvalidInput, ReadOnlyFilesystem, Unsupported};
    match retry(|| dir.sync()) {
        Err(error) if matches!(error.kind(), ReadOnlyFilesystem | InvalidInput | Unsupported) => Ok(()),
        result => result.map_err(|e| Error::io("sync", WHOLE, &e)),
    }
}

/// Removes a file.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn remove_file<D: Dir>(dir: &D, name: &str) -> Result<()> {
    dir.remove_file(name).map_err(|e| Error::io("remove", name, &e))
}

/// Makes a file. A host may fail after it has made it, when it looks at what that is: then it is removed again.
///
/// # Errors
///
/// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn make<D: Dir>(dir: &D, name: &str) -> Result<D::Writer> {
    dir.create(name).map_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = dir.remove_file(name);
        }
        Error::io("make", name, &error)
    })
}

/// Removes what lies under the name of a temporary file. A directory there is nothing of this store's or native
/// minisnap's, and gets another name.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn remove_temporary<D: Dir>(dir: &D, name: &str) -> Result<()> {
    let Err(error) = dir.remove_file(name) else { return Ok(()) };
    match Place::look(dir, name)?.entry {
        Some(Entry { kind: Kind::Dir, .. }) => rename_aside(dir, name, |count| match count {
            1 => format!("aside.{name}"),
            count => format!("aside-{count}.{name}"),
        }),
        _ => Err(Error::io("remove", name, &error)),
    }
}

/// Gives a file the name that makes its snapshot the stored one. With an error comes whether that may have happened: a
/// network file system may report a rename that it did as failed, and then the old name is gone.
///
/// # Errors
///
/// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn commit<D: Dir>(dir: &D, from: &str, to: &str) -> std::result::Result<(), (Error, bool)> {
    dir.rename(from, to).map_err(|error| {
        let error = Error::io("rename", from, &error);
        match Place::look(dir, from) {
            Ok(place) if !place.is_empty() => (error, false),
            _ => (error.in_doubt(), true),
        }
    })
}

/// Gives what lies under `from` the first of the names `to(1)`, `to(2)`, ... that is free.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn rename_aside<D: Dir>(dir: &D, from: &str, to: impl Fn(u64) -> String) -> Result<()> {
    for count in 1.. {
        let to = to(count);
        if Place::look(dir, to.as_str())?.is_empty() {
            return dir.rename(from, &to).map_err(|e| Error::io("set aside", from, &e));
        }
    }
    Err(Error::Io(format!("cannot set aside `{from}`: every name for that is taken")))
}

/// Reads the contents of a number's file: decimal digits, with white space around them.
///
/// # Errors
///
/// [`Corrupt`](Error::Corrupt), naming the file `name`.
pub fn parse_seq(text: &[u8], name: &str) -> Result<u64> {
    let whole = if text.len() <= SMALL { text } else { &[] };
    let digits = str::from_utf8(whole).map(str::trim).unwrap_or_default();
    let seq = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse());
    let Some(Ok(seq)) = seq else {
        return Err(Error::Corrupt(format!(
            "`{name}` does not hold a decimal number below 2^64: write the number of the last log record \
             that `{STATE}` contains into it, or take both files from a backup"
        )));
    };
    Ok(seq)
}

/// What the name of a generation starts with; 20 digits follow.
const GENERATION: &str = "snapshot_";

/// The name of the generation `seq`, which is that of minisnap 0.1.3.
pub fn generation(seq: u64) -> String {
    format!("snapshot_{seq:020}.json")
}

/// The name under which the generation `seq` is made. Native minisnap does not take it for a generation.
pub fn temporary(seq: u64) -> String {
    format!("snapshot_{seq:020}.json.tmp")
}

/// The name that a damaged generation `seq` gets, the first or a further one. Native minisnap does not take it for a
/// generation.
pub fn set_aside(seq: u64, count: u64) -> String {
    match count {
        0 | 1 => format!("snapshot_{seq:020}.json.damaged"),
        count => format!("snapshot_{seq:020}.json.damaged-{count}"),
    }
}

/// Whether a name is there only while something is being done, or after a crash in that.
pub fn is_leftover(name: &str) -> bool {
    let of_pair = [NEW_STATE, NEW_SEQ, NEW_SUMS, NATIVE_STATE_TMP, NATIVE_SEQ_TMP];
    of_pair.contains(&name) || Numbered::parse(name) == Some(Numbered::Temporary)
}

/// Whether a name that is none of this store's looks like a snapshot's: in other letters, with something behind it, as a
/// compressed file has, or of native minisnap 0.1.3 with another codec.
pub fn is_near_miss(name: &str) -> bool {
    if starts_like(name, GENERATION) {
        let digits = name.bytes().skip(GENERATION.len()).take_while(u8::is_ascii_digit);
        return digits.count() == 20;
    }
    starts_like(name, STATE) || starts_like(name, SEQ)
}

/// Whether a name starts like this, in whatever case.
#[inline(never)]
fn starts_like(name: &str, start: &str) -> bool {
    let mut found = name.bytes();
    start.bytes().all(|byte| found.next().is_some_and(|found| found.eq_ignore_ascii_case(&byte)))
}

/// What a file of the numbered layout is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbered {
    /// A generation.
    Generation(u64),
    /// One that was being made.
    Temporary,
    /// One that was found damaged, and which of that number.
    SetAside(u64, u64),
}

impl Numbered {
    /// Only exactly the names that [`generation`], [`temporary`] and [`set_aside`] make are any of these.
    pub fn parse(name: &str) -> Option<Numbered> {
        let (number, end) = name.strip_prefix(GENERATION)?.split_at_checked(20)?;
        // A sign would be accepted otherwise.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit()).then_some(number)?;
        let seq = digits.parse().ok()?;
        match end {
            ".json" => Some(Numbered::Generation(seq)),
            ".json.tmp" => Some(Numbered::Temporary),
            _ => {
                let count = match end.strip_prefix(".json.damaged")? {
                    "" => 1,
                    count => count.strip_prefix('-')?.parse().ok()?,
                };
                (set_aside(seq, count) == name).then_some(Numbered::SetAside(seq, count))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_decimal_digits_with_white_space_around_them() {
        assert_eq!(parse_seq(b"7", SEQ), Ok(7));
        assert_eq!(parse_seq(b" \t7\r\n", SEQ), Ok(7));
        assert_eq!(parse_seq(b"00", SEQ), Ok(0));
        assert_eq!(parse_seq(b"18446744073709551615", SEQ), Ok(u64::MAX));
        for text in ["", " ", "+7", "-7", "7 7", "7.0", "0x7", "18446744073709551616", "٧", "7\0"] {
            assert!(matches!(parse_seq(text.as_bytes(), SEQ), Err(Error::Corrupt(_))), "{text:?}");
        }
        assert!(matches!(parse_seq(b"\xFF", SEQ), Err(Error::Corrupt(_))));
        assert!(matches!(
            parse_seq(format!("7{}9", " ".repeat(2000)).as_bytes(), SEQ),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn what_looks_like_a_snapshot_is_a_near_miss() {
        for name in [
            "snapshot_00000000000000000007",
            "snapshot_00000000000000000007.msgpack",
            "snapshot_00000000000000000007.json.gz",
            "SNAPSHOT_00000000000000000007.JSON",
            "snapshot_99999999999999999999.json",
            "Snapshot.json",
            "snapshot.json.gz",
            "SNAPSHOT.SEQ",
        ] {
            assert!(Numbered::parse(name).is_none() && is_near_miss(name), "{name}");
        }
        for name in
            ["snapshot_7.json", "snapshot_000000000000000000007.json", "snapshot", "snapshots", "notes.txt"]
        {
            assert!(!is_near_miss(name), "{name}");
        }
    }

    #[test]
    fn only_the_exact_names_are_generations() {
        for seq in [0, 7, u64::MAX] {
            assert_eq!(Numbered::parse(&generation(seq)), Some(Numbered::Generation(seq)));
            assert_eq!(Numbered::parse(&temporary(seq)), Some(Numbered::Temporary));
            for count in [1, 2, u64::MAX] {
                let name = set_aside(seq, count);
                assert_eq!(Numbered::parse(&name), Some(Numbered::SetAside(seq, count)));
            }
        }
        for name in [
            "snapshot_9.bak",
            "snapshot_1.json",
            "snapshot_00000000000000000007",
            "snapshot_00000000000000000007.JSON",
            "Snapshot_00000000000000000007.json",
            "SNAPSHOT_00000000000000000007.json",
            "snapshot_000000000000000000007.json",
            "snapshot_0000000000000000007.json",
            "snapshot_+0000000000000000007.json",
            "snapshot_18446744073709551616.json",
            "snapshot_000000000000000000٤.json",
            "snapshot_00000000000000000007.json.bak",
            "snapshot_00000000000000000007.bak",
            "snapshot_00000000000000000007.json.damaged-1",
            "snapshot_00000000000000000007.json.damaged-+2",
            "snapshot_00000000000000000007.json.damaged.gz",
            " snapshot_00000000000000000007.json",
            "snapshot.json",
            "",
        ] {
            assert_eq!(Numbered::parse(name), None, "{name}");
        }
    }
}
