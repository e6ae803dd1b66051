//! Hosts that fight for one store of an object store that runs on this machine: while links are cut, requests go wrong, processes
//! are stopped and killed, and gateways too.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use minisnap_host::remote::RemoteStore;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::{TempDir, tempdir};

use super::fighter::{Fighter, Rules};
use super::history::{Event, Outcome, What, acknowledged, now};
use super::host::{Contender, History, Host, RULES, STORE};
use super::network::can_be_made;
use crate::engines::{Engine, Running};
use crate::random::Random;

/// How many hosts there are.
const HOSTS: u8 = 3;

/// How long all may take to come to their ends.
const DEADLINE: Duration = Duration::from_secs(120);

/// How many creates are acknowledged, at least.
const LEAST: u64 = 20;

/// In which time each kind of disturbance comes, of which there are so many.
const LONG: Duration = Duration::from_secs(100);
const KINDS: usize = 5;

/// What became of a fight.
#[derive(Debug)]
pub struct Fought {
    /// What the hosts did and saw.
    pub outcome: Outcome,
    /// What was done to them, how often.
    pub done: BTreeMap<&'static str, u64>,
    /// What became of their requests.
    pub requests: BTreeMap<&'static str, u64>,
    /// How often it was looked how many objects there are, and how many there were at most.
    pub objects: (usize, usize),
    /// Whether enough was done and seen for something to be found.
    pub is_enough: bool,
    /// Whether each host had a network of its own.
    pub has_networks: bool,
}

impl fmt::Display for Fought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fought { outcome, done, requests, objects: (looks, most), has_networks, .. } = self;
        let networks = if *has_networks { "in networks of their own" } else { "in one network" };
        write!(f, "{HOSTS} hosts {networks}: {outcome}; {done:?}; requests {requests:?}; ")?;
        write!(f, "at most {most} objects, in {looks} looks")
    }
}

/// What is done to hosts and gateways.
#[derive(Debug, Clone, Copy)]
enum Disturbance {
    Cut,
    Kill,
    KillGateway,
    Nothing,
    Stop,
    StopBeforeCommit,
}

/// How often, in one shuffle.
const DECK: [Disturbance; 8] = {
    use Disturbance::{Cut, Kill, KillGateway, Nothing, Stop, StopBeforeCommit};
    [Cut, Cut, Kill, KillGateway, Nothing, Stop, StopBeforeCommit, StopBeforeCommit]
};

struct Field<'a> {
    time: Duration,
    engine: &'a Engine,
    running: &'a Running,
    folder: TempDir,
    hosts: Vec<Host>,
    history: History,
    random: Random,
    deck: Vec<Disturbance>,
    done: BTreeMap<&'static str, u64>,
    looks: Vec<Look>,
}

/// How many objects there were.
#[derive(Debug, Clone, Copy)]
struct Look {
    began: u64,
    ended: u64,
    objects: usize,
}

/// Has hosts fight for a store, for this time, or three minutes more if too little has happened.
///
/// # Errors
///
/// If something cannot be done that belongs to the trial.
pub fn fight_for(time: Duration, engine: &Engine, running: &Running) -> io::Result<Fought> {
    // Compiled once, before anything is timed or killed.
    crate::cached();
    let mut field = Field {
        time,
        engine,
        running,
        folder: tempdir()?,
        hosts: Vec::new(),
        history: Arc::default(),
        random: Random::of(now()),
        deck: Vec::new(),
        done: BTreeMap::new(),
        looks: Vec::new(),
    };
    let has_networks = can_be_made();
    for name in ["host-a", "host-b", "host-c"] {
        let (folder, history) = (field.folder.path(), Arc::clone(&field.history));
        let host = Host::new(name.to_owned(), has_networks, running.gateways(), engine.key, folder, history)?;
        field.hosts.push(host);
    }
    let fought = field.fight().and_then(|()| field.end());
    field.outcome(has_networks, fought.err())
}

