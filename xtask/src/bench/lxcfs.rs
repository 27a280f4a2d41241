//! Files that show a container its limits: Bryo's beside those of Debian's lxcfs and a constant file of FUSE, in one container.
//!
//! The bench runs itself for two things that take a process of their own: to read in the container (`bench-read`), and to serve
//! the constant file (`bench-constant`).

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lxcfs::fuse::{Answer, BUFFER, Contents, Has, Request, Session, Several, Tree};
use tests::{Lab, User};

use crate::shell::{program, read};

/// Where the two others are mounted in the lab, and in the container.
const PEERS: &str = "/run/bryo-lab/peers";

/// The files, by the names of rows.
const FILES: [&str; 4] = ["meminfo", "stat", "cpuinfo", "uptime"];

/// How many containers the memory of further ones is measured at.
const MANY: usize = 200;

/// Measures all rows, each `runs` times, and returns a line `ROW SIDE NUMBER 0` for each.
///
/// # Errors
/// A side does not come up, or a read fails.
pub(crate) fn measure(lab: &Lab, user: User<'_>, runs: usize) -> Result<String> {
    user.write(".config/bryo/config.toml", "[start]\nlxcfs = true\n");
    let directory = lab.outside(Path::new(PEERS));
    for name in ["lxcfs", "constant"] {
        fs::create_dir_all(directory.join(name))?;
    }
    let peers = [Peer::lxcfs(lab)?, Peer::constant(lab)?];
    let mut lines = String::new();
    for (side, coalesce) in [("bryo", false), ("coalesced", true)] {
        let _program = Replaced::begin(coalesce)?;
        lines += &of_one(lab.view(), user, side, &peers, runs)?;
        lines += &memory(user, side)?;
    }
    drop(peers);
    clear_run();
    fs::remove_dir_all(directory).context("removing what the peers were mounted on")?;
    Ok(lines)
}

fn of_one(view: tests::View, user: User<'_>, own: &str, peers: &[Peer; 2], runs: usize) -> Result<String> {
    user.busybox("limits");
    // Of the view that is whole here, v1 has the controller or v2.
    let limit = match view {
        tests::View::Hybrid => "lxc.cgroup.memory.limit_in_bytes",
        _ => "lxc.cgroup2.memory.max",
    };
    let limits = format!("{limit} = 256M\nlxc.mount.entry = {PEERS} peers none rbind,create=dir 0 0\n");
    user.append(".local/share/lxc/limits/config", &limits);
    user.bryo(["start", "limits"]).succeeds();
    let server = server(user)?;
    let mut lines = String::new();
    let init = user.init_of("limits");
    let place = |side: &str, file: &str| match side {
        "lxcfs" => format!("/peers/lxcfs/proc/{file}"),
        "constant" => "/peers/constant/proc/meminfo".to_owned(),
        _ => format!("/proc/{file}"),
    };
    // The peers are measured beside each of Bryo's two.
    for run in 0..runs {
        for file in FILES {
            for readers in [1, 8] {
                let mut sides = [own, "lxcfs", "constant"];
                sides.rotate_left(run % 3);
                for side in sides {
                    let reads = if side == "lxcfs" { 1000 } else { 4000 };
                    let pid = match side {
                        "lxcfs" => peers[0].pid,
                        "constant" => peers[1].pid,
                        _ => server,
                    };
                    let before = cpu(pid)?;
                    let each = reads_of(init, &place(side, file), readers, reads)?;
                    lines += &format!("read-{file}-{readers} {side} {each} 0\n");
                    if readers == 1 {
                        let each = (cpu(pid)? - before) * 10_000_000 / reads;
                        lines += &format!("cpu-{file} {side} {each} 0\n");
                    }
                }
            }
        }
    }
    for (side, pid) in [(own, server), ("lxcfs", peers[0].pid)] {
        let calls = calls(user, pid, &place(side, "meminfo"))?;
        lines += &format!("calls-of-cat {side} {calls} 0\n");
    }
    user.destroy("limits");
    Ok(lines)
}

/// Returns nanoseconds for each read, as a process in the container measures it.
fn reads_of(init: i32, file: &str, readers: u64, reads: u64) -> Result<u64> {
    let numbers = [init.to_string(), readers.to_string(), reads.to_string()];
    let mut reader = Command::new(std::env::current_exe()?);
    reader.args(["bench-read", &numbers[0], file, &numbers[1], &numbers[2]]);
    read(&mut reader)?.trim().parse().context("the reader's number")
}

