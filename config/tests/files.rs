//! Whole files: includes, old names, all problems at once, and whatever bytes there may be.

#![allow(clippy::unwrap_used)] // The helpers here are parts of tests.

use std::fs;
use std::path::{Path, PathBuf};

use config::{Config, Fault, Loaded, MacvlanMode, NetKind, Problems, load, parse};
use tempfile::TempDir;

/// A directory of configuration files that belong together.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file; `@` stands for the directory itself.
    fn with(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace('@', self.0.path().to_str().unwrap())).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(&self.path("config"))
    }
}

fn read(text: &str) -> Loaded {
    parse(text, Path::new("/c")).unwrap()
}

#[test]
fn included_lines_count_where_the_include_stands() {
    let files = Files::new()
        .with("config", "lxc.uts.name = first\nlxc.include = @/more.conf\nlxc.tty.max = 9\n")
        .with("more.conf", "lxc.uts.name = second\nlxc.tty.max = 1\n");
    let loaded = files.load().unwrap();
    assert_eq!(loaded.config.uts_name.as_deref(), Some("second"));
    assert_eq!(loaded.config.tty_max, 9);
    assert!(!loaded.document.text().contains("second"));
}

#[test]
fn a_directory_is_included_by_its_conf_files_in_order_of_their_names() {
    let files = Files::new()
        .with("config", "lxc.include = @/d/\n")
        .with("d/20.conf", "lxc.group = b\n")
        .with("d/10.conf", "lxc.group = a\n")
        .with("d/30.txt", "lxc.group = c\n");
    assert_eq!(files.load().unwrap().config.groups, ["a", "b"]);
}

#[test]
fn a_missing_file_is_a_problem_and_a_missing_directory_is_none() {
    assert_eq!(read("lxc.include = /nowhere/at/all/\n").config, Config::default());
    let problems = parse("lxc.include = /nowhere/at/all\n", Path::new("/c")).unwrap_err();
    assert_eq!(problems.0[0].fault, Fault::IncludeMissing { path: "/nowhere/at/all".into() });
}

#[test]
fn files_that_include_each_other_are_refused() {
    let files = Files::new()
        .with("config", "lxc.include = @/a.conf\n")
        .with("a.conf", "lxc.include = @/b.conf\n")
        .with("b.conf", "lxc.include = @/config\n");
    let problems = files.load().unwrap_err();
    assert_eq!(problems.0.len(), 1);
    assert!(matches!(problems.0[0].fault, Fault::IncludeCycle { .. }));
    assert_eq!(problems.0[0].place.file, files.path("b.conf"));
}

#[test]
fn includes_that_double_at_every_step_come_to_an_end() {
    let mut files = Files::new().with("config", "lxc.include = @/0.conf\n").with("15.conf", "");
    for step in 0..15 {
        let line = format!("lxc.include = @/{}.conf\n", step + 1);
        files = files.with(&format!("{step}.conf"), &line.repeat(2));
    }
    let problems = files.load().unwrap_err();
    assert!(matches!(problems.0[0].fault, Fault::IncludeTooMany { .. }));
}

#[test]
fn directories_without_end_come_to_an_end() {
    let files = Files::new().with("config", &"lxc.include = @/d/\n".repeat(1001)).with("d/a.txt", "");
    let problems = files.load().unwrap_err();
    assert!(matches!(problems.0[0].fault, Fault::IncludeTooMany { limit: 1000 }));
    assert_eq!(problems.0[0].place.line, 1001);
    let mut files = Files::new().with("config", "lxc.include = @/d/\n").with("d/a.conf", "");
    for number in 0..4096 {
        files = files.with(&format!("d/{number}"), "");
    }
    assert!(matches!(files.load().unwrap_err().0[0].fault, Fault::DirectoryTooLong { limit: 4096, .. }));
}

