//! `minisnap run`

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use minisnap_host::grants::Grants;
use minisnap_host::manifest::{Admitted, Manifest, MemoryLimit, Offer, Refused, SNAPSHOT_STORE};
use minisnap_host::{Access, Diagnostic, Error, Folder, Grant, SnapshotCtx, SnapshotStore};
use tracing::debug;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Trap, WasmBacktrace};
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::failure::{Failure, TimedOut, plain};
use crate::output;
use crate::preopen::{self, Preopen};
use crate::server::{Endpoint, is_remote};
use crate::settings::{Settings, size};
use crate::stores::{cache_folder, minisnap};

const USAGE: &str = "minisnap run [OPTIONS] --grant <DIR> <COMPONENT> [-- <ARGS>...]
       minisnap run [OPTIONS] --grants-file <FILE> <COMPONENT> [-- <ARGS>...]";

const EXAMPLE: &str = "Examples:
  minisnap run counter.wasm --grant ./snapshots -- increment
  minisnap run counter@1.1.0.wasm --grants-file minisnap.toml -- increment
  minisnap run counter@1.1.0.wasm --grants-file minisnap.toml --instance eu-1 -- increment

Exits with 0 or 1, as the component ends (WASI 0.2 has no other codes), or, if it could not run or trapped, as every
verb does.";

/// Run a command component with a snapshot directory
///
/// It gets the import arcella:minisnap/snapshot-store, arguments, standard streams, clocks and random numbers; no files
/// but those of --dir, and of its log if the grants file gives one; no environment but --env, and no network. Its manifest, if
/// there is one beside it, says who it is, whether it asks for snapshots, which files it needs, and how much memory.
#[derive(Args)]
#[command(after_help = EXAMPLE, override_usage = USAGE)]
pub struct Run {
    /// The component, which exports wasi:cli/run
    component: PathBuf,
    #[command(flatten)]
    granted: Granted,
    /// Run it as this instance, which has a directory of its own
    #[arg(long, value_name = "NAME", conflicts_with = "grant")]
    instance: Option<String>,
    /// Let the component restore, but not create
    #[arg(long)]
    read_only: bool,
    /// Let the component have this many named stores besides its own, each in a subdirectory
    #[arg(long, value_name = "N", default_value_t = 0)]
    stores: u32,
    /// Give the component read and write access to a directory, under the name GUEST, or read access alone with `:ro`; its path
    /// must have no symlink; repeatable
    #[arg(long, value_name = "HOST::GUEST[:ro]")]
    dir: Vec<Preopen>,
    /// Give the component an environment variable, or that of this process by its NAME alone; repeatable
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<Variable>,
    /// Memory limit of the component itself; its manifest may lower it
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    component_memory: u64,
    /// Deadline of each call of its store [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// End the component after this time, with exit code 11 [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Print errors of `minisnap` as JSON, as every verb does with --json
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    endpoint: Endpoint,
    /// Arguments for the component
    #[arg(last = true)]
    args: Vec<String>,
}

/// Who says where the snapshots are.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Granted {
    /// Directory for its snapshots; created if it does not exist
    #[arg(long, value_name = "DIR")]
    grant: Option<PathBuf>,
    /// Grants file that says, by the component's name, which directory it gets [default: that of MINISNAP_CONFIG, if it is
    /// set]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["layout", "keep", "must_exist", "max_state", "max_total", "stores", "read_only", "deadline", "endpoint"])]
    grants_file: Option<PathBuf>,
}

/// An environment variable of the component.
#[derive(Clone)]
struct Variable {
    name: String,
    value: String,
}

impl FromStr for Variable {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (
                text,
                std::env::var(text).map_err(|_| "it is not set here, or is not UTF-8: give NAME=VALUE")?,
            ),
        };
        if name.is_empty() {
            return Err("give a name before `=`, such as RUST_LOG=debug");
        }
        Ok(Variable { name: name.to_owned(), value })
    }
}

