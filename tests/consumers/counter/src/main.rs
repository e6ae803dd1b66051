//! The README's component: it counts how often it was run.

use minisnap_client::{Error, SnapStore};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct State {
    counter: u64,
}

fn main() -> Result<(), Error> {
    let store = SnapStore::new();
    let (mut state, seq) = match store.restore::<State>() {
        Err(Error::NotFound) => (State::default(), 0), // the first start
        restored => restored?,
    };
    state.counter += 1;
    store.create(&state, seq + 1)?; // durable when this returns
    println!("counted to {}", state.counter);
    Ok(())
}
