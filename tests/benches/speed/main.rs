//! How fast the store is beside native minisnap, and beside a program that only writes the same files with the same
//! syncs: `cargo bench -p minisnap-tests --bench speed`, on the disk of TMPDIR.
//!
//! What is compared takes turns, round by round, in one run of this program. A ratio is the median of those of the
//! rounds, with a quarter of them below and above what follows in brackets.
//!
//! - `MINISNAP_JSON_DATA=FOLDER` formats and stores that folder's .json files as well.
//! - `-- --write` also writes `tests/benches/speed.md` and `speed.svg`.
//! - `-- TOPIC ...` measures some topics only: `snapshots`, `formatting`, `consumers`, `processes`, `threads`, `memory`, `logs`,
//!   `objects`, which takes the servers that `tests/engines/install` has installed.

mod chart;
mod composed;
mod contest;
mod logs;
mod native;
mod objects;
mod report;
mod snapshots;
mod topics;

use std::{env, fs};

use report::{Report, Row};

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let write = args.iter().any(|arg| arg == "--write");
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    for name in &wanted {
        assert!(topics::ALL.iter().any(|(topic, _)| topic == name), "there is no topic `{name}`");
    }
    let mut rows: Vec<Row> = Vec::new();
    for (name, measure) in topics::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            let measured = measure();
            for row in &measured {
                println!("{}", row.to_line());
            }
            rows.extend(measured);
        }
    }
    if write {
        assert!(wanted.is_empty(), "what is written has all topics");
        let report = Report::new(rows);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches");
        fs::write(format!("{folder}/speed.md"), report.to_markdown()).expect("written");
        fs::write(format!("{folder}/speed.svg"), chart::svg(&report)).expect("written");
    }
}
