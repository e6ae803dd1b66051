//! Standard output and standard error, where a closed stream is an error.
//!
//! The standard library hides that twice: before `main`, its runtime opens `/dev/null` for each closed stream, and its
//! handles report success on EBADF.

use std::io::{self, Write};

/// An unbuffered stream.
pub struct Stream<Handle> {
    handle: Handle,
    is_open: bool,
}

impl Stream<io::Stdout> {
    pub fn stdout() -> Self {
        Stream { handle: io::stdout(), is_open: open::at_start(1) }
    }
}

impl Stream<io::Stderr> {
    pub fn stderr() -> Self {
        Stream { handle: io::stderr(), is_open: open::at_start(2) }
    }
}

impl<Handle> Stream<Handle> {
    /// Fails if the stream was closed, or only open for reading, when this process started.
    pub fn check(&self) -> io::Result<()> {
        if self.is_open { Ok(()) } else { Err(io::Error::other("it is not open for writing")) }
    }
}

impl<Handle: std::os::fd::AsFd> Write for Stream<Handle> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        Ok(rustix::io::write(&self.handle, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which streams were open for writing when this process started. An initialiser sees it: those run before Rust's
/// runtime.
///
/// In `main` it is too late: the runtime opens `/dev/null` for reading and writing, and so do callers that discard the
/// output, such as Python's `DEVNULL` and Node's `ignore`. Nothing tells the two apart.
mod open {
    use std::os::fd::BorrowedFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{OFlags, fcntl_getfl};

    static OPEN: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

    pub fn at_start(descriptor: usize) -> bool {
        OPEN[descriptor].load(Ordering::Relaxed)
    }

    #[used]
    #[expect(
        unsafe_code,
        reason = "the system calls the functions of this section before `main`, with this type"
    )]
    #[unsafe(link_section = ".init_array")]
    static INITIALISER: extern "C" fn() = look;

    #[expect(unsafe_code, reason = "safe types of descriptors rule out a closed one")]
    extern "C" fn look() {
        for (descriptor, open) in (0..).zip(&OPEN) {
            // SAFETY: fcntl accepts any number, and the borrow ends with the call.
            let flags = fcntl_getfl(unsafe { BorrowedFd::borrow_raw(descriptor) });
            let is_open = flags.is_ok_and(|flags| flags & OFlags::ACCMODE != OFlags::RDONLY);
            open.store(is_open, Ordering::Relaxed);
        }
    }
}
