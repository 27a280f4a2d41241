//! What a hostile server tries, or who stands between.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::run::{Scratch, program};
use crate::server::{Answer, Image, LXC_DIR, METADATA, ROOTFS, Server};

fn streams() -> (Server, Image, Scratch) {
    let (server, image) = (Server::new(), Image::new());
    image.on_streams(&server);
    (server, image, Scratch::new())
}

#[test]
fn an_altered_file_is_refused_and_leaves_nothing() {
    for path in [ROOTFS, METADATA] {
        let (server, image, scratch) = streams();
        let bytes = if path == ROOTFS { &image.rootfs } else { &image.metadata };
        let mut altered = bytes.clone();
        altered[5] ^= 1;
        server.has(path, Answer::File(altered));
        scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&[path, "it was altered on its way"]);
        scratch.assert_nothing_of(bytes);
        assert_eq!(scratch.count("partial"), 0);
    }
}

#[test]
fn an_altered_file_of_lxcs_index_is_refused_too() {
    let (server, image, scratch) = (Server::new(), Image::new(), Scratch::new());
    image.on_lxc(&server);
    server.has(&format!("{LXC_DIR}/rootfs.tar.xz"), Answer::File(b"something else".to_vec()));
    scratch
        .pull(&server.url(), "debian/trixie/amd64")
        .assert_refused(&["rootfs.tar.xz", "it was altered on its way"]);
    scratch.assert_nothing_of(&image.rootfs);
}

#[test]
fn a_file_of_which_nobody_says_a_digest_is_not_fetched() {
    let (server, image, scratch) = (Server::new(), Image::new(), Scratch::new());
    image.on_lxc(&server);
    for sums in [Answer::Status(404), Answer::File(Vec::new())] {
        server.has(&format!("{LXC_DIR}/SHA256SUMS"), sums);
        scratch.pull(&server.url(), "debian/trixie/amd64").assert_refused(&["says no digest"]);
        assert!(server.asked_for(&format!("{LXC_DIR}/rootfs.tar.xz")).is_empty());
    }
}

#[test]
fn a_file_that_always_breaks_off_is_no_image() {
    let (server, image, scratch) = streams();
    server.has(ROOTFS, Answer::BreaksOff(image.rootfs.clone(), 0));
    scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&[ROOTFS]);
    assert_eq!((scratch.length("blobs", &image.rootfs), scratch.count("names")), (None, 0));
    assert_eq!(server.asked_for(ROOTFS).len(), 3, "it is tried three times");
    server.has(ROOTFS, Answer::Whole(image.rootfs[..5000].to_vec()));
    scratch
        .pull(&server.url(), "debian/13/amd64")
        .assert_refused(&[ROOTFS, "it ends after 5000 of 800000 bytes"]);
    assert_eq!((scratch.length("blobs", &image.rootfs), scratch.count("names")), (None, 0));
}

#[test]
fn a_part_that_begins_elsewhere_is_not_put_after_the_one_that_is_there() {
    let (server, image, scratch) = streams();
    let parts = [Answer::BreaksOff(image.rootfs.clone(), 5000), Answer::Beginning(image.rootfs.clone())];
    server.answers_in_turn(ROOTFS, parts);
    scratch.pull(&server.url(), "debian/13/amd64").report();
    assert_eq!(server.asked_for(ROOTFS), [None, Some("bytes=5000-".to_owned()), None]);
    scratch.assert_has(&image.rootfs);
}

#[test]
fn a_body_without_end_is_refused_where_the_file_ends() {
    let (server, image, scratch) = streams();
    server.has(ROOTFS, Answer::Endless);
    let length = image.rootfs.len().to_string();
    scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&[ROOTFS, &length]);
    scratch.assert_nothing_of(&image.rootfs);
}

#[test]
fn an_index_without_end_is_refused() {
    let (server, image, scratch) = streams();
    for path in ["streams/v1/index.json", "streams/v1/images.json"] {
        image.on_streams(&server);
        server.has(path, Answer::Endless);
        scratch
            .pull(&server.url(), "debian/13/amd64")
            .assert_refused(&[path, "more than 33554432 bytes came"]);
    }
}

