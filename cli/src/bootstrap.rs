//! Templates `debian` and `ubuntu`: a system of packages, made by mmdebstrap, else by debootstrap, as container root.
//!
//! The packages come from where this machine's own apt takes them, where that is the same distribution, by the proxy of its
//! configuration, and are checked by its keyrings; nothing is said here about any server. Otherwise the program knows.
//!
//! LXC: its templates of these names are scripts around debootstrap, for root alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use container::create::{Call, Program, Template, find_program};
use container::{Error, Kind, Result, foreign};
use types::source::ImageName;

use crate::getopt::{Given, Opt, flag, value};
use crate::hosts_release;

/// Their options, as LXC's scripts have them. A cache of their own they had, and there is none here.
pub(crate) const OPTIONS: &[Opt] = &[
    value("r", "release", "NAME", "its release [this machine's, else stable]"),
    value("a", "arch", "NAME", "the architecture [this machine's]"),
    value("", "mirror", "URL", "where the packages are, or a line of sources.list [this machine's]"),
    value("", "security-mirror", "URL", "where its security updates are"),
    value("", "packages", "LIST", "more packages, with commas"),
    value("", "variant", "NAME", "minbase, buildd and what else the program knows [minbase]"),
    flag("", "enable-non-free", "packages that are not free as well"),
    flag("F", "flush-cache", "accepted, and without effect"),
    flag("c", "clean", "accepted, and without effect"),
];

/// What every system has: an init, a bus, addresses and names.
const PACKAGES: [&str; 5] = ["systemd-sysv", "dbus", "iproute2", "netbase", "systemd-resolved"];
/// Releases in which the resolver is in the package of systemd.
const WITH_RESOLVER: [&str; 6] = ["stretch", "buster", "bullseye", "bionic", "focal", "jammy"];

/// What is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct System {
    release: String,
    arch: Option<String>,
    variant: String,
    packages: Vec<String>,
    /// Lines of sources.list; without one the program decides.
    sources: Vec<String>,
}

/// The programs that make one, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Mmdebstrap,
    Debootstrap,
}

const TOOLS: [(Tool, &str); 2] = [(Tool::Mmdebstrap, "mmdebstrap"), (Tool::Debootstrap, "debootstrap")];

/// Returns the template.
///
/// # Errors
/// No program makes such a system here; or options that mean nothing.
pub(crate) fn template(distribution: &str, given: &Given) -> Result<Template> {
    let (tool, file) = tool(find_program)?;
    let host = hosts_release::name().filter(|host| host.distribution.as_str() == distribution);
    let system = system(distribution, given, host.as_ref(), &targets())?;
    if let Some(arch) = &system.arch {
        foreign::check(arch)?;
    }
    let call = match tool {
        Tool::Mmdebstrap => mmdebstrap(&system),
        Tool::Debootstrap => debootstrap(&system),
    };
    // By this debootstrap knows that it can make no device nodes.
    let mut environment = vec![("container".to_owned(), "lxc".to_owned())];
    environment.extend(proxies());
    Ok(Template::Program(Program { file, call, environment }))
}

fn tool(find: impl Fn(&str) -> Option<PathBuf>) -> Result<(Tool, PathBuf)> {
    let found = TOOLS.iter().find_map(|(tool, name)| Some((*tool, find(name)?)));
    let missing = "neither mmdebstrap nor debootstrap is on this host: install mmdebstrap";
    found.ok_or_else(|| Error::new(Kind::Fetch, missing))
}

