//! A scope of the user's systemd: a cgroup of one's own with the controllers that the administrator lets the user have.
//!
//! The process that is to be in it asks for itself, by the socket on which the user's systemd listens for its own tools:
//! that needs no bus, and is there under su, in a service of the system's and in a job of cron's as well, as long as a
//! systemd of the user's runs. From a cgroup outside of that systemd's (a login session) it is moved by the system's
//! systemd, which the user's asks by the system's bus.
//!
//! LXC: asks by the session's bus, and only where it was built with one.
//! Sources: org.freedesktop.systemd1(5), "StartTransientUnit"; systemd.scope(5); systemd's doc "CGROUP_DELEGATION".

mod message;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use sys::{process, socket};

use crate::access::Host;
use crate::layout::{Base, Layout, Version};
use message::{Call, FIXED, Message, Values};

/// How long systemd may take, as its own tools wait for it.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// The longest name of a unit, less the room for a pid and `.scope`. Source: systemd.unit(5).
const NAME_ROOM: usize = 255 - 20;

/// Why there is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Nobody takes a connection, or it breaks.
    #[error("speaking with the user's systemd: {0}")]
    Connection(String),
    /// Somebody else listens.
    #[error("who listens there is user {0}")]
    Stranger(types::HostUid),
    /// What is said there is not the protocol.
    #[error("the answer is no message of D-Bus")]
    Garbled,
    /// systemd refuses.
    #[error("{text} ({name})")]
    Refused {
        /// The name of the error.
        name: String,
        /// What it says.
        text: String,
    },
    /// The job ended otherwise than done: systemd could not move the process.
    #[error("the job of systemd ended as {0}")]
    Job(String),
    /// No answer in time.
    #[error("no answer in time")]
    Silent,
    /// The scope is there, and the process cannot make groups in it.
    #[error("the scope is of no use: {0}")]
    Useless(String),
}

impl From<io::Error> for ScopeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Connection(error.to_string()),
        }
    }
}

/// Moves the calling process, which has one thread, into a scope of its own, by the systemd that listens at `socket`.
/// The scope is called after `name`, and has what is delegated to that systemd delegated in its turn. It ends with its
/// last process. Returns what may be done in it.
///
/// # Errors
/// There is none within `patience`. A systemd that had not answered by then may move the process still, so what was known of its
/// cgroup is to be found out anew.
pub fn enter(socket: &Path, name: &str, description: &str, patience: Duration) -> Result<Host, ScopeError> {
    let units = unit_names(name);
    let asked = ask(socket, &units, description, patience);
    let found = Layout::of(Base::Own)
        .map_err(|e| ScopeError::Useless(e.to_string()))
        .and_then(|layout| inside(Host::probe(&layout), &units));
    match (asked, found) {
        // One that has not answered may have done it all the same.
        (_, Ok(host)) => Ok(host),
        (Err(e), Err(_)) | (Ok(()), Err(e)) => Err(e),
    }
}

/// Tells what may be done in the scope, if the process is in it.
fn inside(mut host: Host, units: &[String]) -> Result<Host, ScopeError> {
    host.is_scope = true;
    match host.accesses.iter().find(|access| access.version == Version::V2) {
        Some(access) if !units.iter().any(|unit| access.dir.ends_with(unit)) => {
            Err(ScopeError::Useless("nobody was moved".to_owned()))
        }
        Some(access) if access.is_usable() => Ok(host),
        Some(access) => Err(ScopeError::Useless(format!("{}: {}", access.dir.display(), access.verdict))),
        None => Err(ScopeError::Useless("cgroup v2 is not mounted".to_owned())),
    }
}

/// Has the calling process moved into a scope of the first of these names that nobody has.
fn ask(socket: &Path, units: &[String; 2], description: &str, patience: Duration) -> Result<(), ScopeError> {
    let mut manager = Manager::connect(socket, patience)?;
    let [unit, otherwise] = units;
    match manager.start(unit, description) {
        Err(ScopeError::Refused { name: error, .. }) if error.ends_with(".UnitExists") => {
            manager.start(otherwise, description)
        }
        done => done,
    }
}

