//! Images of registries.

use image::store::digest_of;
use serde_json::{Value, json};

use crate::run::{Ended, Scratch, program};
use crate::server::{Answer, Server};

/// An image with two layers, on a registry.
struct Registry {
    server: Server,
    scratch: Scratch,
    layers: [Vec<u8>; 2],
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn described(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest_of(bytes), "size": bytes.len()})
}

fn architecture() -> &'static str {
    image::oci::architecture()
}

impl Registry {
    fn new() -> Self {
        let layers = [vec![1; 5000], (0..100_000_u32).flat_map(u32::to_le_bytes).collect()];
        let registry = Self { server: Server::new(), scratch: Scratch::new(), layers };
        let config = registry.config();
        registry.has("blobs", &config.clone());
        registry.layers.iter().for_each(|layer| registry.has("blobs", layer));
        let manifest = registry.manifest();
        registry.has("manifests", &manifest);
        let mut ours = described("m", &manifest);
        ours["platform"] = json!({"os": "linux", "architecture": architecture()});
        let mut theirs = described("m", b"another");
        theirs["platform"] = json!({"os": "windows", "architecture": "amd64"});
        registry.tagged(&json!({"manifests": [theirs, ours]}));
        registry
    }

    fn config(&self) -> Vec<u8> {
        let config = json!({"Entrypoint": ["/init"], "Cmd": ["serve"], "Env": ["A=b"], "User": "web", "WorkingDir": "/srv"});
        json!({"created": "2026-11-25T05:24:00Z", "config": config}).to_string().into_bytes()
    }

    fn manifest(&self) -> Vec<u8> {
        let layers: Vec<_> = self.layers.iter().map(|layer| described(LAYER, layer)).collect();
        json!({"config": described("c", &self.config()), "layers": layers}).to_string().into_bytes()
    }

    fn has(&self, what: &str, bytes: &[u8]) {
        self.server.has(&path(what, bytes), Answer::File(bytes.to_vec()));
    }

    fn tagged(&self, value: &Value) {
        self.server.has_text("v2/ana/web/manifests/3", &value.to_string());
    }

    fn name(&self) -> String {
        format!("docker:localhost:{}/ana/web:3", self.server.port())
    }

    fn pull(&self) -> Ended {
        self.pull_as(&self.name())
    }

    fn pull_as(&self, name: &str) -> Ended {
        let mut command = program();
        command.args(["pull", "--image", name, "--store"]).arg(self.scratch.store());
        command.output().unwrap().into()
    }
}

fn path(what: &str, bytes: &[u8]) -> String {
    format!("v2/ana/web/{what}/{}", digest_of(bytes))
}

#[test]
fn an_image_comes_by_index_manifest_and_digests() {
    let registry = Registry::new();
    let report = registry.pull().report();
    assert_eq!((&report["name"], &report["form"]), (&json!(registry.name()), &json!("oci")));
    assert_eq!(report["build"], "2026-11-25T05:24:00Z");
    assert_eq!(report["run"]["entrypoint"], json!(["/init"]));
    registry.layers.iter().for_each(|layer| registry.scratch.assert_has(layer));
    // What is there is not fetched again.
    registry.server.asked();
    registry.pull().report();
    let asked: Vec<_> = registry.server.asked().into_iter().map(|(path, _)| path).collect();
    assert_eq!(asked, ["v2/ana/web/manifests/3".to_owned(), path("manifests", &registry.manifest())]);
}

#[test]
fn an_image_pinned_by_its_digest_is_that_one() {
    let registry = Registry::new();
    let manifest = registry.manifest();
    let name = format!("docker:localhost:{}/ana/web@{}", registry.server.port(), digest_of(&manifest));
    registry.pull_as(&name).report();
    registry.server.has(&path("manifests", &manifest), Answer::File(b"{}".to_vec()));
    registry.pull_as(&name).assert_refused(&["what came has the digest"]);
}

#[test]
fn an_altered_manifest_configuration_or_layer_is_refused() {
    let altered = |what: &str, of: fn(&Registry) -> Vec<u8>| {
        let registry = Registry::new();
        let bytes = of(&registry);
        let mut other = bytes.clone();
        other[0] ^= 1;
        registry.server.has(&path(what, &bytes), Answer::File(other));
        registry.pull().assert_refused(&["what came has the digest"]);
        registry.scratch.assert_nothing_of(&bytes);
    };
    altered("manifests", Registry::manifest);
    altered("blobs", Registry::config);
    altered("blobs", |registry| registry.layers[1].clone());
}

#[test]
fn a_layer_that_never_ends_is_cut_at_its_length() {
    let registry = Registry::new();
    registry.server.has(&path("blobs", &registry.layers[0]), Answer::Endless);
    registry.pull().assert_refused(&["more than the 5000 bytes"]);
    registry.scratch.assert_nothing_of(&registry.layers[0]);
}

#[test]
fn what_is_not_for_this_machine_or_no_image_is_refused() {
    let registry = Registry::new();
    let mut other = described("m", b"another");
    other["platform"] = json!({"os": "linux", "architecture": "vax"});
    registry.tagged(&json!({"manifests": [other]}));
    registry.pull().assert_refused(&["it is not there for linux/", "it is for linux/vax"]);
    registry.tagged(&json!({"config": {"digest": "sha256:../../etc/passwd", "size": 1}, "layers": [1]}));
    registry.pull().assert_refused(&["it is no manifest of an image"]);
    registry
        .pull_as(&registry.name().replace("web:3", "web:4"))
        .assert_refused(&["has no image docker:localhost"]);
    assert_eq!(registry.scratch.count("names"), 0);
}

#[test]
fn a_registry_that_wants_a_token_is_shown_one_and_nobody_else_is() {
    let registry = Registry::new();
    let (elsewhere, port) = (Server::new(), registry.server.port());
    let realm = format!("http://localhost:{port}/token");
    let challenge = format!("Bearer realm=\"{realm}\",service=\"here\",scope=\"repository:ana/web:pull\"");
    registry.server.wants("v2/", &challenge, "Bearer good");
    let token = "token?service=here&scope=repository%3Aana%2Fweb%3Apull";
    registry.server.has_text(token, "{\"token\": \"good\"}");
    registry.pull().report();
    assert_eq!(registry.server.asked_for(token).len(), 1);
    // Whoever is to give tokens is asked by TLS.
    let registry = Registry::new();
    registry.server.wants("v2/", &format!("Bearer realm=\"{}/token\"", elsewhere.url()), "Bearer good");
    registry.pull().assert_refused(&["which is refused"]);
    assert!(elsewhere.asked().is_empty());
    // One that is never content.
    let registry = Registry::new();
    let challenge = format!("Bearer realm=\"http://localhost:{}/token\"", registry.server.port());
    registry.server.wants("v2/", &challenge, "Bearer another");
    registry.server.has_text("token?service=&scope=", "{\"access_token\": \"good\"}");
    registry.pull().assert_refused(&["401"]);
}
