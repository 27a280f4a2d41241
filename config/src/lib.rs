//! LXC's configuration language: the keys, the files, and what each of them means.
//!
//! Text goes in by [`load`] or [`parse`] and comes out as a [`Config`], with the top file's own text kept as a
//! [`Document`] for saving. Every key is one item of the table in [`keys`]; parser, `get`, `set`, `clear` and the
//! names of LXC 1 and 2 all come from it. Bryo's own [`settings`], and what a container has [`beside`] its
//! configuration, are TOML. Files are read with `std::fs`, and nothing else of the host is asked.

#[macro_use]
mod word;

mod arch;
pub mod beside;
mod capability;
mod config;
mod document;
mod environment;
mod hook;
pub mod images;
pub mod keys;
mod legacy;
mod line;
mod load;
mod log;
pub mod manual;
mod mount;
mod namespace;
mod nearest;
mod net;
mod prlimit;
mod problem;
mod rootfs;
pub mod seccomp;
pub mod settings;
pub mod share;
pub mod system;
mod units;

pub use arch::Arch;
pub use capability::{Capabilities, Capability};
pub use config::Config;
pub use document::{Change, Document, Held};
pub use environment::EnvVar;
pub use hook::Hook;
pub use line::lines;
pub use load::{Given, Loaded, load, parse, read_text, trace, trace_text};
pub use log::LogLevel;
pub use mount::{
    CgroupKind, CgroupMode, CgroupMount, MountAuto, MountEntry, ProcMount, SharedMounts, SysMount, fstab,
    read_fstab,
};
pub use namespace::Namespace;
pub use nearest::of as nearest;
pub use net::{
    Cidr, Gateway, HwAddr, Ipv4Address, IpvlanIsolation, IpvlanMode, MacvlanMode, NetDevice, NetKind, Veth,
    VethMode, VethVlan,
};
pub use prlimit::Prlimit;
pub use problem::{Fault, Place, Problem, Problems};
pub use rootfs::RootfsPath;
