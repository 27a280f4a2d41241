//! The whole server, with a socket in place of the device and plain directories in place of cgroups.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lxcfs::container::Options;
use lxcfs::server::{SOCKET, Server};
use sys::{event, path, socket};
use tempfile::TempDir;
use types::{Serve, Served};

const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    dir: TempDir,
    /// As a monitor holds it, so that the server does not end before the first word.
    lock: OwnedFd,
    thread: JoinHandle<sys::Result<()>>,
}

impl Running {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("run");
        fs::create_dir(&place).unwrap();
        let listener = socket::listen_at(path::open_dir(&place).unwrap().as_fd(), SOCKET).unwrap();
        let lock = path::open_dir(&place).unwrap();
        assert!(path::try_lock(lock.as_fd()).unwrap());
        let server = Server::new(listener, place, Options::default()).unwrap();
        Self { dir, lock, thread: thread::spawn(move || server.run()) }
    }

    fn place(&self) -> std::path::PathBuf {
        self.dir.path().join("run")
    }

    /// Returns the answer, and the connection, without which a container is not served.
    fn say(&self, text: &str, fds: &[BorrowedFd<'_>]) -> (Served, OwnedFd) {
        let connection = socket::connect_at(path::open_dir(&self.place()).unwrap().as_fd(), SOCKET).unwrap();
        socket::send(connection.as_fd(), text.as_bytes(), fds).unwrap();
        let message = receive(connection.as_fd());
        (String::from_utf8(message).unwrap().parse().unwrap(), connection)
    }

    /// Has a container served whose limit is so many bytes.
    fn serve(&self, device: OwnedFd, limit: u64) -> (Served, OwnedFd) {
        let group = tempfile::tempdir_in(self.dir.path()).unwrap();
        let files = [
            ("memory.max", format!("{limit}\n")),
            ("memory.current", "4096\n".to_owned()),
            ("memory.stat", "anon 4096\n".to_owned()),
            ("cgroup.procs", String::new()),
        ];
        for (name, text) in files {
            fs::write(group.path().join(name), text).unwrap();
        }
        let directory = path::open_dir(&group.keep()).unwrap();
        self.say(&told().text(), &[device.as_fd(), directory.as_fd()])
    }

    /// Waits until the server has ended, which nothing keeps any more.
    fn ended(self) {
        drop(self.lock);
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.thread.is_finished() {
            assert!(std::time::Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
        self.thread.join().unwrap().unwrap();
        assert!(!self.dir.path().join("run").exists(), "its directory is left");
    }
}

/// What is told of a container with one group of v2.
fn told() -> Serve {
    Serve {
        born: 0,
        ahead: 0,
        again: false,
        waits: false,
        cloned: false,
        quota: false,
        triggers: Vec::new(),
        directories: vec![Vec::new()],
    }
}

fn receive(from: BorrowedFd<'_>) -> Vec<u8> {
    assert!(event::readable(from, Some(PATIENCE)).unwrap(), "no answer");
    socket::receive(from, 1 << 17).unwrap().bytes
}

/// Sends a request and returns what follows the header of the answer.
fn ask(kernel: &OwnedFd, opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend((40 + body.len() as u32).to_ne_bytes());
    request.extend(opcode.to_ne_bytes());
    request.extend(2u64.to_ne_bytes());
    request.extend(node.to_ne_bytes());
    request.extend([0; 16]);
    request.extend(body);
    socket::send(kernel.as_fd(), &request, &[]).unwrap();
    let answer = receive(kernel.as_fd());
    assert_eq!(answer[4..8], [0; 4], "an error in answer to {opcode}");
    answer[16..].to_vec()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes[..8].try_into().unwrap())
}

/// Reads a file as the kernel does for cat(1).
fn cat(kernel: &OwnedFd, file: &str) -> String {
    const LOOKUP: u32 = 1;
    const OPEN: u32 = 14;
    const READ: u32 = 15;
    let node = file
        .split('/')
        .fold(1, |parent, name| number(&ask(kernel, LOOKUP, parent, &[name.as_bytes(), &[0]].concat())));
    let handle = number(&ask(kernel, OPEN, node, &[0; 8]));
    let mut text = Vec::new();
    loop {
        let mut body = [handle.to_ne_bytes(), (text.len() as u64).to_ne_bytes()].concat();
        body.extend(4096u32.to_ne_bytes());
        body.extend([0; 20]);
        let part = ask(kernel, READ, node, &body);
        if part.is_empty() {
            return String::from_utf8(text).unwrap();
        }
        text.extend(part);
    }
}

#[test]
fn two_containers_see_each_their_own_limit_and_the_server_ends_after_the_last() {
    let running = Running::start();
    let (first_device, first) = socket::pair().unwrap();
    let (second_device, second) = socket::pair().unwrap();
    let (Served::Files(files), _monitor) = running.serve(first_device, 64 << 20) else { panic!("refused") };
    assert!(files.contains(&"proc/meminfo".to_owned()), "{files:?}");
    let _second_monitor = running.serve(second_device, 32 << 20);
    assert!(cat(&first, "proc/meminfo").starts_with("MemTotal:          65536 kB\n"));
    assert!(cat(&second, "proc/meminfo").starts_with("MemTotal:          32768 kB\n"));
    drop(first);
    assert!(cat(&second, "proc/meminfo").contains("MemFree:           32764 kB\n"));
    assert!(cat(&second, "proc/cpuinfo").starts_with("processor"));
    drop(second);
    running.ended();
}

#[test]
fn what_is_no_message_is_refused_and_the_others_go_on() {
    let running = Running::start();
    let (device, kernel) = socket::pair().unwrap();
    let _monitor = running.serve(device, 64 << 20);
    assert!(matches!(running.say("hello", &[]).0, Served::Refused(_)));
    assert!(matches!(running.say(&told().text(), &[]).0, Served::Refused(_)));
    assert!(matches!(running.say(&told().text(), &[kernel.as_fd()]).0, Served::Refused(_)));
    // A request that is none has no answer, and the next one has.
    socket::send(kernel.as_fd(), b"x", &[]).unwrap();
    assert!(cat(&kernel, "proc/uptime").contains('.'));
    // Who connects and says nothing is not waited for.
    let silent = socket::connect_at(path::open_dir(&running.place()).unwrap().as_fd(), SOCKET).unwrap();
    assert!(cat(&kernel, "proc/stat").starts_with("cpu"));
    drop((kernel, silent));
    running.ended();
}

#[test]
fn a_monitor_of_before_an_upgrade_has_its_container_served() {
    let running = Running::start();
    let (device, kernel) = socket::pair().unwrap();
    let group = path::open_dir(&pressed(&running, 5)).unwrap();
    let text = "bryo-lxcfs 2\nborn 0\nahead 0\nagain true\ndirectory \n";
    let (served, _monitor) = running.say(text, &[device.as_fd(), group.as_fd()]);
    assert!(matches!(served, Served::Files(files) if files.contains(&"proc/meminfo".to_owned())));
    assert_eq!(receive(kernel.as_fd()).len(), 16, "what has not been answered is asked for once more");
    assert_eq!(ask(&kernel, 1, 1, b"proc\0").len(), 128);
    drop((device, kernel));
    running.ended();
}

#[test]
fn whoever_holds_the_lock_keeps_the_server() {
    let running = Running::start();
    let (device, kernel) = socket::pair().unwrap();
    let _monitor = running.serve(device, 64 << 20);
    drop(kernel);
    thread::sleep(Duration::from_millis(500));
    assert!(!running.thread.is_finished(), "it has ended under the lock");
    let (device, kernel) = socket::pair().unwrap();
    let _next_monitor = running.serve(device, 32 << 20);
    assert!(cat(&kernel, "proc/meminfo").starts_with("MemTotal:          32768 kB\n"));
    drop(kernel);
    running.ended();
}

#[test]
fn a_container_is_let_go_with_its_monitor_though_its_device_is_open() {
    let running = Running::start();
    let (device, kernel) = socket::pair().unwrap();
    let (_files, monitor) = running.serve(device, 64 << 20);
    assert!(cat(&kernel, "proc/uptime").contains('.'));
    socket::end_sending(monitor.as_fd()).unwrap();
    assert!(event::readable(monitor.as_fd(), Some(PATIENCE)).unwrap(), "no last word");
    let last = socket::receive(monitor.as_fd(), 100).unwrap();
    assert_eq!((last.bytes.as_slice(), last.fds.len()), (types::LAST.as_bytes(), 1));
    // What is to be waited for is the process, and it is not over.
    assert!(!sys::process::has_ended(last.fds[0].as_fd()));
    assert_eq!(receive(kernel.as_fd()), b"");
    running.ended();
}

/// A group that has felt some pressure, for a container that can wait for more.
fn pressed(running: &Running, total: u64) -> std::path::PathBuf {
    let group = running.dir.path().join("pressed");
    let _there_already = fs::create_dir(&group);
    fs::write(group.join("cpu.pressure"), format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n"))
        .unwrap();
    fs::write(group.join("cgroup.procs"), "").unwrap();
    group
}

/// What a container of that group asks of its files of pressure.
struct Waiting {
    /// Its other files, which are served as long as this end is open.
    files: OwnedFd,
    pressure: OwnedFd,
    monitor: OwnedFd,
    node: u64,
}

impl Waiting {
    fn of(running: &Running, again: bool, triggers: Vec<String>) -> Self {
        const LOOKUP: u32 = 1;
        let (files_device, files) = socket::pair().unwrap();
        let (device, pressure) = socket::pair().unwrap();
        let group = path::open_dir(&pressed(running, 5)).unwrap();
        let told = Serve { waits: true, again, triggers, ..told() };
        let fds = [files_device.as_fd(), device.as_fd(), group.as_fd()];
        let (_files, monitor) = running.say(&told.text(), &fds);
        if again {
            // What has not been answered is asked for once more, in each superblock.
            [&files, &pressure].iter().for_each(|kernel| assert_eq!(receive(kernel.as_fd()).len(), 16));
        }
        let find =
            |parent, name: &str| number(&ask(&pressure, LOOKUP, parent, &[name.as_bytes(), &[0]].concat()));
        let node = ["proc", "pressure", "cpu"].iter().fold(1, |parent, name| find(parent, name));
        Self { files, pressure, monitor, node }
    }

    fn open(&self) -> u64 {
        const OPEN: u32 = 14;
        number(&ask(&self.pressure, OPEN, self.node, &[2, 0, 0, 0, 0, 0, 0, 0]))
    }

    fn write(&self, handle: u64, text: &str) {
        const WRITE: u32 = 16;
        let mut body = [handle.to_ne_bytes(), [0; 8]].concat();
        body.extend((text.len() as u32).to_ne_bytes());
        body.extend([0; 20]);
        body.extend(text.as_bytes());
        ask(&self.pressure, WRITE, self.node, &body);
    }

    /// Waits as number 44, and returns for what the file is ready now.
    fn poll(&self, handle: u64) -> u32 {
        const POLL: u32 = 40;
        let body = [handle.to_ne_bytes(), 44u64.to_ne_bytes(), 1u64.to_ne_bytes()].concat();
        let ready = ask(&self.pressure, POLL, self.node, &body);
        u32::from_ne_bytes(ready[..4].try_into().unwrap())
    }

    fn is_woken(&self) {
        let woken = receive(self.pressure.as_fd());
        assert_eq!((woken.len(), number(&woken[16..])), (24, 44));
    }
}

/// Returns what a monitor is to keep.
fn kept(monitor: &OwnedFd) -> Vec<String> {
    let said = String::from_utf8(receive(monitor.as_fd())).unwrap();
    said.strip_prefix(types::KEEP).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn who_waits_for_pressure_is_woken_also_by_the_next_process() {
    const READY: u32 = 0x145;
    const URGENT: u32 = 2;
    if !fs::exists("/proc/pressure/cpu").unwrap() {
        use std::io::Write;
        let skip = "SKIP: lxcfs: who_waits_for_pressure: the kernel tells of no pressure\n";
        return std::io::stderr().write_all(skip.as_bytes()).unwrap();
    }
    let running = Running::start();
    let waiting = Waiting::of(&running, false, Vec::new());
    let handle = waiting.open();
    waiting.write(handle, "some 150000 500000");
    assert_eq!(kept(&waiting.monitor).len(), 1);
    assert_eq!(waiting.poll(handle), READY);
    let lines = kept(&waiting.monitor);
    // Nobody has waited long enough.
    pressed(&running, 150_004);
    assert!(!event::readable(waiting.pressure.as_fd(), Some(Duration::from_millis(300))).unwrap());
    pressed(&running, 1_000_000);
    waiting.is_woken();
    assert_eq!([waiting.poll(handle), waiting.poll(handle)], [READY | URGENT, READY]);
    let next = Running::start();
    let later = Waiting::of(&next, true, lines);
    pressed(&next, 2_000_000);
    later.is_woken();
    assert_eq!(later.poll(handle), READY | URGENT);
    // Root of the container may unmount them: nobody waits there any more, and its other files are there.
    drop(later.pressure);
    while !kept(&later.monitor).is_empty() {}
    assert!(!next.thread.is_finished());
    assert_eq!(ask(&later.files, 1, 1, b"proc\0").len(), 128);
    drop((waiting, later.files, later.monitor));
    running.ended();
    next.ended();
}

#[test]
fn who_makes_way_ends_and_leaves_the_device_and_the_socket_to_the_next() {
    let running = Running::start();
    let (device, kernel) = socket::pair().unwrap();
    let (_files, monitor) = running.serve(device.try_clone().unwrap(), 64 << 20);
    let asking = socket::connect_at(path::open_dir(&running.place()).unwrap().as_fd(), SOCKET).unwrap();
    socket::send(asking.as_fd(), types::MAKE_WAY.as_bytes(), &[]).unwrap();
    // Without a word: as after a death, the monitor asks another one.
    assert_eq!(receive(monitor.as_fd()), b"");
    assert_eq!(receive(asking.as_fd()), b"");
    running.thread.join().unwrap().unwrap();
    assert!(running.dir.path().join("run").join(SOCKET).exists());
    drop((device, kernel));
}
