//! The namespaces of `lxc.namespace.*`.

word_enum! {
    /// A kind of Linux namespace, in the order in which LXC shows them. Source: namespaces(7).
    Namespace, "a namespace (user, mnt, pid, uts, ipc, net, cgroup, time)" {
        /// User and group ids, capabilities.
        User = "user",
        /// Mounts.
        Mount = "mnt",
        /// Process ids.
        Pid = "pid",
        /// Host name.
        Uts = "uts",
        /// System V IPC and POSIX message queues.
        Ipc = "ipc",
        /// Network.
        Net = "net",
        /// The root of the cgroup tree.
        Cgroup = "cgroup",
        /// The boot and monotonic clocks.
        Time = "time",
    }
}

impl Namespace {
    /// Reads one word of `lxc.namespace.clone`.
    ///
    /// LXC: refuses `mount`, which its own manual page uses in an example.
    pub(crate) fn read(word: &str) -> Result<Self, crate::Fault> {
        if word == "mount" { Ok(Self::Mount) } else { word.parse() }
    }
}