#[test]
fn includes_that_go_too_deep_are_refused_before_the_stack_ends() {
    let mut files = Files::new().with("config", "lxc.include = @/0.conf\n");
    for step in 0..200 {
        files = files.with(&format!("{step}.conf"), &format!("lxc.include = @/{}.conf\n", step + 1));
    }
    let problems = files.load().unwrap_err();
    assert_eq!(problems.0.len(), 1);
    assert!(matches!(problems.0[0].fault, Fault::IncludeTooDeep { .. }));
}

#[test]
fn a_problem_in_an_included_file_names_the_lines_that_led_there() {
    let files = Files::new()
        .with("config", "# c\nlxc.include = @/a.conf\n")
        .with("a.conf", "lxc.include = @/d/\n")
        .with("d/b.conf", "lxc.bogus = 1\n");
    let problems = files.load().unwrap_err();
    let way: Vec<_> = problems.0[0].includes.clone();
    assert_eq!(way, [(files.path("a.conf"), 1), (files.path("config"), 2)]);
    assert!(problems.to_string().contains(&format!("included from {}:2", files.path("config").display())));
}

#[test]
fn one_bad_file_of_a_directory_does_not_hide_the_others() {
    let files = Files::new().with("config", "lxc.include = @/d\n").with("d/b.conf", "lxc.bogus = 1\n");
    fs::create_dir(files.path("d/a.conf")).unwrap();
    let problems = files.load().unwrap_err();
    let lines: Vec<_> = problems.0.iter().map(|problem| problem.fault.to_string()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("lxc.bogus") && lines[1].contains("a.conf cannot be read"), "{lines:?}");
}

#[test]
fn a_text_of_nothing_but_problems_tells_the_first_and_that_there_is_more() {
    for (line, told) in [("lxc.bogus = 1\n", "problems"), ("lxc.kmsg = 0\n", "warnings")] {
        let many = match parse(&line.repeat(50_000), Path::new("/c")) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.0,
        };
        assert_eq!(many.len(), 101, "{told}");
        assert_eq!(many[100].fault, Fault::More { told: 100 });
        assert!(many[..100].iter().all(|one| !matches!(one.fault, Fault::More { .. })));
    }
}

#[test]
fn names_without_end_come_to_an_end() {
    for family in ["lxc.sysctl", "lxc.proc", "lxc.cgroup2", "lxc.cgroup"] {
        let text: String = (0..50_000).map(|number| format!("{family}.a{number}=1\n")).collect();
        let problems = parse(&text, Path::new("/c")).unwrap_err();
        assert_eq!(problems.0[0].fault, Fault::TooManyNames { limit: 4096 });
        assert_eq!(problems.0[0].place.line, 4097);
    }
    let values = "lxc.cgroup2.a=1\n".repeat(50_000);
    assert_eq!(parse(&values, Path::new("/c")).unwrap_err().0[0].place.line, 4097);
    // One number can be written in many ways.
    let text: String = (1..250).map(|zeros| format!("lxc.prlimit.{}7=1\n", "0".repeat(zeros))).collect();
    assert_eq!(parse(&text, Path::new("/c")).unwrap_err().0.len(), 101);
}

#[test]
fn a_configuration_longer_than_any_is_refused_whole_and_in_parts() {
    let comment = "# nothing but words\n";
    let files = Files::new()
        .with("config", &"lxc.include = @/half.conf\n".repeat(3))
        .with("half.conf", &comment.repeat((1 << 19) / comment.len()));
    let problems = files.load().unwrap_err();
    assert!(problems.0.iter().all(|problem| matches!(problem.fault, Fault::TooLong { .. })));
    assert!(parse(&comment.repeat((2 << 20) / comment.len()), Path::new("/c")).is_err());
}

