use proptest::prelude::*;
use serde_json::json;

use super::*;

const LINES: &str = "\
alpine;3.22;amd64;default;20261124_13:00;/images/alpine/3.22/amd64/default/20261124_13:00/
debian;trixie;amd64;default;20261124_05:24;/images/debian/trixie/amd64/default/20261124_05:24/
debian;trixie;amd64;default;20261125_05:24;/images/debian/trixie/amd64/default/20261125_05:24/
debian;trixie;amd64;cloud;20261125_05:24;/images/debian/trixie/amd64/cloud/20261125_05:24/
debian;trixie;armel;default;20261125_05:24;/images/debian/trixie/armel/default/20261125_05:24/
debian;trixie;armhf;default;20261124_05:24;/images/debian/trixie/armhf/default/20261124_05:24/
debian;bookworm;amd64;default;20261125_05:24;/images/debian/bookworm/amd64/default/20261125_05:24/
";

fn streams() -> serde_json::Value {
    let item = |ftype: &str, byte: &str| {
        let path = format!("images/debian/trixie/{ftype}");
        json!({"ftype": ftype, "path": path, "size": 1000, "sha256": byte.repeat(32)})
    };
    let mut metadata = item("incus.tar.xz", "aa");
    metadata["combined_rootxz_sha256"] = json!("cc".repeat(32));
    let items = json!({
        "incus.tar.xz": metadata, "root.tar.xz": item("root.tar.xz", "bb"), "disk.qcow2": item("disk-kvm.img", "dd"),
    });
    let product = json!({
        "aliases": "debian/13/default,debian/13,debian/trixie", "arch": "amd64", "os": "Debian", "release": "trixie",
        "release_title": "trixie", "variant": "default", "requirements": {},
        "versions": {"20261125_05:24": {"items": items}},
    });
    json!({"format": "products:1.0", "datatype": "image-downloads", "products": {"debian:trixie:amd64:default": product}})
}

fn read(list: &serde_json::Value) -> Index {
    simplestreams(list.to_string().as_bytes()).unwrap()
}

fn find<'a>(index: &'a Index, name: &str) -> Result<&'a Offer, String> {
    index.find(&name.parse().unwrap(), &"amd64".parse().unwrap()).map_err(|none| none.to_string())
}

#[test]
fn the_newest_build_for_this_machine_is_meant() {
    let index = lxc(LINES.as_bytes()).unwrap();
    assert_eq!((index.offers.len(), &index.left_out), (7, &None));
    let found = |name| {
        find(&index, name).map(|offer| match &offer.files {
            Files::Lxc(path) => path.as_str().to_owned(),
            Files::Streams { .. } => panic!("the index is LXC's"),
        })
    };
    let of = |rest: &str| Ok(format!("images/debian/trixie/{rest}"));
    assert_eq!(found("debian/trixie"), of("amd64/default/20261125_05:24"));
    assert_eq!(found("debian/trixie/x86_64"), of("amd64/default/20261125_05:24"));
    assert_eq!(found("debian/trixie/amd64/cloud"), of("amd64/cloud/20261125_05:24"));
    assert_eq!(found("debian/trixie/armhf"), of("armhf/default/20261124_05:24"), "not the newer armel");
}

#[test]
fn what_there_is_is_said_where_a_name_means_nothing() {
    let index = lxc(LINES.as_bytes()).unwrap();
    for (name, said) in [
        ("debain/trixie", "no distribution debain; did you mean debian?"),
        ("debian", "debian has several releases; say one, as in debian/bookworm: bookworm, trixie"),
        ("debian/14", "debian has no release 14; it has bookworm, trixie"),
        ("alpine/3.22/arm64", "alpine/3.22 is not there as arm64/default; it is as amd64/default"),
    ] {
        assert_eq!(find(&index, name).unwrap_err(), said);
    }
    let said = find(&read(&streams()), "debian").map(drop);
    assert_eq!(said.unwrap_err(), "debian has several releases; say one, as in debian/trixie: trixie (13)");
}

