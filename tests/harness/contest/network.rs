//! A network of a host's own, with one link to this machine, which can be cut.

use std::io::{self, BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// A network namespace, which ends with this.
#[derive(Debug)]
pub struct Network {
    /// It has no other process but those that are started in it.
    holder: Child,
    link: String,
    /// The address of this machine in it.
    pub address: Ipv4Addr,
}

/// Whether such networks can be made here, as this user.
pub fn can_be_made() -> bool {
    Network::new().and_then(|network| done(&mut network.command("true"))).is_ok()
}

fn done(command: &mut Command) -> io::Result<()> {
    let output = command.output().map_err(|error| io::Error::other(format!("{command:?}: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| io::Error::other(format!("{command:?}: {said}")))
}

impl Network {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// If that cannot be done.
    pub fn new() -> io::Result<Network> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        // The range that is for benchmarks between networks.
        let part = u8::try_from(process::id() % 250).expect("it is below 250");
        let address = |last| Ipv4Addr::new(198, 18, part, 4 * number + last);
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec cat"]).stderr(Stdio::null());
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // There is one once this is said.
        BufReader::new(holder.stdout.as_mut().expect("it is piped")).read_line(&mut String::new())?;
        let id = holder.id().to_string();
        let network = Network { holder, link: format!("ms{}-{number}", process::id()), address: address(1) };
        let link = network.link.as_str();
        let ip = |args: &[&str]| done(Command::new("ip").args(args));
        ip(&["link", "add", link, "type", "veth", "peer", "name", "inside", "netns", &id])?;
        ip(&["address", "add", &format!("{}/30", address(1)), "dev", link])?;
        ip(&["link", "set", link, "up"])?;
        let inside = |args: &[&str]| done(network.command("ip").args(args));
        inside(&["address", "add", &format!("{}/30", address(2)), "dev", "inside"])?;
        inside(&["link", "set", "inside", "up"])?;
        Ok(network)
    }

    /// A program that runs in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg(program);
        command
    }

    /// Cuts the link, or mends it.
    ///
    /// # Errors
    ///
    /// If that cannot be done.
    pub fn set_link(&self, is_up: bool) -> io::Result<()> {
        done(Command::new("ip").args(["link", "set", &self.link, if is_up { "up" } else { "down" }]))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
