//! Requests of the kernel's, one after the other in one superblock: each has an answer of the form that the kernel reads, or
//! none.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cgroup::CpuList;
use libfuzzer_sys::fuzz_target;
use lxcfs::files::FILES;
use lxcfs::fuse::{Answer, Contents, Has, Refused, Request, Session, Several, Tree, Wish, wake};
use lxcfs::triggers::{MOST, Triggers};

static TREE: LazyLock<Arc<Tree>> = LazyLock::new(Arc::default);

/// Files whose text grows.
#[derive(Default)]
struct Growing {
    size: usize,
    triggers: Triggers,
}

impl Growing {
    fn now(&self) -> Duration {
        Duration::from_micros(self.size as u64)
    }

    /// Has something done with the triggers, amid a pressure that grows.
    fn pressed<T>(
        &mut self,
        work: impl FnOnce(&mut Triggers, Duration, &mut dyn FnMut(usize) -> sys::Result<Option<String>>) -> T,
    ) -> T {
        self.size += 100_000;
        let (now, text) =
            (self.now(), format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={}\n", self.size));
        work(&mut self.triggers, now, &mut |_| Ok(Some(text.clone())))
    }
}

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
        self.size += 1500;
        let text = "x".repeat(self.size % 9000);
        if self.size % 7 == 0 { Err(sys::Error::new(text, sys::Errno::EMFILE)) } else { Ok(text) }
    }

    fn takes(&self, file: usize) -> bool {
        FILES[file].pressure().is_some()
    }

    fn write(&mut self, file: usize, wish: &Wish<'_>) -> Result<(), Refused> {
        self.pressed(|triggers, now, read| triggers.write(file, wish, now, read))
    }

    fn ask(&mut self, handle: u64, waiter: Option<u64>) -> Option<bool> {
        let now = self.now();
        self.triggers.ask(handle, waiter, now)
    }

    fn close(&mut self, handle: u64) {
        let now = self.now();
        self.triggers.close(handle, now);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut session = Session::new(Arc::clone(&TREE), 5, 1);
    let mut contents = Growing::default();
    let mut rest = bytes;
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
        contents.pressed(Triggers::look).into_iter().for_each(|waiter| check(&wake(waiter), 0));
    }
    check(&session.take_over(), 0);
    // Who takes over knows them all.
    let lines: Vec<String> = contents.triggers.lines().collect();
    assert!(lines.len() <= MOST);
    let mut next = Growing::default();
    for line in &lines {
        next.pressed(|triggers, now, read| triggers.go_on(line, now, read)).expect("a line of its own");
    }
    assert_eq!(next.triggers.lines().collect::<Vec<_>>(), lines);
});

fn check(answer: &[u8], unique: u64) {
    let word =
        |at: usize| answer.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    assert_eq!(word(0), u32::try_from(answer.len()).ok());
    assert_eq!(answer.get(8..16), Some(&unique.to_ne_bytes()[..]));
}
