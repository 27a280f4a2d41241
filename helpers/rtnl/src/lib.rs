//! Messages of rtnetlink(7), as bytes: built and read, not sent.
//!
//! Used by the helper that makes devices on the host's bridges, and by the runtime, which sets up what is inside a
//! container. What is read here comes from the kernel, but names and addresses in it are a container's choice.

#![forbid(unsafe_code)]

use libc::{c_int, c_uint, c_ushort};

/// The length of a message's header, and of the description of a link behind it. Source: linux/netlink.h,
/// linux/rtnetlink.h.
const HEADER: usize = 16;
const LINK: usize = 16;

/// The length of an attribute's header.
const ATTRIBUTE: usize = 4;

/// What is kept of an attribute's type: the two bits above say how its content is to be read.
const TYPE_BITS: u16 = 0x3fff;

/// The description of a link at the head of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// Its number, or 0 when it is named by an attribute.
    pub index: u32,
    /// Its flags (IFF_UP).
    pub flags: c_int,
    /// Which flags count.
    pub change: c_int,
}

impl Head {
    /// Returns the description of a link of which nothing is to change but what attributes say.
    pub fn of(index: u32) -> Self {
        Self { index, ..Self::default() }
    }
}

/// A message that is being built.
#[derive(Clone, Debug)]
pub struct Builder {
    bytes: Vec<u8>,
}

/// A message that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// RTM_NEWLINK, NLMSG_ERROR, NLMSG_DONE.
    pub kind: u16,
    /// NLM_F_DUMP_INTR: links came or went while they were listed.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub content: &'a [u8],
}

impl Builder {
    /// Begins a message of this kind about a link.
    pub fn new(kind: u16, flags: c_int, sequence: u32, head: Head) -> Self {
        Self::with_head(kind, flags, sequence, &[]).head(head)
    }

    /// Begins a message of this kind about something else, whose description is given as it is.
    pub fn with_head(kind: u16, flags: c_int, sequence: u32, head: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags as u16).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(head);
        Self { bytes }
    }

    /// Adds the description of a link, which is the head of the message and of a veth device's peer.
    pub fn head(mut self, Head { index, flags, change }: Head) -> Self {
        self.bytes.extend([0; 4]);
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(change.to_ne_bytes());
        self
    }

    /// Adds an attribute of bytes.
    pub fn bytes(self, kind: c_ushort, content: &[u8]) -> Self {
        self.nested(kind, |mut builder| {
            builder.bytes.extend(content);
            builder
        })
    }

    /// Adds a text with the NUL that ends it.
    pub fn text(self, kind: c_ushort, text: &str) -> Self {
        self.bytes(kind, &[text.as_bytes(), b"\0"].concat())
    }

    /// Adds a number of 32 bits.
    pub fn number(self, kind: c_ushort, number: u32) -> Self {
        self.bytes(kind, &number.to_ne_bytes())
    }

    /// Adds an attribute whose content is what `fill` adds.
    ///
    /// A length that wraps in its 16 bits would end the attribute early, and what follows would be attributes of its
    /// author's choice (CVE-2021-43784 in runc).
    pub fn nested(mut self, kind: c_ushort, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - start);
        let length = length.expect("names, addresses and aliases are short, so this fits");
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled.bytes.resize(filled.bytes.len().next_multiple_of(4), 0);
        filled
    }

    /// Returns the message with its length filled in.
    pub fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// Returns the messages in a datagram, up to one whose length makes no sense.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = number(datagram, 0)? as usize;
        let content = datagram.get(HEADER..length)?;
        let kinds = number(datagram, 4)?;
        let (kind, flags) = halves(kinds);
        let sequence = number(datagram, 8)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, content })
    })
}

/// Returns the attributes in `bytes` with their types, up to one whose length makes no sense.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (c_ushort, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = halves(number(bytes, 0)?);
        let content = bytes.get(ATTRIBUTE..usize::from(length))?;
        bytes = bytes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE_BITS, content))
    })
}

