//! What is in an archive is in the tree: the same as GNU tar makes of it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use tar::EntryType;

use crate::archives::{Archive, header};
use crate::run::{Scratch, can, has, is_root, listing};

/// Makes a tree with one of everything below `dir`.
fn make_source(dir: &Path) {
    let long = "long-name-".repeat(20);
    let script = format!(
        r#"set -e; umask 022
        mkdir -p usr/bin etc/{long}/{long}/{long} var/empty 'odd names'
        echo shadow > etc/shadow; chmod 640 etc/shadow; chown 0:42 etc/shadow
        echo su > usr/bin/su; chmod 4755 usr/bin/su
        echo wall > usr/bin/wall; chown 0:5 usr/bin/wall; chmod 2755 usr/bin/wall
        ln usr/bin/su usr/bin/su-again
        ln -s su usr/bin/link; ln -s /etc/shadow absolute; ln -s ../../.. dangling; chown -h 7:8 dangling
        ln -s {long}/{long}/{long} etc/far
        echo deep > etc/{long}/{long}/{long}/file; ln etc/{long}/{long}/{long}/file etc/hard
        printf 'x' > 'odd names/new
line'; printf 'y' > "odd names/$(printf '\377')"
        mkfifo -m 622 run-fifo; chown 3:4 run-fifo
        mkdir -m 2775 var/mail; chown 0:8 var/mail; echo m > var/mail/box
        mkdir -m 1777 tmp; mkdir -m 0 closed; : > empty; chown 4000000:5000000 empty
        head -c 3000000 /dev/urandom > big; chmod 400 big
        truncate -s 10M sparse; printf tail | dd of=sparse bs=1 seek=9000000 conv=notrunc status=none
        printf a | dd of=sparse bs=1 seek=40000 conv=notrunc status=none
        truncate -s 5M hole
        for n in $(seq 60); do printf $n | dd of=many-parts bs=1 seek=$((n * 100000)) conv=notrunc status=none; done
        touch -h -d '2001-02-03 04:05:06.789' usr/bin/link; touch -d '1960-01-01 00:00:00.25' etc/shadow
        touch -d '2020-02-02 02:02:02.123456789' etc var/mail usr .
        "#
    );
    let made = Command::new("sh").args(["-c", &script]).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn tar(arguments: &[&str], dir: &Path) {
    let done = Command::new("tar").args(arguments).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "tar {arguments:?}: {done:?}");
}

#[test]
fn the_tree_is_the_one_that_gnu_tar_makes() {
    if !can("not root, or no tar", is_root() && has("tar")) {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    make_source(source.path());
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse", "--xattrs"],
        &["--format=oldgnu", "--sparse", "--gzip"],
        &["--format=posix", "--xz"],
        &["--format=gnu", "--zstd"],
    ] {
        let scratch = Scratch::new();
        let archive = scratch.path().join("archive");
        let create = [&["-cf", archive.to_str().unwrap()], options, &["."]].concat();
        tar(&create, source.path());
        let theirs = scratch.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        tar(&["-xpf", archive.to_str().unwrap(), "--numeric-owner"], &theirs);
        let report = scratch.unpack(&fs::read(&archive).unwrap()).report();
        assert_eq!(listing(&scratch.root()), listing(&theirs), "{options:?}");
        assert_eq!(report["entries"], listing(&theirs).lines().count() as u64 - 1, "{options:?}");
        if options.contains(&"--sparse") {
            assert!(fs::metadata(scratch.root().join("sparse")).unwrap().blocks() < 100, "{options:?}");
        }
    }
}

