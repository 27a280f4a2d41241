//! Asks the kernel what it lets this process do: by calls whose arguments make no sense, and in processes that end at once,
//! so that what is made there goes with them.
//!
//! A setting in /proc says what the kernel was told; only a try says what it answers, whatever switch, security module,
//! filter or limit of an outer namespace is behind it.

use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Call, Errno, Error, Result, cvt};
use crate::process::flags;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// clone3(2) of a user namespace, as a start does it.
    User,
    /// clone(2) of one, which a start falls back to; asked only where clone3 refused.
    UserByClone,
    /// A right inside the user namespace: a UTS namespace.
    Rights,
    /// All namespaces of a container at once.
    All,
    /// A new procfs in them.
    Proc,
    /// A new sysfs in them.
    Sysfs,
}

/// The questions, in the order of their numbers.
const QUESTIONS: [Question; 6] =
    [Question::User, Question::UserByClone, Question::Rights, Question::All, Question::Proc, Question::Sysfs];

/// What a container's mounts are made with, by the names of the manual pages.
const MOUNTING: [(&str, libc::c_long); 10] = [
    ("unshare", libc::SYS_unshare),
    ("setns", libc::SYS_setns),
    ("pivot_root", libc::SYS_pivot_root),
    ("umount2", libc::SYS_umount2),
    ("fsopen", libc::SYS_fsopen),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
];

/// Returns the names of the calls that join namespaces and make mounts.
pub fn mounting_calls() -> impl Iterator<Item = &'static str> {
    MOUNTING.iter().map(|(name, _)| *name)
}

/// Tells whether one of [`mounting_calls`] is refused. Only root of an own user and mount namespace learns something by it:
/// to others the kernel itself refuses some.
pub fn refuses_mounting_call(name: &str) -> bool {
    MOUNTING.iter().any(|(known, number)| *known == name && is_refusal(nonsense(*number)))
}

/// Tells whether sethostname(2) is refused; to be asked as root of an own UTS namespace.
pub fn refuses_hostname() -> bool {
    is_refusal(nonsense(libc::SYS_sethostname))
}

/// Tells whether clone3(2) can be used. Filters cannot read its arguments, so those that look at the flags of clone(2)
/// refuse it as a whole.
pub fn has_clone3() -> bool {
    // SAFETY: with a size of 0 the kernel reads no arguments and answers EINVAL.
    let done = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0usize) };
    !is_refusal(errno_of(done))
}

/// Makes a call with arguments that make no sense for it (all bits set), so that it does nothing, whoever answers: the
/// kernel finds a bad fd, flag or address, a filter finds the number. Returns the errno.
fn nonsense(number: libc::c_long) -> i32 {
    const NONSENSE: libc::c_long = -1;
    // SAFETY: each call that is asked for here refuses these arguments: -1 is no fd, no set of flags, no length, and no
    // address.
    errno_of(unsafe { libc::syscall(number, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE) })
}

fn is_refusal(errno: i32) -> bool {
    matches!(errno, libc::EPERM | libc::ENOSYS)
}

/// Calls that a start makes and that old kernels and some filters do not have: asked with arguments that make no sense,
/// which a kernel that has the call refuses by another error than ENOSYS.
const CALLS: [(&str, libc::c_long); 8] = [
    ("openat2", libc::SYS_openat2),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("fsopen", libc::SYS_fsopen),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("close_range", libc::SYS_close_range),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("memfd_create", libc::SYS_memfd_create),
];

/// The namespaces of a container.
const CONTAINER: u64 = flags::NEWUSER
    | flags::NEWNS
    | flags::NEWPID
    | flags::NEWNET
    | flags::NEWUTS
    | flags::NEWIPC
    | flags::NEWCGROUP;

/// What the kernel answered to one question.
pub type Answer = std::result::Result<(), Errno>;

/// What the kernel answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    given: Vec<(Question, Answer)>,
    /// Calls that are not there (ENOSYS).
    pub missing_calls: Vec<&'static str>,
    /// The signal that ended the asking process, as a filter sends it.
    pub killed_by: Option<i32>,
}

