//! Template `busybox`: one static program under many names; the host's, or where it has none that of the distribution's package,
//! which needs no root to be fetched and looked into.

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Filled, Filling, make_dirs, program, text, write_files};
use crate::error::{Doing, Error, Kind, Result};
use crate::place::from_io;

const DIRS: [(&str, u32); 20] = [
    ("bin", 0o755),
    ("sbin", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("etc/init.d", 0o755),
    ("dev", 0o755),
    ("proc", 0o755),
    ("sys", 0o755),
    ("run", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("srv", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
    ("tmp", 0o1777),
    ("home", 0o755),
    ("root", 0o700),
    ("lib", 0o755),
    ("lib64", 0o755),
    ("media", 0o755),
];

const FILES: [(&str, &str); 6] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/shadow", "root:*:::::::\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
    ("etc/inittab", "::sysinit:/etc/init.d/rcS\nconsole::respawn:-/bin/sh\n::shutdown:/bin/true\n"),
    ("etc/init.d/rcS", "#!/bin/sh\n/bin/hostname -F /etc/hostname 2>/dev/null || true\n"),
];

/// The package with a static busybox, and where it is unpacked in the container's directory.
const PACKAGE: &str = "busybox-static";
const FETCHED: &str = "package";

/// A static busybox is about 2 MB; ten times that is somebody's joke.
const PROGRAM_CAP: u64 = 20 << 20;

impl Filling<'_> {
    pub(super) fn busybox(&mut self, named: Option<&Path>, config: &mut text::Builder) -> Result<Filled> {
        let fetched = self.place.dir().join(FETCHED);
        let program = match named.map(Path::to_owned).or_else(of_the_host) {
            Some(program) => program,
            None => fetch(&fetched)?,
        };
        let (bytes, names) = (read_program(&program)?, applets(&program)?);
        if program.starts_with(&fetched) {
            std::fs::remove_dir_all(&fetched).map_err(from_io).doing("removing the package")?;
        }
        let hostname = format!("{}\n", self.place.name);
        self.inside(|| {
            make_dirs(&DIRS)?;
            write_files(&FILES)?;
            write_files(&[("etc/hostname", &hostname)])?;
            executable("etc/init.d/rcS")?;
            std::fs::write("bin/busybox", &bytes).map_err(from_io).doing("writing bin/busybox")?;
            executable("bin/busybox")?;
            names.iter().try_for_each(|name| link(name))
        })
        .doing("making the busybox root file system")?;
        config.set("lxc.signal.halt", "SIGUSR1")?;
        config.set("lxc.signal.reboot", "SIGTERM")?;
        config.set("lxc.tty.max", "1")?;
        config.set("lxc.pty.max", "1")?;
        config.set("lxc.mount.auto", "cgroup:mixed proc:mixed sys:mixed")?;
        Ok(Filled::default())
    }
}

/// Finds a static busybox of the host.
fn of_the_host() -> Option<PathBuf> {
    program::find_all("busybox").find(|path| read_program(path).is_ok())
}

/// Fetches the package of the distribution into a new directory, and unpacks it there. apt checks it by its keyrings.
fn fetch(dir: &Path) -> Result<PathBuf> {
    let missing = || {
        let cause = "there is no static busybox on this host, and no apt to fetch one: install busybox-static, \
                     or name one with --busybox-path";
        Error::new(Kind::Image, cause)
    };
    let (apt, dpkg) = program::find("apt-get").zip(program::find("dpkg-deb")).ok_or_else(missing)?;
    std::fs::create_dir(dir).map_err(from_io).doing_with(|| format!("making {}", dir.display()))?;
    let packages = || {
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        names.filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
    };
    ask(Command::new(apt).args(["--quiet", "download", PACKAGE]).current_dir(dir))
        .doing("fetching busybox-static, since there is no static busybox on this host")?;
    let package = packages().next().ok_or_else(missing)?;
    ask(Command::new(dpkg).arg("-x").arg(package).arg(dir.join("x")))?;
    let places = ["x/bin/busybox", "x/usr/bin/busybox"].map(|place| dir.join(place));
    places.into_iter().find(|path| path.is_file()).ok_or_else(missing)
}

/// Runs a program of the host, and returns what it says.
fn ask(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = sys::process::spawn_with(command, &[]).and_then(std::process::Child::wait_with_output);
    let ended = ended.map_err(from_io).doing_with(|| format!("running {name}"))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    Err(Error::new(Kind::Image, format!("{name}: {last} ({})", ended.status)))
}

fn read_program(program: &Path) -> Result<Vec<u8>> {
    let doing = || format!("reading {}", program.display());
    let file = std::fs::File::open(program)
        .map_err(from_io)
        .map_err(|e| e.of_kind(Kind::Image))
        .doing_with(doing)?;
    let mut bytes = Vec::new();
    file.take(PROGRAM_CAP).read_to_end(&mut bytes).map_err(from_io).doing_with(doing)?;
    match is_static(&bytes) {
        true => Ok(bytes),
        false => Err(Error::new(Kind::Image, format!("{} is no static program", program.display()))),
    }
}

/// Tells whether a 64-bit ELF program asks for no interpreter. Source: elf(5), PT_INTERP.
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    let headers = || {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|i| number((start + i * size) as usize, 4)).collect::<Option<Vec<u64>>>()
    };
    let is_elf64 = elf.starts_with(b"\x7fELF\x02\x01");
    is_elf64 && headers().is_some_and(|types| !types.contains(&u64::from(PT_INTERP)))
}

/// Asks the program for its names.
fn applets(program: &Path) -> Result<Vec<String>> {
    let text = ask(Command::new(program).arg("--list-full").env_clear())?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|n| is_path(n)).map(str::to_owned).collect();
    match names.iter().any(|n| n == "sbin/init") {
        true => Ok(names),
        false => Err(Error::new(Kind::Image, format!("{} has no init", program.display()))),
    }
}

fn is_path(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('/') && !name.split('/').any(|part| part.is_empty() || part == "..")
}

fn link(name: &str) -> Result<()> {
    if name == "bin/busybox" {
        return Ok(());
    }
    if let Some(parent) = Path::new(name).parent() {
        std::fs::create_dir_all(parent).map_err(from_io)?;
    }
    symlink("/bin/busybox", name).map_err(from_io).doing_with(|| format!("making {name}"))
}

fn executable(path: &str) -> Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(from_io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        assert!(!is_static(&std::fs::read("/proc/self/exe").unwrap()));
        assert!(!is_static(b"#!/bin/sh\n"));
        assert!(!is_static(b"\x7fELF\x02\x01"));
    }

    #[test]
    fn names_that_leave_the_root_are_no_names() {
        assert!(is_path("usr/bin/env"));
        for bad in ["", "/bin/sh", "../x", "a//b"] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
