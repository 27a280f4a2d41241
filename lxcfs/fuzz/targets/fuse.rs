//! Requests of the kernel's, one after the other in one superblock: each has an answer of the form that the kernel reads, or
//! none.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cgroup::CpuList;
use libfuzzer_sys::fuzz_target;
use lxcfs::fuse::{Answer, Contents, Has, Request, Session, Several, Tree};

static TREE: LazyLock<Arc<Tree>> = LazyLock::new(Arc::default);

/// Files whose text grows.
struct Growing(usize);

impl Has for Growing {
    fn path(&mut self, _path: &str) -> bool {
        true
    }

    fn several(&mut self, _which: Several) -> CpuList {
        CpuList::parse("0-1,7").unwrap_or_default()
    }
}

impl Contents for Growing {
    fn render(&mut self, _file: usize, _of: Option<u32>) -> sys::Result<String> {
        self.0 += 1500;
        let text = "x".repeat(self.0 % 9000);
        if self.0 % 7 == 0 { Err(sys::Error::new(text, sys::Errno::EMFILE)) } else { Ok(text) }
    }

    fn pressure(&mut self, _file: usize) -> sys::Result<Option<String>> {
        self.0 += 100_000;
        Ok(Some(format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={}\n", self.0)))
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.0 as u64)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut session = Session::new(Arc::clone(&TREE), 5, 1);
    let mut contents = Growing(0);
    let mut rest = bytes;
    let mut lines = Vec::new();
    // Each request is behind the other, as long as it says itself.
    while let Some(length) = rest.first_chunk().map(|length| u32::from_ne_bytes(*length) as usize) {
        let (message, later) = rest.split_at(length.clamp(4, rest.len()));
        rest = later;
        let Ok(request) = Request::parse(message) else { continue };
        match session.answer(&request, &mut contents) {
            Answer::Nothing => {}
            Answer::Gone => return,
            Answer::Reply(answer) => check(&answer, request.unique),
            Answer::Grow(store, answer) => {
                check(&store, 0);
                check(&answer, request.unique);
            }
        }
        lines = session.other_triggers().unwrap_or(lines);
        session.look(&mut contents).iter().for_each(|woken| check(woken, 0));
    }
    // Who takes over knows them all.
    let mut next = Session::new(Arc::clone(&TREE), 5, 1);
    next.take_over(&lines, &mut contents);
    assert_eq!(next.other_triggers().unwrap_or_default(), lines);
});

fn check(answer: &[u8], unique: u64) {
    let word =
        |at: usize| answer.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    assert_eq!(word(0), u32::try_from(answer.len()).ok());
    assert_eq!(answer.get(8..16), Some(&unique.to_ne_bytes()[..]));
}
