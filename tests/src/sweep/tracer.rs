//! Follows a command and every process of Bryo that comes of it, and kills or fails one of them at one system call.
//!
//! strace(1) counts the calls of each process, but cannot tell which process is meant: "the 40th call of the monitor" needs
//! a tracer that knows who is who. Here a process has a name made of its parent's and of what it is: `cli`, `monitor`,
//! `monitor/init` (the container's init before its exec), `cli/namespace` (holds a user namespace open), `cli/worker`
//! (a fork), `cli/idmap`, `cli/image`, `monitor/attach` (what puts a program into the container). A second one of a parent
//! is `cli/namespace2`.
//!
//! A tracer with all rights lets file capabilities work, so the helper does what it does for everybody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::errors::{Call, On, is_possible};

/// What happens at a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The process is killed before the call does anything.
    Kill,
    /// The call does nothing and fails.
    Fail(Errno),
}

/// One moment in the life of one process, and what happens there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The name of the process.
    pub process: String,
    /// Which of its system calls, from 1.
    pub at: u32,
    /// The number of that call. A process does not make the same calls each time, so an error waits for the next one of this
    /// number that can have it.
    pub number: i64,
    /// What happens.
    pub injection: Injection,
}

/// What a tracer is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task<'a> {
    /// Write down the system calls of every process.
    Record,
    /// Tamper with one.
    Inject(&'a Aim),
}

/// A system call that was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The call.
    pub call: Call,
    /// Stands for the place in the program, with its chain of callers; none when they could not be read.
    pub place: Option<u64>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The system calls of each process, when they were recorded.
    pub calls: BTreeMap<String, Vec<Recorded>>,
    /// The number of the system call at which the process was seen to die, or the call to fail; none when the process did not
    /// come so far.
    pub hit: Option<i64>,
    /// The command had ended before that, or had what it waits for from a monitor.
    pub hit_too_late: bool,
    /// Processes of Bryo that crashed, and how.
    pub crashes: Vec<String>,
    /// How the command ended, as a shell shows it; none when it took too long.
    pub status: Option<i32>,
}

/// Stops itself, so that the tracer can take hold of it before anything happens.
const STOPPED: &str = r#"kill -STOP $$; exec "$@""#;

/// How long nothing may happen after the end of the command before the rest is let go.
const QUIET: Duration = Duration::from_millis(12);

/// What Rust's programs exit with after a panic.
const PANICKED: i32 = 101;

/// Who a traced process is.
#[derive(Debug)]
struct Tracee {
    /// Its name; empty for the programs that lead to the command.
    name: String,
    calls: u32,
    /// Its next stop is the end of a call that was tampered with.
    failing: Option<Failing>,
}

/// A call that is to fail.
#[derive(Clone, Copy, Debug)]
struct Failing {
    /// What it returns; none for what the kernel made of it.
    errno: Option<Errno>,
    /// Its first argument, which is given back: code relies on registers that the kernel leaves alone.
    first: u64,
}

/// A command that is being traced.
#[derive(Debug)]
pub(crate) struct Tracer<'a> {
    root: Pid,
    task: Task<'a>,
    tracees: HashMap<Pid, Tracee>,
    /// Children that stopped before their parent told of them.
    early: HashSet<Pid>,
    /// How many children of a kind each process has had.
    children: HashMap<String, u32>,
    /// Who was tampered with, in which call. It counts as a hit when the kernel tells that it had its effect.
    tampered: Option<(Pid, i64)>,
    trace: Trace,
}

