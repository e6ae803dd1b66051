//! The text of a generation's file: what stands before and after the state.
//!
//! ```json
//! {
//!   "seq": 7,
//!   "state": {
//!     "counter": 1
//!   },
//!   "xxh128": "the sum of every byte before this line"
//! }
//! ```
//!
//! It is what serde_json pretty-prints, as minisnap 0.1.3 writes it but for the last member. It is read strictly: what
//! is laid out in another way was not written by either.

use std::io;

use crate::body::Extent;
use crate::catalog;
use crate::dir::ReadAt;
use crate::files::{read_whole, retry};
use crate::sum::Sum;

/// What stands between the state and the line of the sum; the sum is of it, too.
pub const BEFORE_SUM: &[u8] = b",\n";
/// What stands after the state where there is no sum.
const END: &[u8] = b"\n}";
/// How many bytes stand after the state where there is a sum.
const AFTER_STATE: usize = BEFORE_SUM.len() + BEFORE_DIGITS.len() + Sum::DIGITS + AFTER_DIGITS.len();
/// What stands before and after the digits of the sum.
const BEFORE_DIGITS: &str = "  \"xxh128\": \"";
const AFTER_DIGITS: &str = "\"\n}";

/// What stands before the state.
pub fn head(seq: u64) -> String {
    format!("{{\n  \"seq\": {seq},\n  \"state\": ")
}

/// The line of the sum, and the end.
pub fn tail(sum: Sum) -> String {
    format!("{BEFORE_DIGITS}{sum}{AFTER_DIGITS}")
}

/// How many bytes are read at the start: all of a small file, in one call.
const START: u64 = 8 << 10;

/// The most bytes that a file takes beside its state.
pub const BESIDE_STATE: u64 = 128;

/// Where the state lies in a file, and the sum that goes with it.
pub struct Outline {
    /// Where the state lies, and what is summed.
    pub extent: Extent,
    /// The sum, or `None` if the file has none: another program wrote it.
    pub sum: Option<Sum>,
    /// What was read of the file's start.
    pub start: Vec<u8>,
}

/// Reads what stands before and after the state of the generation `seq`, or what is wrong with it.
pub fn outline<R: ReadAt>(file: &R, seq: u64) -> io::Result<Result<Outline, String>> {
    let name = catalog::generation(seq);
    let size = retry(|| file.size())?;
    let start = read_whole(file, 0, size.min(START) as usize)?;
    let head = head(seq);
    if !start.starts_with(head.as_bytes()) {
        let problem = match other_number(&start) {
            Some(other) => format!("`{name}` holds the sequence number {other}, and its name another"),
            None => format!("`{name}` does not start as a snapshot does"),
        };
        return Ok(Err(problem));
    }

    // One byte of a state at least.
    let state = head.len() as u64;
    let most = size.saturating_sub(state + 1).min(AFTER_STATE as u64);
    let read;
    let after = if start.len() as u64 == size {
        &start[start.len() - most as usize..]
    } else {
        read = read_whole(file, size - most, most as usize)?;
        &read[..]
    };
    let (stop, end, sum) = if let Some(sum) = parse_after_state(after) {
        (size - AFTER_STATE as u64, size - (AFTER_STATE - BEFORE_SUM.len()) as u64, Some(sum))
    } else if after.ends_with(END) {
        (size - END.len() as u64, size, None)
    } else {
        return Ok(Err(format!("`{name}` does not end as a snapshot does: it was cut or changed")));
    };
    Ok(Ok(Outline { extent: Extent { start: state, stop, end, indented: true }, sum, start }))
}

/// The sum in what stands after the state, if that is exactly what [`tail`] makes.
fn parse_after_state(after: &[u8]) -> Option<Sum> {
    let line = str::from_utf8(after.strip_prefix(BEFORE_SUM)?).ok()?;
    let digits = line.strip_prefix(BEFORE_DIGITS)?.get(..Sum::DIGITS)?;
    let sum = Sum::parse(digits)?;
    (tail(sum) == line).then_some(sum)
}

/// The number of another generation at the start of what should be one's head.
fn other_number(found: &[u8]) -> Option<u64> {
    let rest = found.strip_prefix(b"{\n  \"seq\": ")?;
    str::from_utf8(rest.split(|&byte| byte == b',').next()?).ok()?.parse().ok()
}
