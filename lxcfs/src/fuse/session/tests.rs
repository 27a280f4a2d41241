//! Requests as the kernel sends them, and what it reads of the answers.

use super::*;
use cgroup::CpuList;

use crate::fuse::opens::OPEN;
use crate::fuse::tree::tests::Some12;
use crate::fuse::{ROOT, Several};

/// The text of a file that cannot be rendered now.
const UNREADABLE: &str = "unreadable";

/// Files that all have one text.
struct Same<'a> {
    text: &'a str,
    rendered: &'a mut usize,
    wished: &'a mut Wished,
}

/// The one file into which somebody may write, and what becomes of that.
#[derive(Debug)]
struct Wished {
    file: Option<usize>,
    taken: Result<(), Refused>,
    has_come: Option<bool>,
    /// Who has written what, and whose number is to be woken.
    last: Option<(u64, u32, Vec<u8>, bool)>,
    waiter: Option<u64>,
    closed: Option<u64>,
}

impl Default for Wished {
    fn default() -> Self {
        Self { file: None, taken: Ok(()), has_come: None, last: None, waiter: None, closed: None }
    }
}

impl Has for Same<'_> {
    fn path(&mut self, path: &str) -> bool {
        Some12.path(path)
    }

    fn several(&mut self, which: Several) -> CpuList {
        Some12.several(which)
    }
}

impl Contents for Same<'_> {
    fn render(&mut self, _file: usize, of: Option<u32>) -> sys::Result<String> {
        *self.rendered += 1;
        if self.text == UNREADABLE {
            return Err(sys::Error::new("openat(memory.max)".to_owned(), sys::Errno::EMFILE));
        }
        Ok(of.map_or_else(|| self.text.to_owned(), |of| of.to_string()))
    }

    fn takes(&self, file: usize) -> bool {
        self.wished.file == Some(file)
    }

    fn write(&mut self, file: usize, wish: &Wish<'_>) -> Result<(), Refused> {
        assert_eq!(Some(file), self.wished.file);
        self.wished.last = Some((wish.handle, wish.user, wish.text.to_vec(), wish.is_again));
        self.wished.taken
    }

    fn ask(&mut self, _handle: u64, waiter: Option<u64>) -> Option<bool> {
        self.wished.waiter = waiter;
        self.wished.has_come
    }

    fn close(&mut self, handle: u64) {
        self.wished.closed = Some(handle);
    }
}

/// A session in which each file's text is what the test says at that moment.
struct Told {
    session: Session,
    text: String,
    rendered: usize,
    wished: Wished,
}

impl Told {
    fn new(text: &str) -> Self {
        let session = Session::new(Arc::new(Tree::new()), 5, 1);
        Self { session, text: text.to_owned(), rendered: 0, wished: Wished::default() }
    }

    fn ask(&mut self, node: u64, operation: Operation<'_>) -> Answer {
        self.ask_as(9, node, operation)
    }

    fn ask_as(&mut self, unique: u64, node: u64, operation: Operation<'_>) -> Answer {
        let Self { session, text, rendered, wished } = self;
        let request = Request { unique, node, user: 1000, operation };
        session.answer(&request, &mut Same { text, rendered, wished })
    }

    fn node(&self, path: &str) -> u64 {
        let tree = &self.session.tree;
        path.split('/')
            .try_fold(ROOT, |parent, name| tree.find(parent, name.as_bytes(), &mut Some12))
            .unwrap()
    }

    fn open(&mut self, path: &str) -> u64 {
        let answer = self.ask(self.node(path), Operation::Open { flags: 0 });
        let (Answer::Reply(bytes) | Answer::Grow(_, bytes)) = answer else { panic!("{answer:?}") };
        u64::from_ne_bytes(body(&bytes)[..8].try_into().unwrap())
    }