/// Returns the name of a scope, and with the pid added the one to take where somebody else has the first.
fn unit_names(name: &str) -> [String; 2] {
    let name = unit_name(name);
    [format!("{name}.scope"), format!("{name}-{}.scope", process::own_pid())]
}

/// Escapes what the name of a unit may not have in it. Source: systemd.unit(5), "String Escaping for Inclusion in Unit Names".
fn unit_name(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        let as_it_is = byte.is_ascii_alphanumeric() || b":_.-".contains(&byte);
        let next = if as_it_is { char::from(byte).to_string() } else { format!("\\x{byte:02x}") };
        if escaped.len() + next.len() > NAME_ROOM {
            break;
        }
        escaped += &next;
    }
    escaped
}

/// The connection to a user's systemd.
struct Manager {
    stream: UnixStream,
    end: Instant,
    serial: u32,
}

impl Manager {
    fn connect(path: &Path, patience: Duration) -> Result<Self, ScopeError> {
        let end = Instant::now() + patience;
        let stream = UnixStream::from(socket::connect_stream(path, patience).map_err(io::Error::from)?);
        let own = sys::cred::real_uid();
        match socket::peer_uid(stream.as_fd()) {
            Ok(uid) if uid == own => {}
            Ok(uid) => return Err(ScopeError::Stranger(uid)),
            Err(e) => return Err(ScopeError::Connection(e.to_string())),
        }
        let mut manager = Self { stream, end, serial: 0 };
        manager.greet(own.0)?;
        Ok(manager)
    }

