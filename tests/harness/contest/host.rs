//! A host that is a process, in a network of its own, with a proxy between it and the object store.

use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use minisnap_host::remote::{Bucket, Location};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::fighter::{Fighter, Rules};
use super::history::{Event, now};
use super::network::Network;
use super::proxy::Proxy;
use crate::{cached_builder, program};

/// Of how many requests one goes wrong.
const ONE_IN: u64 = 12;

/// The bucket, and a prefix.
const PLACE: &str = "s3://snapshots/fights";

/// The store that all want.
pub(super) const STORE: &str = "fought-for";

/// What all of them do.
pub(super) const RULES: Rules = Rules {
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
    /// What no other start has, and for what it does in which order.
    pub start: u64,
}

impl Contender {
    /// Where the snapshots are.
    fn location(&self) -> Location {
        PLACE.parse::<Location>().expect("it is a place").endpoint(&self.endpoint)
    }

    pub(super) fn bucket(&self) -> Bucket {
        Bucket::connect_as(self.location(), &self.key.0, &self.key.1).expect("it is no connection yet")
    }

    /// What runs there.
    pub fn fighter(self) -> Fighter {
        let minisnap = cached_builder().bucket(self.bucket()).build().expect("the component compiles");
        let location = self.location();
        let Contender { name, dir, start, .. } = self;
        Fighter { name, minisnap, location, store: STORE.to_owned(), dir, start, rules: RULES }
    }
}

/// What all hosts did and saw.
pub(super) type History = Arc<Mutex<Vec<Event>>>;

/// A host.
pub(super) struct Host {
    pub(super) name: String,
    // Before the network goes.
    pub(super) proxy: Proxy,
    network: Option<Network>,
    dir: PathBuf,
    key: (String, String),
    history: History,
    child: Child,
    /// Those that write down what its processes tell, and return how many lines were not whole.
    writers: Vec<JoinHandle<usize>>,
}

impl Host {
    /// A host of this name, at work: it asks any of these gateways, with this key.
    pub(super) fn new(
        name: String,
        has_network: bool,
        gateways: Vec<SocketAddr>,
        key: (&str, &str),
        folder: &Path,
        history: History,
    ) -> io::Result<Host> {
        let network = has_network.then(Network::new).transpose()?;
        let address = network.as_ref().map_or(Ipv4Addr::LOCALHOST, |network| network.address);
        let proxy = Proxy::new(IpAddr::V4(address), gateways, now(), ONE_IN)?;
        let (key, dir) = ((key.0.to_owned(), key.1.to_owned()), folder.join(&name));
        let (child, told) = start(&name, &proxy, network.as_ref(), &dir, &key)?;
        let writers = vec![write_down(told, Arc::clone(&history))];
        Ok(Host { name, proxy, network, dir, key, history, child, writers })
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Cuts its link, or mends it.
    pub(super) fn cut(&self, is_cut: bool) -> io::Result<()> {
        match &self.network {
            Some(network) => network.set_link(!is_cut),
            None => {
                self.proxy.set_cut(is_cut);
                Ok(())
            }
        }
    }

    /// Fails if it has ended by itself.
    pub(super) fn check(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    fn ended(&self, status: ExitStatus) -> io::Error {
        io::Error::other(format!("{} ended by itself: {status}", self.name))
    }

    /// Kills its process, and starts another.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.check()?;
        self.child.kill()?;
        self.child.wait()?;
        let (child, told) = start(&self.name, &self.proxy, self.network.as_ref(), &self.dir, &self.key)?;
        self.child = child;
        self.writers.push(write_down(told, Arc::clone(&self.history)));
        Ok(())
    }

    /// Has nothing go wrong any more, and its process end.
    pub(super) fn begin_end(&mut self) {
        self.proxy.heal();
        drop(self.child.stdin.take());
    }

    /// Waits until all that it did is written down, and nothing that is late is still to come.
    pub(super) fn end(&mut self, until: Instant) -> io::Result<()> {
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > until => {
                    return Err(io::Error::other(format!("{} does not end", self.name)));
                }
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        if !status.success() {
            return Err(self.ended(status));
        }
        let starts = self.writers.len();
        let torn: usize =
            self.writers.drain(..).map(|writer| writer.join().expect("it does not panic")).sum();
        if torn >= starts {
            return Err(io::Error::other(format!("{} told {torn} lines that are no events", self.name)));
        }
        while !self.proxy.is_quiet() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a host's process.
fn start(
    name: &str,
    proxy: &Proxy,
    network: Option<&Network>,
    dir: &Path,
    key: &(String, String),
) -> io::Result<(Child, ChildStdout)> {
    let endpoint = format!("http://{}", proxy.address);
    let contender =
        Contender { name: name.to_owned(), endpoint, key: key.clone(), dir: dir.to_owned(), start: now() };
    let program = program("contender");
    let mut command = network.map_or_else(|| Command::new(&program), |network| network.command(&program));
    command.arg(serde_json::to_string(&contender).expect("it is JSON"));
    // What who is killed leaves there goes with the rest.
    command.env("TMPDIR", dir.parent().unwrap_or(dir)).env("NO_PROXY", "*");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let told = child.stdout.take().expect("it is piped");
    Ok((child, told))
}

fn write_down(told: ChildStdout, history: History) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut torn = 0;
        for line in BufReader::new(told).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(event) => history.lock().expect("nobody panics").push(event),
                // The last one of who is killed may not be whole.
                Err(_) => torn += 1,
            }
        }
        torn
    })
}
