//! One emulated machine: how it is started, told what to run, saved, and ended.
//!
//! All talk goes through sockets without names that qemu inherits, and qemu dies with the process that started it: so
//! whatever ends that process, no file and no process stays.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// The emulator.
pub(super) const EMULATOR: &str = "qemu-system-x86_64";

/// The file of the saved state.
pub(super) const STATE: &str = "state";

/// The machine itself. A newer `-cpu` than this makes the threads of one guest stumble over `cmpxchg16b`.
pub(super) const DEVICES: &[&str] = &[
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-machine",
    "pc",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "Nehalem",
    "-smp",
    "2",
    "-m",
    "1024",
    "-device",
    "virtio-blk-pci,drive=disk",
    "-device",
    "virtio-rng-pci",
    "-device",
    "virtio-serial-pci",
    "-device",
    "virtserialport,chardev=control,name=control",
    "-device",
    "virtserialport,chardev=out,name=out",
    "-device",
    "virtserialport,chardev=err,name=err",
    "-device",
    "virtio-9p-pci,fsdev=share,mount_tag=share",
    "-serial",
    "chardev:console",
];

/// What the kernel is told. On a busy machine its look at the timer finds none, and the boot stands still.
pub(super) const KERNEL_LINE: &str = "console=ttyS0 quiet mitigations=off no_timer_check tsc=reliable apparmor=1 security=apparmor systemd.show_status=0";

/// How long a guest may take to boot: a minute on a machine that does nothing else, many on one that a test run keeps busy.
const BOOT: Duration = Duration::from_secs(1800);

/// How a machine starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Boots, and keeps what it writes beside the saved state.
    Save,
    /// Boots, and throws away what it writes.
    Cold,
    /// Takes up the saved state, and throws away what it writes.
    Saved,
}

/// A machine that runs.
pub(super) struct Machine {
    qemu: Child,
    monitor: Monitor,
    control: BufReader<UnixStream>,
    outputs: Vec<JoinHandle<()>>,
}

