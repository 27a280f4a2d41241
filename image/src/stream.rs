//! The bytes of an archive: read from its fd, decompressed in a thread of their own, taken piece by piece.
//!
//! The archive is read through the very open file description that was given, so that the caller, who shares it,
//! sees the progress in its offset.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::error::Problem;

/// Bytes per piece; a multiple of a tar block.
const PIECE: usize = 1 << 19;
/// Pieces that wait between the two threads.
const WAITING: usize = 4;
/// Bytes per read of the archive.
const READ: usize = 1 << 20;
/// The most memory that an archive can make a decompressor use: the window of `zstd --long=27`, and more than
/// `xz -9e` needs.
const ZSTD_WINDOW_LOG: u32 = 27;
const XZ_MEMORY: u64 = 256 << 20;

/// The size of a tar block.
pub(crate) const BLOCK: usize = 512;

/// Starts of files, and the decompressor. What is not listed is taken as a bare tar archive. pzstd(1) starts with a
/// skippable frame.
const MAGICS: [(&[u8], Compression); 5] = [
    (b"\x1f\x8b", Compression::Gzip),
    (b"\xfd7zXZ\0", Compression::Xz),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    (b"\x50\x2a\x4d\x18", Compression::Zstd),
    (b"BZh", Compression::Bzip2),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
    Bzip2,
}

impl Compression {
    fn of(start: &[u8]) -> Self {
        MAGICS.iter().find(|(magic, _)| start.starts_with(magic)).map_or(Self::None, |(_, kind)| *kind)
    }
}

/// What the decompressing thread sends.
enum Piece {
    Data { buffer: Vec<u8>, length: usize },
    End,
    Failed(io::Error),
}

/// Who decompresses.
enum Source {
    /// A thread, which is given the buffers back.
    Thread { pieces: Receiver<Piece>, spent: Sender<Vec<u8>> },
    /// Whoever takes: a filter of system calls lets no thread be made.
    Taker(Box<dyn Read + Send>),
}

/// The decompressed bytes, in order.
pub(crate) struct Stream {
    source: Source,
    current: Vec<u8>,
    at: usize,
    length: usize,
    ended: bool,
    total: u64,
    limit: u64,
}

impl Stream {
    /// Starts to read and decompress. More than `limit` decompressed bytes are an error.
    pub(crate) fn start(archive: impl Read + Send + 'static, limit: u64) -> Result<Self, Problem> {
        let source = Source::of(decoder(archive)?);
        Ok(Self { source, current: Vec::new(), at: 0, length: 0, ended: false, total: 0, limit })
    }

    /// Returns between 1 and `max` of the next bytes, or none at the end.
    pub(crate) fn take(&mut self, max: u64) -> Result<&[u8], Problem> {
        if self.at == self.length && !self.ended {
            self.refill()?;
        }
        let count = usize::try_from(max).unwrap_or(usize::MAX).min(self.length - self.at);
        let start = self.at;
        self.at += count;
        Ok(&self.current[start..self.at])
    }

    fn refill(&mut self) -> Result<(), Problem> {
        let spent = std::mem::take(&mut self.current);
        (self.at, self.length) = (0, 0);
        match self.source.next(spent) {
            Piece::Data { buffer, length } => (self.current, self.length) = (buffer, length),
            Piece::End => self.ended = true,
            Piece::Failed(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Problem::Truncated("inside its compressed data"));
            }
            Piece::Failed(error) => return Err(Problem::Read(error)),
        }
        self.total += self.length as u64;
        if self.total > self.limit {
            return Err(Problem::TooMuch { limit: self.limit, of: "bytes" });
        }
        Ok(())
    }

    /// Fills `bytes`; `false` when the stream has ended before the first of them.
    ///
    /// # Errors
    /// [`Problem::Truncated`] when it ends after the first.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, Problem> {
        let mut filled = 0;
        while filled < bytes.len() {
            let taken = self.take((bytes.len() - filled) as u64)?;
            match (taken.len(), filled) {
                (0, 0) => return Ok(false),
                (0, _) => return Err(Problem::Truncated("inside a block")),
                (count, _) => {
                    bytes[filled..filled + count].copy_from_slice(taken);
                    filled += count;
                }
            }
        }
        Ok(true)
    }

    /// Reads to the end, where compressed formats have their checksum.
    pub(crate) fn drain(&mut self) -> Result<(), Problem> {
        while !self.take(u64::MAX)?.is_empty() {}
        Ok(())
    }
}