    fn read(&mut self, path: &str, handle: u64, offset: u64, size: u32) -> String {
        let answer = self.ask(self.node(path), Operation::Read { handle, offset, size });
        String::from_utf8(body(&replied(answer)).to_vec()).unwrap()
    }
}

fn replied(answer: Answer) -> Vec<u8> {
    let Answer::Reply(bytes) = answer else { panic!("{answer:?}") };
    bytes
}

/// Returns what follows the header of a message that tells of no error.
fn body(bytes: &[u8]) -> &[u8] {
    assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
    assert_eq!((error(bytes), &bytes[8..16]), (0, &9u64.to_ne_bytes()[..]));
    &bytes[16..]
}

fn error(bytes: &[u8]) -> i32 {
    -i32::from_ne_bytes(bytes[4..8].try_into().unwrap())
}

const MEMINFO: &str = "proc/meminfo";

#[test]
fn a_file_is_rendered_when_it_is_opened_and_read_in_pieces() {
    let mut told = Told::new("abcdef");
    let handle = told.open(MEMINFO);
    told.text = "later".to_owned();
    assert_eq!(told.read(MEMINFO, handle, 0, 4), "abcd");
    assert_eq!(told.read(MEMINFO, handle, 4, 4), "ef");
    assert_eq!(told.read(MEMINFO, handle, 6, 4), "");
    assert_eq!(told.read(MEMINFO, handle, u64::MAX, 4), "");
    assert_eq!(told.rendered, 1);
}

#[test]
fn reading_from_the_beginning_again_shows_the_present() {
    let mut told = Told::new("first");
    let handle = told.open(MEMINFO);
    assert_eq!(told.read(MEMINFO, handle, 0, 100), "first");
    told.text = "second".to_owned();
    assert_eq!(told.read(MEMINFO, handle, 0, 100), "second");
    assert_eq!(told.read(MEMINFO, handle, 3, 100), "ond");
}

#[test]
fn an_open_that_another_process_answered_is_read_all_the_same() {
    let mut told = Told::new("abcdef");
    assert_eq!(told.read(MEMINFO, 4711, 2, 100), "cdef");
    assert_eq!(told.read(MEMINFO, 4711, 0, 100), "abcdef");
    assert!(told.open(MEMINFO) > 4711, "the handle is had already");
}

#[test]
fn who_takes_over_asks_for_what_was_not_answered_and_trusts_no_size() {
    let mut told = Told::new("abc");
    let resend = told.session.take_over();
    assert_eq!((resend.len(), error(&resend), &resend[8..]), (16, -7, &[0; 8][..]));
    let node = told.node(MEMINFO);
    assert!(matches!(told.ask(node, Operation::Open { flags: 0 }), Answer::Grow(..)));
    assert!(matches!(told.ask(node, Operation::Open { flags: 0 }), Answer::Reply(_)));
}

#[test]
fn many_opens_take_no_more_than_their_share_and_all_can_be_read() {
    let mut told = Told::new("abc");
    let handles: Vec<u64> = (0..OPEN + 50).map(|_| told.open(MEMINFO)).collect();
    assert_eq!(told.session.texts.len(), OPEN);
    for handle in &handles {
        assert_eq!(told.read(MEMINFO, *handle, 0, 100), "abc");
        assert!(told.session.texts.len() <= OPEN);
    }
    for handle in handles {
        told.ask(ROOT, Operation::Release { handle });
    }
    assert!(told.session.texts.len() == 0);
}

