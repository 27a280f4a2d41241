//! The files of the administrator that grant subordinate ids.

use ::policy::nsswitch;
use ::policy::subid::{self, Owner};
use helpers::caller::Caller;
use helpers::policy_file::{self, Links, PolicyFileError};
use types::IdRange;

/// What the administrator grants to one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// These ranges, from /etc/subuid and /etc/subgid.
    Files {
        /// Of user ids.
        uids: Vec<IdRange>,
        /// Of group ids.
        gids: Vec<IdRange>,
    },
    /// /etc/nsswitch.conf names another source, which only newuidmap and newgidmap can ask.
    Elsewhere,
}

/// Reads what is granted to `caller`. A file that does not exist grants nothing.
///
/// # Errors
/// One of the files may not be believed.
pub fn grants(caller: &Caller) -> Result<Grants, PolicyFileError> {
    if nsswitch::subid_elsewhere(&text("/etc/nsswitch.conf", Links::Followed)?) {
        return Ok(Grants::Elsewhere);
    }
    let owner = Owner { uid: caller.uid, name: caller.name.as_deref() };
    Ok(Grants::Files {
        uids: subid::ranges(&text("/etc/subuid", Links::Refused)?, &owner),
        gids: subid::ranges(&text("/etc/subgid", Links::Refused)?, &owner),
    })
}

fn text(path: &'static str, links: Links) -> Result<Vec<u8>, PolicyFileError> {
    Ok(policy_file::read(path, links, subid::FILE_CAP as u64)?.unwrap_or_default())
}
