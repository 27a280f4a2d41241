//! `bryo image info`

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use config::images::{Form, Record};
use container::{Kind, Result, bases};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::images::{Images, Kept, Stored};
use crate::json;
use crate::making;
use crate::output::{self, Failure, Outcome, printable};
use crate::program;
use crate::usage;

/// Arguments of `bryo image info`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Info {
    /// Its name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  bryo image info debian/13           where it comes from, its files, and the containers that are made from it
  bryo image info debian/13 --json    for programs";

/// What is told of an image.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    record: Record,
    kept: Kept,
    size_bytes: u64,
    /// What the image says of itself.
    properties: BTreeMap<String, String>,
    /// The id maps for which it is unpacked.
    unpacked_for: Vec<String>,
    /// The directories of the containers that are made from it.
    used_by: Vec<String>,
}

impl Info {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let told = self.told(context);
        let told =
            told.map_err(|error| Failure::new(&format!("tell about the image {}", self.name), error))?;
        match self.json {
            true => output::print_line(json::text(&told)),
            false => print(&told),
        }
        Ok(0)
    }

    fn told(&self, context: &Context) -> Result<Told> {
        let images = Images::new()?;
        let image = images.named(&self.name)?;
        let own = bases::all(images.own()).into_iter().filter(|base| Some(base.image) == image.record.id());
        let own: Vec<_> = own.collect();
        let users = own.iter().flat_map(|base| base.users(&context.lxcpath));
        Ok(Told {
            kept: image.kept,
            size_bytes: image.size(),
            properties: properties(context, &image).unwrap_or_else(|why| {
                output::note(&format!("what it says of itself cannot be read: {why}"));
                BTreeMap::new()
            }),
            unpacked_for: own.iter().map(|base| base.map.trim_end().replace('\n', ", ")).collect(),
            used_by: users.map(|dir| dir.display().to_string()).collect(),
            record: image.record,
        })
    }
}

/// What `bryo-image describe` prints.
#[derive(Deserialize)]
struct Described {
    values: BTreeMap<String, String>,
}

fn properties(context: &Context, image: &Stored) -> Result<BTreeMap<String, String>> {
    let Some(metadata) = image.record.metadata.filter(|_| image.record.form != Form::Oci) else {
        return Ok(BTreeMap::new());
    };
    let archive = making::open(&image.file(metadata))?;
    let arguments = vec!["describe".into(), "--archive".into(), archive.as_raw_fd().to_string().into()];
    let image = &context.facts()?.programs.image;
    let described: Described = program::ask(image, arguments, &[archive.as_fd()], Kind::Image, None)?;
    Ok(described.values)
}

fn print(told: &Told) {
    let Record { name, also, build, server, metadata, layers, .. } = &told.record;
    let line = |what: &str, value: &str| output::print_line(format!("{what:<14} {}", printable(value)));
    line("name", name);
    also.iter().for_each(|also| line("also", also));
    line("built", build);
    line(
        "from",
        server.as_deref().unwrap_or(match told.kept {
            Kept::Lxc => "lxc-create -t download",
            _ => "an import",
        }),
    );
    line("size", &usage::human(told.size_bytes));
    metadata.iter().for_each(|digest| line("metadata", &digest.to_string()));
    layers.iter().for_each(|digest| line("rootfs", &digest.to_string()));
    told.properties.iter().for_each(|(key, value)| line(key, value));
    told.unpacked_for.iter().for_each(|map| line("unpacked for", map));
    told.used_by.iter().for_each(|dir| line("used by", dir));
}
