//! `SHA256SUMS`, as sha256sum(1) writes it.

use std::collections::BTreeMap;

use super::{BadIndex, text_of};
use types::Digest;

/// Reads the digests by the names of their files. Lines of another form are not taken.
///
/// # Errors
/// One file has two digests: two readers could each take another one.
pub fn sums(bytes: &[u8]) -> Result<BTreeMap<String, Digest>, BadIndex> {
    let mut sums = BTreeMap::new();
    for (digest, name) in text_of(bytes)?.lines().filter_map(sum) {
        if sums.insert(name.to_owned(), digest).is_some_and(|before| before != digest) {
            return Err(BadIndex::Twice(name.to_owned()));
        }
    }
    Ok(sums)
}

/// The digest, a blank, a blank or `*`, the name.
fn sum(line: &str) -> Option<(Digest, &str)> {
    let (digest, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    Some((Digest::from_hex(digest).ok()?, name))
}
