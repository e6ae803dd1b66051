//! The rows of the table, and where they were measured.

use std::fmt::Write;
use std::process::Command;

use crate::contest::Spread;

/// One comparison.
pub struct Row {
    /// What of ours was measured.
    pub work: &'static str,
    /// With which state.
    pub state: String,
    /// What it is compared with.
    pub against: &'static str,
    /// How long ours took, and the other, in seconds, if that is what was measured.
    pub times: Option<[f64; 2]>,
    /// How many times as much ours took.
    pub ratio: Spread,
    /// Where the chart shows it, if it does.
    pub group: Option<Group>,
}

/// The parts of the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Create,
    Restore,
    Other,
}

impl Row {
    /// The same row, which the chart shows.
    pub fn shown(self, group: Group) -> Self {
        Row { group: Some(group), ..self }
    }

    /// The columns of the table.
    fn columns(&self) -> [String; 6] {
        let Spread { low, median, high } = self.ratio;
        let ratio = if low == high {
            format!("{median:.2}")
        } else {
            format!("**{median:.2}** ({low:.2} to {high:.2})")
        };
        let [time, other] = self.times.map_or_else(Default::default, |times| times.map(duration));
        [self.work.to_owned(), self.state.clone(), time, self.against.to_owned(), other, ratio]
    }

    /// One line of the table.
    pub fn to_line(&self) -> String {
        format!("| {} |", self.columns().join(" | "))
    }
}

/// As people read it.
pub fn duration(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1e-1 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{:.0} ms", seconds * 1e3)
    }
}

/// All rows of one run.
pub struct Report {
    pub rows: Vec<Row>,
    /// The machine, the date and the versions.
    pub place: String,
}

impl Report {
    pub fn new(rows: Vec<Row>) -> Self {
        Report { rows, place: place() }
    }

    /// The page with the table of all rows.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from(
            "# Speed\n\nHow long the store takes beside what it is compared with, and how many times as long. Times and ratios \
             are medians of rounds in which the compared programs take turns, with the quartiles in brackets. The states \
             are generated; their size is without white space.\n\n- Native minisnap serialises a state each time, writes \
             without sums, and never removes an old generation; 0.1.2 syncs twice and loses snapshots.\n- \"The same \
             files\" is a program that only writes the final bytes, with the same syncs and renames.\n- Native serde_json \
             changes numbers when it transcodes; this store changes no token.\n- Plain requests put and get the bytes of the \
             same objects, from and to memory, on the same server.\n\n| work | state | time | against | its \
             time | times as long |\n|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.to_line());
        }
        text + "\n" + &self.place + "\n"
    }
}

fn place() -> String {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpu = cpu.map_or("a processor that does not say its name", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let disk = said("df", &["--output=fstype", &std::env::temp_dir().to_string_lossy()]).unwrap_or_default();
    let disk = disk.lines().last().unwrap_or_default();
    let kernel = said("uname", &["-sr"]).unwrap_or_default();
    let date = said("date", &["+%Y-%m-%d"]).unwrap_or_default();
    let rustc = said("rustc", &["--version"]).unwrap_or_default();
    let rustc = rustc.split(" (").next().unwrap_or_default();
    let lock = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
    let wasmtime =
        lock.split("name = \"wasmtime\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    format!(
        "Measured {date} with `cargo bench -p minisnap-tests --bench speed -- --write`: {cpu}, {cores} cores, {kernel}, \
         {disk}; {rustc}, wasmtime {}, minisnap 0.1.2 and 0.1.3.",
        wasmtime.unwrap_or_default()
    )
}
