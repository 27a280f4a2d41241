//! Tar archives as a sequence of entries.
//!
//! Single headers are decoded by the `tar` crate. What lies between them is read here, because the crate's own
//! iterator reads long names and PAX headers of any size into memory, loses PAX values with newlines, and takes the
//! first of two sizes where all others take the last, so that an archive can look different to it than to others.
//! Here a thing that two readers could take in two ways is refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sys::file::Time;
use tar::Header;

use crate::entry_path::EntryPath;
use crate::error::{Error, Problem, Shown};
use crate::pax::Extended;
use crate::sparse::{self, Body};
use crate::stream::{BLOCK, Stream};
use crate::tree::Attributes;

/// The largest long name, with the NUL that ends it.
const MAX_LONG_NAME: u64 = 4096;
/// The largest PAX header: one entry may carry this much in extended attributes.
const MAX_EXTENDED: u64 = 1 << 20;

/// An archive that is being read.
pub(crate) struct Archive {
    stream: Stream,
    global: Extended,
    /// Bytes of the current entry that nobody has taken, and the padding after them.
    left: u64,
    padding: u64,
    entries: u64,
    max_entries: u64,
    /// The entry that came last, to say where an archive is broken.
    last: Option<EntryPath>,
}

/// An entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub path: EntryPath,
    pub attributes: Attributes,
    pub content: Content,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    File(Body),
    HardLink(EntryPath),
    Symlink(PathBuf),
    Directory,
    Fifo,
    Device,
}

/// What headers before an entry's own say about it.
#[derive(Default)]
struct Described {
    name: Option<Vec<u8>>,
    link_target: Option<Vec<u8>>,
    extended: Option<Extended>,
}

impl Described {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link_target.is_none() && self.extended.is_none()
    }
}

/// Stores what may be said once.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Problem> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::malformed("an entry is described twice")),
    }
}

impl Archive {
    /// Reads entries from the stream, at most `max_entries`.
    pub(crate) fn new(stream: Stream, max_entries: u64) -> Self {
        let global = Extended::default();
        Self { stream, global, left: 0, padding: 0, entries: 0, max_entries, last: None }
    }