#[test]
fn simplestreams_has_numbers_for_releases_and_a_digest_for_every_file() {
    let index = read(&streams());
    assert_eq!((index.offers.len(), &index.left_out), (1, &None));
    let offer = find(&index, "debian/13").unwrap();
    assert_eq!(offer.name().to_string(), "debian/trixie/amd64/default");
    let digest = |byte: &str| Digest::from_hex(&byte.repeat(32)).unwrap();
    let part = |name: &str, byte: &str| Part {
        path: format!("images/debian/trixie/{name}").parse().unwrap(),
        size: Some(1000),
        digest: digest(byte),
    };
    let (metadata, rootfs) = (part("incus.tar.xz", "aa"), part("root.tar.xz", "bb"));
    assert_eq!(offer.files, Files::Streams { metadata, rootfs, fingerprint: Some(digest("cc")) });
}

#[test]
fn a_list_of_images_is_found_by_what_it_is() {
    let index = |datatype: &str, path: &str| {
        let list = json!({"index": {"a": {"datatype": datatype, "path": path}}, "format": "index:1.0"});
        products(list.to_string().as_bytes()).map(|path| path.as_str().to_owned()).ok()
    };
    assert_eq!(index("image-downloads", "streams/v1/images.json").as_deref(), Some("streams/v1/images.json"));
    assert_eq!(index("image-ids", "streams/v1/images.json"), None);
    assert_eq!(index("image-downloads", "../images.json"), None);
    assert_eq!(index("image-downloads", "http://elsewhere/images.json"), None);
}

/// The fields of the list that become a name, a path or a digest, each with values that must not pass.
#[test]
fn a_hostile_entry_is_left_out_and_counted() {
    let words: &[&str] =
        &["..", "../x", "a/b", "-rf", ".hidden", "a b", "a\nlxc.hook.start = x", "a\u{202e}b", ""];
    let paths: &[&str] =
        &["/etc/passwd", "../x", "a/../../x", "a//b", "http://elsewhere/x", "a?b", "a%2e%2e", "a\\b", ""];
    let digests: &[&str] = &["", "ab", "../../etc/passwd"];
    let item = "/products/debian:trixie:amd64:default/versions/20261125_05:24/items";
    let product = "/products/debian:trixie:amd64:default";
    for (pointer, values) in [
        (format!("{product}/os"), words),
        (format!("{product}/release"), words),
        (format!("{product}/arch"), words),
        // An empty variant is the default one.
        (format!("{product}/variant"), &words[..8]),
        (format!("{item}/root.tar.xz/path"), paths),
        (format!("{item}/incus.tar.xz/path"), paths),
        (format!("{item}/root.tar.xz/sha256"), digests),
        (format!("{item}/incus.tar.xz/sha256"), digests),
        (format!("{item}/incus.tar.xz/combined_rootxz_sha256"), digests),
    ] {
        for value in values {
            let mut list = streams();
            *list.pointer_mut(&pointer).unwrap() = json!(value);
            let index = read(&list);
            assert_eq!(
                (index.offers.len(), index.left_out.map(|(n, _)| n)),
                (0, Some(1)),
                "{pointer} = {value:?}"
            );
        }
    }
    let mut list = streams();
    *list.pointer_mut(&format!("{item}/root.tar.xz/size")).unwrap() = json!(MAX_FILE + 1);
    assert_eq!(read(&list).left_out, Some((1, BadEntry::Size(MAX_FILE + 1))));
    for build in ["../x", "x", "1;2", &"1".repeat(33)] {
        let list = streams().to_string().replace("20261125_05:24", build);
        assert!(simplestreams(list.as_bytes()).unwrap().offers.is_empty(), "{build}");
    }
}

#[test]
fn a_hostile_line_is_left_out_and_the_others_stay() {
    let good = "debian;trixie;amd64;default;20261125_05:24;/images/x/";
    for bad in [
        "debian;trixie;amd64;default;20261125_05:24;/images/../../x/",
        "debian;trixie;amd64;default;20261125_05:24;//elsewhere?x/",
        "debian;trixie;amd64;default;now;/images/x/",
        "../debian;trixie;amd64;default;20261125_05:24;/images/x/",
        "debian;trixie;amd64;default;20261125_05:24",
        "debian;trixie;amd64;default;20261125_05:24;/images/x/;more",
        "debian;;amd64;default;20261125_05:24;/images/x/",
        "<html>",
    ] {
        let index = lxc(format!("{bad}\n{good}\n{bad}").as_bytes()).unwrap();
        assert_eq!((index.offers.len(), index.left_out.map(|(n, _)| n)), (1, Some(2)), "{bad}");
    }
}

