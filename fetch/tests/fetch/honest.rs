//! What an honest server gives, over a connection that may break.

use std::fs;

use image::store::digest_of;
use serde_json::json;

use crate::run::{Scratch, program, until};
use crate::server::{Answer, Image, LXC_DIR, METADATA, NAME, ROOTFS, Server};

fn streams() -> (Server, Image, Scratch) {
    let (server, image) = (Server::new(), Image::new());
    image.on_streams(&server);
    (server, image, Scratch::new())
}

#[test]
fn an_image_of_simplestreams_is_fetched_once() {
    let (server, image, scratch) = streams();
    let report = scratch.pull(&server.url(), "debian/13/amd64").report();
    let (metadata, rootfs) = (digest_of(&image.metadata), digest_of(&image.rootfs));
    assert_eq!(
        report,
        json!({
            "name": NAME, "also": ["13"], "build": image.build, "server": server.url(), "form": "incus", "left_out": 0,
            "metadata": metadata, "layers": [rootfs], "run": null, "unasked": null,
        })
    );
    scratch.assert_has(&image.metadata);
    scratch.assert_has(&image.rootfs);
    server.asked();
    assert_eq!(scratch.pull(&server.url(), "debian/trixie/amd64").report(), report);
    let asked: Vec<_> = server.asked().into_iter().map(|(path, _)| path).collect();
    assert_eq!(asked, ["streams/v1/index.json", "streams/v1/images.json"]);
}

#[test]
fn an_image_of_lxcs_index_is_fetched_by_the_digests_beside_it() {
    let (server, image, scratch) = (Server::new(), Image::new(), Scratch::new());
    image.on_lxc(&server);
    let report = scratch.pull(&server.url(), "debian/trixie/amd64").report();
    assert_eq!((&report["name"], &report["form"]), (&json!(NAME), &json!("lxc")));
    scratch.assert_has(&image.rootfs);
    let asked: Vec<_> = server.asked().into_iter().map(|(path, _)| path).collect();
    let files = ["SHA256SUMS", "meta.tar.xz", "rootfs.tar.xz"].map(|name| format!("{LXC_DIR}/{name}"));
    let indexes =
        ["streams/v1/index.json", "meta/1.0/index-user.7", "meta/1.0/index-user"].map(str::to_owned);
    assert_eq!(asked, [&indexes[..], &files].concat());
}

#[test]
fn a_server_below_a_directory_is_asked_there() {
    let (server, image, scratch) = (Server::new(), Image::new(), Scratch::new());
    image.on_streams(&server);
    for path in ["streams/v1/index.json", "streams/v1/images.json", METADATA, ROOTFS] {
        let bytes = match path {
            METADATA => image.metadata.clone(),
            ROOTFS => image.rootfs.clone(),
            "streams/v1/images.json" => image.list().to_string().into_bytes(),
            _ => br#"{"index": {"a": {"datatype": "image-downloads", "path": "streams/v1/images.json"}}}"#
                .to_vec(),
        };
        server.has(path, Answer::Status(500));
        server.has(&format!("mirror/lxc/{path}"), Answer::File(bytes));
    }
    scratch.pull(&format!("{}/mirror/lxc/", server.url()), "debian/13/amd64").report();
    scratch.assert_has(&image.rootfs);
}

#[test]
fn a_server_says_what_it_has() {
    let (server, image, _) = streams();
    let listed = program().args(["list", "--server", &server.url()]).output().unwrap();
    let images = json!([{"name": NAME, "also": ["13"], "build": image.build}]);
    assert_eq!(crate::run::Ended::from(listed).report(), json!({"images": images, "left_out": 0}));
}

