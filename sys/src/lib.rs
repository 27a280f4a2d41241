//! The only crate of the runtime that calls the kernel.
//!
//! One small safe function per call, by topic. An error prints as the call that failed, as strace would show it
//! (`mkdirat(5, "dev", 0755) = EROFS`); the layers above add one clause of context each. Nothing here decides
//! anything. The privileged helpers do not use this crate: they have a small `sys` module of their own.

pub mod apparmor;
pub mod cap;
pub mod clock;
pub mod cred;
pub mod error;
pub mod event;
pub mod exposed;
pub mod file;
pub mod filesystem;
pub mod fuse;
pub mod inet;
pub mod keyring;
pub mod landlock;
pub mod links;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod path;
pub mod probe;
pub mod process;
pub mod rlimit;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod tty;

pub use error::{Errno, Error, Result};
