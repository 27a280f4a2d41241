//! A file of grants: each line counts by itself, nobody has more than the largest number of a line that means him, and what
//! is said of the file does not panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::slots::{MOST, Owner};
use policy::usernet::{self, Asker, Grant, Group, Line, Who, lint};
use types::IfName;

/// A host that knows ana, the group staff and the bridge lxcbr0.
struct Host;

impl lint::Host for Host {
    fn uid(&self, name: &[u8]) -> Option<u32> {
        (name == b"ana").then_some(1000)
    }

    fn gid(&self, name: &[u8]) -> Option<u32> {
        (name == b"staff").then_some(50)
    }

    fn kind(&self, name: &IfName) -> Option<&str> {
        (name.as_str() == "lxcbr0").then_some("bridge")
    }
}

fn of_ana(text: &[u8], bridge: &IfName) -> Vec<Grant> {
    let groups = [Group { gid: 50, name: None }, Group { gid: 50, name: Some(b"staff".to_vec()) }];
    usernet::grants(text, bridge, &Asker { uid: 1000, name: Some(b"ana"), groups: &groups })
}

/// The line as it is written plainly.
fn written(line: &Line<'_>) -> Vec<u8> {
    let owner = match line.who {
        Who::Uid(id) => id.to_string().into_bytes(),
        Who::User(name) => name.to_vec(),
        Who::Gid(id) => format!("@{id}").into_bytes(),
        Who::Group(name) => [b"@", name].concat(),
    };
    let open = if line.open { " open" } else { "" };
    [owner, format!(" veth {} {}{open}", line.bridge, line.number).into_bytes()].concat()
}

fuzz_target!(|text: &[u8]| {
    let bridge: IfName = "lxcbr0".parse().expect("this is the name of an interface");
    let all: Vec<Line<'_>> = usernet::all(text).collect();
    for line in &all {
        let again = written(line);
        let read: Vec<_> = usernet::all(&again).collect();
        assert!(
            matches!(&read[..], [one] if (one.who, &one.bridge, one.number, one.open) == (line.who, &line.bridge, line.number, line.open)),
            "{line:?} reads back as {read:?}"
        );
    }
    let grants = of_ana(text, &bridge);
    for (owner, means) in [
        (Owner::User(1000), [Who::Uid(1000), Who::User(b"ana")]),
        (Owner::Group(50), [Who::Gid(50), Who::Group(b"staff")]),
    ] {
        let own = all.iter().filter(|line| line.bridge == bridge && means.contains(&line.who));
        let most = own.map(|line| line.number).max().unwrap_or(0);
        let granted: Vec<u32> = grants.iter().filter(|grant| grant.owner == owner).map(|grant| grant.quota).collect();
        assert_eq!(granted, if most > 0 { vec![most] } else { vec![] });
        assert!(most <= MOST);
    }
    assert!(grants.len() <= 2);
    // A line that cannot be read grants nothing, and hides none of the others.
    let bad = usernet::bad_lines(text);
    assert!(bad.iter().all(|bad| all.iter().all(|line| line.line != bad.line)));
    let plain: Vec<u8> = all.iter().flat_map(|line| [written(line), b"\n".to_vec()].concat()).collect();
    assert_eq!(of_ana(&plain, &bridge), grants);
    assert_eq!(usernet::isolates(&plain, &bridge), usernet::isolates(text, &bridge));
    drop(bad.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert!(lint::lint(text, &Host).len() >= bad.len());
});
