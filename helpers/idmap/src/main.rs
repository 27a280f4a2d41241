//! `bryo-idmap FD u:INSIDE:OUTSIDE:COUNT ... g:INSIDE:OUTSIDE:COUNT ...`; the library has the work.

#![no_main]

use libc::{c_char, c_int};

/// What the C library calls. What the standard library does before an ordinary `main` (SIGPIPE, a handler of SIGSEGV, standard
/// descriptors) the guard does itself, or undoes: a tenth of a millisecond.
///
/// # Safety
/// Nothing else in the program is named `main`.
#[expect(unsafe_code, reason = "a name that is not mangled is unsafe")]
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    helpers::guard::run(&idmap::PROGRAM, idmap::write_map)
}
