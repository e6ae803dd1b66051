//! What holds for every verb, also where the arguments cannot be parsed: `--json`, `--quiet`, `--color`, and the environment.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::{ColorChoice, ValueEnum};

/// The environment variable with the grants file of `run`, `status` and `grants check`, where none is given.
pub const CONFIG: &str = "MINISNAP_CONFIG";

/// How this process tells what it has to tell.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Whether errors are JSON.
    pub json: bool,
    /// Whether nothing but results and errors is told.
    pub is_quiet: bool,
    /// When to colour.
    pub color: ColorChoice,
}

static HABITS: OnceLock<Habits> = OnceLock::new();

impl Habits {
    /// Those of this process.
    pub fn get() -> Self {
        *HABITS.get_or_init(|| {
            Self::of(
                &env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>(),
            )
        })
    }

    /// By arguments that clap may refuse.
    fn of(args: &[String]) -> Self {
        let own = || args.iter().take_while(|arg| *arg != "--");
        let has = |long: &str, short: &str| own().any(|arg| arg == long || arg == short);
        let color = own().find_map(|arg| arg.strip_prefix("--color=").map(str::to_owned));
        let color = color.or_else(|| own().skip_while(|arg| *arg != "--color").nth(1).cloned());
        let color =
            color.and_then(|when| ColorChoice::from_str(&when, true).ok()).unwrap_or(ColorChoice::Auto);
        Habits { json: has("--json", "--json"), is_quiet: has("--quiet", "-q"), color }
    }

    /// Whether standard error is coloured.
    pub fn colors(self) -> bool {
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
                io::stderr().is_terminal() && !is_set("NO_COLOR")
            }
        }
    }
}

/// The arguments of this process; for `run` without a grant, with the grants file of the environment.
pub fn arguments() -> Vec<OsString> {
    let mut args: Vec<OsString> = env::args_os().collect();
    let verb = args.iter().skip(1).position(|arg| !arg.to_string_lossy().starts_with('-')).map(|at| at + 1);
    if let Some(at) = verb.filter(|&at| args[at] == "run")
        && let Some(file) = env::var_os(CONFIG).filter(|file| !file.is_empty())
        && !args.iter().skip(at).take_while(|arg| *arg != "--").any(is_grant)
    {
        args.splice(at + 1..at + 1, ["--grants-file".into(), file]);
    }
    args
}

fn is_grant(arg: &OsString) -> bool {
    let arg = arg.to_string_lossy();
    let name = arg.split_once('=').map_or(&*arg, |(name, _)| name);
    name == "--grant" || name == "--grants-file"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_are_found_in_arguments_that_clap_refuses() {
        let of = |args: &str| Habits::of(&args.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let found = of("--nonsense list --json -q --color never");
        assert!(found.json && found.is_quiet && found.color == ColorChoice::Never, "{found:?}");
        let found = of("run x.wasm -- --json -q --color=always");
        assert!(!found.json && !found.is_quiet && found.color == ColorChoice::Auto, "{found:?}");
        assert_eq!(of("list --color=always --color").color, ColorChoice::Always);
    }
}
