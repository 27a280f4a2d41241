//! The protocol of /dev/fuse, as far as a tree of small files needs it.
//!
//! Bytes to a [`Request`], a request to an [`Answer`], an answer to bytes: nothing here reads or writes anything. One
//! [`Session`] is one superblock. Source: the kernel's include/uapi/linux/fuse.h.

pub(crate) mod opens;
mod reply;
mod request;
mod session;
mod tree;

pub use request::{Broken, Operation, Request};
pub use session::{Answer, Contents, Refused, Session, Wish, wake};
pub use tree::{Has, Kind, ROOT, Several, Tree};

/// The size of the buffer into which requests are read: the kernel wants one that holds the largest it could send.
pub const BUFFER: usize = 128 << 10;
