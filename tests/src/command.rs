//! A command of a user: built like a sentence, run with a time limit, judged by what it printed and how it ended.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::filter::Filter;
use crate::lab::{Lab, Member, RUN};
use crate::subject::subject;
use crate::sweep::tracer::{Task, Trace as Traced, Tracer};
use crate::terminal::Terminal;

/// How long a command may take unless the test says otherwise. The machine may be busy with a build.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a pipe may stay open after the command itself has ended.
const PIPE_GRACE: Duration = Duration::from_secs(5);

/// Puts the process into the cgroups that the words before `--` name, then becomes the command after it.
const JOIN: &str =
    r#"while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@""#;

/// What root may in a container of a common engine, as setpriv takes it.
const ENGINES_CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                                    +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// A command that a user of the lab will run.
#[derive(Clone, Debug)]
pub struct Command<'lab> {
    lab: &'lab Lab,
    member: &'lab Member,
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    stdin: Vec<u8>,
    patience: Duration,
    strace: Option<Trace>,
    rights: Vec<String>,
    surroundings: Option<String>,
    filter: Option<Filter>,
    as_engines_root: bool,
}

/// What strace does with the command.
#[derive(Clone, Debug)]
enum Trace {
    /// Tampers with it, by an `inject` expression, and writes into a file what it saw.
    Inject(String, PathBuf),
    /// Tampers with it and with all that it starts.
    InjectBelow(String),
    /// Prints each system call on standard error.
    Print,
}

impl Trace {
    fn options(&self) -> Vec<String> {
        let tampering = |log: &Path, expression: &str| {
            vec!["-o".to_owned(), log.display().to_string(), "-e".to_owned(), format!("inject={expression}")]
        };
        match self {
            Self::Inject(expression, log) => tampering(log, expression),
            Self::InjectBelow(expression) => {
                let mut options = tampering(Path::new("/dev/null"), expression);
                options.push("--follow-forks".to_owned());
                options
            }
            Self::Print => Vec::new(),
        }
    }
}

