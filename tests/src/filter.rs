//! System call filters such as container engines put in force, as data; `under-filter` loads one and becomes a program.
//!
//! Their lists are ours; what they do is what a runtime meets inside a container of a common engine: calls that need a
//! capability of the host answer EPERM, and clone3, whose arguments no filter can read, ENOSYS, so that programs use clone.

use libc::{EPERM, c_long};
use sys::seccomp::Instruction;

/// A filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// There is no clone3, and nothing else is refused.
    NoClone3,
    /// clone3 is forbidden instead of absent (EPERM), and nothing else is refused.
    ForbiddenClone3,
    /// An engine's list that lets namespaces and mounts through.
    Open,
    /// An engine's usual list: namespaces and mounts need CAP_SYS_ADMIN.
    Closed,
    /// As [`Open`](Self::Open), made before the mount calls of Linux 5.2 and later were known.
    OldMounts,
    /// There is no mount_setattr, as before Linux 5.12, and nothing else is refused.
    NoMountSetattr,
    /// As [`Open`](Self::Open), on a kernel without Landlock, whose scope of signals came with Linux 6.12.
    NoLandlock,
    /// Whoever makes mounts is killed, as systemd's `SystemCallFilter=~@mount` does, and nothing else is refused.
    DeadlyMounts,
    /// Whoever clones into new namespaces is killed, and nothing else is refused.
    DeadlyNamespaces,
}

/// All filters.
const ALL: [Filter; 9] = [
    Filter::NoClone3,
    Filter::ForbiddenClone3,
    Filter::Open,
    Filter::Closed,
    Filter::OldMounts,
    Filter::NoMountSetattr,
    Filter::NoLandlock,
    Filter::DeadlyMounts,
    Filter::DeadlyNamespaces,
];

/// A call, and what is done with it.
struct Rule(c_long, Answer);

/// What is done with a call.
#[derive(Clone, Copy)]
enum Answer {
    /// It fails.
    Fails(i32),
    /// It fails with EPERM when its first argument has one of these bits.
    FailsWith(u32),
    /// It kills the process.
    Kills,
    /// It kills the process when its first argument has one of these bits.
    KillsWith(u32),
    /// It fails with EPERM unless its first argument is one of these.
    Only(&'static [u32]),
}

use Answer::{Fails, FailsWith, Kills, KillsWith, Only};

/// Every CLONE_NEW* that clone(2) knows.
const NEW_NAMESPACES: u32 = 0x7E02_0000;

/// Execution domains that change nothing of how memory is protected: Linux, 32 bits, the old version number, both; and
/// the question.
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, u32::MAX];

const NO_CLONE3: [Rule; 1] = [Rule(libc::SYS_clone3, Fails(libc::ENOSYS))];
const FORBIDDEN_CLONE3: [Rule; 1] = [Rule(libc::SYS_clone3, Fails(EPERM))];

const NO_LANDLOCK: [Rule; 1] = [Rule(libc::SYS_landlock_create_ruleset, Fails(libc::ENOSYS))];
const NO_MOUNT_SETATTR: [Rule; 1] = [Rule(libc::SYS_mount_setattr, Fails(libc::ENOSYS))];

