//! The guest's files, made once for each set of what they are made from.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::machine::{self, Machine, Start};
use super::{may_build, taken};
use crate::shell::{program, read, root, step, target};

/// What the guest is made from.
const INPUTS: [&str; 4] = [
    include_str!("../../../tests/vm/guest.sh"),
    include_str!("../../../tests/vm/initrd"),
    include_str!("../../../tests/vm/agent"),
    include_str!("../../../tests/vm/agent.service"),
];

/// Returns the directory of the guest, which is made when it is missing. Guests of other inputs are removed.
///
/// # Errors
/// The caller is not root, a tool is missing, or the guest does not boot.
pub(super) fn ready() -> Result<PathBuf> {
    let all = target().join("vm");
    fs::create_dir_all(&all).with_context(|| format!("making {}", all.display()))?;
    let alone = fs::File::create(target().join("vm.lock"))?;
    alone.lock().context("waiting for another task to make the guest")?;
    let guest = all.join(key()?);
    if guest.is_dir() {
        return Ok(guest);
    }
    may_build()?;
    let new = all.join("new");
    // What was made before a boot failed is as good as before.
    let is_made = fs::read_to_string(new.join(MADE)).is_ok_and(|inputs| inputs == hash(&INPUTS));
    for entry in fs::read_dir(&all)? {
        let path = entry?.path();
        if is_made && path == new {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    if !is_made {
        make(&new)?;
    }
    boot(&new)?;
    fs::rename(&new, &guest)?;
    Ok(guest)
}

/// Says why no guest can be run at once, or nothing.
pub(super) fn is_missing() -> Option<String> {
    let ready = key().is_ok_and(|key| target().join("vm").join(key).is_dir());
    (!ready).then(|| "none is made; BRYO_VM=1 or cargo xtask vm build, by root, makes it".to_owned())
}

/// The file that says from what the others were made.
const MADE: &str = "made";

/// Makes the files.
fn make(new: &Path) -> Result<()> {
    let begin = Instant::now();
    fs::create_dir_all(new.join("empty"))?;
    let scripts = root().join("tests/vm");
    let words = [scripts.join("guest.sh"), new.to_owned(), scripts];
    step(program("sh", &["-eu"]).args(words))?;
    println!("the guest's files are made, in {} s", begin.elapsed().as_secs());
    Ok(fs::write(new.join(MADE), hash(&INPUTS))?)
}

/// Boots the guest and saves its state.
fn boot(new: &Path) -> Result<()> {
    let begin = Instant::now();
    let overlay = ["create", "-q", "-f", "qcow2", "-b", "disk", "-F", "raw", "booted"];
    read(program("qemu-img", &overlay).current_dir(new))?;
    Machine::start(new, Start::Save, None)?.save(&new.join(machine::STATE))?;
    let size: u64 = ["disk", "booted", machine::STATE].iter().map(|name| taken(&new.join(name))).sum();
    println!("the guest is booted and saved, in {} s and {} MB", begin.elapsed().as_secs(), size >> 20);
    Ok(())
}

/// Returns a name that changes with everything on which the guest or its saved state depends.
fn key() -> Result<String> {
    let version = read(&mut program(machine::EMULATOR, &["--version"]))?;
    Ok(hash(&(INPUTS, machine::DEVICES, machine::KERNEL_LINE, version)))
}

fn hash(value: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