#[test]
fn the_size_is_whole_pages_and_grows_before_a_longer_text_is_opened() {
    let mut told = Told::new("abc");
    let node = told.node(MEMINFO);
    let size = |told: &mut Told| {
        let status = replied(told.ask(node, Operation::GetAttr));
        u64::from_ne_bytes(body(&status)[24..32].try_into().unwrap())
    };
    assert_eq!(size(&mut told), PAGE);
    let handle = told.open(MEMINFO);
    told.read(MEMINFO, handle, 0, 4096);
    assert!(matches!(told.ask(node, Operation::Open { flags: 0 }), Answer::Reply(_)), "the same length");
    told.text = "abcd".to_owned();
    let answer = told.ask(node, Operation::Open { flags: 0 });
    let Answer::Grow(store, _) = answer else { panic!("{answer:?}") };
    let number = |at: usize| u64::from_ne_bytes(store[at..at + 8].try_into().unwrap());
    assert_eq!((error(&store), number(8), number(16), number(24)), (-4, 0, node, PAGE - 1));
    assert!(matches!(told.ask(node, Operation::Open { flags: 0 }), Answer::Reply(_)), "it has grown");
    told.text = "x".repeat(5000);
    assert!(matches!(told.ask(node, Operation::Open { flags: 0 }), Answer::Grow(..)));
    assert_eq!(size(&mut told), 2 * PAGE);
}

#[test]
fn what_cannot_be_read_now_is_an_error_and_no_other_text() {
    let mut told = Told::new("text");
    let handle = told.open("proc/meminfo");
    told.text = UNREADABLE.to_owned();
    let node = told.node("proc/meminfo");
    let failed = Answer::failure(9);
    assert_eq!(told.ask(node, Operation::Open { flags: 0 }), failed);
    let read = |handle| Operation::Read { handle, offset: 0, size: 100 };
    // What has been rendered is read, and not rendered anew.
    assert_ne!(told.ask(node, read(handle)), failed);
    assert_eq!([told.ask(node, read(handle)), told.ask(node, read(77))], [failed.clone(), failed]);
}

#[test]
fn a_file_of_a_processor_is_rendered_for_that_one() {
    let mut told = Told::new("text");
    for (cpu, text) in [("1", "1"), ("2", "2")] {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/core_id");
        let handle = told.open(&path);
        assert_eq!(told.read(&path, handle, 0, 100), text);
    }
    let kept = |told: &mut Told, path: &str| {
        let status = replied(told.ask(told.node(path), Operation::GetAttr));
        u64::from_ne_bytes(body(&status)[..8].try_into().unwrap())
    };
    assert_eq!(kept(&mut told, "sys/devices/system/cpu/cpu1"), 1);
    assert_eq!(kept(&mut told, "sys/devices/system/cpu/online"), 3600);
}

#[test]
fn directories_are_listed_however_little_room_there_is() {
    let mut told = Told::new("");
    let node = told.node("proc");
    let list = |told: &mut Told, size| {
        let mut names = Vec::new();
        loop {
            let offset = names.len() as u64;
            let listed = replied(told.ask(node, Operation::ReadDir { offset, size }));
            let mut rest = body(&listed);
            if rest.is_empty() {
                return names;
            }
            while !rest.is_empty() {
                let length = u32::from_ne_bytes(rest[16..20].try_into().unwrap()) as usize;
                names.push(String::from_utf8(rest[24..24 + length].to_vec()).unwrap());
                rest = &rest[(24 + length).next_multiple_of(8)..];
            }
        }
    };
    let all = list(&mut told, 4096);
    assert_eq!(all[..3], [".", "..", "cpuinfo"]);
    assert!(all.contains(&"meminfo".to_owned()));
    assert_eq!(list(&mut told, 40), all);
}

