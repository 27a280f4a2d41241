//! Copies of directories.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::run::{Ended, Scratch, can, is_root, listing, run};

fn copy(scratch: &Scratch, options: &[&str]) -> Ended {
    let source = File::open(scratch.path().join("source")).unwrap();
    let root = File::open(scratch.root()).unwrap();
    run(&[], "copy", &[("--source", &source), ("--root", &root)], options)
}

fn with_source(script: &str) -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("source")).unwrap();
    let made =
        Command::new("sh").args(["-ec", script]).current_dir(scratch.path().join("source")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    scratch
}

#[test]
fn a_copy_is_the_same() {
    if !can("only root has other ids", is_root()) {
        return;
    }
    let scratch = with_source(
        "mkdir -p a/b; echo x > a/b/f; ln a/b/f hard; ln -s ../outside/secret out; mkfifo fifo
         chown 5:6 a/b/f; chmod 4755 a/b/f; chown -h 7:8 out; mkdir -m 2750 g; chgrp 9 g; : > g/empty
         truncate -s 8M hole; echo end >> hole; truncate -s 1M nothing
         touch -h -d '2001-01-01 00:00:00.5' out a g a/b/f .",
    );
    let report = copy(&scratch, &[]).report();
    assert_eq!(listing(&scratch.root()), listing(&scratch.path().join("source")));
    assert_eq!(report["entries"], listing(&scratch.root()).lines().count() as u64);
    assert!(fs::metadata(scratch.root().join("hole")).unwrap().blocks() < 100);
    let inode = |name: &str| fs::metadata(scratch.root().join(name)).unwrap().ino();
    assert_eq!(inode("hard"), inode("a/b/f"));
    scratch.assert_outside_untouched();
}

#[test]
fn own_files_become_those_of_root() {
    if !can("only root has other ids", is_root()) {
        return;
    }
    let scratch = with_source("echo x > mine; chown 1000:1000 mine; echo y > theirs; chown 1001:1000 theirs");
    copy(&scratch, &["--ids", "own:1000:1000"]).report();
    let owner = |name: &str| {
        let status = fs::metadata(scratch.root().join(name)).unwrap();
        (status.uid(), status.gid())
    };
    assert_eq!((owner("mine"), owner("theirs")), ((0, 0), (1001, 0)));
}

#[test]
fn devices_sockets_and_mounted_file_systems_are_left_out() {
    if !can("only root has other ids", is_root()) {
        return;
    }
    let scratch = with_source("mknod null c 1 3; mkdir proc; echo x > f; touch mounted");
    // The shell stays: the mounts go with the last process of their namespace, and the program leaves it.
    let script = format!(
        "mount -t proc proc source/proc && mount --bind /etc/hostname source/mounted \
         && {} copy --source 3 --root 4 3<source 4<root; exit $?",
        crate::run::PROGRAM
    );
    let ended: Ended = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .current_dir(scratch.path())
        .output()
        .unwrap()
        .into();
    let report = ended.report();
    assert_eq!((&report["devices_skipped"], &report["mounts_skipped"]), (&1.into(), &2.into()));
    assert_eq!(fs::read_dir(scratch.root()).unwrap().count(), 2);
    assert_eq!(fs::read_dir(scratch.root().join("proc")).unwrap().count(), 0);
}