#[test]
fn of_two_processes_one_fetches_a_file_and_both_have_it() {
    let (server, image, scratch) = streams();
    server.has(ROOTFS, Answer::Slowly(image.rootfs.clone()));
    let started =
        [scratch.start(&server.url(), "debian/13/amd64"), scratch.start(&server.url(), "debian/13/amd64")];
    let ended = started.map(|process| crate::run::Ended::from(process.wait_with_output().unwrap()));
    ended.iter().for_each(|ended| drop(ended.report()));
    let note = format!("another command fetches {ROOTFS}");
    assert_eq!(ended.iter().filter(|ended| ended.stdout.contains(&note)).count(), 1);
    assert_eq!(server.asked_for(ROOTFS), [None]);
    scratch.assert_has(&image.rootfs);
}

#[test]
fn a_fetch_that_was_killed_leaves_no_image_and_the_next_goes_on_where_it_ended() {
    let (server, image, scratch) = streams();
    server.answers_in_turn(
        ROOTFS,
        [Answer::Stalls(image.rootfs.clone(), 300_000), Answer::File(image.rootfs.clone())],
    );
    let mut killed = scratch.start(&server.url(), "debian/13/amd64");
    until("a part of the file", || scratch.length("partial", &image.rootfs) == Some(300_000));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!((scratch.length("blobs", &image.rootfs), scratch.count("names")), (None, 0));
    server.asked();
    scratch.pull(&server.url(), "debian/13/amd64").report();
    assert_eq!(server.asked_for(ROOTFS), [Some("bytes=300000-".to_owned())]);
    scratch.assert_has(&image.rootfs);
}

