//! Sparse files: which parts of a file an archive holds.
//!
//! Two forms are read, the old one of GNU tar (type `S`) and PAX 1.0 (what `tar --posix --sparse` writes); 0.0 and
//! 0.1 are refused, since a reader that does not know them unpacks the map as data. Source: GNU tar manual, "Storing
//! Sparse Files".

use tar::{GnuHeader, GnuSparseHeader};

use crate::error::Problem;
use crate::pax::decimal;
use crate::stream::{BLOCK, Stream};

/// The most parts of one file.
const MAX_SEGMENTS: usize = 1 << 20;

/// A part of a file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// What a regular file consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// The length of the file with its holes.
    pub length: u64,
    /// The parts whose bytes the archive holds, one after the other.
    pub segments: Vec<Segment>,
}

impl Body {
    /// A file without holes.
    pub(crate) fn whole(length: u64) -> Self {
        Self { length, segments: vec![Segment { offset: 0, length }] }
    }

    /// Checks a map against the bytes that the archive holds.
    fn checked(length: u64, stored: u64, segments: Vec<Segment>) -> Result<Self, Problem> {
        let bad = || Problem::malformed("the map of a sparse file is inconsistent");
        let (mut end, mut sum) = (0u64, 0u64);
        for (index, segment) in segments.iter().enumerate() {
            let aligned = segment.length % BLOCK as u64 == 0 || index + 1 == segments.len();
            if segment.offset < end || !aligned {
                return Err(bad());
            }
            end = segment.offset.checked_add(segment.length).ok_or_else(bad)?;
            sum += segment.length;
        }
        if end > length || sum != stored || i64::try_from(length).is_err() {
            return Err(bad());
        }
        Ok(Self { length, segments })
    }
}

fn push(segments: &mut Vec<Segment>, offset: u64, length: u64) -> Result<(), Problem> {
    if segments.len() == MAX_SEGMENTS {
        return Err(Problem::TooMuch { limit: MAX_SEGMENTS as u64, of: "parts of one sparse file" });
    }
    // An empty part at the end only marks the length of the file.
    if length > 0 {
        segments.push(Segment { offset, length });
    }
    Ok(())
}

/// Reads the map of an old GNU sparse file: four parts in the header, then blocks of 21.
pub(crate) fn gnu(header: &GnuHeader, stored: u64, stream: &mut Stream) -> Result<Body, Problem> {
    let number = |field: std::io::Result<u64>| field.map_err(|e| Problem::malformed(e.to_string()));
    let mut segments = Vec::new();
    let mut add = |parts: &[GnuSparseHeader]| {
        for part in parts.iter().filter(|part| !part.is_empty()) {
            push(&mut segments, number(part.offset())?, number(part.length())?)?;
        }
        Ok::<_, Problem>(())
    };
    add(&header.sparse)?;
    let mut extended = header.is_extended();
    while extended {
        let mut block = tar::GnuExtSparseHeader::new();
        if !stream.fill(block.as_mut_bytes())? {
            return Err(Problem::Truncated("inside the map of a sparse file"));
        }
        add(block.sparse())?;
        extended = block.is_extended();
    }
    Body::checked(number(header.real_size())?, stored, segments)
}

/// Reads the map of a PAX 1.0 sparse file, decimal numbers in the first blocks of its data. Returns the bytes that
/// the map takes too.
pub(crate) fn pax(length: u64, stored: u64, stream: &mut Stream) -> Result<(Body, u64), Problem> {
    let mut map = Numbers { stream, left: stored, block: Vec::new(), taken: 0 };
    let count = map.next()?;
    let mut segments = Vec::new();
    for _ in 0..count {
        let (offset, length) = (map.next()?, map.next()?);
        push(&mut segments, offset, length)?;
    }
    let used = stored - map.left;
    Ok((Body::checked(length, stored - used, segments)?, used))
}

/// Decimal numbers, one a line, in whole blocks.
struct Numbers<'a> {
    stream: &'a mut Stream,
    left: u64,
    block: Vec<u8>,
    taken: usize,
}

impl Numbers<'_> {
    fn next(&mut self) -> Result<u64, Problem> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                digit if digits.len() < 20 => digits.push(digit),
                _ => return Err(Problem::malformed("the map of a sparse file is not numbers")),
            }
        }
        decimal(&digits).ok_or_else(|| Problem::malformed("the map of a sparse file is not numbers"))
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        if self.taken == self.block.len() {
            self.next_block()?;
        }
        self.taken += 1;
        Ok(self.block[self.taken - 1])
    }

    fn next_block(&mut self) -> Result<(), Problem> {
        let left = self.left.checked_sub(BLOCK as u64);
        self.left = left.ok_or_else(|| Problem::malformed("the map of a sparse file is cut off"))?;
        self.block.resize(BLOCK, 0);
        self.taken = 0;
        if self.stream.fill(&mut self.block)? {
            Ok(())
        } else {
            Err(Problem::Truncated("inside the map of a sparse file"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(offset: u64, length: u64) -> Segment {
        Segment { offset, length }
    }

    fn pax_map(map: &str, length: u64, data: u64) -> Result<(Body, u64), Problem> {
        let mut bytes = map.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let stored = bytes.len() as u64 + data;
        let mut stream = Stream::start(std::io::Cursor::new(bytes), u64::MAX)?;
        pax(length, stored, &mut stream)
    }

    #[test]
    fn a_pax_map_gives_the_parts_and_the_bytes_it_took() {
        let (body, used) = pax_map("3\n512\n512\n4096\n10\n8192\n0\n", 8192, 522).unwrap();
        assert_eq!(body, Body { length: 8192, segments: vec![segment(512, 512), segment(4096, 10)] });
        assert_eq!(used, 512);
    }

    #[test]
    fn a_map_that_disagrees_with_the_data_is_refused() {
        for (map, length, data) in [
            ("1\n0\n512\n", 512, 511),
            ("1\n0\n512\n", 511, 512),
            ("2\n512\n512\n0\n512\n", 2048, 1024),
            ("2\n0\n10\n10\n10\n", 20, 20),
            ("1\n18446744073709551615\n10\n", 20, 10),
            ("1\n-1\n10\n", 20, 10),
            ("x\n", 20, 10),
            ("2\n0\n10\n", 10, 10),
        ] {
            assert!(pax_map(map, length, data).is_err(), "{map:?}");
        }
    }
}
