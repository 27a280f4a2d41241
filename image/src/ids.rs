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
    /// What belongs to this user, or to this group, belongs to another; the rest is as it is.
    Given {
        /// User and group id, as seen in this user namespace.
        from: (u32, u32),
        /// Whose it becomes; root's with `own:`.
        to: (u32, u32),
    },
}

impl Ids {
    /// Returns the owner and group for a file of `uid` and `gid`.
    pub fn map(self, uid: u32, gid: u32) -> (u32, u32) {
        match self {
            Self::AsIs => (uid, gid),
            Self::Flatten => (0, 0),
            Self::Given { from, to } => {
                (if uid == from.0 { to.0 } else { uid }, if gid == from.1 { to.1 } else { gid })
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
                let (word, ids) = text.split_once(':').ok_or(())?;
                let ids: Vec<u32> = ids.split(':').map(str::parse).collect::<Result<_, _>>().map_err(drop)?;
                match (word, &ids[..]) {
                    ("own", [uid, gid]) => Ok(Self::Given { from: (*uid, *gid), to: (0, 0) }),
                    ("give", [uid, gid, to_uid, to_gid]) => {
                        Ok(Self::Given { from: (*uid, *gid), to: (*to_uid, *to_gid) })
                    }
                    _ => Err(()),
                }
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
    fn ids_may_be_given_to_others() {
        let ids: Ids = "give:65537:65538:1000:100".parse().unwrap();
        assert_eq!(ids.map(65_537, 65_538), (1000, 100));
        assert_eq!(ids.map(65_538, 65_537), (65_538, 65_537));
    }

    #[test]
    fn other_words_are_refused() {
        for text in
            ["", "own", "own:1", "own:a:b", "own:1:2:3", "AS-IS", "own:-1:0", "give:1:2:3", "give:1:2"]
        {
            assert!(text.parse::<Ids>().is_err(), "{text}");
        }
    }
}