#[test]
fn what_is_no_file_is_not_read_but_dev_null_is_empty() {
    let pipe = Files::new().with("config", "lxc.include = @/pipe\n");
    let made = std::process::Command::new("mkfifo").arg(pipe.path("pipe")).status().unwrap();
    assert!(made.success());
    assert!(matches!(pipe.load().unwrap_err().0[0].fault, Fault::Unreadable { .. }));
    assert_eq!(load(Path::new("/dev/null")).unwrap().config, Config::default());
    assert!(load(Path::new("/dev/zero")).is_err());
    assert!(load(Path::new("/")).is_err());
    assert!(load(Path::new("/nowhere/at/all")).is_err());
}

#[test]
fn files_of_lxc_that_the_host_lacks_are_taken_from_the_shipped_ones() {
    let share = "/nowhere/share/lxc/config";
    let loaded =
        read(&format!("lxc.include = {share}/common.conf\nlxc.include = {share}/debian.userns.conf\n"));
    assert_eq!((loaded.config.tty_max, loaded.config.tty_dir), (4, None));
    let noted: Vec<_> = loaded.warnings.iter().map(|warning| warning.place.line).collect();
    assert_eq!(noted, [2], "only a stand-in by another name is worth a note");
    assert!(parse(&format!("lxc.include = {share}/other.conf\n"), Path::new("/c")).is_err());
}

#[test]
fn the_hosts_own_files_come_first() {
    let files = Files::new()
        .with("config", "lxc.include = @/share/lxc/config/common.conf\n")
        .with("share/lxc/config/common.conf", "lxc.tty.max = 7\n");
    assert_eq!(files.load().unwrap().config.tty_max, 7);
}

#[test]
fn every_line_that_counts_is_traced_to_its_place() {
    let files = Files::new()
        .with("config", "lxc.utsname = a\nlxc.include = @/more.conf\nlxc.bogus = 1\nlxc.tty.max = 9\n")
        .with("more.conf", "# c\nlxc.tty.max = \"1\"\n");
    let given = config::trace(&files.path("config")).unwrap();
    let told: Vec<_> = given
        .iter()
        .map(|given| (given.key.as_str(), given.value.as_str(), given.file.file_name().unwrap(), given.line))
        .collect();
    let (own, more) = ("config".as_ref(), "more.conf".as_ref());
    let expected =
        [("lxc.uts.name", "a", own, 1), ("lxc.tty.max", "1", more, 2), ("lxc.tty.max", "9", own, 4)];
    assert_eq!(told, expected);
}

#[test]
fn all_problems_are_reported_with_their_places() {
    let files = Files::new()
        .with("config", "lxc.uts.nmae = a\nlxc.include = @/more.conf\n\n  lxc.autodev = yes\nlxc.tty.max\n")
        .with("more.conf", "# c\nlxc.net.0.type = vethh\n");
    let problems = files.load().unwrap_err().0;
    let places: Vec<_> = problems
        .iter()
        .map(|problem| {
            (
                problem.place.file.file_name().unwrap().to_str().unwrap(),
                problem.place.line,
                problem.place.column,
            )
        })
        .collect();
    assert_eq!(places, [("config", 1, 1), ("more.conf", 2, 18), ("config", 4, 17), ("config", 5, 1)]);
    let help: Vec<_> = problems.iter().filter_map(|problem| problem.fault.suggestion()).collect();
    assert_eq!(help[..3], ["write lxc.uts.name", "write veth", "write 1"]);
}

