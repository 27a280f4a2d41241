//! `bryo image verify`

use std::path::Path;

use container::{Kind, Result};
use serde::Serialize;
use types::Digest;

use crate::context::Context;
use crate::images::{Images, Kept};
use crate::json;
use crate::output::{self, Failure, Outcome};
use crate::program;
use crate::rungs::Talk;

/// Arguments of `bryo image verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  bryo image verify           reads all files of your images
  bryo image verify --json    for programs

Exit status: 1 where something has changed or is missing. bryo image pull fetches it anew; unpacked images are not looked at.";

/// An image that is not what it was.
#[derive(Debug, Serialize)]
struct Broken {
    name: String,
    changed: Vec<Digest>,
    missing: Vec<Digest>,
}

impl Verify {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let found = verify(context).map_err(|error| Failure::new("verify the images", error))?;
        if self.json {
            output::print_line(json::text(&found));
        } else {
            for Broken { name, changed, missing } in &found {
                changed.iter().for_each(|file| {
                    output::print_line(format!("{name}: {file} has changed; it was removed"))
                });
                missing.iter().for_each(|file| output::print_line(format!("{name}: {file} is missing")));
            }
            if found.is_empty() && talk != Talk::Quiet {
                output::say("all images are what they were");
            }
        }
        Ok(i32::from(!found.is_empty()))
    }
}

fn verify(context: &Context) -> Result<Vec<Broken>> {
    let images = Images::new()?;
    let own: Vec<_> = images.all().into_iter().filter(|image| image.kept == Kept::Here).collect();
    if own.is_empty() {
        return Ok(Vec::new());
    }
    let there = |digest: &Digest| images.own().join("blobs").join(digest.hex()).exists();
    let missing: Vec<Vec<Digest>> =
        own.iter().map(|image| image.record.blobs().filter(|digest| !there(digest)).collect()).collect();
    let changed = read_all(context, images.own())?;
    let broken = own.into_iter().zip(missing).map(|(image, missing)| Broken {
        changed: image.record.blobs().filter(|digest| changed.contains(digest)).collect(),
        missing,
        name: image.record.name,
    });
    Ok(broken.filter(|broken| !broken.changed.is_empty() || !broken.missing.is_empty()).collect())
}

fn read_all(context: &Context, store: &Path) -> Result<Vec<Digest>> {
    let arguments = vec!["verify".into(), "--store".into(), store.into()];
    program::ask(&context.facts()?.programs.image, arguments, &[], Kind::Image, None)
}
