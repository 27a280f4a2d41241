//! Indexes of image servers: what is offered has names and paths that lead nowhere else.

#![no_main]

use image::index::{Files, Index, lxc, products, simplestreams, sums};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for index in [lxc(bytes), simplestreams(bytes)].into_iter().flatten() {
        looks_right(&index);
    }
    let _path = products(bytes);
    let _sums = sums(bytes);
});

fn looks_right(index: &Index) {
    for offer in &index.offers {
        let name = offer.name().to_string();
        assert_eq!(name.parse().as_ref(), Ok(&offer.name()), "{name}");
        let paths = match &offer.files {
            Files::Lxc(dir) => vec![dir],
            Files::Streams { metadata, rootfs, .. } => vec![&metadata.path, &rootfs.path],
        };
        assert!(paths.iter().all(|path| path.as_str().split('/').all(|part| !matches!(part, "" | "." | ".."))));
    }
}
