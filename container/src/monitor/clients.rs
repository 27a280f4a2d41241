//! Connections to the command socket, and the attaching processes made for them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use sys::{Errno, memfd, process, socket};

use crate::attach;
use crate::command::{self, Reply, Request};
use crate::error::{Doing, Error, Kind, Result};
use crate::plan::StartPlan;
use crate::start::Running;

/// So many connections are served at a time. One more takes the place of one of whoever has the most.
const MAX_CLIENTS: usize = 256;

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    pid: i32,
    watches: bool,
    terminal: Option<u32>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Clients {
    next_id: u64,
    clients: BTreeMap<u64, Client>,
    attached: Vec<Child>,
}

impl Clients {
    /// Accepts a connection of the monitor's own user; anybody else's is closed without a word, and so is one for which
    /// there is no room.
    ///
    /// Tells whether the next can be accepted. Without an fd for this one it cannot, and still the listener can be read.
    pub(super) fn accept(&mut self, listener: BorrowedFd<'_>) -> bool {
        let socket = match socket::accept(listener) {
            Err(e) if matches!(e.errno(), Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                return self.make_room();
            }
            Err(_) => return true,
            Ok(socket) => socket,
        };
        let own =
            socket::peer_uid(socket.as_fd()).is_ok_and(|uid| uid == sys::cred::real_uid() || uid.0 == 0);
        if own && (self.clients.len() < MAX_CLIENTS || self.make_room()) {
            let pid = socket::peer_pid(socket.as_fd()).unwrap_or(0);
            self.clients.insert(self.next_id, Client { socket, pid, watches: false, terminal: None });
            self.next_id += 1;
        }
        true
    }

    /// Makes room: a process that connects over and over and says nothing must not keep others out, so it is the one with
    /// the most connections that loses its oldest. One that watches or has a terminal stays, since it takes the end of its
    /// connection for the end of the container.
    fn make_room(&mut self) -> bool {
        let idle = || self.clients.iter().filter(|(_, client)| !client.watches && client.terminal.is_none());
        let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
        idle().for_each(|(_, client)| *counts.entry(client.pid).or_default() += 1);
        // Of equal ones the last is returned, so the oldest stand last.
        let most = idle().rev().max_by_key(|(_, client)| counts.get(&client.pid)).map(|(id, _)| *id);
        most.is_some_and(|id| self.clients.remove(&id).is_some())
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.clients.iter().map(|(id, client)| (*id, client.socket.as_fd()))
    }

    /// Returns the connections that have something to say, or have ended.
    pub(super) fn readable(&self) -> Vec<u64> {
        let ready = |socket: BorrowedFd<'_>| sys::event::readable(socket, Some(std::time::Duration::ZERO));
        self.fds().filter(|(_, socket)| ready(*socket).unwrap_or(false)).map(|(id, _)| id).collect()
    }

    /// Receives a request; a connection that has ended or makes no sense is closed.
    pub(super) fn receive(&mut self, id: u64) -> Option<(Request, Vec<OwnedFd>)> {
        let client = self.clients.get(&id)?;
        match command::receive::<Request>(client.socket.as_fd()) {
            Ok(Some(request)) => Some(request),
            Ok(None) => {
                self.clients.remove(&id);
                None
            }
            Err(failure) => {
                self.reply(id, &Reply::Failed(failure), &[]);
                self.clients.remove(&id);
                None
            }
        }
    }

    /// Answers a connection; one that does not take the answer at once is closed, since the monitor never waits.
    pub(super) fn reply(&mut self, id: u64, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let sent = self.clients.get(&id).map(|client| command::send_now(client.socket.as_fd(), reply, fds));
        if matches!(sent, Some(Err(_))) {
            self.clients.remove(&id);
        }
    }

    /// Tells everybody who watches.
    pub(super) fn tell(&mut self, reply: &Reply) {
        let watching: Vec<u64> = self.clients.iter().filter(|(_, c)| c.watches).map(|(id, _)| *id).collect();
        for id in watching {
            self.reply(id, reply, &[]);
        }
    }

    pub(super) fn watch(&mut self, id: u64) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.watches = true;
        }
    }

    pub(super) fn take_terminal(&mut self, id: u64, number: u32) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.terminal = Some(number);
        }
    }

    pub(super) fn holds_terminal(&self, number: u32) -> bool {
        self.clients.values().any(|client| client.terminal == Some(number))
    }

    /// Hands a connection and the fds that came with the request to a fresh exec of the monitor's program.
    pub(super) fn attach(
        &mut self,
        id: u64,
        fds: Vec<OwnedFd>,
        plan: &StartPlan,
        running: &Running,
    ) -> Result<()> {
        let Ok([input, output, errors, cwd, request]) = <[OwnedFd; 5]>::try_from(fds) else {
            return Err(Error::new(Kind::Build, "an attach comes with five fds"));
        };
        let entry = attach::Entry {
            namespaces: plan.namespaces,
            confinement: plan.confinement.clone(),
            environment: plan.init.environment.iter().filter(|v| !v.starts_with("PATH=")).cloned().collect(),
            keep_groups: crate::idmap::keeps_groups(&plan.idmap, &plan.caller),
            scoped_signals: plan.scoped_signals,
        };
        let bytes = postcard::to_stdvec(&entry).map_err(|e| Error::new(Kind::Build, e.to_string()))?;
        let entry = memfd::sealed("entry", &bytes)?;
        let Some(client) = self.clients.remove(&id) else { return Ok(()) };
        let mut command = Command::new("/proc/self/exe");
        command.arg("attach").arg(if running.devpts.is_some() { "devpts" } else { "no-devpts" });
        command.arg(if running.cgroup.clone_target().is_some() { "unified" } else { "no-unified" });
        let own = [client.socket.as_fd(), input.as_fd(), output.as_fd(), errors.as_fd(), cwd.as_fd()];
        let more = [request.as_fd(), entry.as_fd(), running.pidfd.as_fd()];
        let devpts = running.devpts.iter().map(AsFd::as_fd);
        let unified = running.cgroup.clone_target().into_iter();
        let cgroups = unified.chain(running.cgroup.entrance_files_v1());
        let all: Vec<BorrowedFd<'_>> = own.into_iter().chain(more).chain(devpts).chain(cgroups).collect();
        command.args(all.iter().map(|fd| fd.as_raw_fd().to_string()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let spawned = process::spawn_with(&mut command, &all).map_err(crate::place::from_io);
        let spawned = spawned.doing("running the attaching process");
        match spawned {
            Ok(child) => self.attached.push(child),
            Err(failure) => {
                let _gone = command::send_now(client.socket.as_fd(), &Reply::Failed(failure), &[]);
            }
        }
        Ok(())
    }

    /// Waits until all attaching processes have ended, for a second at most: they only have to say so.
    pub(super) fn finish_attached(&mut self) {
        for _ in 0..200 {
            self.reap_attached();
            if self.attached.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Returns the pids of the attaching processes.
    pub(super) fn attached(&self) -> impl Iterator<Item = i32> {
        self.attached.iter().map(|child| child.id() as i32)
    }

    /// Reaps attaching processes that have ended.
    pub(super) fn reap_attached(&mut self) {
        self.attached.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}
