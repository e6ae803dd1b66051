//! Hosts that are processes, each in a network of its own, and fight for one store of an object store that runs on this machine:
//! while links are cut, requests go wrong, processes are stopped and killed, and gateways too.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use minisnap_host::remote::{Bucket, Location, RemoteStore};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::{TempDir, tempdir};

use super::fighter::{Fighter, Rules};
use super::history::{Became, Event, Outcome, What, now};
use super::network::{Network, can_be_made};
use super::proxy::Proxy;
use crate::engines::{Engine, Running};
use crate::random::Random;
use crate::{cached_builder, program};

/// How many hosts there are.
const HOSTS: u8 = 3;

/// Of how many requests one goes wrong.
const ONE_IN: u64 = 12;

/// The store that all want.
const STORE: &str = "fought-for";

/// The bucket, and a prefix.
const PLACE: &str = "s3://snapshots/fights";

/// How long all may take to come to their ends.
const DEADLINE: Duration = Duration::from_secs(120);

/// How many creates are acknowledged, at least; within two minutes more.
const LEAST: usize = 20;

const RULES: Rules = Rules {
    keep: NonZeroU32::new(2).expect("it is not 0"),
    deadline: Duration::from_secs(20),
    short: Duration::from_secs(2),
    pause: Duration::from_millis(600),
};

/// What the program of a host is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// Where the object store is.
    pub endpoint: String,
    /// Its key, and the secret.
    pub key: (String, String),
    /// Its own folder.
    pub dir: PathBuf,
    /// For what it does in which order.
    pub seed: u64,
}

impl Contender {
    /// Where the snapshots are.
    fn location(&self) -> Location {
        PLACE.parse::<Location>().expect("it is a place").endpoint(&self.endpoint)
    }

    fn bucket(&self) -> Bucket {
        Bucket::connect_as(self.location(), &self.key.0, &self.key.1).expect("it is no connection yet")
    }

    /// What runs there.
    pub fn fighter(self) -> Fighter {
        let minisnap = cached_builder().bucket(self.bucket()).build().expect("the component compiles");
        let location = self.location();
        Fighter { name: self.name, minisnap, location, store: STORE.to_owned(), dir: self.dir, rules: RULES }
    }
}

/// What became of a fight.
#[derive(Debug)]
pub struct Fought {
    /// What the hosts did and saw.
    pub outcome: Outcome,
    /// What was done to them, how often.
    pub done: BTreeMap<&'static str, u64>,
    /// What became of their requests.
    pub requests: BTreeMap<&'static str, u64>,
    /// How many objects there were at most.
    pub objects: usize,
    /// Whether each host had a network of its own.
    pub has_networks: bool,
}

impl fmt::Display for Fought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fought { outcome, done, requests, objects, has_networks } = self;
        let networks = if *has_networks { "in networks of their own" } else { "in one network" };
        write!(
            f,
            "{HOSTS} hosts {networks}: {outcome}; {done:?}; requests {requests:?}; at most {objects} objects"
        )
    }
}

/// Whether there are more objects than what is kept, what was put since a few openings, each of which deletes what is not needed,
/// and what came late.
fn too_much((at, objects): (u64, usize), history: &[Event]) -> Option<String> {
    const OPENINGS: usize = 10;
    const LATE: usize = 10;
    let before = history.iter().filter(|event| event.began < at);
    let opened = before.clone().filter(|event| event.what == What::Opened && event.ended < at);
    let mut opened: Vec<u64> = opened.map(|event| event.began).collect();
    opened.sort_unstable();
    let since = opened.len().checked_sub(OPENINGS).map_or(0, |first| opened[first]);
    let put = before.filter(|event| matches!(event.what, What::Created { .. }) && event.ended > since);
    let most = RULES.keep.get() as usize + put.count() + LATE;
    (objects > most).then(|| format!("there were {objects} objects, of which at most {most} had a reason"))
}

/// A host.
struct Host {
    name: String,
    network: Option<Network>,
    proxy: Proxy,
    /// Its process.
    child: Child,
}

