//! What the host answers of WASI's `descriptor` in its own way.
//!
//! A listing has names alone. wasmtime-wasi looks at each entry, and drops the name of one that it cannot look at: the
//! store could not tell a damaged `notes.txt` from a generation, and would refuse to work beside either. The names also
//! cost one system call for many entries, in place of one for each. A directory is made for this user alone.
//!
//! In a folder that counts for nothing, such as one on the way to an object store, nothing is synced.

use std::vec::IntoIter;

use rustix::fs::{Dir, FileType, Mode, OFlags, mkdirat, openat};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{Advice, HostDescriptor};
use wasmtime_wasi::{FsPerms, WasiView};

/// The entries that are still to be returned.
struct Entries(IntoIter<DirectoryEntry>);

/// Puts these in the place of wasmtime-wasi's, which are linked already; whether an instance `syncs`, it is asked.
pub(crate) fn link<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    syncs: fn(&T) -> bool,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.resource(
        "directory-entry-stream",
        ResourceType::host::<Entries>(),
        |mut store: StoreContextMut<'_, T>, entries| {
            store.data_mut().ctx().table.delete(Resource::<Entries>::new_own(entries))?;
            Ok(())
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read-directory",
        |mut store: StoreContextMut<'_, T>, (directory,): (Resource<Descriptor>,)| {
            let table = store.data_mut().ctx().table;
            let entries = match table.get(&directory)? {
                Descriptor::Dir(dir) => list(&dir.dir).map_err(ErrorCode::from),
                Descriptor::File(_) => Err(ErrorCode::NotDirectory),
            };
            Ok((match entries {
                Ok(entries) => Ok(table.push(Entries(entries.into_iter()))?),
                Err(error) => Err(error),
            },))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.create-directory-at",
        |mut store: StoreContextMut<'_, T>, (directory, name): (Resource<Descriptor>, String)| {
            let made = match store.data_mut().ctx().table.get(&directory)? {
                Descriptor::Dir(dir) if matches!(dir.perms, FsPerms::ReadWrite) => make(&dir.dir, &name),
                Descriptor::Dir(_) => Err(ErrorCode::NotPermitted),
                Descriptor::File(_) => Err(ErrorCode::NotDirectory),
            };
            Ok((made,))
        },
    )?;
    types.func_wrap(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: StoreContextMut<'_, T>, (entries,): (Resource<Entries>,)| {
            let entry = store.data_mut().ctx().table.get_mut(&entries)?.0.next();
            Ok((Ok::<_, ErrorCode>(entry),))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.sync",
        move |mut store: StoreContextMut<'_, T>, (file,): (Resource<Descriptor>,)| {
            let synced = if syncs(store.data()) { store.data_mut().filesystem().sync(file) } else { Ok(()) };
            Ok((answer(synced)?,))
        },
    )?;
    // By this, the component has the disk begin with what will be synced.
    types.func_wrap(
        "[method]descriptor.advise",
        move |mut store: StoreContextMut<'_, T>, of: (Resource<Descriptor>, u64, u64, Advice)| {
            let (file, offset, size, advice) = of;
            let advised = if syncs(store.data()) {
                store.data_mut().filesystem().advise(file, offset, size, advice)
            } else {
                Ok(())
            };
            Ok((answer(advised)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What the component is told, or how it traps.
fn answer(result: FsResult<()>) -> wasmtime::Result<Result<(), ErrorCode>> {
    result.map_or_else(|error| error.downcast().map(Err), |()| Ok(Ok(())))
}

/// All entries whose names are UTF-8, as those of the store are.
fn list(directory: &std::fs::File) -> std::io::Result<Vec<DirectoryEntry>> {
    // WASI's descriptors only name a directory.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(directory, ".", flags, Mode::empty())?;
    let mut entries = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name != "." && name != ".." {
            entries.push(DirectoryEntry { type_: kind(entry.file_type()), name: name.to_owned() });
        }
    }
    Ok(entries)
}

/// Makes a directory for this user alone, as the host makes those that it grants. A store makes them right inside of its own.
fn make(directory: &std::fs::File, name: &str) -> Result<(), ErrorCode> {
    if name.contains('/') || matches!(name, "." | "..") {
        return Err(ErrorCode::NotPermitted);
    }
    mkdirat(directory, name, Mode::RWXU).map_err(|error| ErrorCode::from(std::io::Error::from(error)))
}

/// As the directory says, if it does.
fn kind(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Unknown,
    }
}
