//! The clock that counts from the boot, sleep included: that by which the kernel dates processes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns the time since the boot.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