/// Returns the number of the link that a message describes, and its attributes.
pub fn link(content: &[u8]) -> Option<(u32, &[u8])> {
    Some((number(content, 4)?, content.get(LINK..)?))
}

/// Returns what the last message of an answer says: that all was done, or the number of an error. Nothing where it says
/// neither.
pub fn status(content: &[u8]) -> Option<Result<(), c_int>> {
    match number(content, 0)? as c_int {
        0 => Some(Ok(())),
        status => status.checked_neg().filter(|error| *error > 0).map(Err),
    }
}

/// Returns the number of 32 bits at this place.
pub fn number(bytes: &[u8], at: usize) -> Option<c_uint> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Returns the text in an attribute, up to its NUL.
pub fn text(content: &[u8]) -> String {
    let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
    String::from_utf8_lossy(&content[..end]).into_owned()
}

/// Returns two numbers of 16 bits that stand side by side in memory.
fn halves(both: u32) -> (u16, u16) {
    let bytes = both.to_ne_bytes();
    (u16::from_ne_bytes([bytes[0], bytes[1]]), u16::from_ne_bytes([bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let head = Head { index: 7, flags: 1, change: 1 };
        let built = Builder::new(16, 5, 9, head)
            .text(3, "eth0")
            .nested(18, |info| info.text(1, "veth").nested(2, |data| data.number(10, 77)))
            .bytes(1, &[1, 2, 3, 4, 5, 6])
            .finish();
        let all: Vec<Message<'_>> = messages(&built).collect();
        let [message] = all[..] else { panic!("{all:?}") };
        assert_eq!((message.kind, message.flags, message.sequence), (16, 5, 9));
        let (index, rest) = link(message.content).unwrap();
        let parts: Vec<_> = attributes(rest).collect();
        assert_eq!((index, parts.iter().map(|part| part.0).collect::<Vec<_>>()), (7, vec![3, 18, 1]));
        assert_eq!(text(parts[0].1), "eth0");
        assert_eq!(parts[2].1, [1, 2, 3, 4, 5, 6]);
        let info: Vec<_> = attributes(parts[1].1).collect();
        assert_eq!(attributes(info[1].1).next(), Some((10, &77u32.to_ne_bytes()[..])));
    }

    #[test]
    fn an_answer_says_that_all_was_done_or_an_error_or_nothing() {
        let said = |status: c_int| super::status(&status.to_ne_bytes());
        assert_eq!(said(0), Some(Ok(())));
        assert_eq!(said(-libc::EEXIST), Some(Err(libc::EEXIST)));
        assert_eq!((said(1), said(c_int::MAX), said(c_int::MIN)), (None, None, None));
        assert_eq!((super::status(&[]), super::status(&[0; 3])), (None, None));
    }

    #[test]
    #[should_panic(expected = "this fits")]
    fn a_length_never_wraps() {
        Builder::new(16, 0, 0, Head::default()).bytes(1, &[0; 65_533]);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_loop() {
        let good =
            Builder::new(16, 0, 1, Head::default()).text(3, "eth0").nested(18, |n| n.text(1, "x")).finish();
        let mut seed = 7u32;
        let mut chance = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize
        };
        for _ in 0..100_000 {
            let mut bytes = good.repeat(2);
            for _ in 0..=chance() % 4 {
                let at = chance() % bytes.len();
                bytes[at] = [0, 1, 3, 4, 5, 0x7f, 0x80, 0xff][chance() % 8];
            }
            bytes.truncate(chance() % (bytes.len() + 1));
            let read =
                messages(&bytes).filter_map(|message| link(message.content)).take(100).map(|(_, rest)| {
                    attributes(rest)
                        .take(100)
                        .map(|(_, content)| attributes(content).take(100).count())
                        .sum::<usize>()
                });
            assert!(read.count() < 100);
        }
    }
}
