//! The child of a start: the process that becomes the container's init.
//!
//! A straight list. It runs after clone with a copy of the monitor's memory, reads nothing but the plan, and ends in
//! execve or in one `Failed` message. Moving a line means changing this table:
//!
//! | step | needs | after it the child can no longer |
//! |---|---|---|
//! | enter the cgroups | to be the user still, in the monitor's cgroup namespace | - |
//! | close what is the monitor's | - | reach the monitor's files, its log and the cgroups excepted |
//! | make the namespaces but those of users and processes | to be the user still | - |
//! | set the clocks and enter the time namespace | the host's /proc | set them |
//! | have cores of its own | the host's /sys | - |
//! | write what `lxc.proc` says of it | to be the owner of its files in /proc | - |
//! | take rootfs, sources, nodes, hooks | to be the user still | - |
//! | wait for the map, give the cgroups away, become container root | the id map | walk through the user's 0700 directories |
//! | be dumpable, die with the monitor | a credential change has reset both | - |
//! | loopback, hostname | own net and uts namespace | - |
//! | send the network namespace | an own one, in which something is made from outside | - |
//! | attach the rootfs, /proc, /sys, /dev, entries | the host's /proc to be visible | - |
//! | wait for the network's devices, set them up; the resolv.conf of user mode | CAP_NET_ADMIN over the namespace | - |
//! | cover files of /proc and /sys | the host's /dev/fuse; all of /proc, /sys and the entries mounted | - |
//! | mount and autodev hooks | - | - |
//! | sysctls | an own procfs | - |
//! | send the terminals, wait for the rest of the world | devpts | be started half |
//! | be looked into by nobody; change the root; close what was taken | all sources taken | see the host's files |
//! | session, terminal, limits, keyring | - | raise limits |
//! | adopt orphans and keep signals inside, without an own PID namespace | CAP_SYS_ADMIN | signal the monitor |
//! | bounding set, no_new_privs, system call filter | CAP_SETPCAP, CAP_SYS_ADMIN | what the filter refuses |
//! | AppArmor's profile for the next program | the host's /proc, taken before | - |
//! | start hooks | the new root; to be as confined as all that runs in it | - |
//! | ids, capabilities | to be root until here | do anything of the above |
//! | exec | - | - |

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use config::Hook;
use sys::process::{self, Exec, flags};
use sys::{cred, namespace, netlink, path, signal, tty};

use crate::cgroups::Payload;
use crate::error::{Doing, Error, Kind, Result};
use crate::hooks::{self, TakenHooks, Told};
use crate::logging;
use crate::lxcfs::{self, Superblocks};
use crate::network::inside;
use crate::plan::{NetworkPlan, StartPlan, Stdio};
use crate::rootfs::{self, Rootfs, Terminals};
use crate::start::{Channel, FromChild, FromMonitor};

/// What the monitor gives the child beside the plan.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// The child's end of the handshake.
    pub(crate) channel: Channel,
    /// The caller's standard streams, when the plan wants them.
    pub(crate) stdio: Option<&'a [OwnedFd; 3]>,
    /// The payload's cgroups.
    pub(crate) cgroup: &'a Payload,
    /// The child was cloned into its cgroup of v2.
    pub(crate) cloned_into_cgroup: bool,
    /// The namespaces that the child makes at once.
    pub(crate) namespaces: u64,
    /// setgroups(2) is denied in the namespace.
    pub(crate) keep_groups: bool,
}

/// Runs the child. Ends in the container's program, or tells the monitor why not.
pub(crate) fn run(plan: &StartPlan, given: &Given<'_>) -> ! {
    let Err(failure) = steps(plan, given);
    let _gone = given.channel.send(&FromChild::Failed(failure), &[]);
    process::exit_now(1)
}