#[test]
fn an_index_without_end_is_refused() {
    let long = vec![b'\n'; MAX_INDEX as usize + 1];
    assert!(matches!(lxc(&long), Err(BadIndex::TooLong)));
    assert!(matches!(simplestreams(&long), Err(BadIndex::TooLong)));
    assert!(matches!(lxc("x\n".repeat(MAX_OFFERS + 1).as_bytes()), Err(BadIndex::TooMany)));
    assert!(matches!(simplestreams("[".repeat(100_000).as_bytes()), Err(BadIndex::Json(_))));
}

#[test]
fn sums_are_read_as_sha256sum_writes_them() {
    let (a, b) = ("aa".repeat(32), "bb".repeat(32));
    let text = format!("{a}  rootfs.tar.xz\n{b} *meta.tar.xz\n# {a}\n{a} x\n{}  short\n", &a[1..]);
    let read: Vec<_> =
        sums(text.as_bytes()).unwrap().into_iter().map(|(name, sum)| (name, sum.hex())).collect();
    assert_eq!(read, [("meta.tar.xz".to_owned(), b.clone()), ("rootfs.tar.xz".to_owned(), a.clone())]);
    assert!(matches!(sums(format!("{a}  x\n{b}  x\n").as_bytes()), Err(BadIndex::Twice(_))));
    assert_eq!(sums(format!("{a}  x\n{a}  x\n").as_bytes()).unwrap().len(), 1);
}

/// A text near an index: a good one, with pieces of it in the place of others.
fn near(good: String) -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        Just(String::new()),
        Just("..".into()),
        Just("/".into()),
        Just(";".into()),
        Just("\"".into()),
        Just("{".into()),
        Just("null".into()),
        Just("\0".into()),
        Just("18446744073709551616".into()),
        any::<String>(),
    ];
    let cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), pieces);
    prop::collection::vec(cut, 0..4).prop_map(move |cuts| {
        let mut bytes = good.clone().into_bytes();
        for (from, length, piece) in cuts {
            let from = from.index(bytes.len().max(1)).min(bytes.len());
            let to = (from + length.index(12)).min(bytes.len());
            bytes.splice(from..to, piece.into_bytes());
        }
        bytes
    })
}

fn assert_plain(offer: &Offer) {
    let name = offer.name().to_string();
    assert_eq!(name.parse(), Ok(offer.name()));
    let paths = match &offer.files {
        Files::Lxc(path) => vec![path],
        Files::Streams { metadata, rootfs, .. } => vec![&metadata.path, &rootfs.path],
    };
    for path in paths {
        assert!(path.as_str().split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
        assert!(!path.as_str().contains(['?', '#', '%', '\\', '@', ' ', '\n']), "{path:?}");
    }
}

proptest! {
    #[test]
    fn whatever_the_index_says_no_offer_leads_elsewhere(
        lines in near(LINES.to_owned()), list in near(streams().to_string()), noise in any::<Vec<u8>>(),
    ) {
        for bytes in [&lines, &list, &noise] {
            let indexes = [lxc(bytes).ok(), simplestreams(bytes).ok()];
            indexes.iter().flatten().flat_map(|index| &index.offers).for_each(assert_plain);
            let _any = (products(bytes).is_ok(), sums(bytes).is_ok());
        }
    }
}

#[test]
fn an_entry_of_another_form_hides_no_other() {
    let odd = [json!(7), json!({"os": 1}), json!({"versions": {"20261125_05:24": 7}}), json!(null)];
    for odd in odd {
        let mut list = streams();
        list["products"]["odd"] = odd.clone();
        let index = read(&list);
        assert_eq!((index.offers.len(), index.left_out.map(|(n, _)| n)), (1, Some(1)), "{odd}");
    }
    let mut list = streams();
    let versions = list["products"]["debian:trixie:amd64:default"]["versions"].as_object_mut().unwrap();
    let mut version = versions["20261125_05:24"].clone();
    version["items"]["odd"] = json!([1]);
    version["items"]["without"] = json!({"path": 7});
    versions.insert("20261126_05:24".to_owned(), version.clone());
    version["items"]["root.tar.xz"]["size"] = json!("large");
    versions.insert("20261127_05:24".to_owned(), version);
    versions.insert("20261128_05:24".to_owned(), json!("x"));
    let index = read(&list);
    assert_eq!((index.offers.len(), index.left_out.map(|(n, _)| n)), (2, Some(2)));
}
