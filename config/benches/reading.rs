//! How long a configuration of 200 lines with includes takes to read: `cargo bench -p config`. Lists of containers read one
//! for each, so it is to stay below 200 microseconds.

use std::fs;
use std::time::{Duration, Instant};

const ROUNDS: usize = 2000;

/// Lines as containers have them, made up to 200 with those of the included files.
fn text(directory: &std::path::Path) -> String {
    let include = format!("lxc.include = {}/common.conf\n", directory.display());
    let own = "lxc.uts.name = web\nlxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\nlxc.net.0.type = veth\n\
               lxc.net.0.link = lxcbr0\nlxc.net.0.hwaddr = 10:66:6a:12:34:56\nlxc.cgroup2.memory.max = 1G\n# a comment\n";
    let entries = "lxc.mount.entry = /srv/data srv/data none bind,optional,create=dir 0 0\n".repeat(20);
    format!("{include}{}{entries}", own.repeat(16))
}

fn main() {
    let directory = tempfile::tempdir().expect("there is a directory for temporary files");
    let common = format!("{}{}", config::share::COMMON.text, config::share::USERNS.text);
    fs::write(directory.path().join("common.conf"), &common).expect("the directory is writable");
    let file = directory.path().join("config");
    let text = text(directory.path());
    fs::write(&file, &text).expect("the directory is writable");
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            assert!(config::load(&file).is_ok());
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    let lines = text.lines().count() + common.lines().count();
    println!(
        "{lines} lines in 2 files: {:?}, the slowest tenth {:?} and more",
        times[ROUNDS / 2],
        times[ROUNDS * 9 / 10]
    );
}