#[test]
fn what_is_not_there_or_not_done_is_refused() {
    let mut told = Told::new("");
    let (file, dir) = (told.node(MEMINFO), told.node("proc"));
    let read = Operation::Read { handle: 1, offset: 0, size: 1 };
    let cases = [
        (dir, Operation::Lookup(b"nothing"), errno::NOENT),
        (file, Operation::Lookup(b"x"), errno::NOENT),
        (99, Operation::GetAttr, errno::NOENT),
        (dir, Operation::Open { flags: 0 }, errno::ISDIR),
        (99, Operation::Open { flags: 0 }, errno::NOENT),
        (file, Operation::Open { flags: 2 }, errno::ROFS),
        (dir, read, errno::ISDIR),
        (99, read, errno::NOENT),
        (file, Operation::OpenDir, errno::NOTDIR),
        (file, Operation::ReadDir { offset: 0, size: 100 }, errno::NOTDIR),
        (file, Operation::ReadLink, errno::INVAL),
        (file, Operation::Other(20), errno::NOSYS),
        (file, Operation::Write { handle: 1, text: b"some 150000 1000000" }, errno::ROFS),
        (file, Operation::SetAttr { what: 1 }, errno::ROFS),
        (file, Operation::Poll { handle: 1, waiter: None }, errno::NOSYS),
        (0, Operation::Init { version: (6, 1), flags: 0, readahead: 0 }, errno::PROTO),
    ];
    for (node, operation, expected) in cases {
        let answer = replied(told.ask(node, operation));
        assert_eq!((error(&answer), answer.len()), (expected, 16), "{operation:?}");
    }
    assert_eq!(told.ask(ROOT, Operation::Unanswered), Answer::Nothing);
    assert_eq!(told.ask(ROOT, Operation::Destroy), Answer::Gone);
}

const PRESSURE: &str = "proc/pressure/cpu";
const SOME: &[u8] = b"some 150000 1000000\0";

impl Told {
    /// Has somebody write into one of the files.
    fn taking(path: &str) -> Self {
        let mut told = Self::new("text");
        let Some(Kind::File(at)) = told.session.tree.kind(told.node(path)) else { panic!("no {path}") };
        told.wished.file = Some(at);
        told
    }

    /// Asks something of the file, and returns the number of the error.
    fn fails(&mut self, operation: Operation<'_>) -> i32 {
        error(&replied(self.ask(self.node(PRESSURE), operation)))
    }

    fn ready(&mut self, handle: u64, waiter: Option<u64>) -> u32 {
        let answer = replied(self.ask(self.node(PRESSURE), Operation::Poll { handle, waiter }));
        u32::from_ne_bytes(body(&answer)[..4].try_into().unwrap())
    }
}

#[test]
fn what_is_written_into_a_file_that_takes_it_is_waited_for() {
    const READY: u32 = 0x145;
    const URGENT: u32 = 2;
    const ERROR: u32 = 8;
    let mut told = Told::taking(PRESSURE);
    let node = told.node(PRESSURE);
    assert!(matches!(told.ask(node, Operation::Open { flags: 2 }), Answer::Reply(_)));
    let handle = told.open(PRESSURE);
    // As on the host: who waits for nothing is told so at once.
    assert_eq!(told.ready(handle, None), READY | URGENT | ERROR);
    let written = replied(told.ask(node, Operation::Write { handle, text: SOME }));
    assert_eq!(u32::from_ne_bytes(body(&written)[..4].try_into().unwrap()), SOME.len() as u32);
    assert_eq!(told.wished.last, Some((handle, 1000, SOME.to_vec(), false)));
    told.wished.has_come = Some(false);
    assert_eq!((told.ready(handle, Some(99)), told.wished.waiter), (READY, Some(99)));
    told.wished.has_come = Some(true);
    assert_eq!(told.ready(handle, None), READY | URGENT);
    let woken = wake(99);
    let number = |at: usize| u64::from_ne_bytes(woken[at..at + 8].try_into().unwrap());
    assert_eq!((woken.len(), error(&woken), number(8), number(16)), (24, -1, 0, 99));
    told.ask(node, Operation::Release { handle });
    assert_eq!(told.wished.closed, Some(handle));
    // What the process before had read and not answered.
    told.ask_as(1 << 63 | 9, node, Operation::Write { handle, text: SOME });
    assert!(told.wished.last.is_some_and(|(.., is_again)| is_again));
}

