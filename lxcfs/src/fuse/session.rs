//! One superblock: what the kernel has been told, and what it is answered.
//!
//! A file is rendered when it is opened, and again whenever it is read from its beginning a second time; what is read further
//! on is a part of that text. So each reader sees one moment, and top(1), which keeps its file open, each time a new one. An
//! open of which nothing is known, because another process answered it, is rendered when it is read.
//!
//! Readers of two kinds must get exact bytes. read(2) asks here for each piece, since files are opened for direct I/O.
//! sendfile(2) goes through the page cache, and up to the size that the kernel knows: it is told a size of whole pages, and
//! cuts that to the text's when a read comes back short. Before a longer text is opened, the size must grow again
//! ([`Answer::Grow`]).
//!
//! Nothing is written but what somebody waits for with poll(2), into files that take that ([`Contents::takes`]).

use std::sync::Arc;

use super::opens::{PAGE, Sizes, Texts};
use super::reply::{self, Bytes, Status};
use super::request::{Operation, Request};
use super::tree::{Has, Kind, Tree};

/// What a request leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is written.
    Nothing,
    /// This is written.
    Reply(Vec<u8>),
    /// First the one, then the other is written, and not by who answers reads: the kernel waits with the first until nobody
    /// reads the file's last page.
    Grow(Vec<u8>, Vec<u8>),
    /// The file system is gone.
    Gone,
}

impl Answer {
    /// Answers a request that could not be dealt with.
    pub(crate) fn failure(unique: u64) -> Self {
        Self::Reply(reply::failed(unique, errno::IO))
    }
}

/// One superblock.
#[derive(Debug)]
pub struct Session {
    tree: Arc<Tree>,
    /// When it began, in seconds since the epoch.
    time: u64,
    texts: Texts,
    sizes: Sizes,
}

/// What is in the files.
pub trait Contents: Has {
    /// Renders a file, by its place in the table, and by the number of the processor or node that it is of.
    ///
    /// # Errors
    /// Something that it shows cannot be read now.
    fn render(&mut self, file: usize, of: Option<u32>) -> sys::Result<String>;

    /// Tells whether somebody may write into a file what he waits for there.
    fn takes(&self, _file: usize) -> bool {
        false
    }

    /// Takes what somebody has written into a file.
    ///
    /// # Errors
    /// He cannot wait for that.
    fn write(&mut self, _file: usize, _wish: &Wish<'_>) -> Result<(), Refused> {
        Err(Refused::Unsupported)
    }

    /// Tells whether what was written by an open has come, once each time, and keeps the number by which who waits is woken. None
    /// where nothing was.
    fn ask(&mut self, _handle: u64, _waiter: Option<u64>) -> Option<bool> {
        None
    }

    /// Forgets what was written by an open that is closed.
    fn close(&mut self, _handle: u64) {}
}

/// What somebody writes.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The open by which he does.
    pub handle: u64,
    /// Who he is, as the container knows him.
    pub user: u32,
    /// The text.
    pub text: &'a [u8],
    /// The process that had read it before has died, and may have kept it.
    pub is_again: bool,
}

/// Why it is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The text says nothing that can be waited for.
    Wrong,
    /// By this open something is waited for already.
    Another,
    /// The container, or this user in it, waits for as much as he may.
    Many,
    /// Nobody tells of it in this container.
    Unsupported,
    /// What tells of it cannot be read now.
    Unreadable,
}

impl Session {
    /// Begins one for a superblock that was made at `time`, in seconds since the epoch. Its opens are counted from `first`.
    pub fn new(tree: Arc<Tree>, time: u64, first: u64) -> Self {
        Self { tree, time, texts: Texts::new(first), sizes: Sizes::default() }
    }

