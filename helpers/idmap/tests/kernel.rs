//! bryo-idmap against the kernel, installed both ways, started by an ordinary user.

#[cfg(test)]
mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lab::Install::{FileCapabilities, Plain, SetuidRoot};
use lab::{ANA, BOTH, Lab};
use testbed::{
    HOSTILE, HOSTILE_ENVIRONMENT, LONG_NAME_AND_ENVIRONMENT, LOWEST_LIMITS, broken_into, held,
    nobody_may_trace,
};

const GRANTED: &str = "u:0:100000:65536 g:0:100000:65536";

#[test]
fn a_granted_map_is_written_by_either_install() {
    let Some(lab) = Lab::new("a_granted_map_is_written_by_either_install") else { return };
    for install in BOTH {
        let outcome = lab.map(install, "u:0:100000:1000 u:1000:61001:1 u:1001:101001:64535 g:0:100000:65536");
        outcome.assert_mapped("0 100000 1000; 1000 61001 1; 1001 101001 64535;", "0 100000 65536;");
        assert_eq!(outcome.setgroups, "allow;");
        assert_eq!(outcome.said, "");
    }
}

#[test]
fn lines_by_uid_grant_and_users_without_a_name_can_have_them() {
    let Some(lab) = Lab::new("lines_by_uid_grant_and_users_without_a_name_can_have_them") else { return };
    lab.etc("passwd", "root:x:0:0::/root:/bin/sh\n");
    lab.etc("subuid", "61001:100000:65536\n");
    lab.etc("subgid", "61001:100000:65536\n");
    lab.map(FileCapabilities, GRANTED).assert_mapped("0 100000 65536;", "0 100000 65536;");
}

#[test]
fn what_is_not_granted_is_refused_and_nothing_is_written() {
    let Some(lab) = Lab::new("what_is_not_granted_is_refused_and_nothing_is_written") else { return };
    for install in BOTH {
        for arguments in [
            "u:0:200000:65536 g:0:100000:65536",
            "u:0:100000:65536 g:0:200000:65536",
            "u:0:100000:65537 g:0:100000:65536",
            "u:0:99999:2 g:0:100000:65536",
            "u:0:61001:2 g:0:61001:1",
            "u:0:61002:1 g:0:61001:1",
        ] {
            lab.map(install, arguments).assert_refused("does not grant");
        }
    }
}

#[test]
fn triples_at_the_edges_agree_with_the_kernel_and_a_128_bit_model() {
    let Some(lab) = Lab::new("triples_at_the_edges_agree_with_the_kernel_and_a_128_bit_model") else {
        return;
    };
    lab.etc("subuid", "ana:1:4294967294\n");
    const EDGES: [u64; 7] = [0, 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, u64::MAX];
    let last = u128::from(u32::MAX);
    let mut mapped = 0;
    for inside in EDGES {
        for outside in EDGES {
            let counts = EDGES.map(|count| count.to_string()).join(" ");
            let outcome = lab.user(ANA, FileCapabilities, &each_count(inside, outside, &counts));
            for count in EDGES {
                let fits = |start: u64| u128::from(start) + u128::from(count) <= last;
                let expected = count > 0 && outside > 0 && fits(inside) && fits(outside);
                let line = format!(
                    "{count}: {}",
                    if expected { format!("{inside} {outside} {count}") } else { String::new() }
                );
                let found = outcome.output.lines().any(|shown| shown.trim_end() == line.trim_end());
                assert!(found, "expected {line:?} for u:{inside}:{outside}:{count} in\n{}", outcome.output);
                mapped += usize::from(expected);
            }
        }
    }
    assert!(mapped > 5, "some triples were mapped: {mapped}");
}

/// A script that maps one namespace per count, and prints what the kernel then shows.
fn each_count(inside: u64, outside: u64, counts: &str) -> String {
    format!(
        "for count in {counts}; do\n\
           unshare -U sleep 60 & target=$!\n\
           slept $target\n\
           $HELPER 3 u:{inside}:{outside}:$count 3</proc/$target\n\
           echo $count: $(cat /proc/$target/uid_map)\n\
           kill $target\n\
         done"
    )
}

#[test]
fn the_kernel_takes_as_many_extents_as_we_send_up_to_its_own_limit() {
    let Some(lab) = Lab::new("the_kernel_takes_as_many_extents_as_we_send_up_to_its_own_limit") else {
        return;
    };
    lab.etc("subuid", "ana:1000:4000\n");
    let extents = |count: u32| (0..count).map(|i| format!("u:{i}:{}:1 ", 1000 + i)).collect::<String>();
    for count in [1, 5, 6, 340] {
        let outcome = lab.map(FileCapabilities, &extents(count));
        assert_eq!(outcome.status, 0, "{outcome:#?}");
        assert_eq!(outcome.uid_map.matches(';').count(), count as usize);
    }
    assert_eq!(lab.map(FileCapabilities, &extents(341)).status, 2);
}

