//! Options as getopt_long(3) reads them: options and words may be mixed, long names may be cut short as long as they
//! stay unique, `--` ends the options. The messages are those of the C library.

use std::fmt;

/// Whether an option takes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// None.
    Nothing,
    /// One, shown under this name.
    Value(&'static str),
    /// One that may be left out; it stands in the same word as the option.
    Maybe(&'static str),
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    /// The short forms; the first is shown.
    pub(crate) short: &'static str,
    /// The long form, which also names the option in the program.
    pub(crate) long: &'static str,
    /// Its argument.
    pub(crate) takes: Takes,
    /// What it does, for the help.
    pub(crate) help: &'static str,
}

/// Makes an option without an argument.
pub(crate) const fn flag(short: &'static str, long: &'static str, help: &'static str) -> Opt {
    Opt { short, long, takes: Takes::Nothing, help }
}

/// Makes an option with an argument.
pub(crate) const fn value(
    short: &'static str,
    long: &'static str,
    value: &'static str,
    help: &'static str,
) -> Opt {
    Opt { short, long, takes: Takes::Value(value), help }
}

/// What was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// Options in their order, by long name.
    options: Vec<(&'static str, Option<String>)>,
    /// Words that are no options, those after `--` included.
    pub(crate) words: Vec<String>,
}

impl Given {
    /// Tells whether an option was given.
    pub(crate) fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// Returns the argument of an option; the last one counts.
    pub(crate) fn value(&self, long: &str) -> Option<&str> {
        self.options.iter().rev().find(|(name, _)| *name == long)?.1.as_deref()
    }

    /// Returns the arguments of an option that may be repeated.
    pub(crate) fn values<'a>(&'a self, long: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(name, _)| *name == long).filter_map(|(_, value)| value.as_deref())
    }

    /// Returns which of the options was given last, for options that undo each other.
    pub(crate) fn last_of(&self, longs: &[&str]) -> Option<&'static str> {
        self.options.iter().rev().map(|(name, _)| *name).find(|name| longs.contains(name))
    }
}

/// What is wrong with the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// No such long option.
    Unrecognized(String),
    /// No such short option.
    Invalid(char),
    /// A long option that could be several.
    Ambiguous(String, Vec<&'static str>),
    /// A long option without its argument.
    LongNeedsValue(&'static str),
    /// A short option without its argument.
    ShortNeedsValue(char),
    /// An argument for an option that takes none.
    TakesNoValue(&'static str),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecognized(name) => write!(f, "unrecognized option '--{name}'"),
            Self::Invalid(letter) => write!(f, "invalid option -- '{letter}'"),
            Self::Ambiguous(name, longs) => {
                write!(f, "option '--{name}' is ambiguous; possibilities:")?;
                longs.iter().try_for_each(|long| write!(f, " '--{long}'"))
            }
            Self::LongNeedsValue(long) => write!(f, "option '--{long}' requires an argument"),
            Self::ShortNeedsValue(letter) => write!(f, "option requires an argument -- '{letter}'"),
            Self::TakesNoValue(long) => write!(f, "option '--{long}' doesn't allow an argument"),
        }
    }
}

