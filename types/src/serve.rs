//! What a monitor tells `bryo-lxcfs` of a container, and what that answers: lines of text, beside fds.

use std::fmt::Write;
use std::str::FromStr;

/// The first line, which changes with what follows, and with the numbers of files, which the kernel keeps for as long as a container runs:
/// its monitor goes on, whatever is installed meanwhile. That of 1 was written by monitors whose files had other numbers.
const FIRST: &str = "bryo-lxcfs 2";

/// The most directories that come with one message.
const DIRECTORIES: usize = 15;

/// The most triggers that are kept of one container.
const TRIGGERS: usize = 64;

/// A container whose files are to be served. With it come the fds of its superblock's device, of that of its files of pressure where
/// they have one, of others of the same superblocks where the process tells the kernel of sizes by those, and of its cgroup directories,
/// in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serve {
    /// When its init began, in ticks since the boot.
    pub born: u64,
    /// How far its clock since the boot is ahead of the monitor's, in nanoseconds; 0 without a clock of its own.
    pub ahead: i64,
    /// Another process has served it before, which died.
    pub again: bool,
    /// Its files of pressure have a superblock of their own, so that somebody can wait for a trigger in them.
    pub waits: bool,
    /// The devices are clones, and others of the same superblocks come along.
    pub cloned: bool,
    /// A quota of processor time counts as so many processors.
    pub quota: bool,
    /// Triggers that the process before has had kept ([`KEEP`]), a line each.
    pub triggers: Vec<String>,
    /// The v1 controllers of each directory's hierarchy; none for v2.
    pub directories: Vec<Vec<String>>,
}

/// The answer. The connection then stands until the container's superblock is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// The files that there are now, as paths from the root of the superblock and of the container.
    Files(Vec<String>),
    /// Why there are none.
    Refused(String),
}

/// What is said to a monitor when its container's superblock is gone, and then if that was the last one. A connection that
/// ends without a word has ended by the death of the process.
pub const GONE: &str = "gone";
/// See [`GONE`]. With it comes a pidfd of the process, which is about to end.
pub const LAST: &str = "last";

/// What is said to a monitor before lines that it keeps, in place of those before, for the process that takes over.
pub const KEEP: &str = "keep\n";

/// What is said by whoever wants the program that is installed now to serve: the process answers what it has been asked, and ends.
pub const MAKE_WAY: &str = "make way";

/// What is said by whoever wants to know which program serves. The answer is [`program`].
pub const WHICH: &str = "which program";

/// Names a program by its file: a number of the file system, and one in that.
pub fn program(filesystem: u64, file: u64) -> String {
    format!("program {filesystem} {file}")
}

/// Text that is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

impl Serve {
    /// Writes it down.
    pub fn text(&self) -> String {
        let Self { born, ahead, again, waits, cloned, quota, .. } = self;
        let mut text = format!(
            "{FIRST}\nborn {born}\nahead {ahead}\nagain {again}\nwaits {waits}\ncloned {cloned}\nquota {quota}\n"
        );
        for trigger in &self.triggers {
            let _to_a_string = writeln!(text, "trigger {trigger}");
        }
        for controllers in &self.directories {
            let _to_a_string = writeln!(text, "directory {}", controllers.join(","));
        }
        text
    }
}

impl FromStr for Serve {
    type Err = Unknown;

    /// What a line says that older monitors do not write is not so. A line that nobody knows may be about an fd, and so is refused.
    fn from_str(text: &str) -> Result<Self, Unknown> {
        let (first, rest) = text.split_once('\n').ok_or(Unknown)?;
        if first != FIRST {
            return Err(Unknown);
        }
        let (mut born, mut ahead) = (None, None);
        let mut serve = Self::default();
        for (key, value) in rest.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))) {
            match key {
                "born" => born = Some(read(value)?),
                "ahead" => ahead = Some(read(value)?),
                "again" => serve.again = read(value)?,
                "waits" => serve.waits = read(value)?,
                "cloned" => serve.cloned = read(value)?,
                "quota" => serve.quota = read(value)?,
                "trigger" => serve.triggers.push(value.to_owned()),
                "directory" => {
                    let names = value.split(',').filter(|name| !name.is_empty());
                    serve.directories.push(names.map(str::to_owned).collect());
                }
                _ => return Err(Unknown),
            }
        }
        if serve.directories.len() > DIRECTORIES || serve.triggers.len() > TRIGGERS {
            return Err(Unknown);
        }
        Ok(Self { born: born.ok_or(Unknown)?, ahead: ahead.ok_or(Unknown)?, ..serve })
    }
}

