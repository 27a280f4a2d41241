use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use config::images::{Form, Record};

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> Store {
        Store::open(&self.0.path().join("images")).unwrap()
    }

    fn file(&self, dir: &str, digest: Digest) -> PathBuf {
        self.0.path().join("images").join(dir).join(digest.hex())
    }
}

const TEXT: &[u8] = b"a root file system";

fn missing(store: &Store, digest: Digest) -> Partial {
    match store.claim(digest, &|| {}).unwrap() {
        Claim::Missing(partial) => partial,
        Claim::Ready(_) => panic!("the file is there"),
    }
}

fn put(store: &Store, bytes: &[u8]) -> Digest {
    let digest = digest_of(bytes);
    let mut partial = missing(store, digest);
    partial.append(bytes, u64::MAX).unwrap();
    partial.finish().unwrap();
    digest
}

fn text_of(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_file_is_there_when_it_is_whole_and_not_before() {
    let scratch = Scratch::new();
    let (store, digest) = (scratch.store(), digest_of(TEXT));
    let mut partial = missing(&store, digest);
    partial.append(TEXT, TEXT.len() as u64).unwrap();
    assert!(store.get(digest).unwrap().is_none());
    assert_eq!(text_of(partial.finish().unwrap()), TEXT);
    assert_eq!(text_of(store.get(digest).unwrap().unwrap()), TEXT);
    assert!(matches!(store.claim(digest, &|| {}).unwrap(), Claim::Ready(_)));
    assert!(!scratch.file("partial", digest).exists());
}

#[test]
fn something_else_gets_no_place_and_leaves_nothing() {
    let scratch = Scratch::new();
    let (store, digest) = (scratch.store(), digest_of(TEXT));
    let mut partial = missing(&store, digest);
    partial.append(b"something else", u64::MAX).unwrap();
    assert!(matches!(partial.finish(), Err(StoreError::Wrong { .. })));
    assert!(!scratch.file("partial", digest).exists() && !scratch.file("blobs", digest).exists());
}

#[test]
fn more_than_the_length_of_a_file_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new();
    let (store, digest) = (scratch.store(), digest_of(TEXT));
    let mut partial = missing(&store, digest);
    partial.append(&TEXT[..9], 10).unwrap();
    assert!(matches!(partial.append(&TEXT[9..], 10), Err(StoreError::TooLong(10))));
    assert!(!scratch.file("partial", digest).exists());
}

#[test]
fn what_somebody_left_half_way_is_gone_on_with() {
    let scratch = Scratch::new();
    let (store, digest) = (scratch.store(), digest_of(TEXT));
    missing(&store, digest).append(&TEXT[..5], u64::MAX).unwrap();
    let mut partial = missing(&store, digest);
    assert_eq!(partial.length(), 5);
    partial.append(&TEXT[5..], u64::MAX).unwrap();
    assert_eq!(text_of(partial.finish().unwrap()), TEXT);
}

#[test]
fn what_is_left_can_be_thrown_away() {
    let scratch = Scratch::new();
    let (store, digest) = (scratch.store(), digest_of(TEXT));
    missing(&store, digest).append(b"wrong, and longer than the text is", u64::MAX).unwrap();
    let mut partial = missing(&store, digest);
    partial.restart().unwrap();
    partial.append(TEXT, u64::MAX).unwrap();
    assert_eq!(text_of(partial.finish().unwrap()), TEXT);
}

