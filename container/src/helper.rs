//! Running a privileged helper: no environment, nothing to read, and what it says on stderr is the cause when it fails.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Kind, Result};

/// Runs a helper that inherits some fds, to its end.
///
/// # Errors
/// It cannot be run.
pub(crate) fn run(mut command: Command, fds: &[BorrowedFd<'_>]) -> Result<Output> {
    let program = Path::new(command.get_program()).display().to_string();
    let failed = |e: std::io::Error| Error::new(Kind::IdHelper, format!("{program}: {e}"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let helper = sys::process::spawn_with(command.current_dir("/"), fds).map_err(failed)?;
    helper.wait_with_output().map_err(failed)
}

/// Returns the failure of a helper that has refused.
pub(crate) fn refusal(program: &Path, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it gave no reason").trim();
    Error::new(Kind::IdHelper, format!("{}: {said} ({})", program.display(), output.status))
}
