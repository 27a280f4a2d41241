//! System calls, asked whether they are there at all.

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

/// Returns the calls that join namespaces and make mounts and that are refused. Only root of an own user and mount
/// namespace learns something by it: to others the kernel itself refuses some.
pub fn refused_mounting_calls() -> impl Iterator<Item = &'static str> {
    MOUNTING.iter().filter(|(_, number)| is_refused(*number)).map(|(name, _)| *name)
}

/// Returns the names of all calls that [`refused_mounting_calls`] asks for.
pub fn mounting_calls() -> impl Iterator<Item = &'static str> {
    MOUNTING.iter().map(|(name, _)| *name)
}

/// Tells whether sethostname(2) is refused; to be asked as root of an own UTS namespace.
pub fn refuses_hostname() -> bool {
    is_refused(libc::SYS_sethostname)
}

/// Tells whether clone3(2) can be used. Filters cannot read its arguments, so those that look at the flags of clone(2)
/// refuse it as a whole.
pub fn has_clone3() -> bool {
    // SAFETY: with a size of 0 the kernel reads no arguments and answers EINVAL.
    unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0usize) };
    !last_was_refusal()
}

/// Makes a call with arguments that make no sense for it (all bits set), so that it does nothing, whoever answers: the
/// kernel finds a bad fd, flag or address, a filter finds the number.
fn is_refused(number: libc::c_long) -> bool {
    const NONSENSE: libc::c_long = -1;
    // SAFETY: each call that is asked for here refuses these arguments: -1 is no fd, no set of flags, no length, and no
    // address.
    unsafe { libc::syscall(number, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE) };
    last_was_refusal()
}

fn last_was_refusal() -> bool {
    matches!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EPERM | libc::ENOSYS))
}
