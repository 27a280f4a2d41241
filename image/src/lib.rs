//! Unpacks, copies and removes root file systems, as the program `bryo-image`; and knows what images are.
//!
//! Archives come from anybody, so the parsers and decompressors never enter the CLI or the process that holds a
//! container's namespaces. `bryo-image` is run inside the container's mapped user namespace, as its root, with fds
//! alone; before it reads the first byte it shuts itself into the directory that it fills ([`confine`]).
//!
//! From the outside in: `command` reads the request; `stream` decompresses in a thread of its own; `archive` turns
//! the bytes into entries (with `pax` and `sparse`), whose names `entry_path` has checked; `unpack` gives them to
//! `tree`, the one place that writes, with `flush` beside it; `copy` feeds the same `tree` from a directory, and
//! `prune` takes out of one what is left out.
//!
//! What an image is: [`index`] reads what a server says that it has, [`metadata`] what an image says of itself, [`store`]
//! keeps it. What speaks with servers is a crate and a program of its own, `fetch`, and no TLS is linked here.

#![forbid(unsafe_code)]

mod archive;
pub mod command;
mod confine;
mod copy;
mod describe;
mod entry_path;
mod error;
mod exclude;
mod flush;
mod hashed;
mod ids;
pub mod index;
mod layer;
pub mod metadata;
pub mod oci;
mod pax;
mod prune;
mod saved;
mod sparse;
pub mod store;
mod stream;
mod tree;
mod unpack;
mod xattr;

pub use command::{Command, USAGE, UsageError};
pub use confine::{Confined, confine, confine_to, confine_to_files};
pub use copy::copy;
pub use describe::{Described, describe};
pub use error::{Error, Problem};
pub use exclude::{Excludes, TooManyExcludes};
pub use ids::Ids;
pub use prune::prune;
pub use saved::{Saved, SavedError, import as import_saved};
pub use tree::Report;
pub use unpack::{Archived, unpack};
