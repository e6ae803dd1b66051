//! The benchmark's component: it times what it does itself.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::time::Instant;

use minisnap_client::state::{Mutator, State};
use minisnap_component::error::Error;
use minisnap_component::json::{Formatter, Sink};
use serde::{Deserialize, Serialize};

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "minisnap:bench/bench", generate_all });

use arcella::minisnap::snapshot_store;
use wasi::keyvalue::store;

struct Bench;
export!(Bench);

thread_local! {
    static STATE: RefCell<String> = const { RefCell::new(String::new()) };
    static STORE: snapshot_store::Store = snapshot_store::open("").expect("a store");
    static LOGGED: RefCell<State<u64, Add>> = RefCell::new(State::open("/own").expect("a state"));
    static BUCKET: store::Bucket = store::open("bench").expect("a bucket");
}

impl exports::minisnap::bench::told::Guest for Bench {
    fn newest() -> Option<snapshot_store::SnapshotInfo> {
        STORE.with(|store| store.info().expect("told"))
    }
}

impl Guest for Bench {
    fn prepare(state: String) {
        STATE.set(state);
    }

    fn create(seq: u64) -> u64 {
        STORE.with(|store| timed(|state| store.create(state, seq).expect("stored")))
    }

    fn write_own_file() -> u64 {
        timed(|state| {
            let mut file = File::create("/own/state.json").expect("a file of its own");
            file.write_all(state.as_bytes()).expect("written");
            file.sync_all().expect("synced");
        })
    }

    fn apply() -> u64 {
        LOGGED.with_borrow_mut(|logged| {
            let add = Add { number: logged.sequence(), text: "x".repeat(60) };
            timed(|_| assert!(logged.apply(add).is_ok()))
        })
    }

    fn set_key() -> u64 {
        BUCKET.with(|bucket| timed(|state| bucket.set("state", state.as_bytes()).expect("set")))
    }

    fn format() -> u64 {
        timed(|state| {
            let mut formatter = Formatter::new(Dropped);
            formatter.push(state).expect("JSON");
            formatter.finish().expect("all of it");
        })
    }

    fn format_pieces(start: Vec<u8>, levels: u32, pieces: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        formatted(&start, levels, &pieces).map_err(|error| match error {
            Error::InvalidState(problem) => problem,
            error => error.to_string(),
        })
    }
}

/// An operation of some hundred bytes.
#[derive(Serialize, Deserialize)]
struct Add {
    number: u64,
    text: String,
}

impl Mutator<u64> for Add {
    fn apply(&self, sum: &mut u64) {
        *sum += self.number;
    }
}

fn formatted(start: &[u8], levels: u32, pieces: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let mut formatter = Formatter::new(Vec::new()).after(start).nested(levels as usize);
    for piece in pieces {
        formatter.push_bytes(piece)?;
    }
    formatter.finish()
}

fn timed(work: impl FnOnce(&str)) -> u64 {
    STATE.with_borrow(|state| {
        let started = Instant::now();
        work(state);
        u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Takes whatever is written, and has it used by nobody.
struct Dropped;

impl Sink for Dropped {
    fn take(&mut self, bytes: &[u8]) -> minisnap_component::error::Result<()> {
        std::hint::black_box(bytes);
        Ok(())
    }
}
