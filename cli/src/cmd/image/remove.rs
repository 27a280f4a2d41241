//! `bryo image rm` and `gc`: what nobody uses goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use container::bases::{self, Base};
use container::{Doing, Error, Kind, Result};
use serde::Serialize;
use types::Digest;

use crate::context::{Context, from_io};
use crate::images::{Images, Kept, Stored};
use crate::json;
use crate::output::{self, Failure, Outcome};
use crate::rungs::Talk;
use crate::usage;

/// Arguments of `bryo image rm`.
#[derive(Debug, clap::Args)]
#[command(after_help = RM_EXAMPLES)]
pub(super) struct Rm {
    /// Their names
    #[arg(required = true)]
    names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const RM_EXAMPLES: &str = "\
Examples:
  bryo image rm debian/13                     an image that no container is made from
  bryo image rm debian/13 alpine/3.22         several
  bryo image rm debian/13 --json              for programs

An image that a container is made from stays. bryo image info names the containers.";

/// Arguments of `bryo image gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = GC_EXAMPLES)]
pub(super) struct Gc {
    /// Remove unpacked images too that no container is made from; they are unpacked anew when one is
    #[arg(long)]
    unpacked: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const GC_EXAMPLES: &str = "\
Examples:
  bryo image gc               older builds, and what was not fetched to its end
  bryo image gc --unpacked    also what is unpacked and not used
  bryo image gc --json        for programs";

/// What has gone.
#[derive(Debug, Default, Serialize)]
struct Gone {
    images: Vec<String>,
    files: usize,
    size_bytes: u64,
    unpacked: usize,
}

impl Gone {
    fn tell(&self, json: bool, talk: Talk) {
        match (json, talk) {
            (true, _) => output::print_line(json::text(self)),
            (false, Talk::Quiet) => {}
            (false, _) => output::say(&format!(
                "{} files of {} and {} unpacked images are gone",
                self.files,
                usage::human(self.size_bytes),
                self.unpacked
            )),
        }
    }
}

impl Rm {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let gone = self.remove(context).map_err(|error| {
            let failure = Failure::new(&format!("remove {}", self.names.join(", ")), error);
            failure.with_help(
                Kind::Running,
                "bryo destroy removes a container; bryo image info names all of an image",
            )
        })?;
        gone.tell(self.json, talk);
        Ok(0)
    }

    fn remove(&self, context: &Context) -> Result<Gone> {
        let images = Images::new()?;
        let _alone = images.alone()?;
        let wanted = self.names.iter().map(|name| images.named(name)).collect::<Result<Vec<_>>>()?;
        wanted.iter().try_for_each(|image| refuse(image, &wanted, &images, context))?;
        for image in &wanted {
            let path = image.record_path();
            fs::remove_file(&path).map_err(from_io).doing_with(|| format!("removing {}", path.display()))?;
        }
        let gone = collect(&images, context, false)?;
        Ok(Gone { images: wanted.into_iter().map(|image| image.record.name).collect(), ..gone })
    }
}

/// An image stays that is another's to remove, or that a container is made from, unless another one has the same files.
fn refuse(image: &Stored, with: &[Stored], images: &Images, context: &Context) -> Result<()> {
    let name = &image.record.name;
    let another = match image.kept {
        Kept::Here => None,
        Kept::Host => Some("the administrator of this machine keeps it"),
        Kept::Lxc => Some("LXC keeps it, and removes it by lxc-create -t download -- --flush-cache"),
    };
    if let Some(why) = another {
        return Err(Error::new(Kind::Usage, format!("{name}: {why}")));
    }
    let goes = |other: &Stored| with.iter().any(|image| image.record.name == other.record.name);
    let same = |other: &Stored| other.record.id() == image.record.id() && !goes(other);
    if images.all().iter().any(same) {
        return Ok(());
    }
    let own = bases::all(images.own()).into_iter().filter(|base| Some(base.image) == image.record.id());
    match own.flat_map(|base| base.users(&context.lxcpath)).next() {
        Some(user) => Err(Error::new(Kind::Running, format!("{} is made from {name}", user.display()))),
        None => Ok(()),
    }
}

impl Gc {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let images = Images::new();
        let gone = images.and_then(|images| {
            let _alone = images.alone()?;
            collect(&images, context, self.unpacked)
        });
        let gone = gone.map_err(|error| Failure::new("remove what no image has", error))?;
        gone.tell(self.json, talk);
        Ok(0)
    }
}

/// Removes what no record names. The caller is alone in the store.
fn collect(images: &Images, context: &Context, unpacked: bool) -> Result<Gone> {
    let own: Vec<Stored> = images.all().into_iter().filter(|image| image.kept == Kept::Here).collect();
    let named: BTreeSet<String> =
        own.iter().flat_map(|image| image.record.blobs()).map(|digest| digest.hex()).collect();
    // The host's images are unpacked here as well.
    let kept: BTreeSet<Digest> = images.all().iter().filter_map(|image| image.record.id()).collect();
    let mut gone = Gone::default();
    remove_files(&images.own().join("blobs"), |name| !named.contains(name), &mut gone)?;
    remove_files(&images.own().join("partial"), |_| true, &mut gone)?;
    bases::sweep(images.own(), context.facts()?)?;
    for base in bases::all(images.own()) {
        if is_idle(&base, context) && (unpacked || !kept.contains(&base.image)) {
            bases::remove(&base, context.facts()?)?;
            gone.unpacked += 1;
        }
    }
    bases::sweep(images.own(), context.facts()?)?;
    Ok(gone)
}

fn is_idle(base: &Base, context: &Context) -> bool {
    base.users(&context.lxcpath).is_empty()
}

fn remove_files(dir: &Path, goes: impl Fn(&str) -> bool, gone: &mut Gone) -> Result<()> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| goes(&entry.file_name().to_string_lossy())) {
        let path = entry.path();
        gone.size_bytes += entry.metadata().map_or(0, |found| found.len());
        fs::remove_file(&path).map_err(from_io).doing_with(|| format!("removing {}", path.display()))?;
        gone.files += 1;
    }
    Ok(())
}