#[test]
fn an_index_is_taken_from_nobody_else() {
    let (elsewhere, image, _) = streams();
    let scratch = Scratch::new();
    for path in ["streams/v1/index.json", "streams/v1/images.json"] {
        let server = Server::new();
        image.on_streams(&server);
        server.has(path, Answer::SentOn(format!("{}/{path}", elsewhere.url())));
        scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&["sends us on", "is refused"]);
        server.has(path, Answer::SentOn("https://127.0.0.1:1/x".to_owned()));
        scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&["sends us on", "is refused"]);
    }
    assert_eq!(elsewhere.asked(), []);
}

#[test]
fn a_file_is_not_fetched_without_tls_from_elsewhere() {
    let (server, image, scratch) = streams();
    let elsewhere = Server::new();
    image.on_streams(&elsewhere);
    for to in [format!("{}/{ROOTFS}", elsewhere.url()), "file:///etc/passwd".to_owned(), String::new()] {
        server.has(ROOTFS, Answer::SentOn(to));
        scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&["sends us on", "is refused"]);
    }
    assert_eq!(elsewhere.asked(), []);
}

#[test]
fn a_server_that_sends_us_round_in_a_circle_is_left() {
    let (server, _, scratch) = streams();
    server.has(ROOTFS, Answer::SentOn(format!("/{ROOTFS}")));
    scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&["sends us on"]);
    assert_eq!(server.asked_for(ROOTFS).len(), 6);
}

#[test]
fn a_path_that_leads_elsewhere_is_not_asked_for() {
    let (server, image, scratch) = streams();
    for path in ["../../secret", "/etc/passwd", "images/../../x", "http://127.0.0.1:1/x", "x?y", "%2e%2e/x"] {
        let list = image.list().to_string().replace(ROOTFS, path);
        server.has_text("streams/v1/images.json", &list);
        scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&["no distribution debian"]);
        assert_eq!(server.asked().len(), 2, "{path}");
    }
    let listed = program().args(["list", "--server", &server.url()]).output().unwrap();
    assert_eq!(crate::run::Ended::from(listed).report(), json!({"images": [], "left_out": 1}));
}

#[test]
fn an_older_index_than_the_one_seen_is_refused() {
    let (server, image, scratch) = streams();
    scratch.pull(&server.url(), "debian/13/amd64").report();
    let older = Image { build: "20261124_05:24", rootfs: b"with a hole".to_vec(), ..image.clone() };
    older.on_streams(&server);
    scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&[
        "20261124_05:24",
        "older than",
        "20261125_05:24",
    ]);
    assert_eq!(scratch.length("blobs", &older.rootfs), None);
    scratch.assert_has(&image.rootfs);
}

#[test]
fn the_root_file_system_of_another_build_is_refused() {
    let (server, image, scratch) = streams();
    let other = Image { rootfs: b"of another build".to_vec(), ..image.clone() };
    other.on_streams(&server);
    // Each digest is right; only the common one is that of the first.
    let own =
        image.list().pointer("/products/debian:trixie:amd64:default/versions").unwrap()[image.build]["items"]
            ["incus.tar.xz"]["combined_rootxz_sha256"]
            .clone();
    let mut list = other.list();
    let items = list.pointer_mut("/products/debian:trixie:amd64:default/versions").unwrap();
    items[image.build]["items"]["incus.tar.xz"]["combined_rootxz_sha256"] = own;
    server.has_text("streams/v1/images.json", &list.to_string());
    scratch.pull(&server.url(), "debian/13/amd64").assert_refused(&["are not those of one build"]);
    assert_eq!(scratch.count("names"), 0);
}

