//! Levels of the log.

use std::fmt;
use std::str::FromStr;

use crate::Fault;

/// A level of `lxc.log.level`, from everything to the last words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
#[allow(missing_docs)] // The names say it; they are syslog's, with TRACE and FATAL at the ends.
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Notice,
    Warn,
    Error,
    Crit,
    Alert,
    Fatal,
}

/// Levels and names, at the place of their number.
const NAMES: [(LogLevel, &str); 9] = [
    (LogLevel::Trace, "TRACE"),
    (LogLevel::Debug, "DEBUG"),
    (LogLevel::Info, "INFO"),
    (LogLevel::Notice, "NOTICE"),
    (LogLevel::Warn, "WARN"),
    (LogLevel::Error, "ERROR"),
    (LogLevel::Crit, "CRIT"),
    (LogLevel::Alert, "ALERT"),
    (LogLevel::Fatal, "FATAL"),
];

impl FromStr for LogLevel {
    type Err = Fault;

    /// Reads a number from 0 (trace) to 8 (fatal), or a name in any case.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let by_number = || text.parse::<usize>().ok().and_then(|number| NAMES.get(number));
        let by_name = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        by_name.or_else(by_number).map(|(level, _)| *level).ok_or_else(|| {
            let names = NAMES.iter().map(|(_, name)| *name);
            Fault::value(
                text,
                "a log level (TRACE, DEBUG, INFO, NOTICE, WARN, ERROR, CRIT, ALERT, FATAL or 0 to 8)",
            )
            .meaning(crate::nearest::of(&text.to_ascii_uppercase(), names))
        })
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NAMES[*self as usize].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_its_number_and_its_name() {
        for (number, (level, name)) in NAMES.iter().enumerate() {
            assert_eq!(*level as usize, number);
            assert_eq!(number.to_string().parse(), Ok(*level));
            assert_eq!(name.to_lowercase().parse(), Ok(*level));
            assert_eq!(&level.to_string(), name);
        }
        assert!("9".parse::<LogLevel>().is_err());
    }
}