impl Field<'_> {
    /// Who asks the first gateway itself.
    fn beside(&self, name: &str) -> Contender {
        let (key, secret) = self.engine.key;
        Contender {
            name: name.to_owned(),
            endpoint: self.running.endpoints[0].clone(),
            key: (key.to_owned(), secret.to_owned()),
            dir: self.folder.path().join(name),
            start: 0,
        }
    }

    fn fight(&mut self) -> io::Result<()> {
        const MORE: Duration = Duration::from_secs(180);
        let began = Instant::now();
        while began.elapsed() < self.time || began.elapsed() < self.time + MORE && !self.is_enough() {
            self.disturb()?;
            self.look();
            self.hosts.iter_mut().try_for_each(Host::check)?;
        }
        Ok(())
    }

    /// Whether there was something to find.
    fn is_enough(&self) -> bool {
        acknowledged(&self.history.lock().expect("nobody panics")) >= LEAST
            && !self.looks.is_empty()
            && (self.time < LONG || self.done.len() == KINDS)
    }

    /// Does something to one of them, and makes up for it.
    fn disturb(&mut self) -> io::Result<()> {
        if self.deck.is_empty() {
            self.deck = DECK.to_vec();
        }
        let drawn = self.random.below(self.deck.len() as u64) as usize;
        let host = self.random.below(HOSTS.into()) as usize;
        let time = Duration::from_millis(500) + self.random.time(Duration::from_secs(6));
        let what = match self.deck.swap_remove(drawn) {
            Disturbance::Cut => {
                self.hosts[host].cut(true)?;
                thread::sleep(time);
                self.hosts[host].cut(false)?;
                "links cut"
            }
            Disturbance::KillGateway => {
                let gateway = self.random.below(self.running.endpoints.len() as u64) as usize;
                self.running.kill_gateway(gateway)?;
                thread::sleep(Duration::from_secs(1) + time);
                self.wait_for_gateway(gateway)?;
                "gateways killed"
            }
            Disturbance::Stop => {
                self.hosts[host].signal(Signal::STOP)?;
                thread::sleep(time);
                self.hosts[host].signal(Signal::CONT)?;
                "hosts stopped"
            }
            Disturbance::Kill => {
                self.hosts[host].restart()?;
                thread::sleep(time);
                "hosts killed"
            }
            Disturbance::StopBeforeCommit if self.stop_before_commit(host)? => {
                "hosts stopped before their commit"
            }
            Disturbance::Nothing | Disturbance::StopBeforeCommit => {
                thread::sleep(time);
                return Ok(());
            }
        };
        *self.done.entry(what).or_default() += 1;
        Ok(())
    }

    /// Waits until a gateway that was killed answers again.
    fn wait_for_gateway(&self, number: usize) -> io::Result<()> {
        let address = self.running.gateways()[number];
        let answers = || -> io::Result<()> {
            let mut gateway = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            gateway.set_read_timeout(Some(Duration::from_secs(5)))?;
            gateway.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            gateway.read_exact(&mut [0; 8])
        };
        match waited_for(DEADLINE, &|| answers().is_ok()) {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "the gateway at {address} was killed, and does not answer again: {}",
                self.running.told()
            ))),
        }
    }

    /// Stops a host once the object of its next generation is put, before it is told; until another has opened the store.
    fn stop_before_commit(&mut self, host: usize) -> io::Result<bool> {
        let host = &self.hosts[host];
        let stopped = Arc::new(Mutex::new(None));
        let (pid, stop) = (host.pid(), Arc::clone(&stopped));
        host.proxy.set_trap(Some(Box::new(move |request| {
            let _ = kill_process(pid, Signal::STOP);
            *stop.lock().expect("nobody panics") = stands_still(pid).then(|| (now(), request.to_owned()));
        })));
        waited_for(Duration::from_secs(8), &|| stopped.lock().expect("nobody panics").is_some());
        // Which waits for one that is at it.
        host.proxy.set_trap(None);
        let Some((began, request)) = stopped.lock().expect("nobody panics").take() else {
            host.signal(Signal::CONT)?;
            return Ok(false);
        };
        let before = self.history.lock().expect("nobody panics").len();
        let overtakes =
            |event: &Event| event.what == What::Opened && event.host != host.name && event.began > began;
        waited_for(Duration::from_secs(10), &|| {
            self.history.lock().expect("nobody panics")[before..].iter().any(overtakes)
        });
        let what = What::Stopped { state: state_in(&request, &host.name) };
        let event = Event { host: host.name.clone(), began, ended: now(), what };
        host.signal(Signal::CONT)?;
        self.history.lock().expect("nobody panics").push(event);
        Ok(true)
    }

    /// Counts the objects.
    fn look(&mut self) {
        let bucket = self.beside("look").bucket();
        let began = now();
        if let Ok(keys) = RemoteStore::new(Arc::new(bucket), STORE).keys(Duration::from_secs(5)) {
            self.looks.push(Look { began, ended: now(), objects: keys.len() });
        }
    }

    /// Has all come to their ends.
    fn end(&mut self) -> io::Result<()> {
        self.hosts.iter_mut().for_each(Host::begin_end);
        let until = Instant::now() + DEADLINE;
        self.hosts.iter_mut().try_for_each(|host| host.end(until))
    }

    /// What came of it, which is written to a file if it must not be.
    fn outcome(self, has_networks: bool, ended: Option<io::Error>) -> io::Result<Fought> {
        let last = self.beside("last");
        let bucket = Arc::new(last.bucket());
        let rules = Rules { deadline: Duration::from_secs(60), ..RULES };
        let last = Fighter { rules, ..last.fighter() };
        let mut history = self.history.lock().expect("nobody panics").clone();
        let swept = super::end(&last, &bucket, &mut history);
        let mut outcome = Outcome::of(&history);
        outcome.violations.extend(ended.map(|error| error.to_string()));
        outcome.violations.extend(swept.err());
        outcome.violations.extend(self.looks.iter().filter_map(|look| too_much(*look, &history)));
        if !outcome.violations.is_empty() {
            let file = write(&history, self.engine.name)?;
            outcome.violations.push(format!("all that was done is in {}", file.display()));
        }
        let mut requests = BTreeMap::new();
        for (fate, count) in self.hosts.iter().flat_map(|host| host.proxy.counts()) {
            *requests.entry(fate).or_default() += count;
        }
        let most = self.looks.iter().map(|look| look.objects).max().unwrap_or(0);
        let (is_enough, objects) = (self.is_enough() && outcome.read >= LEAST, (self.looks.len(), most));
        Ok(Fought { outcome, done: self.done, requests, objects, is_enough, has_networks })
    }
}

