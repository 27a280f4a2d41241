//! What the kernel asks, from bytes. The kernel of the machine wrote them, in its own byte order; they are read as if anybody
//! had.

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its number, which the answer bears.
    pub unique: u64,
    /// The number of the file or directory that it is about.
    pub node: u64,
    /// Who asks, as the user namespace of the superblock knows him.
    pub user: u32,
    /// What is asked.
    pub operation: Operation<'a>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The first request: what both sides can do.
    Init {
        /// The kernel's version of the protocol.
        version: (u32, u32),
        /// What it can do, a bit each.
        flags: u64,
        /// How much it reads ahead, in bytes.
        readahead: u32,
    },
    /// A name in a directory.
    Lookup(&'a [u8]),
    /// The status of a file.
    GetAttr,
    /// A file is opened.
    Open {
        /// Flags of open(2).
        flags: u32,
    },
    /// A part of a file.
    Read {
        /// What the open got.
        handle: u64,
        /// Where it begins.
        offset: u64,
        /// How long it is at most.
        size: u32,
    },
    /// Something is written into a file.
    Write {
        /// What the open got.
        handle: u64,
        /// What is written, wherever in the file.
        text: &'a [u8],
    },
    /// A file's status is to be another one.
    SetAttr {
        /// What of it, a bit each.
        what: u32,
    },
    /// Somebody asks for what an open file is ready, or waits for that.
    Poll {
        /// What the open got.
        handle: u64,
        /// By which number he is woken, if he waits.
        waiter: Option<u64>,
    },
    /// The last fd of an open is closed.
    Release {
        /// What the open got.
        handle: u64,
    },
    /// A directory is opened.
    OpenDir,
    /// Names of a directory.
    ReadDir {
        /// How many have been read.
        offset: u64,
        /// How many bytes there is room for.
        size: u32,
    },
    /// A directory is closed.
    ReleaseDir,
    /// The target of a symbolic link.
    ReadLink,
    /// The size of the file system.
    StatFs,
    /// What wants no answer: a number is forgotten, or another request has become pointless.
    Unanswered,
    /// The file system has been unmounted.
    Destroy,
    /// What a tree of read-only files does not do, by its number.
    Other(u32),
}

/// Bytes that are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The number of the request, where it could be read.
    pub unique: Option<u64>,
}

/// Numbers of requests.
mod opcode {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const READLINK: u32 = 5;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const STATFS: u32 = 17;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const INIT: u32 = 26;
    pub(super) const OPENDIR: u32 = 27;
    pub(super) const READDIR: u32 = 28;
    pub(super) const RELEASEDIR: u32 = 29;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const DESTROY: u32 = 38;
    pub(super) const POLL: u32 = 40;
    pub(super) const NOTIFY_REPLY: u32 = 41;
    pub(super) const BATCH_FORGET: u32 = 42;
}

/// Reads numbers one after the other.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*number))
    }

    fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*number))
    }
}

impl<'a> Request<'a> {
    /// Reads a request.
    ///
    /// # Errors
    /// Bytes that are too few, or more or fewer than they say.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Broken> {
        /// The header: length, number of the operation, unique, node, uid, gid, pid, and the length of extensions.
        const HEADER: usize = 40;
        let mut numbers = Numbers(bytes);
        let broken = Broken { unique: None };
        let length = numbers.u32().ok_or(broken)?;
        let opcode = numbers.u32().ok_or(broken)?;
        let unique = numbers.u64().ok_or(broken)?;
        let node = numbers.u64().ok_or(broken)?;
        let user = numbers.u32().ok_or(broken)?;
        let broken = Broken { unique: Some(unique) };
        let body = bytes.get(HEADER..).filter(|_| length as usize == bytes.len()).ok_or(broken)?;
        let operation = Operation::parse(opcode, body).ok_or(broken)?;
        Ok(Self { unique, node, user, operation })
    }

    /// Tells whether it is asked once more, since the process that had read it has died. Source: the kernel's `FUSE_UNIQUE_RESEND`.
    pub fn is_again(&self) -> bool {
        self.unique >> 63 != 0
    }
}

