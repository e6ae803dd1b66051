//! `minisnap status`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use minisnap_host::grants::Grants;
use minisnap_host::{Contents, Error, Newest, Soundness, Status};
use serde_json::{Value, json};

use crate::failure::{Failure, plain};
use crate::output::{Output, Unwritten, print};
use crate::progress::Progress;
use crate::stores::minisnap;
use crate::table;

const EXAMPLE: &str = "Examples:
  minisnap status minisnap.toml --max-age 1h
  minisnap status minisnap.toml --verify --prometheus /var/lib/node_exporter/minisnap.prom

Exits with 6 if any snapshot is damaged, 10 if anything else cannot be told, and 1 if any is older than --max-age, or missing.";

/// Report on the stores of all components in a grants file
///
/// A line for each component, instance and named store, those with problems first. Takes no lock, and reads names and
/// numbers alone unless --verify is given.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct StatusOf {
    /// The grants file [default: that of MINISNAP_CONFIG, if it is set]
    #[arg(env = "MINISNAP_CONFIG", hide_env = true)]
    file: PathBuf,
    /// Read and check every generation
    #[arg(long)]
    verify: bool,
    /// Fail if the newest snapshot of any store is older, or if it has none
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_age: Option<Duration>,
    /// Print {"stores":[...]}, of which each is {"component":NAME, "instance":NAME|null, "store":NAME,
    /// "directory":DIR|null, "url":URL|null, "status":"damaged"|"error"|"old"|"none"|"ok", "held-by":PID|null, "max-total":BYTES|null},
    /// with "problem" for the first two, and where it can be read {"layout":"pair"|"numbered"|null, "generations":N,
    /// "damaged":N|null, "seq":N|null, "modified":"RFC 3339"|null, "age":SECONDS|null, "size":BYTES,
    /// "soundness":"verified"|"unverified"|null}
    #[arg(long)]
    json: bool,
    /// Write metrics for Prometheus, in the format that the textfile collector of node_exporter reads
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
}

/// How a store is, in a word; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Damaged,
    Error,
    Old,
    None,
    Ok,
}

/// A store as it is shown.
struct Row {
    of: Status,
    word: Word,
    problem: Option<String>,
    age: Option<Duration>,
}

impl StatusOf {
    pub fn run(self) -> Result<(), Failure> {
        let metrics = self.prometheus.as_deref().map(|file| Output::find(Some(file), None)).transpose()?;
        let grants = Grants::load(&self.file).map_err(Failure::diagnostic)?;
        let minisnap = minisnap().map_err(Failure::about(&self.file))?;
        let looking = Progress::waiting(if self.verify { "checking" } else { "looking" });
        let found = grants.status(&minisnap, self.verify).map_err(Failure::diagnostic)?;
        drop(looking);

        let now = SystemTime::now();
        let mut rows: Vec<Row> = found.into_iter().map(|of| Row::new(of, now, self.max_age)).collect();
        if let Some(output) = metrics {
            let text = metrics_of(&rows);
            output.write(|to| to.write_all(text.as_bytes()).map_err(Unwritten::Output))?;
        }
        rows.sort_by_key(|row| row.word);
        let text = if self.json { json_of(&rows) } else { table_of(&rows) };
        print(text.as_bytes())?;
        self.judge(&rows)
    }

    fn judge(&self, rows: &[Row]) -> Result<(), Failure> {
        let count = |word| rows.iter().filter(|row| row.word == word).count();
        let (code, help) = match rows.first().map(|row| row.word) {
            Some(Word::Damaged) => (6, "see what is damaged: minisnap verify DIR"),
            Some(Word::Error) => (10, "mend what its line says"),
            Some(Word::Old) => (1, "see whether the component runs, and creates snapshots"),
            Some(Word::None | Word::Ok) | None => return Ok(()),
        };
        let counts = [
            (count(Word::Damaged), "damaged".to_owned()),
            (count(Word::Error), "not to be read".to_owned()),
            (
                count(Word::Old),
                self.max_age.map_or_else(String::new, |age| format!("older than {}, or missing", short(age))),
            ),
        ];
        let counts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {} {what}", if count == 1 { "is" } else { "are" }))
            .collect();
        let what = format!("`{}`: of {} stores, {}", self.file.display(), rows.len(), counts.join(", "));
        Err(Failure::refused(code, what, help))
    }
}

