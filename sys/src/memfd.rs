//! Files that live in memory, sealed so that nobody can change them any more.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

use crate::error::{Call, Errno, Error, Result};

/// Every seal: no change of content or size, and no change of the seals.
const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Makes a sealed file of the given bytes. It may be executed.
pub fn sealed(name: &str, bytes: &[u8]) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let call = || format!("memfd_create({name:?})");
    // Kernels before 6.3 do not know MFD_EXEC; there every memfd may be executed.
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags).call(call)?,
        made => made.call(call)?,
    };
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).call(|| format!("write(memfd {name:?})"))?;
    file.seek(SeekFrom::Start(0)).call(|| format!("lseek(memfd {name:?})"))?;
    rustix::fs::fcntl_add_seals(&file, SEALS).call(|| format!("fcntl(memfd {name:?}, F_ADD_SEALS)"))?;
    Ok(file.into())
}

/// Reads a sealed file whole.
///
/// # Errors
/// EPERM when the file is not sealed: somebody could still change it.
pub fn read_sealed(fd: OwnedFd) -> Result<Vec<u8>> {
    let call = || format!("fcntl({}, F_GET_SEALS)", fd.as_raw_fd());
    if !rustix::fs::fcntl_get_seals(&fd).call(call)?.contains(SEALS) {
        return Err(Error::new(call(), Errno::EPERM));
    }
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(fd);
    file.seek(SeekFrom::Start(0)).call(|| "lseek(memfd)".to_owned())?;
    file.read_to_end(&mut bytes).call(|| "read(memfd)".to_owned())?;
    Ok(bytes)
}

/// Copies an open program into a sealed file, so that nobody who may write the original can change what runs.
pub fn sealed_copy(name: &str, program: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut bytes = Vec::new();
    let copy = program.try_clone_to_owned().call(|| "fcntl(F_DUPFD_CLOEXEC)".to_owned())?;
    std::fs::File::from(copy).read_to_end(&mut bytes).call(|| format!("read({name:?})"))?;
    sealed(name, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_sealed_file_cannot_be_changed_and_an_open_one_is_not_read() {
        let fd = sealed("test", b"plan").unwrap();
        assert!(rustix::io::write(fd.as_fd(), b"x").is_err());
        assert_eq!(read_sealed(fd).unwrap(), b"plan");
        let open = rustix::fs::memfd_create("open", MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(read_sealed(open).unwrap_err().errno(), Errno::EPERM);
    }
}
