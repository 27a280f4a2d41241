//! Unprivileged system containers as a library: a container as a [`place::Place`], and its verbs.
//!
//! The modules stand in the order of the work. Data flows one way: a request, the configuration and the host's facts
//! become a [`plan::StartPlan`], which the monitor (a program of its own, see [`monitor`]) turns into a running
//! container. `plan` decides and touches nothing; everything below it does and decides nothing.

pub mod attach;
pub mod bases;
pub mod beside;
pub mod bridge;
pub mod cgroups;
pub mod check;
pub mod command;
pub mod console_log;
pub mod create;
pub mod destroy;
pub mod devices;
pub mod doctor;
mod error;
pub mod foreign;
mod helper;
pub mod hooks;
pub mod host;
pub mod idmap;
mod init;
mod leftovers;
pub mod list;
pub mod logging;
pub mod lxcfs;
pub mod monitor;
pub mod network;
pub mod place;
pub mod plan;
pub mod remap;
mod root;
mod rootfs;
pub mod security;
mod stage;
pub mod start;
pub mod surroundings;

pub use error::{Doing, Error, Kind, Result};
