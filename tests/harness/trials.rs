//! Tests of object stores that are started on this machine. Which there are depends on what is installed, by
//! `tests/engines/install`: what is not is ignored, with its reason. Of the engines in `MINISNAP_ENGINES_REQUIRED`, none is.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::engines::{Engine, NotStarted, Running};

/// A test of an engine that runs.
pub type Test = fn(&Engine, &Running) -> Result<(), Failed>;

/// Runs the tests of each of these engines that the program's arguments select.
pub fn run_on(engines: &[Engine], tests_of: fn(&Engine) -> Vec<(&'static str, Test)>) -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var("MINISNAP_ENGINES_REQUIRED").unwrap_or_default();
    let mut trials = Vec::new();
    let mut running = Vec::new();
    for &engine in engines {
        let tests = tests_of(&engine);
        let name = |test: &str| format!("{}::{test}", engine.name);
        let is_wanted = !arguments.list && tests.iter().any(|(test, _)| is_selected(&arguments, &name(test)));
        let started = if is_wanted { engine.start() } else { Err(NotStarted::not_asked()) };
        let is_missing = matches!(started, Err(NotStarted { is_missing: true, .. }));
        let is_ignored = is_missing && !required.split_whitespace().any(|required| required == engine.name);
        if let (true, true, Err(reason)) = (is_wanted, is_ignored, &started) {
            eprintln!("{} is ignored: {}", engine.name, reason.why);
        }
        let started = started.map(|started| {
            let started = Arc::new(started);
            running.push(Arc::clone(&started));
            started
        });
        for (test, run) in tests {
            let started = started.clone();
            let trial = Trial::test(name(test), move || run(&engine, &*started.map_err(|not| not.why)?));
            trials.push(trial.with_ignored_flag(is_ignored));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The process ends without dropping what is static: the engines are ended here.
    drop(running);
    conclusion.exit_code()
}

/// Whether a test runs, as far as it is told by the arguments.
fn is_selected(arguments: &Arguments, name: &str) -> bool {
    let is_meant = |filter: &str| if arguments.exact { name == filter } else { name.contains(filter) };
    arguments.filter.as_deref().is_none_or(is_meant)
        && !arguments.skip.iter().any(|skipped| is_meant(skipped))
}