fn steps(plan: &StartPlan, given: &Given<'_>) -> Result<Infallible> {
    let channel = &given.channel;
    given.cgroup.enter(given.cloned_into_cgroup).doing("entering the container's cgroups")?;
    close_the_monitors(given)?;
    namespace::leave(given.namespaces).doing("making the namespaces")?;
    set_clocks(plan)?;
    own_cores(plan)?;
    write_procs(plan)?;
    let taken_hooks = TakenHooks::take(plan);
    let host_proc = plan.confinement.host_proc()?;
    let taken = rootfs::take(plan)?;
    channel.expect(FromMonitor::IdsWritten)?;
    become_root(plan, given)?;
    name_and_loopback(plan)?;
    send_network(plan, channel)?;
    let run_hooks = |moment| hooks::run(plan, moment, &Told::default(), &taken_hooks);
    run_hooks(Hook::PreMount)?;
    let rootfs = Rootfs::attach(plan, taken.root)?;
    rootfs.mount_proc_and_sys(plan)?;
    let terminals = rootfs.make_dev(plan, &taken.nodes)?;
    rootfs.mount_entries(plan, taken.sources)?;
    rootfs.mount_cgroups(plan)?;
    set_up_network(plan, channel, &rootfs, taken.resolv_conf)?;
    let notes = cover_files(plan, &rootfs, channel)?;
    run_hooks(Hook::Mount)?;
    run_hooks(Hook::Autodev)?;
    rootfs.write_sysctls(plan)?;
    send_terminals(channel, &terminals, notes)?;
    channel.expect(FromMonitor::Wired)?;
    // From here on programs of the container run: this process still has fds of the host.
    process::set_dumpable(false)?;
    rootfs.enter(plan)?;
    drop((taken_hooks, taken.nodes, rootfs));
    session(plan, given, &terminals)?;
    plan.confinement.limit_resources()?;
    leave_keyring(plan);
    stand_in_for_a_pid_namespace(plan)?;
    plan.confinement.close_doors(false)?;
    plan.confinement.put_on_profile(host_proc.as_ref().map(AsFd::as_fd), false)?;
    drop(host_proc);
    hooks::run(plan, Hook::Start, &Told::default(), &TakenHooks::default())?;
    give_up_ids(plan, given)?;
    let exec = command(plan, &terminals)?;
    channel.send(&FromChild::Exec, &[])?;
    drop(terminals);
    Err(become_program(plan, given, &exec, taken.init.as_ref().map(OwnedFd::as_fd)))
}

/// Closes what the clone has copied of the monitor: its directory, its socket, its own cgroups. The image may name any of
/// them by /proc/self/fd/N (CVE-2024-21626). The container's cgroups go when they are given away.
fn close_the_monitors(given: &Given<'_>) -> Result<()> {
    let streams = given.stdio.into_iter().flatten().map(AsFd::as_fd);
    let kept: Vec<BorrowedFd<'_>> = [given.channel.fd()]
        .into_iter()
        .chain(streams)
        .chain(logging::fds())
        .chain(given.cgroup.directories())
        .collect();
    Ok(process::close_all_but(&kept)?)
}

/// Sets the clocks of the time namespace that has just been made, and enters it: until then it is for children alone. Newer
/// kernels would do so at the exec.
/// Source: time_namespaces(7).
fn set_clocks(plan: &StartPlan) -> Result<()> {
    if plan.namespaces & flags::NEWTIME == 0 {
        return Ok(());
    }
    let own = path::open_dir(Path::new("/proc/self"))?;
    if let Some(clocks) = plan.clocks {
        path::write_existing(own.as_fd(), Path::new("timens_offsets"), clocks.lines().as_bytes())
            .doing("lxc.time.offset")?;
    }
    let made = namespace::of_process(own.as_fd(), "time_for_children")?;
    namespace::join(made.as_fd(), flags::NEWTIME).doing("entering the time namespace")
}

/// Keeps processes of others from the core on which one of the container's runs.
///
/// # Errors
/// A kernel that cannot, where cores run more than one thread: the container would share them.
fn own_cores(plan: &StartPlan) -> Result<()> {
    if !plan.own_cores {
        return Ok(());
    }
    match process::own_cores() {
        // Nothing else runs on a core of one thread.
        Err(_) if has_one_thread_a_core() => Ok(()),
        Err(e) => {
            let why = "; the kernel was built without CONFIG_SCHED_CORE, and cores run several threads here";
            Err(Error::from(e).of_kind(Kind::Config).because(why)).doing("lxc.sched.core")
        }
        Ok(()) => Ok(()),
    }
}

/// Writes `lxc.proc.*`. The monitor could not: the files belong to container root as soon as the child is that.
fn write_procs(plan: &StartPlan) -> Result<()> {
    let own = path::open_dir(Path::new("/proc/self"))?;
    plan.procs.iter().try_for_each(|(file, value)| {
        path::write_existing(own.as_fd(), Path::new(file), value.as_bytes())
            .doing_with(|| format!("lxc.proc.{file} = {value}"))
    })
}

fn has_one_thread_a_core() -> bool {
    std::fs::read_to_string("/sys/devices/system/cpu/smt/active").is_ok_and(|active| active.trim() == "0")
}

