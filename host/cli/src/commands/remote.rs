//! `minisnap remote`

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use minisnap_host::remote::{Bucket, Generation, Location, RemoteStore, Repaired};
use serde_json::json;

use crate::failure::Failure;
use crate::output::print;
use crate::server::Server;

const EXAMPLE: &str = "Example:
  export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...
  minisnap remote check s3://bucket/prefix --endpoint https://127.0.0.1:7480";

const EXAMPLE_OF_REPAIR: &str = "Example:
  minisnap remote repair s3://bucket/prefix/counter --endpoint https://127.0.0.1:7480 --dry-run";

/// How many requests race for one condition.
const RACERS: NonZeroUsize = NonZeroUsize::new(8).expect("eight is not zero");

/// Check an object store, or repair snapshots there
#[derive(Args)]
pub struct Remote {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Check(Check),
    Repair(Repair),
}

/// Try whether a server of S3's protocol keeps the conditions of a PUT, and what is put
///
/// It puts an object of its own below the prefix a few times, some of them at once, and deletes it again. Credentials are those of
/// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; AWS_CA_BUNDLE is a file of certificates to trust besides.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
struct Check {
    /// The bucket and what all keys begin with: s3://BUCKET/PREFIX
    url: String,
    /// The server's URL [default: AWS_ENDPOINT_URL, or Amazon's for the region]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The region [default: AWS_REGION, or us-east-1]
    #[arg(long)]
    region: Option<String>,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "30s")]
    timeout: Duration,
    /// Print {"url":URL,"conditions":"kept","etag":"as given"|"without quotes"}, and errors as JSON
    #[arg(long)]
    json: bool,
}

/// Rebuild a head that is damaged, or was deleted, from the generations that there are
///
/// All of them are read, and none is deleted. The latest that was put is the newest; what a later one has replaced or undone is
/// kept, and not restored. What a rollback has undone is restored again, unless something was created since.
#[derive(Args)]
#[command(after_help = EXAMPLE_OF_REPAIR)]
struct Repair {
    /// The store: s3://BUCKET/PREFIX/NAME
    url: PathBuf,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print {"problem":...|null, "generations":[N,...], "undone":[N,...]}, newest first, and errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Remote {
    pub fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Check(check) => check.run(),
            Verb::Repair(repair) => repair.run(),
        }
    }
}

impl Repair {
    fn run(self) -> Result<(), Failure> {
        let Repair { url, dry_run, json, server } = self;
        let remote = server.endpoint.remote(&url)?;
        let repaired = Bucket::connect(remote.location).and_then(|bucket| {
            RemoteStore::new(Arc::new(bucket), remote.name).repair(dry_run, server.timeout)
        });
        let repaired = repaired.map_err(Failure::about(&url))?;
        let (problem, generations, undone) = match &repaired {
            Some(Repaired { problem, generations, undone, .. }) => {
                (Some(problem), &generations[..], &undone[..])
            }
            None => (None, &[][..], &[][..]),
        };
        let numbers = |all: &[Generation]| all.iter().map(|generation| generation.seq).collect::<Vec<_>>();
        let text = if json {
            let (generations, undone) = (numbers(generations), numbers(undone));
            format!("{}\n", json!({"problem": problem, "generations": generations, "undone": undone}))
        } else if let Some(problem) = problem {
            let verb = if dry_run { "would list" } else { "listed" };
            let lines = |how: &str, all: &[Generation]| -> String {
                all.iter().map(|it| format!("{verb}{how} {} {}\n", it.seq, it.key)).collect()
            };
            format!("{problem}\n") + &lines("", generations) + &lines(" as undone", undone)
        } else {
            "its head is sound: there is nothing to repair\n".to_owned()
        };
        print(text.as_bytes())
    }
}

impl Check {
    fn run(self) -> Result<(), Failure> {
        let Check { url, endpoint, region, timeout, json } = self;
        let location: Location = match url.parse() {
            Ok(location) => location,
            Err(error) => {
                return Err(Failure::refused(2, error.to_string(), "see `minisnap remote check --help`"));
            }
        };
        let location = endpoint.into_iter().fold(location, Location::endpoint);
        let location = region.into_iter().fold(location, Location::region);
        let checked = Bucket::connect(location).and_then(|bucket| bucket.check_race(RACERS, timeout));
        let checked = checked.map_err(Failure::remote)?;
        let etag = if checked.unquoted { "without quotes" } else { "as given" };
        print(
            match json {
                true => format!("{}\n", json!({"url": url, "conditions": "kept", "etag": etag})),
                false => {
                    format!("{url}: conditions are kept, of {RACERS} that raced one won; ETags {etag}\n")
                }
            }
            .as_bytes(),
        )
    }
}
