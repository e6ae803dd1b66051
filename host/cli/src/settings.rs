//! What the verbs that write say of a directory, and sizes as people write them.

use std::num::NonZeroU32;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use minisnap_host::grants::parse_size;
use minisnap_host::{Grant, Layout};

use crate::stores::Wait;

/// Options of the verbs that write to a directory.
#[derive(Args)]
pub struct Settings {
    /// Layout for a new directory; an existing one keeps its own
    #[arg(long, value_parser = layout(), default_value_t = Layout::Pair)]
    pub layout: Layout,
    /// Keep this many generations in the layout `numbered` [default: 5, and all that another program wrote]
    #[arg(long, value_name = "N")]
    pub keep: Option<NonZeroU32>,
    /// Fail if the directory does not exist, for instance because its volume is not mounted
    #[arg(long)]
    pub must_exist: bool,
    /// Size limit of the state, both as given and as stored [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_state: Option<u64>,
    /// Size limit of the directory; old generations are pruned to fit, the newest never
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_total: Option<u64>,
    #[command(flatten)]
    pub wait: Wait,
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
pub fn layout() -> impl TypedValueParser<Value = Layout> {
    let layouts = [
        PossibleValue::new("pair").help("The newest snapshot, as minisnap 0.1.0 to 0.1.2 keep it"),
        PossibleValue::new("numbered")
            .help("The newest generations, a file each, as minisnap 0.1.3 keeps them"),
    ];
    PossibleValuesParser::new(layouts)
        .map(|name| if name == "pair" { Layout::Pair } else { Layout::Numbered })
}

/// Parses a size in bytes, such as `64KiB`.
pub fn size(text: &str) -> Result<u64, &'static str> {
    parse_size(text).ok_or("give a number of bytes, or one such as 64MB (decimal) or 64MiB (binary)")
}
