//! What is known of generations, as a table for people and as JSON for programs.

use std::time::SystemTime;

use bytesize::ByteSize;
use minisnap_host::{Info, Layout, Soundness};
use serde_json::{Value, json};

/// How many characters the longest bar of a size has.
const BAR: u64 = 20;

/// The size as people read it.
pub fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// The time as RFC 3339 has it, in UTC and to the second.
pub fn time(time: Option<SystemTime>) -> Option<String> {
    // What is out of the range of years with four digits has no such form.
    let limit = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_799);
    let time = time.filter(|&time| SystemTime::UNIX_EPOCH <= time && time <= limit)?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

/// In a word.
pub fn soundness(soundness: &Soundness) -> &'static str {
    match soundness {
        Soundness::Verified => "verified",
        Soundness::Unverified => "unverified",
        Soundness::Damaged(_) => "damaged",
        Soundness::Unreadable(_) => "unreadable",
    }
}

/// What is wrong, if anything is.
pub fn problem(info: &Info) -> Option<&str> {
    match &info.soundness {
        Soundness::Verified | Soundness::Unverified => None,
        Soundness::Damaged(problem) | Soundness::Unreadable(problem) => Some(problem),
    }
}

/// Whether it can be restored.
pub fn is_sound(info: &&Info) -> bool {
    problem(info).is_none()
}

/// The one that restore would print: the newest that is not damaged, unless that cannot be read now.
pub fn restored(infos: &[Info]) -> Option<&Info> {
    let newest = infos.iter().find(|info| !matches!(info.soundness, Soundness::Damaged(_)));
    newest.filter(is_sound)
}

/// {"seq":N,"size":BYTES,"modified":"TIME"|null,"soundness":...}, and "problem" if it cannot be restored.
pub fn json(info: &Info) -> Value {
    let mut value = json!({
        "seq": info.seq,
        "size": info.size,
        "modified": time(info.modified),
        "soundness": soundness(&info.soundness),
    });
    if let Some(problem) = problem(info) {
        value["problem"] = problem.into();
    }
    value
}

/// The files that hold what was a generation once, by their names.
pub struct Beside {
    pub set_aside: Vec<String>,
    pub undone: Vec<String>,
}

/// {"layout":...,"generations":[...],"set-aside":[...],"undone":[...]}, newest first.
pub fn json_list(of: Option<Layout>, infos: &[Info], beside: &Beside) -> String {
    let generations: Vec<Value> = infos.iter().map(json).collect();
    let layout = of.map(|layout| layout.to_string());
    let Beside { set_aside, undone } = beside;
    let list =
        json!({ "layout": layout, "generations": generations, "set-aside": set_aside, "undone": undone });
    format!("{list}\n")
}

/// A line with the layout, and a line for each generation, newest first. For a terminal, the newest sound one is marked,
/// and bars show the sizes.
pub fn list(of: Layout, infos: &[Info], beside: &Beside, for_terminal: bool) -> String {
    let newest = restored(infos).map(|info| info.seq);
    let largest = infos.iter().map(|info| info.size).max().unwrap_or_default().max(1);
    let mut head = vec!["seq", "size", "written", "soundness"];
    if for_terminal {
        head.insert(0, "");
        head.insert(3, "");
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for info in infos {
        let written = time(info.modified).unwrap_or_else(|| "unknown".to_owned());
        let soundness = soundness(&info.soundness).to_owned();
        let mut row = vec![info.seq.to_string(), size(info.size), written, soundness];
        if for_terminal {
            let length = (u128::from(info.size) * u128::from(BAR)).div_ceil(u128::from(largest));
            row.insert(0, if newest == Some(info.seq) { "*" } else { "" }.to_owned());
            row.insert(3, "\u{2588}".repeat(usize::try_from(length).unwrap_or_default()));
        }
        rows.push(row);
    }
    let right = if for_terminal { &[1, 2][..] } else { &[0, 1] };
    let total = infos.iter().map(|info| info.size).sum();
    let count = match infos.len() {
        1 => "1 generation".to_owned(),
        count => format!("{count} generations"),
    };
    let mut text = format!("layout {of}, {count}, {}\n{}", size(total), aligned(&rows, right));
    for info in infos {
        if let Some(problem) = problem(info) {
            text += &format!("{}: {problem}\n", info.seq);
        }
    }
    let Beside { set_aside, undone } = beside;
    for (what, names) in [("set aside as damaged", set_aside), ("undone by a rollback", undone)] {
        for name in names {
            text += &format!("{what}: `{name}`\n");
        }
    }
    text
}

/// Rows of the same number of cells as lines with two spaces between the columns; those of `right` are set to the right.
pub fn aligned(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}
