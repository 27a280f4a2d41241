//! What this machine's own distribution is called on image servers: what `bryo create NAME` makes without more words.

use std::path::Path;

use types::source::ImageName;

/// Where distributions say what they are. Source: os-release(5).
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// What servers call a distribution otherwise than it calls itself, and which part of its version counts.
const NAMES: [(&str, &str, Version); 13] = [
    ("almalinux", "almalinux", Version::Major),
    ("alpine", "alpine", Version::MajorMinor),
    ("amzn", "amazonlinux", Version::Whole),
    ("arch", "archlinux", Version::Is("current")),
    ("centos", "centos", Version::Stream),
    ("gentoo", "gentoo", Version::Is("current")),
    ("ol", "oracle", Version::Major),
    ("opensuse-leap", "opensuse", Version::Whole),
    ("opensuse-tumbleweed", "opensuse", Version::Is("tumbleweed")),
    ("rocky", "rockylinux", Version::Major),
    ("slackware", "slackware", Version::Whole),
    ("void", "voidlinux", Version::Is("current")),
    ("openeuler", "openeuler", Version::Whole),
];

/// What of a version is the name of a release.
#[derive(Clone, Copy)]
enum Version {
    Whole,
    Major,
    MajorMinor,
    /// `9-Stream`.
    Stream,
    /// There is one only.
    Is(&'static str),
}

/// Returns the name of this machine's distribution and release.
pub(crate) fn name() -> Option<ImageName> {
    of(&FILES.iter().find_map(|file| std::fs::read_to_string(Path::new(file)).ok())?)
}

/// Reads os-release. A codename is what servers call a release of Debian's and Ubuntu's, a testing one included.
fn of(text: &str) -> Option<ImageName> {
    let value = |wanted: &str| {
        let mut pairs = text.lines().filter_map(|line| line.trim().split_once('='));
        let found = pairs.rfind(|(key, _)| *key == wanted)?.1;
        Some(found.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    let id = value("ID").unwrap_or_else(|| "linux".to_owned());
    let (name, version) = NAMES
        .iter()
        .find(|(known, ..)| *known == id)
        .map_or((id.as_str(), Version::Whole), |(_, name, version)| (*name, *version));
    let number = || value("VERSION_ID");
    let parts = |count: usize| Some(number()?.split('.').take(count).collect::<Vec<_>>().join("."));
    let release = match version {
        Version::Whole => {
            value("VERSION_CODENAME").filter(|_| ["debian", "ubuntu"].contains(&name)).or_else(number)
        }
        Version::Major => parts(1),
        Version::MajorMinor => parts(2),
        Version::Stream => parts(1).map(|major| format!("{major}-Stream")),
        Version::Is(only) => Some(only.to_owned()),
    };
    format!("{name}/{}", release?).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_named_as_on_servers() {
        for (text, name) in [
            ("ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n", "debian/trixie"),
            ("ID=debian\nVERSION_CODENAME=forky\n", "debian/forky"),
            ("ID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n", "ubuntu/noble"),
            ("ID=alpine\nVERSION_ID=3.22.1\n", "alpine/3.22"),
            ("ID=fedora\nVERSION_ID=43\nVERSION_CODENAME=\"\"\n", "fedora/43"),
            ("ID=\"rocky\"\nVERSION_ID=\"9.6\"\n", "rockylinux/9"),
            ("ID='centos'\nVERSION_ID='9'\n", "centos/9-Stream"),
            ("ID=arch\nBUILD_ID=rolling\n", "archlinux/current"),
            ("ID=opensuse-leap\nVERSION_ID=15.6\n", "opensuse/15.6"),
        ] {
            assert_eq!(of(text).map(|name| name.to_string()).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn what_says_no_release_has_no_name() {
        for text in ["", "ID=debian\n", "ID=../x\nVERSION_ID=1\n", "ID=x\nVERSION_ID=\"a b\"\n"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
