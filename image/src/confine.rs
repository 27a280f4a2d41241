//! Shutting the process into the directory that it fills.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::mount::{self, Depth, Propagation};
use sys::{landlock, namespace, path, process};

/// The capabilities that making files of others needs. Source: capabilities(7).
const KEPT: u64 = bit(0) | bit(1) | bit(2) | bit(3) | bit(4) | bit(31);

/// `CAP_CHOWN` 0, `CAP_DAC_OVERRIDE` 1, `CAP_DAC_READ_SEARCH` 2, `CAP_FOWNER` 3, `CAP_FSETID` 4, `CAP_SETFCAP` 31.
const fn bit(capability: u32) -> u64 {
    1 << capability
}

/// How far the process is shut in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// No path leads to anything outside the directory, and no capability would open one.
    Fully,
    /// Some step was refused by the kernel. The fds alone keep the writing below the directory.
    Partly,
}

/// Makes `root` the only directory that a path of this process can reach, in a mount namespace of its own, drops
/// the capabilities that unpacking does not need, and sets no_new_privs.
///
/// A second line of defence, for the day a parser is made to run somebody's code: so no refusal ends the program.
pub fn confine(root: BorrowedFd<'_>) -> Confined {
    let entered = match enter_alone(root) {
        Ok(()) => Ok(()),
        Err(_) => path::change_root(root),
    };
    let limited = sys::cap::limit_own(KEPT).and_then(|()| process::set_no_new_privs());
    if entered.and(limited).is_ok() { Confined::Fully } else { Confined::Partly }
}

/// Lets this process work with files below `dir` alone, beside those that it has open; with an empty path with none.
pub fn confine_to_files(dir: &Path) -> Confined {
    let confined = process::set_no_new_privs().and_then(|()| landlock::files(std::iter::empty(), dir));
    if confined.is_ok() { Confined::Fully } else { Confined::Partly }
}

/// The same, and lets it read what is below another directory.
pub fn confine_to(source: &Path, dir: &Path) -> Confined {
    let confined = process::set_no_new_privs().and_then(|()| landlock::files([source].into_iter(), dir));
    if confined.is_ok() { Confined::Fully } else { Confined::Partly }
}

/// Makes `root` the root of a new mount namespace that holds nothing else.
///
/// unshare(2) moves the working directory along into the copies of the mounts, where open_tree(2) accepts it.
fn enter_alone(root: BorrowedFd<'_>) -> sys::Result<()> {
    path::change_dir(root)?;
    namespace::leave(process::flags::NEWNS)?;
    let slash = path::take(Path::new("/"))?;
    mount::set_attributes(slash.as_fd(), 0, 0, Some(Propagation::Private), Depth::Tree)?;
    let here: OwnedFd = path::take(Path::new("."))?;
    let alone = mount::copy(here.as_fd(), Path::new(""), Depth::One)?;
    mount::attach(alone.as_fd(), here.as_fd())?;
    path::change_dir(alone.as_fd())?;
    mount::pivot_to_working_directory()
}
