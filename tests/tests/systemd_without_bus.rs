//! A host with systemd whose system's bus has ended: in the virtual machine.

use tests::vm::{From, Guest};

tests::claims_of_a_modern_host! {
    in_a_service_of_the_users_systemd_a_scope_takes_no_bus;
    elsewhere_a_container_runs_where_it_may_and_doctor_names_the_bus;
}

fn ends_the_bus(guest: &Guest) {
    guest.root("systemctl stop dbus.socket dbus.service").succeeds();
}

fn in_a_service_of_the_users_systemd_a_scope_takes_no_bus(guest: &Guest) {
    ends_the_bus(guest);
    let service = format!(
        "export XDG_RUNTIME_DIR=/run/user/1000; systemd-run --user --pipe --wait --quiet -p KillMode=process -E PATH=$PATH \
         sh -c '{}'",
        guest.making_web(&[])
    );
    guest.run(From::Plain, "ana", &service).succeeds();
    let payload = guest.payload();
    assert!(payload.ends_with("app.slice/bryo-web.scope/lxc.payload.web"), "{payload:?}");
    guest.run(From::Plain, "ana", "bryo stop -k web").succeeds();
}

fn elsewhere_a_container_runs_where_it_may_and_doctor_names_the_bus(guest: &Guest) {
    ends_the_bus(guest);
    guest
        .start_web_of(From::Plain, "ana", &[])
        .succeeds()
        .tells("the user's systemd gives no scope, so cgroups are none");
    let told = guest.run(From::Plain, "ana", "bryo doctor; bryo stop -k web");
    told.tells("nobody listens on /run/dbus/system_bus_socket").tells("sudo systemctl start dbus.socket");
}
