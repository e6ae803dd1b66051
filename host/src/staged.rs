//! A store whose snapshots are not in its directory, but in an object store, to which that is a staging area.

#[cfg(feature = "remote")]
pub(crate) use crate::remote::{Ahead, Buckets, Staging};
#[cfg(not(feature = "remote"))]
pub(crate) use none::{Ahead, Buckets, Staging};

/// Without the feature, nothing is granted in an object store.
#[cfg(not(feature = "remote"))]
mod none {
    use std::fs::File;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use crate::error::Result;
    use crate::grant::Grant;
    use crate::snapshot::{Fetched, Listed};

    #[derive(Debug, Default)]
    pub(crate) struct Buckets {}

    pub(crate) enum Staging {}

    pub(crate) enum Ahead {}

    #[expect(clippy::unnecessary_wraps, reason = "with the feature, it may fail")]
    impl Staging {
        pub(crate) fn open(_: &Buckets, _: &Grant) -> Result<Option<Staging>> {
            Ok(None)
        }
    }

    impl Staging {
        pub(crate) fn granted(&self) -> &Grant {
            match *self {}
        }

        pub(crate) fn grant(&self) -> Grant {
            match *self {}
        }

        pub(crate) fn is_where(&self, _: &Staging) -> bool {
            match *self {}
        }

        pub(crate) fn url(&self, _: &str) -> String {
            match *self {}
        }

        pub(crate) fn names(&self, _: Duration) -> Result<Vec<String>> {
            match *self {}
        }

        pub(crate) fn prepare(&mut self, _: &str, _: u64, _: Duration) -> Result<()> {
            match *self {}
        }

        pub(crate) fn make_room(&self, _: &str) -> Result<()> {
            match *self {}
        }

        pub(crate) fn put_ahead(&mut self, _: &str, _: u64, _: &mut Option<Ahead>) {
            match *self {}
        }

        pub(crate) fn ship(&mut self, _: &str, _: u64, _: Option<Ahead>, _: Duration) -> Result<()> {
            match *self {}
        }

        pub(crate) fn made(&self, _: &str, _: u64) -> Result<(PathBuf, u64, String)> {
            match *self {}
        }

        pub(crate) fn file_of(&mut self, _: u64, _: Duration) -> Result<Option<(PathBuf, String)>> {
            match *self {}
        }

        pub(crate) fn begin_copy(&mut self, _: u64, _: Duration) -> Result<()> {
            match *self {}
        }

        pub(crate) fn put(
            &mut self,
            _: (&File, &Path),
            _: u64,
            _: Option<SystemTime>,
            _: Duration,
        ) -> Result<()> {
            match *self {}
        }

        pub(crate) fn end_copy(&mut self, _: &[u64], _: &[u64], _: Duration) -> Result<()> {
            match *self {}
        }

        pub(crate) fn give_up_copy(&mut self) {
            match *self {}
        }

        pub(crate) fn fetch(&mut self, _: &str, _: Option<u64>, _: Duration) -> Result<Option<Fetched>> {
            match *self {}
        }

        pub(crate) fn forget(&mut self, _: &str) -> Result<()> {
            match *self {}
        }

        pub(crate) fn is_damaged(&mut self, _: &str, _: String) {
            match *self {}
        }

        pub(crate) fn list(&mut self, _: &str, _: Duration) -> Result<Vec<Listed>> {
            match *self {}
        }

        pub(crate) fn rollback(&mut self, _: u64, _: Duration) -> Result<Vec<u64>> {
            match *self {}
        }

        pub(crate) fn files(&self, _: Duration) -> Result<Vec<String>> {
            match *self {}
        }

        pub(crate) fn clear(&mut self, _: Duration) -> Result<Vec<String>> {
            match *self {}
        }
    }
}
