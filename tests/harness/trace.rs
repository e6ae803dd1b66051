//! What a program does to files, as strace tells it.
//!
//! It stops at what the model of the disk does not know, rather than skip it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::{Done, run};

/// One thing done below the traced folder. Paths are relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A directory was made.
    MakeDir(String),
    /// A file was opened that is made if it is not there, or cut if that is asked for.
    Open {
        /// The file.
        path: String,
        /// Whether it is cut.
        truncate: bool,
    },
    /// Bytes were written to a file.
    Write {
        /// The file.
        path: String,
        /// Where, in bytes from its start.
        offset: usize,
        /// What.
        bytes: Vec<u8>,
    },
    /// A file was cut or lengthened to a size in bytes.
    Truncate(String, usize),
    /// A file or directory was synced.
    Sync(String),
    /// The first name was given to the second.
    Rename(String, String),
    /// What has the first name got the second one, too.
    Link(String, String),
    /// A file or an empty directory was removed.
    Remove(String),
}

/// The calls that change something, or could.
const TRACED: &str = "openat,openat2,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,\
                      write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fsync,fdatasync,syncfs,sync,\
                      sync_file_range,link,linkat,symlink,symlinkat,fallocate,copy_file_range,sendfile,splice,\
                      io_uring_setup,mmap,lseek,mknod,mknodat,fchmod,chmod,fchmodat";

/// Runs a program to its end, and returns what it did below `root`, in order.
///
/// # Panics
///
/// If it did something that the model does not know.
pub fn trace(command: &Command, root: &Path, input: &str) -> (Done, Vec<Call>) {
    let root = fs::canonicalize(root).expect("the folder is there");
    let log = tempfile::NamedTempFile::new().expect("a file for the trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-y", "-xx", "-s", "4194304", "-e"]).arg(format!("trace={TRACED}"));
    strace.arg("-o").arg(log.path()).arg(command.get_program()).args(command.get_args());
    let done = run(&mut strace, input);
    let text = fs::read_to_string(log.path()).expect("strace writes a trace");
    (done, Reader { root, ..Reader::default() }.read(&text))
}

#[derive(Default)]
struct Reader {
    root: PathBuf,
    /// The calls that have begun and not ended, by thread.
    unfinished: BTreeMap<String, String>,
    /// How far each open file was written, by descriptor.
    positions: BTreeMap<String, usize>,
    calls: Vec<Call>,
}

impl Reader {
    fn read(mut self, text: &str) -> Vec<Call> {
        for line in text.lines() {
            let (thread, call) = line.split_once(' ').expect("a line starts with its thread");
            let call = call.trim_start();
            if let Some(begun) = call.strip_suffix("<unfinished ...>") {
                self.unfinished.insert(thread.to_owned(), begun.trim_end().to_owned());
            } else if let Some(resumed) = call.strip_prefix("<... ") {
                let (_, rest) = resumed.split_once(" resumed>").expect("a resumed call has a name");
                let begun = self.unfinished.remove(thread).unwrap_or_default();
                self.call(&format!("{begun}{rest}"));
            } else if !call.starts_with("+++") && !call.starts_with("---") {
                self.call(call);
            }
        }
        self.calls
    }

    /// Takes a whole call: `name(arguments) = result`.
    fn call(&mut self, call: &str) {
        let (name, rest) = call.split_once('(').expect("a call has arguments");
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
        // What failed has done nothing.
        if result.starts_with('-') || result.starts_with('?') {
            return;
        }
        let arguments = split(arguments.trim_end().trim_end_matches(')'));
        let argument = |at: usize| arguments.get(at).copied().unwrap_or_default();
        let calls = match name {
            "openat" | "openat2" => self.opened(self.at(argument(0), argument(1)), argument(2), result),
            "open" | "creat" => {
                let flags = if name == "creat" { "O_WRONLY|O_CREAT|O_TRUNC" } else { argument(1) };
                self.opened(self.at("", argument(0)), flags, result)
            }
            "mkdir" => self.at("", argument(0)).map(Call::MakeDir),
            "mkdirat" => self.at(argument(0), argument(1)).map(Call::MakeDir),
            "rename" => Self::both(self.at("", argument(0)), self.at("", argument(1)), Call::Rename),
            "renameat" | "renameat2" => {
                assert!(!argument(4).contains("EXCHANGE"), "names are exchanged: {call}");
                Self::both(self.at(argument(0), argument(1)), self.at(argument(2), argument(3)), Call::Rename)
            }
            "link" => Self::both(self.at("", argument(0)), self.at("", argument(1)), Call::Link),
            "linkat" => {
                Self::both(self.at(argument(0), argument(1)), self.at(argument(2), argument(3)), Call::Link)
            }
            "unlink" | "rmdir" => self.at("", argument(0)).map(Call::Remove),
            "unlinkat" => self.at(argument(0), argument(1)).map(Call::Remove),
            "lseek" => {
                // From the start, or nowhere: what is read does not count.
                let position = result.split(' ').next().and_then(|at| at.parse().ok()).expect("a position");
                let descriptor = argument(0).split('<').next().unwrap_or_default();
                self.positions.insert(descriptor.to_owned(), position);
                None
            }
            "write" | "pwrite64" => self.written(argument(0), argument(1), argument(3), result),
            "ftruncate" => {
                let size = argument(1).parse().expect("a size");
                self.descriptor(argument(0)).map(|path| Call::Truncate(path, size))
            }
            "fsync" | "fdatasync" => self.descriptor(argument(0)).map(Call::Sync),
            "mmap" => {
                let writable = argument(2).contains("PROT_WRITE") && argument(3).contains("MAP_SHARED");
                assert!(!writable || self.descriptor(argument(4)).is_none(), "a file is mapped: {call}");
                None
            }
            // Permissions are not modelled, and not relied on.
            "chmod" | "fchmod" | "fchmodat" => None,
            "syncfs" | "sync" | "io_uring_setup" => panic!("the model does not know {name}"),
            _ => {
                let touches = arguments
                    .iter()
                    .any(|argument| self.descriptor(argument).is_some() || self.at("", argument).is_some());
                assert!(!touches, "the model does not know this: {call}");
                None
            }
        };
        self.calls.extend(calls);
    }