#[test]
fn who_waits_for_a_fetch_that_is_killed_goes_on_with_it() {
    let (server, image, scratch) = streams();
    server.answers_in_turn(
        ROOTFS,
        [Answer::Stalls(image.rootfs.clone(), 300_000), Answer::File(image.rootfs.clone())],
    );
    let mut killed = scratch.start(&server.url(), "debian/13/amd64");
    until("a part of the file", || scratch.length("partial", &image.rootfs) == Some(300_000));
    let waiting = scratch.start(&server.url(), "debian/13/amd64");
    until("a second index", || {
        server.asked.lock().unwrap().iter().filter(|(path, _)| path.ends_with("images.json")).count() == 2
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    crate::run::Ended::from(waiting.wait_with_output().unwrap()).report();
    assert_eq!(server.asked_for(ROOTFS), [None, Some("bytes=300000-".to_owned())]);
    scratch.assert_has(&image.rootfs);
}

#[test]
fn an_answer_that_breaks_off_is_gone_on_with() {
    let (server, image, scratch) = streams();
    server.answers_in_turn(
        ROOTFS,
        [Answer::BreaksOff(image.rootfs.clone(), 5000), Answer::File(image.rootfs.clone())],
    );
    scratch.pull(&server.url(), "debian/13/amd64").report();
    assert_eq!(server.asked_for(ROOTFS), [None, Some("bytes=5000-".to_owned())]);
    scratch.assert_has(&image.rootfs);
}

#[test]
fn a_server_that_gives_no_parts_of_files_gives_the_whole_one_again() {
    let (server, image, scratch) = streams();
    server.answers_in_turn(
        ROOTFS,
        [Answer::BreaksOff(image.rootfs.clone(), 5000), Answer::Whole(image.rootfs.clone())],
    );
    scratch.pull(&server.url(), "debian/13/amd64").report();
    assert_eq!(server.asked_for(ROOTFS).len(), 2);
    scratch.assert_has(&image.rootfs);
}

#[test]
fn a_server_that_refuses_parts_of_files_is_asked_for_the_whole_one() {
    for refusal in [400, 403, 501] {
        let (server, image, scratch) = streams();
        server.answers_in_turn(
            ROOTFS,
            [
                Answer::BreaksOff(image.rootfs.clone(), 5000),
                Answer::Status(refusal),
                Answer::File(image.rootfs.clone()),
            ],
        );
        scratch.pull(&server.url(), "debian/13/amd64").report();
        assert_eq!(server.asked_for(ROOTFS), [None, Some("bytes=5000-".to_owned()), None]);
        scratch.assert_has(&image.rootfs);
    }
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let (server, image, scratch) = streams();
    server.answers_in_turn(
        "streams/v1/images.json",
        [Answer::Status(503), Answer::File(image.list().to_string().into())],
    );
    server.answers_in_turn(ROOTFS, [Answer::Status(500), Answer::File(image.rootfs.clone())]);
    scratch.pull(&server.url(), "debian/13/amd64").report();
    scratch.assert_has(&image.rootfs);
}

#[test]
fn a_half_that_is_of_something_else_is_thrown_away_and_the_file_comes_as_a_whole() {
    let (server, image, scratch) = streams();
    fs::create_dir_all(scratch.store().join("partial")).unwrap();
    for length in [1000, image.rootfs.len(), image.rootfs.len() + 1] {
        let half = scratch.store().join("partial").join(digest_of(&image.rootfs).hex());
        fs::write(half, vec![b'x'; length]).unwrap();
        scratch.pull(&server.url(), "debian/13/amd64").report();
        scratch.assert_has(&image.rootfs);
        fs::remove_file(scratch.store().join("blobs").join(digest_of(&image.rootfs).hex())).unwrap();
    }
}

#[test]
fn where_no_server_answers_it_is_the_image_that_is_there() {
    let (server, image, scratch) = streams();
    scratch.pull(&server.url(), "debian/13/amd64").report();
    // Nobody listens on port 1 of loopback, and what came from elsewhere is not that server's.
    let elsewhere = format!("--server {} takes it", server.url());
    scratch.pull("http://127.0.0.1:1", "debian/13/amd64").assert_refused(&["Connection refused", &elsewhere]);
    let record = fs::read_dir(scratch.store().join("names")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&record).unwrap().replace(&server.url(), "http://127.0.0.1:1");
    fs::write(&record, text).unwrap();
    let report = scratch.pull("http://127.0.0.1:1", "debian/13/amd64").report();
    assert_eq!(
        (&report["build"], &report["unasked"]),
        (&json!(image.build), &json!("the server cannot be reached"))
    );
    scratch
        .pull("http://127.0.0.1:1", "debian/12/amd64")
        .assert_refused(&["http://127.0.0.1:1/streams/v1/index.json"]);
    Scratch::new().pull("http://127.0.0.1:1", "debian/13/amd64").assert_refused(&["Connection refused"]);
}

#[test]
fn a_newer_build_takes_the_place_of_an_older_one() {
    let (server, image, scratch) = streams();
    scratch.pull(&server.url(), "debian/13/amd64").report();
    let newer = Image { build: "20261126_05:24", rootfs: b"newer".to_vec(), ..image };
    newer.on_streams(&server);
    assert_eq!(scratch.pull(&server.url(), "debian/13/amd64").report()["build"], newer.build);
    scratch.assert_has(&newer.rootfs);
    assert_eq!(scratch.count("names"), 1);
}

/// A limit of the size of files fails a write as a full disk does.
#[test]
fn a_write_that_fails_leaves_nothing() {
    let (server, image, scratch) = streams();
    let limited = format!("trap '' XFSZ; ulimit -f 100; exec {} \"$@\"", crate::run::PROGRAM);
    let mut command = std::process::Command::new("sh");
    command.args([
        "-c",
        &limited,
        "sh",
        "pull",
        "--server",
        &server.url(),
        "--image",
        "debian/13",
        "--store",
    ]);
    let ended = crate::run::Ended::from(command.arg(scratch.store()).env_clear().output().unwrap());
    ended.assert_refused(&["writing a file", "File too large"]);
    scratch.assert_nothing_of(&image.rootfs);
}

#[test]
fn this_machine_is_asked_without_a_proxy_and_one_that_cannot_be_asked_is_not_passed_over() {
    let (server, image, scratch) = streams();
    let ended = |proxy: &str| {
        let output = scratch.pulling(&server.url(), "debian/13/amd64").env("all_proxy", proxy).output();
        crate::run::Ended::from(output.unwrap())
    };
    ended("socks5://127.0.0.1:1").assert_refused(&["all_proxy", "http://"]);
    assert!(server.asked().is_empty());
    ended("http://127.0.0.1:1").report();
    scratch.assert_has(&image.rootfs);
}
