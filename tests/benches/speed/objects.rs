//! How long a create and a restore in an object store take beside plain requests of the same bytes, to the same server.

use std::cell::RefCell;
use std::thread;
use std::time::Duration;

use minisnap_host::Grant;
use minisnap_host::remote::{Bucket, Location, Remote};
use minisnap_tests::engines::{CEPH, Engine, Running, SEAWEEDFS};
use minisnap_tests::records::state;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::runtime::{Builder, Runtime};

use crate::contest::{Contest, timed};
use crate::report::Row;
use crate::topics::{LARGE, SMALL, generation, minisnap_with, row, size_name};

/// The bucket that a server has.
const PLACE: &str = "s3://snapshots/speed";

/// Until then, an object is deleted.
const DELETED: Duration = Duration::from_millis(100);

/// The topic: those servers that are installed.
pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for engine in [CEPH, SEAWEEDFS] {
        match engine.start() {
            Ok(running) => rows.extend(of(engine, &running)),
            Err(not_started) => eprintln!("{} is left out: {}", engine.name, not_started.why),
        }
    }
    rows
}

fn of(engine: Engine, running: &Running) -> Vec<Row> {
    let mut rows = Vec::new();
    for (size, rounds) in [(SMALL, 60), (64 * SMALL, 60), (LARGE, 30), (16 * LARGE, 10), (64 * LARGE, 6)] {
        let root = tempfile::tempdir().expect("a folder");
        let endpoint = &running.endpoints[0];
        let location = PLACE.parse::<Location>().expect("a place").endpoint(endpoint);
        let bucket = Bucket::connect_as(location.clone(), engine.key.0, engine.key.1).expect("connected");
        let minisnap = minisnap_with(bucket);
        let grant = Grant::new(root.path().join("host")).max_state(u64::MAX);
        let grant = grant.remote(Remote::new(location, format!("of-{size}")));
        let writer = RefCell::new(minisnap.open(grant.clone()).expect("a store"));

        let text = serde_json::to_string(&state(size)).expect("JSON");
        let plain = Plain::new(engine, endpoint);
        // What a create puts, and as much as its head.
        writer.borrow_mut().create_text(&text, 0).expect("stored");
        let object = generation(&root.path().join("host/.staging"), 0);
        let (object, head) = (PutPayload::from(object), PutPayload::from(vec![b' '; 2 << 10]));
        // The one that was put last: what is read again comes from the server's memory.
        let newest = RefCell::new(format!("put-{size}"));
        plain.put(&newest.borrow(), &object);
        plain.put("head", &head);

        let mut contest = Contest::new();
        contest.add("create", |seq| {
            let time = timed(|| writer.borrow_mut().create_text(&text, seq).expect("stored"));
            // What gives way is deleted, for which nobody waits: nor should what is timed next.
            thread::sleep(DELETED);
            time
        });
        // By another host, which has not got it yet.
        contest.add("restore", |_| {
            let mut reader = minisnap.open(grant.clone().read_only()).expect("a store");
            timed(|| reader.restore_text().expect("restored"))
        });
        // As after a restart: the newest is on this machine still.
        contest.add("cached", |_| timed(|| writer.borrow_mut().restore_text().expect("restored")));
        contest.add_timed("puts", |round| {
            newest.replace(format!("put-{size}-{round}"));
            plain.put(&newest.borrow(), &object);
            plain.put("head", &head);
        });
        contest.add_timed("get", |_| plain.get(&newest.borrow()));
        contest.add_timed("gets", |_| plain.get("head") + plain.get(&newest.borrow()));
        let times = contest.run(root.path(), rounds);
        let state = format!("{}, {}", size_name(size), engine.name);
        let puts = ("two plain PUTs", "puts");
        rows.push(row(&times, ("create in an object store", "create"), puts, &state));
        let get = ("one plain GET", "get");
        for gets in [get, ("two plain GETs", "gets")] {
            rows.push(row(&times, ("restore from an object store", "restore"), gets, &state));
        }
        rows.push(row(&times, ("restore from the cache of an object store", "cached"), get, &state));
    }
    rows
}

/// A client that does nothing but what it is told.
struct Plain {
    objects: AmazonS3,
    runtime: Runtime,
}

impl Plain {
    fn new(engine: Engine, endpoint: &str) -> Plain {
        let builder = AmazonS3Builder::new().with_endpoint(endpoint).with_allow_http(true);
        let builder = builder.with_bucket_name("snapshots").with_region("us-east-1");
        let builder = builder.with_access_key_id(engine.key.0).with_secret_access_key(engine.key.1);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Plain { objects: builder.build().expect("a client"), runtime: runtime.expect("a runtime") }
    }

    fn put(&self, key: &str, payload: &PutPayload) {
        let key = Key::from(format!("speed-plain/{key}"));
        let put = self.objects.put(&key, payload.clone());
        self.runtime.block_on(put).expect("put");
    }

    fn get(&self, key: &str) -> usize {
        let key = Key::from(format!("speed-plain/{key}"));
        let get = async { self.objects.get(&key).await?.bytes().await };
        self.runtime.block_on(get).expect("got").len()
    }
}
