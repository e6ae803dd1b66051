//! A host's decision: which directory, what limits, which access.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
#[cfg(feature = "remote")]
use crate::remote::Remote;
use crate::snapshot::Layout;

/// What an instance needs in memory beside one state, in bytes.
const MEMORY_BESIDE_STATE: u64 = 16 << 20;

/// The most memory that any instance may have, in bytes: it is addressed by 32 bits.
const MEMORY_CEILING: u64 = u32::MAX as u64;

/// The span of a call on what a grant gives, with the fields that it has besides.
macro_rules! span {
    ($name:literal, $grant:expr, $dir:expr $(, $($fields:tt)+)?) => {
        tracing::debug_span!(
            $name,
            component = $grant.component.as_deref(),
            instance = $grant.instance.as_deref(),
            dir = %$dir.display()
            $(, $($fields)+)?
        )
    };
}

pub(crate) use span;

/// Which directory a store works in, and what it may do there. Its methods set what its fields say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The directory.
    pub dir: PathBuf,
    /// What the store may do in it.
    pub access: Access,
    /// The layout for a directory that holds no snapshot; any other keeps its own.
    pub layout: Layout,
    /// How many generations are kept in the layout `numbered`; if it is not set, [`Grant::KEEP`], and all that another program
    /// wrote.
    pub keep: Option<NonZeroU32>,
    /// Whether the directory must exist, and that of the log.
    pub must_exist: bool,
    /// The directory of the component's log, if it gets one and may write snapshots.
    pub log: Option<PathBuf>,
    /// The largest state in bytes.
    pub max_state: u64,
    /// Size limit of the directory in bytes, or `None` for no limit.
    pub max_total: Option<u64>,
    /// How many named stores the component may have.
    pub stores: u32,
    /// The name of the component that it is for, if it is set.
    pub component: Option<String>,
    /// The name of the component's instance, if it is one.
    pub instance: Option<String>,
    /// How many instances of the component may have a directory, or `None` for no limit.
    pub max_instances: Option<NonZeroU32>,
    /// Memory limit of the store component's instance in bytes; if it is not set, 16 MiB more than the largest state.
    pub max_memory: Option<u64>,
    /// How long one call may take.
    pub deadline: Duration,
    /// Where in an object store the snapshots are, if they are in one: the directory is a cache then.
    #[cfg(feature = "remote")]
    pub remote: Option<Remote>,
}

/// What a store may do in its directory; displayed and parsed as `read-write`, `read-only` and `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arcella", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Access {
    /// Create and restore. Holds the directory: a second writer is told that it is busy.
    ReadWrite,
    /// Restore only, whether or not somebody else writes.
    ReadOnly,
    /// Nothing: every call is [`Error::AccessDenied`].
    None,
}

impl Grant {
    /// How many generations are kept in the layout `numbered` if the grant does not say.
    pub const KEEP: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");

    /// The largest state in bytes if the grant does not say.
    pub const MAX_STATE: u64 = 256 << 20;

    /// What a component calls the directory of its log.
    pub const LOG: &str = "/log";

    /// How long one call may take if the grant does not say.
    pub const DEADLINE: Duration = Duration::from_secs(30);

