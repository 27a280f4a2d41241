//! The program `bryo-fetch` against image servers of the tests' own on loopback, honest ones and hostile ones.

#![allow(clippy::unwrap_used)] // The helpers here are parts of tests.

mod honest;
mod hostile;
mod registry;
mod run;
mod server;
mod tls;
