//! The README's component: it counts how often it was run.

wit_bindgen::generate!({ path: "../../../wit", world: "consumer" });
use arcella::minisnap::snapshot_store::{Error, create, restore};

fn main() {
    let (mut counter, seq) = match restore() {
        Ok(snapshot) => (snapshot.state.parse().expect("a number"), snapshot.seq),
        Err(Error::NotFound) => (0_u64, 0),
        Err(error) => panic!("{error:?}"),
    };
    counter += 1;
    create(&counter.to_string(), seq + 1).expect("the snapshot is stored");
    println!("counted to {counter}");
}