/// Reads the words of a command line by the tables of its options.
pub(crate) fn parse(tables: &[&'static [Opt]], words: &[String]) -> Result<Given, Wrong> {
    let mut given = Given::default();
    let mut words = words.iter().cloned();
    while let Some(word) = words.next() {
        if word == "--" {
            given.words.extend(words);
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            given.options.push(long_option(tables, long, &mut words)?);
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            short_options(tables, letters, &mut words, &mut given)?;
        } else {
            given.words.push(word);
        }
    }
    Ok(given)
}

type One = (&'static str, Option<String>);

fn long_option(
    tables: &[&'static [Opt]],
    word: &str,
    rest: &mut impl Iterator<Item = String>,
) -> Result<One, Wrong> {
    let (name, value) =
        word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
    let option = find_long(tables, name)?;
    match (option.takes, value) {
        (Takes::Nothing, Some(_)) => Err(Wrong::TakesNoValue(option.long)),
        (Takes::Value(_), None) => {
            let value = rest.next().ok_or(Wrong::LongNeedsValue(option.long))?;
            Ok((option.long, Some(value)))
        }
        (_, value) => Ok((option.long, value)),
    }
}

fn find_long(tables: &[&'static [Opt]], name: &str) -> Result<&'static Opt, Wrong> {
    let all = || tables.iter().flat_map(|table| table.iter());
    if let Some(exact) = all().find(|option| option.long == name) {
        return Ok(exact);
    }
    let candidates: Vec<&Opt> = all().filter(|option| option.long.starts_with(name)).collect();
    match candidates[..] {
        [] => Err(Wrong::Unrecognized(name.to_owned())),
        [one] => Ok(one),
        _ => Err(Wrong::Ambiguous(name.to_owned(), candidates.iter().map(|option| option.long).collect())),
    }
}

fn short_options(
    tables: &[&'static [Opt]],
    letters: &str,
    rest: &mut impl Iterator<Item = String>,
    given: &mut Given,
) -> Result<(), Wrong> {
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        let all = || tables.iter().flat_map(|table| table.iter());
        let option = all().find(|option| option.short.contains(letter)).ok_or(Wrong::Invalid(letter))?;
        let attached = || Some(letters.as_str().to_owned()).filter(|value| !value.is_empty());
        let value = match option.takes {
            Takes::Nothing => {
                given.options.push((option.long, None));
                continue;
            }
            Takes::Maybe(_) => attached(),
            Takes::Value(_) => {
                Some(attached().or_else(|| rest.next()).ok_or(Wrong::ShortNeedsValue(letter))?)
            }
        };
        given.options.push((option.long, value));
        return Ok(());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[Opt] = &[
        value("n", "name", "NAME", ""),
        flag("k", "kill", ""),
        flag("s", "state", ""),
        flag("S", "stats", ""),
        Opt { short: "e", long: "elevated", takes: Takes::Maybe("WHAT"), help: "" },
        flag("h?", "help", ""),
    ];

    fn read(words: &[&str]) -> Result<Given, Wrong> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&[OPTIONS], &words)
    }

    #[test]
    fn words_and_options_may_be_mixed() {
        let given = read(&["web", "-k", "more", "--", "-k", "--bogus"]).unwrap();
        assert_eq!(given.words, ["web", "more", "-k", "--bogus"]);
        assert!(given.has("kill"));
    }

    #[test]
    fn arguments_stand_in_the_same_word_or_the_next() {
        for words in [&["-nweb"][..], &["-n", "web"], &["--name=web"], &["--name", "web"], &["--na", "web"]] {
            assert_eq!(read(words).unwrap().value("name"), Some("web"), "{words:?}");
        }
        assert_eq!(read(&["-kn", "web"]).unwrap().value("name"), Some("web"));
        assert_eq!(read(&["-n", "a", "-n", "b"]).unwrap().values("name").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn an_argument_that_may_be_left_out_is_never_the_next_word() {
        let given = read(&["-e", "CAP"]).unwrap();
        assert_eq!((given.value("elevated"), given.has("elevated")), (None, true));
        assert_eq!(read(&["-eCAP"]).unwrap().value("elevated"), Some("CAP"));
        assert_eq!(read(&["--elevated=CAP"]).unwrap().value("elevated"), Some("CAP"));
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_the_c_library() {
        for (words, message) in [
            (&["--zz"][..], "unrecognized option '--zz'"),
            (&["-Z"], "invalid option -- 'Z'"),
            (&["-n"], "option requires an argument -- 'n'"),
            (&["--name"], "option '--name' requires an argument"),
            (&["--state=3"], "option '--state' doesn't allow an argument"),
            (&["--st"], "option '--st' is ambiguous; possibilities: '--state' '--stats'"),
        ] {
            assert_eq!(read(words).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_question_mark_is_a_short_option() {
        assert!(read(&["-?"]).unwrap().has("help"));
    }

    #[test]
    fn a_lone_dash_is_a_word() {
        assert_eq!(read(&["-"]).unwrap().words, ["-"]);
    }
}