impl Machine {
    /// Starts the machine of a guest. Saved ones answer at once, others boot when this returns.
    ///
    /// # Errors
    /// qemu cannot be run, or refuses the guest.
    pub(super) fn start(guest: &Path, start: Start, share: Option<&Path>) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", EMULATOR]).args(DEVICES);
        let empty = guest.join("empty");
        let share = text(share.unwrap_or(&empty))?;
        command.args(["-fsdev", &format!("local,id=share,security_model=none,path={share}")]);
        command.arg("-drive").arg(disk(guest, start)?);
        command.args(["-kernel", &text(&guest.join("vmlinuz"))?, "-initrd", &text(&guest.join("initrd"))?]);
        command.args(["-append", KERNEL_LINE, "-chardev"]);
        command.arg(match start {
            Start::Saved => "null,id=console".to_owned(),
            _ => format!("file,id=console,path={}", text(&guest.join("console"))?),
        });
        if start == Start::Saved {
            command.args(["-incoming", &format!("file:{}", text(&guest.join(STATE))?)]);
        }
        let [control, out, err, monitor] = [(); 4].map(|()| UnixStream::pair());
        let ends = [("control", control?), ("out", out?), ("err", err?), ("monitor", monitor?)];
        for (name, (_, theirs)) in &ends {
            // qemu inherits its end, by its number.
            rustix::io::fcntl_setfd(theirs, rustix::io::FdFlags::empty())?;
            command.args(["-chardev", &format!("socket,id={name},fd={}", theirs.as_raw_fd())]);
        }
        command.args(["-mon", "chardev=monitor,mode=control"]);
        // What the disk of this run differs in lies in a file without a name there.
        let qemu = command.env("TMPDIR", guest).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let qemu = qemu.with_context(|| format!("running {EMULATOR}"))?;
        let [control, out, err, monitor] = ends.map(|(_, (ours, _theirs))| ours);
        let outputs = vec![
            thread::spawn(move || copy(&out, &mut io::stdout())),
            thread::spawn(move || copy(&err, &mut io::stderr())),
        ];
        let mut machine =
            Self { qemu, monitor: Monitor::greet(monitor)?, control: BufReader::new(control), outputs };
        match start {
            Start::Saved => machine.take_up(),
            _ => machine
                .boot()
                .with_context(|| format!("booting; the console is in {}", guest.join("console").display())),
        }?;
        Ok(machine)
    }

    /// Lets a machine go on whose state was saved.
    fn take_up(&mut self) -> Result<()> {
        while self.monitor.ask(&json!({"execute": "query-status"}))?["status"] == "inmigrate" {
            thread::sleep(Duration::from_millis(50));
        }
        self.monitor.ask(&json!({"execute": "cont"})).map(drop)
    }

    /// Waits until the agent says that the guest has booted.
    fn boot(&mut self) -> Result<()> {
        self.control.get_ref().set_read_timeout(Some(BOOT))?;
        let said = self.answer().context("waiting for the guest")?;
        self.control.get_ref().set_read_timeout(None)?;
        ensure!(said == "ready", "the agent says {said:?} instead of ready");
        Ok(())
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.control.read_line(&mut line)? > 0, "the machine ended");
        Ok(line.trim_end().to_owned())
    }

    /// Runs a line of shell as a user, passes its output on, ends the machine, and returns the status.
    ///
    /// # Errors
    /// The machine ends before the command does.
    pub(super) fn run(mut self, user: &str, shared: bool, line: &str) -> Result<u8> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().to_string();
        let share = if shared { "yes" } else { "no" };
        for word in [user, &now, share, line] {
            self.control.get_mut().write_all(&[word.as_bytes(), b"\0"].concat())?;
        }
        let said = self.answer().context("waiting for the command to end")?;
        let status = said.strip_prefix("exit ").and_then(|status| status.parse().ok());
        self.end()?;
        status.with_context(|| format!("the agent says {said:?} instead of a status"))
    }

    /// Saves the state of the machine and ends it.
    ///
    /// # Errors
    /// qemu cannot write the file.
    pub(super) fn save(mut self, state: &Path) -> Result<()> {
        self.monitor.ask(&json!({"execute": "stop"}))?;
        let target = format!("file:{}", text(state)?);
        self.monitor.ask(&json!({"execute": "migrate", "arguments": {"uri": target}}))?;
        loop {
            let done = self.monitor.ask(&json!({"execute": "query-migrate"}))?;
            match done["status"].as_str() {
                Some("completed") => break,
                Some("failed") => bail!("saving the state of the machine: {done}"),
                _ => thread::sleep(Duration::from_millis(100)),
            }
        }
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.monitor.ask(&json!({"execute": "quit"}))?;
        self.qemu.wait()?;
        for output in self.outputs.drain(..) {
            output.join().ok().context("passing the output on")?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended is only waited for.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The connection to qemu's monitor. Source: QEMU Machine Protocol Specification.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn greet(stream: UnixStream) -> Result<Self> {
        let mut monitor = Self(BufReader::new(stream));
        monitor.read().context("qemu ended at once: what it said stands above")?;
        monitor.ask(&json!({"execute": "qmp_capabilities"}))?;
        Ok(monitor)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "qemu ended");
        Ok(serde_json::from_str(&line)?)
    }

    /// Asks, passes over what happened meanwhile, and returns the answer.
    fn ask(&mut self, question: &Value) -> Result<Value> {
        self.0.get_mut().write_all(format!("{question}\n").as_bytes())?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("qemu refuses {question}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }
}

fn disk(guest: &Path, start: Start) -> Result<String> {
    let (name, format, snapshot) = match start {
        Start::Save => ("booted", "qcow2", "off"),
        Start::Cold => ("disk", "raw", "on"),
        Start::Saved => ("booted", "qcow2", "on"),
    };
    let file = text(&guest.join(name))?;
    Ok(format!("if=none,id=disk,format={format},snapshot={snapshot},cache=unsafe,file={file}"))
}

/// Returns a path as qemu's options take it: a comma is written twice.
fn text(path: &Path) -> Result<String> {
    let path = std::path::absolute(path)?;
    let text = path.to_str().with_context(|| format!("{} is no text", path.display()))?;
    Ok(text.replace(',', ",,"))
}

/// Passes on what comes until the machine ends.
fn copy(mut from: &UnixStream, to: &mut impl Write) {
    // Who reads the output may go before the command ends.
    let _ = io::copy(&mut from, to).and_then(|_| to.flush());
}
