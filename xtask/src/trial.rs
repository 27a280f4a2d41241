//! `cargo xtask try`: from a source tree to a command in a container.

use std::path::Path;

use anyhow::Result;
use tests::subject::{own_prefix, roots_prefix};

use crate::build::Speed;
use crate::install;
use crate::shell::{has, is_root, program, read, step};

/// What runs inside.
const HELLO: &str = "echo hello from a container; id; hostname";

/// Builds Bryo into a private prefix, sets up what it can, and runs a command in a container.
///
/// # Errors
/// A build fails, or the container does.
pub(crate) fn run() -> Result<()> {
    let prefix = own_prefix("try");
    install::into(&prefix, Speed::Shipped)?;
    set_up(&prefix)?;
    let bryo = prefix.join("bin/bryo");
    let mut hello = program(&bryo.to_string_lossy(), &["run", "--", "sh", "-c", HELLO]);
    step(&mut hello)?;
    println!("that was {}; next: {0} --help", bryo.display());
    Ok(())
}

/// Has the helpers with their rights when the caller may.
fn set_up(prefix: &Path) -> Result<()> {
    if !is_root() && has("sudo") && read(&mut program("sudo", &["-n", "true"])).is_ok() {
        return install::helpers_by_sudo(prefix, &roots_prefix("try"));
    }
    install::finish(prefix)
}
