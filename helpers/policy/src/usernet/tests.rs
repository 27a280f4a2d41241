use super::*;

const STAFF: Owner = Owner::Group(50);
const ANA: Owner = Owner::User(1000);

fn bridge(name: &str) -> IfName {
    name.parse().unwrap()
}

/// What ana (uid 1000) may have, who is in the groups ana (1000), staff and wheel (50 and 10), and in one without a name.
fn of_ana(text: &[u8]) -> Vec<Grant> {
    let group = |gid, name: Option<&[u8]>| Group { gid, name: name.map(<[u8]>::to_vec) };
    let groups = [
        group(1000, Some(b"ana")),
        group(50, Some(b"staff")),
        group(10, Some(b"wheel")),
        group(77, None),
        group(10, Some(b"admins")),
    ];
    grants(text, &bridge("lxcbr0"), &Asker { uid: 1000, name: Some(b"ana"), groups: &groups })
}

fn grant(owner: Owner, quota: u32) -> Grant {
    Grant { owner, quota }
}

#[test]
fn lines_for_the_user_by_name_and_by_uid_grant() {
    assert_eq!(of_ana(b"ana veth lxcbr0 10\n"), [grant(ANA, 10)]);
    assert_eq!(of_ana(b"1000\tveth  lxcbr0\t3 \r\n"), [grant(ANA, 3)]);
}

#[test]
fn groups_have_devices_of_their_own_after_the_users() {
    let text = b"@staff veth lxcbr0 5\nbob veth lxcbr0 1\n@10 veth lxcbr0 7\nana veth lxcbr0 2\n";
    assert_eq!(of_ana(text), [grant(ANA, 2), grant(STAFF, 5), grant(Owner::Group(10), 7)]);
}

#[test]
fn a_group_is_one_owner_under_all_its_names_and_without_one() {
    let text = b"@wheel veth lxcbr0 5\n@admins veth lxcbr0 3\n@77 veth lxcbr0 1\n";
    assert_eq!(of_ana(text), [grant(Owner::Group(10), 5), grant(Owner::Group(77), 1)]);
    assert_eq!(groups(text, &bridge("lxcbr0")), [&b"admins"[..], b"wheel"]);
}

#[test]
fn who_has_no_name_has_what_lines_with_the_id_say() {
    let text = b"ana veth lxcbr0 5\n1000 veth lxcbr0 2\n";
    let nameless = Asker { uid: 1000, name: None, groups: &[] };
    assert_eq!(grants(text, &bridge("lxcbr0"), &nameless), [grant(ANA, 2)]);
    let digits = Asker { uid: 7, name: Some(b"1000"), groups: &[] };
    assert_eq!(grants(text, &bridge("lxcbr0"), &digits), []);
}

#[test]
fn of_several_lines_of_an_owner_the_largest_number_counts() {
    let text = b"ana veth lxcbr0 2\n1000 veth lxcbr0 9\nana veth lxcbr0 4\n@staff veth lxcbr0 1\n@50 veth lxcbr0 2\n";
    assert_eq!(of_ana(text), [grant(ANA, 9), grant(STAFF, 2)]);
}

#[test]
fn neighbours_and_other_bridges_grant_nothing() {
    for line in [
        "an veth lxcbr0 1",
        "anab veth lxcbr0 1",
        "ANA veth lxcbr0 1",
        "@sta veth lxcbr0 1",
        "staff veth lxcbr0 1",
        "@@staff veth lxcbr0 1",
        "100 veth lxcbr0 1",
        "10000 veth lxcbr0 1",
        "ana veth lxcbr 1",
        "ana veth lxcbr00 1",
        "ana veth LXCBR0 1",
        "ana veth lxcbr0 0",
    ] {
        assert_eq!(of_ana(line.as_bytes()), [], "{line}");
        assert_eq!(bad_lines(line.as_bytes()), [], "{line}");
    }
}