/// The reader: opens, reads to the end and closes, in the namespaces of a container's init.
///
/// # Errors
/// The container cannot be entered, or a read fails.
pub(crate) fn read_in(init: i32, file: &str, readers: u64, reads: u64) -> Result<()> {
    let proc = sys::namespace::proc_dir(init)?;
    let spaces = ["user", "pid", "mnt"].map(|name| sys::namespace::of_process(proc.as_fd(), name));
    for space in spaces {
        sys::namespace::join(space?.as_fd(), 0)?;
    }
    // The kernel lets nobody open the files whom the container has no id for.
    sys::cred::become_user(0, 0, &[], false)?;
    // Whoever joins a PID namespace is not in it, but his children are.
    if let sys::process::Cloned::Parent { pidfd, .. } = sys::process::fork()? {
        ensure!(sys::process::wait(pidfd.as_fd())? == sys::process::Exit::Code(0), "the reader has failed");
        return Ok(());
    }
    let begin = Instant::now();
    let one = || -> std::io::Result<()> {
        let mut buffer = vec![0; 128 << 10];
        for _ in 0..reads / readers {
            let mut opened = fs::File::open(file)?;
            while opened.read(&mut buffer)? > 0 {}
        }
        Ok(())
    };
    let done: std::io::Result<()> = thread::scope(|scope| {
        let all: Vec<_> = (0..readers).map(|_| scope.spawn(one)).collect();
        all.into_iter()
            .try_for_each(|one| one.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())))
    });
    done.with_context(|| format!("reading {file}"))?;
    println!("{}", begin.elapsed().as_nanos() / u128::from(reads));
    std::io::stdout().flush()?;
    sys::process::exit_now(0)
}

/// Files that never change, of the length of a usual meminfo.
struct Constant(String);

impl Has for Constant {
    fn path(&mut self, _path: &str) -> bool {
        true
    }

    fn several(&mut self, _which: Several) -> cgroup::CpuList {
        cgroup::CpuList::default()
    }
}

impl Contents for Constant {
    fn render(&mut self, _file: usize, _of: Option<u32>) -> sys::Result<String> {
        Ok(self.0.clone())
    }
}

/// The server of the constant file: answers at once, with the same protocol, until it is unmounted.
///
/// # Errors
/// The kernel refuses the superblock.
pub(crate) fn serve_constant(directory: &Path) -> Result<()> {
    let device = sys::fuse::open()?;
    let mount = sys::fuse::new_superblock(device.as_fd(), "constant", "constant")?;
    sys::mount::attach(mount.as_fd(), sys::path::take(directory)?.as_fd())?;
    drop(mount);
    let watch = sys::event::Watch::new()?;
    watch.add(device.as_fd(), 1)?;
    let mut session = Session::new(Arc::new(Tree::new()), 1, 1);
    let mut contents = Constant("x".repeat(1499) + "\n");
    let mut buffer = vec![0; BUFFER];
    loop {
        watch.wait(None)?;
        let length = match sys::fuse::next(device.as_fd(), &mut buffer)? {
            sys::fuse::Next::Message(length) => length,
            sys::fuse::Next::Nothing => continue,
            sys::fuse::Next::Gone => return Ok(()),
        };
        let Ok(request) = Request::parse(&buffer[..length]) else { bail!("what is no request") };
        match session.answer(&request, &mut contents) {
            Answer::Reply(message) => sys::fuse::send(device.as_fd(), &message)?,
            // It never grows after the first time.
            Answer::Grow(_, message) => sys::fuse::send(device.as_fd(), &message)?,
            Answer::Nothing => {}
            Answer::Gone => return Ok(()),
        }
    }
}

/// A server beside Bryo's, in the lab, which ends with this.
struct Peer {
    child: Child,
    pid: i32,
    mounted: String,
    lab: u32,
}

impl Peer {
    fn lxcfs(lab: &Lab) -> Result<Self> {
        let command = ["lxcfs", "-f", "/run/bryo-lab/peers/lxcfs"].map(str::to_owned);
        Self::start(lab, &command, "lxcfs")
    }

    fn constant(lab: &Lab) -> Result<Self> {
        let own = std::env::current_exe()?.to_string_lossy().into_owned();
        Self::start(lab, &[own, "bench-constant".to_owned(), format!("{PEERS}/constant")], "constant")
    }

