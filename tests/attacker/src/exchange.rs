//! Two names that are exchanged over and over, so that whoever checks one of them uses the other.

use std::io;

use crate::sys;

/// Exchanges `a` and `b` `times` times, then leaves them as they were; `-` never ends. Names that go away, as in a tree
/// that is being removed, end it.
pub(crate) fn attack(a: &str, b: &str, times: &str) -> io::Result<String> {
    let (a, b) = (sys::path(a)?, sys::path(b)?);
    let times: u64 = times.parse().unwrap_or(u64::MAX);
    println!("ready");
    for _ in 0..times {
        sys::exchange(&a, &b)?;
        sys::exchange(&a, &b)?;
    }
    Ok(String::new())
}