    fn opened(&mut self, path: Option<String>, flags: &str, result: &str) -> Option<Call> {
        let descriptor = result.split('<').next().unwrap_or_default();
        self.positions.insert(descriptor.to_owned(), 0);
        let path = path?;
        for flag in ["O_APPEND", "O_SYNC", "O_DSYNC", "O_TMPFILE"] {
            assert!(!flags.contains(flag), "the model does not know {flag}");
        }
        let (create, truncate) = (flags.contains("O_CREAT"), flags.contains("O_TRUNC"));
        (create || truncate).then_some(Call::Open { path, truncate })
    }

    fn written(&mut self, descriptor: &str, bytes: &str, offset: &str, result: &str) -> Option<Call> {
        let path = self.descriptor(descriptor);
        let written: usize = result.split(' ').next().and_then(|size| size.parse().ok()).expect("a size");
        let position = self.positions.entry(descriptor.split('<').next().unwrap_or_default().to_owned());
        let offset = match offset.parse() {
            Ok(offset) => offset,
            Err(_) => {
                let position = position.or_default();
                *position += written;
                *position - written
            }
        };
        let mut bytes = unescape(bytes.trim_matches('"'));
        let path = path?;
        assert!(bytes.len() >= written, "the trace was cut");
        bytes.truncate(written);
        Some(Call::Write { path, offset, bytes })
    }

    /// A rename or a link.
    fn both(from: Option<String>, to: Option<String>, call: fn(String, String) -> Call) -> Option<Call> {
        match (from, to) {
            (Some(from), Some(to)) => Some(call(from, to)),
            (None, None) => None,
            across => panic!("into or out of the traced folder: {across:?}"),
        }
    }

    /// The file or directory that a descriptor is of, if that lies below the root.
    fn descriptor(&self, argument: &str) -> Option<String> {
        let path = argument.split_once('<')?.1.strip_suffix('>')?;
        self.relative(Path::new(&text(path)))
    }

    /// What a name in a directory, given by its descriptor, leads to, if that lies below the root.
    fn at(&self, dir: &str, name: &str) -> Option<String> {
        let dir = dir.split_once('<').map(|(_, path)| text(path.trim_end_matches('>'))).unwrap_or_default();
        let name = text(name.strip_prefix('"')?.strip_suffix('"')?);
        self.relative(&Path::new(&dir).join(name))
    }

    fn relative(&self, path: &Path) -> Option<String> {
        // Without `.` and a slash at the end, as `components` has it; no directory is a link.
        let mut real = PathBuf::new();
        for part in path.components() {
            match part {
                // Above the root is the root.
                Component::ParentDir => assert!(real.pop() || real == Path::new("/"), "{}", path.display()),
                part => real.push(part),
            }
        }
        let path = real;
        let path = path.strip_prefix(&self.root).ok()?.to_str()?.trim_end_matches(" (deleted)");
        Some(path.to_owned())
    }
}

/// Arguments, separated by commas that are not inside of brackets or quotes.
fn split(arguments: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start) = (0_i32, false, 0);
    let mut parts = Vec::new();
    for (at, byte) in arguments.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'{' | b'[' | b'<' if !quoted => depth += 1,
            b'}' | b']' | b'>' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                parts.push(arguments[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[start..].trim());
    parts
}

/// Bytes that are written as `\x41\x42`.
fn unescape(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hexadecimal digit") as u8;
    let (escapes, rest) = text.as_bytes().as_chunks::<4>();
    assert!(rest.is_empty(), "not escaped: {text}");
    escapes.iter().map(|&[_, _, high, low]| digit(high) << 4 | digit(low)).collect()
}

fn text(escaped: &str) -> String {
    if escaped.starts_with("\\x") {
        String::from_utf8(unescape(escaped)).expect("paths are UTF-8")
    } else {
        escaped.to_owned()
    }
}
