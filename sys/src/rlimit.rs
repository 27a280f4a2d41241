//! Resource limits of the process. Source: getrlimit(2).

use crate::error::{Result, cvt};

/// The value that means no limit.
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

/// Names (as `lxc.prlimit.NAME` has them) and numbers on Linux.
const NAMES: [(&str, libc::__rlimit_resource_t); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Returns the number of the resource with this lower-case name.
pub fn by_name(name: &str) -> Option<u32> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Returns the soft and hard limit of a resource of this process.
pub fn get(resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit to the pointer, which outlives the call.
    cvt(unsafe { libc::getrlimit(resource, &raw mut limit) }.into(), || format!("getrlimit({resource})"))?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft and hard limit of a resource of this process.
pub fn set(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one rlimit from the pointer, which outlives the call.
    let done = unsafe { libc::setrlimit(resource, &raw const limit) };
    cvt(done.into(), || format!("setrlimit({resource}, {soft}, {hard})")).map(drop)
}

/// Lets this process open as many files as its hard limit allows.
pub fn raise_files() -> Result<()> {
    let (_soft, hard) = get(libc::RLIMIT_NOFILE)?;
    set(libc::RLIMIT_NOFILE, hard, hard)
}
