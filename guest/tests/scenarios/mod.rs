//! What is on the disk when the power is cut, and what may be restored then.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::rc::Rc;

use crate::model::disk::Visible;
use crate::model::{Disk, Machine, ModelDir};
use minisnap_component::dir::Dir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Snapshot, Store};

/// A state and its number, or that there is no snapshot.
pub type Pair = Option<(String, u64)>;

/// What may be restored.
pub type Possible = Vec<Pair>;

pub fn pair(state: &str, seq: u64) -> Pair {
    Some((state.to_owned(), seq))
}

pub fn restore<D: Dir>(store: &Store<D>) -> Result<Pair, Error> {
    as_pair(store.restore())
}

pub fn as_pair(restored: Result<Snapshot, Error>) -> Result<Pair, Error> {
    match restored {
        Ok(snapshot) => Ok(Some((snapshot.state, snapshot.seq))),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A directory in which the snapshot 2 is made while the power is cut.
#[derive(Clone)]
pub struct Scenario {
    pub name: String,
    pub layout: Layout,
    pub disk: Disk,
}

impl Scenario {
    pub fn store(&self, dir: ModelDir) -> Store<ModelDir> {
        let keep = NonZeroU32::new(2).unwrap();
        Store::new(dir).with_settings(Settings {
            layout: self.layout,
            keep: Some(keep),
            ..Settings::default()
        })
    }

    pub fn restore(&self, disk: &Disk) -> Result<Pair, Error> {
        let store = self.store(ModelDir::plain(disk));
        let restored = store.restore();
        if let Ok(_) | Err(Error::NotFound) = restored {
            // The newest one may be damaged.
            let newest = |found: &Snapshot| found.skipped.first().map_or(found.seq, |newest| newest.seq);
            // By one that has not synced yet.
            let told = self.store(ModelDir::plain(disk)).newest_seq();
            let seq = restored.as_ref().map(newest);
            if told.as_ref().ok() != seq.as_ref().ok() {
                return Err(Error::Io(format!("the newest number is {seq:?}, and {told:?} was told")));
            }
        }
        as_pair(restored)
    }
}

/// What was tried, and what was wrong.
#[derive(Default)]
pub struct Findings {
    pub disks: RefCell<BTreeSet<(Visible, bool)>>,
    pub violations: RefCell<Vec<String>>,
}

impl Findings {
    /// Cuts the power, and recovers; cuts it again during the recovery if `twice`.
    pub fn cut_power(
        self: &Rc<Self>,
        scenario: &Scenario,
        machine: &Machine,
        possible: &Possible,
        has_returned: bool,
        twice: bool,
    ) {
        for disk in machine.after_power_cut() {
            if !self.disks.borrow_mut().insert((disk.visible(), has_returned)) {
                continue;
            }
            let restored = match scenario.restore(&disk) {
                Ok(restored) if possible.contains(&restored) => restored,
                other => {
                    self.violations.borrow_mut().push(format!("{other:?} on {:?}", disk.visible()));
                    continue;
                }
            };
            let findings = Rc::new(Findings::default());
            let next = pair("\"next\"", 9);
            let look = |possible: Possible| -> Rc<dyn Fn(&Machine)> {
                let (findings, scenario) = (findings.clone(), scenario.clone());
                if twice {
                    Rc::new(move |machine| findings.cut_power(&scenario, machine, &possible, false, false))
                } else {
                    Rc::new(|_| {})
                }
            };
            let dir = ModelDir::new(Machine::new(disk.clone()), look(vec![restored, next.clone()]));
            let store = scenario.store(dir);
            if let Err(error) = store.create("\"next\"", 9) {
                self.violations.borrow_mut().push(format!("no create: {error} on {:?}", disk.visible()));
            } else if restore(&store) != Ok(next) {
                self.violations.borrow_mut().push(format!("not the next on {:?}", disk.visible()));
            }
            self.violations.borrow_mut().append(&mut findings.violations.borrow_mut());
        }
    }
}

/// Makes the snapshot 2 on `machine`, where `before` is restored, and cuts the power after every operation.
pub fn create_with_power_cuts(
    scenario: &Scenario,
    machine: &Machine,
    before: &Possible,
    without_sync: Option<usize>,
    twice: bool,
) -> Findings {
    let findings = Rc::new(Findings::default());
    let after = vec![pair("\"new\"", 4)];
    let possible = [before.clone(), after.clone()].concat();
    let (look, looks_at) = (findings.clone(), scenario.clone());
    let mut dir = ModelDir::new(
        machine.clone(),
        Rc::new(move |now| look.cut_power(&looks_at, now, &possible, false, twice)),
    );
    dir.without_sync = without_sync;
    scenario.store(dir.clone()).create("\"new\"", 4).unwrap();
    findings.cut_power(scenario, &dir.machine.borrow(), &after, true, twice);
    drop(dir);
    Rc::try_unwrap(findings).unwrap_or_else(|_| panic!("nobody looks any more"))
}

/// A directory in which these snapshots were created, in this order.
pub fn created(layout: Layout, snapshots: &[(&str, u64)]) -> Disk {
    let dir = ModelDir::plain(&Disk::with(&[]));
    let store = Store::new(dir.clone()).with_settings(Settings { layout, ..Settings::default() });
    for (state, seq) in snapshots {
        store.create(state, *seq).unwrap();
    }
    dir.machine.borrow().now.clone()
}

pub fn scenarios() -> Vec<Scenario> {
    use Layout::{Numbered, Pair};

    let ours = created(Pair, &[("\"old\"", 1)]);
    let ours_of_same_state = created(Pair, &[("\"new\"", 1)]);
    let ours_of_same_number = created(Pair, &[("\"old\"", 4)]);
    let native = [("snapshot.json", "\"old\""), ("snapshot.seq", "1")];
    let native_of_same_state = [("snapshot.json", "\"new\""), ("snapshot.seq", "1")];
    let native_of_same_number = [("snapshot.json", "\"old\""), ("snapshot.seq", "4")];
    // Native minisnap wrote after this store, and goes back if it is told to.
    let over = |ours: (&str, u64), native_seq: &str| {
        let mut disk = created(Pair, &[ours]);
        for (name, contents) in [("snapshot.json", "\"native\""), ("snapshot.seq", native_seq)] {
            let node = 1 + disk.files.keys().max().unwrap();
            disk.dirs.get_mut(&0).unwrap().insert(name.to_owned(), node);
            disk.files.insert(node, Rc::new(contents.as_bytes().to_vec()));
        }
        disk
    };
    let native_killed = [("snapshot.json", "\"old\""), ("snapshot.seq", "0"), ("snapshot.seq.tmp", "1")];
    let native_early = [&native[..], &[("snapshot.json.tmp", "\"x\""), ("snapshot.seq.tmp", "5")]].concat();

    let generation = created(Numbered, &[("\"old\"", 1)]);
    let generations = created(Numbered, &[("\"oldest\"", 0), ("\"old\"", 1)]);
    let same_number = created(Numbered, &[("\"oldest\"", 0), ("\"old\"", 4)]);
    let mut damaged = created(Numbered, &[("\"old\"", 1), ("\"lost\"", 4)]);
    let newest = damaged.find("snapshot_00000000000000000004.json").unwrap();
    Rc::make_mut(damaged.files.get_mut(&newest).unwrap())[30] ^= 1;
    let native_numbered =
        [("snapshot_00000000000000000001.json", "{\n  \"seq\": 1,\n  \"state\": \"old\"\n}")];
    let leftovers = [&native_numbered[..], &[("snapshot_00000000000000000005.json.tmp", "{\n")]].concat();

    [
        ("nothing", Pair, Disk::with(&[])),
        ("ours", Pair, ours),
        ("ours, of the same state", Pair, ours_of_same_state),
        ("ours, of the same number", Pair, ours_of_same_number),
        ("native", Pair, Disk::with(&native)),
        ("native, of the same state", Pair, Disk::with(&native_of_same_state)),
        ("native, of the same number", Pair, Disk::with(&native_of_same_number)),
        ("native over ours", Pair, over(("\"old\"", 1), "2")),
        ("native over what is created again", Pair, over(("\"new\"", 4), "2")),
        ("native over the same number, which is created again", Pair, over(("\"new\"", 4), "4")),
        ("native over another of the number that is created", Pair, over(("\"x\"", 4), "2")),
        ("native, killed between its renames", Pair, Disk::with(&native_killed)),
        ("native, killed before its renames", Pair, Disk::with(&native_early)),
        ("nothing, numbered", Numbered, Disk::with(&[])),
        ("a generation", Numbered, generation),
        ("as many generations as are kept", Numbered, generations),
        ("a generation of the same number", Numbered, same_number),
        ("a damaged generation of the same number", Numbered, damaged),
        ("native, numbered", Numbered, Disk::with(&native_numbered)),
        ("what a numbered create left", Numbered, Disk::with(&leftovers)),
    ]
    .map(|(name, layout, disk)| Scenario { name: name.to_owned(), layout, disk })
    .into()
}

pub fn scenario(name: &str) -> Scenario {
    scenarios().into_iter().find(|scenario| scenario.name == name).unwrap()
}
