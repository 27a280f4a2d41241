//! Stamps the build: a hash over the sources whose data types cross from the command line to the monitor.
//!
//! The two programs are separate binaries that exchange a serialized plan; when an upgrade has replaced only one of
//! them, the stamp tells, instead of a plan that is read wrongly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let mut sources = BTreeMap::new();
    for krate in ["types", "cgroup", "config", "container"] {
        let dir = root.join(krate).join("src");
        println!("cargo::rerun-if-changed={}", dir.display());
        collect(&dir, &mut sources);
    }
    let version = std::env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    println!("cargo::rustc-env=BRYO_BUILD={version}-{:016x}", hash(&sources));
}

fn collect(dir: &Path, sources: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).expect("the sources are readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|e| e == "rs") {
            sources.insert(path.clone(), std::fs::read(&path).expect("the sources are readable"));
        }
    }
}

/// FNV-1a, 64 bits: enough to tell two builds apart, with nothing to depend on.
fn hash(sources: &BTreeMap<PathBuf, Vec<u8>>) -> u64 {
    let bytes = sources.values().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
