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
//! Nothing is written but triggers, into the files of /proc/pressure; what has come of them is waited for with poll(2).

use std::sync::Arc;
use std::time::Duration;

use super::opens::{PAGE, Sizes, Texts};
use super::reply::{self, Bytes, Status};
use super::request::{Operation, Request};
use super::tree::{Has, Kind, Tree};
use super::triggers::{Refused, Triggers};
use crate::files::{FILES, Trigger, waited};

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
    triggers: Triggers,
}

/// What is in the files.
pub trait Contents: Has {
    /// Renders a file, by its place in the table, and by the number of the processor or node that it is of.
    ///
    /// # Errors
    /// Something that it shows cannot be read now.
    fn render(&mut self, file: usize, of: Option<u32>) -> sys::Result<String>;

    /// Returns what the container's group tells of a pressure, by the place of its file in the table; none where none does.
    ///
    /// # Errors
    /// It cannot be read now.
    fn pressure(&mut self, _file: usize) -> sys::Result<Option<String>> {
        Ok(None)
    }

    /// Returns the time by a clock that is never put back.
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl Session {
    /// Begins one for a superblock that was made at `time`, in seconds since the epoch. Its opens are counted from `first`.
    pub fn new(tree: Arc<Tree>, time: u64, first: u64) -> Self {
        let (sizes, triggers) = (Sizes::default(), Triggers::default());
        Self { tree, time, texts: Texts::new(first), sizes, triggers }
    }

    /// Goes on with a superblock that another process has served, which told the kernel of sizes that nobody knows any more.
    /// Returns what makes the kernel ask once more what that process has read and not answered. `triggers` is what
    /// [`Session::other_triggers`] returned there.
    pub fn take_over(&mut self, triggers: &[String], contents: &mut dyn Contents) -> Vec<u8> {
        const RESEND: i32 = 7;
        self.sizes.distrust();
        let now = contents.now();
        for line in triggers {
            let _known = self.triggers.go_on(line, now, &mut |file, trigger| felt(contents, file, trigger));
        }
        reply::message(NOTIFICATION, RESEND, Bytes::default())
    }

    /// Answers a request.
    pub fn answer(&mut self, request: &Request<'_>, contents: &mut dyn Contents) -> Answer {
        let Request { unique, node, operation } = *request;
        let answered = match operation {
            Operation::Unanswered => return Answer::Nothing,
            Operation::Destroy => return Answer::Gone,
            Operation::Init { version, flags, readahead } => init(version, flags, readahead),
            Operation::Lookup(name) => self.lookup(node, name, contents),
            Operation::GetAttr => self.status(node).map(Status::attributes),
            Operation::Open { flags } => return self.open(unique, node, flags, contents),
            Operation::Read { handle, offset, size } => self.read(node, handle, offset, size, contents),
            Operation::Write { handle, text } => self.write(node, handle, text, contents),
            Operation::SetAttr { what } => self.set_status(node, what),
            Operation::Poll { handle, waiter } => self.poll(node, handle, waiter),
            Operation::Release { handle } => {
                self.texts.forget(handle);
                self.triggers.forget(handle);
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

    fn status(&self, node: u64) -> Result<Status, i32> {
        let kind = self.tree.kind(node).ok_or(errno::NOENT)?;
        let size = match kind {
            Kind::Directory => 0,
            Kind::File(_) => self.sizes.told(node),
        };
        let lasts = self.tree.of(node).is_none();
        Ok(Status { node, kind, size, time: self.time, lasts })
    }

    fn lookup(&self, node: u64, name: &[u8], contents: &mut dyn Contents) -> Result<Bytes, i32> {
        let found = self.tree.find(node, name, contents).ok_or(errno::NOENT)?;
        self.status(found).map(Status::entry)
    }

    fn open(&mut self, unique: u64, node: u64, flags: u32, contents: &mut dyn Contents) -> Answer {
        const ACCESS: u32 = 3;
        const DIRECT: u32 = 1;
        const NO_FLUSH: u32 = 1 << 5;
        let mut render = match self.tree.kind(node) {
            Some(Kind::File(at)) if flags & ACCESS == 0 || takes_triggers(at) => {
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

    /// Writes a trigger, which is all that can be written.
    fn write(
        &mut self,
        node: u64,
        handle: u64,
        text: &[u8],
        contents: &mut dyn Contents,
    ) -> Result<Bytes, i32> {
        let at = self.pressure(node).ok_or(errno::ROFS)?;
        let trigger = Trigger::parse(text).ok_or(errno::INVAL)?;
        let told = contents.pressure(at).map_err(|_| errno::IO)?.ok_or(errno::OPNOTSUPP)?;
        let waited = waited(&told, trigger.share).ok_or(errno::INVAL)?;
        self.triggers.begin(handle, (at, trigger), waited, contents.now()).map_err(
            |refused| match refused {
                Refused::Another => errno::BUSY,
                Refused::Many => errno::NOMEM,
            },
        )?;
        Ok(Bytes::default().u32s(&[text.len() as u32, 0]))
    }

    /// Lets who opens a file of pressure to write cut it, which changes nothing, and nobody change its mode or owner.
    fn set_status(&self, node: u64, what: u32) -> Result<Bytes, i32> {
        const MODE_OR_OWNER: u32 = 7;
        self.pressure(node).ok_or(errno::ROFS)?;
        if what & MODE_OR_OWNER != 0 {
            return Err(errno::PERM);
        }
        self.status(node).map(Status::attributes)
    }

    /// Tells whether a trigger has come. The kernel remembers of the first other file that it need not ask, and asks no more in this
    /// superblock: files of pressure have one for themselves.
    fn poll(&mut self, node: u64, handle: u64, waiter: Option<u64>) -> Result<Bytes, i32> {
        const URGENT: u32 = 2;
        const ERROR: u32 = 8;
        const READY: u32 = 0x145;
        self.pressure(node).ok_or(errno::NOSYS)?;
        let more = match self.triggers.ask(handle, waiter) {
            Some(true) => URGENT,
            Some(false) => 0,
            None => URGENT | ERROR,
        };
        Ok(Bytes::default().u32s(&[READY | more, 0]))
    }

    /// Returns the place in the table of a file that takes triggers.
    fn pressure(&self, node: u64) -> Option<usize> {
        match self.tree.kind(node)? {
            Kind::File(at) if takes_triggers(at) => Some(at),
            _ => None,
        }
    }

    /// Returns when triggers are to be looked at next, by the clock of [`Contents::now`].
    pub fn due(&self) -> Option<Duration> {
        self.triggers.due()
    }

    /// Looks at the triggers, and returns the messages that wake who waits for one.
    pub fn look(&mut self, contents: &mut dyn Contents) -> Vec<Vec<u8>> {
        const WOKEN: i32 = 1;
        let now = contents.now();
        let woken = self.triggers.look(now, &mut |file, trigger| felt(contents, file, trigger));
        let message = |waiter: u64| reply::message(NOTIFICATION, WOKEN, Bytes::default().u64s(&[waiter]));
        woken.into_iter().map(message).collect()
    }

    /// Returns all triggers, a line each, where they have changed since this was last asked.
    pub fn other_triggers(&mut self) -> Option<Vec<String>> {
        self.triggers.others()
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

fn takes_triggers(at: usize) -> bool {
    FILES.get(at).is_some_and(|file| file.pressure().is_some())
}

/// Returns how long the container's tasks have waited so far.
fn felt(contents: &mut dyn Contents, file: usize, trigger: &Trigger) -> Option<u64> {
    waited(&contents.pressure(file).ok()??, trigger.share)
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