    fn start(lab: &Lab, command: &[String], name: &str) -> Result<Self> {
        let holder = lab.holder();
        let mut nsenter = program("nsenter", &["--mount", "--target", &holder.to_string(), "--"]);
        nsenter.args(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = nsenter.spawn().with_context(|| format!("starting {name}"))?;
        let peer =
            Self { pid: i32::try_from(child.id())?, child, mounted: format!("{PEERS}/{name}"), lab: holder };
        let shown = lab.outside(Path::new(&peer.mounted)).join("proc/meminfo");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !shown.exists() {
            ensure!(Instant::now() < deadline, "{name} does not come up");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }
}

/// What Debian's lxcfs keeps of its cgroups, and leaves behind: two empty directories in one.
fn clear_run() {
    for place in ["/run/lxcfs/controllers", "/run/lxcfs/root", "/run/lxcfs"] {
        let _not_there_or_in_use = fs::remove_dir(place);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let place = ["--mount", "--target", &self.lab.to_string(), "--", "umount", "--lazy", &self.mounted];
        let _it_may_be_gone = program("nsenter", &place).status();
        let _it_may_have_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The installed program, replaced by one that joins identical renders, until this is dropped.
struct Replaced(bool);

impl Replaced {
    fn begin(coalesce: bool) -> Result<Self> {
        if coalesce {
            let (program, aside) = Self::places();
            fs::rename(&program, &aside)?;
            let inside = "/run/bryo-lab/prefix/libexec/bryo/bryo-lxcfs.aside";
            fs::write(&program, format!("#!/bin/sh\nexec {inside} \"$@\" --coalesce\n"))?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&program, mode)?;
        }
        Ok(Self(coalesce))
    }

    fn places() -> (std::path::PathBuf, std::path::PathBuf) {
        let libexec = tests::subject::prefix().join("libexec/bryo");
        (libexec.join("bryo-lxcfs"), libexec.join("bryo-lxcfs.aside"))
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        let (program, aside) = Self::places();
        if self.0
            && let Err(error) = fs::rename(&aside, &program)
        {
            eprintln!("warning: {} is not what is installed: {error}", program.display());
        }
    }
}

fn server(user: User<'_>) -> Result<i32> {
    let serving = user.processes().into_iter().find(|process| process.command.contains("bryo-lxcfs"));
    serving.map(|process| process.pid).context("no bryo-lxcfs runs")
}

/// Returns the processor time of a process and of those that it waited for, in ticks. Source: proc_pid_stat(5), fields 14 to 17.
fn cpu(pid: i32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a server has ended")?;
    let fields = stat.rsplit_once(')').context("its stat")?.1.split_ascii_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().map_err(Into::into)).sum()
}

/// Returns how many system calls a server makes for each `cat` of a file in the container.
fn calls(user: User<'_>, pid: i32, file: &str) -> Result<u64> {
    const CATS: u64 = 50;
    let log = std::env::temp_dir().join(format!("bryo-bench-{pid}"));
    let mut strace = program("strace", &["-qq", "-f", "-o", &log.to_string_lossy(), "-p", &pid.to_string()]);
    let mut tracing = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("strace")?;
    thread::sleep(Duration::from_millis(500));
    // dd reads as cat does elsewhere; busybox' cat sends the file.
    let cats = format!(
        "i=0; while [ $i -lt {CATS} ]; do dd bs=128k if={file} of=/dev/null 2>/dev/null; i=$((i+1)); done"
    );
    user.bryo(["exec", "limits", "--", "sh", "-c", &cats]).seconds(120).succeeds();
    let tracer = sys::process::pidfd(i32::try_from(tracing.id())?)?;
    sys::process::send_signal(tracer.as_fd(), types::Signal::TERM)?;
    tracing.wait()?;
    let text = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    let made = text.lines().filter(|line| !line.contains(" resumed>") && !line.contains("--- SIG")).count();
    Ok(made as u64 / CATS)
}

/// Measures the memory of Bryo's server with one container, and what each further one adds.
fn memory(user: User<'_>, side: &str) -> Result<String> {
    let (runs, side_name) = (format!("$HOME/many-{side}"), side);
    user.busybox("first");
    let start = |numbers: &str| {
        user.sh(&format!(
            "set -e; for n in $(seq {numbers}); do mkdir -p {runs}/m$n; cp .local/share/lxc/first/config {runs}/m$n/; \
             bryo -P {runs} start m$n -s lxc.uts.name=m$n >/dev/null 2>&1 || /run/bryo-lab/prefix/bin/lxc-start -P {runs} -n m$n -s lxc.uts.name=m$n; done"
        ))
        .seconds(600)
        .succeeds();
    };
    let touched = |number: usize| {
        let read = format!(
            "/run/bryo-lab/prefix/bin/lxc-attach -P {runs} -n m{number} -- cat /proc/meminfo /proc/stat"
        );
        user.sh(&read).succeeds();
    };
    start("1 1");
    touched(1);
    let pid = server(user)?;
    let one = resident(pid)?;
    start(&format!("2 {MANY}"));
    (2..=MANY).for_each(touched);
    let all = resident(pid)?;
    user.sh(&format!(
        "for n in $(seq {MANY}); do /run/bryo-lab/prefix/bin/lxc-stop -P {runs} -n m$n -k; done; rm -r {runs}"
    ))
    .seconds(300)
    .succeeds();
    user.destroy("first");
    let further = all.saturating_sub(one) / (MANY as u64 - 1);
    Ok(format!("rss-of-one {side_name} {one} 0\nrss-of-further {side_name} {further} 0\n"))
}

/// Returns the resident memory of a process, in kB. Source: proc_pid_status(5).
fn resident(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
