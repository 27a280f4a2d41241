//! Where the containers are: the file system of the lxcpath, and how it is mounted.

use sys::filesystem::magic;

use super::Severity::{Costs, Note, Stops};
use super::Who::{Administrator, You};
use super::{Check, Verdict, fine, found};
use crate::host::{Seen, Storage, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "lxcpath.readonly",
        severity: Stops,
        seen: "the file system of the containers is mounted read-only",
        why: "a running container has a lock, a socket and a run file beside its configuration",
        mend: "sudo mount -o remount,rw \"$(findmnt -fno TARGET -T <dir>)\"",
        advice: "or containers elsewhere: bryo -P DIR",
        who: Administrator,
        meanwhile: "nothing",
        look: |survey| {
            on(survey, "can be written", |on| on.filesystem.readonly.then(|| "mounted read-only".to_owned()))
        },
    },
    Check {
        id: "lxcpath.noexec",
        severity: Stops,
        seen: "the file system of the containers is mounted noexec",
        why: "a container runs its own programs, and keeps the mount's flags",
        mend: "sudo mount -o remount,bind,exec \"$(findmnt -fno TARGET -T <dir>)\"",
        advice: "or containers elsewhere: bryo -P DIR",
        who: Administrator,
        meanwhile: "nothing, but for containers whose root file system is elsewhere",
        look: |survey| {
            on(survey, "lets programs run", |on| on.filesystem.noexec.then(|| "mounted noexec".to_owned()))
        },
    },
    Check {
        id: "lxcpath.nosuid",
        severity: Costs,
        seen: "the file system of the containers is mounted nosuid",
        why: "su, sudo and ping inside gain no rights, since a container keeps the mount's flags",
        mend: "sudo mount -o remount,bind,suid \"$(findmnt -fno TARGET -T <dir>)\"",
        advice: "or containers elsewhere: bryo -P DIR",
        who: Administrator,
        meanwhile: "root inside, by bryo shell and bryo exec",
        look: |survey| {
            on(survey, "lets su and sudo gain rights", |on| {
                on.filesystem.nosuid.then(|| "mounted nosuid".to_owned())
            })
        },
    },
    Check {
        id: "lxcpath.space",
        severity: Costs,
        seen: "less than 512 MiB are free for the containers",
        why: "a small distribution takes 300 MB, and a full file system ends its services",
        mend: "du -xsh <dir>/* | sort -h",
        advice: "bryo destroy NAME removes what is not needed",
        who: You,
        meanwhile: "what there is",
        look: |survey| on(survey, "has room", little_space),
    },
    Check {
        id: "lxcpath.inodes",
        severity: Costs,
        seen: "fewer than 20000 files can be made for the containers",
        why: "a small distribution has 13000 files",
        mend: "du -x --inodes -s <dir>/* | sort -h",
        advice: "bryo destroy NAME removes what is not needed",
        who: You,
        meanwhile: "what there is",
        look: |survey| on(survey, "has inodes", few_inodes),
    },
    Check {
        id: "lxcpath.foreign",
        severity: Costs,
        seen: "the containers are on NFS, SMB, FUSE, 9p or FAT",
        why: "the server or the format knows no subordinate ids, so files of a container's users cannot be made",
        mend: "",
        advice: "containers on a local file system: bryo -P DIR, or lxc.lxcpath in ~/.config/lxc/lxc.conf",
        who: You,
        meanwhile: "containers with one id, as far as the file system allows",
        look: |survey| on(survey, "is a local one", foreign),
    },
    Check {
        id: "lxcpath.overlay",
        severity: Note,
        seen: "the containers are on an overlay, as inside of another container",
        why: "an overlay cannot hold the writable layer of another one, and copies each file that is first written to",
        mend: "",
        advice: "a volume of the outer container for the lxcpath",
        who: You,
        meanwhile: "plain directories, which work",
        look: |survey| {
            on(survey, "is no overlay", |on| {
                (on.filesystem.magic == magic::OVERLAY).then(|| "an overlay".to_owned())
            })
        },
    },
];

/// A small distribution with systemd, and some room to work.
const LITTLE_SPACE: u64 = 512 << 20;
const FEW_INODES: u64 = 20_000;

fn on(survey: &Survey, otherwise: &str, wrong: fn(&Storage) -> Option<String>) -> Seen<Verdict> {
    let storage = survey.storage.as_ref()?;
    let dir = storage.dir.display().to_string();
    match wrong(storage) {
        Some(how) => found(format!("the file system of {dir}: {how}")).with("dir", dir).into(),
        None => fine(format!("the file system of {dir} {otherwise}")),
    }
}

fn little_space(on: &Storage) -> Option<String> {
    let free = on.filesystem.free_bytes;
    (free < LITTLE_SPACE).then(|| format!("{} MiB free", free >> 20))
}

fn few_inodes(on: &Storage) -> Option<String> {
    let free = on.filesystem.free_inodes.filter(|free| *free < FEW_INODES)?;
    Some(format!("{free} inodes free"))
}

fn foreign(on: &Storage) -> Option<String> {
    const KINDS: [(u64, &str); 6] = [
        (magic::NFS, "NFS"),
        (magic::CIFS, "SMB"),
        (magic::SMB2, "SMB"),
        (magic::FUSE, "FUSE"),
        (magic::V9FS, "9p"),
        (magic::MSDOS, "FAT"),
    ];
    KINDS.iter().find(|(magic, _)| *magic == on.filesystem.magic).map(|(_, name)| (*name).to_owned())
}
