//! What `--output` leads to on systems other than Unix: a file, which is replaced by its path.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Unwritten;
use super::streams::Stream;

pub enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    pub fn stdout() -> Self {
        Target::Stdout
    }

    pub fn find(path: &Path) -> io::Result<Self> {
        Ok(Target::File(path.canonicalize().or_else(|_| std::path::absolute(path))?))
    }

    pub fn lies_in_snapshots(&self, store: Option<&Path>) -> io::Result<bool> {
        let (Target::File(path), Some(store)) = (self, store) else { return Ok(false) };
        let folder = path.parent().unwrap_or(path).canonicalize()?;
        Ok(store.canonicalize().is_ok_and(|store| folder.starts_with(store)))
    }

    pub fn write(self, write: impl FnOnce(&mut dyn Write) -> Result<(), Unwritten>) -> Result<(), Unwritten> {
        let path = match self {
            Target::Stdout => return write(&mut Stream::stdout()),
            Target::File(path) => path,
        };
        let folder = path.parent().unwrap_or(&path);
        // Without the temporary file's name, which means nothing to the user.
        let mut file =
            tempfile::NamedTempFile::new_in(folder).map_err(|error| io::Error::from(error.kind()))?;
        write(&mut file)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}