/// Writes all events to a file, each in a line.
fn write(history: &[Event], engine: &str) -> io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("fight-{engine}.jsonl"));
    let line = |event| serde_json::to_string(event).expect("it is JSON") + "\n";
    fs::write(&file, history.iter().map(line).collect::<String>())?;
    file.canonicalize()
}

/// Whether there are more objects than what is kept, what was put since a few openings, each of which deletes what is not needed,
/// and what came late.
fn too_much(Look { began, ended, objects }: Look, history: &[Event]) -> Option<String> {
    const OPENINGS: usize = 8;
    const LATE: usize = 10;
    const A_MINUTE: u64 = 60_000_000_000;
    let opened = history.iter().filter(|event| event.what == What::Opened && event.ended < began);
    let mut opened: Vec<u64> = opened.map(|event| event.began).collect();
    opened.sort_unstable();
    // They delete in passing, which may take a while.
    let since = opened.len().checked_sub(OPENINGS).map_or(0, |first| opened[first]);
    let since = since.min(began.saturating_sub(A_MINUTE));
    let is_put = |event: &&Event| {
        matches!(event.what, What::Created { .. }) && event.ended > since && event.began < ended
    };
    let most = RULES.keep.get() as usize + history.iter().filter(is_put).count() + LATE;
    (objects > most).then(|| format!("there were {objects} objects, of which at most {most} had a reason"))
}

/// Whether all of a process stands still now, which was told to.
fn stands_still(pid: Pid) -> bool {
    let is_stopped = |thread: &Path| {
        let stat = fs::read_to_string(thread.join("stat"));
        stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
    };
    let all_are = || -> io::Result<bool> {
        let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()))?;
        Ok(threads.filter_map(Result::ok).all(|thread| is_stopped(&thread.path())))
    };
    waited_for(Duration::from_secs(2), &|| all_are().unwrap_or(false))
}

/// Whether it comes to be within this time.
fn waited_for(time: Duration, is_so: &dyn Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        match is_so() {
            true => return true,
            false if began.elapsed() > time => return false,
            false => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The state of a host in an object that it puts.
fn state_in(request: &[u8], host: &str) -> String {
    let text = String::from_utf8_lossy(request);
    let start = text.rfind(&format!("\"{host}-")).expect("it is in there") + 1;
    text[start..].split('"').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::history::Became;

    #[test]
    fn objects_that_no_opening_has_deleted_are_too_much() {
        const SECOND: u64 = 1_000_000_000;
        let event = |began: u64, ended: u64, what| Event {
            host: "a".to_owned(),
            began: began * SECOND,
            ended: ended * SECOND,
            what,
        };
        let create = |at| {
            let what = What::Created { seq: at, state: String::new(), became: Became::InDoubt };
            event(10 * at, 10 * at + 5, what)
        };
        let open = |at: u64| event(10 * at, 10 * at + 5, What::Opened);
        let look = |objects| Look { began: 10_000 * SECOND, ended: 10_010 * SECOND, objects };
        let creates: Vec<Event> = (0..100).map(create).collect();
        assert_eq!(too_much(look(112), &creates), None);
        assert!(too_much(look(113), &creates).is_some());
        let opened: Vec<Event> = creates.into_iter().chain((100..110).map(open)).collect();
        assert_eq!(too_much(look(12), &opened), None);
        assert!(too_much(look(13), &opened).is_some());
    }
}
