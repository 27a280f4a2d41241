//! bryo-netdev against the kernel, installed both ways, started by ordinary users.

#[cfg(test)]
mod lab;

use lab::Install::FileCapabilities;
use lab::{BOTH, Lab, assert_made};

#[test]
fn a_granted_pair_is_made_by_either_install() {
    let Some(lab) = Lab::new("a_granted_pair_is_made_by_either_install") else { return };
    for install in BOTH {
        let outcome = lab.ask(
            install,
            "",
            "veth $A eth0; R=$?; ip -d -o link show master br0; inside $A ip -o link show eth0; (exit $R)",
        );
        println!("{outcome:#?}");
        assert_made(&outcome);
    }
    let _ = FileCapabilities;
}