    /// Returns the next entry, `None` after the last. What was not taken of the one before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        let skipped = self.skip_rest().map_err(Failure::from);
        let entry = skipped.and_then(|()| self.read_next()).map_err(|failure| self.after(failure))?;
        self.last = entry.as_ref().map(|entry| entry.path.clone());
        Ok(entry)
    }

    /// Says where: at an entry, if the problem has named one, else after the last good one.
    fn after(&self, failure: Failure) -> Error {
        let problem = failure.problem;
        match (failure.entry, &self.last) {
            (Some(name), _) => Error::Entry { entry: Shown::new(&name), problem },
            (None, Some(last)) => {
                Error::After { entry: Shown::new(last.as_path().as_os_str().as_bytes()), problem }
            }
            (None, None) => Error::Whole(problem),
        }
    }

    fn read_next(&mut self) -> Result<Option<Entry>, Failure> {
        let mut described = Described::default();
        while let Some(header) = self.header()? {
            match header.entry_type().as_byte() {
                b'L' => once(&mut described.name, self.extension(&header, MAX_LONG_NAME)?)?,
                b'K' => once(&mut described.link_target, self.extension(&header, MAX_LONG_NAME)?)?,
                b'x' => {
                    let mut extended = self.global.clone();
                    extended.add_local(&self.extension(&header, MAX_EXTENDED)?)?;
                    once(&mut described.extended, extended)?;
                }
                b'g' => {
                    let data = self.extension(&header, MAX_EXTENDED)?;
                    self.global.add_global(&data)?;
                }
                b'V' => self.skip_label(&header)?,
                kind => return self.entry(kind, &header, described).map(Some),
            }
        }
        if described.is_empty() {
            Ok(None)
        } else {
            Err(Problem::Truncated("between an entry's extended header and the entry").into())
        }
    }

    /// Reads a header; `None` at the mark of the end.
    fn header(&mut self) -> Result<Option<Header>, Problem> {
        let mut header = Header::new_old();
        if !self.stream.fill(header.as_mut_bytes())? {
            return Err(Problem::Truncated("without the mark of its end"));
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if header.cksum().is_ok_and(|sum| sum == checksum(&header)) {
            return Ok(Some(header));
        }
        Err(match self.entries {
            0 => Problem::UnknownFormat("this is not a tar, tar.gz, tar.xz, tar.zst or tar.bz2 archive"),
            _ => Problem::malformed("a header has a wrong checksum"),
        })
    }

    /// Reads the data of a header that describes another.
    fn extension(&mut self, header: &Header, max: u64) -> Result<Vec<u8>, Problem> {
        let size = number(header.entry_size())?;
        if size > max {
            return Err(Problem::TooMuch { limit: max, of: "bytes in one extended header" });
        }
        self.begin(size)?;
        let mut data = vec![0; size as usize];
        if size > 0 && !self.stream.fill(&mut data)? {
            return Err(Problem::Truncated("inside an extended header"));
        }
        self.left = 0;
        self.skip_rest()?;
        Ok(data)
    }

    fn skip_label(&mut self, header: &Header) -> Result<(), Problem> {
        self.begin(number(header.entry_size())?)?;
        self.skip_rest()
    }

    fn begin(&mut self, size: u64) -> Result<(), Problem> {
        // No file is as long, and with what fills the last block it would be no number any more.
        if i64::try_from(size).is_err() {
            return Err(Problem::malformed(format!("an entry of {size} bytes")));
        }
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(())
    }

    fn entry(&mut self, kind: u8, header: &Header, described: Described) -> Result<Entry, Failure> {
        self.entries += 1;
        if self.entries > self.max_entries {
            return Err(Problem::TooMuch { limit: self.max_entries, of: "entries" }.into());
        }
        let global = &self.global;
        let mut extended = described.extended.unwrap_or_else(|| global.clone());
        let name = one_of(described.name, extended.path.take())?;
        let link_target = one_of(described.link_target, extended.link_target.take())?;
        let name = extended.sparse.name.take().or(name).unwrap_or_else(|| header.path_bytes().into_owned());
        let link_target = link_target.or_else(|| header.link_name_bytes().map(|t| t.into_owned()));
        self.named_entry(kind, header, extended, &name, link_target)
            .map_err(|problem| Failure { entry: Some(name), problem })
    }

    fn named_entry(
        &mut self,
        kind: u8,
        header: &Header,
        extended: Extended,
        name: &[u8],
        link_target: Option<Vec<u8>>,
    ) -> Result<Entry, Problem> {
        let path = EntryPath::parse(name)?;
        let size = extended.size.map_or_else(|| number(header.entry_size()), Ok)?;
        self.begin(size)?;
        let target = || link_target.ok_or_else(|| Problem::malformed("a link without a target"));
        let content = match kind {
            // Before POSIX, a directory was a file whose name ends with a slash.
            0 | b'0' | b'7' if name.ends_with(b"/") => Content::Directory,
            0 | b'0' | b'7' => Content::File(self.body(&extended, size)?),
            b'S' => Content::File(self.old_sparse_body(header, size)?),
            b'1' => Content::HardLink(EntryPath::parse(&target()?)?),
            b'2' => Content::Symlink(symlink_target(&target()?)?),
            b'3' | b'4' => Content::Device,
            b'5' => Content::Directory,
            b'6' => Content::Fifo,
            _ => return Err(Problem::Refused("an entry of this type cannot be unpacked")),
        };
        if !matches!(content, Content::File(_)) && size != 0 {
            return Err(Problem::malformed("only a regular file can have data"));
        }
        Ok(Entry { path, attributes: attributes(header, extended)?, content })
    }

    fn body(&mut self, extended: &Extended, size: u64) -> Result<Body, Problem> {
        let sparse = &extended.sparse;
        match (sparse.major, sparse.minor, sparse.real_size) {
            (None, None, None) if !sparse.old_form => Ok(Body::whole(size)),
            (Some(1), Some(0), Some(length)) => {
                let (body, used) = sparse::pax(length, size, &mut self.stream)?;
                self.left -= used;
                Ok(body)
            }
            _ => Err(Problem::Refused(
                "a sparse file in a PAX format older than 1.0; make the archive with --sparse-version=1.0",
            )),
        }
    }

    fn old_sparse_body(&mut self, header: &Header, size: u64) -> Result<Body, Problem> {
        let gnu = header.as_gnu().ok_or_else(|| Problem::malformed("a sparse file without a GNU header"))?;
        sparse::gnu(gnu, size, &mut self.stream)
    }

    /// Returns between 1 and `max` of the next bytes of the current entry, none after the last.
    pub(crate) fn data(&mut self, max: u64) -> Result<&[u8], Problem> {
        let want = max.min(self.left);
        if want == 0 {
            return Ok(&[]);
        }
        let taken = self.stream.take(want)?;
        if taken.is_empty() {
            return Err(Problem::Truncated("inside the data of an entry"));
        }
        self.left -= taken.len() as u64;
        Ok(taken)
    }

    fn skip_rest(&mut self) -> Result<(), Problem> {
        self.left += std::mem::take(&mut self.padding);
        while !self.data(u64::MAX)?.is_empty() {}
        Ok(())
    }

    /// Reads what follows the last entry, so that checksums at the end of compressed data are looked at.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.stream.drain().map_err(Error::Whole)
    }
}

