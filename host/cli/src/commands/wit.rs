//! `minisnap wit`

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::output::print;

const EXAMPLE: &str = "Example:
  minisnap wit --output wit";

/// A file of the folder `wit` beside this crate's sources, by its name there.
macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../wit/", $name)))),+]
    };
}

const FILES: [(&str, &str); 5] = files![
    "command.wit",
    "deps/cli/run.wit",
    "deps/minisnap/snapshot-maintenance.wit",
    "deps/minisnap/snapshot-store.wit",
    "deps/minisnap/worlds.wit",
];

/// Write the WIT that a component is built with
///
/// That is a directory with the world `command`, for a component that `minisnap run` runs, and with what that world includes: the
/// interface of the store, and the start of a command. Tools that make bindings take the directory.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Wit {
    /// The directory to write, which must not be there yet, or be empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Print {"output":DIR,"files":[NAME,...]}, and errors as JSON
    #[arg(long)]
    json: bool,
}

impl Wit {
    pub fn run(self) -> Result<(), Failure> {
        let to = &self.output;
        fs::create_dir_all(to).map_err(|error| Failure::file("make the directory", to, &error))?;
        let mut there = fs::read_dir(to).map_err(|error| Failure::file("list", to, &error))?;
        if there.next().is_some() {
            let what = format!("the directory `{}` is not empty", to.display());
            return Err(Failure::refused(2, what, "name another one, or remove it"));
        }
        for (name, text) in FILES {
            let file = to.join(name);
            write(&file, text).map_err(|error| Failure::file("write", &file, &error))?;
        }
        if self.json {
            let names = FILES.map(|(name, _)| name);
            print(format!("{}\n", json!({"output": to.to_string_lossy(), "files": names})).as_bytes())?;
        }
        Ok(())
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new("")))?;
    File::create_new(file)?.write_all(text.as_bytes())
}