/// Does what a PID namespace does for its first process, as far as it goes without: Bryo's init gets the container's
/// orphans, and signals stay inside.
fn stand_in_for_a_pid_namespace(plan: &StartPlan) -> Result<()> {
    if plan.shares_pids() {
        process::adopt_orphans()?;
    }
    if plan.scoped_signals {
        sys::landlock::keep_signals_inside().doing("keeping signals in the container")?;
    }
    Ok(())
}

/// Becomes root of the namespace; between group and user it gives the cgroups away, which takes the owner in that group.
/// The kernel then clears PDEATHSIG and makes the process not dumpable: the monitor
/// must be able to look at its own child (hooks do), and the child must not outlive it.
fn become_root(plan: &StartPlan, given: &Given<'_>) -> Result<()> {
    cred::join_root_group(given.keep_groups).doing("becoming root of the container")?;
    // Who keeps the groups has container root's group among them: the caller's own.
    if !given.keep_groups {
        given.cgroup.hand_over().doing("giving the cgroups to the container")?;
    }
    process::close_copies(given.cgroup.directories());
    cred::become_root().doing("becoming root of the container")?;
    process::set_dumpable(true)?;
    process::set_parent_death_signal(plan.signals.parent_death)?;
    Ok(())
}

fn name_and_loopback(plan: &StartPlan) -> Result<()> {
    if plan.namespaces & flags::NEWNET != 0 {
        netlink::bring_loopback_up().doing("bringing loopback up")?;
    }
    if let Some(name) = plan.hostname.as_deref().filter(|_| plan.namespaces & flags::NEWUTS != 0) {
        process::set_hostname(name).doing("setting the hostname")?;
    }
    if plan.personality_32bit {
        const PER_LINUX32: u64 = 0x0008;
        process::set_personality(PER_LINUX32).doing("lxc.arch")?;
    }
    Ok(())
}

/// Sends the network namespace up, where the monitor has something made in it. Only now: a program for user mode opens the
/// namespaces by this process's number, which the kernel allows when it is dumpable and of the container.
fn send_network(plan: &StartPlan, channel: &Channel) -> Result<()> {
    if !plan.network.needs_wiring() {
        return Ok(());
    }
    let namespace = path::open_read(Path::new("/proc/self/ns/net")).doing("opening the network namespace")?;
    channel.send(&FromChild::Network, &[namespace.as_fd()])
}

/// Sets up what the monitor has made: the network of the plan, or what has taken its place.
fn set_up_network(
    plan: &StartPlan,
    channel: &Channel,
    rootfs: &Rootfs,
    resolv_conf: Option<rootfs::Source>,
) -> Result<()> {
    if !plan.network.needs_wiring() {
        return Ok(());
    }
    let network = match channel.expect_any()? {
        FromMonitor::DevicesMade => &plan.network,
        FromMonitor::OtherwiseMade if let Some(otherwise) = plan.network.otherwise() => &otherwise.network,
        got => return Err(Error::new(Kind::Died, format!("expected a network, got {got:?}"))),
    };
    match network {
        NetworkPlan::UserMode(_) => rootfs.mount_resolv_conf(plan, resolv_conf),
        network => inside::set_up(network.devices()),
    }
}

/// Covers the files of /proc and /sys that know nothing of the container's limits. Returns what is in the way of that.
fn cover_files(plan: &StartPlan, rootfs: &Rootfs, channel: &Channel) -> Result<Vec<String>> {
    let Some(lxcfs) = &plan.lxcfs else { return Ok(Vec::new()) };
    let superblocks = match Superblocks::new() {
        Ok(superblocks) => superblocks,
        Err(e) => {
            channel.send(&FromChild::Files, &[])?;
            return Ok(vec![lxcfs::missing(&e)]);
        }
    };
    channel.send(&FromChild::Files, &superblocks.devices().fds())?;
    let mut files = channel.files()?;
    files.retain(|file| lxcfs.sys || !file.starts_with("sys/"));
    let covered = superblocks.cover(rootfs.fd(), &files);
    Ok(covered.err().iter().map(lxcfs::missing).collect())
}