/// What belongs to the running component.
struct Consumer {
    wasi: WasiCtx,
    table: ResourceTable,
    limit: MemoryLimit,
    /// Held as long as it runs, and not longer than the snapshots: who waits for those gets all of it then.
    _folders: Vec<(Folder, String, FsPerms)>,
    snapshots: SnapshotCtx,
}

/// What the component is given, and what the folders among that must be apart from.
struct Given {
    grant: Grant,
    /// Each with what the component calls it, and what it may do there.
    folders: Vec<(Folder, String, FsPerms)>,
    protected: Vec<PathBuf>,
}

impl Run {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let about_component = Failure::about(&self.component);
        let manifest = Manifest::of(&self.component).map_err(Failure::diagnostic)?;
        let manifest = manifest.as_ref();
        // Read once: what is checked is what runs.
        let bytes = std::fs::read(&self.component).map_err(|error| {
            let error = wasmtime::Error::new(error).context("cannot read the component");
            about_component(Error::Component(error))
        })?;
        let Given { grant, mut folders, protected } = self.grant(manifest, &bytes)?;
        let Admitted { grant, memory } = self.admit(manifest, grant)?;
        preopen::check_names(&grant, &self.dir)?;
        let mut config = Config::new();
        config.epoch_interruption(self.timeout.is_some());
        let engine = Engine::new(&config).map_err(Error::Component).map_err(&about_component)?;
        let command = load(&engine, &bytes).map_err(&about_component)?;

