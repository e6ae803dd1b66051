//! How many instructions of WebAssembly formatting and a small snapshot take, beside what is committed here: the same on
//! every machine, for what one version of the compiler makes.

use minisnap_tests::bench::{fuel_of_create, fuel_of_format};
use minisnap_tests::minisnap;
use minisnap_tests::records::state;
use tempfile::tempdir;

/// By how many percent a count may differ from what is committed.
const TOLERANCE: u64 = 5;

/// A count that became smaller is to be committed, too: what is gained then cannot be lost again unseen.
fn assert_near<const N: usize>(counted: [u64; N], committed: [u64; N]) {
    let near =
        |(counted, committed): (&u64, &u64)| 100 * counted.abs_diff(*committed) < TOLERANCE * committed;
    let all_are = counted.iter().zip(&committed).all(near);
    assert!(all_are, "{counted:?} instructions, and not about {committed:?}: if that is right, commit it");
}

/// Of a generated state of 1 MiB, without white space and laid out already.
#[test]
fn formatting_takes_as_many_instructions_as_it_did() {
    let state = state(1 << 20);
    let texts = [serde_json::to_string(&state), serde_json::to_string_pretty(&state)];
    let counted = texts.map(|text| {
        let dir = tempdir().unwrap();
        fuel_of_format(minisnap(), dir.path(), &text.unwrap())
    });
    assert_near(counted, [22_904_650, 28_758_819]);
}

/// Of 1 KiB, as a pair and numbered.
#[test]
fn a_small_snapshot_takes_as_many_instructions_as_it_did() {
    let text = serde_json::to_string(&state(1 << 10)).unwrap();
    let counted = ["pair", "numbered"].map(|layout| {
        let dir = tempdir().unwrap();
        fuel_of_create(&dir.path().join(layout), layout, &text)
    });
    assert_near(counted, [139_242, 130_224]);
}
