//! Keys of the configuration on a command line, which a shell completes from the table of all keys.

use std::ffi::OsStr;
use std::sync::LazyLock;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};
use config::keys;

/// Takes any word, as the configuration itself says what is wrong with one; the keys are for the shell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    /// A key alone.
    Alone,
    /// `KEY=VALUE`.
    WithValue,
}

impl TypedValueParser for Keys {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, word: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, arg, word)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words: &'static [String] = match self {
            Self::Alone => &ALONE,
            Self::WithValue => &WITH_VALUE,
        };
        Some(Box::new(words.iter().map(|word| PossibleValue::new(word.as_str()))))
    }
}

static ALONE: LazyLock<Vec<String>> = LazyLock::new(|| keys::completions().collect());
static WITH_VALUE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let end = |word: &str| if word.ends_with('.') { "" } else { "=" };
    keys::completions().map(|word| format!("{word}{}", end(&word))).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_completed_up_to_its_value() {
        let words: Vec<String> =
            Keys::WithValue.possible_values().unwrap().map(|word| word.get_name().to_owned()).collect();
        assert!(words.iter().all(|word| word.ends_with(['=', '.'])));
        for known in ["lxc.uts.name=", "lxc.cgroup2.", "lxc.net.0.link="] {
            assert!(words.iter().any(|word| word == known), "{known}");
        }
    }
}
