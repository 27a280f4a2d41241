//! The keys that leave a console: a prefix, then `q`; the prefix twice sends it once.

/// Looks for the escape in what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Escape {
    prefix: u8,
    seen: bool,
}

/// What becomes of typed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// These go to the console.
    pub(crate) keys: Vec<u8>,
    /// The user wants to leave.
    pub(crate) leaves: bool,
}

impl Escape {
    /// Reads the prefix as `lxc-console -e` takes it: `^x` or `x` for Ctrl-x.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let letter = text.strip_prefix('^').unwrap_or(text);
        match letter.as_bytes() {
            [byte] if byte.is_ascii_alphabetic() => Some(Self { prefix: byte & 0x1f, seen: false }),
            _ => None,
        }
    }

    /// Returns the letter of the prefix, in lower case.
    pub(crate) fn letter(self) -> char {
        char::from(self.prefix | 0x60)
    }

    /// Takes typed bytes. After the prefix any other key than `q` and the prefix is sent by itself, as LXC does.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Typed {
        let mut keys = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            match (self.seen, byte) {
                (true, b'q') => return Typed { keys, leaves: true },
                (false, byte) if byte == self.prefix => self.seen = true,
                _ => {
                    self.seen = false;
                    keys.push(byte);
                }
            }
        }
        Typed { keys, leaves: false }
    }
}

impl Default for Escape {
    fn default() -> Self {
        Self { prefix: 1, seen: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut escape = Escape::default();
        let all: Vec<Typed> = pieces.iter().map(|piece| escape.take(piece)).collect();
        (all.iter().flat_map(|t| t.keys.clone()).collect(), all.iter().any(|t| t.leaves))
    }

    #[test]
    fn the_prefix_and_q_leave_also_in_two_reads() {
        assert_eq!(typed(&[b"ls\r\x01q"]), (b"ls\r".to_vec(), true));
        assert_eq!(typed(&[b"\x01", b"q"]), (Vec::new(), true));
        assert_eq!(typed(&[b"q"]), (b"q".to_vec(), false));
    }

    #[test]
    fn the_prefix_twice_sends_it_once() {
        assert_eq!(typed(&[b"\x01\x01q"]), (b"\x01q".to_vec(), false));
        assert_eq!(typed(&[b"\x01xq"]), (b"xq".to_vec(), false));
    }

    #[test]
    fn any_letter_can_be_the_prefix() {
        assert_eq!(Escape::parse("^B"), Some(Escape { prefix: 2, seen: false }));
        assert_eq!(Escape::parse("b").map(Escape::letter), Some('b'));
        assert_eq!(Escape::parse("^"), None);
        assert_eq!(Escape::parse("bc"), None);
    }
}