    /// Goes on with a superblock that another process has served, which told the kernel of sizes that nobody knows any more.
    /// Returns what makes the kernel ask once more what that process has read and not answered.
    pub fn take_over(&mut self) -> Vec<u8> {
        const RESEND: i32 = 7;
        self.sizes.distrust();
        reply::message(NOTIFICATION, RESEND, Bytes::default())
    }

    /// Answers a request.
    pub fn answer(&mut self, request: &Request<'_>, contents: &mut dyn Contents) -> Answer {
        let Request { unique, node, user, operation } = *request;
        let answered = match operation {
            Operation::Unanswered => return Answer::Nothing,
            Operation::Destroy => return Answer::Gone,
            Operation::Init { version, flags, readahead } => init(version, flags, readahead),
            Operation::Lookup(name) => self.lookup(node, name, contents),
            Operation::GetAttr => self.status(node, contents).map(Status::attributes),
            Operation::Open { flags } => return self.open(unique, node, flags, contents),
            Operation::Read { handle, offset, size } => self.read(node, handle, offset, size, contents),
            Operation::Write { handle, text } => {
                let wish = Wish { handle, user, text, is_again: request.is_again() };
                self.write(node, &wish, contents)
            }
            Operation::SetAttr { what } => self.set_status(node, what, contents),
            Operation::Poll { handle, waiter } => self.poll(node, (handle, waiter), contents),
            Operation::Release { handle } => {
                self.texts.forget(handle);
                contents.close(handle);
                Ok(Bytes::default())
            }
            Operation::OpenDir => match self.tree.kind(node) {
                Some(Kind::Directory) => Ok(Bytes::default().u64s(&[0]).u32s(&[0, 0])),
                Some(Kind::File(_)) => Err(errno::NOTDIR),
                None => Err(errno::NOENT),
            },
            Operation::ReadDir { offset, size } => self.read_dir(node, offset, size, contents),
            Operation::ReleaseDir => Ok(Bytes::default()),
            Operation::ReadLink => Err(errno::INVAL),
            Operation::StatFs => Ok(stat_fs()),
            // The kernel remembers that, and asks no more.
            Operation::Other(_) => Err(errno::NOSYS),
        };
        Answer::Reply(match answered {
            Ok(body) => reply::done(unique, body),
            Err(errno) => reply::failed(unique, errno),
        })
    }

    fn status(&self, node: u64, contents: &mut dyn Contents) -> Result<Status, i32> {
        let kind = self.tree.kind(node).ok_or(errno::NOENT)?;
        let size = match kind {
            Kind::Directory => 0,
            Kind::File(_) => self.sizes.told(node),
        };
        let is_written = matches!(kind, Kind::File(at) if contents.takes(at));
        let lasts = self.tree.of(node).is_none();
        Ok(Status { node, kind, size, time: self.time, is_written, lasts })
    }

    fn lookup(&self, node: u64, name: &[u8], contents: &mut dyn Contents) -> Result<Bytes, i32> {
        let found = self.tree.find(node, name, contents).ok_or(errno::NOENT)?;
        self.status(found, contents).map(Status::entry)
    }

    fn open(&mut self, unique: u64, node: u64, flags: u32, contents: &mut dyn Contents) -> Answer {
        const ACCESS: u32 = 3;
        const DIRECT: u32 = 1;
        const NO_FLUSH: u32 = 1 << 5;
        let mut render = match self.tree.kind(node) {
            Some(Kind::File(at)) if flags & ACCESS == 0 || contents.takes(at) => {
                self.renderer(node, at, contents)
            }
            Some(Kind::File(_)) => return Answer::Reply(reply::failed(unique, errno::ROFS)),
            Some(Kind::Directory) => return Answer::Reply(reply::failed(unique, errno::ISDIR)),
            None => return Answer::Reply(reply::failed(unique, errno::NOENT)),
        };
        let Ok(text) = render() else { return Answer::failure(unique) };
        let grown = self.sizes.grow(node, text.len() as u64);
        let handle = self.texts.keep(text);
        let opened = reply::done(unique, Bytes::default().u64s(&[handle]).u32s(&[DIRECT | NO_FLUSH, 0]));
        match grown {
            Some(size) => Answer::Grow(store_last_byte(node, size), opened),
            None => Answer::Reply(opened),
        }
    }

