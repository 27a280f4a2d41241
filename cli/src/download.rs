//! LXC's template `download`: its options, its list and its questions, for images of the store and of servers.

use std::io::{BufRead, IsTerminal};

use container::create::Template;
use container::{Doing, Error, Kind, Result};
use types::source::{ImageName, Word};

use crate::context::{Context, from_io};
use crate::fetching::{self, From, Offer};
use crate::getopt::{Given, Opt, flag, value};
use crate::images::Images;
use crate::making::{self, How};
use crate::output;

/// Its options. Those of GPG, which LXC had before 5.0, are read and mean nothing: TLS and digests are always checked.
pub(crate) const OPTIONS: &[Opt] = &[
    value("d", "dist", "NAME", "the distribution"),
    value("r", "release", "NAME", "its release"),
    value("a", "arch", "NAME", "the architecture [this machine's]"),
    value("", "variant", "NAME", "the variant [default]"),
    value("", "server", "HOST", "the image server"),
    flag("l", "list", "print what the server has, and make no container"),
    flag("", "flush-cache", "fetch the newest build, whatever is here"),
    flag("", "force-cache", "take what is here, and ask no server"),
    flag("", "verbose", "accepted, and without effect"),
    value("", "keyserver", "HOST", "accepted, and without effect"),
    value("", "keyid", "ID", "accepted, and without effect"),
    flag("", "no-validate", "accepted, and without effect"),
];

/// Returns the template, with a root file system for the container alone, as LXC makes it.
///
/// # Errors
/// An image that is not said whole where nobody can be asked; or one that cannot be had. A list makes no container either.
pub(crate) fn template(context: &Context, given: &Given) -> Result<Template> {
    let from = From { server: given.value("server").map(str::to_owned), ..From::default() };
    if given.has("list") {
        fetching::list(context, &from)?.iter().for_each(print);
        return Err(Error::new(Kind::Usage, "a list was asked for, so no container is made"));
    }
    let name = match said(given)? {
        Some(name) => name,
        None => ask(context, given, &from)?,
    };
    let how = How { pull: !given.has("force-cache"), full: true, from, ..How::default() };
    let (images, wanted) = (Images::new()?, how.from.wanted(context));
    if given.has("force-cache") && images.find(&name, Some(&wanted)).is_none() {
        return Err(Error::new(Kind::NoImage, format!("no image {name} is here")));
    }
    match making::named(context, &name, &how, None) {
        // LXC's own are not in the store of which the fetcher knows.
        Err(error)
            if error.kind() == Kind::Fetch
                && !given.has("flush-cache")
                && images.find(&name, Some(&wanted)).is_some() =>
        {
            output::note(&format!("{}: the image that is here is taken", error.cause()));
            making::named(context, &name, &How { pull: false, ..how }, None)
        }
        made => made,
    }
    .map(|(template, _)| template)
}

fn print(Offer { name, build, .. }: &Offer) {
    output::print_line(format!("{}\t{build}", name.replace('/', "\t")));
}

/// Reads the name where distribution and release are said.
fn said(given: &Given) -> Result<Option<ImageName>> {
    let word = |long: &str| given.value(long).map(|text| read(long, text)).transpose();
    let (Some(distribution), Some(release)) = (word("dist")?, word("release")?) else { return Ok(None) };
    Ok(Some(ImageName {
        distribution,
        release: Some(release),
        arch: word("arch")?,
        variant: word("variant")?,
    }))
}

fn read(what: &str, text: &str) -> Result<Word> {
    text.trim().parse().map_err(|wrong: types::source::BadName| {
        Error::new(Kind::Usage, wrong.to_string()).doing(what.to_owned())
    })
}

/// Asks for what was not said, as LXC does, with the list before.
fn ask(context: &Context, given: &Given, from: &From) -> Result<ImageName> {
    if !std::io::stdin().is_terminal() {
        let cause = "template download needs --dist and --release after -- where nobody can be asked";
        return Err(Error::new(Kind::Usage, cause));
    }
    fetching::list(context, from)?.iter().for_each(print);
    let answer = |long: &str, question: &str| match given.value(long) {
        Some(text) => read(long, text),
        None => {
            output::tell(format_args!("{question}: "));
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map_err(from_io).doing("reading an answer")?;
            read(long, &line)
        }
    };
    let (distribution, release) = (answer("dist", "Distribution")?, answer("release", "Release")?);
    let arch = answer("arch", "Architecture")?;
    let variant = given.value("variant").map(|text| read("variant", text)).transpose()?;
    Ok(ImageName { distribution, release: Some(release), arch: Some(arch), variant })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::getopt;

    fn given(words: &[&str]) -> Given {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        getopt::parse(&[OPTIONS], &words).unwrap()
    }

    #[test]
    fn every_option_of_lxcs_template_is_read() {
        let all = given(&[
            "-d",
            "debian",
            "-r",
            "13",
            "-a",
            "amd64",
            "--variant",
            "cloud",
            "--server",
            "a.org",
            "--flush-cache",
            "--force-cache",
            "--verbose",
            "--keyserver",
            "hkp://x",
            "--keyid",
            "0x1",
            "--no-validate",
            "-l",
        ]);
        assert_eq!(said(&all).unwrap().unwrap().to_string(), "debian/13/amd64/cloud");
        assert_eq!(said(&given(&["-d", "debian", "-r", "13"])).unwrap().unwrap().to_string(), "debian/13");
        assert_eq!(said(&given(&["--dist=debian"])).unwrap(), None);
        assert!(said(&given(&["-d", "../x", "-r", "13"])).is_err());
    }
}
