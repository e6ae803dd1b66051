//! How far a stream is, for whoever looks on.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::habits::Habits;

/// What takes less time than this shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A bar on standard error, if that is a terminal, and gone when this is dropped.
pub struct Progress(Option<Shown>);

struct Shown {
    bar: ProgressBar,
    /// Waits until the bar is to be shown, or this is dropped, which it learns from the other end of the channel.
    waiting: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts with nothing done of `size` bytes, if that is known.
    pub fn new(verb: &'static str, size: Option<u64>) -> Self {
        let of_known_size =
            "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
        let of_unknown_size = "{msg} {spinner} {binary_bytes}, {binary_bytes_per_sec}";
        match size {
            Some(size) => Self::start(verb, || ProgressBar::new(size), of_known_size),
            None => Self::start(verb, ProgressBar::new_spinner, of_unknown_size),
        }
    }

    /// Starts with something that does not tell how far it is.
    pub fn waiting(verb: &'static str) -> Self {
        Self::start(verb, ProgressBar::new_spinner, "{msg} {spinner} {elapsed}")
    }

    fn start(verb: &'static str, bar: impl FnOnce() -> ProgressBar, template: &str) -> Self {
        let style = ProgressStyle::with_template(template);
        debug_assert!(style.is_ok(), "{template}");
        if !io::stderr().is_terminal() || Habits::get().is_quiet {
            return Progress(None);
        }
        let bar = bar();
        bar.set_draw_target(ProgressDrawTarget::hidden());
        bar.set_message(verb);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let (dropped, is_dropped) = channel();
        let later = bar.clone();
        let thread = thread::spawn(move || {
            if is_dropped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                later.set_draw_target(ProgressDrawTarget::stderr());
                later.enable_steady_tick(TICK);
            }
        });
        Progress(Some(Shown { bar, waiting: Some((dropped, thread)) }))
    }

    /// Shows nothing.
    pub fn none() -> Self {
        Progress(None)
    }

    /// Shows that so many more bytes are done.
    pub fn advance(&self, bytes: u64) {
        if let Some(shown) = &self.0 {
            shown.bar.inc(bytes);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((dropped, thread)) = self.waiting.take() {
            drop(dropped);
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}
