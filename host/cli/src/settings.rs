//! What the verbs that write say of a directory, and sizes as people write them.

use std::num::NonZeroU32;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use minisnap_host::{Grant, Layout};

/// What the verbs that write say of the directory.
#[derive(Args)]
pub struct Settings {
    /// The layout of a directory that holds no snapshot yet; another keeps the one it has
    #[arg(long, value_enum, default_value = "pair")]
    pub layout: LayoutName,
    /// How many generations to keep in the layout `numbered`; without it, 5, and all that another program wrote
    #[arg(long, value_name = "N")]
    pub keep: Option<NonZeroU32>,
    /// Fail if the directory is missing, instead of making it: for a volume that may not be mounted
    #[arg(long)]
    pub must_exist: bool,
    /// The largest state to accept, as given and as stored
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub max_state: u64,
    /// The most that the directory may hold; older generations make room, the newest does not
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_total: Option<u64>,
}

impl Settings {
    pub fn apply(&self, grant: Grant) -> Grant {
        let mut grant = grant.layout(self.layout.into()).max_state(self.max_state);
        if let Some(generations) = self.keep {
            grant = grant.keep(generations);
        }
        if self.must_exist {
            grant = grant.must_exist();
        }
        if let Some(bytes) = self.max_total {
            grant = grant.max_total(bytes);
        }
        grant
    }
}

/// A layout, as it is written on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub enum LayoutName {
    /// The newest snapshot, as minisnap 0.1.0 to 0.1.2 keep it
    Pair,
    /// The newest generations, a file each, as minisnap 0.1.3 keeps them
    Numbered,
}

impl From<LayoutName> for Layout {
    fn from(layout: LayoutName) -> Self {
        match layout {
            LayoutName::Pair => Layout::Pair,
            LayoutName::Numbered => Layout::Numbered,
        }
    }
}

/// Bytes, as people write them.
pub fn size(text: &str) -> Result<u64, String> {
    let size = text
        .parse::<ByteSize>()
        .map_err(|_| "give a number of bytes, or one such as 64KiB or 1GiB".to_owned())?;
    Ok(size.as_u64())
}
