//! Files of subordinate ids, and the line of nsswitch.conf about them: each line is somebody's or cannot be read, and ids are
//! granted only by a range that holds them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::{nsswitch, subid};
use types::IdRange;

fuzz_target!(|text: &[u8]| {
    let ana = subid::Owner { uid: 1000, name: Some(b"ana") };
    let own = subid::ranges(text, &ana);
    let others = subid::others(text, &ana);
    let plain = |owner: &[u8], range: &IdRange| {
        [owner, format!(":{}:{}\n", range.start(), range.end() - u64::from(range.start())).as_bytes()].concat()
    };
    let again: Vec<u8> = own.iter().flat_map(|range| plain(b"ana", range)).collect();
    assert_eq!(subid::ranges(&again, &ana), own);
    for (owner, range) in &others {
        assert_eq!(subid::others(&plain(owner, range), &ana), [(*owner, *range)]);
    }
    let bad = subid::bad_lines(text);
    assert!(bad.len() + own.len() + others.len() <= text.split(|byte| *byte == b'\n').count());
    drop(bad.iter().map(ToString::to_string).collect::<Vec<_>>());
    // At each edge of each range: an id is granted when one of the ranges holds it.
    for range in &own {
        let start = u64::from(range.start());
        for id in [start.wrapping_sub(1), start, range.end() - 1, range.end()] {
            let Ok(one) = IdRange::new(id, 1) else { continue };
            let held = own.iter().any(|range| (u64::from(range.start())..range.end()).contains(&id));
            assert_eq!(subid::granted(&own, one), held);
        }
        assert!(subid::granted(&own, *range));
    }
    if let Some(free) = subid::free_range(&[text], &[1_000_000], 65_536) {
        let all = own.iter().chain(others.iter().map(|(_, range)| range));
        assert!(all.into_iter().all(|range| !range.overlaps(free)) && free.end() <= 1 << 31);
    }
    let elsewhere = nsswitch::subid_elsewhere(text);
    assert_eq!(nsswitch::subid_elsewhere(&[text, b"\npasswd: files\n"].concat()), elsewhere);
});