impl Row {
    fn new(of: Status, now: SystemTime, max_age: Option<Duration>) -> Self {
        let newest = of.contents.as_ref().ok().and_then(|contents| contents.newest.as_ref());
        let modified = newest.and_then(|newest| newest.modified);
        // What was written in the future, by another clock, is new.
        let age = modified.map(|time| now.duration_since(time).unwrap_or_default());
        // One of unknown time is not known to be old: it was replaced, or the system tells no time.
        let is_old = max_age.is_some_and(|most| newest.is_none() || age.is_some_and(|age| age > most));
        let problem = problem(&of);
        let word = match (&of.contents, newest) {
            (Err(Error::Corrupt(_)), _) => Word::Damaged,
            (Err(_), _) => Word::Error,
            (Ok(Contents { damaged: Some(1..), .. }), _) => Word::Damaged,
            (Ok(Contents { unreadable: Some(_), .. }), _) => Word::Error,
            _ if is_old => Word::Old,
            (_, None) => Word::None,
            (_, Some(_)) => Word::Ok,
        };
        Row { of, word, problem, age }
    }

    /// What is called this in messages.
    fn name(&self) -> String {
        let Status { component, instance, store, .. } = &self.of;
        let instance = instance.as_ref().map(|instance| format!(".{instance}")).unwrap_or_default();
        let store = if store.is_empty() { String::new() } else { format!("/{store}") };
        format!("{component}{instance}{store}")
    }
}

/// What is wrong, if anything is that can be said.
fn problem(of: &Status) -> Option<String> {
    match &of.contents {
        Err(error) => Some(error.to_line()),
        Ok(Contents { damaged: Some(damaged @ 1..), newest, .. }) => {
            let rest = match newest {
                Some(Newest {
                    seq, soundness: Some(Soundness::Verified | Soundness::Unverified), ..
                }) => {
                    format!("`restore` returns the snapshot {seq}")
                }
                _ => "`restore` fails".to_owned(),
            };
            Some(format!("{damaged} damaged; {rest}"))
        }
        Ok(Contents { unreadable, .. }) => unreadable.clone(),
    }
}

impl Word {
    fn as_str(self) -> &'static str {
        match self {
            Word::Damaged => "damaged",
            Word::Error => "error",
            Word::Old => "old",
            Word::None => "none",
            Word::Ok => "ok",
        }
    }
}

/// A line for each store, without the columns that say nothing of any; and below, what is wrong.
fn table_of(rows: &[Row]) -> String {
    const HEAD: [&str; 12] = [
        "status",
        "component",
        "instance",
        "store",
        "layout",
        "generations",
        "seq",
        "age",
        "size",
        "limit",
        "soundness",
        "held by",
    ];
    let cells: Vec<[String; HEAD.len()]> = rows.iter().map(cells).collect();
    let is_shown = |column: usize| column < 2 || cells.iter().any(|row| !row[column].is_empty());
    let columns: Vec<usize> = (0..HEAD.len()).filter(|column| is_shown(*column)).collect();
    let mut lines = vec![columns.iter().map(|column| HEAD[*column].to_owned()).collect::<Vec<_>>()];
    lines.extend(cells.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()));
    let right: Vec<usize> = (0..columns.len()).filter(|at| (5..10).contains(&columns[*at])).collect();
    let mut text = table::aligned(&lines, &right);
    for row in rows {
        if let Some(problem) = &row.problem {
            let directory = match (&row.of.url, &row.of.dir) {
                (Some(url), _) => format!("`{url}`: "),
                (None, Some(dir)) => format!("`{}`: ", dir.display()),
                (None, None) => String::new(),
            };
            let _ = writeln!(text, "{}: {}", row.name(), plain(&format!("{directory}{problem}")));
        }
    }
    text
}

fn cells(row: &Row) -> [String; 12] {
    let Status { component, instance, store, max_total, held_by, contents, .. } = &row.of;
    let contents = contents.as_ref().ok();
    let newest = contents.and_then(|contents| contents.newest.as_ref());
    let soundness = newest.and_then(|newest| newest.soundness.as_ref());
    let layout = contents.and_then(|contents| contents.layout);
    let part = |size: u64, most: u64| {
        let percent = (u128::from(size) * 100).checked_div(u128::from(most));
        percent.map(|percent| format!("{percent} %")).unwrap_or_default()
    };
    [
        row.word.as_str().to_owned(),
        component.clone(),
        instance.clone().unwrap_or_default(),
        store.clone(),
        layout.map(|layout| layout.to_string()).unwrap_or_default(),
        layout.and(contents).map(|contents| contents.generations.to_string()).unwrap_or_default(),
        newest.map(|newest| newest.seq.to_string()).unwrap_or_default(),
        row.age.map(short).unwrap_or_default(),
        contents.map(|contents| table::size(contents.size)).unwrap_or_default(),
        contents.zip(*max_total).map(|(contents, most)| part(contents.size, most)).unwrap_or_default(),
        soundness.map(|soundness| table::soundness(soundness).to_owned()).unwrap_or_default(),
        held_by.map(|process| process.to_string()).unwrap_or_default(),
    ]
}

