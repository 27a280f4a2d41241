//! A host whose user's systemd answers nobody for a while: in the virtual machine.

use std::path::Path;

use tests::vm::{From, Guest, Said};

tests::claims_of_a_modern_host! {
    a_start_that_waited_in_vain_goes_on_without_a_scope_and_nobody_moves_it_later;
    a_start_waits_for_a_systemd_that_is_slow;
}

const NOTHING: [&Path; 0] = [];

/// Starts a container while ana's systemd stands still for so many seconds.
fn starts_while_it_stands_still(guest: &Guest, seconds: u32) -> Said {
    guest.start_web_of(From::Plain, "ana", &[]).succeeds();
    guest.run(From::Plain, "ana", "bryo stop -k web").succeeds();
    let script = format!(
        "systemd=$(systemctl show -P MainPID user@1000.service); kill -STOP $systemd
         (sleep {seconds}; kill -CONT $systemd) >/dev/null 2>&1 &
         bryo start web --net loopback"
    );
    guest.run(From::Plain, "ana", &script).succeeds()
}

fn a_start_that_waited_in_vain_goes_on_without_a_scope_and_nobody_moves_it_later(guest: &Guest) {
    starts_while_it_stands_still(guest, 60)
        .tells("the user's systemd gives no scope")
        .tells("no answer in time");
    // It answers this once it has done what it was asked before.
    guest.ana("true").succeeds();
    assert_eq!(guest.groups(), NOTHING);
    guest.run(From::Plain, "ana", "bryo exec web -- true && bryo stop -k web").succeeds();
}

fn a_start_waits_for_a_systemd_that_is_slow(guest: &Guest) {
    starts_while_it_stands_still(guest, 8);
    assert!(guest.payload().ends_with("app.slice/bryo-web.scope/lxc.payload.web"), "{:?}", guest.groups());
    guest.run(From::Plain, "ana", "bryo stop -k web").succeeds();
}
