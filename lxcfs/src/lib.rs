//! What a container sees of its own limits: files over those of /proc and /sys that know nothing of cgroups.
//!
//! [`files`] is one table; each file in it is a pure function of the host's text, the limits and what is used. [`fuse`] puts them
//! into a file system, in which every container has a superblock of its own. Neither knows the other's contents.
//! [`container`] is one that is served, with its [`triggers`], [`server`] the loop over all of a user's, and [`shut`] what that process gives up; [`system`]
//! is the tree that the containers of other runtimes share.
#![forbid(unsafe_code)]

mod caller;
pub mod container;
pub mod files;
pub mod fuse;
pub mod host;
pub mod load;
pub mod server;
pub mod shut;
pub mod system;
pub mod triggers;
mod turns;