#[test]
fn with_the_own_group_alone_setgroups_is_denied_and_a_closed_file_stays_closed() {
    let Some(lab) = Lab::new("with_the_own_group_alone_setgroups_is_denied_and_a_closed_file_stays_closed")
    else {
        return;
    };
    let secret = lab.path("secret");
    fs::write(&secret, "secret").unwrap();
    lab::run("chown", &[":61500", &secret]);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o607)).unwrap();
    let as_member = "setpriv --reuid 61001 --regid 61001 --groups 61500 bash";
    for install in BOTH {
        let script = format!(
            "unshare -U sleep 60 & TARGET=$!; slept $TARGET\n\
             $HELPER 3 u:0:61001:1 g:0:61001:1 3</proc/$TARGET; echo status=$?\n\
             echo setgroups=$(cat /proc/$TARGET/setgroups)\n\
             inside() {{ nsenter --preserve-credentials -U -t $TARGET \"$@\"; }}\n\
             inside true && echo entered\n\
             inside setpriv --clear-groups true && echo left-the-group\n\
             inside cat {secret}; kill $TARGET"
        );
        let outcome = lab.root(as_member, install, &script);
        assert_eq!((outcome.status, outcome.setgroups.as_str()), (0, "deny"), "{outcome:#?}");
        assert!(outcome.output.contains("entered"), "{outcome:#?}");
        assert!(!outcome.output.contains("left-the-group"), "{outcome:#?}");
        assert!(outcome.said.contains("Permission denied"), "{outcome:#?}");
    }
}

#[test]
fn at_each_write_one_capability_is_in_force_and_the_uid_is_the_callers() {
    let Some(lab) = Lab::new("at_each_write_one_capability_is_in_force_and_the_uid_is_the_callers") else {
        return;
    };
    if lab::lacks("at_each_write_one_capability_is_in_force_and_the_uid_is_the_callers", "strace") {
        return;
    }
    for install in BOTH {
        let trace = lab.path("trace");
        let script = format!(
            "unshare -U sleep 60 & TARGET=$!; slept $TARGET\n\
             exec 3</proc/$TARGET; $HELPER 3 {GRANTED}; echo status=$?; kill $TARGET"
        );
        let enter = format!("strace -f -u ana -o {trace} -e trace=execve,capset,setresuid,write bash");
        let outcome = lab.root(&enter, install, &script);
        assert_eq!(outcome.status, 0, "{outcome:#?}");
        let log = fs::read_to_string(&trace).unwrap();
        let lines: Vec<_> = log
            .lines()
            .skip_while(|line| !line.contains("bryo-idmap") && !line.contains("helper-"))
            .collect();
        for capability in ["CAP_SETUID", "CAP_SETGID"] {
            let raised = format!("{{effective=1<<{capability}, ");
            let write = lines.windows(2).filter(|pair| pair[1].contains("\"0 100000 65536\\n\""));
            assert_eq!(write.filter(|pair| pair[0].contains(&raised)).count(), 1, "{capability}: {log}");
        }
        let dropped = lines.iter().any(|line| line.contains("setresuid(61001, 61001, 61001)"));
        assert_eq!(dropped, install == SetuidRoot, "{log}");
    }
}

#[test]
fn id_0_of_the_host_is_refused_even_when_it_is_granted() {
    let Some(lab) = Lab::new("id_0_of_the_host_is_refused_even_when_it_is_granted") else { return };
    lab.etc("subuid", "ana:0:4294967295\n");
    lab.etc("subgid", "ana:0:4294967295\n");
    for install in BOTH {
        lab.map(install, "u:0:0:1 g:0:61001:1").assert_refused("takes id 0 of the host");
        lab.map(install, "u:0:61001:1 g:0:0:70000").assert_refused("takes id 0 of the host");
    }
}