#[test]
fn a_configuration_of_lxc_1_reads_as_todays_with_a_warning_for_each_line() {
    let old = "lxc.rootfs = /srv/a\nlxc.rootfs.backend = overlay\nlxc.utsname = a\nlxc.tty = 4\nlxc.pts = 1024\n\
               lxc.network.type = veth\nlxc.network.link = br0\nlxc.network.ipv4 = 10.0.0.2/24\n\
               lxc.network.type = macvlan\nlxc.network.macvlan.mode = bridge\n\
               lxc.id_map = u 0 100000 65536\nlxc.limit.nofile = 1024\nlxc.kmsg = 0\nlxc.haltsignal = SIGTERM\n";
    let new = "lxc.rootfs.path = overlay:/srv/a\nlxc.uts.name = a\nlxc.tty.max = 4\nlxc.pty.max = 1024\n\
               lxc.net.0.type = veth\nlxc.net.0.link = br0\nlxc.net.0.ipv4.address = 10.0.0.2/24\n\
               lxc.net.1.type = macvlan\nlxc.net.1.macvlan.mode = bridge\n\
               lxc.idmap = u 0 100000 65536\nlxc.prlimit.nofile = 1024\nlxc.signal.halt = SIGTERM\n";
    let loaded = read(old);
    assert_eq!(loaded.config, read(new).config);
    assert_eq!(loaded.warnings.len(), old.lines().count());
    assert!(parse("lxc.rootfs.backend = overlya\n", Path::new("/c")).is_err());
    assert_eq!(loaded.config.net[&1].macvlan_mode, MacvlanMode::Bridge);
    assert_eq!(loaded.config.net[&0].kind, NetKind::Veth);
}

#[test]
fn an_old_backing_store_goes_with_an_old_path_alone() {
    let path = |text: &str| read(text).config.rootfs_path.unwrap().to_string();
    assert_eq!(path("lxc.rootfs.backend = overlay\nlxc.rootfs = /a:/b\n"), "overlay:/a:/b");
    assert_eq!(path("lxc.rootfs = /a\nlxc.rootfs.backend = dir\n"), "/a");
    assert_eq!(path("lxc.rootfs.path = overlay:/a:/b\nlxc.rootfs.backend = overlay\n"), "overlay:/a:/b");
    for text in [
        "lxc.rootfs.backend = overlay\nlxc.rootfs.path = /a\n",
        "lxc.rootfs.backend = overlay\nlxc.rootfs.path = dir:/a\n",
        "lxc.rootfs.backend = overlay\nlxc.rootfs = dir:/a\n",
        "lxc.rootfs.backend = overlay\nlxc.rootfs = btrfs:/a\n",
    ] {
        let problems = parse(text, Path::new("/c")).unwrap_err().to_string();
        assert!(problems.starts_with("/c:1:22: 'overlay': it goes with lxc.rootfs"), "{problems}");
        assert!(problems.contains("lxc.rootfs.path = overlay:PATH"), "{problems}");
    }
}

#[test]
fn limits_of_cgroup_v1_are_accepted_with_a_warning_and_clearing_them_without() {
    let loaded = read("lxc.cgroup.memory.limit_in_bytes = 1G\nlxc.cgroup.devices.deny =\nLXC.UTS.NAME = a\n");
    assert_eq!(loaded.config.cgroup1, [("memory.limit_in_bytes".to_owned(), "1G".to_owned())]);
    let help: Vec<_> = loaded.warnings.iter().filter_map(|warning| warning.fault.suggestion()).collect();
    assert_eq!(help, ["write lxc.cgroup2.memory.max", "write lxc.uts.name"]);
}

#[test]
fn a_first_line_that_is_lost_to_a_byte_order_mark_is_told() {
    let loaded = read("\u{feff}lxc.uts.name = a\nlxc.tty.max = 1\n");
    assert_eq!((loaded.config.uts_name, loaded.config.tty_max), (None, 1));
    assert_eq!(loaded.warnings.iter().map(|warning| &warning.fault).collect::<Vec<_>>(), [&Fault::Marked]);
}

#[test]
fn a_limit_in_a_unit_that_the_kernel_does_not_know_is_taken_with_a_warning() {
    let loaded = read("lxc.cgroup2.memory.max = 512MB\nlxc.cgroup2.memory.high = 1G\nlxc.cgroup2.x = 1 MB\n");
    let told: Vec<_> =
        loaded.warnings.iter().map(|warning| (warning.place.column, warning.fault.advice())).collect();
    assert_eq!(told, [(26, "the kernel does not take '512MB' for a size; write 512M".to_owned())]);
}

