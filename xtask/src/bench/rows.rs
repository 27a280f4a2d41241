//! What is measured: the rows of the table, and the bars that Bryo sets itself.

/// How a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// One container's life: start, attach, info, stop; beside the start what starts less.
    Life,
    /// Fifty stopped containers.
    Lists,
    /// Devices on a bridge: one alone, and a container's.
    Network,
    /// A device where a thousand slots are taken.
    Busy,
    /// The unpacking of a Debian root file system by the unpacker alone.
    Unpack,
    /// The same by `bryo create`.
    Create,
    /// Containers of an image that is in the store.
    Images,
    /// The memory of the monitors.
    Memory,
    /// Files that show a container its limits.
    Lxcfs,
}

impl Group {
    /// All groups, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::Life,
        Self::Lists,
        Self::Network,
        Self::Busy,
        Self::Unpack,
        Self::Create,
        Self::Images,
        Self::Memory,
        Self::Lxcfs,
    ];

    /// Returns the word by which `measure.sh` knows the group.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Life => "life",
            Self::Lists => "lists",
            Self::Network => "network",
            Self::Busy => "busy",
            Self::Unpack => "unpack",
            Self::Create => "create",
            Self::Images => "images",
            Self::Memory => "memory",
            Self::Lxcfs => "lxcfs",
        }
    }
}

/// What the numbers of a row count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Measured in microseconds, shown in milliseconds.
    Time,
    /// Measured in nanoseconds, shown in microseconds.
    Short,
    /// kB.
    Memory,
    /// A number.
    Count,
}

/// How much of a rival Bryo may take, or how much at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// At most so many times what this side takes.
    Of(&'static str, f64),
    /// At most so much, in the row's unit.
    AtMost(u64),
}

/// One row of the table. The first side of each is Bryo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its name, as `--only` takes it.
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) unit: Unit,
    /// Those measured beside it, in the order of the table.
    pub(crate) rivals: &'static [&'static str],
    pub(crate) bars: &'static [Bar],
}

impl Row {
    /// Tells whether the row is the one that was asked for, or of that group.
    pub(crate) fn is_wanted(&self, only: Option<&str>) -> bool {
        only.is_none_or(|name| name == self.name || name == self.group.word())
    }
}

/// All rows.
pub(crate) const ROWS: [Row; 36] = [
    row(
        "start",
        Group::Life,
        &["lxc", "unshare", "crun", "bwrap"],
        &[Bar::Of("lxc", 0.45), Bar::Of("unshare", 3.0)],
    ),
    row("attach", Group::Life, &["lxc"], &[Bar::Of("lxc", 0.4)]),
    row("info", Group::Life, &["lxc"], &[Bar::Of("lxc", 1.0)]),
    row("stop", Group::Life, &["lxc"], &[]),
    row("info-stopped", Group::Lists, &["lxc"], &[Bar::Of("lxc", 1.0)]),
    row("ls-50", Group::Lists, &["lxc"], &[Bar::Of("lxc", 1.0)]),
    row("ls-f-50", Group::Lists, &["lxc"], &[Bar::Of("lxc", 1.0)]),
    row("netdev", Group::Network, &["lxc", "ip"], &[Bar::Of("lxc", 0.7)]),
    row("start-veth", Group::Network, &["lxc"], &[Bar::Of("lxc", 0.5)]),
    row("netdev-busy", Group::Busy, &[], &[Bar::AtMost(20_000)]),
    row("netdev-full", Group::Busy, &[], &[Bar::AtMost(20_000)]),
    row("create", Group::Create, &["tar"], &[Bar::Of("tar", 1.0)]),
    row("unpack-zst", Group::Unpack, &["tar", "synced"], &[Bar::Of("tar", 0.8)]),
    row("unpack-xz", Group::Unpack, &["tar", "synced"], &[Bar::Of("tar", 1.05)]),
    row("create-image", Group::Images, &["lxc"], &[Bar::AtMost(60_000)]),
    row("run-image", Group::Images, &["lxc"], &[Bar::AtMost(120_000)]),
    unpacker("rss-zst", &[Bar::AtMost(UNPACKER + (2 << 10))]),
    unpacker("rss-xz", &[Bar::AtMost(UNPACKER + (1 << 10))]),
    unpacker("rss-long", &[Bar::AtMost(UNPACKER + (128 << 10))]),
    memory("anonymous-of-one", &[Bar::AtMost(200)]),
    memory("pss-of-each-of-ten", &[Bar::AtMost(300)]),
    reads("read-meminfo-1", &ONE_READER),
    reads("read-meminfo-8", &EIGHT_READERS),
    reads("read-stat-1", &ONE_READER),
    reads("read-stat-8", &EIGHT_READERS),
    reads("read-cpuinfo-1", &ONE_READER),
    reads("read-cpuinfo-8", &EIGHT_READERS),
    reads("read-uptime-1", &ONE_READER),
    reads("read-uptime-8", &EIGHT_READERS),
    reads("cpu-meminfo", &SERVER),
    reads("cpu-stat", &SERVER),
    reads("cpu-cpuinfo", &SERVER),
    reads("cpu-uptime", &SERVER),
    lxcfs("calls-of-cat", Unit::Count, &["coalesced", "lxcfs"], &[Bar::AtMost(20)]),
    lxcfs("rss-of-one", Unit::Memory, &["coalesced"], &[Bar::AtMost(5 << 10)]),
    lxcfs("rss-of-further", Unit::Memory, &["coalesced"], &[Bar::AtMost(4)]),
];

/// The most memory of an unpacker in kB, beside the window of the decoder: 2 MB of zstd's usual level, 1 of `xz -1`, 128 of
/// `zstd --long=27`.
const UNPACKER: u64 = 32 << 10;

/// As many times the reads per second of Debian's lxcfs, and the time of a file that is always the same.
const ONE_READER: [Bar; 2] = [Bar::Of("lxcfs", 0.25), Bar::Of("constant", 2.0)];
const EIGHT_READERS: [Bar; 2] = [Bar::Of("lxcfs", 0.334), Bar::Of("constant", 2.0)];

/// The processor time of who serves.
const SERVER: [Bar; 1] = [Bar::Of("lxcfs", 0.25)];

const fn reads(name: &'static str, bars: &'static [Bar]) -> Row {
    lxcfs(name, Unit::Short, &["coalesced", "lxcfs", "constant"], bars)
}

const fn lxcfs(name: &'static str, unit: Unit, rivals: &'static [&'static str], bars: &'static [Bar]) -> Row {
    Row { name, group: Group::Lxcfs, unit, rivals, bars }
}

const fn row(name: &'static str, group: Group, rivals: &'static [&'static str], bars: &'static [Bar]) -> Row {
    Row { name, group, unit: Unit::Time, rivals, bars }
}

const fn unpacker(name: &'static str, bars: &'static [Bar]) -> Row {
    Row { name, group: Group::Unpack, unit: Unit::Memory, rivals: &[], bars }
}

const fn memory(name: &'static str, bars: &'static [Bar]) -> Row {
    Row { name, group: Group::Memory, unit: Unit::Memory, rivals: &["lxc"], bars }
}
