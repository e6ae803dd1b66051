//! A grants file: which component gets which directory, by its name, and what it may do there.
//!
//! ```
//! use minisnap_host::grants::Grants;
//! use minisnap_host::{Layout, Minisnap};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tmp = tempfile::tempdir()?;
//! # let path = tmp.path().join("minisnap.toml");
//! std::fs::write(&path, r#"
//!     root = "snapshots"              # beside this file
//!
//!     [defaults]                      # of every component
//!     max-state = "64MiB"
//!
//!     [components.ledger]
//!     layout = "numbered"
//!     keep = 10
//! "#)?;
//! let grants = Grants::load(&path)?;
//! let mut ledger = Minisnap::new()?.open(grants.grant("ledger")?)?;
//! ledger.create(&42, 1)?;
//! assert_eq!(ledger.layout()?, Layout::Numbered);
//! assert!(tmp.path().join("snapshots/ledger").is_dir());
//! # Ok(())
//! # }
//! ```
//!
//! `host/README.md` describes every key.

mod apart;
mod digest;
mod directory;
mod entry;
mod file;
mod look;
#[cfg(feature = "remote")]
mod remote;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use self::apart::Apart;
use self::directory::{Directory, Owned};
use self::entry::Pin;
use self::look::{Everybody, Look};
use crate::diagnostic::{Diagnostic, Place, Result, Source};
use crate::grant::{Access, Grant, is_name};

pub use self::digest::Digest;
pub use self::entry::{Entry, Found, Terms};
pub use self::file::parse_size;

/// What a grants file grants, read and checked.
///
/// A directory belongs to a component's name, and to that of an instance if it has one, so that an upgraded component finds
/// its state.
#[derive(Debug, Clone)]
pub struct Grants {
    file: PathBuf,
    /// Of the snapshots.
    root: Tree,
    logs: Option<Tree>,
    defaults: Grant,
    components: BTreeMap<String, Named>,
}

/// A folder in which components have directories: each the same in all trees.
#[derive(Debug, Clone)]
struct Tree {
    folder: PathBuf,
    written: Apart,
}

impl Tree {
    fn look<'g>(&'g self, file: &'g Path) -> Look<'g> {
        Look::new(file, &self.folder, &self.written)
    }
}

/// What is looked at once for many components: directories of snapshots, and those of logs.
struct Looks<'g> {
    snapshots: Look<'g>,
    logs: Option<Look<'g>>,
}

/// A component that the file names.
#[derive(Debug, Clone)]
struct Named {
    owned: Owned,
    /// Without its directory.
    grant: Grant,
    pin: Option<Pin>,
}