/// Sends the terminals up, as many as fit in a message at a time.
fn send_terminals(channel: &Channel, terminals: &Terminals, notes: Vec<String>) -> Result<()> {
    let masters = |pairs: &[tty::Pair]| pairs.len() as u32;
    let message = FromChild::RootMounted {
        devpts: terminals.devpts.is_some(),
        console: terminals.console.is_some(),
        ttys: masters(&terminals.ttys),
        notes,
    };
    let devpts = terminals.devpts.iter().map(AsFd::as_fd);
    let console = terminals.console.iter().map(|pair| pair.master.as_fd());
    channel.send(&message, &devpts.chain(console).collect::<Vec<_>>())?;
    for some in terminals.ttys.chunks(sys::socket::MAX_FDS) {
        let fds: Vec<BorrowedFd<'_>> = some.iter().map(|pair| pair.master.as_fd()).collect();
        channel.send(&FromChild::Ttys, &fds)?;
    }
    Ok(())
}

/// Leads a session of its own, with the console or the caller's streams as 0, 1 and 2.
fn session(plan: &StartPlan, given: &Given<'_>, terminals: &Terminals) -> Result<()> {
    process::new_session()?;
    let slave = terminals.console.as_ref().map(|pair| pair.slave.as_fd());
    let null = tty::null();
    let console = match (slave, &null) {
        (Some(slave), _) => slave,
        (None, Ok(null)) => null.as_fd(),
        // Nothing to read and nowhere to write: the streams the monitor has are /dev/null already.
        (None, Err(_)) => return Ok(()),
    };
    if slave.is_some() && !plan.is_app() {
        tty::make_controlling(console).doing("taking the console as terminal")?;
    }
    let callers = given.stdio.filter(|_| plan.stdio == Stdio::Caller);
    for target in 0..3 {
        let own = callers.map(|streams| streams[target as usize].as_fd()).filter(|fd| !tty::is_terminal(*fd));
        process::place_at(own.unwrap_or(console), target)?;
    }
    Ok(())
}

fn leave_keyring(plan: &StartPlan) {
    if plan.new_keyring {
        // EDQUOT: all containers of a user share 200 keys. A kernel or filter without keyrings has nothing to hide.
        if let Err(e) = sys::keyring::join_new_session() {
            log::info!("no session keyring of its own: {e}");
        }
    }
}

/// Becomes the user of the configuration, with the capabilities that it leaves.
fn give_up_ids(plan: &StartPlan, given: &Given<'_>) -> Result<()> {
    let init = &plan.init;
    if init.uid != 0 || init.gid != 0 || !init.groups.is_empty() {
        cred::become_user(init.uid, init.gid, &init.groups, given.keep_groups)
            .doing_with(|| format!("becoming user {} and group {}", init.uid, init.gid))?;
        // The kernel has forgotten both with the change of ids. The monitor may have died since.
        process::set_dumpable(false)?;
        process::set_parent_death_signal(plan.signals.parent_death)?;
        given.channel.require_peer()?;
    } else {
        plan.confinement.limit_own_capabilities()?;
    }
    path::change_dir_inside(&init.cwd).doing_with(|| format!("entering {}", init.cwd.display()))?;
    Ok(())
}

fn command(plan: &StartPlan, terminals: &Terminals) -> Result<Exec> {
    let mut environment = plan.init.environment.clone();
    if !terminals.ttys.is_empty() {
        // systemd starts a login on each (its Container Interface, "container_ttys"); the console has pts/0.
        let names: Vec<String> = (1..=terminals.ttys.len()).map(|n| format!("pts/{n}")).collect();
        environment.push(format!("container_ttys={}", names.join(" ")));
    }
    Ok(Exec::new(&plan.init.argv, &environment)?)
}

fn become_program(
    plan: &StartPlan,
    given: &Given<'_>,
    exec: &Exec,
    bryo_init: Option<BorrowedFd<'_>>,
) -> Error {
    let kept: Vec<BorrowedFd<'_>> = [given.channel.fd()].into_iter().chain(bryo_init).collect();
    let prepared = signal::reset_all().and_then(|()| process::close_all_but(&kept));
    let failed = match (prepared, bryo_init) {
        (Err(e), _) => e,
        (Ok(()), Some(program)) => exec.fd(program),
        (Ok(()), None) => exec.path(Path::new(&plan.init.argv[0])),
    };
    let kind = match failed.errno() {
        sys::Errno::ENOENT => Kind::ProgramMissing,
        _ => Kind::ProgramNotExecutable,
    };
    Error::from(failed).of_kind(kind).doing_with_init(&plan.init.argv)
}

impl Error {
    fn doing_with_init(self, argv: &[String]) -> Self {
        let program = argv.first().map_or("", String::as_str);
        self.doing(format!("running the container's init {program}"))
    }
}