/// Each has files open of its own, as processes have, so the locks are between them.
#[test]
fn of_many_who_want_a_file_one_fetches_it() {
    let scratch = Scratch::new();
    let (fetched, digest) = (AtomicUsize::new(0), digest_of(TEXT));
    for _ in 0..20 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let file = match scratch.store().claim(digest, &|| {}).unwrap() {
                        Claim::Ready(file) => file,
                        Claim::Missing(mut partial) => {
                            fetched.fetch_add(1, Ordering::Relaxed);
                            partial.append(TEXT, u64::MAX).unwrap();
                            partial.finish().unwrap()
                        }
                    };
                    assert_eq!(text_of(file), TEXT);
                });
            }
        });
        assert_eq!(fetched.swap(0, Ordering::Relaxed), 1);
        assert_eq!(fs::read_dir(scratch.0.path().join("images/partial")).unwrap().count(), 0);
        fs::remove_file(scratch.file("blobs", digest)).unwrap();
    }
}

#[test]
fn a_file_that_got_its_place_after_the_look_for_it_is_not_fetched_again() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let digest = put(&store, TEXT);
    assert!(Partial::lock(&store, digest, &|| {}).unwrap().is_none());
    assert!(!scratch.file("partial", digest).exists());
}

#[test]
fn a_file_that_changed_on_the_disk_is_not_given_out_but_fetched_anew() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let digest = put(&store, TEXT);
    fs::write(scratch.file("blobs", digest), "changed").unwrap();
    assert!(matches!(store.get(digest), Err(StoreError::Damaged(_))));
    assert!(store.get(digest).unwrap().is_none());
    put(&store, TEXT);
    fs::write(scratch.file("blobs", digest), "changed").unwrap();
    assert_eq!(put(&store, TEXT), digest);
}

#[test]
fn what_died_half_way_is_swept_and_what_is_fetched_now_is_not() {
    let scratch = Scratch::new();
    let store = scratch.store();
    missing(&store, digest_of(b"died")).append(b"d", u64::MAX).unwrap();
    let _fetched = missing(&store, digest_of(b"comes"));
    assert_eq!(store.sweep(Duration::from_secs(3600)), 0);
    assert_eq!(store.sweep(Duration::ZERO), 1);
    assert!(scratch.file("partial", digest_of(b"comes")).exists());
}

#[test]
fn nobody_else_may_look_into_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let dir = scratch.0.path().join("images");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let digest = put(&scratch.store(), TEXT);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(dir), mode(scratch.file("blobs", digest))), (0o700, 0o600));
}

#[test]
fn a_name_means_what_was_written_last() {
    let scratch = Scratch::new();
    let (store, name) = (scratch.store(), "debian/trixie/amd64/default");
    assert_eq!(store.recorded(name).unwrap(), None);
    let record = |build: &str| Record {
        name: name.to_string(),
        also: vec!["13".to_owned()],
        build: build.to_owned(),
        server: Some("https://example.org".to_owned()),
        form: Form::Incus,
        metadata: Some(digest_of(b"metadata")),
        layers: vec![digest_of(build.as_bytes())],
        run: None,
    };
    for build in ["20261124_05:24", "20261125_05:24"] {
        store.record(&record(build)).unwrap();
        assert_eq!(store.recorded(name).unwrap(), Some(record(build)));
    }
    assert_eq!(store.records().unwrap(), [record("20261125_05:24")]);
    fs::write(scratch.0.path().join("images/names/debian,trixie,amd64,default.json"), "{").unwrap();
    let said = store.recorded(name).unwrap_err().to_string();
    assert!(said.starts_with("the record of debian/trixie/amd64/default cannot be read: "), "{said}");
    assert!(said.contains("images/names/debian,trixie,amd64,default.json"), "{said}");
}

#[test]
fn what_is_imported_is_named_by_what_is_in_it() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let digest = store.import(&mut &TEXT[..]).unwrap();
    assert_eq!((digest, text_of(store.get(digest).unwrap().unwrap())), (digest_of(TEXT), TEXT.to_vec()));
    assert_eq!(store.import(&mut &TEXT[..]).unwrap(), digest);
    assert_eq!(fs::read_dir(scratch.0.path().join("images/blobs")).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_read_to_its_end_is_not_imported() {
    struct Breaks(bool);
    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer[0] = b'a';
            if std::mem::replace(&mut self.0, true) { Err(std::io::ErrorKind::Other.into()) } else { Ok(1) }
        }
    }
    let scratch = Scratch::new();
    assert!(scratch.store().import(&mut Breaks(false)).is_err());
    assert_eq!(fs::read_dir(scratch.0.path().join("images/blobs")).unwrap().count(), 0);
}

