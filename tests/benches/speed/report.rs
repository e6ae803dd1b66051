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
    /// How long ours took, in seconds, if that is what was measured.
    pub time: Option<Spread>,
    /// How many times as much ours took.
    pub ratio: Spread,
    /// The target, and whether the ratio must be below it or above.
    pub target: Option<Target>,
    /// Whether the README shows it.
    pub is_shown: bool,
}

/// What a ratio ought to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub fn value(self) -> f64 {
        match self {
            Target::AtMost(value) | Target::AtLeast(value) => value,
        }
    }

    /// A median says little where a quarter of the rounds took much longer.
    pub fn is_met(self, ratio: Spread) -> Met {
        // As it is printed.
        let is_within = |ratio: f64| {
            let ratio = (ratio * 100.0).round() / 100.0;
            match self {
                Target::AtMost(most) => ratio <= most,
                Target::AtLeast(least) => ratio >= least,
            }
        };
        match (is_within(ratio.median), is_within(ratio.low) && is_within(ratio.high)) {
            (true, true) => Met::Mostly,
            (true, false) => Met::ByTheMedian,
            (false, _) => Met::Not,
        }
    }
}

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// By three quarters of the rounds.
    Mostly,
    ByTheMedian,
    Not,
}

impl Row {
    /// The columns of the table.
    fn columns(&self) -> [String; 6] {
        let Spread { low, median, high } = self.ratio;
        let ratio = if low == high {
            format!("{median:.2}")
        } else {
            format!("**{median:.2}** ({low:.2} to {high:.2})")
        };
        let target = match self.target {
            None => String::new(),
            Some(target) => {
                let bound = match target {
                    Target::AtMost(_) => "≤",
                    Target::AtLeast(_) => "≥",
                };
                let met = match target.is_met(self.ratio) {
                    Met::Mostly => "met",
                    Met::ByTheMedian => "met by the median only",
                    Met::Not => "**not met**",
                };
                format!("{bound} {}, {met}", shortest(target.value()))
            }
        };
        let time = self.time.map_or(String::new(), |time| duration(time.median));
        [self.work.to_owned(), self.state.clone(), time, self.against.to_owned(), ratio, target]
    }

    /// One line of the table.
    pub fn to_line(&self) -> String {
        format!("| {} |", self.columns().join(" | "))
    }
}

/// With two decimals at most.
fn shortest(value: f64) -> String {
    ((value * 100.0).round() / 100.0).to_string()
}

fn duration(seconds: f64) -> String {
    if seconds < 1e-3 { format!("{:.0} µs", seconds * 1e6) } else { format!("{:.2} ms", seconds * 1e3) }
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

    /// The table of all rows.
    pub fn to_markdown(&self) -> String {
        self.table(|_| true) + "\n" + &self.place + "\n"
    }

    /// The table of those that the README shows: targets and the worst cases, of some sizes.
    pub fn to_summary(&self) -> String {
        self.table(|row| row.is_shown)
    }

    fn table(&self, is_shown: impl Fn(&Row) -> bool) -> String {
        let mut text = String::from(
            "| work | state | time | against | times as long | target |\n|---|---|---|---|---|---|\n",
        );
        for row in self.rows.iter().filter(|row| is_shown(row)) {
            let _ = writeln!(text, "{}", row.to_line());
        }
        text
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
