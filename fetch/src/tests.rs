use config::images::Form;
use image::store::digest_of;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    (dir, store)
}

fn record(server: &str, build: &str, rootfs: Digest) -> Record {
    Record {
        name: format!("debian/trixie/{}/default", machine()),
        also: Vec::new(),
        build: build.to_owned(),
        server: Some(server.to_owned()),
        form: Form::Archive,
        metadata: None,
        layers: vec![rootfs],
        run: None,
    }
}

const HERE: &str = "http://127.0.0.1:9";

/// A server that cannot be reached.
fn unreachable() -> HttpError {
    HttpError::Broken { url: HERE.to_owned(), error: "refused".to_owned(), unreachable: true }
}

#[test]
fn without_its_server_an_image_is_taken_only_where_all_of_it_is_here_unchanged() {
    let (dir, store) = store();
    let rootfs = store.import(&mut &b"a root file system"[..]).unwrap();
    store.record(&record(HERE, "20261120", rootfs)).unwrap();
    let name = "debian/trixie".parse().unwrap();
    assert_eq!(from_store(&store, &name, HERE, unreachable()).unwrap().image.build, "20261120");
    std::fs::write(dir.path().join("images/blobs").join(rootfs.hex()), "evil").unwrap();
    assert_eq!(digest_of(b"a root file system"), rootfs);
    let changed = from_store(&store, &name, HERE, unreachable()).unwrap_err();
    assert!(matches!(changed, FetchError::Store(StoreError::Damaged(found)) if found == rootfs), "{changed}");
    let gone = from_store(&store, &name, HERE, unreachable()).unwrap_err();
    assert!(matches!(gone, FetchError::Gone { digest, .. } if digest == rootfs), "{gone}");
}

#[test]
fn without_its_server_an_image_of_another_is_named_and_not_taken() {
    let (_dir, store) = store();
    let rootfs = store.import(&mut &b"a root file system"[..]).unwrap();
    store.record(&record("https://other.org", "20261120", rootfs)).unwrap();
    let name = "debian/trixie".parse().unwrap();
    let other = from_store(&store, &name, HERE, unreachable()).unwrap_err().to_string();
    assert!(other.contains("--server https://other.org takes it"), "{other}");
    assert!(from_store(&store, &name, "https://other.org", unreachable()).is_ok());
    // What was imported is of no server, and named so by the user.
    store.record(&Record { server: None, ..record(HERE, "20261119", rootfs) }).unwrap();
    assert!(from_store(&store, &name, HERE, unreachable()).is_ok());
}

#[test]
fn a_build_of_a_day_that_has_not_come_is_refused() {
    // Of date(1).
    for (day, date) in
        [(0, "19700101"), (58, "19700228"), (59, "19700301"), (11_016, "20000229"), (20_782, "20261125")]
    {
        assert_eq!(date_of(day), date);
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(20_782 * 86_400 + 1);
    for (build, ahead) in [
        ("20261125_05:24", false),
        ("20261126_23:59", false),
        ("20261127_00:00", true),
        ("20270101", true),
        ("99999999", true),
        ("9.1", false),
    ] {
        assert_eq!(is_ahead(build, now), ahead, "{build}");
    }
}