impl Grants {
    /// Reads and checks the file. A relative `root` is beside it.
    ///
    /// Errors: the file cannot be read or is not TOML, a key is not known or missing, a value is not one that it may
    /// have, or a directory is another component's, lies inside another's, or leaves the root; with links as they lead
    /// now.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let unreadable =
            |error| Diagnostic::unreadable(path, &error, "name a grants file, such as minisnap.toml");
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let source = Source { file: path, text: &text };
        let file: file::File = toml::from_str(&text).map_err(|error| mistake_in(&source, &error))?;

        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let beside = absolute.parent().unwrap_or(Path::new("/"));
        let folder = |key: &str, of: &str, written: &toml::Spanned<String>| {
            if written.get_ref().is_empty() {
                let place = source.place(&written.span());
                let help = format!("name the folder of all {of}");
                return Err(Diagnostic::new(place, format!("`{key}` is empty"), help));
            }
            Ok(beside.join(written.get_ref()))
        };
        let root = folder("root", "directories", &file.root)?;
        let logs = file.logs.as_ref().map(|written| folder("logs", "logs", written)).transpose()?;
        if let (Some(logs), Some(written)) = (&logs, &file.logs) {
            look::check_trees(path, &root, logs, &source.place(&written.span()))?;
        }
        #[cfg(feature = "remote")]
        let remote = match &file.remote {
            Some(table) => {
                let remote = table.read(&source, beside)?;
                Some(file.defaults.take_over.into_iter().fold(remote, crate::remote::Remote::take_over))
            }
            None => None,
        };
        let apply = |table: &file::Table, grant: Grant| match table.log.as_ref().filter(|log| *log.get_ref())
        {
            Some(log) if logs.is_none() => {
                let help =
                    "say which folder holds all logs, such as `logs = \"logs\"`, above the first table";
                Err(Diagnostic::new(source.place(&log.span()), "there is no `logs`", help))
            }
            log => {
                let grant = table.apply(grant, logs.as_deref());
                #[cfg(feature = "remote")]
                let grant = remote::apply(table, grant, remote.as_ref(), &source)?;
                Ok((grant, log.map(|log| source.place(&log.span()))))
            }
        };
        let (defaults, _) = apply(&file.defaults, Grant::new(&root))?;
        if let Some((key, span)) = file.defaults.of_one_component() {
            let help = format!("write `{key}` into the table `[components.NAME]` of that component");
            let what = format!("`{key}` is of one component, and `[defaults]` of all");
            return Err(Diagnostic::new(source.place(&span), what, help));
        }
        let mut components = BTreeMap::new();
        for (name, component) in &file.components {
            let owned = owned(&source, name, component)?;
            let pin = component
                .digest
                .as_ref()
                .map(|digest| Pin { digest: *digest.get_ref(), place: source.place(&digest.span()) });
            let (grant, log) = apply(component, defaults.clone())?;
            if let (Access::ReadOnly | Access::None, Some(place)) = (grant.access, log) {
                let what = format!("`{}` may not write snapshots, so it keeps no log", owned.name);
                return Err(Diagnostic::new(place, what, "remove `log`, or give it the access `read-write`"));
            }
            components.insert(owned.name.clone(), Named { owned, grant, pin });
        }
        let tree = |folder: PathBuf, has_one: fn(&&Named) -> bool| {
            let owned = components.values().filter(has_one).map(|named| named.owned.clone());
            Ok(Tree { written: Apart::written(&folder, owned)?, folder })
        };
        let root = tree(root, |_| true)?;
        let logs = logs.map(|logs| tree(logs, |named| named.grant.log_dir().is_some())).transpose()?;
        let grants = Grants { file: path.to_owned(), root, logs, defaults, components };
        let looks = grants.looks();
        looks.snapshots.check_links()?;
        looks.snapshots.check_all_mounts()?;
        looks.logs.iter().try_for_each(Look::check_logs)?;
        Ok(grants)
    }

    /// The grant of the component of this name.
    ///
    /// Of a component that the file does not name, it is what `[defaults]` says, in the directory of its name.
    ///
    /// Errors: as of [`entry`](Grants::entry).
    pub fn grant(&self, name: &str) -> Result<Grant> {
        Ok(self.entry(name)?.grant)
    }

    /// The grant of an instance of the component of this name.
    ///
    /// Its directory is where the component's `directory` says `{instance}`, or else the component's own with a dot and the
    /// instance's name at its end.
    ///
    /// Errors: as of [`entry_of_instance`](Grants::entry_of_instance).
    pub fn grant_instance(&self, name: &str, instance: &str) -> Result<Grant> {
        Ok(self.entry_of_instance(name, instance)?.grant)
    }

    /// What the component of this name gets.
    ///
    /// Errors: it is no name of a component, or of one whose instances alone have directories; or its directory is another
    /// component's, lies inside another's or another's inside of it, or leaves the root; with links as they lead now. The
    /// file must name whose directory is a link.
    pub fn entry(&self, name: &str) -> Result<Entry> {
        self.look_up(&self.looks(), name, None)
    }

    /// What an instance of the component of this name gets.
    ///
    /// Errors: as of [`entry`](Grants::entry); an instance's name has the letters that a component's has.
    pub fn entry_of_instance(&self, name: &str, instance: &str) -> Result<Entry> {
        self.look_up(&self.looks(), name, Some(instance))
    }

    /// What the file says of each component that it names, by name.
    pub fn terms(&self) -> impl Iterator<Item = Terms> {
        self.components.values().map(|Named { owned, grant, pin }| {
            let written = owned.directory.written();
            let log = grant.log_dir().map(|logs| logs.join(&written));
            #[cfg(feature = "remote")]
            let remote = grant.remote.clone().map(|remote| {
                let name = written.to_string_lossy().into_owned();
                crate::remote::Remote { name, ..remote }
            });
            Terms {
                name: owned.name.clone(),
                directory: self.root().join(written),
                grant: Grant {
                    log,
                    #[cfg(feature = "remote")]
                    remote,
                    ..grant.clone()
                },
                digest: pin.as_ref().map(|pin| pin.digest),
            }
        })
    }

    /// What everybody gets who has a directory, and what the components get besides that the file names; by name, the component
    /// itself before its instances. Links are left out, and directories that hold those of components.
    ///
    /// Each has its name and that of its instance, and the error that [`entry`](Grants::entry) would be.
    ///
    /// Errors: the root cannot be listed. If the directory that holds a component's instances cannot be listed, that is what
    /// the component gets.
    pub fn all(&self) -> Result<Vec<Found>> {
        let looks = self.looks();
        let Everybody { all, unlisted, root } = looks.snapshots.everybody();
        if let Some(unlisted) = root {
            return Err(unlisted);
        }
        let found = all.into_iter().map(|Owned { name, instance, .. }| {
            let entry = self.look_up(&looks, &name, instance.as_deref());
            Found { name, instance, entry }
        });
        let unlisted =
            unlisted.into_iter().map(|(name, why)| Found { name, instance: None, entry: Err(why) });
        let mut found: Vec<Found> = unlisted.chain(found).collect();
        found.sort_by(|one, other| (&one.name, &one.instance).cmp(&(&other.name, &other.instance)));
        found.dedup_by(|next, one| (&next.name, &next.instance) == (&one.name, &one.instance));
        Ok(found)
    }

    /// What a component gets that the file does not name, in the directory of its name; `dir` is the root, and `log` the folder of all logs.
    pub fn defaults(&self) -> &Grant {
        &self.defaults
    }

    /// The directory that all others lie in, as an absolute path; it need not exist.
    pub fn root(&self) -> &Path {
        &self.root.folder
    }

    /// The directory that all logs lie in, as an absolute path, if the file names one; it need not exist.
    pub fn logs(&self) -> Option<&Path> {
        self.logs.as_ref().map(|logs| logs.folder.as_path())
    }

    fn looks(&self) -> Looks<'_> {
        Looks {
            snapshots: self.root.look(&self.file),
            logs: self.logs.as_ref().map(|logs| logs.look(&self.file)),
        }
    }

    fn look_up(
        &self,
        Looks { snapshots: look, logs }: &Looks<'_>,
        name: &str,
        instance: Option<&str>,
    ) -> Result<Entry> {
        let unnamed;
        let (named, is_named) = match self.components.get(name) {
            Some(named) => (named, true),
            None => {
                unnamed = self.unnamed(name)?;
                (&unnamed, false)
            }
        };
        let is_of_instances = named.owned.directory.is_of_instances();
        let owned = match instance {
            Some(instance) => {
                check_instance(instance, &named.owned.place)?;
                named.owned.instance(instance)
            }
            None if is_of_instances => {
                let what = format!("each instance of `{name}` has a directory of its own, and `{name}` none");
                return Err(Diagnostic::new(
                    named.owned.place.clone(),
                    what,
                    "say which instance it is, as `minisnap run --instance NAME` does",
                ));
            }
            None => named.owned.clone(),
        };
        if !is_named && instance.is_some() {
            // Whose directory is another's would have its instances, too.
            look.check_unwritten(&named.owned)?;
        }
        match is_named && instance.is_some() == is_of_instances {
            true => look.check_written(&named.owned, &owned)?,
            false => look.check_unwritten(&owned)?,
        }
        look.check_mounts(&owned)?;
        let log = match (named.grant.log_dir(), logs) {
            (Some(_), Some(logs)) => Some(logs.log(&owned)?),
            _ => None,
        };
        let grant = Grant {
            dir: self.root().join(owned.directory.path()),
            log,
            #[cfg(feature = "remote")]
            remote: named.grant.remote.as_ref().map(|remote| remote::of(&owned, remote)).transpose()?,
            component: Some(owned.name.clone()),
            instance: owned.instance.clone(),
            ..named.grant.clone()
        };
        let Owned { name, instance, place, .. } = owned;
        Ok(Entry { name, instance, grant, place, pin: named.pin.clone() })
    }

    fn unnamed(&self, name: &str) -> Result<Named> {
        check_name(name, &Place::file(&self.file))?;
        Ok(Named { owned: Owned::unnamed(name, &self.file), grant: self.defaults.clone(), pin: None })
    }
}