#[test]
fn only_the_directory_of_a_process_in_this_proc_is_a_target() {
    let Some(lab) = Lab::new("only_the_directory_of_a_process_in_this_proc_is_a_target") else { return };
    let fake = lab.path("fake");
    fs::create_dir(&fake).unwrap();
    for name in ["uid_map", "gid_map", "setgroups"] {
        fs::write(format!("{fake}/{name}"), "").unwrap();
    }
    lab::run("chown", &["-R", "61001", &fake]);
    let other = "unshare -Urpf --mount-proc sleep 60 & OTHER=$!; \
                 until [ -e /proc/$OTHER/root/proc/1/comm ] && grep -qs sleep /proc/$OTHER/root/proc/1/comm; \
                 do sleep 0.01; done;";
    let refusal = "not the directory of a process in this /proc";
    for install in BOTH {
        for (before, open, after) in [
            ("", format!("4<{fake}"), ""),
            ("", "4</proc".into(), ""),
            ("", "4</proc/sys".into(), ""),
            ("", "4</proc/$TARGET/uid_map".into(), ""),
            ("", "4</proc/$TARGET/ns/user".into(), ""),
            ("", "4</proc/$TARGET/fd".into(), ""),
            ("", "4</dev/null".into(), ""),
            (other, "4</proc/$OTHER/root/proc/1".into(), "kill -9 $(cat /proc/$OTHER/task/$OTHER/children);"),
        ] {
            let script = format!("{before} $HELPER 4 {GRANTED} {open}; R=$?; {after} (exit $R)");
            let outcome = lab.target(install, &script);
            outcome.assert_refused(refusal);
        }
        lab.target(install, &format!("$HELPER 4 {GRANTED}")).assert_refused("descriptor 4 is not open");
    }
    assert_eq!(fs::read_to_string(format!("{fake}/uid_map")).unwrap(), "");
}

#[test]
fn a_file_mounted_over_a_map_is_never_written() {
    let Some(lab) = Lab::new("a_file_mounted_over_a_map_is_never_written") else { return };
    let decoy = lab.path("decoy");
    fs::write(&decoy, "").unwrap();
    let script = format!(
        "unshare -U sleep 60 & T=$!; slept $T\n\
         unshare -Urm sh -c \"mount --bind /proc/$T/setgroups /proc/$T/uid_map && exec sleep 60\" & M=$!\n\
         until grep -qs /uid_map /proc/$M/mountinfo; do sleep 0.01; done\n\
         $HELPER 3 {GRANTED} 3</proc/$M/root/proc/$T; echo status=$?; echo uid_map=$(cat /proc/$T/uid_map); kill $T $M"
    );
    lab.user(ANA, FileCapabilities, &script).assert_refused("not the directory of a process");
}

#[test]
fn the_directory_of_a_thread_is_a_target() {
    let Some(lab) = Lab::new("the_directory_of_a_thread_is_a_target") else {
        return;
    };
    for install in BOTH {
        lab.target(install, &format!("$HELPER 7 {GRANTED} 7</proc/$TARGET/task/$TARGET"))
            .assert_mapped("0 100000 65536;", "0 100000 65536;");
    }
}

#[test]
fn a_process_that_is_gone_is_said_to_be_gone() {
    let Some(lab) = Lab::new("a_process_that_is_gone_is_said_to_be_gone") else { return };
    let script = format!("sleep 60 & G=$!; exec 5</proc/$G; kill $G; wait $G; $HELPER 5 {GRANTED}");
    lab.target(FileCapabilities, &script).assert_refused("the process is gone");
}

#[test]
fn a_namespace_of_another_user_and_our_own_are_refused_by_the_kernel() {
    let Some(lab) = Lab::new("a_namespace_of_another_user_and_our_own_are_refused_by_the_kernel") else {
        return;
    };
    for install in BOTH {
        let script = format!(
            "$BOB unshare -U sleep 60 & T=$!; slept $T\n\
             $ANA $HELPER 3 {GRANTED} 3</proc/$T; echo status=$?; echo uid_map=$(cat /proc/$T/uid_map); kill $T"
        );
        lab.root("bash", install, &script).assert_refused("uid_map");
        lab.target(install, &format!("$HELPER 4 {GRANTED} 4</proc/self")).assert_refused("uid_map");
    }
}

#[test]
fn a_map_is_written_once() {
    let Some(lab) = Lab::new("a_map_is_written_once") else { return };
    let outcome = lab.target(FileCapabilities, &format!("$HELPER 3 {GRANTED}; $HELPER 3 {GRANTED}"));
    assert_eq!(outcome.status, 1);
    assert!(outcome.said.contains("mapped already"), "{outcome:#?}");
}

