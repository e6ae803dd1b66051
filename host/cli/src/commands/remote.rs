//! `minisnap remote`

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use minisnap_host::remote::{Bucket, Location};
use serde_json::json;

use crate::failure::Failure;
use crate::output::print;

const EXAMPLE: &str = "Example:
  export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...
  minisnap remote check s3://bucket/prefix --endpoint https://127.0.0.1:7480";

/// How many requests race for one condition.
const RACERS: NonZeroUsize = NonZeroUsize::new(8).expect("eight is not zero");

/// Check whether an object store can hold snapshots
#[derive(Args)]
pub struct Remote {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Check(Check),
}

/// Try whether a server of S3's protocol keeps the conditions of a PUT
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

impl Remote {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Verb::Check(Check { url, endpoint, region, timeout, json }) = self.verb;
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
        )?;
        Ok(ExitCode::SUCCESS)
    }
}
