//! Text of somebody else's that is shown.

/// Tells whether a character shows as itself: it is neither a control character nor one that hides or turns others, such
/// as marks and overrides of writing direction, joiners, line separators and the byte order mark. Source: Unicode's
/// categories Cc, Cf, Zl and Zp.
///
/// What comes with an image or from a container could make a terminal show something else.
pub fn is_shown(c: char) -> bool {
    let hides = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !hides && !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_other_characters_is_not_shown() {
        assert!("aé \u{a0}漢🌳".chars().all(is_shown));
        let hidden = "\u{1b}\n\u{85}\u{202e}\u{2066}\u{200d}\u{2028}\u{feff}\u{ad}\u{e0041}";
        assert!(!hidden.chars().any(is_shown));
    }
}
