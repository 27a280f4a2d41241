//! The last step: one line for the user, one for the system's log, the exit status. No locale has a say in
//! the wording.

use std::fmt;
use std::io;
use std::os::unix::net::UnixDatagram;

use crate::policy_file::PolicyFileError;
use crate::sys;

/// The exit status of a panic; it says EX_SOFTWARE of sysexits.h.
const STATUS_PANIC: i32 = 70;

/// Facility authpriv (10) and severities info (6) and warning (4). Source: syslog(3).
const DONE: u32 = 10 << 3 | 6;
const REFUSED: u32 = 10 << 3 | 4;

/// The longest line for the log, in bytes: RFC 3164, section 4.1.
const LOG_CAP: usize = 1024;

/// What joins the entries of a text that is longer than one.
const GOES_ON: &str = "...";

/// What a helper did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// For the log.
    pub log: String,
    /// For the caller, on stdout; may be empty.
    pub answer: String,
}

/// Why a helper did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: FailureKind,
    text: String,
}

/// How a helper ends without having done its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The request was understood and refused, or failed: exit status 1.
    Refused,
    /// The request was not understood: exit status 2.
    Usage,
    /// All that is granted is in use, for now: exit status 3. A later try can succeed.
    Full,
}

impl Failure {
    /// Returns one that says `why`.
    pub fn new(kind: FailureKind, why: impl fmt::Display) -> Self {
        Self { kind, text: why.to_string() }
    }

    /// Returns one of a request that was understood.
    pub fn refused(why: impl fmt::Display) -> Self {
        Self::new(FailureKind::Refused, why)
    }

    /// Returns one of a request that was not understood, with how the helper is called.
    pub fn usage(usage: &str, why: impl fmt::Display) -> Self {
        Self::new(FailureKind::Usage, format_args!("{why}; usage: {usage}"))
    }

    /// Tells whether the request was refused, or could not even be read.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }
}

/// The kernel refused a step that it never refuses.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::refused(error)
    }
}

impl From<PolicyFileError> for Failure {
    fn from(error: PolicyFileError) -> Self {
        Self::refused(error)
    }
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

    /// Sends a text. When the log is full a line is lost: nobody who fills the log may hold up a helper.
    fn send(&self, priority: u32, text: &str) {
        if let Some(socket) = &self.socket {
            for entry in entries(priority, self.program, text) {
                let _ = socket.send(entry.as_bytes());
            }
        }
    }
}

/// Returns the entries of the log for one text. It is told whole: who may have much could ask for it in such words that
/// what counts stands behind the end of one entry. The time is left to the log, since the helper reads no time zone.
fn entries(priority: u32, program: &str, text: &str) -> Vec<String> {
    let head = format!("<{priority}>{program}[{}]: uid={} ", std::process::id(), sys::user_ids().real);
    let shown = Escaped(text.as_bytes()).to_string();
    let pieces: Vec<_> = shown.as_bytes().chunks(LOG_CAP - head.len() - 2 * GOES_ON.len()).collect();
    let entry = |(place, piece): (usize, &&[u8])| {
        let before = if place == 0 { "" } else { GOES_ON };
        let behind = if place + 1 == pieces.len() { "" } else { GOES_ON };
        format!("{head}{before}{}{behind}", String::from_utf8_lossy(piece))
    };
    pieces.iter().enumerate().map(entry).collect()
}

/// Ends the process with a failure: the line on stderr, the exit status.
pub fn finish(program: &str, failure: &Failure) -> ! {
    let line = format!("{program}: {}\n", Escaped(failure.to_string().as_bytes()));
    say(line.as_bytes());
    match failure.kind {
        FailureKind::Refused => sys::exit_now(1),
        FailureKind::Usage => sys::exit_now(2),
        FailureKind::Full => sys::exit_now(3),
    }
}

/// Writes to stdout, once. As with [`finish`], the file is the caller's: whether it takes the line changes nothing, and
/// a pipe that stays full holds up the caller's own helper until the deadline.
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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
        let head = format!("<84>bryo-x[{}]: uid={} ", std::process::id(), sys::user_ids().real);
        assert_eq!(entries(REFUSED, "bryo-x", "no\n"), [format!("{head}no\\x0a")]);
        let all = entries(REFUSED, "bryo-x", &"y\n".repeat(2000));
        assert!(all.iter().all(|line| line.starts_with(&head) && line.len() <= 1024), "{all:?}");
    }

    #[test]
    fn a_long_text_is_logged_whole_in_entries_that_say_so() {
        let text: String = (0..900).map(|number| format!("u:{number}:1:1 ")).collect();
        let all = entries(DONE, "bryo-x", &text);
        let body = |line: &String| line.split_once(" ").unwrap().1.split_once(" ").unwrap().1.to_owned();
        let (first, last) = (body(&all[0]), body(all.last().unwrap()));
        assert!(first.starts_with("u:0:") && last.starts_with("...") && last.ends_with("u:899:1:1 "));
        let pieces: Vec<String> = all.iter().map(body).collect();
        assert_eq!(pieces.join("").replace("......", ""), text);
    }
}
