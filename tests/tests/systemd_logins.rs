//! Users who come by ssh, and jobs of cron's, as their own programs start them: in the virtual machine.

use std::fs;
use std::path::Path;

use tests::vm::{From, Guest, await_that};

tests::claims_of_a_modern_host! {
    who_comes_by_ssh_has_a_scope_and_who_does_not_linger_until_the_logout;
    a_job_of_crons_has_a_scope_where_its_user_lingers_and_else_goes_without;
}

const NOTHING: [&Path; 0] = [];

/// Runs what ssh needs, and lets root in as any user.
const SSH: &str = "mkdir -p /run/sshd /run/claim
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
[ -e /run/claim/key ] || ssh-keygen -q -t ed25519 -N '' -f /run/claim/key
systemd-run --quiet --unit=claim-ssh --collect /usr/sbin/sshd -D -p 2222 -o AuthorizedKeysFile=/run/claim/key.pub -o StrictModes=no
until ssh-keyscan -p 2222 127.0.0.1 >/run/claim/known 2>/dev/null && [ -s /run/claim/known ]; do sleep 1; done";

fn who_comes_by_ssh_has_a_scope_and_who_does_not_linger_until_the_logout(guest: &Guest) {
    guest.root(SSH).succeeds();
    for (user, uid, lingers) in [("ana", 1000, true), ("ben", 1001, false)] {
        let script = guest.making_web(&[]);
        let path = format!("PATH={}/bin:$PATH", guest.file("prefix").display());
        let by_ssh = |command: &str| {
            format!(
                "ssh -p 2222 -i /run/claim/key -o UserKnownHostsFile=/run/claim/known {user}@127.0.0.1 '{path}; {command}'"
            )
        };
        let there = format!("/user@{uid}.service/app.slice/bryo-web.scope/lxc.payload.web");
        // The session ends with the command.
        let shown = "find /sys/fs/cgroup -name lxc.payload.web";
        let said = guest.root(&by_ssh(&format!("{script}; {shown}"))).succeeds();
        assert!(said.out.trim_end().ends_with(&there), "{}", said.out);
        if lingers {
            guest.root(&by_ssh("bryo exec web -- true && bryo stop -k web")).succeeds();
        }
        assert_eq!(guest.await_nothing(), NOTHING, "{user}");
        guest.run(From::Plain, user, "bryo destroy web").succeeds();
    }
    guest.root("systemctl stop claim-ssh").succeeds();
}

fn a_job_of_crons_has_a_scope_where_its_user_lingers_and_else_goes_without(guest: &Guest) {
    let path = format!("PATH={}/bin:/usr/bin:/bin", guest.file("prefix").display());
    let web = guest.making_web(&[]);
    let job = |user: &str| {
        fs::write(format!("/home/{user}/job"), format!("{path}\ncd; ({web}) >told 2>&1; echo $? >done\n"))
            .and_then(|()| {
                fs::write(
                    format!("/etc/cron.d/claim-{user}"),
                    format!("* * * * * {user} [ -e job.began ] || {{ touch job.began; sh ./job; }}\n"),
                )
            })
            .unwrap_or_else(|error| panic!("a job of {user}'s: {error}"));
    };
    ["ana", "ben"].into_iter().for_each(job);
    guest
        .root("systemd-run --quiet --unit=claim-cron --collect --property=KillMode=process cron -f")
        .succeeds();
    for user in ["ana", "ben"] {
        let done = || fs::read_to_string(format!("/home/{user}/done")).is_ok_and(|status| status == "0\n");
        assert!(await_that(done), "{user}: {:?}", fs::read_to_string(format!("/home/{user}/told")));
    }
    assert!(
        guest.payload().ends_with("user@1000.service/app.slice/bryo-web.scope/lxc.payload.web"),
        "{:?}",
        guest.groups()
    );
    let told = fs::read_to_string("/home/ben/told").unwrap_or_default();
    assert!(told.contains("cgroup none"), "{told}");
    guest.root("systemctl stop claim-cron; rm /etc/cron.d/claim-*").succeeds();
    for user in ["ana", "ben"] {
        guest.run(From::Plain, user, "bryo stop -k web && bryo destroy web").succeeds();
    }
}
