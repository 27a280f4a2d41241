//! The lab: Bryo run as real, unprivileged users in namespaces of the test's own.
//!
//! A system test is a function that takes a [`Lab`] and reads like a story; [`claims!`] lists the tests of a suite
//! and the settings in which they run:
//!
//! ```no_run
//! use tests::Lab;
//!
//! tests::claims! {
//!     a_started_container_runs: hybrid unified;
//! }
//!
//! fn a_started_container_runs(lab: &Lab) {
//!     let ana = lab.user("ana");
//!     ana.busybox("web");
//!     ana.lxc("start", ["-n", "web"]).succeeds();
//!     ana.lxc("info", ["-n", "web", "-sH"]).succeeds().stdout_is("RUNNING\n");
//!     ana.lxc("destroy", ["-n", "web", "-f"]).succeeds();
//! }
//! ```
//!
//! Around each test stands a leak check: what the test left behind fails it. A test that cannot run here prints
//! `SKIP: suite::test: reason` and `cargo xtask test` counts it.
//!
//! The suites run against the installed `bryo` (see [`subject`]); with `BRYO_SUBJECT=lxc` against the system's own
//! lxc tools, which is how the suites themselves are checked.
//!
//! Only this crate changes the machine it runs on, and only by what carries its name: users `bryot*`, cgroup
//! directories `bryo-lab-*`, `/run/bryo-lab` and `/var/lib/bryo-lab`. [`clean`] removes all of it.

#![forbid(unsafe_code)]

pub mod account;
pub mod attack;
pub mod cgroups;
mod claim;
mod clean;
mod command;
pub mod filter;
pub mod image_server;
pub mod lab;
pub mod leaks;
mod many;
mod processes;
pub mod rootfs;
pub mod subject;
pub mod sweep;
mod terminal;
mod user;
pub mod view;
pub mod vm;

pub use claim::{Need, claim, not_in_a_cell, skip};
pub use clean::clean;
pub use command::{Background, Command, Output, eventually, within};
pub use filter::Filter;
pub use lab::Lab;
pub use many::at_once;
pub use processes::{Holding, Process};
pub use terminal::Terminal;
pub use user::User;
pub use view::View;
