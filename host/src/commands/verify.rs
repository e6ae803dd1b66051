//! `minisnap verify`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use minisnap_host::Soundness;

use super::{Failure, reader, write_out};

const EXAMPLE: &str = "Example:
  minisnap verify ./snapshots";

/// Read every byte of the stored snapshot and compare the sums
///
/// A snapshot that another program wrote has none: its number and its JSON are checked, and that is said.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Verify {
    /// The directory of the snapshot
    dir: PathBuf,
}

impl Verify {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let info = reader(&self.dir, None)?.info().map_err(Failure::about(&self.dir))?;
        let found = match info.soundness {
            Soundness::Verified => "verified: every byte is as it was written",
            Soundness::Unverified => {
                "unverified: another program wrote it, without sums; its JSON and number can be read"
            }
        };
        write_out(None, format!("seq {}, {} bytes, {found}\n", info.seq, info.size).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
