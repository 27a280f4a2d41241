//! Archives that attack the one who unpacks them. In each test the outside stays as it was.
//!
//! The rows follow the known cases: RUSTSEC-2018-0002, 2021-0080, 2026-0067 and 2026-0068 (tar),
//! GHSA-3pv8-6f4r-ffg2 (PAX desync), the tokio-tar family, CVE-2021-29136 (umoci), CVE-2021-32760 (containerd).

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use tar::EntryType;

use crate::archives::{Archive, header};
use crate::run::{Scratch, run};

/// Unpacks, and asserts a refusal with these words and an untouched outside.
fn refused(archive: Vec<u8>, words: &[&str]) {
    let scratch = Scratch::new();
    scratch.unpack(&archive).assert_refused(words);
    scratch.assert_outside_untouched();
}

#[test]
fn a_file_is_not_written_through_a_link() {
    refused(
        Archive::new().symlink("out", "../outside").file("out/secret", "changed").end(),
        &["out/secret", "symbolic link"],
    );
    // Nor through one that stays inside, also not where it is the last directory but one.
    refused(
        Archive::new().dir("real/sub").symlink("in", "real").file("in/sub/f", "x").end(),
        &["in/sub/f", "symbolic link"],
    );
    let scratch = Scratch::new();
    let target = scratch.outside().join("secret");
    let archive = Archive::new().symlink("f", target.to_str().unwrap()).file("f", "inside").end();
    scratch.unpack(&archive).report();
    scratch.assert_outside_untouched();
    assert_eq!(fs::read_to_string(scratch.root().join("f")).unwrap(), "inside");
    assert!(fs::symlink_metadata(scratch.root().join("f")).unwrap().is_file());
}

#[test]
fn a_directory_is_not_made_or_changed_through_a_link() {
    refused(Archive::new().symlink("out", "../outside").dir("out/new").end(), &["out/new"]);
    let scratch = Scratch::new();
    let mut open = header(EntryType::Directory, "out", 0);
    open.set_mode(0o777);
    let before = fs::metadata(scratch.outside()).unwrap();
    scratch.unpack(&Archive::new().symlink("out", "../outside").raw(open, b"").end()).report();
    let after = fs::metadata(scratch.outside()).unwrap();
    assert_eq!((before.mode(), before.mtime()), (after.mode(), after.mtime()));
    assert!(fs::symlink_metadata(scratch.root().join("out")).unwrap().is_dir());
}

#[test]
fn a_directory_replaced_by_a_link_leads_nowhere() {
    refused(
        Archive::new().dir("a").symlink("a", "../outside").file("a/secret", "changed").end(),
        &["a/secret"],
    );
    // The fd of `a` is in use when its name becomes a link.
    refused(Archive::new().dir("a").file("a/x", "").symlink("a", "../outside").end(), &["a:", "not empty"]);
    refused(
        Archive::new().dir("a/b").symlink("a/b", "../../outside").file("a/b/secret", "changed").end(),
        &["a/b/secret"],
    );
}

#[test]
fn the_attributes_of_a_replaced_directory_reach_nothing() {
    let scratch = Scratch::new();
    let mut open = header(EntryType::Directory, "a", 0);
    open.set_mode(0o777);
    let before = fs::metadata(scratch.outside()).unwrap().mode();
    scratch.unpack(&Archive::new().raw(open, b"").symlink("a", "../outside").end()).report();
    assert_eq!(fs::metadata(scratch.outside()).unwrap().mode(), before);
}

#[test]
fn a_hard_link_out_of_the_tree_is_refused() {
    for target in ["../outside/secret", "/etc/passwd", "a/../../outside/secret"] {
        refused(Archive::new().dir("a").hard_link("l", target).end(), &["l:", "refused"]);
    }
    refused(
        Archive::new().symlink("out", "../outside").hard_link("l", "out/secret").end(),
        &["l:", "symbolic link"],
    );
}

#[test]
fn a_hard_link_to_anything_but_a_regular_file_is_refused() {
    let to_link = Archive::new().symlink("s", "../outside/secret").hard_link("l", "s");
    refused(to_link.file("l", "changed").end(), &["l:", "regular file"]);
    refused(Archive::new().dir("d").hard_link("l", "d").end(), &["l:", "regular file"]);
    refused(Archive::new().hard_link("l", "nothing").end(), &["l:", "ENOENT"]);
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../outside/secret", "a/../../outside/secret", "..", "/tmp/bryo-absolute", "./../x"] {
        refused(Archive::new().file(name, "changed").end(), &["refused"]);
        refused(Archive::new().pax(&[("path", name.as_bytes())]).file("a", "changed").end(), &["refused"]);
    }
    assert!(!std::path::Path::new("/tmp/bryo-absolute").exists());
}

#[test]
fn the_root_of_the_tree_stays_a_directory() {
    refused(Archive::new().symlink("./", "../outside").end(), &["./:", "only be a directory"]);
    refused(Archive::new().symlink(".", "../outside").file("secret", "x").end(), &["only be a directory"]);
    refused(Archive::new().hard_link(".", "a").end(), &["./:"]);
    refused(Archive::new().file("a", "").hard_link("b", ".").end(), &["b:"]);
}

