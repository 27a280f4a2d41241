//! Configurations as people have them: each is read, with the warnings that it deserves, and comes back as it was.

#![allow(clippy::unwrap_used)] // The helpers here are parts of tests.

use std::fs;
use std::path::PathBuf;

use config::{Config, Document, Loaded, NetKind, load};

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus")).join(name)
}

fn read(name: &str) -> Loaded {
    load(&path(name)).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Returns the lines of a file that have a warning.
fn warned(name: &str) -> Vec<usize> {
    let warnings = read(name).warnings;
    let own = warnings.iter().filter(|warning| warning.place.file == path(name));
    own.map(|warning| warning.place.line).collect()
}

/// Every file of the corpus that is right, and which of its lines have a warning.
const RIGHT: [(&str, &[usize]); 10] = [
    ("debian-user.conf", &[]),
    ("ubuntu-distribution.conf", &[2, 3]),
    ("alpine-crlf.conf", &[]),
    (
        "arch-2014.conf",
        &[2, 4, 5, 6, 7, 9, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 25, 26, 27, 28, 29, 31, 32, 33],
    ),
    ("proxmox.conf", &[6, 7]),
    ("waydroid.conf", &[]),
    ("nesting.conf", &[]),
    ("gui.conf", &[]),
    ("names-of-today.conf", &[]),
    (
        "names-of-lxc-1.conf",
        &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
            27, 28, 29, 30,
        ],
    ),
];

#[test]
fn configurations_of_every_kind_are_read_with_the_warnings_they_deserve() {
    // Where the host has LXC, the files of a distribution may be there.
    let has_lxc = std::path::Path::new("/usr/share/lxc/config/debian.common.conf").exists();
    for (name, lines) in RIGHT {
        let is_note = |line: &usize| {
            has_lxc && ["ubuntu-distribution.conf", "proxmox.conf"].contains(&name) && *line < 8
        };
        let expected: Vec<usize> = lines.iter().copied().filter(|line| !is_note(line)).collect();
        let warned: Vec<usize> = warned(name).into_iter().filter(|line| !is_note(line)).collect();
        assert_eq!(warned, expected, "{name}");
    }
    let files = fs::read_dir(path("")).unwrap().filter(|file| {
        file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "conf")
    });
    assert_eq!(files.count(), RIGHT.len() + 1, "a file of the corpus has no line here");
}

#[test]
fn every_name_of_lxc_1_means_what_it_means_today() {
    assert_eq!(read("names-of-lxc-1.conf").config, read("names-of-today.conf").config);
    let old = read("arch-2014.conf").config;
    assert_eq!(
        old.net.values().map(|device| device.kind).collect::<Vec<_>>(),
        [NetKind::Veth, NetKind::Macvlan]
    );
    assert_eq!((old.tty_max, old.pty_max, old.cgroup1.len()), (1, 1024, 5));
}

#[test]
fn what_configurations_say_is_taken_to_the_letter() {
    let alpine = read("alpine-crlf.conf").config;
    assert_eq!(alpine.uts_name.as_deref(), Some("alpine"));
    assert_eq!(alpine.get("lxc.environment").unwrap(), "TERM=linux\nPS1=\\u@\\h $ \n");
    let ubuntu = read("ubuntu-distribution.conf").config;
    assert_eq!(ubuntu.groups, ["onboot,web"]);
    assert_eq!(ubuntu.mount_entries.last().unwrap().source, "/srv/shared files");
    let gui = read("gui.conf").config;
    assert_eq!((gui.idmap.extents(types::IdKind::User).len(), gui.hook_version), (3, 1));
    assert!(gui.mount_entries.iter().all(|entry| entry.is_complete() && entry.has_option("optional")));
    assert_eq!(read("nesting.conf").config.mount_auto.to_string(), "proc:rw sys:rw cgroup:rw:force");
    let waydroid = read("waydroid.conf").config;
    assert_eq!(waydroid.get("lxc.cap.keep").unwrap().lines().count(), 24, "one is named twice");
}

#[test]
fn a_configuration_that_is_saved_untouched_is_the_same_file() {
    for (name, _) in RIGHT {
        let bytes = fs::read(path(name)).unwrap();
        let expected = String::from_utf8(bytes.clone()).unwrap().replace("\r\n", "\n");
        let saved = Document::from_bytes(&bytes);
        assert_eq!(saved.text(), expected, "{name}");
        let again = config::parse(&saved.text(), &path(name)).unwrap();
        assert_eq!(again.config, read(name).config, "{name}");
        assert_ne!(again.config, Config::default(), "{name}");
    }
}

/// `BRYO_WRITE_DOCS=1 cargo test -p config wrong` writes what is told, for review.
#[test]
fn everything_that_is_wrong_is_told_with_what_to_write() {
    let text = fs::read_to_string(path("wrong.conf")).unwrap();
    let told = config::parse(&text, "wrong.conf".as_ref()).unwrap_err().to_string() + "\n";
    if std::env::var_os("BRYO_WRITE_DOCS").is_some() {
        return fs::write(path("wrong.txt"), told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(path("wrong.txt")).unwrap());
}
