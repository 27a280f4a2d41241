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
    harmless_as_a_layer(&archive);
}

/// A layer may replace what other archives may not, and reaches no further; nor does one of two over the same.
fn harmless_as_a_layer(archive: &[u8]) {
    let scratch = Scratch::new();
    for _ in 0..2 {
        let ended = scratch.unpack_as("unpack", archive, &["--layer"]);
        assert!(matches!(ended.status, Some(0 | 1)), "{ended:?}");
        scratch.assert_outside_untouched();
    }
}

/// However much is buffered between.
#[test]
fn a_path_through_a_file_is_refused_however_many_came_before() {
    for before in [0, 1, 40, 200] {
        let scratch = Scratch::new();
        let mut archive = Archive::new();
        for number in 0..before {
            archive = archive.file(&format!("{number}"), "x");
        }
        let unpacked = scratch.unpack(&archive.file("a", "x").file("a/b", "x").end());
        unpacked.assert_refused(&["a/b", "is a symbolic link or a file"]);
    }
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
    harmless_as_a_layer(&archive);
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
    refused(b"BZh91AY".repeat(100), &["cannot"]);
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

/// Unpacks what is odd but has a meaning: it may be refused or not, the outside stays as it was and nothing grows.
fn harmless(archive: Vec<u8>) -> Scratch {
    let scratch = Scratch::new();
    let ended = scratch.unpack(&archive);
    assert!(matches!(ended.status, Some(0 | 1)), "{ended:?}");
    scratch.assert_outside_untouched();
    harmless_as_a_layer(&archive);
    scratch
}

#[test]
fn a_hard_link_is_not_relative_to_the_working_directory() {
    let scratch = Scratch::new();
    let outside = scratch.outside();
    let archive = Archive::new().hard_link("l", "secret").file("l", "changed").end();
    let ended = scratch.unpack_from(&outside, &archive);
    ended.assert_refused(&["l:", "ENOENT"]);
    scratch.assert_outside_untouched();
}

#[test]
fn a_sparse_file_is_no_larger_than_it_says() {
    let old = |real_size: u64, parts: &[(u64, u64)], data: &[u8]| {
        let mut header = header(EntryType::GNUSparse, "f", data.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        let octal = |field: &mut [u8; 12], number: u64| {
            field.copy_from_slice(format!("{number:011o}\0").as_bytes());
        };
        octal(&mut gnu.realsize, real_size);
        for (part, (offset, length)) in gnu.sparse.iter_mut().zip(parts) {
            octal(&mut part.offset, *offset);
            octal(&mut part.numbytes, *length);
        }
        Archive::new().raw(header, data).end()
    };
    let block = [b'x'; 512];
    let far = (1 << 33) - 1;
    for (real_size, parts) in [
        (100, vec![(0, 512)]),
        (512, vec![(far, 512)]),
        (4096, vec![(1024, 512), (0, 512)]),
        (4096, vec![(0, 512), (256, 512)]),
        (4096, vec![(0, far), (far, far), (0, far)]),
        (4096, vec![]),
    ] {
        refused(old(real_size, &parts, &block), &["f:", "sparse"]);
    }
    let pax = |map: &[u8]| {
        let keys: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"f"),
            ("GNU.sparse.realsize", b"4096"),
        ];
        let mut data = map.to_vec();
        data.resize(map.len().next_multiple_of(512), 0);
        Archive::new().pax(&keys).raw(header(EntryType::Regular, "f", data.len() as u64), &data).end()
    };
    for map in [
        &b"18446744073709551615\n0\n1\n"[..],
        b"1\n18446744073709551615\n18446744073709551615\n",
        b"1\n0\n",
        b"-1\n0\n0\n",
        b"1\n0\n99999999999999999999999999\n",
        b"\n\n\n",
        b"",
    ] {
        refused(pax(map), &[]);
    }
    // A PAX name in a sparse file is a name like any other.
    let out: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"../outside/secret"),
        ("GNU.sparse.realsize", b"0"),
    ];
    let empty = [&b"0\n"[..], &[0; 510]].concat();
    refused(Archive::new().pax(&out).raw(header(EntryType::Regular, "f", 512), &empty).end(), &["refused"]);
}

#[test]
fn names_too_long_for_a_file_system_are_refused() {
    let named = |name: &[u8]| Archive::new().pax(&[("path", name)]).file("f", "x").end();
    refused(named(&[b'a'; 256]), &["component is longer"]);
    refused(named(&b"a/".repeat(2100)), &["longer than 4095"]);
    refused(named(&[&b"d/".repeat(300)[..], b"f"].concat()), &["deeper"]);
    harmless(named(&[b'a'; 255]));
    let target = "x".repeat(4096);
    refused(Archive::new().pax(&[("linkpath", target.as_bytes())]).symlink("l", "x").end(), &["l"]);
}

