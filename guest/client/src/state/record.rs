//! A line of the log: how it is written, and how a reader knows that it is whole.

use std::fmt::Write;

/// What a segment begins with. Native `ministore` reads any line that begins like this.
pub(super) const HEADER: &str = "// MINISTORE JOURNAL v0.1.4, minisnap log v1\n";

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
    (batch.0 <= seq && seq <= batch.1).then_some(Record { seq, batch, op })
}

/// What is left of one write to a file, if power was cut before it was synced: a part of it, or zeros where a block of the
/// disk was not written, from `start` in the file on.
///
/// Anything else is damage to a record that was acknowledged: a whole line that its sum does not fit, or one whose end was
/// changed.
pub(super) fn is_torn(left: &[u8], start: u64) -> bool {
    match left.split_last() {
        None => false,
        Some((_, begun)) if !left.contains(&b'\n') => {
            // A whole record, but for its last byte?
            read(&[begun, b"\n"].concat()).is_none()
        }
        Some(_) => has_hole(left, start),
    }
}

/// Blocks of a disk begin at multiples of this.
const SECTOR: u64 = 512;

/// Whether zeros begin at the start or where a block does, and end where one does or at the end. JSON has none, and a
/// damaged bit makes one at most.
fn has_hole(left: &[u8], start: u64) -> bool {
    let is_edge = |at: usize| (start + at as u64).is_multiple_of(SECTOR);
    let mut at = 0;
    while let Some(from) = left[at..].iter().position(|&byte| byte == 0).map(|found| at + found) {
        let to = left[from..].iter().position(|&byte| byte != 0).map_or(left.len(), |found| from + found);
        if (from == 0 || is_edge(from)) && (to == left.len() || is_edge(to)) {
            return true;
        }
        at = to;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: [Record<'_>; 3] = [
        Record { seq: 1, batch: (1, 1), op: r#"{"from":1,"sum":"00000000"}"# },
        Record { seq: 2, batch: (2, 3), op: r#"" @,\"op\":""# },
        Record { seq: u64::MAX, batch: (u64::MAX, u64::MAX), op: "null" },
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

    #[test]
    fn no_damaged_bit_of_a_whole_record_is_read_or_taken_for_a_torn_one() {
        for (record, start) in RECORDS.iter().flat_map(|record| [(record, 45), (record, 512)]) {
            let mut bytes = line(record).into_bytes();
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let text = String::from_utf8_lossy(&bytes);
                assert_eq!(read(&bytes), None, "{text}");
                assert!(!is_torn(&bytes, start), "{text}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn what_a_power_cut_leaves_of_a_record_is_torn() {
        let op = format!("\"{}\"", "x".repeat(2000));
        let whole = line(&Record { seq: 4, batch: (4, 4), op: &op }).into_bytes();
        let start = 700;
        for end in 1..whole.len() {
            assert!(read(&whole[..end]).is_none() && is_torn(&whole[..end], start), "cut at {end}");
        }
        // Any of the sectors that it lies in was not written: the end of the first, two whole ones, the start of the last.
        let edges = [0, 1024 - 700, 1536 - 700, 2048 - 700, 2560 - 700, whole.len()];
        for sector in edges.windows(2) {
            let mut holed = whole.clone();
            holed[sector[0]..sector[1]].fill(0);
            assert!(read(&holed).is_none() && is_torn(&holed, start), "{sector:?}");
        }
    }
}
