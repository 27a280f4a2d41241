//! A file of mounts and the words of `lxc.mount.auto`: nothing panics, and what is shown reads back as the same.

#![no_main]

use config::{Config, MountEntry, fstab};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for entry in fstab(text) {
        assert_eq!(MountEntry::read(&entry.line), entry);
    }
    let mut config = Config::default();
    for line in text.lines() {
        drop((config.set("lxc.mount.auto", line), config.set("lxc.mount.entry", line), config.set("lxc.rootfs.path", line)));
    }
    let shown = config.mount_auto.to_string();
    let mut again = Config::default();
    again.set("lxc.mount.auto", &shown).expect("what is shown is understood");
    assert_eq!(again.mount_auto, config.mount_auto);
});
