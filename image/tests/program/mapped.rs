//! In a user namespace with a map, as containers have it.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::{Child, Command, Stdio};

use tar::EntryType;

use crate::archives::{Archive, header};
use crate::run::{Ended, Scratch, can, has, is_root, run};

const FIRST: u32 = 100_000;

/// A user namespace that maps 0 to 65535 to 100000 and up, held open by a process.
struct Namespace(Child);

impl Namespace {
    fn new() -> Option<Self> {
        if !can("not root, or no unshare and nsenter", is_root() && has("unshare") && has("nsenter")) {
            return None;
        }
        let mut holder = Command::new("unshare")
            .args(["--user", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The line tells that the process is in its namespace.
        holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", holder.id()), format!("0 {FIRST} 65536\n")).unwrap();
        }
        Some(Self(holder))
    }

    fn unpack(&self, scratch: &Scratch, archive: &[u8], options: &[&str]) -> Ended {
        chown(scratch.root(), Some(FIRST), Some(FIRST)).unwrap();
        // What lies above may stay closed to the container's root.
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        let root = File::open(scratch.root()).unwrap();
        let pid = self.0.id().to_string();
        let enter = ["nsenter", "--user", "--target", &pid, "--setuid", "0", "--setgid", "0", "--"];
        run(&enter, "unpack", &[("--archive", &file), ("--root", &root)], options)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

fn owned(name: &str, uid: u64, gid: u64) -> tar::Header {
    let mut header = header(EntryType::Regular, name, 1);
    header.set_uid(uid);
    header.set_gid(gid);
    header
}

#[test]
fn owners_are_ids_of_the_container_and_capabilities_belong_to_its_root() {
    let Some(namespace) = Namespace::new() else { return };
    let scratch = Scratch::new();
    let caps = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let mut su = owned("su", 0, 65535);
    su.set_mode(0o6755);
    let mut dir = header(EntryType::Directory, "home", 0);
    dir.set_uid(1000);
    dir.set_mode(0o500);
    let archive = Archive::new()
        .raw(owned("root", 0, 0), b"x")
        .raw(dir, b"")
        .raw(owned("home/f", 1000, 100), b"x")
        .raw(su, b"x")
        .pax(&[("SCHILY.xattr.security.capability", caps)])
        .raw(owned("ping", 0, 0), b"x")
        .raw(header(EntryType::Char, "null", 0), b"")
        .raw(header(EntryType::Fifo, "fifo", 0), b"")
        .symlink("s", "../outside")
        .end();
    let ended = namespace.unpack(&scratch, &archive, &[]);
    assert_eq!(ended.report()["devices_skipped"], 1);
    assert!(!ended.stderr.contains("shut in"), "{}", ended.stderr);
    let status = |name: &str| {
        let status = fs::symlink_metadata(scratch.root().join(name)).unwrap();
        (status.uid(), status.gid(), status.mode() & 0o7777)
    };
    assert_eq!(status("root"), (FIRST, FIRST, 0o644));
    assert_eq!(status("home"), (FIRST + 1000, FIRST, 0o500));
    assert_eq!(status("home/f"), (FIRST + 1000, FIRST + 100, 0o644));
    assert_eq!(status("su"), (FIRST, FIRST + 65535, 0o6755));
    let ping = File::open(scratch.root().join("ping")).unwrap();
    let set = sys::file::xattr(ping.as_fd(), "security.capability".as_ref()).unwrap();
    assert_eq!((set[3], &set[20..]), (3, &FIRST.to_le_bytes()[..]));
    scratch.assert_outside_untouched();
}

#[test]
fn an_id_outside_the_map_is_named_with_its_entry() {
    let Some(namespace) = Namespace::new() else { return };
    for (uid, gid, words) in [(70_000, 0, "user 70000"), (0, 70_001, "group 70001")] {
        let scratch = Scratch::new();
        let archive = Archive::new().raw(owned("big", uid, gid), b"x").end();
        namespace.unpack(&scratch, &archive, &[]).assert_refused(&["big:", words, "subordinate ids"]);
        let scratch = Scratch::new();
        namespace.unpack(&scratch, &archive, &["--ids", "flatten"]).report();
        assert_eq!(fs::metadata(scratch.root().join("big")).unwrap().uid(), FIRST);
    }
}
