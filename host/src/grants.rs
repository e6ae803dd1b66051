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

mod digest;
mod directories;
mod file;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use self::directories::{
    Owned, below_root, check_all, check_links_to, check_mounts, check_written, is_linked,
};
use crate::diagnostic::{Diagnostic, Place, Result, Source};
use crate::grant::Grant;
use crate::manifest::is_name;

pub use self::digest::Digest;

/// What a grants file grants, read and checked.
///
/// A directory belongs to a component's name, so that an upgraded component finds its state.
#[derive(Debug, Clone)]
pub struct Grants {
    file: PathBuf,
    root: PathBuf,
    defaults: Grant,
    components: BTreeMap<String, Named>,
}

/// A component that the file names.
#[derive(Debug, Clone)]
struct Named {
    owned: Owned,
    /// Without its directory.
    grant: Grant,
    pin: Option<Pin>,
}

/// The digest that a component's file must have, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pin {
    digest: Digest,
    place: Place,
}

/// What a component gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The component's name.
    pub name: String,
    /// Its directory, as an absolute path, and what it may do there.
    pub grant: Grant,
    /// Where the file says so; the file as a whole for a component that it does not name.
    pub place: Place,
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
        let root = file.root.get_ref();
        if root.is_empty() {
            let place = source.place(&file.root.span());
            return Err(Diagnostic::new(place, "`root` is empty", "name the folder of all directories"));
        }
        let root = absolute.parent().unwrap_or(Path::new("/")).join(root);
        let defaults = file.defaults.apply(Grant::new(&root));
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
            let grant = component.apply(defaults.clone());
            components.insert(owned.name.clone(), Named { owned, grant, pin });
        }
        let all: Vec<&Owned> = components.values().map(|named| &named.owned).collect();
        check_all(&root, &all)?;
        Ok(Grants { file: path.to_owned(), root, defaults, components })
    }

    /// The grant of the component of this name.
    ///
    /// Of a component that the file does not name, it is what `[defaults]` says, in the directory of its name.
    ///
    /// Errors: as of [`entry`](Grants::entry).
    pub fn grant(&self, name: &str) -> Result<Grant> {
        Ok(self.entry(name)?.grant)
    }

    /// What the component of this name gets.
    ///
    /// Errors: it is no name of a component, or its directory is another component's, lies inside another's or another's
    /// inside of it, or leaves the root; with links as they lead now. The file must name whose directory is a link.
    pub fn entry(&self, name: &str) -> Result<Entry> {
        let named = || self.components.values().map(|named| &named.owned);
        let component = match self.components.get(name) {
            Some(component) => {
                if is_linked(&self.root, &component.owned)? {
                    check_all(&self.root, &named().collect::<Vec<_>>())?;
                }
                check_mounts(&self.root, &component.owned, &named().collect::<Vec<_>>())?;
                component.clone()
            }
            None => {
                let owned = self.unnamed(name)?;
                check_written(&self.root, &named().chain([&owned]).collect::<Vec<_>>())?;
                if is_linked(&self.root, &owned)? {
                    return Err(self.linked(owned));
                }
                check_links_to(&self.root, &owned, &named().collect::<Vec<_>>())?;
                check_mounts(&self.root, &owned, &named().collect::<Vec<_>>())?;
                Named { owned, grant: self.defaults.clone(), pin: None }
            }
        };
        Ok(self.to_entry(component))
    }

    /// What each component gets that the file names, by name.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.components.values().cloned().map(|component| self.to_entry(component))
    }

    /// What a component gets that the file does not name, in the directory of its name; `dir` is the root.
    pub fn defaults(&self) -> &Grant {
        &self.defaults
    }

    /// The folder of all directories, as an absolute path; it need not exist.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn unnamed(&self, name: &str) -> Result<Owned> {
        let place = Place::file(&self.file);
        check_name(name, &place)?;
        Ok(Owned { name: name.to_owned(), path: name.into(), place })
    }

    /// The directory of a component that the file does not name may be that of any other.
    fn linked(&self, Owned { name, path, place }: Owned) -> Diagnostic {
        let path = self.root.join(path);
        Diagnostic::new(
            place,
            format!("the directory of the component `{name}` is a link, `{}`", path.display()),
            format!(
                "remove the link, or name the component here: `[components.{name}]`, with its `directory`"
            ),
        )
    }

    fn to_entry(&self, Named { owned, grant, pin }: Named) -> Entry {
        let Owned { name, path, place } = owned;
        Entry { name, grant: Grant { dir: self.root.join(path), ..grant }, place, pin }
    }
}

impl Entry {
    /// The digest that the component's file must have, or `None` if the component is who its name says.
    pub fn digest(&self) -> Option<Digest> {
        self.pin.as_ref().map(|pin| pin.digest)
    }

    /// Checks that `bytes`, read from `file`, are the component that this entry is pinned to, if it is. The bytes to run
    /// are these, and not those of a file that is opened again.
    ///
    /// Errors: their digest is another.
    pub fn check(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let Some(Pin { digest, place }) = &self.pin else { return Ok(()) };
        let found = Digest::of(bytes);
        if found == *digest {
            return Ok(());
        }
        let name = &self.name;
        Err(Diagnostic::new(
            place.clone(),
            format!("`{name}` is pinned to {digest}, but `{}` is {found}", file.display()),
            format!("run the component that is pinned, or pin this one: digest = \"{found}\""),
        ))
    }
}

/// The directory of a component that the file names: that of its name, unless it says another.
fn owned(source: &Source<'_>, name: &toml::Spanned<String>, component: &file::Table) -> Result<Owned> {
    let at_name = source.place(&name.span());
    let name = name.get_ref();
    check_name(name, &at_name)?;
    let (path, place) = match &component.directory {
        Some(directory) => {
            let place = source.place(&directory.span());
            (below_root(directory.get_ref(), &place)?, place)
        }
        None => (PathBuf::from(name), at_name),
    };
    Ok(Owned { name: name.clone(), path, place })
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
