//! Describes damage that the first bytes of a file show: what power cuts and other programs do to files. The caller says
//! what to do, because one file of a pair from a backup may not match the other.

use crate::dir::Dir;
use crate::files::Place;

/// Adds to `problem` what the start of the damaged file shows; that is the first file that `problem` names.
///
/// A sound file shows none of this, so nothing is added if one has taken its place meanwhile.
#[cold]
pub fn explain<D: Dir>(dir: &D, problem: String) -> String {
    let name = problem.split('`').nth(1).unwrap_or_default();
    let start = Place::look(dir, name).and_then(|place| place.read_small(dir));
    // A file that cannot be read shows nothing.
    match start.ok().flatten().and_then(|start| sign(&start)) {
        Some(sign) => format!("{problem}; `{name}` {sign}"),
        None => problem,
    }
}

/// What is wrong with a file, if its start shows it.
fn sign(start: &[u8]) -> Option<&'static str> {
    Some(match start {
        [] => "is empty, as after a power cut",
        _ if start.iter().all(|&byte| byte == 0) => "is NUL bytes, as after a power cut",
        [0x1F, 0x8B, ..] => "is gzip data",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => UTF_16,
        // ASCII without a byte order mark.
        [_, _, _, _, ..] if start.chunks_exact(2).take(2).all(|unit| (unit[0] == 0) != (unit[1] == 0)) => {
            UTF_16
        }
        [0xEF, 0xBB, 0xBF, ..] => "starts with a byte order mark (BOM)",
        _ if start.windows(2).any(|bytes| bytes == b"\r\n") => {
            "has CRLF line ends, as git's `autocrlf` makes them"
        }
        _ => return None,
    })
}

const UTF_16: &str = "is UTF-16";