impl Source {
    /// Has a thread decompress, where one can be made. It is given the decoder only then.
    fn of(decoder: Box<dyn Read + Send>) -> Self {
        let (piece_sender, pieces) = sync_channel(WAITING);
        let (spent, spent_receiver) = channel();
        let (give, given) = channel::<Box<dyn Read + Send>>();
        let work = move || {
            if let Ok(mut decoder) = given.recv() {
                decompress(&mut *decoder, &piece_sender, &spent_receiver);
            }
        };
        match std::thread::Builder::new().name("decompress".to_owned()).spawn(work) {
            Ok(_) => match give.send(decoder) {
                Ok(()) => Self::Thread { pieces, spent },
                Err(returned) => Self::Taker(returned.0),
            },
            Err(_) => Self::Taker(decoder),
        }
    }

    fn next(&mut self, buffer: Vec<u8>) -> Piece {
        match self {
            Self::Thread { pieces, spent } => {
                // The thread has ended when nobody takes the buffer back.
                let _unused = spent.send(buffer);
                let died = |_| Piece::Failed(io::Error::other("the decompressor died"));
                pieces.recv().unwrap_or_else(died)
            }
            Self::Taker(decoder) => piece(decoder, buffer),
        }
    }
}

/// Reads the next piece.
fn piece(decoder: &mut dyn Read, mut buffer: Vec<u8>) -> Piece {
    buffer.resize(PIECE, 0);
    match fill_as_far_as_possible(decoder, &mut buffer) {
        Ok(0) => Piece::End,
        Ok(length) => Piece::Data { buffer, length },
        Err(error) => Piece::Failed(error),
    }
}

fn decompress(decoder: &mut dyn Read, pieces: &SyncSender<Piece>, spent: &Receiver<Vec<u8>>) {
    loop {
        let piece = piece(decoder, spent.try_recv().unwrap_or_default());
        let more = matches!(piece, Piece::Data { .. });
        if pieces.send(piece).is_err() || !more {
            return;
        }
    }
}

fn fill_as_far_as_possible(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Chooses the decompressor by the first bytes.
fn decoder(mut archive: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>, Problem> {
    let mut start = vec![0; BLOCK];
    let length = fill_as_far_as_possible(&mut archive, &mut start).map_err(Problem::Read)?;
    start.truncate(length);
    let compression = Compression::of(&start);
    let input = BufReader::with_capacity(READ, Cursor::new(start).chain(archive));
    decoder_of(compression, input)
}

fn decoder_of(
    compression: Compression,
    input: impl BufRead + Send + 'static,
) -> Result<Box<dyn Read + Send>, Problem> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Xz => Box::new(xz_decoder(input)?),
        Compression::Zstd => Box::new(zstd_decoder(input).map_err(Problem::Read)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
    })
}

fn xz_decoder<R: BufRead>(input: R) -> Result<liblzma::bufread::XzDecoder<R>, Problem> {
    let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
        .map_err(|e| Problem::Read(e.into()))?;
    Ok(liblzma::bufread::XzDecoder::new_stream(input, stream))
}

fn zstd_decoder<R: BufRead>(input: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(data: &[u8], kind: Compression) -> Vec<u8> {
        match kind {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                encoder.include_checksum(true).unwrap();
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::None => data.to_vec(),
        }
    }

    fn read_all(archive: Vec<u8>, limit: u64) -> Result<Vec<u8>, Problem> {
        let mut stream = Stream::start(Cursor::new(archive), limit)?;
        let mut bytes = Vec::new();
        loop {
            match stream.take(1000)? {
                [] => return Ok(bytes),
                taken => bytes.extend_from_slice(taken),
            }
        }
    }

    const KINDS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Bzip2];

    fn sample() -> Vec<u8> {
        (0..3 * PIECE as u32 / 2).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 & 0x1f).collect()
    }

    #[test]
    fn every_format_gives_back_what_went_in_also_in_two_parts() {
        for kind in KINDS {
            assert_eq!(read_all(packed(&sample(), kind), u64::MAX).unwrap(), sample(), "{kind:?}");
            let two = [packed(b"one", kind), packed(b"two", kind)].concat();
            assert_eq!(read_all(two, u64::MAX).unwrap(), b"onetwo", "{kind:?}");
        }
    }

    #[test]
    fn truncated_compressed_data_is_an_error() {
        for kind in &KINDS[1..] {
            let whole = packed(&sample(), *kind);
            for cut in [whole.len() / 2, whole.len() - 1] {
                let error = read_all(whole[..cut].to_vec(), u64::MAX).unwrap_err();
                assert!(matches!(error, Problem::Truncated(_) | Problem::Read(_)), "{kind:?} {error}");
            }
        }
    }

    #[test]
    fn changed_compressed_data_is_an_error() {
        for kind in &KINDS[1..] {
            let mut bytes = packed(&sample(), *kind);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            assert!(read_all(bytes, u64::MAX).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        for kind in KINDS {
            let error = read_all(packed(&vec![0; 4 << 20], kind), 1 << 20).unwrap_err();
            assert!(matches!(error, Problem::TooMuch { .. }), "{kind:?} {error}");
        }
    }
}
