//! What INT, TERM and HUP remove before they end this process.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// From now on, INT, TERM and HUP call `remove` before they end this process: in a thread of its own, so that this works while
/// the main thread is blocked on a disk.
pub fn end_tidily(remove: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal)))?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            remove();
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Whether this process was started with the signal ignored, as by `nohup`: it stays ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|ignored| u64::from_str_radix(ignored.trim(), 16).ok())
        .is_some_and(|ignored| ignored >> (signal - 1) & 1 == 1)
}