#[test]
fn security_modules_that_are_not_there_do_not_matter() {
    let loaded =
        read("lxc.apparmor.profile = generated\nlxc.apparmor.raw = mount,\nlxc.selinux.context = a:b:c\n");
    assert_eq!(loaded.config.apparmor_profile.as_deref(), Some("generated"));
    assert!(loaded.warnings.is_empty());
}

/// For every key, values of each of its forms.
const SAMPLES: &[(&str, &[&str])] = &[
    ("lxc.arch", &["amd64", "armhf", "loong64"]),
    ("lxc.autodev", &["0", "1"]),
    ("lxc.autodev.tmpfs.size", &["1M", "7"]),
    ("lxc.cap.drop", &["sys_admin mknod", "12", "63"]),
    ("lxc.cap.keep", &["none", "chown"]),
    ("lxc.cgroup2.memory.max", &["1G"]),
    ("lxc.cgroup2.devices.allow", &["c 1:3 rwm"]),
    ("lxc.console.buffer.size", &["auto", "100kB", "0"]),
    ("lxc.environment", &["A=b=c", "PATH", "A="]),
    ("lxc.execute.cmd", &["/bin/sh -c 'a b'"]),
    ("lxc.group", &["a b,c"]),
    ("lxc.hook.start", &["/a b"]),
    ("lxc.hook.version", &["0", "1"]),
    ("lxc.idmap", &["u 0 100000 65536", "g 0 100000 65536"]),
    ("lxc.init.cmd", &["/sbin/init \"it's\" ''"]),
    ("lxc.init.cwd", &["/root"]),
    ("lxc.init.groups", &["10,20"]),
    ("lxc.init.uid", &["1000"]),
    ("lxc.log.level", &["debug", "8", "NOTSET"]),
    ("lxc.log.syslog", &["local7"]),
    ("lxc.monitor.signal.pdeath", &["0", "SIGTERM"]),
    ("lxc.mount.auto", &["proc sys:ro cgroup-full:mixed:force shmounts:/a:/b", "cgroup2"]),
    ("lxc.mount.entry", &["/a\\040b c none bind 0 0", "garbage"]),
    ("lxc.namespace.clone", &["net pid user mnt"]),
    ("lxc.namespace.keep", &["time"]),
    ("lxc.namespace.share.net", &["42"]),
    ("lxc.net.3.type", &["veth", "phys"]),
    ("lxc.net.3.flags", &["up"]),
    ("lxc.net.3.hwaddr", &["10:66:6A:xX:00:ff"]),
    ("lxc.net.3.ipv4.address", &["10.0.0.1", "10.0.0.1/24 10.0.0.255"]),
    ("lxc.net.3.ipv4.gateway", &["auto", "dev", "10.0.0.1"]),
    ("lxc.net.3.ipv6.address", &["fe80::1"]),
    ("lxc.net.3.veth.vlan.id", &["none", "4094"]),
    ("lxc.net.3.veth.vlan.tagged.id", &["7"]),
    ("lxc.net.3.vlan.id", &["7", "0"]),
    ("lxc.prlimit.nofile", &["1:unlimited", "7"]),
    ("lxc.proc.oom_score_adj", &["10"]),
    ("lxc.rootfs.path", &["dir:/a", "overlayfs:/a:/b", "/a/:b"]),
    ("lxc.rootfs.options", &["ro,idmap=container"]),
    ("lxc.seccomp.notify.proxy", &["unix:@x", "unix:/x"]),
    ("lxc.signal.halt", &["SIGRTMIN+3", "30", "0"]),
    ("lxc.start.order", &["-3"]),
    ("lxc.sysctl.net.ipv4.ip_forward", &["1"]),
    ("lxc.time.offset.boot", &["-3h", "5ms", "0s"]),
    ("lxc.time.offset.monotonic", &["2m"]),
    ("lxc.uts.name", &["bad name", "a"]),
];

