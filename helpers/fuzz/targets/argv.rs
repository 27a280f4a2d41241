//! The arguments of both helpers, as bytes with a NUL behind each: what is read is printable, short, and spelled in one way.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use helpers::{guard, surroundings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let words = || bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    for cap in [netdev::PROGRAM.argument_cap, idmap::PROGRAM.argument_cap] {
        let Ok(arguments) = surroundings::readable(words(), cap) else { continue };
        assert!(bytes.len() < cap && arguments.len() == words().count());
        assert!(arguments.iter().all(|word| word.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
        if let Some(fd) = arguments.first().and_then(|word| guard::descriptor(word)) {
            assert!(fd > 2 && fd.to_string() == arguments[0]);
        }
        match netdev::request::parse(&arguments) {
            Ok(request) => {
                assert_eq!(arguments, [request.bridge.as_str(), request.peer.as_str()]);
                assert!(!arguments.iter().any(|name| name.contains(['/', '%', ' ', ':']) || name.len() > 15));
            }
            Err(error) => drop(error.to_string()),
        }
        match idmap::request::parse(&arguments) {
            // Each extent says in its one spelling what was asked for.
            Ok(map) => {
                let line = |kind: char, extent: &types::IdExtent| {
                    let (inside, outside) = (extent.inside, extent.outside);
                    format!("{kind}:{}:{}:{}", inside.start(), outside.start(), outside.end() - u64::from(outside.start()))
                };
                let of = |kind: char| arguments.iter().filter(move |word| word.starts_with(kind)).cloned();
                assert!(map.uids.iter().map(|extent| line('u', extent)).eq(of('u')));
                assert!(map.gids.iter().map(|extent| line('g', extent)).eq(of('g')));
                assert_eq!(map.uids.len() + map.gids.len(), arguments.len());
            }
            Err(error) => drop(error.to_string()),
        }
    }
});
