//! Which source `/etc/nsswitch.conf` names for subordinate ids.

/// Tells whether the text of `nsswitch.conf` names a source other than `files` for `subid:`.
///
/// shadow then asks a plug-in of that name (`sss`, say) and ignores `/etc/subuid`; so whoever reads the files
/// alone would grant what the administrator has moved elsewhere. Database names count without regard to case,
/// as glibc and shadow take them; a comment ends the line; actions such as `[NOTFOUND=return]` are no
/// sources. Without a line the source is `files`. Source: nsswitch.conf(5), subuid(5).
pub fn subid_elsewhere(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').filter_map(subid_sources).any(|sources| !only_files(sources))
}

/// Returns what follows `subid:` on this line.
fn subid_sources(line: &[u8]) -> Option<&[u8]> {
    let line = line.split(|byte| *byte == b'#').next()?.trim_ascii();
    let colon = line.iter().position(|byte| *byte == b':')?;
    line[..colon].trim_ascii().eq_ignore_ascii_case(b"subid").then(|| &line[colon + 1..])
}

fn only_files(sources: &[u8]) -> bool {
    let mut in_action = false;
    let words = sources.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.into_iter().all(|word| {
        let action = in_action || word[0] == b'[';
        in_action = action && !word.ends_with(b"]");
        action || word == b"files"
    })
}

#[cfg(test)]
mod tests {
    use super::subid_elsewhere;

    #[test]
    fn files_alone_or_no_line_is_not_elsewhere() {
        for text in [
            "",
            "passwd: sss files\n",
            "subid: files\n",
            "SubID:\tfiles # sss\n",
            "# subid: sss\n",
            "subid:files\r\n",
            " subid : files [ NOTFOUND = return ]\n",
            "mysubid: sss\n",
        ] {
            assert!(!subid_elsewhere(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn any_other_source_is_elsewhere_wherever_it_stands() {
        for text in [
            "subid: sss\n",
            "subid: files sss\n",
            "SUBID:sss files",
            "subid: files\nsubid: sss\n",
            "subid: files [NOTFOUND=return] sss\n",
            "subid: filesystem\n",
        ] {
            assert!(subid_elsewhere(text.as_bytes()), "{text:?}");
        }
    }
}
