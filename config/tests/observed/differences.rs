//! Where Bryo answers otherwise than LXC 5.0.2 on purpose, and why.

/// A group of answers that differ for one reason.
#[derive(Debug)]
pub(super) struct Difference {
    /// How the title of the case starts.
    case: &'static str,
    /// The questions and Bryo's answers to them.
    answers: &'static [(&'static str, &'static str)],
    /// Why.
    pub(super) reason: &'static str,
}

/// Any question, or any answer.
const ANY: &str = "*";

impl Difference {
    /// Tells whether this is the reason for an answer.
    pub(super) fn explains(&self, case: &str, asked: &str, answer: &str) -> bool {
        let same = |stated: &str, seen: &str| stated == ANY || stated == seen;
        let stated = |(question, reply): &(&str, &str)| same(question, asked) && same(reply, answer);
        case.starts_with(self.case) && self.answers.iter().any(stated)
    }

    /// Returns the difference as a row of a table: what was asked, what Bryo answers, and why.
    pub(super) fn row(&self) -> String {
        let any = |text: &str, word: &str| if text == ANY { word.to_owned() } else { format!("`{text}`") };
        let said =
            |(asked, answer): &(&str, &str)| format!("{}: {}", any(asked, "all"), any(answer, "see there"));
        let answers: Vec<String> = self.answers.iter().map(said).collect();
        format!("| `{}` | {} | {} |\n", self.case, answers.join(", "), self.reason)
    }
}

const LOSSLESS: &str = "what is shown reads back as the same; LXC's answer loses a part";
const NOT_KEPT: &str = "a refused value is not kept";
const NO_NULL: &str = "nothing is shown as nothing, not as the C library's word for a null pointer";
const MISREAD: &str = "LXC misreads the unit";
const NO_HARM: &str = "clearing what is not there does no harm";
const CALLER: &str = "the value is taken from the caller at start, and a missing variable is reported there";
const TEMPLATE: &str = "digits are filled in the file's text when it is written, not when it is read";
const NO_DEVICE: &str = "a refused value does not bring a device into being";
const EMPTY_TYPE: &str = "a device without a type is one of type empty";
const EARLY: &str = "LXC accepts the name and fails at start";
const MORE_KEYS: &str = "keys that LXC can set are listed as well";
const LXC_7: &str = "a key of LXC 7";