impl<'lab> Command<'lab> {
    pub(crate) fn new<P, I>(lab: &'lab Lab, member: &'lab Member, program: P, args: I) -> Self
    where
        P: AsRef<OsStr>,
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let account = &member.account;
        let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let mut words = vec![program.as_ref().to_owned()];
        words.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        Self {
            lab,
            member,
            words,
            environment: vec![
                (OsString::from("HOME"), account.home.clone().into_os_string()),
                variable("USER", &account.login),
                variable("LOGNAME", &account.login),
                variable("PATH", subject().search_path()),
            ],
            directory: account.home.clone(),
            stdin: Vec::new(),
            patience: PATIENCE,
            strace: None,
            rights: vec!["--inh-caps=-all".to_owned(), "--init-groups".to_owned()],
            surroundings: None,
            filter: lab.view().filter(),
            as_engines_root: false,
        }
    }

    /// Runs a shell script as root first, in a mount namespace that the command then has to itself: for hosts that lack
    /// something. Nothing that the script mounts is seen outside, or left behind. `"$@"` is the command, for a script that
    /// becomes it in another way than the usual one.
    pub fn amid(mut self, script: impl Into<String>) -> Self {
        self.surroundings = Some(script.into());
        self
    }

    /// Sets a variable; the environment is otherwise `HOME`, `USER`, `LOGNAME` and `PATH` alone.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives the command a runtime directory, as a login session would.
    pub fn in_session(self) -> Self {
        let runtime = format!("{RUN}/runtime/{}", self.member.account.uid);
        self.env("XDG_RUNTIME_DIR", runtime)
    }

    /// Starts the command with supplementary groups and inheritable capabilities, as a careless service manager would.
    pub fn with_groups_and_inheritable_capabilities(mut self, groups: &str) -> Self {
        self.rights = vec!["--inh-caps=+chown,+kill".to_owned(), format!("--groups={groups}")];
        self
    }

    /// Sets the working directory, which is otherwise the user's home.
    pub fn from(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = directory.as_ref().to_owned();
        self
    }

    /// Gives the command something to read on a pipe; otherwise it reads an empty one.
    pub fn reads(mut self, stdin: impl AsRef<[u8]>) -> Self {
        stdin.as_ref().clone_into(&mut self.stdin);
        self
    }

    /// Sets how many seconds the command may take.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.patience = Duration::from_secs(seconds);
        self
    }

    /// Runs the command under strace, which keeps file capabilities, with one `inject` expression of strace(1), such
    /// as `all:signal=KILL:when=20`. Only the first process is traced.
    pub fn inject(mut self, expression: &str) -> Self {
        self.strace = Some(Trace::Inject(expression.to_owned(), PathBuf::from("/dev/null")));
        self
    }

    /// As [`inject`](Self::inject), for the command and all the processes that come of it.
    pub fn inject_below(mut self, expression: &str) -> Self {
        self.strace = Some(Trace::InjectBelow(expression.to_owned()));
        self
    }

    /// Runs the command to its end, tampered with as by [`inject`](Self::inject), and tells whether that came to pass: a
    /// command that makes fewer calls proves nothing.
    ///
    /// # Panics
    /// As [`output`](Self::output), or strace writes nothing.
    pub fn injected(mut self, expression: &str) -> (Output, bool) {
        let log = self.member.account.home.join("strace.log");
        let seen = self.lab.outside(&log);
        self.strace = Some(Trace::Inject(expression.to_owned(), log));
        let output = self.output();
        let text = match std::fs::read_to_string(&seen)
            .and_then(|text| std::fs::remove_file(&seen).map(|()| text))
        {
            Ok(text) => text,
            Err(error) => panic!("{}: {error}", seen.display()),
        };
        (output, text.contains("(INJECTED)") || text.contains("+++ killed by SIGKILL +++"))
    }

    /// Runs the command as root of a container of a common engine, with the few capabilities that it has there, as most jobs
    /// of continuous integration run.
    pub fn as_root_of_an_engine(mut self) -> Self {
        self.as_engines_root = true;
        self
    }

    /// Runs the command under a filter of system calls, as on a kernel or in a container that refuses some.
    pub fn under(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// It takes too long, or something keeps its output open after it ended.
    pub fn output(self) -> Output {
        self.background().wait()
    }

    /// Runs the command, which must exit with status 0.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn succeeds(self) -> Output {
        self.output().exits(0)
    }

    /// Runs the command, which must exit with status `status`.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn exits(self, status: i32) -> Output {
        self.output().exits(status)
    }

    /// Runs the command and returns how many system calls its first process made.
    pub(crate) fn count_syscalls(mut self) -> u32 {
        self.strace = Some(Trace::Print);
        let traced = self.succeeds();
        u32::try_from(traced.stderr.lines().count()).unwrap_or(u32::MAX)
    }

    /// Runs the command to its end, followed by a tracer with something to do; `monitor` is followed too.
    ///
    /// # Panics
    /// It takes too long, or something keeps its output open after it ended.
    pub(crate) fn traced(self, monitor: Option<i32>, task: Task<'_>) -> (Output, Traced) {
        let started = Instant::now();
        let chain = self.assemble(&["setpriv"]);
        let patience = self.patience;
        let traced = thread::scope(|scope| {
            // The kernel knows the one thread that traces; what it still holds is let go when that ends.
            let tracing = scope.spawn(|| {
                let (tracer, mut child) = Tracer::start(&chain, monitor, task);
                let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
                let trace = tracer.run(patience);
                if trace.status.is_none() {
                    end_group(&mut child);
                }
                (trace, stdout, stderr)
            });
            tracing.join()
        });
        let Ok((trace, stdout, stderr)) = traced else { panic!("{}: the tracer failed", self.shown()) };
        let text = |pipe: Receiver<Vec<u8>>| {
            pipe.recv_timeout(PIPE_GRACE).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let (Ok(stdout), Ok(stderr)) = (text(stdout), text(stderr)) else {
            panic!("{} has ended, but something keeps its output open", self.shown())
        };
        let Some(status) = trace.status else {
            panic!("{} takes too long\n{}", self.shown(), transcript(&stdout, &stderr))
        };
        let status = ExitStatus::from_raw(status << 8);
        (Output { shown: self.shown(), status, stdout, stderr, took: started.elapsed() }, trace)
    }

    /// Runs the command on the caller's own terminal and returns its exit status, as a shell would show it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn interactive(self) -> io::Result<i32> {
        Ok(shell_status(self.assemble(&["setpriv"]).status()?))
    }

    /// Starts the command and lets it run beside the test.
    pub fn background(self) -> Background {
        let mut command = self.assemble(&["setpriv"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Background::start(command, self.shown(), &self.stdin, self.patience)
    }

    /// Starts the command in a pseudo-terminal of `rows` and `columns`, as its controlling terminal.
    pub fn in_terminal(self, rows: u16, columns: u16) -> Terminal {
        let command = self.assemble(&["setsid", "--ctty", "setpriv"]);
        Terminal::start(command, self.shown(), rows, columns, self.patience)
    }

    /// Builds the chain of programs, each of which becomes the next: the user's cgroups are joined as root, then the
    /// lab is entered and made to lack something, then a filter put in force (which root may without no_new_privs), then
    /// the rights are dropped. So the child's pid is the pid of the command, unless it is traced.
    fn assemble(&self, last_as_root: &[&str]) -> process::Command {
        let account = &self.member.account;
        let mut command = process::Command::new("sh");
        command.args(["-c", JOIN, "join"]).args(&self.member.cgroups).arg("--");
        command.args(["nsenter", "--mount", "--net", "--target", &self.lab.holder().to_string(), "--"]);
        if let Some(script) = &self.surroundings {
            command.args(["unshare", "--mount", "--propagation", "private", "--", "sh", "-euc"]);
            command.arg(format!("{script}\nexec \"$@\"")).arg("amid");
        }
        if let Some(filter) = self.filter {
            command.arg(program_of_the_lab("under-filter")).arg(filter.word());
        }
        match &self.strace {
            None if self.as_engines_root => {
                command.args(last_as_root).args([
                    "--inh-caps=-all",
                    "--bounding-set",
                    ENGINES_CAPABILITIES,
                    "--",
                ]);
                self.clean_environment(&mut command);
            }
            None => {
                command.args(last_as_root).args(&self.rights);
                command.args(self.lab.view().filter().map(|_| "--no-new-privs"));
                command
                    .arg(format!("--reuid={}", account.uid))
                    .arg(format!("--regid={}", account.gid))
                    .arg("--");
                self.clean_environment(&mut command);
            }
            Some(trace) => {
                self.clean_environment(&mut command);
                command.args(["strace", "-qq", "-u", &account.login]).args(trace.options()).arg("--");
            }
        }
        command.args(&self.words);
        command
    }

    fn clean_environment(&self, command: &mut process::Command) {
        command.args(["env", "-i", "-C"]).arg(&self.directory);
        for (name, value) in &self.environment {
            let mut assignment = name.clone();
            assignment.push("=");
            assignment.push(value);
            command.arg(assignment);
        }
    }

    fn shown(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        format!("{}$ {}", self.member.account.person, words.join(" "))
    }
}

/// Returns the path of a program of this crate. Cargo puts programs beside the directory of tests.
fn program_of_the_lab(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.ancestors().skip(1).map(|directory| directory.join(name));
    beside.take(2).find(|program| program.exists()).unwrap_or_else(|| PathBuf::from(name))
}

/// A command that runs beside the test.
#[derive(Debug)]
pub struct Background {
    shown: String,
    child: Child,
    deadline: Instant,
    started: Instant,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Background {
    fn start(mut command: process::Command, shown: String, stdin: &[u8], patience: Duration) -> Self {
        let started = Instant::now();
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{shown}: {error}"),
        };
        if let Some(mut pipe) = child.stdin.take() {
            let stdin = stdin.to_owned();
            thread::spawn(move || {
                let _the_command_need_not_read = pipe.write_all(&stdin);
            });
        }
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        Self { shown, child, deadline: started + patience, started, stdout, stderr }
    }

    /// Returns the pid of the command.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells whether the command still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends `SIGKILL` to the command alone, as `kill -9` does, unless it has ended already.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    fn signal(&mut self, signal: Signal) {
        if self.runs() {
            let _ended_just_now = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// Sends `SIGTERM` to the command alone, unless it has ended already.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the end of the command.
    ///
    /// # Panics
    /// It takes too long, or something keeps its output open after it ended.
    pub fn wait(mut self) -> Output {
        let status = self.wait_for_end();
        let took = self.started.elapsed();
        let (stdout, stderr) = (self.text(&self.stdout), self.text(&self.stderr));
        Output { shown: std::mem::take(&mut self.shown), status, stdout, stderr, took }
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if Instant::now() < self.deadline => thread::sleep(Duration::from_millis(1)),
                Ok(None) => {
                    end_group(&mut self.child);
                    let (stdout, stderr) = (self.text(&self.stdout), self.text(&self.stderr));
                    panic!("{} takes too long\n{}", self.shown, transcript(&stdout, &stderr));
                }
                Err(error) => panic!("{}: {error}", self.shown),
            }
        }
    }

    fn text(&self, pipe: &Receiver<Vec<u8>>) -> String {
        match pipe.recv_timeout(PIPE_GRACE) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => panic!("{} has ended, but something keeps its output open", self.shown),
        }
    }
}

