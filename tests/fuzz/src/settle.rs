//! What crashes left, of both native versions and of this store, one after the other in one directory: what is restored
//! is the old or the new snapshot, as the crash came, before it is settled and after that.

#![no_main]

use std::num::NonZeroU32;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Store};
use model::{Disk, Machine, ModelDir};

#[allow(unused_imports, reason = "it is shared with the store's own tests")]
#[path = "../../../guest/tests/model/mod.rs"]
mod model;

/// A state and its number, or that there is no snapshot.
type Pair = Option<(String, u64)>;

fuzz_target!(|input: &[u8]| {
    let _ = check(&mut Unstructured::new(input));
});

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let layout = if input.arbitrary()? { Layout::Pair } else { Layout::Numbered };
    let mut disk = Disk::with(&[]);
    let mut stored: Pair = None;
    let mut seq = 0;
    for _ in 0..input.int_in_range(1..=4)? {
        seq += input.int_in_range(1..=20)?;
        let state = format!("\"{}\"", "x".repeat(input.int_in_range(0..=30)?) + &seq.to_string());
        let new: Pair = Some((state.clone(), seq));
        let mut machine = Machine::new(disk.clone());
        let possible = if input.arbitrary()? {
            let steps = input.int_in_range(0..=12)?;
            let is_new = match layout {
                Layout::Pair => native_0_1_2(&mut machine, &state, seq, steps, input.arbitrary()?),
                Layout::Numbered => native_0_1_3(&mut machine, &state, seq, steps),
            };
            disk = machine.now;
            vec![if is_new { new } else { stored }]
        } else {
            let mut dir = ModelDir::plain(&disk);
            dir.killed_at = Some(input.int_in_range(0..=40)?);
            let created = open(dir.clone(), layout).create(&state, seq);
            disk = dir.machine.borrow().now.clone();
            if created.is_ok() { vec![new] } else { vec![stored, new] }
        };

        let restored = restore(&disk, layout);
        assert!(possible.contains(&restored), "{restored:?} where {possible:?} may be");
        stored = restored;
        // A refused create settles.
        let dir = ModelDir::plain(&disk);
        let store = open(dir.clone(), layout);
        match &stored {
            Some((_, newest)) => assert_eq!(store.create("0", newest - 1), Err(Error::Stale(*newest))),
            None => assert!(matches!(store.create("[", 0), Err(Error::InvalidState(_)))),
        }
        disk = dir.machine.borrow().now.clone();
        assert_eq!(restore(&disk, layout), stored, "settling changed what is restored");
        let left: Vec<String> = disk.visible().into_keys().collect();
        // What native 0.1.3 left has names of its own, and stays.
        let is_left =
            |name: &String| !name.starts_with('.') && [".tmp", ".new"].iter().any(|part| name.contains(part));
        assert!(!left.iter().any(is_left), "{left:?}");
    }
    Ok(())
}

fn open(dir: ModelDir, layout: Layout) -> Store<ModelDir> {
    let keep = NonZeroU32::new(2).unwrap();
    Store::new(dir).with_settings(Settings { layout, keep: Some(keep), ..Settings::default() })
}

fn restore(disk: &Disk, layout: Layout) -> Pair {
    match open(ModelDir::plain(disk), layout).restore() {
        Ok(snapshot) => Some((snapshot.state, snapshot.seq)),
        Err(Error::NotFound) => None,
        Err(error) => panic!("{error:?} on {:?}", disk.visible()),
    }
}

/// Does the first `steps` of what native 0.1.2 does, and says whether the new snapshot is there then. Temporaries that an
/// earlier crash left may be there: shorter than what is written, since it does not cut them.
fn native_0_1_2(machine: &mut Machine, state: &str, seq: u64, steps: usize, leftovers: bool) -> bool {
    let seq = seq.to_string();
    let (half, digits) = (state.len() / 2, seq.len() / 2);
    if leftovers {
        for (name, bytes) in [("snapshot.json.tmp", &state[..1]), ("snapshot.seq.tmp", &seq[..1])] {
            let node = machine.create(name).expect("it was settled");
            machine.write(node, 0, bytes.as_bytes());
        }
    }
    let write = |machine: &mut Machine, name: &str, at: usize, bytes: &str| {
        let node = machine.now.find(name).unwrap_or_else(|| machine.create(name).expect("there is none"));
        machine.write(node, at, bytes.as_bytes());
    };
    let mut is_new = false;
    for step in 0..steps.min(8) {
        match step {
            0 => write(machine, "snapshot.json.tmp", 0, ""),
            1 => write(machine, "snapshot.json.tmp", 0, &state[..half]),
            2 => write(machine, "snapshot.json.tmp", half, &state[half..]),
            3 => write(machine, "snapshot.seq.tmp", 0, ""),
            4 => write(machine, "snapshot.seq.tmp", 0, &seq[..digits]),
            5 => write(machine, "snapshot.seq.tmp", digits, &seq[digits..]),
            6 => {
                machine.rename("snapshot.json.tmp", "snapshot.json").expect("it was written");
                is_new = true;
            }
            _ => machine.rename("snapshot.seq.tmp", "snapshot.seq").expect("it was written"),
        }
    }
    is_new
}

/// The same for native 0.1.3.
fn native_0_1_3(machine: &mut Machine, state: &str, seq: u64, steps: usize) -> bool {
    let text = format!("{{\n  \"seq\": {seq},\n  \"state\": {state}\n}}");
    let name = format!(".tmp{seq:06}");
    for step in 0..steps.min(8) {
        match step {
            0 => drop(machine.create(&name).expect("a name of its own")),
            1..7 => {
                let node = machine.now.find(&name).expect("it was made");
                let end = text.len() * step / 6;
                machine.write(node, 0, &text.as_bytes()[..end]);
            }
            _ => machine.rename(&name, &format!("snapshot_{seq:020}.json")).expect("it was written"),
        }
    }
    steps >= 8
}