    /// Says who asks; the kernel vouches for it. Source: D-Bus Specification, "Authentication Protocol", EXTERNAL.
    fn greet(&mut self, uid: u32) -> Result<(), ScopeError> {
        let shown: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        write!(self.stream, "\0AUTH EXTERNAL {shown}\r\n")?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            const LONGEST: usize = 1024;
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.push(byte[0]);
            if line.len() > LONGEST {
                return Err(ScopeError::Garbled);
            }
        }
        if !line.starts_with(b"OK ") {
            return Err(ScopeError::Connection(String::from_utf8_lossy(&line).trim_end().to_owned()));
        }
        Ok(self.stream.write_all(b"BEGIN\r\n")?)
    }

    /// Starts the unit and waits for its job's end. Who is connected like this hears of each job without asking.
    fn start(&mut self, unit: &str, description: &str) -> Result<(), ScopeError> {
        self.serial += 1;
        self.stream.write_all(&request(self.serial, unit, description))?;
        let mut job = None;
        loop {
            match self.next()? {
                Message::Error(serial, name, text) if serial == self.serial => {
                    return Err(ScopeError::Refused { name, text });
                }
                Message::Return(serial, path) if serial == self.serial => {
                    job = Some(path.ok_or(ScopeError::Garbled)?);
                }
                Message::JobRemoved(path, how) if job.as_ref() == Some(&path) => {
                    return if how == "done" { Ok(()) } else { Err(ScopeError::Job(how)) };
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<Message, ScopeError> {
        let mut fixed = [0; FIXED];
        self.fill(&mut fixed)?;
        let mut bytes = fixed.to_vec();
        bytes.resize(message::length(&fixed).ok_or(ScopeError::Garbled)?, 0);
        self.fill(&mut bytes[FIXED..])?;
        Message::read(&bytes).ok_or(ScopeError::Garbled)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ScopeError> {
        let mut filled = 0;
        while filled < bytes.len() {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ScopeError::Silent);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(ScopeError::Connection("it was closed".to_owned())),
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// Who is connected, in the list of processes: as a number the pid could be another's in systemd's PID namespace.
const CONNECTED: u32 = 0;

/// Returns the message that asks for a scope with the calling process in it.
fn request(serial: u32, unit: &str, description: &str) -> Vec<u8> {
    let call = Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member: "StartTransientUnit",
        signature: "ssa(sv)a(sa(sv))",
    };
    let mut arguments = Values::default();
    arguments.text(unit).text("fail");
    arguments.array(8, |properties| {
        properties
            .named("Description", "s", |value| value.text(description))
            .named("PIDs", "au", |value| value.array(4, |pids| pids.number(CONNECTED)))
            .named("Delegate", "b", |value| value.number(1))
            // One that failed goes as well, and its name with it.
            .named("CollectMode", "s", |value| value.text("inactive-or-failed"))
    });
    arguments.array(8, |no_other_units| no_other_units);
    call.message(serial, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_container_makes_the_name_of_a_unit() {
        assert_eq!(unit_name("bryo-web_1.x"), "bryo-web_1.x");
        assert_eq!(unit_name("bryo-a b\\ü@"), "bryo-a\\x20b\\x5c\\xc3\\xbc\\x40");
        let long = unit_name(&"ü".repeat(127));
        assert!(long.len() <= NAME_ROOM && long.ends_with("\\xbc") | long.ends_with("\\xc3"), "{long}");
    }

    #[test]
    fn a_process_is_in_the_scope_that_its_cgroup_tells_whoever_answered() {
        let own = |dir: &str| {
            let mountinfo = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
            Host::probe(&Layout::parse(mountinfo, &format!("0::{dir}\n")))
        };
        let units = unit_names("bryo-web");
        let not_moved = Err(ScopeError::Useless("nobody was moved".to_owned()));
        assert_eq!(inside(own("/app.slice/other.service"), &units), not_moved);
        for unit in &units {
            // This host has none of that name.
            let told = inside(own(&format!("/app.slice/{unit}")), &units).unwrap_err().to_string();
            assert!(told.contains(unit) && told.contains("No such file"), "{told}");
        }
    }

    /// A listener that says what it is told to, and what it heard.
    fn answered(said: &'static [u8]) -> (Result<(), ScopeError>, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(said).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            let _until_it_is_closed = stream.read_to_end(&mut heard);
            heard
        });
        let done = ask(&path, &unit_names("bryo-web"), "web", PATIENCE);
        (done, other.join().unwrap())
    }

    #[test]
    fn the_caller_names_itself_and_asks_for_its_own_process() {
        let (done, heard) = answered(b"OK 0123\r\n");
        assert_eq!(done, Err(ScopeError::Connection("it was closed".to_owned())));
        let shown: String =
            sys::cred::real_uid().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        let greeting = format!("\0AUTH EXTERNAL {shown}\r\nBEGIN\r\n");
        let asked = request(1, "bryo-web.scope", "web");
        assert_eq!(heard, [greeting.as_bytes(), &asked].concat());
    }

    #[test]
    fn a_systemd_that_does_not_answer_is_waited_for_no_longer_than_wished() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private");
        let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let began = Instant::now();
        let said = ask(&path, &unit_names("bryo-web"), "web", Duration::from_millis(100));
        assert_eq!(said, Err(ScopeError::Silent));
        assert!(began.elapsed() < PATIENCE / 2);
    }

    #[test]
    fn who_is_refused_or_hears_nonsense_has_no_scope() {
        let (done, _) = answered(b"REJECTED EXTERNAL\r\n");
        assert_eq!(done, Err(ScopeError::Connection("REJECTED EXTERNAL".to_owned())));
        let (done, _) = answered(b"OK 0123\r\nthis is no message of D-Bus at all");
        assert_eq!(done, Err(ScopeError::Garbled));
        let nobody = ask(Path::new("/nonexistent/private"), &unit_names("bryo-web"), "web", PATIENCE);
        assert!(matches!(nobody, Err(ScopeError::Connection(_))), "{nobody:?}");
    }
}
