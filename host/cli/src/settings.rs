//! What the verbs that write say of a directory, and sizes as people write them.

use std::num::NonZeroU32;

use bytesize::ByteSize;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use minisnap_host::{Grant, Layout};

/// What the verbs that write say of the directory.
#[derive(Args)]
pub struct Settings {
    /// The layout of a directory that holds no snapshot yet; another keeps the one it has
    #[arg(long, value_parser = layout(), default_value_t = Layout::Pair)]
    pub layout: Layout,
    /// How many generations to keep in the layout `numbered`; without it, 5, and all that another program wrote
    #[arg(long, value_name = "N")]
    pub keep: Option<NonZeroU32>,
    /// Fail if the directory is missing, instead of making it: for a volume that may not be mounted
    #[arg(long)]
    pub must_exist: bool,
    /// The largest state to accept, as given and as stored; without it, 256MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_state: Option<u64>,
    /// The most that the directory may hold; older generations make room, the newest does not
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_total: Option<u64>,
}

impl Settings {
    pub fn apply(&self, grant: Grant) -> Grant {
        let grant = grant.layout(self.layout);
        let grant = self.max_state.into_iter().fold(grant, Grant::max_state);
        let grant = self.keep.into_iter().fold(grant, Grant::keep);
        let grant = self.max_total.into_iter().fold(grant, Grant::max_total);
        if self.must_exist { grant.must_exist() } else { grant }
    }
}

/// The layouts, each described for `--help`.
fn layout() -> impl TypedValueParser<Value = Layout> {
    let layouts = [
        PossibleValue::new("pair").help("The newest snapshot, as minisnap 0.1.0 to 0.1.2 keep it"),
        PossibleValue::new("numbered")
            .help("The newest generations, a file each, as minisnap 0.1.3 keeps them"),
    ];
    PossibleValuesParser::new(layouts).try_map(|name| name.parse())
}

/// Bytes, as people write them.
pub fn size(text: &str) -> Result<u64, String> {
    let size = text
        .parse::<ByteSize>()
        .map_err(|_| "give a number of bytes, or one such as 64KiB or 1GiB".to_owned())?;
    Ok(size.as_u64())
}