        let subject = grant.remote.as_ref().map_or_else(|| grant.dir.clone(), |remote| remote.url().into());
        let opened = minisnap().and_then(|minisnap| self.settings.wait.open(&minisnap, &grant));
        let snapshots = match opened {
            // Not by the system, but because there are as many as there may be.
            Err(Error::AccessDenied(why)) if grant.max_instances.is_some() && why.kind().is_none() => {
                let log = if grant.log_dir().is_some() { ", and the directory of its log" } else { "" };
                let help = format!(
                    "give a larger `max-instances`, or make room: minisnap clear DIR --yes && rmdir DIR, of one that is not \
                     needed any more{log}"
                );
                return Err(Failure::refused(8, why.to_string(), help));
            }
            Err(error @ Error::Busy(_)) if grant.remote.is_some() => {
                let help =
                    "wait until it is released; `take-over = \"open\"` in the grants file does not wait";
                return Err(Failure::about(&subject)(error).with_help(help));
            }
            opened => opened.map_err(Failure::about(&subject))?,
        };
        // Once the snapshots are held: who is not let have them makes no log.
        let protected: Vec<&Path> = protected.iter().map(PathBuf::as_path).collect();
        if let Some(log) = preopen::open_log(snapshots.grant(), &self.settings.wait, &protected)? {
            folders.push((log, Grant::LOG.to_owned(), FsPerms::ReadWrite));
        }
        self.call(&command, snapshots, memory, folders).map_err(&about_component)
    }

    /// What the command line or the grants file says that the component gets, and the folders beside it.
    fn grant(&self, manifest: Option<&Manifest>, bytes: &[u8]) -> Result<Given, Failure> {
        match (&self.granted.grant, &self.granted.grants_file) {
            (Some(dir), _) => {
                let grant = self.settings.apply(self.endpoint.grant(dir)?).stores(self.stores);
                let grant = self.deadline.into_iter().fold(grant, Grant::deadline);
                let grant = if self.read_only { grant.read_only() } else { grant };
                let protected: &[&Path] = if is_remote(dir) { &[] } else { &[dir] };
                self.given(grant, manifest, protected, None)
            }
            (None, Some(file)) => self.looked_up(file, manifest, bytes),
            (None, None) => self.given(Grant::none(), manifest, &[], None),
        }
    }

    /// That grant, and the folders of `--dir`, if they are apart from who the component is, from compiled code, from the logs, and
    /// from what is `protected` besides.
    fn given(
        &self,
        grant: Grant,
        manifest: Option<&Manifest>,
        protected: &[&Path],
        logs: Option<&Path>,
    ) -> Result<Given, Failure> {
        let caches = cache_folder();
        let identity = [Some(self.component.as_path()), manifest.and_then(Manifest::file), caches.as_deref()];
        let protected: Vec<&Path> = protected.iter().copied().chain(identity.into_iter().flatten()).collect();
        let from_dirs: Vec<&Path> = protected.iter().copied().chain(logs).collect();
        let folders = preopen::open(&self.dir, &from_dirs)?;
        let named = folders.into_iter().zip(&self.dir);
        let folders = named.map(|(folder, dir)| (folder, dir.guest.clone(), dir.perms)).collect();
        Ok(Given { grant, folders, protected: protected.into_iter().map(Path::to_owned).collect() })
    }

    /// What the component gets of that, as far as its manifest lets it.
    fn admit(&self, manifest: Option<&Manifest>, grant: Grant) -> Result<Admitted, Failure> {
        let offer = Offer::new(grant).component_memory(self.component_memory);
        let offer = self.dir.iter().fold(offer, |offer, dir| offer.folder(&dir.guest));
        let Some(manifest) = manifest else { return Ok(offer.accept()) };
        let refused = |refused: Refused| Failure::refused(8, refused.to_string(), refused.help());
        let admitted = manifest.admit(offer).map_err(refused)?;
        if let Some(file) = manifest.file()
            && !manifest.wants_snapshots()
        {
            let why = format!("`{}` does not import `{SNAPSHOT_STORE}`", file.display());
            warn_of_no_snapshots(manifest.name(), &why)?;
        }
        Ok(admitted)
    }

    /// What the grants file says of the component of this name.
    fn looked_up(&self, file: &Path, manifest: Option<&Manifest>, bytes: &[u8]) -> Result<Given, Failure> {
        let grants = Grants::load(file).map_err(Failure::diagnostic)?;
        let manifest = manifest.ok_or_else(|| {
            let what = format!("`{}`: it has no name that could be looked up", self.component.display());
            Failure::refused(
                2,
                what,
                "name the file NAME@X.Y.Z.wasm, or put STEM.component.toml beside STEM.wasm",
            )
        })?;
        let entry = match &self.instance {
            Some(instance) => grants.entry_of_instance(manifest.name(), instance),
            None => grants.entry(manifest.name()),
        };
        let entry = entry.map_err(Failure::diagnostic)?;
        let another = |error: Diagnostic| Failure::refused(8, error.to_string(), error.help());
        entry.check(&self.component, bytes).map_err(another)?;
        if entry.grant.access == Access::None && manifest.wants_snapshots() {
            warn_of_no_snapshots(manifest.name(), &format!("its `access` is none in {}", entry.place))?;
        }
        self.given(entry.grant, Some(manifest), &[grants.root(), file], grants.logs())
    }

    /// Runs the component to its end.
    fn call(
        &self,
        command: &wasmtime::component::InstancePre<Consumer>,
        snapshots: SnapshotStore,
        memory: MemoryLimit,
        folders: Vec<(Folder, String, FsPerms)>,
    ) -> Result<ExitCode, Error> {
        // A state in one call, of strings that may be UTF-16, which counts twice.
        let state = snapshots.grant().max_state;
        let name = self.component.file_name().unwrap_or_default().to_string_lossy();
        let mut wasi = WasiCtx::builder();
        output::inherit_streams(&mut wasi);
        wasi.arg(&name).args(&self.args);
        for Variable { name, value } in &self.env {
            wasi.env(name, value);
        }
        for (folder, guest, perms) in &folders {
            let opened = folder.preopen(&mut wasi, guest, *perms);
            opened.map_err(|error| Error::Io(format!("{:#}", wasmtime::Error::new(error)).into()))?;
        }
        let consumer = Consumer {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            limit: memory,
            _folders: folders,
            snapshots: SnapshotCtx::new(snapshots),
        };
        let mut store = wasmtime::Store::new(command.engine(), consumer);
        store.limiter(|consumer| &mut consumer.limit);
        if let Some(timeout) = self.timeout {
            store.set_epoch_deadline(1);
            self.end_after(timeout, command.engine()).map_err(|error| Error::Io(error.to_string().into()))?;
        }
        let fuel = state.saturating_mul(2).saturating_add(1 << 20);
        store.set_hostcall_fuel(usize::try_from(fuel).unwrap_or(usize::MAX));

        let run = |store: &mut wasmtime::Store<Consumer>| {
            start_runtime()?;
            let instance = command.instantiate(&mut *store)?;
            let command = Command::new(&mut *store, &instance)?;
            command.wasi_cli_run().call_run(store)
        };
        match run(&mut store) {
            Ok(Ok(())) => Ok(ExitCode::SUCCESS),
            Ok(Err(())) => Ok(ExitCode::FAILURE),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(&I32Exit(0)) => Ok(ExitCode::SUCCESS),
                Some(&I32Exit(_)) => Ok(ExitCode::FAILURE),
                None => match (self.timeout, error.downcast_ref::<Trap>()) {
                    (Some(timeout), Some(Trap::Interrupt)) => {
                        Err(Error::Component(wasmtime::Error::new(TimedOut(timeout))))
                    }
                    _ => {
                        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
                            debug!("{backtrace}");
                        }
                        Err(Error::Component(error))
                    }
                },
            },
        }
    }

    /// Interrupts the component after this time, and ends this process if it waits in a call of the host even then.
    ///
    /// That costs no data: what it was writing, the next create removes, and the system unlocks the directory.
    fn end_after(&self, timeout: Duration, engine: &Engine) -> io::Result<()> {
        let (engine, component) = (engine.clone(), self.component.clone());
        let end = move || {
            thread::sleep(timeout);
            engine.increment_epoch();
            thread::sleep(GRACE);
            let error = Error::Component(wasmtime::Error::new(TimedOut(timeout)));
            // The component may have filled standard error, which nobody reads.
            let told = thread::spawn(move || output::report(&Failure::about(&component)(error)));
            let until = Instant::now() + GRACE;
            while !told.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(10));
            }
            std::process::exit(11);
        };
        thread::Builder::new().name("timeout".to_owned()).spawn(end).map(drop)
    }
}

