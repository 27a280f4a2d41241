//! `bryo image`: what can be fetched, what is here, and what becomes of it.

mod carry;
mod info;
mod ls;
mod pull;
mod remove;
mod verify;

use clap::Subcommand;

use crate::context::Context;
use crate::output::Outcome;
use crate::rungs::Talk;

/// Arguments of `bryo image`.
#[derive(Debug, clap::Args)]
pub(super) struct Image {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the images that are here, or that the server has
    Ls(ls::Ls),
    /// Fetch an image, or its newer build
    Pull(pull::Pull),
    /// Tell about an image that is here
    Info(info::Info),
    /// Read all files of images, and remove those that have changed on the disk
    Verify(verify::Verify),
    /// Remove images that no container is made from
    Rm(remove::Rm),
    /// Remove files that no image has any more, and what was not fetched to its end
    Gc(remove::Gc),
    /// Make an image of an archive, or of what export has written
    Import(carry::Import),
    /// Write an image's files to a directory
    Export(carry::Export),
}

impl Image {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        match self.verb {
            Verb::Ls(verb) => verb.run(context),
            Verb::Pull(verb) => verb.run(context, talk),
            Verb::Info(verb) => verb.run(context),
            Verb::Verify(verb) => verb.run(context, talk),
            Verb::Rm(verb) => verb.run(context, talk),
            Verb::Gc(verb) => verb.run(context, talk),
            Verb::Import(verb) => verb.run(context, talk),
            Verb::Export(verb) => verb.run(talk),
        }
    }
}