#[test]
fn two_readers_cannot_see_two_archives() {
    let hidden = Archive::new().file("hidden", "x").end();
    // The PAX size counts, so what lies in the data is data, and the last of two sizes counts.
    let file = header(EntryType::Regular, "f", 0);
    let size = hidden.len().to_string();
    let archive =
        Archive::new().pax(&[("size", b"0"), ("size", size.as_bytes())]).raw(file.clone(), &hidden).end();
    let scratch = Scratch::new();
    scratch.unpack(&archive).report();
    assert!(!scratch.root().join("hidden").exists());
    assert_eq!(fs::read(scratch.root().join("f")).unwrap(), hidden);
    // A PAX size describes the entry, not a long name header between them.
    let long = header(EntryType::GNULongName, "long", 5);
    let archive = Archive::new()
        .pax(&[("size", b"3")])
        .raw(long.clone(), b"name\0")
        .raw(header(EntryType::Regular, "n", 0), b"abc")
        .end();
    let scratch = Scratch::new();
    scratch.unpack(&archive).report();
    assert_eq!(fs::read(scratch.root().join("name")).unwrap(), b"abc");
    // What readers disagree about is refused.
    refused(
        Archive::new().pax(&[("path", b"one")]).raw(long, b"name\0").file("f", "").end(),
        &["GNU and a PAX"],
    );
    refused(Archive::new().pax(&[("size", b"512")]).dir("d").end(), &["d:", "only a regular file"]);
    refused(Archive::new().pax(&[("uid", b"1")]).pax(&[("uid", b"2")]).file("f", "").end(), &["twice"]);
    refused(Archive::new().file("a", "").pax(&[("size", b"-1")]).file("f", "").end(), &["after a:", "size"]);
    refused(Archive::new().pax(&[("path", b"a")]).end(), &["truncated"]);
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    let whole = Archive::new()
        .dir("d")
        .file("d/one", &"1".repeat(700))
        .pax(&[("mtime", b"1.5")])
        .file("d/two", "2")
        .symlink("s", "d")
        .end();
    let scratch = Scratch::new();
    scratch.unpack(&whole).report();
    let end = whole.len() - 1024;
    for cut in (0..=end).step_by(256) {
        let scratch = Scratch::new();
        let ended = scratch.unpack(&whole[..cut]);
        assert_eq!(ended.status, Some(1), "cut at {cut}");
        assert!(ended.stderr.contains("truncated"), "cut at {cut}: {}", ended.stderr);
        assert!(ended.stdout.is_empty());
    }
    let named = Scratch::new().unpack(&whole[..1300]);
    named.assert_refused(&["d/one", "inside the data"]);
}

#[test]
fn damage_names_the_entry_before_it() {
    let mut archive = Archive::new().file("good", "x").file("bad", "y").end();
    archive[1024 + 100] ^= 1;
    refused(archive, &["after good:", "checksum"]);
    refused(b"this is no archive at all".repeat(50), &["not a tar"]);
    refused(b"BZh91AY".repeat(100), &["bzip2"]);
    refused(Vec::new(), &["truncated"]);
}

#[test]
fn extended_headers_have_a_limit() {
    let size = 2 << 20;
    let long = header(EntryType::GNULongName, "long", size);
    refused(Archive::new().raw(long, &vec![b'a'; size as usize]).file("f", "").end(), &["more than 4096"]);
    let value = vec![b'a'; size as usize];
    refused(Archive::new().pax(&[("comment", &value)]).file("f", "").end(), &["more than 1048576"]);
}

#[test]
fn metadata_is_small_and_has_no_links() {
    let unpack = |archive: Archive| {
        let scratch = Scratch::new();
        let ended = scratch.unpack_as("metadata", &archive.end(), &[]);
        scratch.assert_outside_untouched();
        (ended, scratch)
    };
    let mut foreign = header(EntryType::Regular, "templates/t", 1);
    foreign.set_uid(4_000_000_000);
    let (ended, scratch) = unpack(Archive::new().file("config", "a = b\n").raw(foreign, b"x"));
    ended.report();
    let own = sys::cred::real_uid().0;
    assert_eq!(fs::metadata(scratch.root().join("templates/t")).unwrap().uid(), own);
    unpack(Archive::new().symlink("config", "/etc/passwd")).0.assert_refused(&["config:", "regular files"]);
    unpack(Archive::new().file("a", "").hard_link("b", "a")).0.assert_refused(&["b:"]);
    let big = "x".repeat(17 << 20);
    unpack(Archive::new().file("config", &big)).0.assert_refused(&["config:", "more than 16777216"]);
}

#[test]
fn a_name_cannot_write_on_the_terminal() {
    refused(Archive::new().file("a\x1b[2J/..", "x").end(), &["a\\u{1b}[2J"]);
}

#[test]
fn removing_follows_no_link() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.root().join("web/rootfs/a")).unwrap();
    symlink(scratch.outside(), scratch.root().join("web/rootfs/a/out")).unwrap();
    symlink("../../../outside", scratch.root().join("web/rel")).unwrap();
    let root = fs::File::open(scratch.root()).unwrap();
    let ended = run(&[], "remove", &[("--root", &root)], &["--name", "web"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(fs::symlink_metadata(scratch.root().join("web")).is_err());
    scratch.assert_outside_untouched();
    run(&[], "remove", &[("--root", &root)], &["--name", "../outside"]).assert_refused(&["EINVAL"]);
    scratch.assert_outside_untouched();
}
