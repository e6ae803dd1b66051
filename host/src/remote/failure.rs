//! What an object store answered, if it was no success.

use std::error::Error as StdError;
use std::iter;

use object_store::Error as Told;

use crate::error::Error;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The condition is not met, or so it says.
    Refused(String),
    /// It may pass.
    Passing(String),
    /// Asking again is of no use.
    Final(Error),
}

/// Codes that S3 gives with a status that would not say it, or says more.
const HINTS: [(&str, &str); 7] = [
    ("RequestTimeTooSkewed", "set this machine's clock"),
    ("SignatureDoesNotMatch", "check AWS_SECRET_ACCESS_KEY"),
    ("InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID"),
    ("AccessDenied", "these credentials may not do this"),
    ("NoSuchBucket", "make the bucket, or name another"),
    ("AuthorizationHeaderMalformed", "name the bucket's region"),
    ("PermanentRedirect", "name the bucket's region and endpoint"),
];

impl Failure {
    /// Of a request, such as "get `s3://bucket/key`".
    pub(super) fn of(what: &str, told: &Told) -> Failure {
        let said = said(told);
        let line = format!("cannot {what}: {said}");
        let is_status = |status: &str| said.starts_with(status);
        let has_code = |code: &str| said.contains(&format!("({code})"));
        match told {
            // A request of one's own may be the other one.
            _ if is_status("409") || is_status("408") || is_status("429") => Failure::Passing(line),
            _ if has_code("RequestTimeout") || has_code("IncompleteBody") => Failure::Passing(line),
            _ if is_status("401") || is_status("403") => Failure::Final(Error::denied(line)),
            Told::PermissionDenied { .. } | Told::Unauthenticated { .. } => {
                Failure::Final(Error::denied(line))
            }
            Told::AlreadyExists { .. } | Told::Precondition { .. } => Failure::Refused(line),
            _ if has_code("NoSuchBucket") => Failure::Final(Error::other(line)),
            // Of something in between, which knows of no objects.
            Told::NotFound { .. } if is_status("404") && !has_code("NoSuchKey") => Failure::Passing(line),
            Told::NotFound { .. } => Failure::Refused(line),
            // Another region's; a request that the server does not understand.
            _ if is_status("4") || is_status("3") || is_status("501") => Failure::Final(Error::other(line)),
            _ if ["certificate", "redirect", "ETag"].iter().any(|of| said.contains(of)) => {
                Failure::Final(Error::other(line))
            }
            Told::Generic { .. } => Failure::Passing(line),
            _ => Failure::Final(Error::other(line)),
        }
    }

    /// The same, where it is of no weight which condition is not met.
    pub(super) fn passing(self) -> Failure {
        match self {
            Failure::Refused(line) => Failure::Passing(line),
            failure => failure,
        }
    }

    /// The same as an error of a call that goes no further.
    pub(super) fn into_error(self) -> Error {
        match self {
            Failure::Refused(line) | Failure::Passing(line) => Error::other(line),
            Failure::Final(error) => error,
        }
    }
}

/// What a server said, with the status and the code first, or why it could not be asked. Nothing else of an answer is told: it may
/// repeat what was signed.
fn said(told: &Told) -> String {
    let chain: Vec<String> = iter::successors(Some(told as &dyn StdError), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    let innermost = chain.last().map(String::as_str).unwrap_or_default();
    let Some((_, answer)) = innermost.split_once("status code: ") else {
        // Of several that say the same, the last is the shortest.
        return innermost.lines().next().unwrap_or_default().to_owned();
    };
    let status = answer.split([':', '\n']).next().unwrap_or_default().trim();
    let element = |name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0).filter(|text| text.len() < 300)
    };
    match (element("Code"), element("Message")) {
        (None, _) => status.to_owned(),
        (Some(code), message) => {
            let hint = HINTS.iter().find(|(hinted, _)| *hinted == code).map(|(_, hint)| *hint);
            let message = message.filter(|message| !message.is_empty() && *message != code);
            let rest: Vec<&str> = message.into_iter().chain(hint).collect();
            match rest.is_empty() {
                true => format!("{status} ({code})"),
                false => format!("{status} ({code}): {}", rest.join("; ")),
            }
        }
    }
}
