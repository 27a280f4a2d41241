//! Datagrams of the kernel's table of links: whatever they hold, they are read to an end, and names stay within what the
//! kernel has for them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let mut length = 0;
    for message in rtnl::messages(datagram) {
        length += 16 + message.content.len();
        assert!(rtnl::status(message.content).is_none_or(|status| status.is_ok() || status.is_err_and(|error| error > 0)));
        let Some(link) = netdev::links::link(message.content) else { continue };
        // What is no text becomes longer, by two bytes for each byte at most.
        let most = 3 * message.content.len();
        assert!(link.name.len() + link.kind.len() <= most && link.others.iter().all(|name| name.len() <= most));
        assert!(!link.name.contains('\0') && !link.others.iter().any(|name| name.contains('\0')));
        assert!(link.is_named(&link.name));
    }
    assert!(length <= datagram.len(), "no byte is read twice");
    for (_, content) in rtnl::attributes(datagram) {
        assert!(content.len() + 4 <= datagram.len());
    }
});
