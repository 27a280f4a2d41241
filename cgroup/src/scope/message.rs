//! Messages of D-Bus as bytes: as much of the protocol as asking systemd for a scope takes.
//!
//! Source: D-Bus Specification, "Type System" and "Message Protocol".

/// How this machine's byte order is written at the beginning of a message.
const ORDER: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Fields of a header, by their numbers.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The part of a message that says how long the rest is.
pub(super) const FIXED: usize = 16;

/// The longest message that is read: systemd's own about a unit has some kilobytes.
const LONGEST: usize = 1 << 20;

/// Values in the form of a message, each where its alignment wants it.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<u8>);

impl Values {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn number(&mut self, number: u32) -> &mut Self {
        self.align(4);
        self.0.extend(number.to_ne_bytes());
        self
    }

    /// Adds a text, or the path of an object.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
        self
    }

    fn signature(&mut self, signature: &str) -> &mut Self {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
        self
    }

    /// Adds an array whose elements have this alignment.
    pub(super) fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self) -> &mut Self) -> &mut Self {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let begin = self.0.len();
        fill(self);
        let length = (self.0.len() - begin) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Adds a structure of a name and a value of the type that `signature` tells.
    pub(super) fn named(
        &mut self,
        name: &str,
        signature: &str,
        value: impl FnOnce(&mut Self) -> &mut Self,
    ) -> &mut Self {
        self.align(8);
        self.text(name).signature(signature);
        value(self);
        self
    }

    fn field(
        &mut self,
        number: u8,
        signature: &str,
        value: impl FnOnce(&mut Self) -> &mut Self,
    ) -> &mut Self {
        self.align(8);
        self.0.push(number);
        self.signature(signature);
        value(self);
        self
    }
}

/// A method that is to be called.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// The types of its arguments.
    pub(super) signature: &'a str,
}

impl Call<'_> {
    /// Returns the message with these arguments.
    pub(super) fn message(&self, serial: u32, arguments: &Values) -> Vec<u8> {
        let mut header = Values(vec![ORDER, CALL, 0, 1]);
        header.number(arguments.0.len() as u32).number(serial);
        header.array(8, |fields| {
            fields
                .field(PATH, "o", |value| value.text(self.path))
                .field(INTERFACE, "s", |value| value.text(self.interface))
                .field(MEMBER, "s", |value| value.text(self.member))
                .field(DESTINATION, "s", |value| value.text(self.destination))
                .field(SIGNATURE, "g", |value| value.signature(self.signature))
        });
        header.align(8);
        header.0.extend(&arguments.0);
        header.0
    }
}

/// What came: as much of it as matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The answer to the call of this serial, with its first argument where that is a text or path.
    Return(u32, Option<String>),
    /// The refusal of the call of this serial: its name, and what it says.
    Error(u32, String, String),
    /// A job of systemd's has ended: its path, and how.
    JobRemoved(String, String),
    /// Anything else.
    Other,
}

/// Returns how long the whole message is that begins like this; none for what is no message, or too long a one.
pub(super) fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    let mut reader = Reader { bytes: fixed, at: 4 };
    let (body, _serial, fields) = (reader.number()?, reader.number()?, reader.number()?);
    let header = FIXED.checked_add(fields as usize)?.checked_next_multiple_of(8)?;
    let length = header.checked_add(body as usize)?;
    (fixed[0] == ORDER && length <= LONGEST).then_some(length)
}

