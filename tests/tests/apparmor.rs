//! Containers on a host with AppArmor: in the virtual machine.

use tests::vm::{From, Guest};

tests::claims_of_a_modern_host! {
    a_profile_that_root_has_loaded_confines_what_runs_in_the_container_and_what_attaches;
    the_shipped_profile_stands_for_a_generated_one_once_it_is_loaded;
    a_profile_that_is_not_loaded_fails_the_start_with_what_loads_it;
    under_a_callers_profile_no_new_privs_keeps_every_other_away_which_a_named_one_says;
    a_systemd_inside_boots_to_running_under_the_shipped_profile;
    the_shipped_profile_refuses_what_commands_the_machine_and_lets_containers_be_inside;
    the_programs_and_their_containers_run_under_the_profile_that_allows_user_namespaces;
}

/// What a program in the container is under: its init, and one that attaches.
const LABELS: &str = "cat /proc/1/attr/apparmor/current /proc/self/attr/apparmor/current";

fn loads(guest: &Guest) {
    guest
        .root(&format!("apparmor_parser --replace {}", guest.file("apparmor/bryo-container").display()))
        .succeeds();
}

fn unloads(guest: &Guest) {
    let file = guest.file("apparmor/bryo-container");
    guest.root(&format!("apparmor_parser --remove {} 2>/dev/null; true", file.display())).succeeds();
}

fn a_profile_that_root_has_loaded_confines_what_runs_in_the_container_and_what_attaches(guest: &Guest) {
    loads(guest);
    guest.start_web(&["lxc.apparmor.profile=bryo-container"]).succeeds();
    let both = "bryo-container (enforce)\nbryo-container (enforce)";
    guest.ana(&format!("bryo exec web -- sh -c '{LABELS}'")).succeeds().says(both);
    guest.ana("bryo stop -k web").succeeds();
    unloads(guest);
}

fn the_shipped_profile_stands_for_a_generated_one_once_it_is_loaded(guest: &Guest) {
    unloads(guest);
    guest.start_web(&["lxc.apparmor.profile=generated"]).succeeds();
    guest.ana(&format!("bryo exec web -- sh -c '{LABELS}'; bryo stop -k web")).says("unconfined\nunconfined");
    loads(guest);
    let script = "bryo start web --net loopback --define lxc.apparmor.profile=generated && bryo exec web -- cat \
                  /proc/1/attr/apparmor/current; bryo stop -k web";
    guest.ana(script).succeeds().says("bryo-container (enforce)");
    unloads(guest);
}

fn a_profile_that_is_not_loaded_fails_the_start_with_what_loads_it(guest: &Guest) {
    unloads(guest);
    guest
        .start_web(&["lxc.apparmor.profile=bryo-container"])
        .fails()
        .tells("no profile bryo-container is loaded")
        .tells("apparmor_parser --replace");
}

/// A profile that allows all, and confines all the same as far as no_new_privs goes.
const CALLERS: &str = "abi <abi/4.0>,
profile claim-caller flags=(attach_disconnected, mediate_deleted) {
  file, capability, network, unix, dbus, mount, remount, umount, pivot_root, signal, ptrace, userns, change_profile,
}";

fn under_a_callers_profile_no_new_privs_keeps_every_other_away_which_a_named_one_says(guest: &Guest) {
    loads(guest);
    guest
        .root(&format!("echo '{CALLERS}' >/run/claim-caller; apparmor_parser --replace /run/claim-caller"))
        .succeeds();
    guest.start_web(&[]).succeeds();
    let starts = |keys: &str| {
        let start = format!(
            "bryo start web --net loopback {keys} && bryo exec web -- cat /proc/1/attr/apparmor/current"
        );
        guest.run(
            From::Plain,
            "ana",
            &format!("bryo stop -k web; aa-exec -p claim-caller -- sh -c '{start}'"),
        )
    };
    starts("--define lxc.apparmor.profile=generated").succeeds().says("bryo-container (enforce)");
    let nobody_gains = "--define lxc.no_new_privs=1 --define lxc.apparmor.profile";
    for tried in ["generated", "unconfined"] {
        starts(&format!("{nobody_gains}={tried}")).succeeds().says("claim-caller (enforce)");
    }
    starts(&format!("{nobody_gains}=bryo-container"))
        .fails()
        .tells("under no_new_privs nobody leaves a profile");
    guest.root("apparmor_parser --remove /run/claim-caller; rm /run/claim-caller").succeeds();
    unloads(guest);
}

fn a_systemd_inside_boots_to_running_under_the_shipped_profile(guest: &Guest) {
    loads(guest);
    guest.boots_debian("12", "--net loopback --define lxc.apparmor.profile=bryo-container");
    guest
        .ana("bryo exec web -- cat /proc/1/attr/apparmor/current; bryo stop web")
        .says("bryo-container (enforce)");
    unloads(guest);
}

fn the_shipped_profile_refuses_what_commands_the_machine_and_lets_containers_be_inside(guest: &Guest) {
    // The kernel refuses it to container root, too, so it is the profile's own word that counts.
    let profile = guest.file("apparmor/bryo-container").display().to_string();
    guest.root(&format!("sed 's/  deny /  audit deny /' {profile} | apparmor_parser --replace")).succeeds();
    guest.start_web(&["lxc.apparmor.profile=bryo-container"]).succeeds();
    guest
        .ana("bryo exec web -- sh -c 'mkdir -p /m; mount -t debugfs d /m; mount -t tmpfs t /m && echo mounted; unshare -U -r id -u'; bryo stop -k web")
        .says("mounted\n0");
    guest
        .root("dmesg | grep 'apparmor=\"DENIED\" operation=\"mount\".*profile=\"bryo-container\".*fstype=\"debugfs\"'")
        .succeeds();
    unloads(guest);
}

/// This kernel restricts no user namespaces (`kernel.apparmor_restrict_unprivileged_userns` is of others), so the label has to tell.
fn the_programs_and_their_containers_run_under_the_profile_that_allows_user_namespaces(guest: &Guest) {
    let prefix = guest.file("prefix").display().to_string();
    let profile = guest.file("apparmor/bryo").display().to_string();
    let made = "/run/bryo-profile";
    guest
        .root(&format!("sed s,PREFIX,{prefix}, {profile} >{made} && apparmor_parser --replace {made}"))
        .succeeds();
    guest.start_web(&["lxc.apparmor.profile=unconfined"]).succeeds();
    let both = "bryo (unconfined)\nbryo (unconfined)";
    guest.ana(&format!("bryo exec web -- sh -c '{LABELS}'; bryo stop -k web")).says(both);
    guest.root(&format!("apparmor_parser --remove {made} && rm {made}")).succeeds();
}
