//! The log: lines in LXC's format, one per step, in the file that `lxc.log.file` or `-o` names, and without the stamps that it
//! gives them itself in the system's log, where `lxc.log.syslog` asks for that.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use config::LogLevel;
use log::{Level, LevelFilter, Log, Metadata, Record};

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Where the log of this process goes.
#[derive(Debug)]
pub struct Logger {
    file: Option<File>,
    syslog: Option<Syslog>,
    tool: &'static str,
    name: String,
}

/// The system's log.
#[derive(Debug)]
pub struct Syslog {
    /// Connected once: a process that changes its root does not look for another.
    socket: UnixDatagram,
    facility: u32,
}

/// The socket of the system's log.
const DEV_LOG: &str = "/dev/log";

/// The facilities that `lxc.log.syslog` can name. Source: syslog(3), and RFC 5424 for the numbers.
const FACILITIES: [(&str, u32); 9] = [
    ("daemon", 3),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl Syslog {
    /// Connects to it; what is sent goes under a facility that `lxc.log.syslog` can name.
    ///
    /// # Errors
    /// Nobody takes a log there.
    pub fn connect(facility: &str) -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(DEV_LOG)?;
        // Whoever reads there may be slow; the container is not to wait for it.
        socket.set_nonblocking(true)?;
        let facility = FACILITIES.iter().find(|(name, _)| *name == facility).map_or(3, |(_, number)| *number);
        Ok(Self { socket, facility })
    }
}

impl Logger {
    /// Makes one that goes nowhere yet. `tool` and `name` (the container's) begin each line.
    pub fn new(tool: &'static str, name: &str) -> Self {
        Self { file: None, syslog: None, tool, name: name.to_owned() }
    }

    /// Appends to a file too.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn with_file(self, path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: Some(sys::path::open_append(path)?), ..self })
    }

    /// Sends to the system's log too.
    pub fn with_syslog(self, syslog: Syslog) -> Self {
        Self { syslog: Some(syslog), ..self }
    }

    /// Makes this the log of the process, from `level` on.
    pub fn begin(self, level: LogLevel) {
        if self.file.is_none() && self.syslog.is_none() {
            return;
        }
        let logger = LOGGER.get_or_init(|| self);
        if log::set_logger(logger).is_ok() {
            log::set_max_level(filter(level));
        }
    }

    fn to_file(&self, mut file: &File, record: &Record<'_>, message: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let place = format!("{}:{}", record.file().unwrap_or("?"), record.line().unwrap_or(0));
        let Self { tool, name, .. } = self;
        let (stamp, level, target) = (stamp(now), record.level(), record.target());
        let line = format!("{tool} {name} {stamp} {level:<8} {target} - {place} - {message}\n");
        // One write, so that lines of several commands do not mix. A full disk must not stop the command.
        let _unwritten = file.write_all(line.as_bytes());
    }

    fn to_syslog(&self, syslog: &Syslog, record: &Record<'_>, message: &str) {
        let priority = syslog.facility << 3 | severity(record.level());
        let line = format!("<{priority}>{}[{}]: {}: {message}", self.tool, std::process::id(), self.name);
        let _unheard = syslog.socket.send(line.as_bytes());
    }
}

impl Log for Logger {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let message = printable(&record.args().to_string());
        self.file.iter().for_each(|file| self.to_file(file, record, &message));
        self.syslog.iter().for_each(|syslog| self.to_syslog(syslog, record, &message));
    }

    fn flush(&self) {}
}

/// Returns the severity of a level. Source: syslog(3).
fn severity(level: Level) -> u32 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Keeps a message on its line, whatever a container or a file name put into it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if types::is_shown(c) { c } else { ' ' }).collect()
}

/// Appends the log of this process to a file, from `level` on. `tool` and `name` (the container's) begin each line.
///
/// # Errors
/// The file cannot be opened.
pub fn to_file(path: &Path, level: LogLevel, tool: &'static str, name: &str) -> std::io::Result<()> {
    Logger::new(tool, name).with_file(path)?.begin(level);
    Ok(())
}

/// Returns the fds of the log. A child that closes what it has inherited goes on to write to them.
pub(crate) fn fds<'a>() -> impl Iterator<Item = BorrowedFd<'a>> {
    let logger = LOGGER.get();
    let file = logger.and_then(|logger| logger.file.as_ref()).map(AsFd::as_fd);
    let syslog = logger.and_then(|logger| logger.syslog.as_ref()).map(|syslog| syslog.socket.as_fd());
    file.into_iter().chain(syslog)
}

/// Returns what the crate `log` has for a level. What is worse than an error counts as one.
fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::Trace,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Info | LogLevel::Notice => LevelFilter::Info,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Error | LogLevel::Crit | LogLevel::Alert | LogLevel::Fatal => LevelFilter::Error,
    }
}

/// Writes milliseconds since 1970 as LXC does, in UTC: `20260101120000.123`.
fn stamp(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}.{:03}", milliseconds % 1000)
}

/// Returns the minute of a time, as image servers write when something was built: `20261126_05:24`.
pub fn minute(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / 86_400);
    format!("{year:04}{month:02}{day:02}_{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60)
}

/// Turns days since 1970-01-01 into a date of the Gregorian calendar, counting years from March so that the leap day
/// is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (400 * era + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_its_line_and_turns_nothing_around() {
        assert_eq!(printable("a\nb\u{1b}[31m\u{202e}c é"), "a b [31m c é");
    }

    #[test]
    fn a_minute_is_written_as_image_servers_do() {
        let time = UNIX_EPOCH + std::time::Duration::from_secs(1_795_670_699);
        assert_eq!(minute(time), "20261126_05:24");
    }

    #[test]
    fn every_facility_of_the_configuration_has_its_number() {
        for (name, _) in FACILITIES {
            config::Config::default().set("lxc.log.syslog", name).unwrap();
        }
        assert_eq!(FACILITIES.len(), 9);
    }

    #[test]
    fn stamps_are_those_of_the_calendar() {
        assert_eq!(stamp(0), "19700101000000.000");
        assert_eq!(stamp(951_782_400_123), "20000229000000.123");
        assert_eq!(stamp(1_767_268_800_000), "20260101120000.000");
        assert_eq!(stamp(4_107_542_399_999), "21000228235959.999");
    }
}