impl Answers {
    /// Returns the answer to a question, if it was asked and answered.
    pub fn to(&self, question: Question) -> Option<Answer> {
        self.given.iter().find(|(asked, _)| *asked == question).map(|(_, answer)| *answer)
    }

    /// Adds an answer: for made-up hosts in tests, and for what comes from the asking process.
    pub fn with(mut self, question: Question, answer: Answer) -> Self {
        self.given.retain(|(asked, _)| *asked != question);
        self.given.push((question, answer));
        self
    }
}

/// Asks everything, in a process of its own: a filter may kill who asks.
pub fn ask() -> Result<Answers> {
    let (mut reader, writer) = std::io::pipe().call(|| "pipe2()".to_owned())?;
    // SAFETY: the child makes system calls alone, allocates nothing, and ends by _exit, so no lock that another thread
    // of the caller may hold is waited for.
    let pid = cvt(unsafe { libc::fork() }.into(), || "fork()".to_owned())? as i32;
    if pid == 0 {
        ask_all(writer.as_raw_fd());
        crate::process::exit_now(0);
    }
    drop(writer);
    let mut bytes = Vec::new();
    let read = reader.read_to_end(&mut bytes).call(|| "read(pipe)".to_owned());
    let status = wait_for(pid);
    read?;
    let killed_by = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    Ok(parse(&bytes, killed_by))
}

/// An answer on the pipe: which question or call, and the errno or 0.
const RECORD: usize = 8;

/// Calls are numbered after the questions.
const FIRST_CALL: usize = 100;

fn parse(bytes: &[u8], killed_by: Option<i32>) -> Answers {
    let mut answers = Answers { killed_by, ..Answers::default() };
    for record in bytes.chunks_exact(RECORD) {
        let word =
            |at: usize| i32::from_ne_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        let (number, errno) = (word(0) as usize, word(4));
        let answer = if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno)) };
        if let Some(question) = QUESTIONS.get(number) {
            answers = answers.with(*question, answer);
        } else if let Some((name, _)) = CALLS.get(number.wrapping_sub(FIRST_CALL))
            && answer == Err(Errno::ENOSYS)
        {
            answers.missing_calls.push(name);
        }
    }
    answers
}

/// Writes an answer. Nobody could be told of a failure.
fn say(pipe: RawFd, number: usize, errno: i32) {
    let mut record = [0; RECORD];
    record[..4].copy_from_slice(&(number as i32).to_ne_bytes());
    record[4..].copy_from_slice(&errno.to_ne_bytes());
    // SAFETY: the record is a live array of the given length.
    let _unheard = unsafe { libc::write(pipe, record.as_ptr().cast(), RECORD) };
}

/// Returns the errno of a call, 0 for success.
fn errno_of(value: libc::c_long) -> i32 {
    if value == -1 { Errno::last_raw() } else { 0 }
}

/// Runs in the asking process. The calls come last: a filter that kills for one of them has then answered the questions.
fn ask_all(pipe: RawFd) {
    ask_questions(pipe);
    for (index, (_, number)) in CALLS.iter().enumerate() {
        say(pipe, FIRST_CALL + index, nonsense(*number));
    }
}

fn ask_questions(pipe: RawFd) {
    let ask_rights = |pipe| {
        // SAFETY: unshare takes an integer, and this process ends right after.
        let right = unsafe { libc::unshare(libc::CLONE_NEWUTS) };
        say(pipe, Question::Rights as usize, errno_of(right.into()));
    };
    let by = match in_clone(pipe, Question::User, clone3, flags::NEWUSER, ask_rights) {
        0 => clone3,
        errno
            if is_refusal(errno)
                && in_clone(pipe, Question::UserByClone, clone2, flags::NEWUSER, ask_rights) == 0 =>
        {
            clone2
        }
        _ => return,
    };
    in_clone(pipe, Question::All, by, CONTAINER, |pipe| {
        say(pipe, Question::Proc as usize, new_filesystem("proc"));
        say(pipe, Question::Sysfs as usize, new_filesystem("sysfs"));
    });
}

