//! The lab of bryo-netdev: each scenario has a network namespace of its own as the "host", with a bridge br0, and users
//! with network namespaces of their own. It runs as root, and is a shell script with these words:
//!
//! | word | does |
//! |---|---|
//! | `ana CMD`, `bob CMD` | runs a command as that user |
//! | `user UID CMD` | the same, as any user |
//! | `space USER` | makes a user and network namespace of that user's; its process is $REPLY |
//! | `inside PID CMD` | runs a command as ana, as root of the namespaces of a process |
//! | `veth PID NAME` | has ana ask for a device NAME on br0 in the namespace of a process |
//! | `ports [BRIDGE]` | prints the names of a bridge's ports, sorted |

use std::collections::BTreeSet;
use std::ops::Deref;

#[allow(unused_imports, reason = "each suite uses some")]
pub(crate) use testbed::{BOTH, Helper, Install, Outcome, User, lacks, run, skip};

const NETDEV: Helper = Helper {
    built: env!("CARGO_BIN_EXE_bryo-netdev"),
    capabilities: "cap_net_admin=ep",
    namespaces: &["--net"],
    tools: &["ip", "bridge", "nsenter"],
};

const WORDS: &str = r#"
ID() { case $1 in ana) echo 61001;; bob) echo 61002;; *) echo $1;; esac; }
user() { local id=$(ID $1); shift; setpriv --reuid $id --regid $id --clear-groups "$@"; }
ana() { $ANA "$@"; }
bob() { $BOB "$@"; }
MADE=
space() {
    local id=$(ID $1)
    setpriv --reuid $id --regid $id --clear-groups unshare -Urn sleep 300 & REPLY=$!
    MADE="$MADE $REPLY"
    slept $REPLY
}
trap 'kill -9 $MADE 2>/dev/null; wait 2>/dev/null' EXIT
inside() { local pid=$1; shift; ana nsenter --preserve-credentials -U -n -t $pid "$@"; }
veth() { ana "$HELPER" 3 br0 $2 3</proc/$1/ns/net; }
ports() { ip -o link show master ${1:-br0} | sed 's/^[0-9]*: //; s/[@:].*//' | sort; }
count() { ports "$@" | wc -l; }
ip link set lo up; ip link add br0 type bridge; ip link set br0 up
"#;

/// A lab in which ana may have two devices on br0.
#[derive(Debug)]
pub(crate) struct Lab(testbed::Lab);

impl Lab {
    /// Makes the lab, or prints why it cannot be made here.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let lab = Self(testbed::Lab::new(test, NETDEV)?);
        lab.grant("ana veth br0 2\n");
        Some(lab)
    }

    /// Writes the file of the grants.
    pub(crate) fn grant(&self, text: impl AsRef<[u8]>) {
        self.etc("lxc/lxc-usernet", text);
    }

    /// Runs a scenario.
    pub(crate) fn story(&self, install: Install, script: &str) -> Outcome {
        self.0.root(install, &format!("{WORDS}{script}"))
    }

    /// Has ana ask once, in a scenario whose words before that are `before`, and prints the status and the ports.
    pub(crate) fn ask(&self, install: Install, before: &str, ask: &str) -> Outcome {
        self.story(
            install,
            &format!("space ana; A=$REPLY\n{before}\n{ask}\necho status=$?; echo ports=$(ports)"),
        )
    }
}

impl Deref for Lab {
    type Target = testbed::Lab;

    fn deref(&self) -> &testbed::Lab {
        &self.0
    }
}

/// Asserts that the helper refused with `reason`, and that br0 has no port.
#[track_caller]
pub(crate) fn assert_refused(outcome: &Outcome, reason: &str) {
    assert_eq!((outcome.status, outcome.value("ports")), (1, ""), "{outcome:#?}");
    assert!(outcome.said.contains(reason), "{reason:?} is not in {:?}", outcome.said);
}

/// Asserts that br0 has one port of ana's.
#[track_caller]
pub(crate) fn assert_made(outcome: &Outcome) {
    let ports = outcome.value("ports");
    assert!(outcome.status == 0 && ports.len() == 15 && ports.starts_with("u0001b2h"), "{outcome:#?}");
}

/// What `ip -d -o monitor link` saw of a bridge's ports, in the order of the kernel.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The most ports at any moment whose name starts with the prefix.
    pub(crate) most: usize,
    /// How many ports there were in all.
    pub(crate) ever: usize,
    /// How often the monitor told of a port that was up, with its flags.
    pub(crate) up: usize,
    /// What it told of ports that were up and not guarded.
    pub(crate) unguarded: Vec<String>,
}

impl Watched {
    /// Reads the record of a monitor.
    pub(crate) fn read(record: &str, bridge: &str, prefix: &str) -> Self {
        let mut watched = Self::default();
        let mut present = BTreeSet::new();
        for line in record.lines() {
            let (gone, line) = match line.strip_prefix("Deleted ") {
                Some(rest) => (true, rest),
                None => (false, line),
            };
            let Some(name) = line.split(' ').nth(1).and_then(|word| word.split(['@', ':']).next()) else {
                continue;
            };
            if !name.starts_with(prefix) {
                continue;
            }
            let is_port = line.contains(&format!(" master {bridge} "));
            if gone || !is_port {
                present.remove(name);
                continue;
            }
            watched.ever += usize::from(present.insert(name));
            watched.most = watched.most.max(present.len());
            let flags = line.split(['<', '>']).nth(1).unwrap_or_default();
            // The bridge tells of its ports as well, and says nothing of their flags then.
            if flags.split(',').any(|flag| flag == "UP") && line.contains(" bridge_slave ") {
                watched.up += 1;
                watched.unguarded.extend((!line.contains(" guard on ")).then(|| line.to_owned()));
            }
        }
        watched
    }
}

/// The words that record the changes of links during `script` in the file $WATCHED. The monitor is known to listen, and at
/// the end to have seen all, by a change that is made until it shows.
pub(crate) fn watching(script: &str) -> String {
    format!(
        "shown() {{ until grep -q \"alias $1\" $WATCHED; do\n\
           ip link set br0 alias -; ip link set br0 alias $1; sleep 0.05; done; }}\n\
         ip -d -o -rcvbuf 100000000 monitor link >$WATCHED & MADE=\"$MADE $!\"\n\
         shown begin\n{script}\nshown end\n"
    )
}
