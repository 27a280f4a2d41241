//! Templates that are programs: `lxc-NAME` in a directory of templates, or any by its path.
//!
//! Bryo's own of a name count more than a file: LXC's `download`, `local`, `busybox` and `oci` call programs that the host
//! may not have, and its `debian` and `ubuntu` want to be root. Who wants those says their path.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use container::create::{Call, Program, Template};
use container::{Error, Kind, Result};

/// Where LXC has its templates, and administrators theirs.
const DIRS: [&str; 2] = ["/usr/local/share/lxc/templates", "/usr/share/lxc/templates"];

/// Returns the directories of templates: the caller's own first.
pub(crate) fn dirs() -> Vec<PathBuf> {
    let own = directories::BaseDirs::new().map(|dirs| dirs.data_dir().join("bryo/templates"));
    own.into_iter().chain(DIRS.map(PathBuf::from)).collect()
}

/// Finds the program of a template: a name in one of the directories, or a path.
pub(crate) fn find(name: &str, dirs: &[PathBuf]) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path));
    }
    dirs.iter().map(|dir| dir.join(format!("lxc-{name}"))).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Returns the template of a program's name or path.
///
/// # Errors
/// There is no such program; the message says where it is looked for.
pub(crate) fn template(name: &str, arguments: &[String], own: &str) -> Result<Template> {
    let dirs = dirs();
    let Some(file) = find(name, &dirs) else {
        let shown = dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
        let cause = match name.contains('/') {
            true => format!("{name} is no program"),
            false => {
                format!("there is no template {name}; Bryo has {own}, and there is no lxc-{name} in {shown}")
            }
        };
        return Err(Error::new(Kind::Usage, cause));
    };
    let call = Call::Template(arguments.to_vec());
    Ok(Template::Program(Program { file, call, environment: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_template_is_a_program_of_the_first_directory_that_has_it_or_of_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = ["own", "lxc"].map(|name| dir.path().join(name));
        let write = |path: &Path, mode| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let (own, lxcs) = (dirs[0].join("lxc-web"), dirs[1].join("lxc-web"));
        assert_eq!(find("web", &dirs), None);
        write(&lxcs, 0o755);
        write(&own, 0o644);
        assert_eq!(find("web", &dirs), Some(lxcs.clone()));
        write(&own, 0o755);
        assert_eq!(find("web", &dirs), Some(own));
        assert_eq!(find(lxcs.to_str().unwrap(), &[]), Some(lxcs));
        assert_eq!(find("./web", &dirs), None);
        assert!(template("./web", &[], "none").unwrap_err().to_string().contains("is no program"));
        assert!(
            template("fedora", &[], "none").unwrap_err().to_string().contains("/usr/share/lxc/templates")
        );
    }
}
