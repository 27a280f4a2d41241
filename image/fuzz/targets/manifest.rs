//! What registries and images say of an image: no file is larger than any that is fetched, and no variable or word has a NUL.

#![no_main]

use image::metadata::metadata;
use image::oci::{Meant, architecture, image, layers_of, manifest, tagged};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Meant::Image { layers, .. }) = manifest(bytes, architecture()) {
        assert!(layers.iter().all(|layer| layer.size <= image::index::MAX_FILE));
    }
    if let Ok((build, run)) = image(bytes) {
        let words = run.argv(&[]).into_iter().chain(run.environment).chain([build]);
        words.for_each(|word| assert!(!word.contains('\0'), "{word:?}"));
    }
    let _layers = layers_of(bytes);
    let _tagged = tagged(bytes, None);
    let _values = metadata(bytes);
});
