//! A helper that is held up at its last line, with its whole state, and what its caller can see of it there and before.

use crate::{ANA, Outcome, skip};

/// Returns words that start the helper as ana with `request`, her descriptor 7 on `target` and a full pipe as stderr, and
/// look at it when it waits for that. They run as root; `prepare` are words of the scenario's own before it.
pub fn held(prepare: &str, request: &str, target: &str) -> String {
    format!(
        "{FULL_PIPE}\n{prepare}\n\
         {ana} $HELPER 7 {request} 2>&8 4</etc/passwd 7<{target} 20>/dev/null & helper=$!\n\
         until grep -q '^Seccomp:.*2' /proc/$helper/status; do sleep 0.01; done; sleep 0.2\n\
         {ana} cat /proc/$helper/environ && echo readable\n\
         {ana} ls /proc/$helper/fd && echo listable\n\
         grep -E '^(Uid|Gid|CapInh|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/$helper/status\n\
         awk '/^Max core/ {{ print \"core=\" $5 \":\" $6 }}' /proc/$helper/limits\n\
         ls -l /proc/$helper/fd /proc/$helper/cwd; kill $sleeper; wait $helper; echo status=$?",
        ana = ANA.enter(),
    )
}

/// Words that open descriptor 8 on a pipe that takes nothing more, until `kill $sleeper`.
pub const FULL_PIPE: &str =
    "exec 8> >(exec sleep 60); sleeper=$!; dd if=/dev/zero bs=65536 count=1 >&8 2>/dev/null";

/// Every way into another process, by the name that [`INTRUDER`] gives it.
const WAYS_IN: &str = "attach auxv cwd environ exe fd maps mem pidfd_getfd readv root seize";

/// A program that starts another and tries each way into it, over and over from its exec on, until it has waited for a
/// while in a mode of seccomp, or ended. It says how often it has tried, and which way has led in. As the parent it may trace
/// its child under the usual limit of Yama too. The numbers are those of ptrace(2), process_vm_readv(2), pidfd_open(2) and
/// pidfd_getfd(2). After two minutes it gives up, and says nothing.
const INTRUDER: &str = r#"
    use POSIX; use Errno;
    my ($ptrace, $readv) = (POSIX::uname)[4] eq "x86_64" ? (101, 310) : (117, 270);
    my ($name, $wait, $pid) = (shift, shift, fork);
    $pid or do { open(STDOUT, ">&8"); open(STDERR, ">&8"); exec @ARGV or die };
    sub text { open(my $file, "<", "/proc/$pid/$_[0]") or return ""; local $/; <$file> }
    alarm(120);
    # An exec in that very moment has a stop of its own, and then that of the attach is yet to come.
    sub let_go { waitpid($pid, 0); syscall($ptrace, 17, $pid, 0, 0); kill("CONT", $pid); 1 }
    sub traced { syscall($ptrace, $_[0], $pid, 0, 0) == 0 }
    my $buffer = "x" x 8; my $span = pack("PQ", $buffer, 8); my $there = pack("QQ", 1 << 40, 8);
    my %ways = (
        attach => sub { traced(16) and let_go() },
        seize => sub { traced(0x4206) and traced(0x4207) and let_go() },
        readv => sub { syscall($readv, $pid, $span, 1, $there, 1, 0) >= 0 or $!{EFAULT} },
        pidfd_getfd => sub {
            my $handle = syscall(434, $pid, 0);
            my $got = $handle >= 0 ? syscall(438, $handle, 0, 0) : -1;
            POSIX::close($_) for grep { $_ >= 0 } $handle, $got; $got >= 0
        },
        fd => sub { opendir(my $all, "/proc/$pid/fd") },
        (map { my $file = $_; $file => sub { open(my $opened, "<", "/proc/$pid/$file") } } qw(auxv environ maps mem)),
        (map { my $link = $_; $link => sub { defined readlink("/proc/$pid/$link") } } qw(cwd exe root)),
    );
    until (text("comm") eq "$name\n") { die "$name has not begun" if waitpid($pid, WNOHANG) }
    my (%got, $tried, $waited);
    while ($waited < 200 and !waitpid($pid, WNOHANG)) {
        $waited++ if text("status") =~ /^State:\tS.*^Seccomp:\t$wait/ms;
        for (sort keys %ways) { $tried++; $got{$_} = 1 if $ways{$_}->() }
    }
    print "pid=$pid\ntried=$tried\nwaited=$waited\ngot=@{[sort keys %got]}\n";
"#;

/// Returns words that start the helper as ana with `request`, her descriptor 7 on `target` and full pipes as its output, and
/// try to get into it all its life; and then the same with a sleep of hers. `prepare` are words of the scenario's own.
pub fn broken_into(prepare: &str, request: &str, target: &str) -> String {
    format!(
        "{FULL_PIPE}\n{prepare}\n\
         intrude() {{ {ana} perl -e '{INTRUDER}' \"$@\"; }}\n\
         intrude ${{HELPER##*/}} 2 $HELPER 7 {request} 7<{target} | tee /dev/shm/intruded; kill $sleeper\n\
         while [ -d /proc/$(sed -n s/pid=//p /dev/shm/intruded) ]; do sleep 0.05; done\n\
         intrude sleep . sleep 60 | sed s/^/own_/ | tee /dev/shm/intruded; kill $(sed -n s/own_pid=//p /dev/shm/intruded)",
        ana = ANA.enter(),
    )
}

/// Tells whether this machine lets nobody trace even its own child, and says that the test does not run then: it could not
/// tell what the helper refuses from what everything does. Source: the kernel's `admin-guide/LSM/Yama.rst`.
pub fn nobody_may_trace(test: &str) -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let nobody = matches!(scope.trim(), "2" | "3");
    if nobody {
        skip(test, "kernel.yama.ptrace_scope lets nobody trace a process of their own");
    }
    nobody
}

impl Outcome {
    /// Asserts that a helper was tried to be [`broken_into`] until it waited for its caller, and that no way led in, while
    /// each leads into another process of the same user.
    #[track_caller]
    pub fn assert_not_broken_into(&self) {
        assert_eq!((self.value("waited"), self.value("own_waited")), ("200", "200"), "{self:#?}");
        assert_eq!((self.value("got"), self.value("own_got")), ("", WAYS_IN), "{self:#?}");
    }

    /// Asserts that a helper that was [`held`] could not be read by its caller, had none of his files beside its target,
    /// had no right in force, and would leave no core.
    #[track_caller]
    pub fn assert_out_of_reach(&self, also_absent: &[&str]) {
        for absent in ["readable", "listable", "/etc/passwd", " 20 ->"].iter().chain(also_absent) {
            assert!(!self.printed.contains(absent), "{absent:?} in {self:#?}");
        }
        for line in [
            "Uid:\t61001\t61001\t61001\t61001",
            "Gid:\t61001\t61001\t61001\t61001",
            "CapInh:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "cwd -> /\n",
            "core=0:0\n",
        ] {
            assert!(self.printed.contains(line), "{line:?} not in {self:#?}");
        }
        assert_eq!(self.status, 1, "{self:#?}");
    }
}