impl<'a> Tracer<'a> {
    /// Starts `command`, which is a chain of programs whose last is `bryo`, and takes hold of it; of process `monitor`
    /// too, when there is one. The calling thread is the tracer from here on.
    pub(crate) fn start(
        command: &Command,
        monitor: Option<i32>,
        task: Task<'a>,
    ) -> (Self, std::process::Child) {
        let mut stopped = Command::new("sh");
        stopped.args(["-c", STOPPED, "traced"]).arg(command.get_program()).args(command.get_args());
        stopped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = stopped.spawn().unwrap_or_else(|error| panic!("sh: {error}"));
        let root = Pid::from_raw(child.id().cast_signed());
        let mut tracer = Self {
            root,
            task,
            tracees: HashMap::new(),
            early: HashSet::new(),
            children: HashMap::new(),
            tampered: None,
            trace: Trace::default(),
        };
        let _stops = waitpid(root, Some(WaitPidFlag::WUNTRACED));
        tracer.seize(root, "");
        let _stops_again = waitpid(root, Some(WaitPidFlag::__WALL));
        let _goes_on = kill(root, Signal::SIGCONT);
        tracer.go_on(root, None);
        if let Some(pid) = monitor.map(Pid::from_raw) {
            tracer.seize(pid, "monitor");
            let _stops = ptrace::interrupt(pid);
        }
        (tracer, child)
    }

    fn seize(&mut self, pid: Pid, name: &str) {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        if ptrace::seize(pid, options).is_err() {
            // It has just ended.
            return;
        }
        self.tracees.insert(pid, Tracee { name: name.to_owned(), calls: 0, failing: None });
    }

    /// Follows everything until the command has ended and the rest is quiet. What still runs then is let go with the
    /// calling thread.
    pub(crate) fn run(mut self, patience: Duration) -> Trace {
        let deadline = Instant::now() + patience;
        let mut last = Instant::now();
        let any = Pid::from_raw(-1);
        // A nap of some microseconds is otherwise 50 longer.
        let _naps_are_longer = prctl::set_timerslack(1);
        // Without __WNOTHREAD this would take the children of other tests.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        let mut nap = 0;
        loop {
            match waitpid(any, Some(flags)) {
                Ok(WaitStatus::StillAlive) => {
                    if self.trace.status.is_some() && last.elapsed() > QUIET && !self.awaits_effect() {
                        return self.trace;
                    }
                    if Instant::now() > deadline {
                        return self.trace;
                    }
                    nap = (nap * 2 + 5).min(500);
                    std::thread::sleep(Duration::from_micros(nap));
                }
                Ok(status) => {
                    (last, nap) = (Instant::now(), 0);
                    self.take(status);
                }
                // A status that has no name here: a real-time signal.
                Err(Errno::EINVAL | Errno::EINTR) => {}
                Err(_) => return self.trace,
            }
        }
    }

    /// Tells whether the kernel still owes the effect of what was injected: on a busy machine even a kill takes time.
    fn awaits_effect(&self) -> bool {
        self.trace.hit.is_none() && self.tampered.is_some_and(|(pid, _)| self.tracees.contains_key(&pid))
    }