/// The directory of a component that the file names: that of its name, unless it says another.
fn owned(source: &Source<'_>, name: &toml::Spanned<String>, component: &file::Table) -> Result<Owned> {
    let at_name = source.place(&name.span());
    let name = name.get_ref();
    check_name(name, &at_name)?;
    let (directory, place) = match &component.directory {
        Some(directory) => {
            let place = source.place(&directory.span());
            (Directory::below_root(directory.get_ref(), &place)?, place)
        }
        None => (Directory::One(name.into()), at_name),
    };
    Ok(Owned { name: name.clone(), instance: None, directory, place })
}

fn check_instance(instance: &str, place: &Place) -> Result<()> {
    if is_name(instance) {
        return Ok(());
    }
    let help = "a name has 1 to 128 letters, digits, `-` and `_`";
    Err(Diagnostic::new(place.clone(), format!("`{instance}` is no instance's name"), help))
}

fn check_name(name: &str, place: &Place) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    let help = match name.split_once('@') {
        Some((name, _)) if is_name(name) => {
            format!("a directory belongs to the name alone, so that an upgrade finds its state: `{name}`")
        }
        _ => "a name has 1 to 128 letters, digits, `-` and `_`; where its directory is, `directory` says"
            .to_owned(),
    };
    Err(Diagnostic::new(place.clone(), format!("`{name}` is no component's name"), help))
}

/// What the parser says, with help where its own words are of none.
fn mistake_in(source: &Source<'_>, error: &toml::de::Error) -> Diagnostic {
    let mistake = source.mistake(error);
    if error.message().starts_with("missing field `root`") {
        let help =
            "say which folder holds all directories, such as `root = \"snapshots\"`, above the first table";
        return Diagnostic::new(source.place(&(0..0)), "there is no `root`", help);
    }
    mistake
}
