//! Which owner a file gets.

use std::str::FromStr;

/// How the owners of an archive or of a directory become owners in the new tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// The numbers are ids of the container.
    #[default]
    AsIs,
    /// Everything belongs to root, for a container with one id.
    Flatten,
    /// What belongs to this user, or to this group, belongs to root; the rest is as it is.
    Own {
        /// The user id, as seen in this user namespace.
        uid: u32,
        /// The group id, as seen in this user namespace.
        gid: u32,
    },
}

impl Ids {
    /// Returns the owner and group for a file of `uid` and `gid`.
    pub fn map(self, uid: u32, gid: u32) -> (u32, u32) {
        match self {
            Self::AsIs => (uid, gid),
            Self::Flatten => (0, 0),
            Self::Own { uid: own_uid, gid: own_gid } => {
                (if uid == own_uid { 0 } else { uid }, if gid == own_gid { 0 } else { gid })
            }
        }
    }
}

impl FromStr for Ids {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "as-is" => Ok(Self::AsIs),
            "flatten" => Ok(Self::Flatten),
            _ => {
                let (uid, gid) = text.strip_prefix("own:").and_then(|ids| ids.split_once(':')).ok_or(())?;
                Ok(Self::Own { uid: uid.parse().map_err(drop)?, gid: gid.parse().map_err(drop)? })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_ids_become_root_and_others_stay() {
        let ids: Ids = "own:1000:100".parse().unwrap();
        assert_eq!(ids.map(1000, 100), (0, 0));
        assert_eq!(ids.map(1000, 5), (0, 5));
        assert_eq!(ids.map(100, 1000), (100, 1000));
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["", "own", "own:1", "own:a:b", "own:1:2:3", "AS-IS", "own:-1:0"] {
            assert!(text.parse::<Ids>().is_err(), "{text}");
        }
    }
}
