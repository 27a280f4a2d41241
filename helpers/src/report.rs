//! The last step: one line for the user, one for the system's log, the exit status. No locale has a say in
//! the wording.

use std::fmt;
use std::os::unix::net::UnixDatagram;

use crate::sys;

/// The exit status of a panic; it says EX_SOFTWARE of sysexits.h.
const STATUS_PANIC: i32 = 70;

/// Facility authpriv (10) and severities info (6) and warning (4). Source: syslog(3).
const DONE: u32 = 10 << 3 | 6;
const REFUSED: u32 = 10 << 3 | 4;

/// The longest line for the log, in bytes: RFC 3164, section 4.1.
const LOG_CAP: usize = 1024;

/// What is said of a helper that did not do its work.
pub trait Verdict: fmt::Display {
    /// Returns whether the request was refused, or could not even be read.
    fn kind(&self) -> VerdictKind;
}

/// How a helper ends without having done its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictKind {
    /// The request was understood and refused, or failed: exit status 1.
    Refused,
    /// The request was not understood: exit status 2.
    Usage,
    /// All that is granted is in use, for now: exit status 3. A later try can succeed.
    Full,
}

/// Bytes shown as printable ASCII, everything else and the backslash as `\xNN`: one line stays one line.
pub struct Escaped<'a>(pub &'a [u8]);

/// The way to the system's log. It is opened early, while opening files is still allowed, and never waited
/// for.
#[derive(Debug)]
pub struct Log {
    program: &'static str,
    socket: Option<UnixDatagram>,
}

impl Log {
    /// Connects to /dev/log. A host without one has no such log, which is no reason to refuse.
    pub fn open(program: &'static str) -> Self {
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect("/dev/log").map(|()| socket)
        };
        Self { program, socket: connect().ok() }
    }

    /// Logs what was done for the caller.
    pub fn done(&self, text: &str) {
        self.send(DONE, text);
    }

    /// Logs what was refused to the caller.
    pub fn refused(&self, text: &str) {
        self.send(REFUSED, text);
    }

    /// Sends a line. When the log is full the line is lost: nobody who fills the log may hold up a helper.
    fn send(&self, priority: u32, text: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(entry(priority, self.program, text).as_bytes());
        }
    }
}

/// Returns one entry of the log. The time is left to the log, since the helper reads no time zone.
fn entry(priority: u32, program: &str, text: &str) -> String {
    let mut line = format!("<{priority}>{program}[{}]: uid={} ", std::process::id(), sys::user_ids().real);
    line.push_str(&Escaped(text.as_bytes()).to_string());
    line.truncate(LOG_CAP);
    line
}

/// Ends the process with a verdict: the line on stderr, the exit status.
pub fn finish(program: &str, verdict: &dyn Verdict) -> ! {
    let line = format!("{program}: {}\n", Escaped(verdict.to_string().as_bytes()));
    say(line.as_bytes());
    match verdict.kind() {
        VerdictKind::Refused => sys::exit_now(1),
        VerdictKind::Usage => sys::exit_now(2),
        VerdictKind::Full => sys::exit_now(3),
    }
}

/// Writes a line of results to stdout, once. As with [`finish`], the file is the caller's: the work is done whether it
/// takes the line or not, and the exit status says so.
pub fn answer(line: &str) {
    use std::os::fd::AsFd;
    let _ = sys::write_once(std::io::stdout().as_fd(), line.as_bytes());
}

/// Makes a panic end the process with a fixed line: nothing of the state goes to the caller's terminal.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {
        say(b"bryo helper: internal error\n");
        sys::exit_now(STATUS_PANIC)
    }));
}

/// Writes to stderr, once. It is the caller's file: whether it takes the line changes nothing.
fn say(line: &[u8]) {
    use std::os::fd::AsFd;
    let _ = sys::write_once(std::io::stderr().as_fd(), line);
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| match byte {
            b' '..=b'[' | b']'..=b'~' => write!(f, "{}", *byte as char),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_can_end_a_line_or_move_a_cursor() {
        let all: Vec<u8> = (0..=255).collect();
        let shown = Escaped(&all).to_string();
        assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        assert_eq!(Escaped(b"a\\x0a\n").to_string(), "a\\x5cx0a\\x0a");
    }

    #[test]
    fn an_entry_of_the_log_is_one_short_line_with_a_constant_ident() {
        let line = entry(REFUSED, "bryo-x", &"y\n".repeat(2000));
        assert!(line.starts_with(&format!("<84>bryo-x[{}]: uid=", std::process::id())));
        assert!(line.len() == 1024 && !line.contains('\n'));
    }
}
