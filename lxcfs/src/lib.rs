//! What a container sees of its own limits: files over those of /proc and /sys that know nothing of cgroups.
//!
//! [`files`] is one table; each file in it is a pure function of the host's text, the limits and what is used.
#![forbid(unsafe_code)]

pub mod files;
