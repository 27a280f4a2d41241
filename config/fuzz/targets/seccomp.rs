//! A profile of system calls: nothing panics, and every problem has a line of the text.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = config::seccomp::parse(text, Path::new("/p")) {
        let lines = text.lines().count().max(2);
        assert!(!problems.0.is_empty() && problems.0.iter().all(|problem| problem.place.line <= lines));
        drop(problems.to_string());
    }
});
