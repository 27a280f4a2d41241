//! The log: lines in LXC's format, one per step, in the file that `lxc.log.file` or `-o` names.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use config::LogLevel;
use log::{LevelFilter, Log, Metadata, Record};

static LOGGER: OnceLock<ToFile> = OnceLock::new();

/// Appends to a file.
struct ToFile {
    file: File,
    tool: &'static str,
    name: String,
}

impl Log for ToFile {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let place = format!("{}:{}", record.file().unwrap_or("?"), record.line().unwrap_or(0));
        let message = printable(&record.args().to_string());
        let (tool, name, stamp) = (self.tool, &self.name, stamp(now));
        let line = format!(
            "{tool} {name} {stamp} {:<8} {} - {place} - {message}\n",
            record.level(),
            record.target()
        );
        // One write, so that lines of several commands do not mix. A full disk must not stop the command.
        let _unwritten = (&self.file).write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Keeps a message on its line, whatever a container or a file name put into it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Appends the log of this process to a file, from `level` on. `tool` and `name` (the container's) begin each line.
///
/// # Errors
/// The file cannot be opened.
pub fn to_file(path: &Path, level: LogLevel, tool: &'static str, name: &str) -> std::io::Result<()> {
    let file = sys::path::open_append(path)?;
    let logger = LOGGER.get_or_init(|| ToFile { file, tool, name: name.to_owned() });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(filter(level));
    }
    Ok(())
}

/// Returns the fd of the log, if there is one. A child that closes what it has inherited goes on to write to it.
pub(crate) fn fd() -> Option<BorrowedFd<'static>> {
    LOGGER.get().map(|logger| logger.file.as_fd())
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
    fn stamps_are_those_of_the_calendar() {
        assert_eq!(stamp(0), "19700101000000.000");
        assert_eq!(stamp(951_782_400_123), "20000229000000.123");
        assert_eq!(stamp(1_767_268_800_000), "20260101120000.000");
        assert_eq!(stamp(4_107_542_399_999), "21000228235959.999");
    }
}
