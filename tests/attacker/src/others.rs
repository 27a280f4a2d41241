//! Harm to a process outside that belongs to the same user, where the PID namespace is shared: not by signals but by the
//! limits and the share of the machine that it has.

use crate::{Attempts, sys, unless_refused};

/// Bits that the kernel does not look at in a pid, and a careless filter does.
const GARBAGE: u64 = 1 << 40;
/// How a call names one process, and all processes of a user, where it can name both.
const PRIO_PROCESS: u64 = libc::PRIO_PROCESS as u64;
const PRIO_USER: u64 = libc::PRIO_USER as u64;
const IOPRIO_WHO_PROCESS: u64 = 1;
const IOPRIO_WHO_USER: u64 = 3;
/// Nobody waits for the disk longer than a process of the idle class. Source: ioprio_set(2).
const IDLE: u64 = 3 << 13;
const NICEST: u64 = 19;

/// Tries every call on process `pid`. One that the kernel gets to see is a breach, whatever it answers.
pub(crate) fn attack(pid: &str) -> Attempts {
    let pid: u64 = pid.parse().unwrap_or(1);
    let mut found = Attempts::default();
    for pid in [pid, pid | GARBAGE] {
        for (name, number, arguments) in [
            ("prlimit64", libc::SYS_prlimit64, [pid, u64::from(libc::RLIMIT_FSIZE), 0]),
            ("sched_setaffinity", libc::SYS_sched_setaffinity, [pid, 8, 0]),
            ("sched_setscheduler", libc::SYS_sched_setscheduler, [pid, libc::SCHED_IDLE as u64, 0]),
            ("sched_setparam", libc::SYS_sched_setparam, [pid, 0, 0]),
            ("sched_setattr", libc::SYS_sched_setattr, [pid, 0, 0]),
            ("setpriority", libc::SYS_setpriority, [PRIO_PROCESS, pid, NICEST]),
            ("ioprio_set", libc::SYS_ioprio_set, [IOPRIO_WHO_PROCESS, pid, IDLE]),
        ] {
            try_call(&mut found, name, number, arguments);
        }
    }
    for garbage in [0, GARBAGE] {
        let (all, all_of_io) = (PRIO_USER | garbage, IOPRIO_WHO_USER | garbage);
        try_call(&mut found, "setpriority of all", libc::SYS_setpriority, [all, 0, NICEST]);
        try_call(&mut found, "ioprio_set of all", libc::SYS_ioprio_set, [all_of_io, 0, IDLE]);
    }
    found
}

fn try_call(found: &mut Attempts, name: &str, number: i64, arguments: [u64; 3]) {
    found.count(name, unless_refused(sys::call(number, arguments), libc::EPERM));
    let x32 = sys::call(number | sys::X32_BIT, arguments);
    found.count(&format!("{name} by x32"), unless_refused(x32, libc::ENOSYS));
}