impl<'a> Operation<'a> {
    fn parse(opcode: u32, body: &'a [u8]) -> Option<Self> {
        let mut numbers = Numbers(body);
        let operation = match opcode {
            opcode::INIT => {
                let version = (numbers.u32()?, numbers.u32()?);
                let (readahead, low) = (numbers.u32()?, numbers.u32()?);
                // Kernels before 5.16 have no second half.
                let high = numbers.u32().unwrap_or(0);
                Self::Init { version, flags: u64::from(high) << 32 | u64::from(low), readahead }
            }
            opcode::LOOKUP => Self::Lookup(body.strip_suffix(&[0]).filter(|name| !name.contains(&0))?),
            opcode::GETATTR => Self::GetAttr,
            opcode::OPEN => Self::Open { flags: numbers.u32()? },
            opcode::READ => {
                Self::Read { handle: numbers.u64()?, offset: numbers.u64()?, size: numbers.u32()? }
            }
            opcode::WRITE => {
                let (handle, _offset, size) = (numbers.u64()?, numbers.u64()?, numbers.u32()?);
                // Flags, the owner of a lock, flags of the open, nothing.
                let (_flags, _owner, _open) = (numbers.u32()?, numbers.u64()?, numbers.u64()?);
                Self::Write { handle, text: Some(numbers.0).filter(|text| text.len() == size as usize)? }
            }
            opcode::SETATTR => Self::SetAttr { what: numbers.u32()? },
            opcode::POLL => {
                const WAITS: u32 = 1;
                let (handle, number, flags) = (numbers.u64()?, numbers.u64()?, numbers.u32()?);
                Self::Poll { handle, waiter: Some(number).filter(|_| flags & WAITS != 0) }
            }
            opcode::RELEASE => Self::Release { handle: numbers.u64()? },
            opcode::OPENDIR => Self::OpenDir,
            opcode::READDIR => {
                let _handle = numbers.u64()?;
                Self::ReadDir { offset: numbers.u64()?, size: numbers.u32()? }
            }
            opcode::RELEASEDIR => Self::ReleaseDir,
            opcode::READLINK => Self::ReadLink,
            opcode::STATFS => Self::StatFs,
            // An interrupted request has been answered by then: each is, before the next is read.
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT | opcode::NOTIFY_REPLY => {
                Self::Unanswered
            }
            opcode::DESTROY => Self::Destroy,
            other => Self::Other(other),
        };
        Some(operation)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a request as the kernel does.
    pub(in super::super) fn written(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((40 + body.len() as u32).to_ne_bytes());
        bytes.extend(opcode.to_ne_bytes());
        bytes.extend(7u64.to_ne_bytes());
        bytes.extend(node.to_ne_bytes());
        // Who asks: his user, group and process.
        bytes.extend([1000u32, 1001, 1002, 0].iter().flat_map(|number| number.to_ne_bytes()));
        bytes.extend(body);
        bytes
    }

    #[test]
    fn requests_are_read_as_the_kernel_writes_them() {
        let name = written(opcode::LOOKUP, 1, b"proc\0");
        let lookup = Request { unique: 7, node: 1, user: 1000, operation: Operation::Lookup(b"proc") };
        assert_eq!(Request::parse(&name), Ok(lookup));
        let body: Vec<u8> =
            [3u64, 4096].iter().flat_map(|n| n.to_ne_bytes()).chain(512u32.to_ne_bytes()).collect();
        let read = Operation::Read { handle: 3, offset: 4096, size: 512 };
        assert_eq!(Request::parse(&written(opcode::READ, 5, &body)).unwrap().operation, read);
        let body: Vec<u8> =
            [7u32, 45, 131_072, 1 << 30, 1 << 7].iter().flat_map(|n| n.to_ne_bytes()).collect();
        let init = Operation::Init { version: (7, 45), flags: 1 << 39 | 1 << 30, readahead: 131_072 };
        assert_eq!(Request::parse(&written(opcode::INIT, 0, &body)).unwrap().operation, init);
        let old = Operation::Init { version: (7, 45), flags: 1 << 30, readahead: 131_072 };
        assert_eq!(Request::parse(&written(opcode::INIT, 0, &body[..16])).unwrap().operation, old);
    }

    #[test]
    fn what_is_written_and_waited_for_is_read() {
        let mut body = [3u64, 0].iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<_>>();
        body.extend(4u32.to_ne_bytes());
        body.extend([0; 20]);
        body.extend(b"some");
        let write = Operation::Write { handle: 3, text: b"some" };
        assert_eq!(Request::parse(&written(opcode::WRITE, 5, &body)).unwrap().operation, write);
        for wrong in [&body[..40], &body[..43], &[&body[..], b"x"].concat()] {
            assert!(Request::parse(&written(opcode::WRITE, 5, wrong)).is_err(), "{wrong:?}");
        }
        for (flags, waiter) in [(1u32, Some(8)), (0, None)] {
            let numbers = [3u64, 8].iter().flat_map(|n| n.to_ne_bytes());
            let body: Vec<u8> = numbers.chain(flags.to_ne_bytes()).chain([0; 4]).collect();
            let asked = written(opcode::POLL, 5, &body);
            assert_eq!(Request::parse(&asked).unwrap().operation, Operation::Poll { handle: 3, waiter });
        }
    }

    #[test]
    fn broken_requests_are_answered_where_their_number_is_known() {
        let known = Err(Broken { unique: Some(7) });
        assert_eq!(Request::parse(&[]), Err(Broken { unique: None }));
        assert_eq!(Request::parse(&written(opcode::READ, 1, &[0; 19])), known);
        assert_eq!(Request::parse(&written(opcode::LOOKUP, 1, b"proc")), known);
        assert_eq!(Request::parse(&written(opcode::LOOKUP, 1, b"a\0b\0")), known);
        let longer = [written(opcode::GETATTR, 1, &[0; 16]), vec![0]].concat();
        assert_eq!(Request::parse(&longer), known);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = Request::parse(&bytes);
        }

        #[test]
        fn no_body_makes_the_parser_panic(opcode in 0..60u32, body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = written(opcode, 1, &body);
            if let Ok(request) = Request::parse(&bytes) {
                prop_assert_eq!(request.unique, 7);
            }
        }
    }
}