#[test]
fn files_that_changed_on_the_disk_are_found_and_removed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let (good, bad) = (put(&store, TEXT), put(&store, b"another"));
    fs::write(scratch.file("blobs", bad), "changed").unwrap();
    assert_eq!(store.verify().unwrap(), [bad]);
    assert_eq!(store.verify().unwrap(), []);
    assert!(scratch.file("blobs", good).exists() && !scratch.file("blobs", bad).exists());
}

#[test]
fn nobody_removes_images_while_the_store_is_open() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let lock = fs::File::open(scratch.0.path().join("images/lock")).unwrap();
    assert!(lock.try_lock().is_err());
    drop(store);
    lock.try_lock().unwrap();
}

#[test]
fn an_older_build_of_a_server_is_not_written_down_whatever_came_from_elsewhere_meanwhile() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let name = "debian/trixie/amd64/default";
    let record = |server: Option<&str>, build: &str| Record {
        name: name.to_owned(),
        also: Vec::new(),
        build: build.to_owned(),
        server: server.map(str::to_owned),
        form: Form::Archive,
        metadata: None,
        layers: Vec::new(),
        run: None,
    };
    let (a, b) = (Some("https://a.org"), Some("https://b.org"));
    assert_eq!(store.record_newest(&record(a, "2")).unwrap(), None);
    assert_eq!(store.record_newest(&record(b, "1")).unwrap(), None);
    store.record(&record(None, "0")).unwrap();
    assert_eq!(store.newest(name, "https://a.org").unwrap().as_deref(), Some("2"));
    assert_eq!(store.record_newest(&record(a, "1")).unwrap().as_deref(), Some("2"));
    assert_eq!(store.recorded(name).unwrap(), Some(record(None, "0")));
    for (server, build) in [(a, "2"), (a, "3"), (b, "1")] {
        assert_eq!(store.record_newest(&record(server, build)).unwrap(), None);
        assert_eq!(store.recorded(name).unwrap(), Some(record(server, build)));
    }
}

#[test]
fn what_is_no_file_holds_no_fetch_up() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let partial = scratch.0.path().join("images/partial");
    fs::create_dir(partial.join("directory")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(partial.join("fifo")).status().unwrap().success());
    missing(&store, digest_of(b"died")).append(b"d", u64::MAX).unwrap();
    assert_eq!(store.sweep(Duration::ZERO), 1);
}

/// Each has files open of its own, as processes have.
#[test]
fn of_many_who_sweep_and_fetch_none_fails() {
    let scratch = Scratch::new();
    let digest = digest_of(TEXT);
    for _ in 0..50 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let store = scratch.store();
                    store.sweep(Duration::ZERO);
                    if let Claim::Missing(mut partial) = store.claim(digest, &|| {}).unwrap() {
                        partial.append(TEXT, u64::MAX).unwrap();
                        partial.finish().unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(scratch.0.path().join("images/partial")).unwrap().count(), 0);
        fs::remove_file(scratch.file("blobs", digest)).unwrap();
    }
}

#[test]
fn a_file_that_came_anew_is_not_removed_for_the_one_that_had_changed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let digest = put(&store, TEXT);
    let changed = File::open(scratch.file("blobs", digest)).unwrap();
    fs::remove_file(scratch.file("blobs", digest)).unwrap();
    put(&store, TEXT);
    store.remove_damaged(&changed, digest).unwrap();
    assert_eq!(text_of(store.get(digest).unwrap().unwrap()), TEXT);
    assert!(!scratch.file("partial", digest).exists());
}