/// A way to clone into new namespaces. Returns 0 in the child, its pid or -1 in the caller.
type Clone = fn(new: u64) -> libc::c_long;

fn clone3(new: u64) -> libc::c_long {
    // SAFETY: an all-zero clone_args is a valid one; the fields that matter follow.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    (args.flags, args.exit_signal) = (new, libc::SIGCHLD as u64);
    // SAFETY: without CLONE_VM the child has its own copy of the memory; it makes system calls alone and ends by _exit.
    unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) }
}

fn clone2(new: u64) -> libc::c_long {
    let flags = new as libc::c_long | libc::c_long::from(libc::SIGCHLD);
    let (first, second) = if cfg!(target_arch = "s390x") { (0, flags) } else { (flags, 0) };
    // SAFETY: as in `clone3`; no flag asks for the last three arguments.
    unsafe { libc::syscall(libc::SYS_clone, first, second, 0, 0, 0) }
}

/// Clones into new namespaces, answers the question by how that went, and runs `work` there. Returns the errno, or 0.
fn in_clone(pipe: RawFd, question: Question, by: Clone, new: u64, work: fn(RawFd)) -> i32 {
    let pid = by(new);
    let errno = errno_of(pid);
    if pid == 0 {
        work(pipe);
        crate::process::exit_now(0)
    }
    say(pipe, question as usize, errno);
    if pid > 0 {
        wait_for(pid as i32);
    }
    errno
}

fn wait_for(pid: i32) -> libc::c_int {
    let mut status = 0;
    // SAFETY: the status is a live integer. ECHILD, where the caller lets the kernel reap, leaves it 0.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 && Errno::last_raw() == libc::EINTR {}
    status
}

/// Tries to get a new file system with the attributes that a container's has, and drops it. Returns the errno, or 0.
fn new_filesystem(fstype: &str) -> i32 {
    let attrs = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let tried = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attrs)
    });
    tried.err().map_or(0, |e| e.raw_os_error())
}

/// Returns the error of a question, as strace would show the call.
pub fn shown(question: Question, errno: Errno) -> Error {
    let call = match question {
        Question::User => "clone3(CLONE_NEWUSER)",
        Question::UserByClone => "clone(CLONE_NEWUSER)",
        Question::Rights => "unshare(CLONE_NEWUTS) in a new user namespace",
        Question::All => "a clone of all namespaces of a container",
        Question::Proc => "fsmount() of a new proc",
        Question::Sysfs => "fsmount() of a new sysfs",
    };
    Error::new(call, errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_by_number_and_a_missing_call_by_name() {
        let record = |number: i32, errno: i32| [number.to_ne_bytes(), errno.to_ne_bytes()].concat();
        let bytes =
            [record(0, 0), record(4, libc::EPERM), record(104, libc::ENOSYS), record(105, libc::EINVAL)];
        let answers = parse(&bytes.concat(), Some(31));
        assert_eq!(answers.to(Question::User), Some(Ok(())));
        assert_eq!(answers.to(Question::Proc), Some(Err(Errno::EPERM)));
        assert_eq!(answers.to(Question::Sysfs), None);
        assert_eq!((answers.missing_calls, answers.killed_by), (vec!["mount_setattr"], Some(31)));
    }

    #[test]
    fn the_numbers_of_questions_are_their_places() {
        assert!(QUESTIONS.iter().enumerate().all(|(place, question)| *question as usize == place));
    }

    #[test]
    fn asking_leaves_this_process_where_it_is() {
        let of = |name| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let before = [of("user"), of("uts"), of("mnt")];
        let answers = ask().unwrap();
        assert!(answers.to(Question::User).is_some());
        assert_eq!([of("user"), of("uts"), of("mnt")], before);
    }
}
