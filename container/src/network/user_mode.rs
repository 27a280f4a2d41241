//! A network in user mode: a program of the caller's, beside the monitor, that carries the packets of one device to sockets
//! and back.
//!
//! It stays in the foreground: it does not notice by itself that the namespace is gone, and would keep it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use super::program::{About, Program};
use crate::error::{Doing, Error, Kind, Result};
use crate::host::UserModeKind;
use crate::place::{Place, STATE, StateDir, from_io};
use crate::plan::{RESOLV_CONF, StartPlan, UserModePlan, resolver};

/// The FIFO in Bryo's directory by which pasta says that it is ready.
const READY: &str = "network-ready";

/// Writes what the container's init takes from Bryo's directory for a network in user mode.
pub(super) fn prepare(plan: &StartPlan, state: &StateDir) -> Result<()> {
    let Some(user_mode) = plan.network.user_mode() else { return Ok(()) };
    let name = OsStr::new(RESOLV_CONF);
    sys::path::replace_unsynced(state.fd(), name, 0o644, user_mode.resolv_conf.as_bytes())
        .doing("writing resolv.conf")
}

/// Starts the program and waits until its device is ready.
///
/// # Errors
/// It ends before, or takes too long.
pub(super) fn start(plan: &StartPlan, wanted: &UserModePlan, init: i32) -> Result<Program> {
    let about = About { name: wanted.program.kind.name(), loss: "the container has no network any more" };
    let started = || {
        let ready = Readiness::new(wanted.program.kind, &plan.place)?;
        let mut command = Command::new(&wanted.program.path);
        command.args(arguments(wanted, init, &ready));
        let program = Program::spawn(command, &ready.inherited(), about)?;
        program.when_ready(&ready.into_reader())
    };
    started().map_err(|e: Error| e.of_kind(Kind::Network).doing(format!("starting {}", about.name)))
}

/// How a program says that its device is ready.
enum Readiness {
    /// It writes its pid to this FIFO, which it opens by name: fds that it inherits it closes.
    Fifo { path: PathBuf, reader: OwnedFd },
    /// It writes to an fd that it inherits.
    Pipe { reader: OwnedFd, writer: OwnedFd },
}

impl Readiness {
    fn new(kind: UserModeKind, place: &Place) -> Result<Self> {
        if kind == UserModeKind::Slirp {
            let (reader, writer) = std::io::pipe().map_err(from_io)?;
            return Ok(Self::Pipe { reader: reader.into(), writer: writer.into() });
        }
        let missing = || Error::new(Kind::Died, "Bryo's directory of the container is gone");
        let state = place.state_dir()?.ok_or_else(missing)?;
        let path = place.dir().join(STATE).join(READY);
        // Of a run before, whose monitor was killed just then.
        let _none = sys::path::remove_file(state.fd(), OsStr::new(READY));
        sys::file::make_fifo(state.fd(), OsStr::new(READY), 0o600)?;
        let reader = sys::file::open_fifo(state.fd(), OsStr::new(READY))?;
        Ok(Self::Fifo { path, reader })
    }

    fn inherited(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Fifo { .. } => Vec::new(),
            Self::Pipe { writer, .. } => vec![writer.as_fd()],
        }
    }

    /// Returns the end to read from, and lets go of the other, which the program has by now.
    fn into_reader(self) -> File {
        match self {
            Self::Fifo { reader, .. } | Self::Pipe { reader, .. } => File::from(reader),
        }
    }
}

/// The largest MTU that both programs carry.
const MOST: u32 = 65520;

/// Returns an MTU as the programs take it.
fn carried(mtu: u32) -> String {
    mtu.min(MOST).to_string()
}

/// Returns the arguments. Neither program lets the container reach services of the host that listen on loopback alone,
/// nor makes those of the container reachable there.
fn arguments(wanted: &UserModePlan, init: i32, ready: &Readiness) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let init = init.to_string();
    match ready {
        Readiness::Fifo { path, .. } => {
            let hwaddr = wanted.hwaddr.map(|octets| octets.map(|octet| format!("{octet:02x}")).join(":"));
            let resolver = resolver(UserModeKind::Pasta).to_string();
            let mut all = words(&["--foreground", "--quiet", "--config-net", "--no-map-gw"]);
            all.extend(words(&["-t", "none", "-u", "none", "-T", "none", "-U", "none"]));
            all.extend(words(&["--ns-ifname", &wanted.name, "--dns-forward", &resolver]));
            all.extend(hwaddr.iter().flat_map(|hwaddr| words(&["--ns-mac-addr", hwaddr])));
            all.extend(wanted.mtu.iter().flat_map(|mtu| words(&["--mtu", &carried(*mtu)])));
            all.extend(words(&["--pid", &path.display().to_string(), &init]));
            all
        }
        Readiness::Pipe { writer, .. } => {
            let fd = format!("--ready-fd={}", writer.as_raw_fd());
            let mtu = format!("--mtu={}", carried(wanted.mtu.unwrap_or(MOST)));
            words(&["--configure", "--disable-host-loopback", &mtu, &fd, &init, &wanted.name])
        }
    }
}