    /// Grants `dir` for reading and writing, with states of up to 256 MiB.
    ///
    /// If the directory does not exist, opening a store makes it, durably, with the mode 0700; an existing one keeps its
    /// mode.
    ///
    /// While a store is open on it, its parent is held, too, with a shared lock: a store on the parent is [`Error::Busy`].
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Grant {
            dir: dir.into(),
            access: Access::ReadWrite,
            layout: Layout::Pair,
            keep: None,
            must_exist: false,
            log: None,
            max_state: Grant::MAX_STATE,
            max_total: None,
            stores: 0,
            component: None,
            instance: None,
            max_instances: None,
            max_memory: None,
            deadline: Grant::DEADLINE,
            #[cfg(feature = "remote")]
            remote: None,
        }
    }

    /// Grants nothing, for a component that asks for snapshots and is to have none.
    pub fn none() -> Self {
        Grant { access: Access::None, ..Grant::new("") }
    }

    /// The same directory, for reading only. It is not made if it does not exist: it has no snapshot then.
    pub fn read_only(self) -> Self {
        Grant { access: Access::ReadOnly, ..self }
    }

    /// Sets the layout for a directory that holds no snapshot; any other keeps its own. [`Layout::Pair`] unless set.
    pub fn layout(self, layout: Layout) -> Self {
        Grant { layout, ..self }
    }

    /// Sets how many generations are kept in the layout `numbered`, the newest included. Unless it is set, 5 are, and all
    /// that another program wrote.
    pub fn keep(self, generations: NonZeroU32) -> Self {
        Grant { keep: Some(generations), ..self }
    }

    /// Refuses to make the directory, and that of the log: one that is missing is [`Error::Io`]. For a volume that may not be
    /// mounted, in whose place an empty directory would start from nothing.
    pub fn must_exist(self) -> Self {
        Grant { must_exist: true, ..self }
    }

    /// Grants a directory for the component's log, too, which [`open_log`](Grant::open_log) makes, opens and locks. A component
    /// that may not write snapshots keeps no log.
    pub fn log(self, dir: impl Into<PathBuf>) -> Self {
        Grant { log: Some(dir.into()), ..self }
    }

    /// The directory of the log, or `None` if the component gets none.
    pub fn log_dir(&self) -> Option<&Path> {
        self.log.as_deref().filter(|_| self.access == Access::ReadWrite)
    }

    /// Sets the largest state in bytes, as given and as stored. 256 MiB unless set.
    pub fn max_state(self, bytes: u64) -> Self {
        Grant { max_state: bytes, ..self }
    }

    /// Sets the size limit of the directory in bytes, without what was [undone](crate::SnapshotStore::rollback). No limit
    /// unless set.
    ///
    /// A new snapshot must fit beside the newest one, or it is refused as [`Error::NoSpace`]. Older generations that do
    /// not fit any more are pruned once it is durable; until then, the directory holds them as well.
    pub fn max_total(self, bytes: u64) -> Self {
        Grant { max_total: Some(bytes), ..self }
    }

    /// Sets how many named stores the component may have: each in a directory inside of this one, with a name that the
    /// component gives, and with the limits of this grant for itself. 0 unless set.
    ///
    /// While this directory is held for writing, so are those. The directory must not be readable for other users, who could
    /// lock it, or opening it is [`Error::Io`].
    pub fn stores(self, stores: u32) -> Self {
        Grant { stores, ..self }
    }

    /// Sets the name of the component that it is for, which is written into spans.
    pub fn component(self, name: impl Into<String>) -> Self {
        Grant { component: Some(name.into()), ..self }
    }

    /// Sets the name of the component's instance, which is written into spans. The directory's name is this, or ends in it.
    pub fn instance(self, name: impl Into<String>) -> Self {
        Grant { instance: Some(name.into()), ..self }
    }

    /// Sets how many [instances](Grant::instance) of the component may have a directory: as many as there are beside this one
    /// whose names are like it but for the instance's name at the end. Not limited unless set.
    ///
    /// Opening a store for one instance more is [`Error::AccessDenied`], and leaves no directory. An instance that has a file in
    /// its own keeps it.
    pub fn max_instances(self, instances: NonZeroU32) -> Self {
        Grant { max_instances: Some(instances), ..self }
    }

    /// Sets the memory limit of the store component's instance in bytes. 16 MiB more than the largest state unless set, and
    /// 4 GiB at most.
    ///
    /// Creating a state, and reading one in chunks, needs less than 8 MiB whatever its size; restoring one as a whole
    /// needs its size beside that.
    pub fn max_memory(self, bytes: u64) -> Self {
        Grant { max_memory: Some(bytes), ..self }
    }

    /// Sets how long one call may take, with what it waits for [its turn](crate::MinisnapBuilder::max_calls): whole ones, and each of
    /// the calls of a writer or reader. 30 seconds unless set; [`Duration::MAX`] for no limit.
    ///
    /// A call that takes longer is interrupted, and is [`Error::DeadlineExceeded`]. Where a system call hangs, in a file system that does
    /// not answer, nothing can interrupt that: the call ends when it does, but a component that is linked
    /// [asynchronously](crate::add_to_linker_async) gets its error in time.
    pub fn deadline(self, time: Duration) -> Self {
        Grant { deadline: time, ..self }
    }

    /// Keeps the snapshots in an object store, which other nodes may restore, and take over: `host/REMOTE.md`. A component is not
    /// told.
    ///
    /// - The directory is where they are made, and a cache of the newest; an empty path is a folder among the system's temporary
    ///   files, and so is one for reading only.
    /// - Opening the store for writing takes it over, and dropping it lets it go, which ask the server.
    /// - The layout is [`Layout::Numbered`]. [`max_total`](Grant::max_total) limits what is kept there, and
    ///   [`must_exist`](Grant::must_exist) refuses a store that was never written.
    /// - What [`copy_from`](crate::SnapshotStore::copy_from) copies to it counts all at once.
    #[cfg(feature = "remote")]
    pub fn remote(self, remote: Remote) -> Self {
        Grant { remote: Some(remote), ..self }
    }

    /// What is granted for a named store of the component alone, of the empty name for its own.
    #[cfg(feature = "arcella")]
    pub(crate) fn of_store(&self, store: &str) -> Grant {
        let dir = if store.is_empty() { self.dir.clone() } else { self.dir.join(store) };
        #[cfg(feature = "remote")]
        let remote = self.remote.clone().map(|remote| Remote { name: remote.name_of(store), ..remote });
        Grant {
            dir,
            #[cfg(feature = "remote")]
            remote,
            stores: 0,
            ..self.clone()
        }
    }

    /// The URL of the snapshots, if they are in an object store.
    #[cfg(feature = "arcella")]
    pub(crate) fn url(&self) -> Option<String> {
        #[cfg(feature = "remote")]
        return self.remote.as_ref().map(Remote::url);
        #[cfg(not(feature = "remote"))]
        None
    }

    /// The bucket and the prefix in it, if the snapshots are in an object store.
    #[cfg(feature = "arcella")]
    pub(crate) fn server(&self) -> String {
        #[cfg(feature = "remote")]
        return self.remote.as_ref().map(|remote| remote.location.to_string()).unwrap_or_default();
        #[cfg(not(feature = "remote"))]
        String::new()
    }

    /// Whether the snapshots are in an object store.
    pub(crate) fn is_remote(&self) -> bool {
        #[cfg(feature = "remote")]
        return self.remote.is_some();
        #[cfg(not(feature = "remote"))]
        false
    }

    /// The most memory that the store's instance may have in bytes.
    pub(crate) fn memory(&self) -> usize {
        let bytes = self.max_memory.unwrap_or(self.max_state.saturating_add(MEMORY_BESIDE_STATE));
        usize::try_from(bytes.min(MEMORY_CEILING)).unwrap_or(usize::MAX)
    }

    /// What the component is told, as its environment.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("MINISNAP_LAYOUT", self.layout.to_string()),
            ("MINISNAP_MAX_STATE", self.max_state.to_string()),
        ];
        settings.extend(self.keep.map(|keep| ("MINISNAP_KEEP", keep.to_string())));
        settings.extend(self.max_total.map(|bytes| ("MINISNAP_MAX_TOTAL", bytes.to_string())));
        settings.push(("MINISNAP_STORES", self.stores.to_string()));
        settings
    }

    /// The same grant with absolute paths: what the process does to its working directory later changes nothing.
    pub(crate) fn absolute(self) -> Result<Self> {
        if self.access == Access::None {
            return Ok(self);
        }
        let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Error::io("find", path, e));
        let is_nowhere = self.is_remote() && self.dir.as_os_str().is_empty();
        let dir = if is_nowhere { PathBuf::new() } else { absolute(&self.dir)? };
        let log = self.log.as_deref().map(absolute).transpose()?;
        Ok(Grant { dir, log, ..self })
    }

    /// Refuses a name that no store can have, and one that is not granted, in the words of the store's component.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        let is_valid = is_store_name(name);
        if self.access == Access::None {
            Err(self.denial())
        } else if name.is_empty() || is_valid && self.stores > 0 {
            Ok(())
        } else if is_valid {
            Err(Error::denied(format!("no store is granted but that of the empty name, and not `{name}`")))
        } else {
            Err(Error::InvalidName(
                "a store's name has 1 to 128 letters, digits, `-` and `_`, and does not begin with `snapshot_`"
                    .to_owned(),
            ))
        }
    }

    /// What a grant of nothing answers.
    pub(crate) fn denial(&self) -> Error {
        Error::denied("no snapshots are granted to this component")
    }
}

/// Whether a component or an instance can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=128).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Whether a named store can have this name, which none of the store's files has.
pub(crate) fn is_store_name(name: &str) -> bool {
    let is_of_a_file = name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("snapshot_"));
    is_name(name) && !is_of_a_file
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::ReadWrite => "read-write",
            Access::ReadOnly => "read-only",
            Access::None => "none",
        })
    }
}