    fn take(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, code) => self.ended(pid, code, (code == PANICKED).then_some("a panic")),
            WaitStatus::Signaled(pid, signal, _) => {
                if signal == Signal::SIGKILL && self.trace.hit.is_none() {
                    self.trace.hit = self.number_tampered_with(pid);
                }
                let crash = is_crash(signal).then_some(signal.as_str());
                self.ended(pid, 128 + signal as i32, crash);
            }
            WaitStatus::PtraceSyscall(pid) => self.at_call(pid),
            WaitStatus::PtraceEvent(pid, _, event) => self.event(pid, event),
            WaitStatus::Stopped(pid, signal) if is_crash(signal) && is_first(pid) => {
                self.crashed(pid, signal)
            }
            WaitStatus::Stopped(pid, signal) => self.go_on(pid, Some(signal)),
            _ => {}
        }
    }

    fn number_tampered_with(&self, pid: Pid) -> Option<i64> {
        self.tampered.filter(|(who, _)| *who == pid).map(|(_, number)| number)
    }

    /// Ends the first process of a PID namespace that has crashed, as the kernel does by a signal that nothing can hold up. What
    /// a tracer passes on is an ordinary one, which such a process never gets: it would crash again, and for ever.
    fn crashed(&mut self, pid: Pid, signal: Signal) {
        if let Some(tracee) = self.tracees.get(&pid).filter(|tracee| !tracee.name.is_empty()) {
            self.trace.crashes.push(format!("{} ended by {}", tracee.name, signal.as_str()));
        }
        let _gone = kill(pid, Signal::SIGKILL);
        self.go_on(pid, None);
    }

    fn ended(&mut self, pid: Pid, status: i32, crash: Option<&str>) {
        let tracee = self.tracees.remove(&pid);
        if let (Some(tracee), Some(how)) = (tracee, crash)
            && !tracee.name.is_empty()
        {
            self.trace.crashes.push(format!("{} ended by {how}", tracee.name));
        }
        if pid == self.root {
            self.trace.status = Some(status);
        }
    }

    fn event(&mut self, pid: Pid, event: i32) {
        const FORK: i32 = Event::PTRACE_EVENT_FORK as i32;
        const VFORK: i32 = Event::PTRACE_EVENT_VFORK as i32;
        const CLONE: i32 = Event::PTRACE_EVENT_CLONE as i32;
        const EXEC: i32 = Event::PTRACE_EVENT_EXEC as i32;
        match event {
            FORK | VFORK | CLONE => self.forked(pid),
            EXEC => return self.executed(pid),
            _ if !self.tracees.contains_key(&pid) => {
                self.early.insert(pid);
                return;
            }
            _ => {}
        }
        self.go_on(pid, None);
    }

    fn forked(&mut self, parent: Pid) {
        let Ok(child) = ptrace::getevent(parent) else { return };
        let child = Pid::from_raw(child as i32);
        let name = match self.tracees.get(&parent).map(|tracee| tracee.name.clone()) {
            Some(name) if !name.is_empty() => self.child_of(&name, kind_of_clone(parent)),
            _ => String::new(),
        };
        self.tracees.insert(child, Tracee { name, calls: 0, failing: None });
        if self.early.remove(&child) {
            self.go_on(child, None);
        }
    }

    fn child_of(&mut self, parent: &str, kind: &str) -> String {
        let name = format!("{parent}/{kind}");
        let count = self.children.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}{count}") }
    }

    /// Names the process by its new program. One that is not Bryo's is let go: the container's init, or a hook.
    fn executed(&mut self, pid: Pid) {
        let old = self.tracees.get(&pid).map(|tracee| tracee.name.clone()).unwrap_or_default();
        let parent = old.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
        let name = match program(pid).as_deref() {
            Some("bryo") => "cli".to_owned(),
            Some("bryo-monitor") if old.starts_with("monitor") => self.child_of("monitor", "attach"),
            Some("bryo-monitor") => "monitor".to_owned(),
            Some("bryo-init") => format!("{parent}/bryo-init"),
            Some(other) => match other.strip_prefix("bryo-") {
                Some(kind) => self.child_of(&parent, kind),
                None if old.is_empty() => return self.go_on(pid, None),
                None => {
                    self.tracees.remove(&pid);
                    let _gone = ptrace::detach(pid, None);
                    return;
                }
            },
            None => old,
        };
        self.tracees.insert(pid, Tracee { name, calls: 0, failing: None });
        self.go_on(pid, None);
    }

    fn at_call(&mut self, pid: Pid) {
        let op = ptrace::syscall_info(pid).map(|info| info.op).unwrap_or_default();
        if op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            self.enters(pid);
        } else if op == libc::PTRACE_SYSCALL_INFO_EXIT {
            self.leaves(pid);
        }
        self.go_on(pid, None);
    }

    fn enters(&mut self, pid: Pid) {
        let Some(tracee) = self.tracees.get_mut(&pid) else { return };
        tracee.calls += 1;
        let Ok(number) = registers::number(pid) else { return };
        match self.task {
            Task::Record => {
                let recorded = Recorded { call: call(pid, number), place: place(pid) };
                self.trace.calls.entry(tracee.name.clone()).or_default().push(recorded);
            }
            Task::Inject(aim)
                if aim.process == tracee.name && aim.at <= tracee.calls && self.tampered.is_none() =>
            {
                match aim.injection {
                    Injection::Kill => drop(kill(pid, Signal::SIGKILL)),
                    Injection::Fail(_) if number != aim.number => return,
                    Injection::Fail(errno) if !is_possible(call(pid, number), errno) => return,
                    Injection::Fail(errno) => tracee.failing = tamper(pid, number, errno).ok(),
                }
                self.tampered = Some((pid, number));
                let outside = aim.process.starts_with("monitor");
                self.trace.hit_too_late = self.trace.status.is_some() || outside && !waits(self.root);
            }
            Task::Inject(_) => {}
        }
    }

    fn leaves(&mut self, pid: Pid) {
        let failing = self.tracees.get_mut(&pid).and_then(|tracee| tracee.failing.take());
        if let Some(Failing { errno, first }) = failing
            && registers::restore(pid, errno, first).is_ok()
        {
            self.trace.hit = self.number_tampered_with(pid);
        }
    }

    /// Lets a stopped process go on; to its next system call only where that is of interest.
    fn go_on(&self, pid: Pid, signal: Option<Signal>) {
        let tracee = self.tracees.get(&pid);
        let counts = tracee.is_some_and(|tracee| match self.task {
            Task::Record => !tracee.name.is_empty(),
            Task::Inject(aim) => {
                tracee.failing.is_some() || self.tampered.is_none() && tracee.name == aim.process
            }
        });
        let _gone = if counts { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) };
    }
}