#[test]
fn odd_characters_in_a_name_are_only_a_name() {
    for name in ["a\nb", "a\\b", "-rf", "--owner=0", "$(touch x)", "a;b", "a b", "\u{202e}gnp"] {
        let scratch = harmless(Archive::new().pax(&[("path", name.as_bytes())]).file("f", "x").end());
        assert!(scratch.root().join(name).exists(), "{name:?}");
        assert_eq!(fs::read_dir(scratch.root()).unwrap().count(), 1, "{name:?}");
    }
    refused(Archive::new().pax(&[("path", b"a\0b")]).file("f", "x").end(), &["NUL"]);
    refused(Archive::new().pax(&[("linkpath", b"a\0b")]).symlink("l", "x").end(), &["l:", "not a path"]);
}

#[test]
fn devices_are_not_made() {
    for kind in [EntryType::Char, EntryType::Block] {
        let mut disk = header(kind, "disk", 0);
        disk.set_device_major(8).unwrap();
        disk.set_device_minor(0).unwrap();
        disk.set_mode(0o666);
        let scratch = Scratch::new();
        let ended = scratch.unpack_in_a_namespace(&Archive::new().dir("dev").raw(disk, b"").end());
        scratch.assert_outside_untouched();
        assert_eq!(ended.report()["devices_skipped"], 1);
        assert!(fs::symlink_metadata(scratch.root().join("disk")).is_err());
    }
}

#[test]
fn a_chain_of_ten_links_leads_nowhere() {
    let mut archive = Archive::new().symlink("l0", "../outside");
    for n in 1..10 {
        archive = archive.symlink(&format!("l{n}"), &format!("l{}", n - 1));
    }
    refused(archive.file("l9/secret", "changed").end(), &["l9/secret", "symbolic link"]);
    let mut archive = Archive::new().dir("d");
    for n in 0..10 {
        archive = archive.symlink(&format!("d/l{n}"), if n == 0 { "../../outside" } else { "." });
    }
    refused(archive.dir("d/l9/l8/l7/l0/new").end(), &["d/l9", "symbolic link"]);
}

#[test]
fn extended_attributes_have_a_limit_and_a_kind() {
    let with = |name: &str, value: &[u8]| {
        Archive::new().pax(&[(&format!("SCHILY.xattr.{name}"), value)]).file("f", "x").end()
    };
    harmless(with("user.big", &vec![b'x'; 512 << 10]));
    harmless(with(&format!("user.{}", "n".repeat(400)), b"x"));
    harmless(with("", b"x"));
    refused(with("user.huge", &vec![b'x'; 2 << 20]), &["more than 1048576"]);
    for name in ["trusted.overlay.opaque", "security.selinux", "security.ima", "trusted.overlay.redirect"] {
        let scratch = harmless(with(name, b"x"));
        let file = fs::File::open(scratch.root().join("f")).unwrap();
        use std::os::fd::AsFd;
        assert!(sys::file::xattr(file.as_fd(), name.as_ref()).is_err(), "{name} was set");
    }
}

#[test]
fn the_last_of_two_entries_of_a_name_counts_and_reaches_nothing_else() {
    let scratch = harmless(Archive::new().file("f", "first").file("f", "second").end());
    assert_eq!(fs::read_to_string(scratch.root().join("f")).unwrap(), "second");
    // The first name of a hard link is replaced: the second keeps what it had.
    let twice = Archive::new().file("a", "one").hard_link("b", "a").file("a", "two").end();
    let scratch = harmless(twice);
    assert_eq!(fs::read_to_string(scratch.root().join("b")).unwrap(), "one");
    harmless(Archive::new().file("d", "").dir("d").file("d/f", "x").end());
    refused(Archive::new().dir("d").file("d/f", "x").file("d", "x").end(), &["d:"]);
}

#[test]
fn an_archive_that_is_not_the_one_that_is_meant_is_refused_whatever_follows_its_end() {
    let whole = Archive::new().file("a", "b").end();
    let unpack = |bytes: &[u8], meant: &[u8]| {
        Scratch::new().unpack_as("unpack", bytes, &["--digest", &image::store::digest_of(meant).hex()])
    };
    unpack(&whole, &whole).report();
    let packed = {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        std::io::Write::write_all(&mut encoder, &whole).unwrap();
        encoder.finish().unwrap()
    };
    unpack(&packed, &packed).report();
    for (bytes, meant) in
        [(&whole, &packed), (&packed, &whole), (&[whole.as_slice(), &[0; 512]].concat(), &whole)]
    {
        unpack(bytes, meant).assert_refused(&["the archive has changed", "bryo image verify"]);
    }
    let metadata = Archive::new().file("config", "a = b\n").end();
    let other = ["--digest", &image::store::digest_of(b"other").hex()];
    Scratch::new().unpack_as("metadata", &metadata, &other).assert_refused(&["the archive has changed"]);
}

#[test]
fn an_entry_longer_than_any_file_is_refused() {
    for size in ["18446744073709551615", "9223372036854775808"] {
        let archive = Archive::new().pax(&[("size", size.as_bytes())]).file("a", "x").end();
        Scratch::new().unpack(&archive).assert_refused(&["malformed", size]);
    }
}
