//! A server that answers each request as a test wants it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What is answered: the status, the headers, and the body.
pub type Answer = (u16, Vec<(&'static str, String)>, String);

/// A server on this machine, until the process ends.
#[derive(Debug)]
pub struct Answers {
    /// Its URL.
    pub url: String,
    requests: Arc<AtomicUsize>,
}

impl Answers {
    /// That is given the method and the path of each request, and how many there were before.
    pub fn new(answer: impl Fn(&str, &str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let requests = Arc::new(AtomicUsize::new(0));
        let (answer, count) = (Arc::new(answer), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
                thread::spawn(move || serve(&stream, &*answer, &count));
            }
        });
        Answers { url, requests }
    }

    /// How many requests were made.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// An error as S3 says it.
pub fn error(status: u16, code: &str, message: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message>\
         <StringToSign>AWS4-HMAC of all</StringToSign><SignatureProvided>0123abc</SignatureProvided></Error>"
    );
    (status, vec![("Content-Type", "application/xml".to_owned())], text)
}

/// A list of no objects.
pub fn nothing_listed() -> Answer {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>b</Name><Prefix></Prefix>\
                <KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>";
    (200, vec![("Content-Type", "application/xml".to_owned())], text.to_owned())
}

fn serve(
    stream: &TcpStream,
    answer: &dyn Fn(&str, &str, usize) -> Answer,
    count: &AtomicUsize,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or_default();
            }
            Some(_) => {}
            None => break,
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, headers, body) = answer(method, path, count.fetch_add(1, Ordering::SeqCst));
    // Of a body that is cut off, a header says how long it is.
    let is_told = headers.iter().any(|(name, _)| *name == "Content-Length");
    let length = (!is_told).then(|| ("Content-Length", body.len().to_string()));
    let headers = headers.into_iter().chain(length);
    let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} .\r\n{headers}Connection: close\r\n\r\n{body}")
}