fn load(engine: &Engine, bytes: &[u8]) -> Result<wasmtime::component::InstancePre<Consumer>, Error> {
    let link = || {
        let component = match cache_folder() {
            Some(folder) => minisnap_host::load_cached(engine, bytes, &folder)?,
            None => Component::new(engine, bytes)?,
        };
        let mut linker = Linker::<Consumer>::new(engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        minisnap_host::add_to_linker_sync(&mut linker, |consumer| &mut consumer.snapshots)?;
        linker.instantiate_pre(&component)
    };
    link().map_err(Error::Component)
}

/// Starts the runtime in which the calls of the component wait: wasmtime-wasi would panic where that fails, for want of
/// file descriptors, say.
fn start_runtime() -> io::Result<()> {
    drop(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
    wasmtime_wasi::runtime::with_ambient_tokio_runtime(|| ());
    Ok(())
}

/// How much longer than its timeout a component may take to end when it is interrupted.
const GRACE: Duration = Duration::from_secs(1);

/// Tells on standard error why every call of the store will be denied.
fn warn_of_no_snapshots(name: &str, why: &str) -> Result<(), Failure> {
    let warning = format!("warning: `{name}` gets no snapshots: {why}");
    output::note(&format!("{}\n", plain(&warning)))
}

impl WasiView for Consumer {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