/// What both kinds of list refuse.
const ALWAYS: [Rule; 33] = [
    Rule(libc::SYS_acct, Fails(EPERM)),
    Rule(libc::SYS_add_key, Fails(EPERM)),
    Rule(libc::SYS_bpf, Fails(EPERM)),
    Rule(libc::SYS_clock_settime, Fails(EPERM)),
    Rule(libc::SYS_delete_module, Fails(EPERM)),
    Rule(libc::SYS_fanotify_init, Fails(EPERM)),
    Rule(libc::SYS_finit_module, Fails(EPERM)),
    Rule(libc::SYS_get_mempolicy, Fails(EPERM)),
    Rule(libc::SYS_init_module, Fails(EPERM)),
    Rule(libc::SYS_io_uring_enter, Fails(EPERM)),
    Rule(libc::SYS_io_uring_register, Fails(EPERM)),
    Rule(libc::SYS_io_uring_setup, Fails(EPERM)),
    Rule(libc::SYS_kcmp, Fails(EPERM)),
    Rule(libc::SYS_kexec_file_load, Fails(EPERM)),
    Rule(libc::SYS_kexec_load, Fails(EPERM)),
    Rule(libc::SYS_keyctl, Fails(EPERM)),
    Rule(libc::SYS_mbind, Fails(EPERM)),
    Rule(libc::SYS_move_pages, Fails(EPERM)),
    Rule(libc::SYS_open_by_handle_at, Fails(EPERM)),
    Rule(libc::SYS_perf_event_open, Fails(EPERM)),
    Rule(libc::SYS_personality, Only(PERSONALITIES)),
    Rule(libc::SYS_quotactl, Fails(EPERM)),
    Rule(libc::SYS_reboot, Fails(EPERM)),
    Rule(libc::SYS_request_key, Fails(EPERM)),
    Rule(libc::SYS_set_mempolicy, Fails(EPERM)),
    Rule(libc::SYS_setdomainname, Fails(EPERM)),
    Rule(libc::SYS_sethostname, Fails(EPERM)),
    Rule(libc::SYS_settimeofday, Fails(EPERM)),
    Rule(libc::SYS_swapoff, Fails(EPERM)),
    Rule(libc::SYS_swapon, Fails(EPERM)),
    Rule(libc::SYS_syslog, Fails(EPERM)),
    Rule(libc::SYS_userfaultfd, Fails(EPERM)),
    Rule(libc::SYS_vhangup, Fails(EPERM)),
];

/// What only the usual list refuses.
const NAMESPACES_AND_MOUNTS: [Rule; 6] = [
    Rule(libc::SYS_clone, FailsWith(NEW_NAMESPACES)),
    Rule(libc::SYS_mount, Fails(EPERM)),
    Rule(libc::SYS_pivot_root, Fails(EPERM)),
    Rule(libc::SYS_setns, Fails(EPERM)),
    Rule(libc::SYS_umount2, Fails(EPERM)),
    Rule(libc::SYS_unshare, Fails(EPERM)),
];

/// The mount calls of Linux 5.2 and 5.12.
const NEW_MOUNT_CALLS: [Rule; 7] = [
    Rule(libc::SYS_fsconfig, Fails(EPERM)),
    Rule(libc::SYS_fsmount, Fails(EPERM)),
    Rule(libc::SYS_fsopen, Fails(EPERM)),
    Rule(libc::SYS_fspick, Fails(EPERM)),
    Rule(libc::SYS_mount_setattr, Fails(EPERM)),
    Rule(libc::SYS_move_mount, Fails(EPERM)),
    Rule(libc::SYS_open_tree, Fails(EPERM)),
];

const DEADLY_MOUNTS: [Rule; 11] = [
    Rule(libc::SYS_chroot, Kills),
    Rule(libc::SYS_fsconfig, Kills),
    Rule(libc::SYS_fsmount, Kills),
    Rule(libc::SYS_fsopen, Kills),
    Rule(libc::SYS_fspick, Kills),
    Rule(libc::SYS_mount, Kills),
    Rule(libc::SYS_mount_setattr, Kills),
    Rule(libc::SYS_move_mount, Kills),
    Rule(libc::SYS_open_tree, Kills),
    Rule(libc::SYS_pivot_root, Kills),
    Rule(libc::SYS_umount2, Kills),
];
const DEADLY_NAMESPACES: [Rule; 1] = [Rule(libc::SYS_clone, KillsWith(NEW_NAMESPACES))];