fn system(distribution: &str, given: &Given, host: Option<&ImageName>, targets: &[Target]) -> Result<System> {
    let words = |text: &str| {
        text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let release = match (given.value("release"), host.and_then(|host| host.release.as_ref())) {
        (Some(release), _) => release.to_owned(),
        (None, Some(release)) => release.to_string(),
        (None, None) if distribution == "debian" => "stable".to_owned(),
        (None, None) => {
            let cause = format!("this machine is no {distribution}, so say which release: -- --release NAME");
            return Err(Error::new(Kind::Usage, cause));
        }
    };
    let arch = given.value("arch").map(str::to_owned);
    let variant = given.value("variant").unwrap_or("minbase").to_owned();
    for word in [Some(&release), arch.as_ref(), Some(&variant)].into_iter().flatten() {
        if !is_word(word) {
            return Err(Error::new(
                Kind::Usage,
                format!("{word:?} is no name of a release, architecture or variant"),
            ));
        }
    }
    let mut packages: Vec<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
    packages.retain(|name| name != "systemd-resolved" || !WITH_RESOLVER.contains(&release.as_str()));
    packages.extend(given.value("packages").map(words).unwrap_or_default());
    if let Some(wrong) = packages.iter().find(|name| !is_word(name)) {
        return Err(Error::new(Kind::Usage, format!("{wrong:?} is no name of a package")));
    }
    let components = match (given.has("enable-non-free"), distribution) {
        (false, _) => "main",
        (true, "ubuntu") => "main restricted universe multiverse",
        (true, _) => "main contrib non-free non-free-firmware",
    };
    for (option, mirror) in ["mirror", "security-mirror"].map(|option| (option, given.value(option))) {
        if let Some(mirror) = mirror.filter(|mirror| !is_mirror(mirror)) {
            return Err(Error::new(
                Kind::Usage,
                format!(
                    "--{option} {mirror:?} is no URL, such as http://HOST/DIRECTORY, and no line of sources.list"
                ),
            ));
        }
    }
    let line = |url: &str, suite: &str| match url.starts_with("deb ") {
        true => url.to_owned(),
        false => format!("deb {url} {suite} {components}"),
    };
    let mut sources = match given.value("mirror") {
        Some(mirror) => vec![line(mirror, &release)],
        None => hosts_sources(distribution, &release, targets, components),
    };
    let security = given.value("security-mirror").map(|url| line(url, &format!("{release}-security")));
    sources.extend(security);
    Ok(System { release, arch, variant, packages, sources })
}

/// Tells whether a word, or a line of sources.list, says from where. Without a scheme debootstrap would not see it, and ask another server.
fn is_mirror(text: &str) -> bool {
    let is_url = |word: &str| {
        let scheme = word.split_once(":/").map_or("", |(scheme, _)| scheme);
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let is_line = text.starts_with("deb ");
    !text.contains(['\n', '\r']) && (is_line || !text.contains(' ')) && text.split(' ').any(is_url)
}

/// Tells whether a word of the user is one to the programs too, and no option or line.
fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "+-._:".contains(c))
}

fn mmdebstrap(system: &System) -> Call {
    let mut before = vec![
        "--mode=root".to_owned(),
        "--format=directory".to_owned(),
        format!("--variant={}", system.variant),
        format!("--include={}", system.packages.join(",")),
        // The kernel refuses a sysfs of the host's network.
        "--skip=chroot/mount/sys".to_owned(),
    ];
    before.extend(system.arch.iter().map(|arch| format!("--architectures={arch}")));
    before.push(system.release.clone());
    Call::System { before, after: system.sources.clone() }
}

/// It knows one mirror. What is added to the sources of the new system later is the user's.
fn debootstrap(system: &System) -> Call {
    let mut before =
        vec![format!("--variant={}", system.variant), format!("--include={}", system.packages.join(","))];
    before.extend(system.arch.iter().map(|arch| format!("--arch={arch}")));
    let line = system.sources.first().map(String::as_str).unwrap_or_default();
    // Without a keyring it would only warn.
    let check = if line.contains("trusted=yes") { "--no-check-gpg" } else { "--force-check-gpg" };
    before.push(check.to_owned());
    before.push(system.release.clone());
    let after = line.split(' ').find(|word| word.contains(":/")).map(str::to_owned).into_iter().collect();
    Call::System { before, after }
}

/// An index of packages of this machine's apt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    url: String,
    /// The suite as the configuration names it.
    suite: String,
    codename: String,
    component: String,
    origin: String,
}

/// Asks apt what it is configured for. Source: apt-get(8), indextargets.
fn targets() -> Vec<Target> {
    let format = "$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)";
    let words = ["indextargets", "--format", format, "Created-By: Packages"];
    read(&asked("apt-get", &words).unwrap_or_default())
}

