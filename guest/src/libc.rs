//! The few functions of the C library that the standard library would otherwise bring with all that they need.
//!
//! The linker takes a function of this name from here first. What is left out so: `printf`, the table of
//! descriptors, and streams to the terminal with their time limits. The component imports the less of its host, and
//! the same whichever C library the toolchain has.

#![expect(unsafe_code, reason = "the names and the pointers are the C library's")]

use std::ffi::{c_char, c_int, c_void};
use std::{ptr, slice};

use wasip2::cli::stderr::get_stderr;

/// The most bytes that a stream takes in one blocking write.
const PIECE: usize = 4096;

/// One of the pieces that [`writev`] writes.
#[repr(C)]
struct IoVec {
    base: *const u8,
    len: usize,
}

/// What an assertion of the C library calls that failed, in one that was built with them, as Debian's is.
#[unsafe(no_mangle)]
extern "C" fn __assert_fail(_: *const c_char, _: *const c_char, _: c_int, _: *const c_char) -> ! {
    core::arch::wasm32::unreachable()
}

/// Writes what a panic says, to standard error: nothing else in the component uses a descriptor of the C library.
///
/// # Safety
///
/// `buffer` points to `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(_: c_int, buffer: *const c_void, len: usize) -> isize {
    // SAFETY: the caller's promise.
    say(unsafe { slice::from_raw_parts(buffer.cast(), len) });
    len.cast_signed()
}

/// [`write()`], of several pieces.
///
/// # Safety
///
/// `pieces` points to `count` of them, and each of those to as many bytes as it says.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(_: c_int, pieces: *const IoVec, count: c_int) -> isize {
    // SAFETY: the caller's promise.
    let pieces = unsafe { slice::from_raw_parts(pieces, count.unsigned_abs() as usize) };
    let mut written = 0;
    for piece in pieces.iter().filter(|piece| piece.len > 0) {
        // SAFETY: the caller's promise.
        say(unsafe { slice::from_raw_parts(piece.base, piece.len) });
        written += piece.len;
    }
    written.cast_signed()
}

/// Finds no variable: the standard library asks for `RUST_BACKTRACE` when it panics, and there are no names to trace.
#[unsafe(no_mangle)]
extern "C" fn getenv(_: *const c_char) -> *mut c_char {
    ptr::null_mut()
}

/// Copies nothing, which nobody asks for: the C library's allocator would come with it, beside the component's own.
#[unsafe(no_mangle)]
extern "C" fn strdup(_: *const c_char) -> *mut c_char {
    ptr::null_mut()
}

/// Says it as well as the host lets it: there is nobody to tell that this failed.
fn say(text: &[u8]) {
    let stderr = get_stderr();
    for piece in text.chunks(PIECE) {
        let _ = stderr.blocking_write_and_flush(piece);
    }
}
