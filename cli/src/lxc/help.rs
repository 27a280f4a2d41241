//! The help of a tool, from its table of options. LXC prints it to standard error, and so here.

use super::{COMMON, Tool};
use crate::getopt::{Opt, Takes};
use crate::output;

/// Prints the help.
pub(super) fn print(tool: &Tool) {
    let Tool { name, usage, about, options, .. } = tool;
    output::tell_line(format_args!("Usage: {name} {usage}\n\n{name} {about}\n"));
    output::tell(format_args!("Options :\n{}\nCommon options :\n{}", lines(options), lines(COMMON)));
}

/// Prints the options in short.
pub(super) fn print_usage(tool: &Tool) {
    let words: Vec<String> = tool.options.iter().chain(COMMON).map(word).collect();
    output::tell_line(format_args!("Usage: {} {}", tool.name, words.join(" ")));
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
