//! `bryo create`

use std::path::PathBuf;

use container::Kind;
use container::create::Template;
use container::place::Place;
use types::ContainerName;

use crate::context::Context;
use crate::making::{self, CHOICES, How, OFFLINE};
use crate::output::{self, Cannot, Outcome};
use crate::own::Own;
use crate::publish::Publish;
use crate::rungs::Talk;
use crate::usage;

/// Arguments of `bryo create`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Create {
    /// The name of the new container
    name: ContainerName,
    /// A name (debian/13, docker:alpine:3), an archive (.tar, .tar.gz, .tar.xz, .tar.zst, .tar.bz2, .squashfs), a directory, or - for an archive on standard input; without one that of the
    /// setting create.image, else this machine's own distribution and release
    #[arg(conflicts_with = "template")]
    image: Option<String>,
    /// The files of a root file system: an archive (tar, also .gz, .xz, .zst, .bz2, or a squashfs), a directory, or - for an
    /// archive on standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image", "template"])]
    rootfs: Option<PathBuf>,
    /// A template: download, local, oci, busybox, debian, ubuntu, host or none, or a program: lxc-NAME in a directory of templates, or its path
    #[arg(short, long, value_name = "NAME|PATH")]
    template: Option<String>,
    /// A file that the configuration begins with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    publish: Publish,
    /// Arguments of the template
    #[arg(last = true)]
    arguments: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  bryo create web                                      this machine's own distribution and release
  bryo create web debian/13                            from an image of the image server
  bryo create web docker:nginx:1                       from an image of a registry
  bryo create web debian/13 --pull                     from its newest build, also where an older one is here
  bryo create web debian/13 --lock bryo.lock           from the build that the file says, which is written there the first time
  bryo create web debian/13 --locked                   the same, and no other than ./bryo.lock says
  bryo create web debian/13 --arch arm64               for another architecture, where its programs run here
  bryo create web debian/13 --full                     with a root file system that shares nothing
  bryo create web ./rootfs.tar.zst                     from an archive
  zstd -dc x.tar.zst | bryo create web --rootfs -      or one on standard input, whatever a file is called
  bryo create web -t debian -- -r trixie               from the packages that this machine's apt has
  bryo create web -t host                              this machine's own programs, read-only
  bryo create dev ./rootfs.tar.zst --me                you are a user inside, with your own id
  bryo create dev ./rootfs.tar.zst --share ~/src       and see ~/src at the same path inside
  bryo create dev ./rootfs.tar.zst -v ./data:/srv:ro   ./data as /srv, not to be written
  bryo create web ./rootfs.tar.zst -p 8080:80          this machine's port 8080 is its port 80 whenever it runs
  bryo create web ./rootfs.tar.zst -p '*:8080:80'      and the whole network may use it";

impl Create {
    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let name = self.name.clone();
        let from = self.source(context).cannot("create", &name);
        let from = from.map_err(|failure| {
            let failure = failure.with_help(Kind::Usage, CHOICES).with_help(Kind::Fetch, OFFLINE);
            failure
                .with_status(Kind::Fetch, output::BRYO_FAILED)
                .with_status(Kind::Foreign, output::BRYO_FAILED)
        })?;
        let source = from.1.clone();
        let created = self.create(context, context.place(&name), from).cannot("create", &name)?;
        if talk == Talk::Quiet {
            return Ok(0);
        }
        created.notes.iter().for_each(|note| output::note(note));
        if let Some(unpacked) = &created.unpacked {
            let (files, size) = (unpacked.entries, usage::human(unpacked.bytes));
            output::say(&format!("{name} created: {files} files, {size}"));
        } else if created.is_over_image {
            output::say(&format!("{name} created over {source}"));
        }
        if let Some(me) = &created.me {
            output::say(&format!(
                "you are {} ({}) inside: bryo shell {name} logs in as that user",
                me.name, me.uid
            ));
        }
        Ok(0)
    }

    fn create(
        self,
        context: &Context,
        place: Place,
        (template, source): (Template, String),
    ) -> container::Result<container::create::Created> {
        let Self { config, arguments, own, publish, .. } = self;
        let (settings, publish, once) = ("", publish.into(), false);
        let wanted =
            making::Wanted { place, template, source, arguments, config, settings, own, publish, once };
        making::create(context, wanted, None)
    }

    fn source(&self, context: &Context) -> container::Result<(Template, String)> {
        if let Some(path) = &self.rootfs {
            if self.how.lock.is_wanted() {
                return Err(self.how.lock.refusal(&path.display().to_string()));
            }
            return Ok((Template::Files(making::files(path)?), path.display().to_string()));
        }
        match (&self.template, self.image.as_ref().or(context.settings().create.image.as_ref())) {
            (Some(name), _) if self.how.lock.is_wanted() => Err(self.how.lock.refusal(name)),
            (Some(name), _) => Ok((making::template(context, name, &self.arguments)?, name.clone())),
            (None, Some(image)) => making::from_image(context, image, &self.how, None),
            (None, None) => making::of_this_machine(context, &self.how),
        }
    }
}
