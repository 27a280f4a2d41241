//! Capabilities: dropping them from the bounding set and from the process.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Call, Errno, Result};

/// The bit of CAP_SYS_ADMIN.
pub const SYS_ADMIN: u64 = 1 << 21;

/// Keeps of the bounding set only the capabilities whose bit is set in `keep`, up to the kernel's last one.
pub fn limit_bounding_set(keep: u64) -> Result<()> {
    for number in 0..64 {
        let set = CapabilitySet::from_bits_retain(1 << number);
        if keep & (1 << number) != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(set) {
            Err(rustix::io::Errno::INVAL) => break,
            done => done.call(|| format!("prctl(PR_CAPBSET_DROP, {number})"))?,
        }
    }
    Ok(())
}

/// Limits the permitted and effective capabilities to those of `keep`, and empties the inheritable and ambient sets.
pub fn limit_own(keep: u64) -> Result<()> {
    match rustix::thread::clear_ambient_capability_set() {
        Err(rustix::io::Errno::INVAL) | Ok(()) => {}
        Err(e) => return Err(e).call(|| "prctl(PR_CAP_AMBIENT_CLEAR_ALL)".to_owned()),
    }
    let now = rustix::thread::capabilities(None).call(|| "capget()".to_owned())?;
    let kept = CapabilitySet::from_bits_retain(keep);
    let sets = CapabilitySets {
        effective: now.effective & kept,
        permitted: now.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).call(|| format!("capset({keep:#x})"))
}

/// Tells whether no_new_privs is set on this process, so that no helper can gain rights by exec.
pub fn no_new_privs() -> std::result::Result<bool, Errno> {
    rustix::thread::no_new_privs().map_err(|e| Errno::from_raw(e.raw_os_error()))
}
