//! The store component, compiled and linked.

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};

use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::store::{Guest, Store, bindings};

/// The store component that this crate embeds, for composing it with others.
pub const COMPONENT: &[u8] = include_bytes!(env!("MINISNAP_COMPONENT_FILE"));

/// The store component, ready to be opened on directories. Made once a process; clones share everything.
#[derive(Clone)]
pub struct Minisnap {
    pub(crate) pre: bindings::StorePre<Guest>,
}

impl Minisnap {
    /// Compiles the embedded component, which takes a fraction of a second.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if this machine cannot run it.
    pub fn new() -> Result<Self> {
        let engine = Engine::new(&Config::new()).map_err(Error::Component)?;
        Self::with_engine(&engine)
    }

    /// Compiles the embedded component for `engine`, or takes it from the engine's cache.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if the engine cannot run it.
    pub fn with_engine(engine: &Engine) -> Result<Self> {
        let link = || {
            let component = Component::new(engine, COMPONENT)?;
            let mut linker = Linker::new(engine);
            wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
            bindings::StorePre::new(linker.instantiate_pre(&component)?)
        };
        let pre = link().map_err(Error::Component)?;
        Ok(Minisnap { pre })
    }

    /// Opens a store as `grant` says.
    ///
    /// # Errors
    ///
    /// With write access, [`Error::Busy`] if the directory is held already, and what making it may meet:
    /// [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Io`].
    pub fn open(&self, grant: Grant) -> Result<Store> {
        Store::new(self.clone(), grant)
    }
}

impl std::fmt::Debug for Minisnap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minisnap").finish_non_exhaustive()
    }
}
