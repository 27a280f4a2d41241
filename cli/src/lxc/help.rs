//! The help of a tool, from its table of options. LXC prints it to standard error, and so here.

use config::manual::roff;

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

/// Returns the manual page of a tool in the language of man(7).
pub(super) fn page(tool: &Tool) -> String {
    let Tool { name, usage, about, options, .. } = tool;
    let entry = |option: &Opt| format!(".TP\n.B {}\n{}.\n", roff(forms(option).trim()), roff(option.help));
    let entries = |options: &[Opt]| options.iter().map(entry).collect::<String>();
    let (own, common) = (entries(options), entries(COMMON));
    let text = format!(".SH OPTIONS\n{own}.SS Common options\n{common}");
    page_of(name, about, &format!("{name} {usage}"), &text)
}

/// Returns a page with its usual head and foot; `text` is in the language of man(7) already.
pub(super) fn page_of(name: &str, about: &str, usage: &str, text: &str) -> String {
    let upper = name.to_uppercase();
    let (name, about, usage) = (roff(name), roff(about), roff(usage));
    format!(
        ".TH {upper} 1 \"\" Bryo\n.SH NAME\n{name} \\- {about}\n.SH SYNOPSIS\n.B {usage}\n\
         .SH DESCRIPTION\nLXC's {name}, answered by Bryo: the same options, output and exit status.\n{text}\
         .SH SEE ALSO\n.BR bryo (1),\n.BR bryo.container.conf (5)\n"
    )
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
    fn a_page_has_every_option_and_no_commands_by_accident() {
        for tool in super::super::TOOLS {
            let page = page(tool);
            for option in tool.options {
                assert!(
                    page.contains(&roff(&format!("--{}", option.long))),
                    "{} --{}",
                    tool.name,
                    option.long
                );
            }
            let known = [".TH", ".SH", ".SS", ".TP", ".B", ".BR"];
            for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
                assert!(known.contains(&line.split(' ').next().unwrap()), "{line}");
            }
        }
    }

    #[test]
    fn options_are_shown_with_both_forms() {
        assert_eq!(forms(&value("n", "name", "NAME", "")), "-n, --name=NAME");
        assert_eq!(forms(&flag("", "usage", "")), "    --usage");
        assert_eq!(word(&flag("k", "kill", "")), "[-k|--kill]");
    }
}