#[test]
fn closed_standard_descriptors_and_leaked_ones_change_nothing() {
    let Some(lab) = Lab::new("closed_standard_descriptors_and_leaked_ones_change_nothing") else { return };
    for install in BOTH {
        for closed in ["<&-", "0<&- 1>&- 2>&-", "2>&-", "4</etc/passwd 9<&3 20>/dev/null"] {
            lab.target(install, &format!("$HELPER 3 {GRANTED} {closed}"))
                .assert_mapped("0 100000 65536;", "0 100000 65536;");
        }
        let outcome = lab.target(install, &format!("$HELPER 3 {} 0<&- 1>&- 2>&-", "u:0:5:1"));
        assert_eq!((outcome.status, outcome.uid_map.as_str()), (1, ""), "{outcome:#?}");
    }
}

#[test]
fn a_hostile_environment_and_hostile_limits_change_nothing() {
    let Some(lab) = Lab::new("a_hostile_environment_and_hostile_limits_change_nothing") else { return };
    for install in BOTH {
        let outcome = lab.target(
            install,
            &format!("{HOSTILE} cd /proc/$TARGET; {HOSTILE_ENVIRONMENT} $HELPER 3 {GRANTED}"),
        );
        outcome.assert_mapped("0 100000 65536;", "0 100000 65536;");
        assert_eq!(outcome.said, "", "no loader, libc or runtime says anything");
        for limit in LOWEST_LIMITS {
            lab.target(install, &format!("(ulimit {limit}; $HELPER 3 {GRANTED})"))
                .assert_mapped("0 100000 65536;", "0 100000 65536;");
        }
        lab.target(install, &format!("ulimit -n 12; $HELPER 3 {GRANTED}"))
            .assert_refused("the limit on open files is 12, and at least 16 is needed");
    }
}

#[test]
fn a_long_name_of_the_program_and_a_large_environment_change_nothing() {
    let test = "a_long_name_of_the_program_and_a_large_environment_change_nothing";
    let Some(lab) = Lab::new(test) else { return };
    if lab::lacks(test, "perl") {
        return;
    }
    for install in BOTH {
        let ask = format!("ulimit -S -s 65536; {LONG_NAME_AND_ENVIRONMENT} $HELPER 3 {GRANTED}");
        lab.target(install, &ask).assert_mapped("0 100000 65536;", "0 100000 65536;");
    }
}

#[test]
fn what_was_mapped_is_logged_whole() {
    let Some(lab) = Lab::new("what_was_mapped_is_logged_whole") else { return };
    let small: String = (0..150).map(|number| format!("u:{number}:{}:1 ", 100_000 + 2 * number)).collect();
    let outcome = lab.map(FileCapabilities, &format!("{small}u:1000:101000:64000"));
    assert_eq!(outcome.status, 0, "{outcome:#?}");
    let log = lab.logged();
    let entries: Vec<&str> = log.lines().collect();
    assert!(entries.len() > 1 && entries.iter().all(|entry| entry.len() <= 1024), "{log}");
    assert!(entries[0].contains(": uid=61001 mapped u:0:100000:1 ") && entries[0].ends_with("..."), "{log}");
    assert!(entries.last().unwrap().ends_with("u:1000:101000:64000"), "{log}");
}

#[test]
fn what_is_no_request_is_a_usage_error() {
    let Some(lab) = Lab::new("what_is_no_request_is_a_usage_error") else { return };
    let long = "u:0:100000:1 ".repeat(2000);
    for arguments in [
        "",
        "3",
        "0 u:0:61001:1",
        "-h",
        "--",
        "3 --help",
        "3 u:0:061001:1",
        "3 u:0:61001:1$'\\n'",
        &format!("3 {long}"),
    ] {
        let outcome = lab.target(FileCapabilities, &format!("$HELPER {arguments}"));
        assert_eq!((outcome.status, outcome.uid_map.as_str()), (2, ""), "{arguments:.40}: {outcome:#?}");
        assert_eq!(outcome.said.lines().count(), 1, "{outcome:#?}");
    }
}

#[test]
fn missing_rights_are_explained() {
    let Some(lab) = Lab::new("missing_rights_are_explained") else { return };
    for install in BOTH {
        lab.target(install, &format!("setpriv --no-new-privs $HELPER 3 {GRANTED}"))
            .assert_refused("no_new_privs is set, so the kernel ignores the rights of this program");
    }
    lab.map(Plain, GRANTED)
        .assert_refused("not installed correctly: it has the capabilities 0x0 and needs exactly 0xc0");
    lab::run("setcap", &["cap_setgid,cap_setuid,cap_sys_admin=ep", &lab.helper(Plain)]);
    lab.map(Plain, GRANTED).assert_refused("has the capabilities 0x2000c0");
    for install in BOTH {
        let script = format!("{} && $ANA $HELPER 3 {GRANTED} 3</proc/self", lab.nosuid());
        lab.root("bash", install, &script).assert_refused("mounted nosuid");
    }
}