impl Drop for Background {
    /// A test that fails leaves no command behind, and no zombie that the next lab would wait for.
    fn drop(&mut self) {
        if self.runs() {
            end_group(&mut self.child);
        }
    }
}

/// Ends the command and what it started, unless that made a session of its own.
pub(crate) fn end_group(child: &mut Child) {
    let _ended_just_now = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _reaped_already = child.wait();
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _the_part_read_so_far_counts = pipe.read_to_end(&mut bytes);
        }
        let _the_test_may_have_failed_meanwhile = sender.send(bytes);
    });
    receiver
}

/// How a command ended and what it printed.
#[derive(Clone, Debug)]
pub struct Output {
    shown: String,
    status: ExitStatus,
    /// Everything written to standard output.
    pub stdout: String,
    /// Everything written to standard error.
    pub stderr: String,
    /// How long the command took.
    pub took: Duration,
}

impl Output {
    /// Returns the exit status as a shell would show it: 128 and the signal's number for a killed command.
    pub fn status(&self) -> i32 {
        shell_status(self.status)
    }

    /// Requires the exit status, as a shell would show it.
    ///
    /// # Panics
    /// It is another one.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        self.require(self.status() == status, &format!("exit status {status}"));
        self
    }

    /// Requires a piece of standard output.
    ///
    /// # Panics
    /// It is not there.
    #[track_caller]
    pub fn stdout_contains(self, piece: &str) -> Self {
        self.require(self.stdout.contains(piece), &format!("{piece:?} on standard output"));
        self
    }

    /// Requires that a piece is not on standard output.
    ///
    /// # Panics
    /// It is there.
    #[track_caller]
    pub fn stdout_lacks(self, piece: &str) -> Self {
        self.require(!self.stdout.contains(piece), &format!("standard output without {piece:?}"));
        self
    }

    /// Requires the whole of standard output.
    ///
    /// # Panics
    /// It is something else.
    #[track_caller]
    pub fn stdout_is(self, text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        self.require(self.stdout == text, &format!("{text:?} on standard output"));
        self
    }

    /// Returns standard output as JSON.
    ///
    /// # Panics
    /// It is no JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{}: {error}\n{}", self.shown, transcript(&self.stdout, &self.stderr)),
        }
    }

    /// Requires a piece of standard error.
    ///
    /// # Panics
    /// It is not there.
    #[track_caller]
    pub fn stderr_contains(self, piece: &str) -> Self {
        self.require(self.stderr.contains(piece), &format!("{piece:?} on standard error"));
        self
    }

    #[track_caller]
    fn require(&self, holds: bool, expected: &str) {
        assert!(
            holds,
            "{}\nexpected {expected}, got exit status {}\n{}",
            self.shown,
            self.status(),
            transcript(&self.stdout, &self.stderr)
        );
    }
}

/// Returns an exit status as a shell shows it.
pub(crate) fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn transcript(stdout: &str, stderr: &str) -> String {
    let mut text = String::new();
    for (name, stream) in [("stdout", stdout), ("stderr", stderr)] {
        for line in stream.lines() {
            let _writing_to_a_string = writeln!(text, "  {name}: {line}");
        }
    }
    text
}

/// Waits until `holds` does, for at most `patience`, and tells whether it did.
pub(crate) fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `holds` does, for at most ten seconds.
///
/// # Panics
/// It never does; `what` says what was awaited.
#[track_caller]
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(10, what, holds);
}

/// Waits until `holds` does, for at most so many seconds: for what a busy disk makes long.
///
/// # Panics
/// It never does; `what` says what was awaited.
#[track_caller]
pub fn within(seconds: u64, what: &str, holds: impl FnMut() -> bool) {
    assert!(wait_until(Duration::from_secs(seconds), holds), "after {seconds} seconds not yet: {what}");
}
