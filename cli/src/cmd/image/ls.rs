//! `bryo image ls`

use serde::Serialize;

use crate::context::Context;
use crate::fetching::{self, From, Offer};
use crate::images::{Images, Kept, Stored};
use crate::json;
use crate::output::{self, Failure, Outcome};
use crate::usage;

/// Arguments of `bryo image ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ls {
    /// Only images whose name, or other name of the release, begins with this
    filter: Option<String>,
    /// List what the server has
    #[arg(long)]
    remote: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: From,
}

const EXAMPLES: &str = "\
Examples:
  bryo image ls                     the images that are here
  bryo image ls debian              those of debian
  bryo image ls --remote debian     what the image server has of debian
  bryo image ls --remote debian/13  and of one release
  bryo image ls --json              for programs";

/// An image that is here, as it is listed.
#[derive(Debug, Serialize)]
struct Here {
    #[serde(flatten)]
    offer: Offer,
    kept: Kept,
    size_bytes: u64,
}

impl Ls {
    pub(super) fn run(self, context: &Context) -> Outcome {
        if self.remote {
            return self.offered(context).map_err(|error| Failure::new("list the images", error));
        }
        let images = Images::new().map_err(|error| Failure::new("list the images", error))?;
        let here: Vec<Here> = images.all().iter().map(here).filter(|here| self.wants(&here.offer)).collect();
        match self.json {
            true => output::print_line(json::text(&here)),
            false => here.iter().for_each(|Here { offer, kept, size_bytes }| {
                let lxcs = if *kept == Kept::Lxc { "  (fetched by lxc-create)" } else { "" };
                let host = if *kept == Kept::Host { "  (of this machine)" } else { "" };
                line(offer, &format!("  {:>10}", usage::human(*size_bytes)), &format!("{lxcs}{host}"));
            }),
        }
        Ok(0)
    }

    fn offered(&self, context: &Context) -> container::Result<i32> {
        let mut offers = fetching::list(context, &self.from)?;
        offers.retain(|offer| self.wants(offer));
        match self.json {
            true => output::print_line(json::text(&offers)),
            false => offers.iter().for_each(|offer| line(offer, "", "")),
        }
        Ok(0)
    }

    /// A release may be said by each of its names.
    fn wants(&self, image: &Offer) -> bool {
        let Offer { name, also, .. } = image;
        let Some(filter) = &self.filter else { return true };
        let (distribution, rest) = name.split_once('/').unwrap_or((name, ""));
        let (_, build) = rest.split_once('/').unwrap_or((rest, ""));
        let other = |also: &String| format!("{distribution}/{also}/{build}").starts_with(filter);
        name.starts_with(filter) || also.iter().any(other)
    }
}

fn here(image: &Stored) -> Here {
    let record = &image.record;
    let offer = Offer { name: record.name.clone(), also: record.also.clone(), build: record.build.clone() };
    Here { offer, kept: image.kept, size_bytes: image.size() }
}

fn line(offer: &Offer, size: &str, rest: &str) {
    output::print_line(text_of(offer, size, rest));
}

/// What a server says is on one line, and moves no cursor.
fn text_of(Offer { name, also, build }: &Offer, size: &str, rest: &str) -> String {
    let also = if also.is_empty() { String::new() } else { format!("  ({})", also.join(", ")) };
    output::printable(&format!("{name:40}  {build}{size}{also}{rest}")).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_one_line_that_moves_no_cursor() {
        let offer = Offer {
            name: "debian/\x1b[2J".to_owned(),
            also: vec!["13\nx".to_owned()],
            build: "\r2026".to_owned(),
        };
        let shown = text_of(&offer, "", "");
        assert!(
            shown.starts_with("debian/\u{fffd}[2J") && !shown.contains(['\n', '\r', '\x1b']),
            "{shown:?}"
        );
    }
}