#[test]
fn what_is_shown_reads_back_as_the_same() {
    for (key, values) in SAMPLES {
        for value in *values {
            let mut config = Config::default();
            config.set(key, value).unwrap();
            let mut again = Config::default();
            for line in config.get(key).unwrap().lines() {
                again.set(key, line).unwrap();
            }
            assert_eq!(config, again, "{key} = {value}");
        }
    }
}

#[test]
fn clearing_brings_every_default_back() {
    for (key, values) in SAMPLES {
        let mut config = Config::default();
        config.set(key, values[0]).unwrap();
        config.clear(key).unwrap();
        config.net.clear();
        assert_eq!(config, Config::default(), "{key}");
    }
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let values: Vec<&[u8]> = vec![
        b"",
        b"\"",
        b"''",
        b"\0",
        b"\xff\xfe",
        b"-",
        b":",
        b"/",
        b"..",
        b"=",
        b"1:",
        b":1",
        b"\\",
        b"\\04",
        "é".as_bytes(),
        b"99999999999999999999999999",
        b"-9223372036854775808ns",
        b"u 4294967295 4294967295 4294967295",
        b"x:x:x:x:x:x",
        b"::/0",
        b"0/0",
        b"SIGRTMIN+255",
        b"SIG",
        b"proc:",
        b"shmounts:::",
        b"overlay:",
        b"\t \t",
        b"1 2 3 4 5",
        b",",
        b"=a",
        b"unix:",
        b"18446744073709551615GB",
        b"0.0.0.0/255",
    ];
    let names = config::keys::TABLE.iter().chain(config::keys::DEVICE_KEYS).map(|item| item.name);
    let mut heads: Vec<String> = names.map(|name| name.replace(".N", ".4294967295")).collect();
    heads.extend(heads.clone().iter().map(|name| format!("{name}.x")));
    heads.extend(
        ["lxc.network.type", "lxc.network.", "lxc.network.9.", "lxc.", "lxc.net.", "lxc.rootfs.backend"]
            .map(str::to_owned),
    );
    let files = Files::new();
    for head in &heads {
        let line =
            |value: &&[u8]| [head.as_bytes(), b" = ", value, b"\nlxc.network.type = veth\r\n"].concat();
        fs::write(files.path("config"), values.iter().map(line).collect::<Vec<_>>().concat()).unwrap();
        match files.load() {
            Ok(loaded) => drop((loaded.config.get(head), loaded.document.text())),
            Err(problems) => drop(problems.to_string()),
        }
        let known = config::keys::find(head).is_ok();
        let mut config = Config::default();
        for value in values.iter().filter(|_| known).filter_map(|value| std::str::from_utf8(value).ok()) {
            drop((config.set(head, value), config.get(head), config.clear(head)));
        }
    }
}

#[test]
fn what_is_refused_later_is_told_with_its_place() {
    let files = Files::new()
        .with("config", "# veth\nlxc.include = @/net.conf\nlxc.network.1.type = phys\n")
        .with("net.conf", "lxc.net.0.type = veth\nlxc.net.0.type = macvlan\n");
    let loaded = files.load().unwrap();
    let refused = |key: &str, value: &str| {
        let (value, why) = (value.to_owned(), "it needs root".to_owned());
        loaded.problem(key, Fault::Refused { value, why, instead: Some("write veth".to_owned()) })
    };
    let told = refused("lxc.net.0.type", "macvlan").unwrap();
    assert_eq!((told.place.file, told.place.line, told.place.column), (files.path("net.conf"), 2, 18));
    assert_eq!(told.includes, [(files.path("config"), 2)]);
    assert_eq!(refused("lxc.net.1.type", "phys").unwrap().place.line, 3);
    assert_eq!(refused("lxc.net.0.link", "x"), None);
}