/// A duration in seconds, of which the two largest units are shown.
fn short(time: Duration) -> String {
    let all = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    all.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn json_of(rows: &[Row]) -> String {
    let store = |row: &Row| {
        let Status { component, instance, store, dir, url, max_total, held_by, contents, .. } = &row.of;
        let mut value = json!({
            "component": component,
            "instance": instance,
            "store": store,
            "directory": dir.as_ref().map(|dir| dir.display().to_string()),
            "url": url,
            "status": row.word.as_str(),
            "held-by": held_by,
            "max-total": max_total,
        });
        if let Some(problem) = &row.problem {
            value["problem"] = problem.as_str().into();
        }
        if let Ok(Contents { newest, layout, generations, damaged, size, .. }) = contents {
            let newest = newest.as_ref();
            let soundness = newest.and_then(|newest| newest.soundness.as_ref());
            value["layout"] = layout.map(|layout| layout.to_string()).into();
            value["generations"] = json!(generations);
            value["damaged"] = json!(damaged);
            value["seq"] = json!(newest.map(|newest| newest.seq));
            value["modified"] = table::time(newest.and_then(|newest| newest.modified)).into();
            value["age"] = json!(row.age.map(|age| age.as_secs()));
            value["size"] = json!(size);
            value["soundness"] = json!(soundness.map(table::soundness));
        }
        value
    };
    let stores: Vec<Value> = rows.iter().map(store).collect();
    format!("{}\n", json!({ "stores": stores }))
}

/// A metric, what it says, and its value of a store that has one.
type Metric = (&'static str, &'static str, fn(&Row) -> Option<f64>);

const METRICS: [Metric; 8] = [
    ("minisnap_store_readable", "Whether the store could be read.", |row| {
        Some(flag(row.word != Word::Error))
    }),
    ("minisnap_store_held", "Whether a process holds the directory for writing.", |row| {
        Some(flag(row.of.held_by.is_some()))
    }),
    ("minisnap_snapshot_seq", "The sequence number of the newest snapshot.", |row| {
        Some(newest(row)?.seq as f64)
    }),
    (
        "minisnap_snapshot_timestamp_seconds",
        "When the newest snapshot was written, in seconds since 1970.",
        |row| {
            let since = newest(row)?.modified?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some(since.as_secs_f64())
        },
    ),
    ("minisnap_generations", "How many generations the store holds.", |row| {
        Some(row.of.contents.as_ref().ok()?.generations as f64)
    }),
    ("minisnap_damaged_generations", "How many of them are damaged, if they were read.", |row| {
        match &row.of.contents {
            Ok(contents) => contents.damaged.map(|damaged| damaged as f64),
            Err(Error::Corrupt(_)) => Some(1.0),
            Err(_) => None,
        }
    }),
    ("minisnap_directory_size_bytes", "What counts towards the limit of the directory.", |row| {
        Some(row.of.contents.as_ref().ok()?.size as f64)
    }),
    ("minisnap_directory_limit_bytes", "The most that the directory may hold.", |row| {
        row.of.max_total.map(|most| most as f64)
    }),
];

fn newest(row: &Row) -> Option<&Newest> {
    row.of.contents.as_ref().ok()?.newest.as_ref()
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// In the text format of Prometheus. No label needs an escape: names have letters, digits, `-` and `_`.
fn metrics_of(rows: &[Row]) -> String {
    let mut text = String::new();
    for (name, help, value) in METRICS {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for row in rows {
            let Status { component, instance, store, .. } = &row.of;
            let instance = instance.as_deref().unwrap_or_default();
            if let Some(value) = value(row) {
                let _ = writeln!(
                    text,
                    "{name}{{component=\"{component}\",instance=\"{instance}\",store=\"{store}\"}} {value}"
                );
            }
        }
    }
    text
}
