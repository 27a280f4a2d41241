//! The index of LXC's image server, `/meta/1.0/index-user`: a line for each image, its fields parted by `;`.

use super::{BadEntry, BadIndex, Files, Index, Offer, UrlPath, text_of};

/// Reads `DISTRIBUTION;RELEASE;ARCHITECTURE;VARIANT;BUILD;PATH` lines.
///
/// LXC: reads on in a line of any form, and takes any path.
///
/// # Errors
/// The text as a whole is no index.
pub fn lxc(bytes: &[u8]) -> Result<Index, BadIndex> {
    let mut index = Index::default();
    let lines = text_of(bytes)?.lines().filter(|line| !line.is_empty());
    lines.map(offer).try_for_each(|entry| index.push(entry))?;
    Ok(index)
}

/// A `;` after the last field is usual.
fn offer(line: &str) -> Result<Offer, BadEntry> {
    let fields: Vec<&str> = line.strip_suffix(';').unwrap_or(line).split(';').collect();
    let [distribution, release, arch, variant, build, path] = fields[..] else {
        return Err(BadEntry::Fields);
    };
    let path = path.trim_start_matches('/').trim_end_matches('/');
    Ok(Offer {
        distribution: distribution.parse()?,
        release: release.parse()?,
        also: Vec::new(),
        arch: arch.parse()?,
        variant: variant.parse()?,
        build: build.parse()?,
        files: Files::Lxc(path.parse()?),
    })
}

/// Returns the path of a file in the directory of an image.
///
/// # Errors
/// Both together are too long.
pub fn lxc_part(dir: &UrlPath, name: &str) -> Result<UrlPath, BadEntry> {
    format!("{}/{name}", dir.as_str()).parse()
}