/// Makes the call that a process enters one that does nothing.
fn tamper(pid: Pid, number: i64, errno: Errno) -> nix::Result<Failing> {
    let first = registers::first(pid)?;
    match number {
        // It has no error, and returns the old end where it cannot move it. So it does for an address of 0.
        libc::SYS_brk => registers::replace(pid, number, 0)?,
        // It closes whatever it returns.
        libc::SYS_close => {}
        // No call at all (-1) would be killed by a filter of system calls, which looks after the tracer.
        _ => registers::replace(pid, libc::SYS_close, u64::MAX)?,
    }
    Ok(Failing { errno: (number != libc::SYS_brk).then_some(errno), first })
}

/// Tells whether a process is the first of its PID namespace. Source: proc_pid_status(5), `NSpid`.
fn is_first(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
}

/// Describes the call that a process enters.
fn call(pid: Pid, number: i64) -> Call {
    const TAKE_FD: [i64; 4] = [libc::SYS_read, libc::SYS_write, libc::SYS_writev, libc::SYS_close];
    if number == libc::SYS_futex {
        let command = registers::second(pid).unwrap_or_default() as i32 & libc::FUTEX_CMD_MASK;
        let waits = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].contains(&command);
        return Call { number, on: if waits { On::Waiting } else { On::Waking } };
    }
    if !TAKE_FD.contains(&number) {
        return Call { number, on: On::Other };
    }
    let path = format!("/proc/{pid}/fd/{}", registers::first(pid).unwrap_or_default());
    let target = fs::read_link(&path).unwrap_or_default();
    let is_stream = ["pipe:", "socket:"].iter().any(|kind| target.to_string_lossy().starts_with(kind));
    let is_file = || fs::metadata(&path).is_ok_and(|found| found.is_file());
    let on = if is_stream {
        On::Stream
    } else if is_file() {
        On::File
    } else {
        On::Other
    };
    Call { number, on }
}

/// How far up the stack callers are looked for.
const STACK: usize = 4096;

/// Names the place in its program from which a process makes the call that it enters, by the instruction, the depth of the
/// stack, and what on it points into code: the return addresses. What an earlier call has left there can only make two
/// equal places look different.
fn place(pid: Pid) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let (instruction, stack) = registers::place(pid).ok()?;
    (instruction, stack).hash(&mut hasher);
    let code = code_of(pid)?;
    let mut words = vec![0; STACK];
    let read = fs::File::open(format!("/proc/{pid}/mem")).ok()?.read_at(&mut words, stack).ok()?;
    let words = words[..read].chunks_exact(size_of::<u64>());
    words
        .filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
        .filter(|word| code.iter().any(|range| range.contains(word)))
        .for_each(|word| word.hash(&mut hasher));
    Some(hasher.finish())
}

/// Returns where a process has executable code. Source: proc_pid_maps(5).
fn code_of(pid: Pid) -> Option<Vec<Range<u64>>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let range = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        rest.starts_with("r-x").then_some(number(start)?..number(end)?)
    };
    Some(maps.lines().filter_map(range).collect())
}

