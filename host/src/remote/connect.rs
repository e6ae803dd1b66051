//! Where snapshots are kept in an object store, how its server is reached, and by whom.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use std::{env, fmt, fs};

use async_trait::async_trait;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Url};

use crate::error::{Error, Result};

/// Where snapshots are kept in an object store: a bucket, and the prefix of all keys in it. Parsed from and displayed as
/// `s3://BUCKET/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; empty for none.
    pub prefix: String,
    /// The URL of the server, or `None` for Amazon's of the region; `AWS_ENDPOINT_URL` unless set.
    pub endpoint: Option<String>,
    /// The region; `AWS_REGION` unless set, and `us-east-1` unless that is.
    pub region: Option<String>,
}

impl Location {
    /// Sets the URL of the server.
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        Location { endpoint: Some(url.into()), ..self }
    }

    /// Refuses an endpoint that is no URL of a server.
    #[cfg(feature = "arcella")]
    pub(crate) fn check_endpoint(&self) -> Result<()> {
        self.endpoint.as_deref().map_or(Ok(()), |endpoint| url_of(endpoint).map(drop))
    }

    /// Sets the region.
    pub fn region(self, region: impl Into<String>) -> Self {
        Location { region: Some(region.into()), ..self }
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let wrong =
            || Error::other(format!("`{url}` names no place in an object store: write s3://BUCKET/PREFIX"));
        let place = url.strip_prefix("s3://").ok_or_else(wrong)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let is_bucket = |c: char| c.is_ascii_alphanumeric() || ['-', '.', '_'].contains(&c);
        let prefix = prefix.trim_end_matches('/');
        let is_prefix = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.chars().all(|c| is_bucket(c) || c == '@')
        };
        if bucket.is_empty()
            || !bucket.chars().all(is_bucket)
            || !(prefix.is_empty() || prefix.split('/').all(is_prefix))
        {
            return Err(wrong());
        }
        Ok(Location { bucket: bucket.to_owned(), prefix: prefix.to_owned(), endpoint: None, region: None })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { bucket, prefix, .. } = self;
        match prefix.is_empty() {
            true => write!(f, "s3://{bucket}"),
            false => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// What a variable says, unless it is empty.
fn given(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A client with the credentials that the variables give.
pub(super) fn by_variables(location: &Location) -> Result<AmazonS3> {
    let has = |names: &[&str]| names.iter().all(|name| given(name).is_some());
    // Without any of these, the client would ask the network for credentials.
    let is_given = has(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
        || has(&["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"])
        || has(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"])
        || has(&["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
        || has(&["AWS_METADATA_ENDPOINT"]);
    if !is_given {
        return Err(Error::denied(format!(
            "there are no credentials for `{location}`: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )));
    }
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"] {
        if given(name).is_some_and(|value| !value.chars().all(|c| c.is_ascii_graphic())) {
            return Err(Error::denied(format!("{name} has a character that none has: is it a line's end?")));
        }
    }
    let builder = AmazonS3Builder::from_env();
    let region = location.region.clone().or_else(|| given("AWS_REGION"));
    let builder = region.into_iter().fold(builder, AmazonS3Builder::with_region);
    client(location, builder, location.endpoint.clone().or_else(endpoint_of_variables))
}

fn endpoint_of_variables() -> Option<String> {
    ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| given(name))
}

/// A client with these credentials.
pub(super) fn by_key(location: &Location, key: &str, secret: &str) -> Result<AmazonS3> {
    let builder = AmazonS3Builder::new().with_access_key_id(key).with_secret_access_key(secret);
    let builder = location.region.iter().fold(builder, AmazonS3Builder::with_region);
    client(location, builder, location.endpoint.clone())
}

/// A client with the credentials in a file, which nobody else may read.
pub(super) fn by_file(location: &Location, file: &Path) -> Result<AmazonS3> {
    use std::os::unix::fs::MetadataExt;
    let unread = |error| Error::io("read the credentials in", file, error);
    let opened = fs::File::open(file).map_err(unread)?;
    let metadata = opened.metadata().map_err(unread)?;
    let file = file.display();
    if metadata.mode() & 0o077 != 0 {
        return Err(Error::denied(format!(
            "others may read or write the credentials in `{file}`: `chmod 600 {file}`"
        )));
    }
    let text = std::io::read_to_string(opened).map_err(|_| Error::other(format!("`{file}` is no text")))?;
    let mut builder = AmazonS3Builder::new();
    let mut missing = vec!["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // What is wrong in it may be a secret.
        let wrong = || {
            Error::other(format!(
                "line {number} of `{file}` is none of AWS_ACCESS_KEY_ID=..., AWS_SECRET_ACCESS_KEY=... and AWS_SESSION_TOKEN=..."
            ))
        };
        let (name, value) = line.split_once('=').ok_or_else(wrong)?;
        if !["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].contains(&name) {
            return Err(wrong());
        }
        if value.is_empty() || !value.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Error::other(format!("{name} in `{file}` has a character that none has, or none")));
        }
        builder = match name {
            "AWS_ACCESS_KEY_ID" => builder.with_access_key_id(value),
            "AWS_SECRET_ACCESS_KEY" => builder.with_secret_access_key(value),
            _ => builder.with_token(value),
        };
        missing.retain(|needed| *needed != name);
    }
    if let Some(missing) = missing.first() {
        return Err(Error::denied(format!("`{file}` has no {missing}=...")));
    }
    let region = location.region.clone().or_else(|| given("AWS_REGION"));
    let builder = region.into_iter().fold(builder, AmazonS3Builder::with_region);
    client(location, builder, location.endpoint.clone().or_else(endpoint_of_variables))
}

fn client(location: &Location, builder: AmazonS3Builder, endpoint: Option<String>) -> Result<AmazonS3> {
    let mut builder = builder
        .with_bucket_name(&location.bucket)
        // What variables say of this is for other programs.
        .with_virtual_hosted_style_request(false)
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(50),
                max_backoff: Duration::from_secs(1),
                base: 2.0,
            },
            max_retries: 3,
            retry_timeout: Duration::from_secs(10),
        });
    let mut is_plain = false;
    if let Some(endpoint) = &endpoint {
        is_plain = url_of(endpoint)?.scheme() == "http";
        // Either may come from a variable, and the first counts.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint).with_endpoint(endpoint);
    }
    let builder = builder
        .with_client_options(ClientOptions::new().with_allow_http(is_plain))
        .with_http_connector(Connector { is_plain, certificates: certificates()? });
    builder.build().map_err(|error| Error::other(format!("cannot use `{location}`: {error}")))
}

/// The URL of a server.
fn url_of(endpoint: &str) -> Result<Url> {
    let url = Url::parse(endpoint).ok();
    let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.host().is_some());
    url.ok_or_else(|| {
        let what = "is no URL of a server: write http://HOST:PORT or https://HOST:PORT";
        Error::other(format!("`{endpoint}` {what}"))
    })
}

/// Those that are trusted besides the system's.
fn certificates() -> Result<Vec<Certificate>> {
    let Some(file) = given("AWS_CA_BUNDLE") else { return Ok(Vec::new()) };
    let pem =
        fs::read(&file).map_err(|error| Error::io("read the certificates in", Path::new(&file), error))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Error::other(format!("`{file}`, which AWS_CA_BUNDLE names, has no certificates"))),
    }
}

