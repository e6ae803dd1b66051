//! px
use minisnap_host::{Grant, Layout, Minisnap};
use minisnap_tests::records::state;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
const KEEP: usize = 5;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let size: usize = a[2].parse().unwrap();
    let reps: u64 = a[3].parse().unwrap();
    let mut c = wasmtime::Config::new();
    if std::env::var("PM").is_ok() {
        c.profiler(wasmtime::ProfilingStrategy::PerfMap);
    }
    let m = Minisnap::with_config(c).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let layout = if a[1].contains("pair") { Layout::Pair } else { Layout::Numbered };
    let mut s = m.open(Grant::new(dir.path()).layout(layout)).unwrap();
    let text = serde_json::to_string(&state(size)).unwrap();
    let mut times = vec![];
    if a[1].contains("mix") {
        let fd = tempfile::tempdir().unwrap();
        let nd = tempfile::tempdir().unwrap();
        let floor = Floor::new(fd.path().join("f"));
        let native = minisnap_component::store::Store::new(minisnap_component::dir::OsDir::new(nd.path()))
            .with_settings(minisnap_component::store::Settings {
                layout: minisnap_component::store::Layout::Numbered,
                ..Default::default()
            });
        let bytes = serde_json::to_string_pretty(&state(size)).unwrap().into_bytes();
        let mut t3 = [vec![], vec![], vec![]];
        for i in 1..=reps {
            for k in 0..3 {
                let t = Instant::now();
                match k {
                    0 => s.create_text(&text, i).unwrap(),
                    1 => floor.numbered(&bytes, i),
                    _ => native.create(&text, i).unwrap(),
                };
                t3[k].push(t.elapsed().as_secs_f64() * 1e3);
                if a[1].contains("pause") {
                    std::thread::sleep(std::time::Duration::from_millis(3));
                }
            }
        }
        for t in &mut t3 {
            t.sort_by(f64::total_cmp);
        }
        println!(
            "{} wasm {:.3} floor {:.3} native store {:.3}",
            size,
            t3[0][t3[0].len() / 2],
            t3[1][t3[1].len() / 2],
            t3[2][t3[2].len() / 2]
        );
        return;
    }
    s.create_text(&text, 0).unwrap();
    for i in 1..=reps {
        let t = Instant::now();
        if a[1].contains("restore") {
            std::hint::black_box(s.restore_text().unwrap());
        } else {
            s.create_text(&text, i).unwrap();
        }
        times.push(t.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{} {} median {:.3} ms min {:.3} peak {}",
        a[1],
        size,
        times[times.len() / 2] * 1e3,
        times[0] * 1e3,
        s.peak_memory()
    );
}
/// What does the same to its directory as the store, and nothing else.
struct Floor {
    dir: PathBuf,
}

impl Floor {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir(&dir).expect("made");
        Floor { dir }
    }

    fn numbered(&self, bytes: &[u8], seq: u64) {
        let path = |seq: u64, end: &str| self.dir.join(format!("snapshot_{seq:020}.json{end}"));
        let pending = self.dir.join("snapshot.pending");
        write_synced(&path(seq, ".tmp"), bytes);
        File::create(&pending).expect("made");
        fs::rename(path(seq, ".tmp"), path(seq, "")).expect("renamed");
        sync(&self.dir);
        fs::remove_file(&pending).expect("removed");
        if let Some(oldest) = seq.checked_sub(KEEP as u64) {
            fs::remove_file(path(oldest, "")).ok();
        }
    }

    fn pair(&self, bytes: &[u8], seq: u64) {
        let (tmp, commit) = (self.dir.join("snapshot.tmp"), self.dir.join("snapshot.commit"));
        let names = ["snapshot.json", "snapshot.seq", "snapshot.sum"];
        fs::create_dir(&tmp).expect("made");
        write_synced(&tmp.join(names[0]), bytes);
        write_synced(&tmp.join(names[1]), seq.to_string().as_bytes());
        write_synced(&tmp.join(names[2]), &[b'0'; 160]);
        sync(&tmp);
        fs::rename(&tmp, &commit).expect("renamed");
        sync(&self.dir);
        for name in names {
            fs::rename(commit.join(name), self.dir.join(name)).expect("renamed");
        }
        sync(&self.dir);
        fs::remove_dir(&commit).expect("removed");
    }
}

fn write_synced(path: &Path, bytes: &[u8]) {
    let mut file = File::create_new(path).expect("made");
    file.write_all(bytes).expect("written");
    file.sync_all().expect("synced");
}

fn sync(dir: &Path) {
    File::open(dir).expect("a folder").sync_all().expect("synced");
}
