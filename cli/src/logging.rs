//! The log of `bryo` verbs: warnings, to standard error. The lxc-* names write `container::logging` to a file.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::output;

/// Prints warnings and worse to standard error.
struct ToUser;

impl Log for ToUser {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            output::warning(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Shows warnings on standard error.
pub(crate) fn to_user() {
    if log::set_boxed_logger(Box::new(ToUser)).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