#[test]
fn what_is_not_taken_is_refused_as_the_kernel_does() {
    let mut told = Told::taking(PRESSURE);
    for (refused, expected) in [
        (Refused::Wrong, errno::INVAL),
        (Refused::Another, errno::BUSY),
        (Refused::Many, errno::NOMEM),
        (Refused::Unsupported, errno::OPNOTSUPP),
        (Refused::Unreadable, errno::IO),
    ] {
        told.wished.taken = Err(refused);
        assert_eq!(told.fails(Operation::Write { handle: 1, text: SOME }), expected, "{refused:?}");
    }
    // Where nobody can wait, nothing can be written.
    let mut told = Told::new("text");
    assert_eq!(told.fails(Operation::Open { flags: 2 }), errno::ROFS);
    assert_eq!(told.fails(Operation::Write { handle: 1, text: SOME }), errno::ROFS);
    assert_eq!(told.fails(Operation::Poll { handle: 1, waiter: Some(1) }), errno::NOSYS);
}

#[test]
fn a_file_that_is_written_may_be_cut_and_keeps_its_mode() {
    let mut told = Told::taking(PRESSURE);
    let mode = |told: &mut Told, path: &str| {
        let status = replied(told.ask(told.node(path), Operation::GetAttr));
        u32::from_ne_bytes(body(&status)[76..80].try_into().unwrap())
    };
    assert_eq!((mode(&mut told, PRESSURE), mode(&mut told, MEMINFO)), (0o100_666, 0o100_444));
    for (what, expected) in
        [(1, errno::PERM), (2, errno::PERM), (4, errno::PERM), (1 << 3, 0), (1 << 3 | 1, 1)]
    {
        assert_eq!(told.fails(Operation::SetAttr { what }), expected, "{what}");
    }
}

#[test]
fn messages_have_the_lengths_that_the_kernel_expects() {
    let mut told = Told::taking(PRESSURE);
    told.text = String::new();
    let file = told.node(MEMINFO);
    let lengths = [
        (Operation::Init { version: (7, 45), flags: u64::MAX, readahead: 1 }, ROOT, 64),
        (Operation::Lookup(b"proc"), ROOT, 128),
        (Operation::GetAttr, file, 104),
        (Operation::Open { flags: 0 }, file, 16),
        (Operation::OpenDir, ROOT, 16),
        (Operation::Poll { handle: 1, waiter: None }, told.node(PRESSURE), 8),
        (Operation::StatFs, ROOT, 80),
    ];
    for (operation, node, expected) in lengths {
        assert_eq!(body(&replied(told.ask(node, operation))).len(), expected, "{operation:?}");
    }
}

#[test]
fn only_what_the_kernel_offers_is_taken() {
    let flags = |offered| {
        let bytes = reply::done(9, init((7, 31), offered, 0).ok().unwrap());
        let word = |at: usize| u32::from_ne_bytes(body(&bytes)[at..at + 4].try_into().unwrap());
        (word(4), word(12), word(32))
    };
    assert_eq!(flags(0), (31, 0, 0));
    assert_eq!(flags(1 << 39), (31, 0, 0), "without INIT_EXT there is no other half");
    assert_eq!(flags(1 << 39 | 1 << 30), (31, 1 << 30, 1 << 7));
}

proptest::proptest! {
    #[test]
    fn no_request_makes_a_session_panic(
        requests in proptest::collection::vec(
            (0..60u32, 0..20u64, proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)),
            0..40,
        ),
    ) {
        let mut told = Told::taking(PRESSURE);
        for (opcode, node, body) in requests {
            let bytes = crate::fuse::request::tests::written(opcode, node, &body);
            if let Ok(request) = Request::parse(&bytes) {
                let Told { session, text, rendered, wished } = &mut told;
                let _answer = session.answer(&request, &mut Same { text, rendered, wished });
            }
        }
        proptest::prop_assert!(told.session.texts.len() <= OPEN);
    }
}
