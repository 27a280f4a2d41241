//! What a running container uses, and numbers for people.

use cgroup::{BaseGroup, Usage};
use container::monitor::RunFile;
use container::place::Place;

/// Reads what a running container uses; none where its cgroups cannot be read.
pub(crate) fn of(place: &Place) -> Option<Usage> {
    let state = place.state_dir().ok().flatten()?;
    let run = RunFile::read(&state).ok().flatten()?;
    let base = BaseGroup::open_what_is_left(run.host).ok()?;
    Some(base.open(&run.names.payload).ok()?.usage())
}

/// Writes a number of bytes as LXC does: `1.27 KiB`. Fractions are cut.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| bytes > *size) {
        Some((size, unit)) => format!("{}.{:02} {unit}", bytes / size, bytes % size * 100 / size),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1024, "1024 bytes"),
            (1300, "1.26 KiB"),
            (5 << 20, "5.00 MiB"),
            (3 << 29, "1.50 GiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
