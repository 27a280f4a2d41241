//! A helper that is held up at its last line, with its whole state, and what its caller can see of it there.

use crate::{ANA, Outcome};

/// Returns words that start the helper as ana with `request`, her descriptor 7 on `target` and a full pipe as stderr, and
/// look at it when it waits for that. They run as root; `prepare` are words of the scenario's own before it.
pub fn held(prepare: &str, request: &str, target: &str) -> String {
    format!(
        "{FULL_PIPE}\n{prepare}\n\
         {ana} $HELPER 7 {request} 2>&8 4</etc/passwd 7<{target} 20>/dev/null & helper=$!\n\
         until grep -q '^Seccomp:.*2' /proc/$helper/status; do sleep 0.01; done; sleep 0.2\n\
         {ana} cat /proc/$helper/environ && echo readable\n\
         {ana} ls /proc/$helper/fd && echo listable\n\
         grep -E '^(Uid|Gid|CapInh|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/$helper/status\n\
         awk '/^Max core/ {{ print \"core=\" $5 \":\" $6 }}' /proc/$helper/limits\n\
         ls -l /proc/$helper/fd /proc/$helper/cwd; kill $sleeper; wait $helper; echo status=$?",
        ana = ANA.enter(),
    )
}

/// Words that open descriptor 8 on a pipe that takes nothing more, until `kill $sleeper`.
pub const FULL_PIPE: &str =
    "exec 8> >(exec sleep 60); sleeper=$!; dd if=/dev/zero bs=65536 count=1 >&8 2>/dev/null";

impl Outcome {
    /// Asserts that a helper that was [`held`] could not be read by its caller, had none of his files beside its target,
    /// had no right in force, and would leave no core.
    #[track_caller]
    pub fn assert_out_of_reach(&self, also_absent: &[&str]) {
        for absent in ["readable", "listable", "/etc/passwd", " 20 ->"].iter().chain(also_absent) {
            assert!(!self.printed.contains(absent), "{absent:?} in {self:#?}");
        }
        for line in [
            "Uid:\t61001\t61001\t61001\t61001",
            "Gid:\t61001\t61001\t61001\t61001",
            "CapInh:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "cwd -> /\n",
            "core=0:0\n",
        ] {
            assert!(self.printed.contains(line), "{line:?} not in {self:#?}");
        }
        assert_eq!(self.status, 1, "{self:#?}");
    }
}
