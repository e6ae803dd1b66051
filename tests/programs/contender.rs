//! A host that fights for a store in an object store with others, until its standard input ends: `contender JSON`. It prints what it
//! does and sees, an event a line.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{panic, process, thread};

use minisnap_tests::contest::Event;
use minisnap_tests::contest::host::Contender;
use minisnap_tests::random::Random;

fn main() {
    let text = std::env::args().nth(1).expect("it is told what it is");
    let contender: Contender = serde_json::from_str(&text).expect("it is told in JSON");
    // Nothing goes on without one of its threads.
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        told(panic);
        process::abort();
    }));
    let random = Random::of(contender.start);
    let fighter = contender.fighter();
    let is_over = AtomicBool::new(false);
    let goes_on = || !is_over.load(Ordering::SeqCst);
    let tell = |event: Event| println!("{}", serde_json::to_string(&event).expect("it is JSON"));
    thread::scope(|scope| {
        scope.spawn(|| fighter.write(random, goes_on, tell));
        scope.spawn(|| fighter.read(goes_on, tell));
        let _ = io::stdin().read_to_end(&mut Vec::new());
        is_over.store(true, Ordering::SeqCst);
    });
}
