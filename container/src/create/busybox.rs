//! Template `busybox`: one static program under many names.

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Filled, Filling, make_dirs, text, write_files};
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

/// A static busybox is about 2 MB; ten times that is somebody's joke.
const PROGRAM_CAP: u64 = 20 << 20;

impl Filling<'_> {
    pub(super) fn busybox(&mut self, program: &Path, config: &mut text::Builder) -> Result<Filled> {
        let bytes = read_program(program)?;
        let names = applets(program)?;
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
    let mut command = Command::new(program);
    command.arg("--list-full").env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().map_err(from_io).doing_with(|| format!("running {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
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