/// Makes the connections.
#[derive(Debug)]
struct Connector {
    is_plain: bool,
    certificates: Vec<Certificate>,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            // A page that a request is led to may answer it with success, and nothing is stored.
            .redirect(Policy::none())
            .https_only(!self.is_plain)
            .http1_only()
            .tls_certs_merge(self.certificates.iter().cloned())
            .connect_timeout(Duration::from_secs(5))
            // A body may take its time; a server that does not answer at all is found so.
            .tcp_keepalive(Duration::from_secs(15))
            .build();
        match client {
            Ok(client) => Ok(HttpClient::new(Telling(client))),
            Err(error) => Err(object_store::Error::Generic { store: "S3", source: error.into() }),
        }
    }
}

/// When the object that was asked for will be deleted, and by which lifecycle rule of its bucket, as the server tells it.
#[derive(Debug, Clone)]
pub(super) struct Expires(pub(super) String);

/// A client that passes on, with each answer, whether its object [expires](Expires).
#[derive(Debug)]
struct Telling(reqwest::Client);

#[async_trait]
impl HttpService for Telling {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let mut response = HttpService::call(&self.0, request).await?;
        let told = response.headers().get("x-amz-expiration").and_then(|told| told.to_str().ok());
        // Amazon's directory buckets say `NotImplemented`.
        if let Some(told) = told.filter(|told| told.contains("expiry-date=")) {
            let expires = Expires(told.chars().take(300).collect());
            response.extensions_mut().insert(expires);
        }
        Ok(response)
    }
}
