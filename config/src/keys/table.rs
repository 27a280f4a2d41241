//! The items of all keys but those of network devices, in the order in which LXC lists them.

use super::acts::{self, add_cgroup, hook, pairs, set_proc, set_sysctl, show_lines, show_one};
use super::field::{Access, Field, field};
use super::{Empty, Key, Shape, key};
use crate::{Config, Hook, units};

const NO_DEVICE_RULES: &str = "the controller must be delegated to the user; rules for devices are passed over, since \
    what a user can open is limited anyway";
const INIT_ALONE: &str = "init alone; hooks have `lxc.environment.hooks`, since images set this key and hooks run as \
    the user";
const OWN_MOUNTS: &str = "`lxc.hook.pre-mount` runs in the container's own mount namespace";
const PROFILES: &str = "one that root has loaded, such as Bryo's `bryo-container`, which stands for `generated` too; none on a \
    host without AppArmor";
const NO_PROFILE: &str = "making a profile needs root of the host";
const NO_AUTOSTART: &str = "nothing starts containers by themselves";
const NO_LABEL: &str = "the container runs with the caller's label";
const NO_SUPERVISOR: &str = "a profile with `notify` is refused";

/// Every key but those below `lxc.net.N`, in LXC's order; keys that LXC does not list stand where they belong.
pub static TABLE: &[Key] = &[
    key(
        "lxc.arch",
        "ARCH",
        "The architecture that the container sees, such as `x86_64`, `i686` or `arm64`; on a \
         64-bit kernel a 32-bit one makes uname(2) say so.",
        field!(arch),
    )
    .empty(Empty::Refused)
    .default("that of the host"),
    key(
        "lxc.apparmor.profile",
        "PROFILE",
        "The AppArmor profile: a name, `unconfined`, `unchanged` or `generated`.",
        field!(apparmor_profile),
    )
    .replaces(&["lxc.aa_profile"])
    .partly(PROFILES),
    key(
        "lxc.apparmor.allow_incomplete",
        "0|1",
        "Start although the kernel confines mounts only in part.",
        field!(apparmor_allow_incomplete),
    )
    .replaces(&["lxc.aa_allow_incomplete"])
    .needless("no profile is made"),
    key(
        "lxc.apparmor.allow_nesting",
        "0|1",
        "Let containers run in the container: adds pristine mounts of proc and sysfs below \
         `/dev/.lxc`.",
        field!(apparmor_allow_nesting),
    )
    .partly("the mounts are made; `bryo-container` allows nesting anyway"),
    key("lxc.apparmor.raw", "LINE", "A line for a generated AppArmor profile.", field!(apparmor_raw))
        .shape(Shape::List)
        .never(NO_PROFILE, "`lxc.seccomp.profile`, `lxc.cap.drop`"),
    key(
        "lxc.autodev.tmpfs.size",
        "SIZE",
        "The size of the tmpfs on `/dev`; 0 is the usual one.",
        field!(autodev_tmpfs_size, acts::read_tmpfs_size, Field::show),
    ),
    key(
        "lxc.autodev",
        "0|1",
        "Fill `/dev` of the container: a tmpfs with the usual devices, which for a user are \
         bound from the host.",
        field!(autodev),
    )
    .empty(Empty::Sets("0")),
    key(
        "lxc.cap.drop",
        "NAME ...",
        "Capabilities that the container does not get, in lower case without `CAP_`. Excludes \
         `lxc.cap.keep`.",
        acts::CAP_DROP,
    )
    .shape(Shape::List),
    key(
        "lxc.cap.keep",
        "NAME ...|none",
        "The only capabilities that the container gets; `none` empties the list, and alone \
         drops all.",
        acts::CAP_KEEP,
    )
    .shape(Shape::List),
    key(
        "lxc.cgroup2",
        "VALUE",
        "A value for a file of the container's cgroup, such as `lxc.cgroup2.memory.max`.",
        pairs!(cgroup2, "lxc.cgroup2", show_lines, add_cgroup),
    )
    .shape(Shape::Family)
    .partly(NO_DEVICE_RULES),
    key(
        "lxc.cgroup.dir.monitor.pivot",
        "PATH",
        "The cgroup to which the monitor moves when the container ends.",
        field!(cgroup_dir_monitor_pivot, acts::read_cgroup_dir, Field::show),
    )
    .needless("the monitor's cgroup goes without one"),
    key(
        "lxc.cgroup.dir.monitor",
        "PATH",
        "The cgroup of the monitor. Goes with `lxc.cgroup.dir.container`.",
        field!(cgroup_dir_monitor, acts::read_cgroup_dir, Field::show),
    ),
    key(
        "lxc.cgroup.dir.container.inner",
        "PATH",
        "The cgroup below the container's that becomes its root, so that it cannot change its \
         limits.",
        field!(cgroup_dir_container_inner, acts::read_cgroup_dir, Field::show),
    ),
    key(
        "lxc.cgroup.dir.container",
        "PATH",
        "The cgroup of the container. Goes with `lxc.cgroup.dir.monitor`.",
        field!(cgroup_dir_container, acts::read_cgroup_dir, Field::show),
    ),
    key(
        "lxc.cgroup.dir",
        "PATH",
        "The cgroup below which those of monitor and container are made.",
        field!(cgroup_dir, acts::read_cgroup_dir, Field::show),
    ),
    key(
        "lxc.cgroup.relative",
        "0|1",
        "Make the container's cgroups below the caller's own, even where the user's systemd would give a scope.",
        field!(cgroup_relative),
    ),
    key(
        "lxc.cgroup",
        "VALUE",
        "A value for a file of a cgroup v1 controller. LXC 7 refuses these; use `lxc.cgroup2`.",
        pairs!(cgroup1, "lxc.cgroup", show_lines, add_cgroup),
    )
    .shape(Shape::Family)
    .partly("the hierarchy must be delegated to the user"),
    key(
        "lxc.console.buffer.size",
        "SIZE|auto",
        "The size of the console's buffer in memory, rounded up to a power of two; `auto` is \
         128 kB.",
        field!(console_buffer_size, units::buffer_size, Field::show),
    )
    .partly("what the console shows while nobody has it, which `bryo console --last` prints"),
    key(
        "lxc.console.logfile",
        "PATH",
        "A file of the host to which the console's output is added.",
        field!(console_logfile),
    ),
    key(
        "lxc.console.path",
        "PATH|none",
        "A device or file that becomes the console; `none` for no console.",
        field!(console_path),
    )
    .replaces(&["lxc.console"])
    .default("a pseudo-terminal")
    .partly("`none`; else it is a pseudo-terminal"),
    key(
        "lxc.console.rotate",
        "0|1",
        "Keep the console's log as `FILE.1` when it is full, instead of beginning it anew.",
        field!(console_rotate),
    ),
    key(
        "lxc.console.size",
        "SIZE|auto",
        "The largest size of the console's log, rounded up to a power of two.",
        field!(console_size, units::buffer_size, Field::show),
    )
    .partly("while `bryo console` or `lxc-console` has the console, its log grows beyond that"),
    key(
        "lxc.sched.core",
        "0|1",
        "Run the container's processes alone on each core (core scheduling).",
        field!(sched_core),
    )
    .partly("where cores run several threads, a kernel built with CONFIG_SCHED_CORE; programs that attach are not among them"),
    key(
        "lxc.environment",
        "NAME[=VALUE]",
        "A variable for init and hooks; without a value the caller's is taken.",
        field!(environment),
    )
    .shape(Shape::List)
    .partly(INIT_ALONE),
    key(
        "lxc.environment.runtime",
        "NAME[=VALUE]",
        "As `lxc.environment`, for init alone. Since LXC 7.",
        field!(environment_runtime),
    )
    .shape(Shape::List),
    key(
        "lxc.environment.hooks",
        "NAME[=VALUE]",
        "As `lxc.environment`, for hooks alone. Since LXC 7.",
        field!(environment_hooks),
    )
    .shape(Shape::List),
    key("lxc.ephemeral", "0|1", "Destroy the container when it has stopped.", field!(ephemeral)),
    key(
        "lxc.execute.cmd",
        "COMMAND",
        "What lxc-execute runs when it is given no command.",
        field!(execute_cmd, acts::read_command, acts::show_command),
    ),
    key("lxc.group", "NAME ...", "Groups of containers that lxc-autostart knows this one by.", acts::GROUP)
        .shape(Shape::List),
    key("lxc.hook.autodev", "COMMAND", "Run in the container when `/dev` is filled.", hook!(Autodev))
        .shape(Shape::List),
    key("lxc.hook.clone", "COMMAND", "Run on the host when the container has been copied.", hook!(Clone))
        .shape(Shape::List)
        .unused("containers cannot be copied"),
    key("lxc.hook.destroy", "COMMAND", "Run on the host when the container is destroyed.", hook!(Destroy))
        .shape(Shape::List),
    key("lxc.hook.mount", "COMMAND", "Run in the container when its mounts are done.", hook!(Mount))
        .shape(Shape::List),
    key("lxc.hook.post-stop", "COMMAND", "Run on the host when the container is gone.", hook!(PostStop))
        .shape(Shape::List),
    key(
        "lxc.hook.pre-mount",
        "COMMAND",
        "Run in the container's namespaces before its root is mounted.",
        hook!(PreMount),
    )
    .shape(Shape::List),
    key("lxc.hook.pre-start", "COMMAND", "Run on the host before anything else.", hook!(PreStart))
        .shape(Shape::List),
    key("lxc.hook.start", "COMMAND", "Run in the container right before init.", hook!(Start))
        .shape(Shape::List),
    key(
        "lxc.hook.start-host",
        "COMMAND",
        "Run on the host when the namespaces stand, before init.",
        hook!(StartHost),
    )
    .shape(Shape::List),
    key(
        "lxc.hook.stop",
        "COMMAND",
        "Run on the host when init has ended, with the namespaces still there.",
        hook!(Stop),
    )
    .shape(Shape::List),
    key(
        "lxc.hook.version",
        "0|1",
        "How hooks are told what happens: 0 by arguments, 1 by the environment alone.",
        field!(hook_version, acts::read_hook_version, u8::to_string),
    ),
    key("lxc.hook", "", "All hooks; an empty value clears them.", acts::HOOKS).shape(Shape::Group),
    key(
        "lxc.idmap",
        "u|g INSIDE OUTSIDE COUNT",
        "A range of user or group ids of the container, and those of the host that they stand \
         for.",
        acts::IDMAP,
    )
    .shape(Shape::List)
    .replaces(&["lxc.id_map"]),
    key(
        "lxc.include",
        "PATH",
        "A file whose lines are taken in place; of a directory every `.conf` file, in order of \
         their names.",
        acts::INCLUDE,
    )
    .shape(Shape::List),
    key(
        "lxc.init.cmd",
        "COMMAND",
        "The program that lxc-start runs as init, with its arguments.",
        field!(init_cmd, acts::read_command, acts::show_command),
    )
    .replaces(&["lxc.init_cmd"])
    .default("/sbin/init"),
    key("lxc.init.gid", "GID", "The group id of init, in the container.", field!(init_gid))
        .replaces(&["lxc.init_gid"]),
    key("lxc.init.groups", "GID[,GID...]", "Further groups of init, in the container.", acts::INIT_GROUPS)
        .shape(Shape::List)
        .partly("the groups must be mapped"),
    key("lxc.init.uid", "UID", "The user id of init, in the container.", field!(init_uid))
        .replaces(&["lxc.init_uid"]),
    key("lxc.init.cwd", "PATH", "The working directory of init, in the container.", field!(init_cwd))
        .default("/"),
    key(
        "lxc.keyring.session",
        "0|1",
        "The session keyring of the container: 0 makes a new one, 1 does not.",
        field!(keyring_session),
    ),
    key("lxc.log.file", "PATH", "The file for the log.", field!(log_file)).replaces(&["lxc.logfile"]),
    key(
        "lxc.log.level",
        "LEVEL",
        "The lowest level that is logged, by name or by number from 0 (TRACE) to 8 (FATAL).",
        field!(log_level, acts::read_level, acts::show_level),
    )
    .replaces(&["lxc.loglevel"]),
    key(
        "lxc.log.syslog",
        "FACILITY",
        "The facility under which syslog gets the log: daemon, local0 to local7.",
        field!(log_syslog, acts::read_facility, Field::show),
    )
    .replaces(&["lxc.syslog"]),
    key(
        "lxc.monitor.unshare",
        "0|1",
        "Give the monitor a mount namespace of its own.",
        field!(monitor_unshare),
    )
    .never("it needs CAP_SYS_ADMIN on the host", OWN_MOUNTS),
    key(
        "lxc.monitor.signal.pdeath",
        "SIGNAL|0",
        "The signal that init gets when its monitor dies; 0 for none.",
        field!(monitor_signal_pdeath),
    )
    .default("SIGKILL")
    .empty(Empty::Sets("0")),
    key(
        "lxc.mount.auto",
        "WORD ...",
        "Mounts to make by themselves: `proc`, `sys` and `cgroup`, each with `:mixed`, `:ro` or \
         `:rw`; `shmounts:DIR`.",
        field!(mount_auto),
    )
    .partly("`shmounts` makes nothing yet"),
    key(
        "lxc.mount.entry",
        "SOURCE TARGET TYPE OPTIONS 0 0",
        "A mount in the form of fstab(5); the target is relative to the container's root.",
        field!(mount_entries),
    )
    .shape(Shape::List)
    .partly("what the user's namespace can reach, and file systems without a device"),
    key("lxc.mount.fstab", "PATH", "A file of such lines, mounted before the entries.", field!(mount_fstab))
        .replaces(&["lxc.mount"]),
    key(
        "lxc.namespace.clone",
        "NAME ...",
        "The only namespaces that the container gets new: user, mnt, pid, uts, ipc, net, \
         cgroup, time.",
        acts::NAMESPACE_CLONE,
    )
    .shape(Shape::List)
    .partly("user, mnt and pid are needed"),
    key(
        "lxc.namespace.keep",
        "NAME ...",
        "Namespaces that the container shares with its monitor.",
        acts::NAMESPACE_KEEP,
    )
    .shape(Shape::List)
    .partly("not user, mnt and pid"),
    key(
        "lxc.namespace.share",
        "PID|NAME|PATH",
        "A namespace to join, such as `lxc.namespace.share.net`: that of a process, a container \
         or a file.",
        acts::NAMESPACE_SHARE,
    )
    .shape(Shape::Family)
    .not_yet("those of other containers belong to their user namespaces; `bryo exec` runs a command in one"),
    key(
        "lxc.time.offset.boot",
        "NUMBER UNIT",
        "How far the container's boot clock is ahead, with a unit from h, m, s, ms, us, ns.",
        field!(time_offset_boot, units::offset, acts::show_boot_offset),
    )
    .default("0"),
    key(
        "lxc.time.offset.monotonic",
        "NUMBER UNIT",
        "How far the container's monotonic clock is ahead.",
        field!(time_offset_monotonic, units::offset, acts::show_monotonic_offset),
    )
    .default("0"),
    key("lxc.net", "", "All network devices; an empty value removes them.", acts::NET).shape(Shape::Group),
    // Here stand the keys below lxc.net.N: see DEVICE_KEYS.
    key(
        "lxc.no_new_privs",
        "0|1",
        "Let no program in the container gain rights by set-user-id or file capabilities.",
        field!(no_new_privs),
    ),
    key(
        "lxc.prlimit",
        "SOFT[:HARD]",
        "A resource limit of init, such as `lxc.prlimit.nofile`; a number or `unlimited`.",
        acts::PRLIMIT,
    )
    .shape(Shape::Family)
    .partly("limits can be lowered alone")
    .default("inherited"),
    key("lxc.pty.max", "NUMBER", "How many pseudo-terminals the container may have.", field!(pty_max))
        .replaces(&["lxc.pts"]),
    key(
        "lxc.rootfs.managed",
        "0|1",
        "0 keeps the storage untouched when the container is destroyed, renamed or copied.",
        field!(rootfs_managed),
    )
    .needless("files outside the container's own directory are never touched"),
    key(
        "lxc.rootfs.mount",
        "PATH",
        "Where the root file system is mounted before the change of root.",
        field!(rootfs_mount),
    )
    .partly("another directory is taken where it does not exist"),
    key(
        "lxc.rootfs.options",
        "OPTION[,OPTION...]",
        "Options for mounting the root file system.",
        field!(rootfs_options, acts::read_rootfs_options, Field::show),
    )
    .partly("`ro`, `nosuid`, `nodev` and `noexec`"),
    key(
        "lxc.rootfs.path",
        "[BACKEND:]PATH",
        "The root file system: a directory, or a backing store such as `overlay:LOWER:UPPER`.",
        field!(rootfs_path),
    )
    .replaces(&["lxc.rootfs"])
    .default("that of the host")
    .partly("a directory or an overlay; others are refused"),
    key(
        "lxc.seccomp.allow_nesting",
        "0|1",
        "Load the filter although one is in place, as in a container in a container.",
        field!(seccomp_allow_nesting),
    )
    .needless("a filter is always added to one that is in force"),
    key(
        "lxc.seccomp.notify.cookie",
        "TEXT",
        "A text that the proxy gets with each call.",
        field!(seccomp_notify_cookie),
    )
    .not_yet(NO_SUPERVISOR),
    key(
        "lxc.seccomp.notify.proxy",
        "unix:PATH",
        "The socket to which calls with the action `notify` are passed.",
        field!(seccomp_notify_proxy, acts::read_proxy, acts::show_proxy),
    )
    .not_yet(NO_SUPERVISOR),
    key(
        "lxc.seccomp.profile",
        "PATH",
        "A file that says which system calls are refused.",
        field!(seccomp_profile),
    )
    .replaces(&["lxc.seccomp"]),
    key(
        "lxc.selinux.context.keyring",
        "LABEL",
        "The SELinux label of the session keyring.",
        field!(selinux_context_keyring),
    )
    .not_yet(NO_LABEL),
    key("lxc.selinux.context", "LABEL", "The SELinux label of the container.", field!(selinux_context))
        .replaces(&["lxc.se_context"])
        .not_yet(NO_LABEL),
    key("lxc.signal.halt", "SIGNAL", "The signal that asks init for a halt.", field!(signal_halt))
        .replaces(&["lxc.haltsignal"])
        .default("SIGPWR, or SIGRTMIN+3 where init is systemd"),
    key("lxc.signal.reboot", "SIGNAL", "The signal that asks init for a reboot.", field!(signal_reboot))
        .replaces(&["lxc.rebootsignal"])
        .default("SIGINT"),
    key("lxc.signal.stop", "SIGNAL", "The signal that ends init.", field!(signal_stop))
        .replaces(&["lxc.stopsignal"])
        .default("SIGKILL"),
    key("lxc.start.auto", "0|1", "Let lxc-autostart start the container.", field!(start_auto))
        .unused("`ls` shows it, and nothing starts containers by themselves"),
    key(
        "lxc.start.delay",
        "SECONDS",
        "How long lxc-autostart waits after starting the container.",
        field!(start_delay),
    )
    .unused(NO_AUTOSTART),
    key(
        "lxc.start.order",
        "NUMBER",
        "The container's place among those that lxc-autostart starts: higher ones first.",
        field!(start_order),
    )
    .unused(NO_AUTOSTART),
    key(
        "lxc.tty.dir",
        "DIRECTORY",
        "The directory below `/dev` for console and terminals; `/dev/tty1` and on are links then.",
        field!(tty_dir),
    )
    .replaces(&["lxc.devttydir"]),
    key(
        "lxc.tty.max",
        "NUMBER",
        "How many terminals (`/dev/tty1` and so on) the container has.",
        field!(tty_max),
    )
    .replaces(&["lxc.tty"]),
    key("lxc.uts.name", "NAME", "The host name of the container.", field!(uts_name))
        .replaces(&["lxc.utsname"]),
    key(
        "lxc.sysctl",
        "VALUE",
        "A kernel parameter that is set in the container, such as \
         `lxc.sysctl.net.ipv4.ip_forward`.",
        pairs!(sysctls, "lxc.sysctl", show_one, set_sysctl),
    )
    .shape(Shape::Family)
    .partly("parameters that belong to a namespace"),
    key(
        "lxc.proc",
        "VALUE",
        "A value for a file below `/proc/PID` of init, such as `lxc.proc.oom_score_adj`.",
        pairs!(procs, "lxc.proc", show_one, set_proc),
    )
    .shape(Shape::Family)
    .partly("what the user may write: oom_score_adj can be raised alone"),
];