#[test]
fn root_is_told_that_it_needs_no_helper() {
    let Some(lab) = Lab::new("root_is_told_that_it_needs_no_helper") else { return };
    for install in BOTH {
        lab.root("bash", install, &format!("$HELPER 3 {GRANTED} 3</proc/self"))
            .assert_refused("root needs no helper");
    }
}

#[test]
fn policy_files_that_others_could_have_written_are_not_used() {
    let Some(lab) = Lab::new("policy_files_that_others_could_have_written_are_not_used") else { return };
    for file in ["subuid", "subgid", "nsswitch.conf"] {
        let path = lab.path(&format!("etc/{file}"));
        let own = format!("/etc/{file} is not used");
        let before = fs::read_to_string(&path).unwrap();
        for mode in [0o646, 0o664, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            lab.map(FileCapabilities, GRANTED).assert_refused(&format!("{own}: its mode {mode:04o}"));
        }
        lab.etc(file, &before);
        lab::run("chown", &["61001", &path]);
        lab.map(SetuidRoot, GRANTED).assert_refused(&format!("{own}: it belongs to uid 61001"));
        lab.etc(file, "# long\n".repeat(200_000));
        lab.map(FileCapabilities, GRANTED).assert_refused(&format!("{own}: it is longer than 1048576 bytes"));
        // libc itself, and so every tool of the lab, would wait for a FIFO at nsswitch.conf.
        if file != "nsswitch.conf" {
            fs::remove_file(&path).unwrap();
            lab::run("mkfifo", &["-m", "644", &path]);
            lab.map(FileCapabilities, GRANTED).assert_refused(&format!("{own}: it is not a regular file"));
        }
        lab.etc(file, &before);
    }
}

#[test]
fn a_link_is_refused_for_subuid_and_followed_for_nsswitch() {
    let Some(lab) = Lab::new("a_link_is_refused_for_subuid_and_followed_for_nsswitch") else { return };
    for (file, expected) in [("nsswitch.conf", 0), ("subuid", 1)] {
        let path = lab.path(&format!("etc/{file}"));
        fs::rename(&path, format!("{path}.real")).unwrap();
        std::os::unix::fs::symlink(format!("{file}.real"), &path).unwrap();
        assert_eq!(lab.map(FileCapabilities, GRANTED).status, expected, "{file}");
    }
}

#[test]
fn missing_files_grant_nothing_but_the_own_ids() {
    let Some(lab) = Lab::new("missing_files_grant_nothing_but_the_own_ids") else { return };
    for file in ["subuid", "subgid", "nsswitch.conf"] {
        fs::remove_file(lab.path(&format!("etc/{file}"))).unwrap();
    }
    lab.map(FileCapabilities, GRANTED).assert_refused("/etc/subuid does not grant 100000-165535");
    let own = lab.map(FileCapabilities, "u:0:61001:1 g:0:61001:1");
    own.assert_mapped("0 61001 1;", "0 61001 1;");
    assert_eq!(own.setgroups, "deny;");
}

#[test]
fn another_source_for_subid_leaves_the_work_to_newuidmap() {
    let Some(lab) = Lab::new("another_source_for_subid_leaves_the_work_to_newuidmap") else { return };
    lab.etc("nsswitch.conf", "passwd: files\nsubid: sss\n");
    lab.map(FileCapabilities, GRANTED).assert_refused("newuidmap and newgidmap must be used");
}

#[test]
fn the_running_helper_cannot_be_read_by_its_caller_and_keeps_no_file_of_his() {
    let Some(lab) = Lab::new("the_running_helper_cannot_be_read_by_its_caller_and_keeps_no_file_of_his")
    else {
        return;
    };
    for install in BOTH {
        let held = lab.through("bash", install, &held("", "u:0:5:1", "/proc/self"));
        held.assert_out_of_reach(&["/proc/self"]);
    }
}

#[test]
fn no_way_leads_into_the_helper_from_its_exec_to_its_end() {
    let test = "no_way_leads_into_the_helper_from_its_exec_to_its_end";
    let Some(lab) = Lab::new(test) else { return };
    if lab::lacks(test, "perl") || nobody_may_trace(test) {
        return;
    }
    for install in BOTH {
        lab.through("bash", install, &broken_into("", "u:0:5:1", "/proc/self")).assert_not_broken_into();
    }
}
