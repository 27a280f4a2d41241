//! `bryo-image` as its callers use it: as a program, with fds.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod archives;
mod copying;
mod faithful;
mod hostile;
mod layers;
mod mapped;
mod run;
mod saved;