    /// Takes what somebody waits for, which is all that can be written.
    fn write(&self, node: u64, wish: &Wish<'_>, contents: &mut dyn Contents) -> Result<Bytes, i32> {
        let at = self.written(node, contents).ok_or(errno::ROFS)?;
        contents.write(at, wish).map_err(|refused| match refused {
            Refused::Wrong => errno::INVAL,
            Refused::Another => errno::BUSY,
            Refused::Many => errno::NOMEM,
            Refused::Unsupported => errno::OPNOTSUPP,
            Refused::Unreadable => errno::IO,
        })?;
        Ok(Bytes::default().u32s(&[wish.text.len() as u32, 0]))
    }

    /// Lets who opens a file to write into it cut it, which changes nothing, and nobody change its mode or owner.
    fn set_status(&self, node: u64, what: u32, contents: &mut dyn Contents) -> Result<Bytes, i32> {
        const MODE_OR_OWNER: u32 = 7;
        self.written(node, contents).ok_or(errno::ROFS)?;
        if what & MODE_OR_OWNER != 0 {
            return Err(errno::PERM);
        }
        self.status(node, contents).map(Status::attributes)
    }

    /// Tells whether what is waited for has come. The kernel remembers of the first other file that it need not ask, and asks no more
    /// in this superblock: files into which somebody may write have one for themselves.
    fn poll(
        &self,
        node: u64,
        (handle, waiter): (u64, Option<u64>),
        contents: &mut dyn Contents,
    ) -> Result<Bytes, i32> {
        const URGENT: u32 = 2;
        const ERROR: u32 = 8;
        const READY: u32 = 0x145;
        self.written(node, contents).ok_or(errno::NOSYS)?;
        let more = match contents.ask(handle, waiter) {
            Some(true) => URGENT,
            Some(false) => 0,
            None => URGENT | ERROR,
        };
        Ok(Bytes::default().u32s(&[READY | more, 0]))
    }

    /// Returns the place in the table of a file into which somebody may write.
    fn written(&self, node: u64, contents: &mut dyn Contents) -> Option<usize> {
        match self.tree.kind(node)? {
            Kind::File(at) if contents.takes(at) => Some(at),
            _ => None,
        }
    }

    /// Returns what renders a file.
    fn renderer<'a>(
        &self,
        node: u64,
        file: usize,
        contents: &'a mut dyn Contents,
    ) -> impl FnMut() -> sys::Result<String> + use<'a> {
        let of = self.tree.of(node).map(|(_, of)| of);
        move || contents.render(file, of)
    }

    fn read(
        &mut self,
        node: u64,
        handle: u64,
        offset: u64,
        size: u32,
        contents: &mut dyn Contents,
    ) -> Result<Bytes, i32> {
        let mut render = match self.tree.kind(node) {
            Some(Kind::File(at)) => self.renderer(node, at, contents),
            Some(Kind::Directory) => return Err(errno::ISDIR),
            None => return Err(errno::NOENT),
        };
        let part = self.texts.part(handle, offset, size, &mut render).map_err(|_| errno::IO)?;
        if part.len() < size as usize {
            self.sizes.cut(node, offset.saturating_add(part.len() as u64));
        }
        Ok(Bytes::default().raw(&part))
    }

    fn read_dir(&self, node: u64, offset: u64, size: u32, contents: &mut dyn Contents) -> Result<Bytes, i32> {
        if self.tree.kind(node) != Some(Kind::Directory) {
            return Err(errno::NOTDIR);
        }
        let dots = [(node, "."), (self.tree.parent(node), "..")];
        let dots = dots.map(|(number, name)| (number, name.to_owned(), Kind::Directory));
        let all = (1..).zip(dots.into_iter().chain(self.tree.children(node, contents)));
        let mut listed = Vec::new();
        for (next, (number, name, kind)) in all.skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let entry = reply::directory_entry(number, next, kind, name.as_bytes());
            if listed.len() + entry.len() > size as usize {
                break;
            }
            listed.extend(entry);
        }
        Ok(Bytes::default().raw(&listed))
    }
}