impl Filter {
    /// Returns the word for it on the command line of `under-filter`.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoClone3 => "no-clone3",
            Self::ForbiddenClone3 => "forbidden-clone3",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::OldMounts => "old-mounts",
            Self::NoMountSetattr => "no-mount-setattr",
            Self::NoLandlock => "no-landlock",
            Self::DeadlyMounts => "deadly-mounts",
            Self::DeadlyNamespaces => "deadly-namespaces",
        }
    }

    /// Returns the filter of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        ALL.into_iter().find(|filter| filter.word() == word)
    }

    fn rules(self) -> Vec<&'static Rule> {
        let lists: &[&'static [Rule]] = match self {
            Self::NoClone3 => &[&NO_CLONE3],
            Self::ForbiddenClone3 => &[&FORBIDDEN_CLONE3],
            Self::Open => &[&NO_CLONE3, &ALWAYS],
            Self::Closed => &[&NO_CLONE3, &ALWAYS, &NAMESPACES_AND_MOUNTS, &NEW_MOUNT_CALLS],
            Self::OldMounts => &[&NO_CLONE3, &ALWAYS, &NEW_MOUNT_CALLS],
            Self::NoMountSetattr => &[&NO_MOUNT_SETATTR],
            Self::NoLandlock => &[&NO_CLONE3, &ALWAYS, &NO_LANDLOCK],
            Self::DeadlyMounts => &[&DEADLY_MOUNTS],
            Self::DeadlyNamespaces => &[&NO_CLONE3, &DEADLY_NAMESPACES],
        };
        lists.iter().copied().flatten().collect()
    }

    /// Returns the program that the kernel loads. Programs of another architecture have no system calls under it.
    pub fn program(self) -> Vec<Instruction> {
        let mut program = vec![load(ARCHITECTURE_AT), if_equal(ARCHITECTURE, 1, 0), answer(libc::ENOSYS)];
        program.extend([load(NUMBER_AT), if_at_least(X32, 0, 1), answer(libc::ENOSYS)]);
        self.rules().into_iter().for_each(|rule| program.extend(rule.compile()));
        program.push(ALLOW);
        program
    }
}

impl Rule {
    /// Compiles to a comparison of the number, which is loaded, and what follows where it is this call.
    fn compile(&self) -> Vec<Instruction> {
        let body: Vec<Instruction> = match self.1 {
            Fails(errno) => vec![answer(errno)],
            FailsWith(bits) => vec![load(ARGUMENT_AT), if_any_bit(bits, 0, 1), answer(EPERM), ALLOW],
            Kills => vec![KILL],
            KillsWith(bits) => vec![load(ARGUMENT_AT), if_any_bit(bits, 0, 1), KILL, ALLOW],
            Only(values) => {
                let each = values.iter().flat_map(|value| [if_equal(*value, 0, 1), ALLOW]);
                [load(ARGUMENT_AT)].into_iter().chain(each).chain([answer(EPERM)]).collect()
            }
        };
        let compare = if_equal(self.0 as u32, 0, body.len() as u8);
        [compare].into_iter().chain(body).collect()
    }
}

/// Offsets in what a filter is told of a call. Source: seccomp(2), `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// The lower half of the first argument.
const ARGUMENT_AT: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

/// Calls of the x32 ABI of x86-64 have this bit; on other architectures no call has such a number.
const X32: u32 = 0x4000_0000;

/// This machine's AUDIT_ARCH_*.
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") {
    0xC000_003E
} else if cfg!(target_arch = "aarch64") {
    0xC000_00B7
} else {
    0
};

const ALLOW: Instruction = Instruction { code: 0x06, jump_true: 0, jump_false: 0, operand: 0x7FFF_0000 };

/// The process, and not the thread alone (SECCOMP_RET_KILL_PROCESS).
const KILL: Instruction = Instruction { operand: 0x8000_0000, ..ALLOW };

fn answer(errno: i32) -> Instruction {
    Instruction { operand: 0x0005_0000 | errno as u32, ..ALLOW }
}

fn load(offset: u32) -> Instruction {
    Instruction { code: 0x20, jump_true: 0, jump_false: 0, operand: offset }
}

fn if_equal(operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code: 0x15, jump_true, jump_false, operand }
}

fn if_at_least(operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code: 0x35, jump_true, jump_false, operand }
}

fn if_any_bit(operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code: 0x45, jump_true, jump_false, operand }
}

/// Says why this machine has no such filters, or `None` when it has.
pub fn missing() -> Option<&'static str> {
    (ARCHITECTURE == 0).then_some("the filters of the lab know x86-64 and aarch64 alone")
}