#[test]
fn sparse_files_of_the_older_pax_forms_are_refused_by_name() {
    if !has("tar") {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    File::create(source.path().join("hole")).unwrap().set_len(1 << 20).unwrap();
    for version in ["0.0", "0.1"] {
        let scratch = Scratch::new();
        let archive = scratch.path().join("archive");
        let version = format!("--sparse-version={version}");
        let file = archive.to_str().unwrap();
        tar(&["-cf", file, "--format=posix", "--sparse", &version, "hole"], source.path());
        scratch.unpack(&fs::read(&archive).unwrap()).assert_refused(&["hole:", "sparse-version=1.0"]);
    }
}

#[test]
fn extended_attributes_are_kept_if_they_belong_to_the_container() {
    if !can("only root has other ids", is_root()) {
        return;
    }
    let scratch = Scratch::new();
    // cap_net_raw=ep for the root of another container: becomes one for the root that unpacks.
    let caps =
        b"\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xa0\x86\x01\x00";
    let mut ping = header(EntryType::Regular, "ping", 1);
    ping.set_uid(0);
    ping.set_mode(0o4755);
    let archive = Archive::new()
        .pax(&[("SCHILY.xattr.user.lines", b"one\ntwo=\n"), ("SCHILY.xattr.security.selinux", b"label")])
        .file("f", "x")
        .pax(&[("SCHILY.xattr.security.capability", caps)])
        .raw(ping, b"x")
        .pax(&[("SCHILY.xattr.user.d", b"dir"), ("SCHILY.xattr.trusted.overlay.opaque", b"y")])
        .dir("d")
        .pax(&[("SCHILY.xattr.strange.name", b"")])
        .file("g", "x")
        .end();
    let ended = scratch.unpack(&archive);
    assert_eq!(ended.report()["xattrs_dropped"], 3);
    assert!(ended.stderr.contains("\"strange.name\" of g"), "{}", ended.stderr);
    let xattrs = |name: &str| {
        let file = File::open(scratch.root().join(name)).unwrap();
        let names = sys::file::xattr_names(file.as_fd()).unwrap();
        names
            .into_iter()
            .map(|n| (n.clone(), sys::file::xattr(file.as_fd(), &n).unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(xattrs("f"), [("user.lines".into(), b"one\ntwo=\n".to_vec())]);
    assert_eq!(xattrs("ping"), [("security.capability".into(), [b"\x01\0\0\x02", &caps[4..20]].concat())]);
    assert_eq!(xattrs("d"), [("user.d".into(), b"dir".to_vec())]);
    assert_eq!(fs::metadata(scratch.root().join("ping")).unwrap().mode() & 0o7777, 0o4755);
}

#[test]
fn the_later_of_two_entries_counts() {
    let scratch = Scratch::new();
    let mut closed = header(EntryType::Directory, "d", 0);
    closed.set_mode(0o700);
    let archive = Archive::new()
        .file("f", "first, and longer")
        .file("f", "second")
        .symlink("s", "f")
        .file("s", "file")
        .dir("gone")
        .file("gone", "now a file")
        .dir("d")
        .file("d/kept", "x")
        .raw(closed, b"")
        .file("h", "one")
        .hard_link("h2", "h")
        .file("h", "two")
        .hard_link("h", "h")
        .end();
    scratch.unpack(&archive).report();
    let read = |name: &str| fs::read_to_string(scratch.root().join(name)).unwrap();
    assert_eq!((read("f"), read("s"), read("gone")), ("second".into(), "file".into(), "now a file".into()));
    assert_eq!((read("h"), read("h2"), read("d/kept")), ("two".into(), "one".into(), "x".into()));
    assert_eq!(fs::metadata(scratch.root().join("d")).unwrap().mode() & 0o7777, 0o700);
}

/// Of two of one name the later counts, also for links to it that come between others.
#[test]
fn many_small_files_come_out_as_if_each_was_made_after_the_other() {
    let scratch = Scratch::new();
    let mut archive = Archive::new().dir("d");
    for number in 0..300 {
        let (name, link) = (format!("d/{number}"), format!("d/link-{number}"));
        archive = archive.file(&name, "old").file(&name, &format!("new {number}")).hard_link(&link, &name);
        archive = archive.file(&format!("other-{number}/below/file"), "x");
    }
    let report = scratch.unpack_as("unpack", &archive.end(), &[]).report();
    assert_eq!(report["entries"], 1 + 300 * 4);
    for number in 0..300 {
        let path = |name: &str| scratch.root().join("d").join(name);
        let (file, link) = (path(&number.to_string()), path(&format!("link-{number}")));
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("new {number}"));
        assert_eq!(fs::metadata(&file).unwrap().ino(), fs::metadata(link).unwrap().ino());
        assert_eq!(fs::read(scratch.root().join(format!("other-{number}/below/file"))).unwrap(), b"x");
    }
}

#[test]
fn missing_directories_are_made_and_dev_can_be_left_out() {
    let scratch = Scratch::new();
    let archive = Archive::new()
        .file("a/b/c", "x")
        .dir("dev")
        .raw(header(EntryType::Char, "dev/null", 0), b"")
        .file("dev/file", "x")
        .file("device", "x")
        .end();
    let report = scratch.unpack_as("unpack", &archive, &["--exclude", "dev/*"]).report();
    assert_eq!(report["devices_skipped"], 0);
    assert_eq!(fs::metadata(scratch.root().join("a/b")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(scratch.root().join("dev")).unwrap().count(), 0);
    assert!(scratch.root().join("device").exists());
}

#[test]
fn devices_and_links_to_them_are_left_out_and_counted() {
    let scratch = Scratch::new();
    let archive = Archive::new()
        .raw(header(EntryType::Char, "null", 0), b"")
        .raw(header(EntryType::Block, "disk", 0), b"")
        .hard_link("zero", "null")
        .raw(header(EntryType::Fifo, "fifo", 0), b"")
        .end();
    let ended = scratch.unpack(&archive);
    assert_eq!((&ended.report()["devices_skipped"], ended.stderr.lines().count()), (&3.into(), 1));
    assert!(fs::symlink_metadata(scratch.root().join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::read_dir(scratch.root()).unwrap().count(), 1);
}

/// `u::rwx,u:77:rwx,g::r-x,m::rwx,o::---` as the kernel has it: version 2, then tag, permissions and id of each.
fn acl_for_user_77() -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1u16, 7u16, none), (2, 7, 77), (4, 5, none), (16, 7, none), (32, 0, none)];
    let bytes = entries.iter().flat_map(|(tag, permissions, id)| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    2u32.to_le_bytes().into_iter().chain(bytes).collect()
}

#[test]
fn acls_are_kept_and_do_not_reach_what_is_unpacked_below() {
    if !can("only root has other ids", is_root()) {
        return;
    }
    let scratch = Scratch::new();
    let acl = acl_for_user_77();
    let archive = Archive::new()
        .pax(&[
            ("SCHILY.xattr.system.posix_acl_default", &acl),
            ("SCHILY.xattr.system.posix_acl_access", &acl),
        ])
        .dir("d")
        .file("d/f", "x")
        .pax(&[("SCHILY.acl.access", b"user::rw-,user:77:rw-,group::r--,mask::rw-,other::---")])
        .file("text-form", "x")
        .pax(&[("SCHILY.acl.access", b"user::rw-,group::r--,other::r--")])
        .file("only-the-mode", "x")
        .end();
    assert_eq!(scratch.unpack(&archive).report()["xattrs_dropped"], 1);
    let names = |name: &str| {
        let file = File::open(scratch.root().join(name)).unwrap();
        sys::file::xattr_names(file.as_fd()).unwrap().len()
    };
    assert_eq!((names("d"), names("d/f")), (2, 0));
}

#[test]
fn an_inherited_group_and_acl_do_not_spread() {
    if !can("only root has other ids", is_root()) {
        return;
    }
    let scratch = Scratch::new();
    let script = "chgrp 1234 root; chmod 2755 root";
    let done = Command::new("sh").args(["-c", script]).current_dir(scratch.path()).status().unwrap();
    assert!(done.success());
    let root = File::open(scratch.root()).unwrap();
    sys::file::set_xattr(root.as_fd(), "system.posix_acl_default".as_ref(), &acl_for_user_77()).unwrap();
    let mut shared = header(EntryType::Directory, "shared", 0);
    shared.set_mode(0o2775);
    shared.set_gid(50);
    scratch.unpack(&Archive::new().raw(shared, b"").file("shared/f", "x").file("g", "x").end()).report();
    for name in ["shared/f", "g"] {
        let path = scratch.root().join(name);
        let status = fs::metadata(&path).unwrap();
        assert_eq!((status.gid(), status.mode() & 0o7777), (0, 0o644), "{name}");
        assert!(sys::file::xattr_names(File::open(path).unwrap().as_fd()).unwrap().is_empty());
    }
    assert_eq!(fs::metadata(scratch.root().join("shared")).unwrap().mode() & 0o7777, 0o2775);
}
