//! Layers of registries' images: one over the other.

use std::fs;
use std::os::unix::fs::MetadataExt;

use tar::EntryType;

use crate::archives::{Archive, header};
use crate::run::{Scratch, is_root};

fn layered(layers: impl IntoIterator<Item = Archive>) -> Scratch {
    let scratch = Scratch::new();
    for layer in layers {
        let layer = layer.end();
        scratch.unpack_as("unpack", &layer, &["--layer"]).report();
    }
    scratch.assert_outside_untouched();
    scratch
}

/// The files below the root, in their order.
fn files(scratch: &Scratch) -> Vec<String> {
    fn below(dir: &std::path::Path, root: &std::path::Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            found.push(entry.path().strip_prefix(root).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                below(&entry.path(), root, found);
            }
        }
    }
    let mut found = Vec::new();
    below(&scratch.root(), &scratch.root(), &mut found);
    found.sort();
    found
}

fn lower() -> Archive {
    Archive::new().dir("a").file("a/x", "x").file("a/y", "y").dir("a/b").file("a/b/z", "z").file("top", "top")
}

#[test]
fn what_a_layer_says_is_gone_is_gone() {
    let scratch = layered([
        lower(),
        Archive::new().file("a/.wh.x", "").file(".wh.top", "").file("a/.wh.not-there", ""),
    ]);
    assert_eq!(files(&scratch), ["a", "a/b", "a/b/z", "a/y"]);
}

#[test]
fn a_directory_that_is_gone_goes_with_all_in_it() {
    assert_eq!(files(&layered([lower(), Archive::new().file(".wh.a", "")])), ["top"]);
}

#[test]
fn what_the_layer_itself_has_stays_wherever_the_mark_stands() {
    let own = ["a", "a/b", "a/b/new", "a/new", "top"];
    let first =
        Archive::new().dir("a").file("a/.wh..wh..opq", "").file("a/new", "").dir("a/b").file("a/b/new", "");
    assert_eq!(files(&layered([lower(), first])), own);
    let last =
        Archive::new().dir("a").file("a/new", "").dir("a/b").file("a/b/new", "").file("a/.wh..wh..opq", "");
    assert_eq!(files(&layered([lower(), last])), own);
    let one = Archive::new().file("top", "new").file(".wh.top", "");
    let scratch = layered([lower(), one]);
    assert_eq!(fs::read_to_string(scratch.root().join("top")).unwrap(), "new");
}

#[test]
fn a_later_layer_replaces_what_is_there_by_something_of_another_kind() {
    let link = Archive::new().symlink("link", "a");
    let replacing =
        Archive::new().file("a", "a file").dir("top").file("top/in", "").dir("link").file("link/in", "");
    let scratch = layered([lower(), link, replacing]);
    assert_eq!(files(&scratch), ["a", "link", "link/in", "top", "top/in"]);
    assert_eq!(fs::read_to_string(scratch.root().join("a")).unwrap(), "a file");
}

#[test]
fn a_file_in_a_directory_of_a_group_has_its_own_group() {
    if !is_root() {
        return;
    }
    let mut group = header(EntryType::Directory, "a", 0);
    group.set_mode(0o2775);
    group.set_gid(50);
    let scratch = layered([Archive::new().raw(group, b""), Archive::new().file("a/x", "")]);
    assert_eq!(fs::metadata(scratch.root().join("a/x")).unwrap().gid(), 0);
}

#[test]
fn a_mark_leads_through_no_link() {
    let up = Archive::new().symlink("up", "../outside").symlink("abs", "/");
    let marks =
        Archive::new().file("up/.wh.secret", "").file("up/.wh..wh..opq", "").file("abs/.wh..wh..opq", "");
    layered([up, marks]);
}

#[test]
fn a_layer_writes_through_no_link_of_a_layer_below() {
    for entry in [
        Archive::new().file("up/secret", "changed"),
        Archive::new().dir("up/new"),
        Archive::new().symlink("up/l", "x"),
    ] {
        let scratch = Scratch::new();
        let up = Archive::new().symlink("up", "../outside");
        scratch.unpack_as("unpack", &up.end(), &["--layer"]).report();
        let ended = scratch.unpack_as("unpack", &entry.end(), &["--layer"]);
        ended.assert_refused(&["symbolic link"]);
        scratch.assert_outside_untouched();
    }
}

#[test]
fn a_hard_link_to_a_link_of_a_layer_below_is_refused() {
    let scratch = Scratch::new();
    let link = Archive::new().symlink("link", "../outside/secret");
    scratch.unpack_as("unpack", &link.end(), &["--layer"]).report();
    let hard = Archive::new().hard_link("hard", "link").file("hard", "changed");
    let ended = scratch.unpack_as("unpack", &hard.end(), &["--layer"]);
    ended.assert_refused(&["not a regular file"]);
    scratch.assert_outside_untouched();
}

#[test]
fn a_mark_of_nothing_is_refused() {
    for name in [".wh.", "a/.wh..", "a/.wh...", ".wh..wh.plnk"] {
        let scratch = Scratch::new();
        let ended = scratch.unpack_as("unpack", &Archive::new().file(name, "").end(), &["--layer"]);
        ended.assert_refused(&["mark"]);
    }
}

#[test]
fn outside_of_layers_a_mark_is_a_file() {
    let scratch = Scratch::new();
    scratch.unpack(&Archive::new().file("x", "").file(".wh.x", "").end()).report();
    assert_eq!(files(&scratch), [".wh.x", "x"]);
}
