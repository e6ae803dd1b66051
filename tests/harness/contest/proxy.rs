//! What stands between a host and an object store, and passes requests on: or not, or late, or twice, or with another answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::random::Random;

/// How long an object store may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest time by which a request is late.
const LATE: Duration = Duration::from_secs(3);

/// Listens until it is dropped; what is late then still comes.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// What is done after the object of a generation was put, and before the host is told; it is given the object.
type Trap = Box<dyn FnOnce(&[u8]) + Send>;

struct Shared {
    /// The gateways: any of them is asked.
    gateways: Vec<SocketAddr>,
    random: Mutex<Random>,
    /// Of how many requests one goes wrong, or 0 for none.
    one_in: AtomicU64,
    /// Whether nothing is passed on, nor answered.
    is_cut: AtomicBool,
    trap: Mutex<Option<Trap>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// The first lines of those requests that put a generation.
    puts: Mutex<BTreeSet<Vec<u8>>>,
    /// How many requests are still to come that are late.
    waiting: AtomicU64,
    is_over: AtomicBool,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Lost,
    AnswerLost,
    /// It is done this much later, and nobody is told.
    Late(Duration),
    /// It is done, and once more this much later.
    Doubled(Duration),
    /// It waits on its way there and back.
    Slow(Duration),
    /// It is done, and this is the answer.
    Belied(&'static str),
    /// It is not done.
    Throttled,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Fate::Done => "done",
            Fate::Lost => "lost",
            Fate::AnswerLost => "answers lost",
            Fate::Late(_) => "late",
            Fate::Doubled(_) => "doubled",
            Fate::Slow(_) => "slow",
            Fate::Belied(_) => "belied",
            Fate::Throttled => "throttled",
        }
    }
}

impl Proxy {
    /// Between whoever asks at this address and these gateways; of `one_in` requests one goes wrong, or none for 0.
    ///
    /// # Errors
    ///
    /// If it cannot listen there.
    pub fn new(address: IpAddr, gateways: Vec<SocketAddr>, seed: u64, one_in: u64) -> io::Result<Proxy> {
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            gateways,
            random: Mutex::new(Random::of(seed)),
            one_in: AtomicU64::new(one_in),
            is_cut: AtomicBool::new(false),
            trap: Mutex::new(None),
            counts: Mutex::default(),
            puts: Mutex::default(),
            waiting: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let proxy = Proxy { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for asking in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A request, whose answer ends with its connection.
                thread::spawn(move || asking.and_then(|asking| shared.serve(asking)));
            }
        });
        Ok(proxy)
    }

    /// From here on, nothing goes wrong any more.
    pub fn heal(&self) {
        self.shared.one_in.store(0, Ordering::SeqCst);
        self.set_cut(false);
        *self.shared.trap.lock().expect("nobody panics") = None;
    }

    /// Passes nothing on any more, and answers nothing; or does so again.
    pub fn set_cut(&self, is_cut: bool) {
        self.shared.is_cut.store(is_cut, Ordering::SeqCst);
    }

    /// Whether nothing that is late is still to come.
    pub fn is_quiet(&self) -> bool {
        self.shared.waiting.load(Ordering::SeqCst) == 0
    }

    /// Does this once, after the next object of a generation was put for the first time, and before the host is told.
    pub fn set_trap(&self, trap: Option<Trap>) {
        *self.shared.trap.lock().expect("nobody panics") = trap;
    }

    /// How many requests there were, by what became of them.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.shared.counts.lock().expect("nobody panics").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // It waits for this one.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Shared {
    fn fate(&self) -> Fate {
        let mut random = self.random.lock().expect("nobody panics");
        let one_in = self.one_in.load(Ordering::SeqCst);
        if one_in == 0 || random.below(one_in) != 0 {
            return Fate::Done;
        }
        let later = random.time(LATE);
        match random.below(8) {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            2 => Fate::Late(later),
            3 => Fate::Doubled(later),
            4 => Fate::Slow(later / 6),
            5 => Fate::Belied("412 Precondition Failed"),
            6 => Fate::Belied("500 Internal Server Error"),
            _ => Fate::Throttled,
        }
    }

    fn serve(self: Arc<Shared>, mut asking: TcpStream) -> io::Result<()> {
        asking.set_read_timeout(Some(PATIENCE))?;
        asking.set_write_timeout(Some(PATIENCE))?;
        let request = read_request(&mut asking)?;
        while self.is_cut.load(Ordering::SeqCst) && !self.is_over.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        let is_first_put = is_generation(&request)
            && self.puts.lock().expect("nobody panics").insert(first_line(&request).to_owned());
        let fate = self.fate();
        *self.counts.lock().expect("nobody panics").entry(fate.name()).or_default() += 1;
        if let Fate::Late(later) | Fate::Doubled(later) = fate {
            let (shared, request) = (Arc::clone(&self), request.clone());
            self.waiting.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                thread::sleep(later);
                let _ = shared.pass(&request);
                shared.waiting.fetch_sub(1, Ordering::SeqCst);
            });
        }
        match fate {
            Fate::Lost | Fate::Late(_) => Ok(()),
            Fate::Throttled => asking.write_all(answer("503 Slow Down").as_bytes()),
            Fate::AnswerLost => self.pass(&request).map(drop),
            Fate::Belied(status) => {
                self.pass(&request)?;
                asking.write_all(answer(status).as_bytes())
            }
            Fate::Slow(pause) => {
                thread::sleep(pause);
                let answered = self.pass(&request)?;
                thread::sleep(pause);
                asking.write_all(&answered)
            }
            Fate::Done | Fate::Doubled(_) => {
                let answered = self.pass(&request)?;
                if is_first_put && answered.starts_with(b"HTTP/1.1 200") {
                    // While it is held, `set_trap` waits.
                    let mut trap = self.trap.lock().expect("nobody panics");
                    if let Some(trap) = trap.take() {
                        trap(&request);
                    }
                }
                asking.write_all(&answered)
            }
        }
    }

    /// Asks one of the gateways, and returns all that it answers.
    fn pass(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let one = self.random.lock().expect("nobody panics").below(self.gateways.len() as u64);
        let mut gateway = TcpStream::connect(self.gateways[one as usize])?;
        gateway.set_read_timeout(Some(PATIENCE))?;
        gateway.set_nodelay(true)?;
        let line = request.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        gateway.write_all(&[&request[..line], b"Connection: close\r\n", &request[line..]].concat())?;
        let mut answered = Vec::new();
        gateway.read_to_end(&mut answered)?;
        Ok(answered)
    }
}

fn first_line(request: &[u8]) -> &[u8] {
    request.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Whether it puts the object of a generation.
fn is_generation(request: &[u8]) -> bool {
    request.starts_with(b"PUT ") && first_line(request).windows(3).any(|window| window == b"/g/")
}

fn answer(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// A request of HTTP/1.1 whose body has a length.
fn read_request(asking: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut part = [0; 64 << 10];
    loop {
        let count = asking.read(&mut part)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&part[..count]);
        let Some(head) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let length = String::from_utf8_lossy(&request[..head])
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, length)| length.trim().parse().unwrap_or(0));
        if request.len() >= head + 4 + length {
            return Ok(request);
        }
    }
}
