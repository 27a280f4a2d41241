//! The lab of bryo-idmap: a process of ana's in a fresh user namespace, and the maps that it has afterwards.

use std::ops::Deref;

pub(crate) use testbed::{ANA, BOTH, Install, lacks, run};
use testbed::{Helper, User};

const IDMAP: Helper = Helper {
    built: env!("CARGO_BIN_EXE_bryo-idmap"),
    capabilities: "cap_setgid,cap_setuid=ep",
    namespaces: &[],
    tools: &[],
};

/// A lab in which each user has a range.
#[derive(Debug)]
pub(crate) struct Lab(testbed::Lab);

/// What a scenario left: its exit status and output, and the map files of the target as `key=value` lines.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit status of the helper.
    pub(crate) status: i32,
    /// What the helper said.
    pub(crate) said: String,
    /// `uid_map` of the target, fields joined by one space, lines by `;`.
    pub(crate) uid_map: String,
    /// `gid_map`, likewise.
    pub(crate) gid_map: String,
    /// `setgroups` of the target.
    pub(crate) setgroups: String,
    /// Everything, for messages and for what a scenario prints itself.
    pub(crate) output: String,
}

impl Lab {
    /// Makes the lab, or prints why it cannot be made here.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let lab = testbed::Lab::new(test, IDMAP)?;
        for file in ["subuid", "subgid"] {
            lab.etc(file, "ana:100000:65536\nbob:200000:65536\n");
        }
        Some(Self(lab))
    }

    /// Has ana map the user namespace of a process of hers: descriptor 3 is its directory in /proc.
    pub(crate) fn map(&self, install: Install, arguments: &str) -> Outcome {
        self.target(install, &format!("$HELPER 3 {arguments}"))
    }

    /// Runs `script` as ana, with a process in a fresh user namespace as $TARGET, its directory as descriptor
    /// 3, the helper as $HELPER. The exit status of the script's last command counts.
    pub(crate) fn target(&self, install: Install, script: &str) -> Outcome {
        let story = format!(
            "unshare -U sleep 60 & TARGET=$!\n\
             slept $TARGET\n\
             exec 3</proc/$TARGET\n\
             {{ {script}\n}}\n\
             echo status=$?\n\
             for file in uid_map gid_map setgroups; do\n\
               echo $file=$(sed 's/  */ /g; s/^ //; s/$/;/' /proc/$TARGET/$file)\n\
             done\n\
             kill $TARGET",
        );
        self.user(ANA, install, &story)
    }

    /// Runs a shell script as a user of the lab, with the helper as $HELPER.
    pub(crate) fn user(&self, user: User, install: Install, script: &str) -> Outcome {
        self.0.user(user, install, script).into()
    }

    /// Runs a shell script in the lab through `enter`, a command that takes `-c SCRIPT`.
    pub(crate) fn root(&self, enter: &str, install: Install, script: &str) -> Outcome {
        self.0.through(enter, install, script).into()
    }
}

impl Deref for Lab {
    type Target = testbed::Lab;

    fn deref(&self) -> &testbed::Lab {
        &self.0
    }
}

impl From<testbed::Outcome> for Outcome {
    fn from(outcome: testbed::Outcome) -> Self {
        Self {
            status: outcome.status,
            uid_map: outcome.value("uid_map").to_owned(),
            gid_map: outcome.value("gid_map").to_owned(),
            setgroups: outcome.value("setgroups").to_owned(),
            output: format!("{}{}", outcome.printed, outcome.said),
            said: outcome.said,
        }
    }
}

impl Outcome {
    /// Asserts that the helper refused with `reason`, and that nothing was written.
    pub(crate) fn assert_refused(&self, reason: &str) {
        assert_eq!(self.status, 1, "{self:#?}");
        assert!(self.said.contains(reason), "{reason:?} is not in {:?}", self.said);
        assert_eq!((self.uid_map.as_str(), self.gid_map.as_str()), ("", ""), "{self:#?}");
        assert_ne!(self.setgroups, "deny;", "{self:#?}");
    }

    /// Asserts that the helper wrote these maps.
    pub(crate) fn assert_mapped(&self, uid_map: &str, gid_map: &str) {
        assert_eq!(self.status, 0, "{self:#?}");
        assert_eq!((self.uid_map.as_str(), self.gid_map.as_str()), (uid_map, gid_map), "{self:#?}");
    }
}
