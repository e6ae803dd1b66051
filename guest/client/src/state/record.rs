//! A line of the log: how it is written, and how a reader knows that it is whole.

use std::fmt::Write;

/// What a segment begins with. Native `ministore` reads any line that begins like this.
pub(super) const HEADER: &str = "// MINISTORE JOURNAL v0.1.4, minisnap log v1\n";

/// Whether this is what a segment of a later version begins with: the same line with a higher number.
pub(super) fn is_later(header: &[u8]) -> bool {
    let (start, own) = HEADER.trim_end().rsplit_once('v').expect("it ends with a version");
    let version = || str::from_utf8(header).ok()?.strip_suffix('\n')?.strip_prefix(start)?.strip_prefix('v');
    version().is_some_and(|number| {
        let is_number = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && (number.len(), number) > (own.len(), own)
    })
}

/// The numbers of the first and the last record that were written together, and that count together or not at all.
pub(super) type Batch = (u64, u64);

/// A record that is as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'l> {
    pub(super) seq: u64,
    /// Of a record that was written alone, this is its own number, twice.
    pub(super) batch: Batch,
    /// The operation, as JSON in one line.
    pub(super) op: &'l str,
}

/// Adds a record's line to `text`.
pub(super) fn write(text: &mut String, &Record { seq, batch, op }: &Record<'_>) {
    let start = text.len();
    let _ = write!(text, r#"{{"seq":{seq}"#);
    if batch != (seq, seq) {
        let _ = write!(text, r#","batch":[{},{}]"#, batch.0, batch.1);
    }
    let _ = write!(text, r#","op":{op}"#);
    let sum = crc32fast::hash(&text.as_bytes()[start..]);
    let _ = writeln!(text, r#","sum":"{sum:08x}"}}"#);
}

/// Reads a line with its end; `None` if it is not one that was written.
pub(super) fn read(line: &[u8]) -> Option<Record<'_>> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\"}\n")?;
    let (text, sum) = text.rsplit_once(r#","sum":""#)?;
    let digits = sum.len() == 8 && sum.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(text.as_bytes())) {
        return None;
    }
    let (numbers, op) = text.strip_prefix(r#"{"seq":"#)?.split_once(r#","op":"#)?;
    let (seq, batch) = match numbers.split_once(r#","batch":["#) {
        None => {
            let seq = numbers.parse().ok()?;
            (seq, (seq, seq))
        }
        Some((seq, batch)) => {
            let (first, last) = batch.strip_suffix(']')?.split_once(',')?;
            (seq.parse().ok()?, (first.parse().ok()?, last.parse().ok()?))
        }
    };
    (batch.0 <= seq && seq <= batch.1 && batch.1 < u64::MAX).then_some(Record { seq, batch, op })
}

/// Where a record that is not whole was to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its number.
    pub(super) seq: u64,
    /// Where its line begins in the file.
    pub(super) start: u64,
    /// Where what was written with it begins.
    pub(super) write: u64,
}

/// Whether `left`, what a file has from a place to its end, is what a power cut may leave of one write that was not synced:
/// the first part of a record, or zeros where a block of the disk was not written.
///
/// Anything else is damage to a record that was acknowledged: a whole line whose sum does not fit, or whose end was changed,
/// or what was never written there.
pub(super) fn is_torn(left: &[u8], place: Place) -> bool {
    let begun = left.split(|&byte| byte == 0).next().unwrap_or_default();
    let is_cut = begun.len() == left.len() && !left.contains(&b'\n') && !left.is_empty();
    begins_record(begun, place.seq)
        && !left.split_inclusive(is_end).any(is_damaged)
        && (is_cut || has_holes(left, place))
}

fn is_end(byte: &u8) -> bool {
    *byte == b'\n'
}

/// Whether this is how the line of the record `seq` begins, as far as it goes.
fn begins_record(begun: &[u8], seq: u64) -> bool {
    [format!(r#"{{"seq":{seq},"op":"#), format!(r#"{{"seq":{seq},"batch":["#)].iter().any(|head| {
        let size = head.len().min(begun.len());
        begun[..size] == head.as_bytes()[..size]
    })
}

/// Whether no power cut leaves this of a line: it has its end, no zeros, and is not whole; or a sum in it fits, and is followed
/// by something else than the end of a line, or zeros.
pub(super) fn is_damaged(line: &[u8]) -> bool {
    const BEFORE_SUM: &[u8] = br#","sum":""#;
    if line.ends_with(b"\n") && !line.contains(&0) {
        return read(line).is_none();
    }
    let is_sum = |at: &usize| line[*at..].starts_with(BEFORE_SUM);
    (0..line.len()).filter(is_sum).any(|at| {
        let sum = format!("{:08x}", crc32fast::hash(&line[..at]));
        let Some(rest) = line[at + BEFORE_SUM.len()..].strip_prefix(sum.as_bytes()) else { return false };
        let other = rest.iter().zip(b"\"}\n").find(|(byte, end)| byte != end);
        other.is_some_and(|(byte, _)| *byte != 0)
    })
}

/// Blocks of a disk begin at multiples of this.
const SECTOR: u64 = 512;

/// Whether there are zeros, all of which a disk leaves of blocks that it did not write, or wrote before the rest of their bytes
/// came. They end where a block or the file ends, and where that is within the file, begin where the write or a block does, or
/// are two at least: JSON has none, and a damaged bit makes one at most, which is not the last byte of a line.
fn has_holes(left: &[u8], place: Place) -> bool {
    let is_edge = |at: usize| (place.start + at as u64).is_multiple_of(SECTOR);
    let (mut at, mut found) = (0, false);
    while let Some(from) = left[at..].iter().position(|&byte| byte == 0).map(|zero| at + zero) {
        let to = left[from..].iter().position(|&byte| byte != 0).map_or(left.len(), |other| from + other);
        let is_start = from == 0 && place.start == place.write;
        let is_hole = to == left.len() || (to - from > 1 || is_start || is_edge(from)) && is_edge(to);
        if !is_hole {
            return false;
        }
        (at, found) = (to, true);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u64 = u64::MAX - 1;

    const RECORDS: [Record<'_>; 3] = [
        Record { seq: 1, batch: (1, 1), op: r#"{"from":1,"sum":"00000000"}"# },
        Record { seq: 2, batch: (2, 3), op: r#"" @,\"op\":""# },
        Record { seq: LAST, batch: (LAST, LAST), op: "null" },
    ];

    fn line(record: &Record<'_>) -> String {
        let mut line = String::new();
        write(&mut line, record);
        line
    }

    #[test]
    fn what_is_written_is_read_and_is_json() {
        for record in &RECORDS {
            let line = line(record);
            assert_eq!(read(line.as_bytes()).as_ref(), Some(record), "{line}");
            let json: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(json["seq"], record.seq);
            assert_eq!(json["op"], serde_json::from_str::<serde_json::Value>(record.op).unwrap());
        }
    }

    fn place(record: &Record<'_>, start: u64) -> Place {
        Place { seq: record.seq, start, write: start }
    }

    #[test]
    fn no_damaged_bit_of_a_whole_record_is_read_or_taken_for_a_torn_one() {
        for (record, start) in RECORDS.iter().flat_map(|record| [(record, 45), (record, 512)]) {
            let mut bytes = line(record).into_bytes();
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let text = String::from_utf8_lossy(&bytes);
                assert_eq!(read(&bytes), None, "{text}");
                assert!(!is_torn(&bytes, place(record, start)), "{text}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn what_is_not_the_beginning_of_the_next_record_is_no_torn_one() {
        let record = &RECORDS[0];
        let whole = line(record);
        let end = whole.len() - 1;
        for left in [
            "####".to_owned(),
            "// a note".to_owned(),
            whole[..40].replacen("\"seq\":1", "\"seq\":2", 1),
            format!("{}##", &whole[..end - 1]),
            format!("{}###", &whole[..end - 2]),
        ] {
            assert!(!is_torn(left.as_bytes(), place(record, 45)), "{left}");
        }
    }

    #[test]
    fn what_a_power_cut_leaves_of_a_record_is_torn() {
        // In the last, the end of the line is in a block of its own.
        for size in [1990, 2000, 2048 + 1 - 700 - 37] {
            let op = format!("\"{}\"", "x".repeat(size));
            let record = Record { seq: 4, batch: (4, 4), op: &op };
            let whole = line(&record).into_bytes();
            let start = 700;
            for end in 1..whole.len() {
                let left = &whole[..end];
                assert!(read(left).is_none() && is_torn(left, place(&record, start)), "cut at {end}");
            }
            // Any of the blocks that it lies in was not written.
            let last = (start as usize + whole.len() - 1) / 512;
            let edges = (2..=last).map(|block| block * 512 - 700).chain([whole.len()]);
            let mut from = 0;
            for to in edges {
                let mut holed = whole.clone();
                holed[from..to].fill(0);
                assert!(is_torn(&holed, place(&record, start)), "{from}..{to} of {}", whole.len());
                from = to;
            }
        }
    }

    #[test]
    fn what_a_power_cut_leaves_behind_a_damaged_record_hides_it_not() {
        let (first, next) = (&RECORDS[0], Record { seq: 2, batch: (2, 2), op: "{}" });
        let whole = line(first);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            for torn in [vec![0; 60], line(&next).into_bytes()[..20].to_vec()] {
                let left = [&bytes[..], &torn[..]].concat();
                assert!(!is_torn(&left, place(first, 45)), "{}", String::from_utf8_lossy(&left));
            }
        }
    }

    #[test]
    fn zeros_within_a_block_are_damage() {
        let op = format!("\"{}\"", "x".repeat(2000));
        let record = Record { seq: 4, batch: (3, 5), op: &op };
        let whole = line(&record).into_bytes();
        for (start, write, hole) in [(700, 700, 400..500), (700, 400, 0..300), (700, 700, 323..324)] {
            let mut holed = whole.clone();
            holed[hole.clone()].fill(0);
            assert!(!is_torn(&holed, Place { seq: 4, start, write }), "{hole:?}");
        }
    }
}
