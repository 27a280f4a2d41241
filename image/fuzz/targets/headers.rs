//! Archives: headers, extended headers, maps of sparse files, and the decompressors before them.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // A pipe takes so much at once.
    let (reader, mut writer) = std::io::pipe().expect("there are fds for a pipe");
    writer.write_all(&bytes[..bytes.len().min(1 << 16)]).expect("the pipe has room");
    drop(writer);
    let _described = image::describe(reader.into());
});