#[test]
fn a_line_that_does_not_parse_grants_nothing_is_reported_and_its_neighbours_still_grant() {
    use Reason::*;
    let long = "a".repeat(100);
    for (line, reason) in [
        ("ana", Fields),
        ("ana veth lxcbr0", Fields),
        ("ana veth lxcbr0 1 2", Fields),
        ("ana veth lxcbr0 1 opened", Fields),
        ("ana veth lxcbr0 1 open 2", Fields),
        ("ana veth lxcbr0 1 isolated", Fields),
        (" ana veth lxcbr0 1", Indented),
        ("\tana veth lxcbr0 1", Indented),
        ("ana empty lxcbr0 1", Kind),
        ("ana vethx lxcbr0 1", Kind),
        ("ana VETH lxcbr0 1", Kind),
        ("ana veth lxcbr0/ 1", Bridge),
        ("ana veth lxcbr\u{e9} 1", Bridge),
        ("ana veth 0123456789abcdef 1", Bridge),
        ("ana veth lxcbr0 -1", Number),
        ("ana veth lxcbr0 +1", Number),
        ("ana veth lxcbr0 010", Number),
        ("ana veth lxcbr0 0x1", Number),
        ("ana veth lxcbr0 1#x", Number),
        ("ana veth lxcbr0 2147483648", Number),
        ("ana veth lxcbr0 18446744073709551617", Number),
        ("ana veth lxcbr0 1\0", Control),
        ("ana veth\u{b}lxcbr0 1", Control),
        ("@ veth lxcbr0 1", Owner),
        ("01000 veth lxcbr0 1", Owner),
        ("4294967295 veth lxcbr0 1", Owner),
        ("4294968296 veth lxcbr0 1", Owner),
        (&format!("{long} veth lxcbr0 1"), Owner),
        (&format!("ana veth lxcbr0 {}1", " ".repeat(4096)), TooLong),
    ] {
        let text = format!("# head\n{line}\nana veth lxcbr0 7");
        assert_eq!(of_ana(text.as_bytes()), [grant(ANA, 7)], "{line:?}");
        assert_eq!(bad_lines(text.as_bytes()), [BadLine { line: 2, reason }], "{line:?}");
    }
}

#[test]
fn the_longest_line_and_the_longest_owner_still_grant() {
    let line = |blanks: usize| format!("ana veth lxcbr0 {}1", " ".repeat(blanks));
    let blanks = 4096 - line(0).len();
    assert_eq!(of_ana(line(blanks).as_bytes()), [grant(ANA, 1)]);
    assert_eq!(bad_lines(line(blanks + 1).as_bytes()), [BadLine { line: 1, reason: Reason::TooLong }]);
    let owner = |length: usize| format!("{} veth lxcbr0 1", "a".repeat(length));
    assert_eq!(bad_lines(owner(99).as_bytes()), []);
    assert_eq!(bad_lines(owner(100).as_bytes()), [BadLine { line: 1, reason: Reason::Owner }]);
}

#[test]
fn each_reason_says_what_is_expected() {
    for (reason, said) in [
        (Reason::TooLong, "the line is longer than 4096 bytes"),
        (Reason::Control, "the line holds a control character"),
        (Reason::Indented, "the line begins with a space"),
        (Reason::Fields, "expected OWNER veth BRIDGE NUMBER [open]"),
        (Reason::Owner, "the owner is not a user name, a uid, or either of a group with @"),
        (Reason::Kind, "the type is not veth"),
        (Reason::Bridge, "the bridge is not the name of an interface"),
        (Reason::Number, "the number is not a plain decimal number below 2147483648"),
    ] {
        assert_eq!(reason.to_string(), said);
    }
}

#[test]
fn comments_stand_before_and_behind_a_grant() {
    let text =
        b"# ana veth lxcbr0 1\n\n  # x\nana veth lxcbr0 3 # the laptop\n@staff veth lxcbr0 2 open #x\n";
    assert_eq!(of_ana(text), [grant(ANA, 3), grant(STAFF, 2)]);
    assert_eq!(bad_lines(text), []);
}

#[test]
fn a_number_beyond_the_slots_of_a_bridge_is_as_many_as_there_are() {
    assert_eq!(of_ana(b"ana veth lxcbr0 2147483647"), [grant(ANA, MOST)]);
}

#[test]
fn bytes_that_are_no_text_grant_nothing_and_their_neighbours_still_do() {
    assert_eq!(of_ana(b"\xff\xfe veth lxcbr0 3\nana veth \xff 3\nana veth lxcbr0 1"), [grant(ANA, 1)]);
}