fn read(text: &str) -> Vec<Target> {
    let target = |line: &str| match line.split('|').collect::<Vec<_>>()[..] {
        [url, suite, codename, component, origin] => {
            let [url, suite, codename, component, origin] =
                [url, suite, codename, component, origin].map(str::to_owned);
            Some(Target { url, suite, codename, component, origin })
        }
        _ => None,
    };
    text.lines().filter_map(target).collect()
}

impl Target {
    /// Tells whether it is one of the distribution itself. Before apt has fetched anything only its path says so.
    fn is_of(&self, distribution: &str) -> bool {
        let path = self.url.trim_end_matches('/').to_ascii_lowercase();
        match self.origin.starts_with("$(") || self.origin.is_empty() {
            true => [format!("/{distribution}"), format!("/{distribution}-security")]
                .iter()
                .any(|end| path.ends_with(end)),
            false => self.origin.eq_ignore_ascii_case(distribution),
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.suite == name || self.codename == name
    }
}

/// Returns the lines by which this machine has a release; where it has another of the distribution, the same place; else none.
fn hosts_sources(distribution: &str, release: &str, targets: &[Target], components: &str) -> Vec<String> {
    let own: Vec<&Target> = targets.iter().filter(|target| target.is_of(distribution)).collect();
    let suites = ["", "-updates", "-security"].map(|end| format!("{release}{end}"));
    if own.iter().any(|target| target.is_named(release)) {
        let mut lines: BTreeMap<(usize, &str), Vec<&str>> = BTreeMap::new();
        for target in &own {
            let found = suites.iter().position(|suite| target.is_named(suite));
            let Some(place) = found else { continue };
            let known = lines.entry((place, &target.url)).or_default();
            let is_wanted = components.split(' ').any(|component| component == target.component);
            if is_wanted && !known.contains(&target.component.as_str()) {
                known.push(&target.component);
            }
        }
        lines.retain(|_, components| !components.is_empty());
        let line = |((place, url), components): ((usize, &str), Vec<&str>)| {
            format!("deb {url} {} {}", suites[place], components.join(" "))
        };
        return lines.into_iter().map(line).collect();
    }
    let is_whole = |target: &&&Target| !target.suite.contains('-') && target.component == "main";
    own.iter()
        .find(is_whole)
        .map(|target| format!("deb {} {release} {components}", target.url))
        .into_iter()
        .collect()
}

/// Returns the proxies that this machine's apt is configured for, as variables.
fn proxies() -> Vec<(String, String)> {
    let words = ["shell", "http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy"];
    let text = asked("apt-config", &words).unwrap_or_default();
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let value = value.trim_matches('\'');
        (!value.is_empty() && value != "DIRECT").then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// Asks a program of the host, if it is there.
fn asked(program: &str, words: &[&str]) -> Option<String> {
    let mut command = Command::new(find_program(program)?);
    command.args(words).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let output = sys::process::spawn_with(&mut command, &[]).ok()?.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::getopt;

    fn given(words: &[&str]) -> Given {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        getopt::parse(&[OPTIONS], &words).unwrap()
    }

    /// What the apt of a Debian 12 says, and what that of one says that has fetched nothing yet.
    const BOOKWORM: &str = "\
http://a.example/debian/|bookworm|bookworm|main|Debian
http://a.example/debian/|bookworm|bookworm|contrib|Debian
http://a.example/debian/|bookworm-updates|bookworm-updates|main|Debian
http://a.example/debian/|bookworm-backports|bookworm-backports|main|Debian Backports
http://b.example/debian-security/|bookworm-security|bookworm-security|main|Debian
http://c.example/|nodistro|nodistro|main|. nodistro
";
    const NEW: &str = "http://a.example/debian/|bookworm|$(CODENAME)|main|$(ORIGIN)\n";

    fn sources(distribution: &str, words: &[&str], targets: &str) -> Vec<String> {
        system(distribution, &given(words), None, &read(targets)).unwrap().sources
    }

    #[test]
    fn packages_come_from_where_this_machine_has_them() {
        let lines = [
            "deb http://a.example/debian/ bookworm main",
            "deb http://a.example/debian/ bookworm-updates main",
            "deb http://b.example/debian-security/ bookworm-security main",
        ];
        assert_eq!(sources("debian", &["-r", "bookworm"], BOOKWORM), lines);
        let all = &sources("debian", &["-r", "bookworm", "--enable-non-free"], BOOKWORM)[0];
        assert_eq!(all, "deb http://a.example/debian/ bookworm main contrib");
        for targets in [BOOKWORM, NEW] {
            let other = sources("debian", &["-r", "trixie"], targets);
            assert_eq!(other, ["deb http://a.example/debian/ trixie main"]);
        }
        assert!(sources("ubuntu", &["-r", "noble"], BOOKWORM).is_empty());
        assert!(sources("debian", &["-r", "bookworm"], "").is_empty());
        let said = ["-r", "sid", "--mirror", "http://d.example", "--security-mirror", "http://e.example"];
        let lines = ["deb http://d.example sid main", "deb http://e.example sid-security main"];
        assert_eq!(sources("debian", &said, BOOKWORM), lines);
        let line = "deb [trusted=yes] http://d.example sid main";
        assert_eq!(sources("debian", &["-r", "sid", "--mirror", line], ""), [line]);
    }

    #[test]
    fn a_release_is_this_machines_or_said_and_no_option() {
        let host: ImageName = "debian/bookworm".parse().unwrap();
        let release = |distribution, words: &[&str], host: Option<&ImageName>| {
            system(distribution, &given(words), host, &[]).map(|system| system.release)
        };
        assert_eq!(release("debian", &[], Some(&host)).unwrap(), "bookworm");
        assert_eq!(release("debian", &["-r", "sid"], Some(&host)).unwrap(), "sid");
        assert_eq!(release("debian", &[], None).unwrap(), "stable");
        assert!(release("ubuntu", &[], None).unwrap_err().to_string().contains("--release"));
        for words in [
            ["-r", "--x"],
            ["-a", "-x"],
            ["--variant", "a b"],
            ["--packages", "a,--x"],
            ["--mirror", "mirror.example/debian"],
            ["--mirror", "deb mirror.example/debian sid main"],
            ["--mirror", "http://a.example sid main"],
            ["--mirror", "://a.example"],
            ["--security-mirror", "mirror.example/debian"],
            ["--mirror", "deb http://a.example sid main\ndeb http://b.example sid main"],
        ] {
            assert!(release("debian", &words, Some(&host)).is_err(), "{words:?}");
        }
    }

    #[test]
    fn each_program_is_told_in_its_own_words() {
        let words = ["-r", "jammy", "-a", "arm64", "--packages", "vim,less", "--mirror", "http://d.example"];
        let jammy = system("ubuntu", &given(&words), None, &[]).unwrap();
        let packages = "--include=systemd-sysv,dbus,iproute2,netbase,vim,less";
        let Call::System { before, after } = mmdebstrap(&jammy) else { panic!("it is a system") };
        assert_eq!(before[2..4], ["--variant=minbase", packages]);
        assert_eq!(before[5..], ["--architectures=arm64", "jammy"]);
        assert_eq!(after, ["deb http://d.example jammy main"]);
        let Call::System { before, after } = debootstrap(&jammy) else { panic!("it is a system") };
        assert_eq!(before, ["--variant=minbase", packages, "--arch=arm64", "--force-check-gpg", "jammy"]);
        assert_eq!(after, ["http://d.example"]);
    }

    #[test]
    fn without_a_program_it_is_said_what_to_install() {
        let both = |name: &str| Some(PathBuf::from(name));
        assert_eq!(tool(both).unwrap().0, Tool::Mmdebstrap);
        let older = |name: &str| (name == "debootstrap").then(|| PathBuf::from(name));
        assert_eq!(tool(older).unwrap().0, Tool::Debootstrap);
        let error = tool(|_| None).unwrap_err();
        assert_eq!(error.kind(), Kind::Fetch);
        assert!(error.to_string().contains("install mmdebstrap"));
    }
}