/// The number of a message that answers no request.
const NOTIFICATION: u64 = 0;

/// Returns the message that wakes who waits by a number.
pub fn wake(waiter: u64) -> Vec<u8> {
    const WOKEN: i32 = 1;
    reply::message(NOTIFICATION, WOKEN, Bytes::default().u64s(&[waiter]))
}

/// Numbers of errors. Source: the kernel's include/uapi/asm-generic/errno{-base,}.h.
mod errno {
    pub(super) const PERM: i32 = 1;
    pub(super) const NOENT: i32 = 2;
    pub(super) const IO: i32 = 5;
    pub(super) const NOMEM: i32 = 12;
    pub(super) const BUSY: i32 = 16;
    pub(super) const NOTDIR: i32 = 20;
    pub(super) const ISDIR: i32 = 21;
    pub(super) const INVAL: i32 = 22;
    pub(super) const ROFS: i32 = 30;
    pub(super) const NOSYS: i32 = 38;
    pub(super) const PROTO: i32 = 71;
    pub(super) const OPNOTSUPP: i32 = 95;
}

/// Answers the first request.
fn init((major, minor): (u32, u32), offered: u64, readahead: u32) -> Result<Bytes, i32> {
    /// The version that these messages are of, and the oldest whose are.
    const VERSION: (u32, u32) = (7, 38);
    const OLDEST: u32 = 23;
    const ASYNC_READ: u64 = 1;
    const BIG_WRITES: u64 = 1 << 5;
    const PARALLEL_DIROPS: u64 = 1 << 18;
    const INIT_EXT: u64 = 1 << 30;
    const HAS_RESEND: u64 = 1 << 39;
    const LARGEST_WRITE: u32 = 4096;
    if major < VERSION.0 || (major == VERSION.0 && minor < OLDEST) {
        return Err(errno::PROTO);
    }
    let wanted = ASYNC_READ | BIG_WRITES | PARALLEL_DIROPS | INIT_EXT | HAS_RESEND;
    let flags =
        if offered & INIT_EXT != 0 { wanted & offered } else { wanted & offered & u64::from(u32::MAX) };
    let minor = if major == VERSION.0 { minor.min(VERSION.1) } else { VERSION.1 };
    let (background, congested) = (64, 48);
    Ok(Bytes::default()
        .u32s(&[VERSION.0, minor, readahead, flags as u32])
        .u16s(&[background, congested])
        .u32s(&[LARGEST_WRITE, 1])
        // Pages of a request, alignment of maps; then the other half of the flags, and what is not used.
        .u16s(&[0, 0])
        .u32s(&[(flags >> 32) as u32])
        .u32s(&[0; 7]))
}

fn stat_fs() -> Bytes {
    const LONGEST_NAME: u32 = 255;
    Bytes::default().u64s(&[0; 5]).u32s(&[PAGE as u32, LONGEST_NAME, PAGE as u32, 0]).u32s(&[0; 6])
}

/// Puts a byte into the page cache, the last one of a file of `size`: that the kernel takes for its size then. Of no bytes it
/// takes no notice. What is in the cache is dropped when the file is opened.
fn store_last_byte(node: u64, size: u64) -> Vec<u8> {
    const STORE: i32 = 4;
    let body = Bytes::default().u64s(&[node, size - 1]).u32s(&[1, 0]).raw(&[0]);
    reply::message(NOTIFICATION, STORE, body)
}

#[cfg(test)]
mod tests;