impl Message {
    /// Reads a whole message; none for bytes that are none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 12 };
        let end = FIXED.checked_add(reader.number()? as usize)?;
        let (mut answered, mut member, mut error, mut signature) =
            (0, String::new(), String::new(), String::new());
        while reader.at < end {
            reader.align(8);
            let field = reader.byte()?;
            let kind = reader.signature()?;
            match (field, kind) {
                (REPLY_SERIAL, "u") => answered = reader.number()?,
                (MEMBER, "s") => member = reader.text()?.to_owned(),
                (ERROR_NAME, "s") => error = reader.text()?.to_owned(),
                (SIGNATURE, "g") => signature = reader.signature()?.to_owned(),
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.number()?),
                _ => return None,
            }
        }
        reader.align(8);
        let has_text = signature.starts_with(['s', 'o']);
        Some(match *bytes.get(1)? {
            RETURN if has_text => Self::Return(answered, Some(reader.text()?.to_owned())),
            RETURN => Self::Return(answered, None),
            ERROR if has_text => Self::Error(answered, error, reader.text()?.to_owned()),
            ERROR => Self::Error(answered, error, String::new()),
            SIGNAL if member == "JobRemoved" && signature == "uoss" => {
                reader.number()?;
                let (job, _unit, how) = (reader.text()?, reader.text()?, reader.text()?);
                Self::JobRemoved(job.to_owned(), how.to_owned())
            }
            _ => Self::Other,
        })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        self.ended(length as usize)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()?;
        self.ended(length.into())
    }

    /// Takes a text, behind which is a NUL.
    fn ended(&mut self, length: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL_OF_TEST: Call<'_> =
        Call { destination: "a.b", path: "/a", interface: "a.b.C", member: "Do", signature: "sa(sv)" };

    fn with_body(kind: u8, fields: fn(&mut Values) -> &mut Values, body: &Values) -> Vec<u8> {
        let mut message = Values(vec![ORDER, kind, 0, 1]);
        message.number(body.0.len() as u32).number(9).array(8, fields).align(8);
        message.0.extend(&body.0);
        message.0
    }

    fn values(fill: impl FnOnce(&mut Values) -> &mut Values) -> Values {
        let mut values = Values::default();
        fill(&mut values);
        values
    }

    #[test]
    fn values_lie_where_their_alignment_wants_them() {
        let written = values(|v| v.text("ab").array(8, |v| v.named("k", "b", |v| v.number(1))));
        let (number, one) = (|n: u32| n.to_ne_bytes(), 1u32.to_ne_bytes());
        // The length of an array is that of its elements, without what is before the first.
        let told =
            [&number(2)[..], b"ab\0\0", &number(16), &[0; 4], &one, b"k\0\x01b", &[0; 4], &one].concat();
        assert_eq!(written.0, told);
    }

    #[test]
    fn a_call_says_how_long_it_is() {
        let message = CALL_OF_TEST.message(7, &values(|v| v.text("x")));
        let fixed: &[u8; FIXED] = message[..FIXED].try_into().unwrap();
        assert_eq!(length(fixed), Some(message.len()));
        assert_eq!(Message::read(&message), Some(Message::Other));
    }

    #[test]
    fn answers_refusals_and_ends_of_jobs_are_told_apart() {
        fn answer(v: &mut Values) -> &mut Values {
            v.field(REPLY_SERIAL, "u", |v| v.number(7)).field(SIGNATURE, "g", |v| v.signature("o"))
        }
        let job = values(|v| v.text("/job/1"));
        assert_eq!(
            Message::read(&with_body(RETURN, answer, &job)),
            Some(Message::Return(7, Some("/job/1".into())))
        );
        fn refusal(v: &mut Values) -> &mut Values {
            v.field(ERROR_NAME, "s", |v| v.text("a.Error")).field(REPLY_SERIAL, "u", |v| v.number(7)).field(
                SIGNATURE,
                "g",
                |v| v.signature("s"),
            )
        }
        let why = values(|v| v.text("no"));
        assert_eq!(
            Message::read(&with_body(ERROR, refusal, &why)),
            Some(Message::Error(7, "a.Error".into(), "no".into()))
        );
        fn removed(v: &mut Values) -> &mut Values {
            v.field(PATH, "o", |v| v.text("/org")).field(MEMBER, "s", |v| v.text("JobRemoved")).field(
                SIGNATURE,
                "g",
                |v| v.signature("uoss"),
            )
        }
        let how = values(|v| v.number(1).text("/job/1").text("a.scope").text("done"));
        assert_eq!(
            Message::read(&with_body(SIGNAL, removed, &how)),
            Some(Message::JobRemoved("/job/1".into(), "done".into()))
        );
    }

    #[test]
    fn what_is_cut_or_too_long_is_no_message() {
        let whole = CALL_OF_TEST.message(7, &values(|v| v.text("x")));
        for end in 0..FIXED + 40 {
            assert_eq!(Message::read(&whole[..end]), None, "{end}");
        }
        let mut fixed: [u8; FIXED] = whole[..FIXED].try_into().unwrap();
        fixed[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(length(&fixed), None);
        fixed[4..8].copy_from_slice(&0u32.to_ne_bytes());
        fixed[0] = b'x';
        assert_eq!(length(&fixed), None);
    }
}