/// A problem, and the name of the entry if it is known.
struct Failure {
    entry: Option<Vec<u8>>,
    problem: Problem,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { entry: None, problem }
    }
}

fn checksum(header: &Header) -> u32 {
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum();
    sum + 8 * u32::from(b' ')
}

fn number(field: std::io::Result<u64>) -> Result<u64, Problem> {
    field.map_err(|e| Problem::malformed(e.to_string()))
}

/// Takes a long name from GNU's or PAX's header. In one archive with both, readers disagree on which counts.
fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Problem> {
    match (gnu, pax) {
        (Some(_), Some(_)) => Err(Problem::malformed("an entry has a GNU and a PAX long name")),
        (Some(mut name), None) => {
            name.pop_if(|last| *last == 0);
            Ok(Some(name))
        }
        (None, pax) => Ok(pax),
    }
}

fn symlink_target(target: &[u8]) -> Result<PathBuf, Problem> {
    if target.is_empty() || target.len() > 4095 || target.contains(&0) {
        return Err(Problem::malformed("the target of a symbolic link is not a path"));
    }
    Ok(OsStr::from_bytes(target).into())
}

fn attributes(header: &Header, extended: Extended) -> Result<Attributes, Problem> {
    let mode = header.mode().map_err(|e| Problem::malformed(e.to_string()))?;
    let mtime = match extended.mtime {
        Some(time) => time,
        // A time before 1970 is a negative number in GNU's binary form, which the cast gives back.
        None => Time { seconds: number(header.mtime())? as i64, nanoseconds: 0 },
    };
    Ok(Attributes {
        mode: mode & 0o7777,
        uid: id(extended.uid.map_or_else(|| number(header.uid()), Ok)?)?,
        gid: id(extended.gid.map_or_else(|| number(header.gid()), Ok)?)?,
        mtime,
        xattrs: extended.xattrs,
    })
}

/// The last number means "no change" to chown(2), so it is no id.
fn id(number: u64) -> Result<u32, Problem> {
    let id = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
    id.ok_or_else(|| Problem::malformed(format!("{number} is not a user or group id")))
}