impl Host {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Cuts its link, or mends it.
    fn cut(&self, is_cut: bool) -> io::Result<()> {
        match &self.network {
            Some(network) => network.set_link(!is_cut),
            None => {
                self.proxy.set_cut(is_cut);
                Ok(())
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether all of a process stands still now, which was told to.
fn stands_still(pid: Pid) -> bool {
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
    };
    waited_for(Duration::from_secs(2), &is_stopped)
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

struct Field<'a> {
    engine: &'a Engine,
    running: &'a Running,
    folder: TempDir,
    hosts: Vec<Host>,
    history: Arc<Mutex<Vec<Event>>>,
    random: Random,
    done: BTreeMap<&'static str, u64>,
    /// When it was looked, how many objects there were.
    looks: Vec<(u64, usize)>,
}

/// Has hosts fight for a store, for this time.
///
/// # Errors
///
/// If something cannot be done that belongs to the trial.
pub fn fight_for(time: Duration, engine: &Engine, running: &Running) -> io::Result<Fought> {
    let mut field = Field {
        engine,
        running,
        folder: tempdir()?,
        hosts: Vec::new(),
        history: Arc::default(),
        random: Random::of(now()),
        done: BTreeMap::new(),
        looks: Vec::new(),
    };
    let has_networks = can_be_made();
    for number in 0..HOSTS {
        let host = field.host(number, has_networks)?;
        field.hosts.push(host);
    }
    let began = Instant::now();
    while began.elapsed() < time
        || began.elapsed() < time + Duration::from_secs(120) && field.acknowledged() < LEAST
    {
        field.disturb()?;
        field.look();
    }
    field.end()?;
    let last = field.contender("last", &running.endpoints[0], 0);
    let bucket = Arc::new(last.bucket());
    let rules = Rules { deadline: Duration::from_secs(60), ..RULES };
    let last = Fighter { rules, ..last.fighter() };
    let mut history = field.history.lock().expect("nobody panics").clone();
    let swept = super::end(&last, &bucket, &mut history);
    let mut outcome = Outcome::of(&history);
    outcome.violations.extend(swept.err());
    outcome.violations.extend(field.looks.iter().filter_map(|look| too_much(*look, &history)));
    let objects = field.looks.iter().map(|(_, objects)| *objects).max().unwrap_or(0);
    let mut requests = BTreeMap::new();
    for (fate, count) in field.hosts.iter().flat_map(|host| host.proxy.counts()) {
        *requests.entry(fate).or_default() += count;
    }
    Ok(Fought { outcome, done: field.done, requests, objects, has_networks })
}

impl Field<'_> {
    fn contender(&self, name: &str, endpoint: &str, seed: u64) -> Contender {
        let (key, secret) = self.engine.key;
        Contender {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            key: (key.to_owned(), secret.to_owned()),
            dir: self.folder.path().join(name),
            seed,
        }
    }

    /// The host of this number, at work.
    fn host(&self, number: u8, has_network: bool) -> io::Result<Host> {
        let name = format!("host-{}", char::from(b'a' + number));
        let network = has_network.then(Network::new).transpose()?;
        let address = network.as_ref().map_or(Ipv4Addr::LOCALHOST, |network| network.address);
        let gateways = self.running.gateways();
        let proxy = Proxy::new(IpAddr::V4(address), gateways, now() ^ u64::from(number), ONE_IN)?;
        let child = self.start(&name, network.as_ref(), &proxy)?;
        Ok(Host { name, network, proxy, child })
    }

    /// Starts a host's process, whose events are written down.
    fn start(&self, name: &str, network: Option<&Network>, proxy: &Proxy) -> io::Result<Child> {
        let contender = self.contender(name, &format!("http://{}", proxy.address), now());
        let program = program("contender");
        let mut command = network.map_or_else(|| Command::new(&program), |network| network.command(&program));
        command.arg(serde_json::to_string(&contender).expect("it is JSON"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let told = BufReader::new(child.stdout.take().expect("it is piped"));
        let history = Arc::clone(&self.history);
        thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                // The last one of who is killed may not be whole.
                if let Ok(event) = serde_json::from_str(&line) {
                    history.lock().expect("nobody panics").push(event);
                }
            }
        });
        Ok(child)
    }

    fn acknowledged(&self) -> usize {
        let history = self.history.lock().expect("nobody panics");
        let is_one =
            |event: &&Event| matches!(event.what, What::Created { became: Became::Acknowledged, .. });
        history.iter().filter(is_one).count()
    }

    /// Does something to one of them, and makes up for it.
    fn disturb(&mut self) -> io::Result<()> {
        let host = self.random.below(HOSTS.into()) as usize;
        let time = Duration::from_millis(500) + self.random.time(Duration::from_secs(6));
        let what = match self.random.below(8) {
            0 | 1 => {
                self.hosts[host].cut(true)?;
                thread::sleep(time);
                self.hosts[host].cut(false)?;
                "links cut"
            }
            2 => {
                let gateways = self.running.endpoints.len() as u64;
                self.running.kill_gateway(self.random.below(gateways) as usize)?;
                thread::sleep(time);
                "gateways killed"
            }
            3 => {
                self.hosts[host].signal(Signal::STOP)?;
                thread::sleep(time);
                self.hosts[host].signal(Signal::CONT)?;
                "hosts stopped"
            }
            4 => {
                self.restart(host)?;
                thread::sleep(time);
                "hosts killed"
            }
            5 => {
                thread::sleep(time);
                return Ok(());
            }
            _ if self.stop_before_commit(host)? => "hosts stopped before their commit",
            _ => return Ok(()),
        };
        *self.done.entry(what).or_default() += 1;
        Ok(())
    }

    fn restart(&mut self, host: usize) -> io::Result<()> {
        self.hosts[host].child.kill()?;
        self.hosts[host].child.wait()?;
        let Host { name, network, proxy, .. } = &self.hosts[host];
        let child = self.start(name, network.as_ref(), proxy)?;
        self.hosts[host].child = child;
        Ok(())
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
        let bucket = self.contender("look", &self.running.endpoints[0], 0).bucket();
        // The gateway may be dead.
        if let Ok(keys) = RemoteStore::new(Arc::new(bucket), STORE).keys(Duration::from_secs(5)) {
            self.looks.push((now(), keys.len()));
        }
    }

    /// Has all come to their ends.
    fn end(&mut self) -> io::Result<()> {
        for host in &mut self.hosts {
            host.proxy.heal();
            drop(host.child.stdin.take());
        }
        let began = Instant::now();
        for host in &mut self.hosts {
            let status = loop {
                match host.child.try_wait()? {
                    Some(status) => break status,
                    None if began.elapsed() > DEADLINE => {
                        return Err(io::Error::other(format!("{} does not end", host.name)));
                    }
                    None => thread::sleep(Duration::from_millis(20)),
                }
            };
            if !status.success() {
                return Err(io::Error::other(format!("{} ended by itself: {status}", host.name)));
            }
        }
        Ok(())
    }
}
