//! Running a privileged helper: no environment, nothing to read, and what it says on stderr is the cause when it fails.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use sys::event::{self, Ready};

use crate::error::{Error, Kind, Result};

/// Runs a helper that inherits some fds, to its end.
///
/// # Errors
/// It cannot be run.
pub(crate) fn run(mut command: Command, fds: &[BorrowedFd<'_>]) -> Result<Output> {
    let program = Path::new(command.get_program()).display().to_string();
    let failed = |e: std::io::Error| Error::new(Kind::IdHelper, format!("{program}: {e}"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut helper = sys::process::spawn_with(command.current_dir("/"), fds).map_err(failed)?;
    let said = read(&mut helper);
    if said.is_err() {
        let _ended = helper.kill();
    }
    let status = helper.wait().map_err(failed)?;
    let (stdout, stderr) = said.map_err(failed)?;
    Ok(Output { status, stdout, stderr })
}

/// Reads standard output and error to their ends. The library's own way to it panics when the kernel has no memory to wait with.
fn read(helper: &mut Child) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut stdout, mut stderr) = (helper.stdout.take(), helper.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while stdout.is_some() || stderr.is_some() {
        let fds = stdout.iter().map(AsFd::as_fd).chain(stderr.iter().map(AsFd::as_fd));
        let ready = event::wait(&fds.map(|fd| (fd, Ready::READ)).collect::<Vec<_>>(), None)?;
        let mut ready = ready.iter().map(|ready| ready.read);
        if stdout.is_some() && ready.next() == Some(true) {
            take(&mut stdout, &mut out)?;
        }
        if stderr.is_some() && ready.next() == Some(true) {
            take(&mut stderr, &mut err)?;
        }
    }
    Ok((out, err))
}

/// Takes what is there; at the end, or when it is more than a helper has to say, the pipe is closed.
fn take(pipe: &mut Option<impl Read>, to: &mut Vec<u8>) -> std::io::Result<()> {
    const CAP: usize = 64 * 1024;
    let mut piece = [0; 4096];
    let read = match pipe.as_mut().map(|pipe| pipe.read(&mut piece)) {
        Some(Err(e)) if e.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
        read => read.transpose()?.unwrap_or(0),
    };
    to.extend_from_slice(&piece[..read]);
    if read == 0 || to.len() > CAP {
        *pipe = None;
    }
    Ok(())
}

/// Returns the failure of a helper that has refused.
pub(crate) fn refusal(program: &Path, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it gave no reason").trim();
    Error::new(Kind::IdHelper, format!("{}: {said} ({})", program.display(), output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str) -> Output {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, &[]).unwrap()
    }

    #[test]
    fn both_streams_are_read_to_the_end_whatever_is_written_first() {
        let output = said("echo error >&2; exec 2>&-; sleep 0.1; head -c 30000 /dev/zero; exit 3");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 30_000));
        assert_eq!(output.stderr, b"error\n");
    }

    #[test]
    fn a_helper_that_says_too_much_is_not_listened_to_for_ever() {
        let output = said("exec cat /dev/zero");
        assert!(!output.status.success() && output.stdout.len() < 100_000);
    }
}