/// All of them.
#[rustfmt::skip]
pub(super) const DIFFERENCES: &[Difference] = &[
    Difference { case: "lxc.arch = aarch64", answers: &[("get lxc.arch", "\"aarch64\"")], reason: LOSSLESS },
    Difference { case: "lxc.arch = armhf", answers: &[("get lxc.arch", "\"arm\"")], reason: LOSSLESS },
    Difference { case: "lxc.apparmor.allow_incomplete = 2", answers: &[("get lxc.apparmor.allow_incomplete", "\"0\"")], reason: NOT_KEPT },
    Difference { case: "lxc.autodev = 2", answers: &[("get lxc.autodev", "\"1\"")], reason: NOT_KEPT },
    Difference { case: "lxc.console.rotate = 2", answers: &[("get lxc.console.rotate", "\"0\"")], reason: NOT_KEPT },
    Difference { case: "lxc.ephemeral = 2", answers: &[("get lxc.ephemeral", "\"0\"")], reason: NOT_KEPT },
    Difference { case: "lxc.start.auto = 2", answers: &[("get lxc.start.auto", "\"0\"")], reason: NOT_KEPT },
    Difference { case: "lxc.autodev.tmpfs.size = 1M", answers: &[("get lxc.autodev.tmpfs.size", "\"1048576\"")], reason: MISREAD },
    Difference { case: "lxc.console.buffer.size = 2M", answers: &[("get lxc.console.buffer.size", "\"2097152\"")], reason: MISREAD },
    Difference { case: "?lxc.autodev ;;", answers: &[(ANY, ANY)], reason: "a configuration has defaults before anything is set" },
    Difference { case: "lxc.cap.keep = sys_admin ;;", answers: &[("get lxc.cap.keep", "\"none\\n\"")], reason: LOSSLESS },
    Difference { case: "lxc.cap.drop = sys_admin ;;", answers: &[("get lxc.cap.keep", "\"\"")], reason: "dropped capabilities are not kept ones" },
    Difference { case: "lxc.cgroup.dir", answers: &[
        ("get lxc.cgroup.dir", "\"\""),
        ("get lxc.cgroup.dir.monitor", "\"\""),
        ("get lxc.cgroup.dir.monitor.pivot", "\"\""),
        ("get lxc.cgroup.dir.container", "\"\""),
        ("get lxc.cgroup.dir.container.inner", "\"\""),
    ], reason: NO_NULL },
    Difference { case: "lxc.environment = A=b", answers: &[("get lxc.environment", "\"A=b\\nC=d\\nPATH\\n\"")], reason: CALLER },
    Difference { case: "lxc.environment = NOSUCHVAR_X", answers: &[
        ("lxc.environment = NOSUCHVAR_X", "accepted"),
        ("get lxc.environment", "\"NOSUCHVAR_X\\n\""),
    ], reason: CALLER },
    Difference { case: "lxc.environment.runtime", answers: &[
        ("lxc.environment.runtime = A=b", "accepted"),
        ("get lxc.environment.runtime", "\"A=b\\n\""),
        ("lxc.environment.runtime =", "accepted"),
        ("get lxc.environment.runtime", "\"\""),
    ], reason: LXC_7 },
    Difference { case: "lxc.init.uid = abc", answers: &[("lxc.init.uid = abc", "refused")], reason: "LXC reads what is no number as 0, which is root" },
    Difference { case: "lxc.mount.auto = proc:mixed", answers: &[("get lxc.mount.auto", "\"proc:mixed sys:ro cgroup:mixed:force\"")], reason: LOSSLESS },
    Difference { case: "lxc.mount.auto = cgroup2", answers: &[("get lxc.mount.auto", "\"cgroup2:ro:force\"")], reason: LOSSLESS },
    Difference { case: "lxc.mount.auto = shmounts", answers: &[
        ("get lxc.mount.auto", "\"shmounts:/tmp/shm\""),
        ("get lxc.mount.auto", "\"shmounts:/tmp/shm:/dev/.x\""),
    ], reason: LOSSLESS },
    Difference { case: "lxc.mount.fstab", answers: &[("lxc.mount.fstab =", "accepted")], reason: "LXC clears the value and reports an error all the same" },
    Difference { case: "lxc.namespace.clone = mount", answers: &[
        ("lxc.namespace.clone = mount", "accepted"),
        ("get lxc.namespace.clone", "\"mnt\\n\""),
    ], reason: "LXC's manual page has this word in its example" },
    Difference { case: "lxc.namespace.share.net", answers: &[("get lxc.namespace.share.net", "\"\"")], reason: NO_NULL },
    Difference { case: "lxc.namespace.share.bogus", answers: &[("lxc.namespace.share.bogus =", "accepted")], reason: NO_HARM },
    Difference { case: "lxc.time.offset.boot = -3h", answers: &[
        ("lxc.time.offset.boot = -3h", "accepted"),
        ("get lxc.time.offset.boot", "\"-10800 s\\n\""),
    ], reason: "LXC's manual page allows negative offsets" },
    Difference { case: "lxc.net.0.type = veth ;; ?lxc.net ;;", answers: &[("get lxc.net.0.hwaddr", "\"10:66:6a:xx:xx:xx\"")], reason: TEMPLATE },
    Difference { case: "lxc.net.0.hwaddr = xx", answers: &[("get lxc.net.0.hwaddr", "\"xx:xx:xx:xx:xx:xx\"")], reason: TEMPLATE },
    Difference { case: "lxc.net.0.type = veth ;; ?lxc.net ;;", answers: &[
        ("get lxc.net.0.ipv4.address", "\"10.0.3.5/24 10.0.3.255\""),
        ("get lxc.net.0.ipv4.address", "\"10.0.3.5/24 10.0.3.255\\n10.0.3.6/8\""),
    ], reason: LOSSLESS },
    Difference { case: "lxc.net.0.type = veth ;;", answers: &[("keys lxc.net.0", ANY)], reason: MORE_KEYS },
    Difference { case: "lxc.net.0.flags = down", answers: &[("get lxc.net.0.flags", "\"\"")], reason: "LXC takes any word for up" },
    Difference { case: "lxc.net.1.type = macvlan", answers: &[("lxc.net.0.type =", "accepted")], reason: NO_HARM },
    Difference { case: "lxc.net.0.type = veth ;; !lxc.net", answers: &[("lxc.net.0.type =", "accepted")], reason: NO_HARM },
    Difference { case: "lxc.net.0.type = bogus", answers: &[("get lxc.net.0.type", "no value")], reason: NO_DEVICE },
    Difference { case: "lxc.net.0.ipv4.address = bogus", answers: &[("get lxc.net.0.ipv4.address", "no value")], reason: NO_DEVICE },
    Difference { case: "lxc.net.0.type", answers: &[("get lxc.net.0.type", "\"empty\"")], reason: EMPTY_TYPE },
    Difference { case: "lxc.prlimit.bogus", answers: &[
        ("lxc.prlimit.bogus = 1", "refused"),
        ("get lxc.prlimit.bogus", "\"\""),
    ], reason: EARLY },
    Difference { case: "lxc.prlimit.NOFILE", answers: &[
        ("lxc.prlimit.NOFILE = 1", "refused"),
        ("get lxc.prlimit.NOFILE", "\"\""),
    ], reason: EARLY },
    Difference { case: "lxc.rootfs.path = overlay", answers: &[("get lxc.rootfs.path", "\"overlay:/a:/b\"")], reason: LOSSLESS },
    Difference { case: "lxc.rootfs.path = /a/:b", answers: &[("get lxc.rootfs.path", "\"/a/:b\"")], reason: "LXC takes '/a/' for the name of a backing store" },
    Difference { case: "lxc.seccomp.notify.proxy = unix:", answers: &[("get lxc.seccomp.notify.proxy", "\"unix:/run/x.sock\"")], reason: LOSSLESS },
    Difference { case: "@ ;;", answers: &[("keys ", ANY)], reason: MORE_KEYS },
    Difference { case: "lxc.uts.name = x", answers: &[("get lxc.autodev.tmpfs.size", "\"500000\"")], reason: "the size that holds is shown" },
    Difference { case: "lxc.uts.name = x", answers: &[("get lxc.rootfs.mount", "\"\"")], reason: "Bryo needs no directory for it" },
];
