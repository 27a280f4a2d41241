//! A whole file: nothing panics, what is told fits its line, and what is shown reads back as the same.

#![no_main]

use std::path::Path;

use config::keys::{self, Key, Shape};
use config::{Document, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let document = Document::from_bytes(bytes);
    assert_eq!(Document::from_bytes(&document.bytes()), document);
    let text = document.text();
    // Files of the host would make a run depend on it.
    if text.contains("lxc.include") {
        return;
    }
    match parse(&text, Path::new("/c")) {
        Ok(loaded) => {
            drop(loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>());
            // A family shows whole lines, and all devices their kinds.
            let valued = |item: &&Key| !matches!(item.shape, Shape::Family | Shape::Group);
            for item in keys::TABLE.iter().filter(valued).filter(|item| text.contains(item.name)) {
                reads_back(&loaded.config, item.name);
            }
        }
        Err(problems) => drop(problems.to_string()),
    }
});

/// Sets each line that a key shows in a fresh configuration, which then shows the same.
fn reads_back(config: &config::Config, key: &str) {
    let Ok(shown) = config.get(key) else { return };
    let mut again = config::Config::default();
    for line in shown.split('\n').filter(|line| !line.is_empty()) {
        assert_eq!(again.set(key, line), Ok(()), "{key} = {line}");
    }
    assert_eq!(again.get(key).as_deref(), Ok(shown.as_str()), "{key}");
}