#[test]
fn the_ports_of_a_bridge_are_kept_apart_where_several_may_have_some() {
    for (text, apart) in [
        ("", false),
        ("ana veth lxcbr0 5", false),
        ("ana veth lxcbr0 5\nana veth lxcbr0 9", false),
        ("ana veth lxcbr0 5\nbob veth br1 5", false),
        ("ana veth lxcbr0 5\nbob veth lxcbr0 5", true),
        ("ana veth lxcbr0 5\nana veth lxcbr0 5\n7 veth lxcbr0 5", true),
        ("@staff veth lxcbr0 5", true),
        ("@staff veth lxcbr0 5 open", false),
        ("ana veth lxcbr0 5 open\nbob veth lxcbr0 5 open", false),
        ("ana veth lxcbr0 5 open\nbob veth lxcbr0 5", true),
        ("ana veth lxcbr0 5 open\nbob veth lxcbr0 5 open\n@x veth lxcbr0 0", true),
        ("ana veth lxcbr0 5 open\nbob veth lxcbr0 oops", false),
    ] {
        assert_eq!(isolates(text.as_bytes(), &bridge("lxcbr0")), apart, "{text:?}");
    }
}

/// Numbers that look like chance and are the same in each run (xorshift).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// What fields are made of, well and badly.
const PIECES: [&[u8]; 34] = [
    b"ana",
    b"bob",
    b"@staff",
    b"@",
    b"1000",
    b"@50",
    b"veth",
    b"vethx",
    b"lxcbr0",
    b"br1",
    b"0",
    b"1",
    b"10",
    b"01",
    b"-1",
    b"2147483647",
    b"2147483648",
    b"99999999999999999999",
    b"open",
    b"#",
    b"# c",
    b" ",
    b"\t",
    b"  ",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\x0b",
    b"\xff",
    "\u{2028}".as_bytes(),
    b"a",
    b"%d",
    b"/",
];

/// A text of pieces in no order, and of lines that are nearly right.
pub(super) fn text(chance: &mut Chance) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..chance.below(6) {
        if chance.below(2) == 0 {
            (0..chance.below(9)).for_each(|_| text.extend_from_slice(chance.of(&PIECES)));
        } else {
            let good: [&[u8]; 4] =
                [chance.of(&PIECES[..6]), b"veth", b"lxcbr0", chance.of(&[&b"3"[..], b"8"])];
            let broken = chance.below(8);
            for (place, field) in good.into_iter().enumerate() {
                text.extend_from_slice(if place == broken { chance.of(&PIECES) } else { field });
                text.push(b' ');
            }
        }
        text.push(b'\n');
    }
    text
}

/// The grammar once more, written as the manual page says it, from fields instead of bytes: what ana has at most.
fn model(text: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| -> Option<u32> {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.starts_with([' ', '\t', '#']) || line.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return None;
        }
        let line = line.split([' ', '\t']).filter(|field| !field.is_empty()).collect::<Vec<_>>();
        let comment = line.iter().skip(4).position(|field| field.starts_with('#'));
        let line = &line[..comment.map_or(line.len(), |at| at + 4)];
        let number = match line {
            ["ana" | "1000", "veth", "lxcbr0", number] => number,
            ["ana" | "1000", "veth", "lxcbr0", number, "open"] => number,
            _ => return None,
        };
        let plain = number.parse::<i32>().ok().filter(|n| n.to_string() == **number && *n >= 0);
        plain.map(|number| (number as u32).min(1024))
    };
    text.split('\n').filter_map(line).max().unwrap_or(0)
}

#[test]
fn whatever_the_text_ana_has_what_a_model_of_the_grammar_says() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut granted = 0;
    for round in 0..60_000 {
        let text = text(&mut chance);
        let ana = Asker { uid: 1000, name: Some(b"ana"), groups: &[] };
        let own = grants(&text, &bridge("lxcbr0"), &ana);
        let quota = own.first().map_or(0, |grant| grant.quota);
        assert_eq!(quota, model(&text), "round {round}: {:?}", String::from_utf8_lossy(&text));
        granted += usize::from(quota > 0);
    }
    assert!(granted > 1000, "some texts grant: {granted}");
}

#[test]
fn a_line_more_never_takes_from_the_other_lines() {
    let mut chance = Chance(7);
    for _ in 0..10_000 {
        let (one, other) = (text(&mut chance), text(&mut chance));
        let both = [&one[..], b"\n", &other].concat();
        let most = |text: &[u8], owner| of_ana(text).iter().find(|g| g.owner == owner).map_or(0, |g| g.quota);
        for owner in [ANA, STAFF] {
            assert_eq!(most(&both, owner), most(&one, owner).max(most(&other, owner)));
        }
        assert_eq!(bad_lines(&both).len(), bad_lines(&one).len() + bad_lines(&other).len());
    }
}