fn read<T: FromStr>(value: &str) -> Result<T, Unknown> {
    value.parse().map_err(|_| Unknown)
}

impl Served {
    /// Writes it down.
    pub fn text(&self) -> String {
        match self {
            Self::Files(paths) => format!("files\n{}", paths.join("\n")),
            Self::Refused(why) => format!("refused\n{}", why.replace('\n', " ")),
        }
    }
}

impl FromStr for Served {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        match text.split_once('\n') {
            Some(("files", paths)) => {
                // What is mounted inside of a container is inside of it.
                let is_inside = |path: &&str| path.split('/').all(|name| !matches!(name, "" | "." | ".."));
                let paths: Vec<&str> = paths.lines().collect();
                if !paths.iter().all(is_inside) {
                    return Err(Unknown);
                }
                Ok(Self::Files(paths.into_iter().map(str::to_owned).collect()))
            }
            Some(("refused", why)) => Ok(Self::Refused(why.to_owned())),
            _ => Err(Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve() -> Serve {
        let directories = vec![vec!["cpu".to_owned(), "cpuacct".to_owned()], Vec::new()];
        let triggers = vec!["1 - 10 some 150000 1000000".to_owned(), "2 7 11 full 1 500000".to_owned()];
        Serve {
            born: 12_345,
            ahead: -5_000_000_000,
            again: true,
            waits: true,
            cloned: true,
            quota: true,
            triggers,
            directories,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(serve().text().parse(), Ok(serve()));
        let bare = Serve { directories: Vec::new(), triggers: Vec::new(), quota: false, ..serve() };
        assert_eq!(bare.text().parse(), Ok(bare));
        for served in [
            Served::Files(vec!["proc/meminfo".to_owned(), "proc/stat".to_owned()]),
            Served::Files(Vec::new()),
            Served::Refused("there is no room".to_owned()),
        ] {
            assert_eq!(served.text().parse(), Ok(served));
        }
    }

    #[test]
    fn what_monitors_of_before_have_written_is_read() {
        let bare = Serve { born: 12_345, ahead: -7, again: true, ..Serve::default() };
        let directories = vec![vec!["memory".to_owned()], Vec::new()];
        let text = "bryo-lxcfs 2\nborn 12345\nahead -7\nagain true\nwaits true\ntrigger 1 - 10 some 150000 1000000\n\
                      directory memory\ndirectory \n";
        let triggers = vec!["1 - 10 some 150000 1000000".to_owned()];
        assert_eq!(text.parse(), Ok(Serve { waits: true, triggers, directories, ..bare }));
    }

    #[test]
    fn anything_else_is_refused() {
        let other = serve().text().replace("bryo-lxcfs 2", "bryo-lxcfs 3");
        let before = serve().text().replace("bryo-lxcfs 2", "bryo-lxcfs 1");
        let many = serve().text() + &"directory x\n".repeat(14);
        let waiting = serve().text() + &"trigger 1 - 10 some 150000 1000000\n".repeat(63);
        let unknown = serve().text() + "devices 3\n";
        let wrong = serve().text().replace("born 1", "born x");
        let less = serve().text().replace("ahead -5000000000\n", "");
        let texts =
            ["", "bryo-lxcfs 2", "bryo-lxcfs 2\n", &other, &before, &many, &waiting, &unknown, &wrong, &less];
        for text in texts {
            assert_eq!(text.parse::<Serve>(), Err(Unknown), "{text:?}");
        }
        for text in
            ["", "files", "files\n/etc/passwd", "files\nproc/../etc", "files\nproc//x", "files\n.", "x\ny"]
        {
            assert_eq!(text.parse::<Served>(), Err(Unknown), "{text:?}");
        }
    }
}
