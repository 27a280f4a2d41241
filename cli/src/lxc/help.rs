//! The help of a tool, from its table of options. LXC prints it to standard error, and so here.

use super::{COMMON, Tool};
use crate::getopt::{Opt, Takes};

/// Prints the help.
pub(super) fn print(tool: &Tool) {
    eprintln!("Usage: {} {}\n\n{} {}\n", tool.name, tool.usage, tool.name, tool.about);
    eprint!("Options :\n{}\nCommon options :\n{}", lines(tool.options), lines(COMMON));
}

/// Prints the options in short.
pub(super) fn print_usage(tool: &Tool) {
    let words: Vec<String> = tool.options.iter().chain(COMMON).map(word).collect();
    eprintln!("Usage: {} {}", tool.name, words.join(" "));
}

fn lines(options: &[Opt]) -> String {
    options.iter().map(|option| format!("  {:<28} {}\n", forms(option), option.help)).collect()
}

fn forms(option: &Opt) -> String {
    let short =
        option.short.chars().next().map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    format!("{short}--{}{}", option.long, argument(option))
}

fn word(option: &Opt) -> String {
    let short = option.short.chars().next().map(|letter| format!("-{letter}|")).unwrap_or_default();
    format!("[{short}--{}{}]", option.long, argument(option))
}

fn argument(option: &Opt) -> String {
    match option.takes {
        Takes::Nothing => String::new(),
        Takes::Value(name) => format!("={name}"),
        Takes::Maybe(name) => format!("[={name}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::getopt::{flag, value};

    #[test]
    fn options_are_shown_with_both_forms() {
        assert_eq!(forms(&value("n", "name", "NAME", "")), "-n, --name=NAME");
        assert_eq!(forms(&flag("", "usage", "")), "    --usage");
        assert_eq!(word(&flag("k", "kill", "")), "[-k|--kill]");
    }
}
