//! What a server of S3's protocol, or something before it, may answer, and what the host makes of that.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use minisnap_host::Error;
use minisnap_host::remote::{Bucket, Found, Limits, Location, RemoteStore, TakeOver, Wanted};
use minisnap_tests::answers::{Answer, Answers, error, nothing_listed};
use minisnap_tests::cli;
use object_store::memory::InMemory;
use tempfile::tempdir;

/// For what ends by itself.
const LONG: Duration = Duration::from_secs(60);

/// For what would go on, and is to be asked once at least.
const SHORT: Duration = Duration::from_secs(4);

fn bucket(server: &Answers) -> Bucket {
    let location = "s3://bucket/prefix".parse::<Location>().unwrap().endpoint(&server.url);
    Bucket::connect_as(location, "the-key", "the-secret").unwrap()
}

fn restore(server: &Answers, deadline: Duration) -> Result<Found, Error> {
    RemoteStore::new(Arc::new(bucket(server)), "ledger").restore(
        Wanted::Newest,
        Path::new("/nowhere"),
        deadline,
    )
}

/// An empty store.
fn nothing(_: &str, path: &str, _: usize) -> Answer {
    if path.contains("list-type") { nothing_listed() } else { error(404, "NoSuchKey", "There is none.") }
}

#[test]
fn an_empty_store_is_told_from_a_server_that_knows_no_objects() {
    let found = restore(&Answers::new(nothing), LONG).unwrap();
    assert_eq!((found.head, found.generation), (None, None));
    let proxy = Answers::new(|_, _, _| (404, vec![], "404 page not found".to_owned()));
    match restore(&proxy, SHORT) {
        Err(Error::DeadlineExceeded(what)) => {
            assert!(what.contains("404") && what.contains("head.json"), "{what}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_throttled_request_is_made_again_within_the_deadline() {
    let busy = |_: &str, _: &str, _: usize| error(503, "SlowDown", "Please reduce your request rate.");
    // More often than the client by itself asks.
    let server_that_recovers = Answers::new(move |method, path, before| match before {
        ..6 => busy(method, path, before),
        _ => nothing(method, path, before),
    });
    restore(&server_that_recovers, LONG).unwrap();
    assert!(server_that_recovers.requests() > 6);
    match restore(&Answers::new(busy), SHORT) {
        Err(Error::DeadlineExceeded(what)) => {
            assert!(what.contains("`restore` of `s3://bucket/prefix/ledger`"), "{what}")
        }
        other => panic!("{other:?}"),
    }
}

/// A page that a request is led to may say that all is well, and nothing is stored.
#[test]
fn a_redirect_is_not_followed() {
    let fine = Answers::new(|_, _, _| (200, vec![("ETag", "\"1\"".to_owned())], "welcome".to_owned()));
    let to = fine.url.clone();
    for status in [301, 302, 303, 307, 308] {
        let to = to.clone();
        let other =
            Answers::new(move |_, _, _| (status, vec![("Location", format!("{to}/welcome"))], String::new()));
        let told = bucket(&other).check(LONG).unwrap_err().to_line();
        assert!(told.contains(&status.to_string()), "{told}");
    }
    assert_eq!(fine.requests(), 0);
    // As of a bucket in another region.
    let told =
        bucket(&Answers::new(|_, _, _| (301, vec![], String::new()))).check(LONG).unwrap_err().to_line();
    assert!(told.contains("region"), "{told}");
}

#[test]
fn what_asking_again_does_not_mend_ends_a_call_at_once_and_says_what_to_do() {
    for (status, code, is_denied, said) in [
        (403, "RequestTimeTooSkewed", true, "set this machine's clock"),
        (403, "SignatureDoesNotMatch", true, "check AWS_SECRET_ACCESS_KEY"),
        (403, "InvalidAccessKeyId", true, "check AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", true, "these credentials may not do this"),
        (404, "NoSuchBucket", false, "make the bucket, or name another"),
        (400, "AuthorizationHeaderMalformed", false, "name the bucket's region"),
        (501, "NotImplemented", false, "501"),
    ] {
        let refused = Answers::new(move |_, _, _| error(status, code, "So it is."));
        for told in [bucket(&refused).check(LONG).unwrap_err(), restore(&refused, LONG).unwrap_err()] {
            assert_eq!(matches!(told, Error::AccessDenied(_)), is_denied, "{told:?}");
            assert!(is_denied || matches!(told, Error::Io(_)), "{told:?}");
            let line = told.to_line();
            assert!(
                line.contains("s3://bucket/prefix") && line.contains(code) && line.contains(said),
                "{line}"
            );
        }
    }
}

#[test]
fn no_secret_is_in_a_message_whatever_a_server_repeats() {
    let server = Answers::new(|_, _, _| error(403, "SignatureDoesNotMatch", "It does not match."));
    let bucket = bucket(&server);
    let told = bucket.check(LONG).unwrap_err();
    for text in [told.to_line(), format!("{told:?}"), format!("{bucket:?}")] {
        for secret in ["the-secret", "StringToSign", "AWS4-HMAC", "0123abc", "Signature="] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

#[test]
fn a_server_that_gives_no_etag_is_refused() {
    let silent = Answers::new(|_, _, _| (200, vec![], String::new()));
    let told = bucket(&silent).check(LONG).unwrap_err().to_line();
    assert!(told.contains("ETag"), "{told}");
}

#[test]
fn a_bucket_that_deletes_what_is_put_there_is_refused() {
    const RULE: &str = "expiry-date=\"Wed, 30 Dec 2026 00:00:00 GMT\", rule-id=\"monthly\"";
    // The second is what Amazon's directory buckets say.
    for (told, deletes) in [(RULE, true), ("NotImplemented", false)] {
        let headers = || vec![("ETag", "\"1\"".to_owned()), ("x-amz-expiration", told.to_owned())];
        let line = bucket(&Answers::new(move |_, _, _| (200, headers(), String::new())))
            .check(LONG)
            .unwrap_err()
            .to_line();
        assert_eq!(line.contains("lifecycle rule") && line.contains("monthly"), deletes, "{line}");
        assert!(line.contains("s3://bucket/prefix"), "{line}");
    }
}

#[test]
fn an_endpoint_that_is_no_url_is_refused_and_a_location_that_is_none() {
    let location = || "s3://bucket".parse::<Location>().unwrap();
    for endpoint in ["127.0.0.1:7480", "host", "", "ftp://host", "http://"] {
        let told = Bucket::connect_as(location().endpoint(endpoint), "key", "secret").unwrap_err().to_line();
        assert!(told.contains("is no URL of a server: write http://HOST:PORT"), "{told}");
    }
    for url in [
        "s3:/bucket",
        "s3://",
        "s3:///a",
        "s3://b/a//c",
        "s3://b/../c",
        "s3://b/a b",
        "https://b/a",
        "bucket",
    ] {
        let told = url.parse::<Location>().unwrap_err().to_line();
        assert_eq!(told, format!("`{url}` names no place in an object store: write s3://BUCKET/PREFIX"));
    }
    for (url, shown) in [("s3://b/", "s3://b"), ("s3://b.c/d/e@f/", "s3://b.c/d/e@f")] {
        assert_eq!(url.parse::<Location>().unwrap().to_string(), shown);
    }
}

/// `minisnap remote check` without the variables of whoever runs the test.
fn check() -> Command {
    let mut check = cli();
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        check.env_remove(name);
    }
    check.args(["remote", "check"]);
    check
}

fn told(mut check: Command) -> (Option<i32>, String) {
    let output = check.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Ends a process with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_certificate_that_nobody_trusts_is_refused_unless_it_is_named() {
    let folder = tempdir().unwrap();
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    // An authority, and a server's certificate by it.
    let new =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let authority = [
        "-keyout",
        "authority.key",
        "-out",
        "authority.pem",
        "-subj",
        "/CN=an authority of minisnap's tests",
    ];
    let own = ["-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=a server of minisnap's tests"];
    let by = ["-CA", "authority.pem", "-CAkey", "authority.key", "-addext", "subjectAltName=IP:127.0.0.1"];
    let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
    for arguments in [[&new[..], &authority].concat(), [&new[..], &own, &by, &leaf].concat()] {
        let made = openssl(&arguments).stderr(Stdio::piped()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = format!("127.0.0.1:{port}");
    let server =
        openssl(&["s_server", "-accept", &at, "-cert", "certificate.pem", "-key", "key.pem", "-www"]);
    let _server = Ended({ server }.spawn().unwrap());
    while TcpStream::connect(&at).is_err() {
        thread::yield_now();
    }
    let trusting = |bundle: Option<&str>, timeout: &str| {
        let mut check = check();
        check.args(["s3://bucket", "--endpoint", &format!("https://{at}"), "--timeout", timeout]);
        check
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .current_dir(folder.path());
        check.envs(bundle.map(|bundle| ("AWS_CA_BUNDLE", bundle)));
        told(check)
    };
    let (code, told) = trusting(None, "1h");
    assert!(code == Some(10) && told.contains("certificate") && !told.contains("deadline"), "{told}");
    // It is trusted, and answers what no object store does.
    let (code, told) = trusting(Some("authority.pem"), "5s");
    assert!(code == Some(10) && !told.contains("certificate"), "{told}");
    let (code, told) = trusting(Some("key.pem"), "1h");
    assert!(
        code == Some(10) && told.contains("`key.pem`, which AWS_CA_BUNDLE names, has no certificates"),
        "{told}"
    );
}

#[test]
fn without_credentials_nothing_is_asked() {
    let server = Answers::new(nothing);
    let with = |variables: &[(&str, &str)]| {
        let mut check = check();
        check.args(["s3://bucket/prefix", "--endpoint", &server.url]).envs(variables.iter().copied());
        told(check)
    };
    for variables in [&[][..], &[("AWS_ACCESS_KEY_ID", "key")], &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")]]
    {
        let (code, told) = with(variables);
        assert!(
            code == Some(8) && told.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            "{told}"
        );
    }
    let (code, told) = with(&[("AWS_ACCESS_KEY_ID", "key\n"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
    assert!(code == Some(8) && told.contains("AWS_ACCESS_KEY_ID has a character that none has"), "{told}");
    assert_eq!(server.requests(), 0);
}

/// However the server answers who asks for the rest of it.
#[test]
fn an_object_whose_connection_breaks_in_the_middle_is_got_all_the_same() {
    let folder = tempdir().unwrap();
    let state = "0123456789".repeat(1000);
    fs::write(folder.path().join("state"), &state).unwrap();
    let memory = Bucket::new("s3://bucket/prefix".parse().unwrap(), Arc::new(InMemory::new())).unwrap();
    let mut store = RemoteStore::new(Arc::new(memory), "ledger");
    store.open("host", TakeOver::Anyone, LONG).unwrap();
    let limits = Limits { keep: NonZeroUsize::MIN, max_total: None, damaged: Vec::new() };
    store.create(&folder.path().join("state"), 1, limits, LONG).unwrap();
    let head = serde_json::to_string(store.head().unwrap()).unwrap();

    let (length, half) = (state.len(), state.len() / 2);
    let whole = || (200, vec![("ETag", "\"1\"".to_owned())], state.clone());
    let rest = |etag: &str| {
        let range = format!("bytes {half}-{}/{length}", length - 1);
        (206, vec![("ETag", etag.to_owned()), ("Content-Range", range)], state[half..].to_owned())
    };
    let gone = || error(404, "NoSuchKey", "There is none.");
    let rests = [
        rest("\"1\""),
        rest("\"2\""),
        whole(),
        gone(),
        (404, vec![], "404 page not found".to_owned()),
        error(416, "InvalidRange", "It is shorter."),
        error(403, "AccessDenied", "Not this."),
        error(500, "InternalError", "Try again."),
    ];
    let broken = |rest: Answer, after: Answer| {
        let (head, half) = (head.clone(), state[..half].to_owned());
        let server = Answers::new(move |_, path, before| match before {
            _ if path.ends_with("head.json") => (200, vec![("ETag", "\"1\"".to_owned())], head.clone()),
            1 => {
                let headers = [("ETag", "\"1\"".to_owned()), ("Content-Length", length.to_string())];
                (200, headers.to_vec(), half.clone())
            }
            2 => rest.clone(),
            _ => after.clone(),
        });
        let found = RemoteStore::new(Arc::new(bucket(&server)), "ledger");
        let folder = tempdir().unwrap();
        let found = found.restore(Wanted::Newest, folder.path(), LONG).map(|found| found.generation);
        found.map(|found| {
            found.map(|found| fs::read_to_string(folder.path().join(found.file_name())).unwrap())
        })
    };
    for rest in rests {
        let found = broken(rest.clone(), whole());
        assert!(found.unwrap().as_deref() == Some(&*state), "{rest:?}");
    }
    let told = broken(gone(), gone()).unwrap_err().to_line();
    assert!(told.contains("is not there"), "{told}");
}