/// Tells whether a process sleeps in a system call. Who was sent what it waits for does not sleep any more, even before it
/// runs. Source: proc_pid_stat(5).
fn waits(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('S'))
}

/// Signals that a correct program does not end by.
fn is_crash(signal: Signal) -> bool {
    use Signal as S;
    [S::SIGABRT, S::SIGSEGV, S::SIGBUS, S::SIGILL, S::SIGFPE, S::SIGTRAP, S::SIGSYS].contains(&signal)
}

/// Returns the name of the program that a process runs.
fn program(pid: Pid) -> Option<String> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = exe.file_name()?.to_string_lossy().into_owned();
    // Where a container's root has the caller's id, the monitor runs from a copy in memory.
    let name = name.trim_end_matches(" (deleted)");
    Some(name.strip_prefix("memfd:").unwrap_or(name).to_owned())
}

/// Says what a process clones, by the flags of the call it is in.
fn kind_of_clone(parent: Pid) -> &'static str {
    match registers::clone_flags(parent).unwrap_or_default() {
        flags if flags & libc::CLONE_NEWPID as u64 != 0 => "init",
        flags if flags & libc::CLONE_NEWUSER as u64 != 0 => "namespace",
        flags if flags & libc::CLONE_THREAD as u64 != 0 => "thread",
        _ => "worker",
    }
}

/// The registers of a system call, the one part that each architecture has for itself.
#[cfg(target_arch = "x86_64")]
mod registers {
    use super::{Errno, Pid, ptrace};

    pub(super) fn number(pid: Pid) -> nix::Result<i64> {
        Ok(ptrace::getregs(pid)?.orig_rax.cast_signed())
    }

    pub(super) fn first(pid: Pid) -> nix::Result<u64> {
        Ok(ptrace::getregs(pid)?.rdi)
    }

    pub(super) fn second(pid: Pid) -> nix::Result<u64> {
        Ok(ptrace::getregs(pid)?.rsi)
    }

    /// Returns the instruction and the end of the stack.
    pub(super) fn place(pid: Pid) -> nix::Result<(u64, u64)> {
        let registers = ptrace::getregs(pid)?;
        Ok((registers.rip, registers.rsp))
    }

    /// Puts another call with another first argument in place of the one that a process enters.
    pub(super) fn replace(pid: Pid, number: i64, first: u64) -> nix::Result<()> {
        let mut registers = ptrace::getregs(pid)?;
        registers.orig_rax = number.cast_unsigned();
        registers.rdi = first;
        ptrace::setregs(pid, registers)
    }

    /// Gives back the first argument to the call that a process leaves, and lets it fail.
    pub(super) fn restore(pid: Pid, errno: Option<Errno>, first: u64) -> nix::Result<()> {
        let mut registers = ptrace::getregs(pid)?;
        registers.rdi = first;
        if let Some(errno) = errno {
            registers.rax = i64::from(-(errno as i32)).cast_unsigned();
        }
        ptrace::setregs(pid, registers)
    }

    /// Returns the flags of the clone that a process is in.
    pub(super) fn clone_flags(pid: Pid) -> nix::Result<u64> {
        let registers = ptrace::getregs(pid)?;
        match registers.orig_rax.cast_signed() {
            libc::SYS_clone => Ok(registers.rdi),
            // The flags are the first member of its clone_args.
            libc::SYS_clone3 => Ok(ptrace::read(pid, registers.rdi as ptrace::AddressType)?.cast_unsigned()),
            _ => Ok(0),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod registers {
    use super::{Errno, Pid};

    pub(super) fn number(_: Pid) -> nix::Result<i64> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn first(_: Pid) -> nix::Result<u64> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn second(_: Pid) -> nix::Result<u64> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn place(_: Pid) -> nix::Result<(u64, u64)> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn replace(_: Pid, _: i64, _: u64) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn restore(_: Pid, _: Option<Errno>, _: u64) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn clone_flags(_: Pid) -> nix::Result<u64> {
        Err(Errno::ENOSYS)
    }
}