#[test]
fn what_a_server_says_cannot_send_control_sequences_to_the_terminal() {
    let (server, _, scratch) = streams();
    server.has(ROOTFS, Answer::SentOn("http://x/\u{1b}[2J\u{7}".to_owned()));
    let ended = scratch.pull(&server.url(), "debian/13/amd64");
    assert_eq!(ended.status, Some(1));
    assert!(!ended.stderr.contains(['\u{1b}', '\u{7}']), "{ended:?}");
    server.has_text("streams/v1/index.json", "{\"index\": {\"\u{1b}[2J");
    let ended = scratch.pull(&server.url(), "debian/13/amd64");
    assert_eq!(ended.status, Some(1));
    assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
}

#[test]
fn what_is_no_index_is_said_to_be_none() {
    let (server, _, scratch) = streams();
    server.has_text("streams/v1/index.json", "<html>404</html>");
    scratch
        .pull(&server.url(), "debian/13/amd64")
        .assert_refused(&["streams/v1/index.json", "it is no simplestreams index"]);
    let none = Server::new();
    scratch.pull(&none.url(), "debian/13/amd64").assert_refused(&["is no image server"]);
}

/// Stores of objects answer so for what is not there, where nobody may list them.
#[test]
fn what_is_forbidden_counts_as_missing_where_a_signature_is_asked_for_all_the_same() {
    let (server, image, scratch) = streams();
    for path in ["index.sjson", "index.json.asc", "index.json.gpg", "index.json.sig"] {
        server.has(&format!("streams/v1/{path}"), Answer::Status(403));
    }
    let keyring = scratch.store().with_extension("gpg");
    std::fs::write(&keyring, "").unwrap();
    let pull = || {
        let output =
            scratch.pulling(&server.url(), "debian/13/amd64").arg("--keyring").arg(&keyring).output();
        crate::run::Ended::from(output.unwrap())
    };
    pull().assert_refused(&["streams/v1/index.json", "it has no signature beside it"]);
    scratch.assert_nothing_of(&image.rootfs);
    // The text itself is no signature.
    server.has("streams/v1/index.json", Answer::Status(403));
    pull().assert_refused(&["streams/v1/index.json", "the server answers 403"]);
    assert!(scratch.pull(&server.url(), "debian/13/amd64").status == Some(1));
}

#[test]
fn a_good_signature_counts_where_another_form_of_it_is_forbidden() {
    let (server, image, scratch) = streams();
    let dir = tempfile::tempdir().unwrap();
    let gpg = |words: &[&str]| {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--passphrase", ""]).args(words).env("GNUPGHOME", dir.path());
        assert!(
            gpg.current_dir(dir.path()).stderr(Stdio::null()).status().unwrap().success(),
            "gpg {words:?}"
        );
    };
    gpg(&["--quick-generate-key", "images@example.org", "ed25519", "sign", "never"]);
    gpg(&["--output", "keys.gpg", "--export"]);
    for path in ["index", "images"] {
        let text = server.text(&format!("streams/v1/{path}.json"));
        std::fs::write(dir.path().join("text"), text).unwrap();
        gpg(&["--yes", "--output", "signature", "--detach-sign", "text"]);
        server.has(&format!("streams/v1/{path}.sjson"), Answer::Status(403));
        server.has(&format!("streams/v1/{path}.json.asc"), Answer::Status(403));
        let signature = std::fs::read(dir.path().join("signature")).unwrap();
        server.has(&format!("streams/v1/{path}.json.gpg"), Answer::File(signature));
    }
    let ended = Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", dir.path()).status();
    assert!(ended.unwrap().success());
    let pull = || {
        let mut pull = scratch.pulling(&server.url(), "debian/13/amd64");
        crate::run::Ended::from(pull.arg("--keyring").arg(dir.path().join("keys.gpg")).output().unwrap())
    };
    // One of another text, behind the same answers, is refused.
    let other = server.text("streams/v1/index.json.gpg");
    let own = server.text("streams/v1/images.json.gpg");
    server.has("streams/v1/images.json.gpg", Answer::File(other));
    pull().assert_refused(&["streams/v1/images.json"]);
    scratch.assert_nothing_of(&image.rootfs);
    server.has("streams/v1/images.json.gpg", Answer::File(own));
    pull().report();
    scratch.assert_has(&image.rootfs);
}
