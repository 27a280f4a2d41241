//! Images in files of a registry's form.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::Path;

use image::oci::architecture;
use image::store::digest_of;
use serde_json::{Value, json};

use crate::archives::Archive;
use crate::run::{Ended, Scratch, run};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn layer(text: &str) -> Vec<u8> {
    Archive::new().file("file", text).end()
}

fn described(bytes: &[u8]) -> Value {
    json!({"mediaType": LAYER, "digest": digest_of(bytes), "size": bytes.len()})
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|layer| digest_of(layer)).collect();
    json!({"config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": ids}}).to_string().into_bytes()
}

/// The files of an OCI layout with one image for each tag.
fn layout(tags: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut blob = |bytes: Vec<u8>| {
        files.push((format!("blobs/sha256/{}", digest_of(&bytes).hex()), bytes.clone()));
        described(&bytes)
    };
    let mut manifests = Vec::new();
    for tag in tags {
        let layers = [layer("first"), layer(tag)];
        let described: Vec<_> = layers.iter().map(|layer| blob(layer.clone())).collect();
        let manifest = json!({"config": blob(config(&layers)), "layers": described});
        let mut named = blob(manifest.to_string().into_bytes());
        named["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        named["platform"] = json!({"os": "linux", "architecture": architecture()});
        manifests.push(named);
    }
    files.push(("index.json".to_owned(), json!({"manifests": manifests}).to_string().into_bytes()));
    files
}

fn archive(files: &[(String, Vec<u8>)]) -> File {
    let add = |archive: Archive, (name, bytes): &(String, Vec<u8>)| {
        archive.raw(crate::archives::header(tar::EntryType::Regular, name, bytes.len() as u64), bytes)
    };
    scratch_file(&files.iter().fold(Archive::new(), add).end())
}

fn scratch_file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn import(scratch: &Scratch, form: &str, source: &File, more: &[&str]) -> Ended {
    let store = scratch.path().join("images");
    let options = ["--store", store.to_str().unwrap(), "--image", "saved", "--form", form];
    run(&[], "import-saved", &[("--source", source)], &[&options, more].concat())
}

fn assert_layers(ended: &Ended, scratch: &Scratch, layers: &[Vec<u8>]) {
    let digests: Vec<_> = layers.iter().map(|layer| digest_of(layer)).collect();
    let report = ended.report();
    assert_eq!(report["layers"], json!(digests));
    assert_eq!(report["run"]["command"], json!(["sh"]));
    for (layer, digest) in layers.iter().zip(digests) {
        assert!(fs::read(scratch.path().join("images/blobs").join(digest.hex())).unwrap() == *layer);
    }
}

fn write(dir: &Path, files: &[(String, Vec<u8>)]) -> File {
    for (name, bytes) in files {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), bytes).unwrap();
    }
    File::open(dir).unwrap()
}

#[test]
fn a_layout_is_read_from_a_directory_and_from_an_archive() {
    let (scratch, files) = (Scratch::new(), layout(&["1"]));
    let layers = [layer("first"), layer("1")];
    assert_layers(&import(&scratch, "oci", &archive(&files), &[]), &scratch, &layers);
    let dir = write(&scratch.path().join("layout"), &files);
    assert_layers(&import(&scratch, "oci", &dir, &["--tag", "1"]), &scratch, &layers);
}

#[test]
fn of_several_images_one_has_to_be_named() {
    let (scratch, files) = (Scratch::new(), layout(&["1", "2"]));
    import(&scratch, "oci", &archive(&files), &[]).assert_refused(&["say which image: it has 1, 2"]);
    import(&scratch, "oci", &archive(&files), &["--tag", "3"]).assert_refused(&["it has 1, 2"]);
    let layers = [layer("first"), layer("2")];
    assert_layers(&import(&scratch, "oci", &archive(&files), &["--tag", "2"]), &scratch, &layers);
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_missing() {
    let (scratch, mut files) = (Scratch::new(), layout(&["1"]));
    files[1].1[100] ^= 1;
    import(&scratch, "oci", &archive(&files), &[]).assert_refused(&["it has no sha256:"]);
    import(&scratch, "oci", &write(&scratch.path().join("layout"), &files), &[])
        .assert_refused(&["it has no sha256:"]);
}

#[test]
fn a_directory_leads_nowhere_else() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("layout");
    write(&dir, &layout(&["1"]));
    fs::rename(dir.join("blobs"), scratch.outside().join("blobs")).unwrap();
    std::os::unix::fs::symlink("../outside/blobs", dir.join("blobs")).unwrap();
    assert_eq!(import(&scratch, "oci", &File::open(&dir).unwrap(), &[]).status, Some(1));
}

/// What `docker save` writes; the second layer is a link to the first.
fn docker(layers: &[Vec<u8>], config: &[u8]) -> File {
    let manifest = json!([{"Config": "c.json", "RepoTags": ["ana/web:3"], "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"]}]);
    let raw = |archive: Archive, name: &str, bytes: &[u8]| {
        archive.raw(crate::archives::header(tar::EntryType::Regular, name, bytes.len() as u64), bytes)
    };
    let files = raw(Archive::new(), "a/layer.tar", &layers[0]).symlink("b/layer.tar", "../a/layer.tar");
    let files = raw(raw(files, "c/layer.tar", &layers[2]), "c.json", config);
    scratch_file(&raw(files, "manifest.json", manifest.to_string().as_bytes()).end())
}

#[test]
fn what_docker_save_writes_is_read() {
    let layers = [layer("first"), layer("first"), layer("last")];
    let scratch = Scratch::new();
    assert_layers(
        &import(&scratch, "docker", &docker(&layers, &config(&layers)), &["--tag", "3"]),
        &scratch,
        &layers,
    );
    import(&scratch, "docker", &docker(&layers, &config(&layers)), &["--tag", "4"])
        .assert_refused(&["ana/web:3"]);
}

#[test]
fn layers_that_the_configuration_does_not_name_are_refused() {
    let layers = [layer("first"), layer("first"), layer("last")];
    for named in [vec![layer("first"), layer("first"), layer("other")], layers[..2].to_vec(), vec![]] {
        let ended = import(&Scratch::new(), "docker", &docker(&layers, &config(&named)), &[]);
        ended.assert_refused(&["is not the one that its configuration names"]);
    }
}
