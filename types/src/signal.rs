//! Signals, by number and by the names that LXC's configuration uses.

use std::fmt;
use std::str::FromStr;

/// A signal number of Linux, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Signal(i32);

/// The text is not a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalError;

/// The first and last real-time signals as glibc numbers them (the kernel's 32 and 33 are its own).
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// Names and numbers on the generic Linux ABI. Source: signal(7), "Standard signals".
const NAMES: [(&str, i32); 32] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    /// SIGHUP.
    pub const HUP: Signal = Signal(1);
    /// SIGINT.
    pub const INT: Signal = Signal(2);
    /// SIGKILL.
    pub const KILL: Signal = Signal(9);
    /// SIGUSR1.
    pub const USR1: Signal = Signal(10);
    /// SIGUSR2.
    pub const USR2: Signal = Signal(12);
    /// SIGTERM.
    pub const TERM: Signal = Signal(15);
    /// Has a stopped process go on.
    pub const CONT: Signal = Signal(18);
    /// SIGPWR, which asks an init for a halt.
    pub const PWR: Signal = Signal(30);
    /// SIGRTMIN+3, which asks systemd for a halt.
    pub const RTMIN_3: Signal = Signal(RTMIN + 3);

    /// Makes a signal from its number.
    ///
    /// # Errors
    /// A number outside 1 to 64.
    pub fn new(number: i32) -> Result<Self, SignalError> {
        if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(SignalError) }
    }

    /// Returns the signal's number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// Reads a number, `SIGxxx`, `SIGRTMIN+n` or `SIGRTMAX-n`. LXC: a name without `SIG` is refused, and so here.
    fn from_str(text: &str) -> Result<Self, SignalError> {
        if let Ok(number) = text.parse() {
            return Self::new(number);
        }
        let name = text.strip_prefix("SIG").ok_or(SignalError)?;
        let offset = |digits: &str| digits.parse::<u8>().map(i32::from).map_err(|_| SignalError);
        let realtime =
            |number: i32| if (RTMIN..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(SignalError) };
        if let Some(digits) = name.strip_prefix("RTMIN+") {
            return realtime(RTMIN + offset(digits)?);
        }
        if let Some(digits) = name.strip_prefix("RTMAX-") {
            return realtime(RTMAX - offset(digits)?);
        }
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, number)| Self(*number)).ok_or(SignalError)
    }
}

impl fmt::Display for Signal {
    /// Writes `SIGxxx`, or `SIGRTMIN+n` for real-time signals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "SIGRTMIN{:+}", self.0 - RTMIN),
        }
    }
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a signal: expected SIGNAME, SIGRTMIN+n, SIGRTMAX-n or a number from 1 to 64")
    }
}

impl std::error::Error for SignalError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_realtime_forms_are_read() {
        assert_eq!("SIGPWR".parse(), Ok(Signal::PWR));
        assert_eq!("30".parse(), Ok(Signal::PWR));
        assert_eq!("SIGRTMIN+3".parse(), Ok(Signal::RTMIN_3));
        assert_eq!("SIGRTMAX-27".parse(), Ok(Signal::RTMIN_3));
        for bad in ["PWR", "0", "65", "-1", "SIGNO", "SIGRTMIN+31", "SIGRTMAX-31", "SIGRTMIN+-1", ""] {
            assert_eq!(bad.parse::<Signal>(), Err(SignalError), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_parses_again() {
        for number in (1..=31).chain(RTMIN..=RTMAX) {
            let signal = Signal::new(number).unwrap();
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }
}
