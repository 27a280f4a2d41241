//! How the cgroups of a container are called, relative to the base cgroup.

use std::path::{Component, Path, PathBuf};

use types::ContainerName;

/// The lines of a configuration that name cgroups, still as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `lxc.cgroup.dir`: both groups are made below it.
    pub dir: Option<String>,
    /// `lxc.cgroup.dir.monitor`.
    pub monitor: Option<String>,
    /// `lxc.cgroup.dir.container`: the group that limits are set on.
    pub container: Option<String>,
    /// `lxc.cgroup.dir.container.inner`: the group below it that the processes are in.
    pub inner: Option<String>,
}

/// The groups of one container, as paths relative to the base cgroup.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Names {
    /// The group of the monitor.
    pub monitor: PathBuf,
    /// The group that limits are set on, and that is frozen, killed and measured.
    pub payload: PathBuf,
    /// The group of the container's processes, which becomes the root of its cgroup namespace: the payload group, or
    /// one below it.
    pub inner: PathBuf,
    /// Whether the configuration names the groups exactly, so that no suffix may be added.
    pub is_exact: bool,
}

/// Why the configured names are no names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// A path that is empty, absolute or has `.` or `..` in it.
    #[error("{key} = {value} is not a relative path without '.' and '..'")]
    NotRelative {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A key that needs another one, or excludes it.
    #[error("{0}")]
    Combination(&'static str),
}

/// How many names are tried before that of the container counts as taken.
const SUFFIXES: u32 = 1000;

/// The longest name of a directory, in bytes, less the room for the longest suffix (`-999`).
const NAME_ROOM: usize = 255 - 4;

impl Names {
    /// Decides the names of a container's groups: LXC's `lxc.monitor.NAME` and `lxc.payload.NAME`, unless the
    /// configuration says otherwise. A name too long for a directory is cut.
    ///
    /// # Errors
    /// Paths that would leave the base cgroup, and keys that contradict each other.
    pub fn new(name: &ContainerName, settings: &Settings) -> Result<Self, NamesError> {
        let dir = relative("lxc.cgroup.dir", settings.dir.as_deref())?;
        let monitor = relative("lxc.cgroup.dir.monitor", settings.monitor.as_deref())?;
        let container = relative("lxc.cgroup.dir.container", settings.container.as_deref())?;
        let inner = relative("lxc.cgroup.dir.container.inner", settings.inner.as_deref())?;
        if dir.is_some() && (monitor.is_some() || container.is_some()) {
            return Err(NamesError::Combination(
                "lxc.cgroup.dir excludes lxc.cgroup.dir.monitor and lxc.cgroup.dir.container",
            ));
        }
        if inner.is_some() && container.is_none() {
            return Err(NamesError::Combination(
                "lxc.cgroup.dir.container.inner needs lxc.cgroup.dir.container",
            ));
        }
        match (monitor, container) {
            (Some(monitor), Some(payload)) => {
                let inner = inner.map_or_else(|| payload.clone(), |inner| payload.join(inner));
                Ok(Self { monitor, payload, inner, is_exact: true })
            }
            (None, None) => Ok(Self::usual(name, &dir.unwrap_or_default())),
            _ => Err(NamesError::Combination(
                "lxc.cgroup.dir.monitor and lxc.cgroup.dir.container must be set together",
            )),
        }
    }

    fn usual(name: &ContainerName, dir: &Path) -> Self {
        let path = |prefix: &str| dir.join(cut(&format!("{prefix}{name}")));
        let payload = path("lxc.payload.");
        Self { monitor: path("lxc.monitor."), inner: payload.clone(), payload, is_exact: false }
    }

    /// Returns the names in the order in which they are tried: LXC's own, then those with a suffix. Names that the
    /// configuration fixes are tried as they are.
    pub fn tries(&self) -> impl Iterator<Item = Self> {
        (0..if self.is_exact { 1 } else { SUFFIXES }).map(|number| self.suffixed(number))
    }

    /// Returns the group whose lock tells that the names are had: the monitor's, which is there from first to last. One
    /// that the configuration fixes may be that of several monitors, so there it is the payload's.
    pub fn locked(&self) -> &Path {
        if self.is_exact { &self.payload } else { &self.monitor }
    }

    /// Returns the names of the `number`th try: the same for 0, then with the suffix `-1`, `-2`, and so on.
    pub fn suffixed(&self, number: u32) -> Self {
        if number == 0 || self.is_exact {
            return self.clone();
        }
        let add = |path: &Path| {
            let mut text = path.as_os_str().to_owned();
            text.push(format!("-{number}"));
            PathBuf::from(text)
        };
        let payload = add(&self.payload);
        Self { monitor: add(&self.monitor), inner: payload.clone(), payload, is_exact: false }
    }
}

fn relative(key: &'static str, value: Option<&str>) -> Result<Option<PathBuf>, NamesError> {
    let Some(value) = value.filter(|v| !v.is_empty()) else { return Ok(None) };
    let clean: PathBuf = Path::new(value).components().collect();
    let is_inside = clean.components().all(|c| matches!(c, Component::Normal(_)));
    if is_inside && !value.contains('\0') {
        Ok(Some(clean))
    } else {
        Err(NamesError::NotRelative { key, value: value.to_owned() })
    }
}

fn cut(name: &str) -> &str {
    let mut end = name.len().min(NAME_ROOM);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ContainerName {
        text.parse().unwrap()
    }

    #[test]
    fn without_settings_the_names_are_those_of_lxc() {
        let names = Names::new(&name("web"), &Settings::default()).unwrap();
        assert_eq!(names.monitor, Path::new("lxc.monitor.web"));
        assert_eq!(names.payload, Path::new("lxc.payload.web"));
        assert_eq!(names.inner, names.payload);
        assert_eq!(names.suffixed(0), names);
        assert_eq!(names.suffixed(2).monitor, Path::new("lxc.monitor.web-2"));
        assert_eq!(names.suffixed(2).inner, Path::new("lxc.payload.web-2"));
        assert!(
            names.tries().take(2).eq([names.clone(), names.suffixed(1)]) && names.tries().count() == 1000
        );
        assert_eq!(names.locked(), names.monitor);
    }

    #[test]
    fn lxc_cgroup_dir_holds_both_groups() {
        let settings = Settings { dir: Some("a//b/".into()), ..Settings::default() };
        let names = Names::new(&name("web"), &settings).unwrap();
        assert_eq!(names.payload, Path::new("a/b/lxc.payload.web"));
        assert_eq!(names.suffixed(1).monitor, Path::new("a/b/lxc.monitor.web-1"));
    }

    #[test]
    fn exact_names_get_no_suffix() {
        let settings = Settings {
            monitor: Some("m".into()),
            container: Some("c/d".into()),
            inner: Some("in".into()),
            ..Settings::default()
        };
        let names = Names::new(&name("web"), &settings).unwrap();
        assert_eq!((names.payload.as_path(), names.inner.as_path()), ("c/d".as_ref(), "c/d/in".as_ref()));
        assert_eq!(names.suffixed(7), names);
        assert!(names.tries().eq([names.clone()]));
        assert_eq!(names.locked(), names.payload);
    }

    #[test]
    fn a_path_out_of_the_base_is_refused() {
        for value in ["/abs", "..", "a/../../b", "./a", "a\0b"] {
            let settings = Settings { dir: Some(value.into()), ..Settings::default() };
            let refused = Names::new(&name("web"), &settings).unwrap_err();
            assert_eq!(refused, NamesError::NotRelative { key: "lxc.cgroup.dir", value: value.into() });
        }
    }

    #[test]
    fn keys_that_contradict_each_other_are_refused() {
        let text = |t: &str| Some(t.to_owned());
        let cases = [
            Settings { monitor: text("m"), ..Settings::default() },
            Settings { container: text("c"), ..Settings::default() },
            Settings { dir: text("d"), monitor: text("m"), container: text("c"), inner: None },
            Settings { inner: text("i"), ..Settings::default() },
        ];
        for settings in cases {
            let refused = Names::new(&name("web"), &settings);
            assert!(matches!(refused, Err(NamesError::Combination(_))), "{settings:?}");
        }
    }

    #[test]
    fn the_longest_container_name_still_makes_a_directory_name() {
        let names = Names::new(&name(&"ä".repeat(127)), &Settings::default()).unwrap();
        assert!(names.suffixed(999).payload.as_os_str().len() <= 255);
    }
}
