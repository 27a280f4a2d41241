//! Removal of everything that labs make on this machine.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};

use crate::account::{self, Account, CROWD, HOMES};
use crate::lab::{RUN, SLOTS, Slot};
use crate::{cgroups, processes};

/// Ends what still runs in the labs and removes their users, homes and cgroup directories. Labs that another run of the
/// tests uses are left to it, with all that they share.
///
/// # Errors
/// Something cannot be removed.
pub fn clean() -> Result<()> {
    let mut held = Vec::new();
    for slot in 1..=SLOTS {
        held.extend(Slot::try_take(slot)?);
    }
    held.iter().try_for_each(|slot| remove_slot(slot.number()))?;
    if held.len() < SLOTS {
        return Ok(());
    }
    remove_if_there(HOMES)?;
    remove_if_there(RUN)
}

fn remove_slot(slot: usize) -> Result<()> {
    for person in CROWD {
        let login = account::login(slot, person);
        if let Some(account) = Account::look_up(person, &login)? {
            cgroups::thaw(slot);
            cgroups::kill(slot);
            processes::end_all(&[&account])?;
            account.remove_home()?;
        }
        account::remove_user(&login)?;
    }
    cgroups::of_slot(slot)
        .iter()
        .try_for_each(|directory| cgroups::remove(directory).with_context(|| directory.display().to_string()))
}

fn remove_if_there(directory: &str) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context(directory.to_owned()),
        _ => Ok(()),
    }
}
