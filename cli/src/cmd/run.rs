//! `bryo run`: a container for one command, gone afterwards.

use std::io::Read;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use config::{Config, images};
use container::cgroups::Rung;
use container::create::{Marker, Metadata, StoredImage, Template};
use container::place::Place;
use container::plan::{self, StartPlan, Stdio};
use container::{Doing, Error, Kind, destroy, monitor};
use types::{ContainerName, IdMap};

use super::exec::{Wishes, limit};
use super::execute::{app, only_if_asked};
use crate::bar::Bar;
use crate::booting::{self, Boot};
use crate::bounds::{Bounds, GRACE};
use crate::context::Context;
use crate::events::{Event, Events};
use crate::foreground::{Console, Foreground};
use crate::inside;
use crate::making;
use crate::net::Net;
use crate::output::{self, Cannot, Failure, Outcome};
use crate::own::Own;
use crate::publish::Publish;
use crate::relay::HEARD_FOR_A_COMMAND;
use crate::rungs::{self, Talk};
use crate::starting::{self, Running, Wanted};
use crate::stopping;
use crate::user::User;
use crate::watch::Watch;

/// Arguments of `bryo run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// A name (debian/13, docker:alpine:3), an archive or a directory; without one that of the setting run.image, else the machine's own programs, read-only,
    /// under a private root
    image: Option<String>,
    /// The name of the container
    #[arg(short, long)]
    name: Option<ContainerName>,
    #[command(flatten)]
    how: making::How,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    wishes: Wishes,
    /// Boot the image's own init, run the command as a login once that is done, and power off afterwards
    #[arg(long)]
    boot: bool,
    /// Another network than that of new containers
    #[arg(long, value_name = "NETWORK")]
    net: Option<Net>,
    #[command(flatten)]
    publish: Publish,
    /// End it all after so many seconds, the making of the container among them; the exit status is 124 then
    #[arg(long, value_name = "SECONDS", value_parser = limit)]
    timeout: Option<u64>,
    /// Tell what happens as JSON, one event a line, on standard error or on the open fd of this number
    #[arg(long, value_name = "FD", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          value_parser = clap::value_parser!(i32).range(1..))]
    json: Option<i32>,
    /// The command; a shell without one
    #[arg(last = true)]
    command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  bryo run -- make test                                this machine's programs, under a private root
  bryo run debian/13 -- apt list                       one command in an image of the image server
  bryo run oci-archive:web.tar                         one in a file, as skopeo and podman write it
  bryo run docker:alpine:3 -- sh                       and of a registry, as the image says that it is run
  bryo run --locked debian/13 -- ./test.sh             the build that ./bryo.lock says, as on every other machine
  bryo run ./alpine.tar.zst -- ./test.sh               one in an archive
  bryo run --share . -w \"$PWD\" -- make                as you, in this directory: what it makes is yours
  bryo run --share . -u root -- id                     as root inside, whose files are not yours
  bryo run -p 8080:80 ./web.tar.zst -- httpd -f        with this machine's port 8080 as its port 80
  bryo run --boot ./debian.tar.zst -- ./test.sh        with the image's systemd and its services
  bryo run --boot ./debian.tar.zst                     a login shell there
  bryo run --boot --timeout 600 --json=3 ./debian.tar.zst -- ./test.sh 3>events

Exit status: the command's own, or 128 and the number of the signal that ended it;
124 the time is over; 125 Bryo failed; 126 the command cannot be run; 127 it is not there.";

impl Run {
    /// Takes what is not said from an image of a registry. What is said counts more, and comes later among the variables.
    fn run_like(&mut self, image: &images::Run) {
        if !self.boot {
            self.command = image.argv(&self.command);
        }
        self.wishes.env.splice(0..0, image.environment.iter().cloned());
        if !self.own.me() {
            self.wishes.user = self.wishes.user.take().or_else(|| image.user.clone());
        }
        self.wishes.workdir = self.wishes.workdir.take().or_else(|| image.directory.clone());
    }

    pub(super) fn run(self, context: &Context, talk: Talk) -> Outcome {
        let mut events = Events::to(self.json).map_err(|e| failed("tell events", e))?;
        self.named(context, talk, &mut events).or_else(|failure| {
            failure.tell(context, &mut events);
            if events.are_on_errors() { Ok(failure.status()) } else { Err(failure) }
        })
    }

    fn named(mut self, context: &Context, talk: Talk, events: &mut Events) -> Outcome {
        let settings = &context.settings().run;
        self.image = self.image.or_else(|| settings.image.clone());
        if self.boot && self.image.is_none() {
            let cause = Error::new(
                Kind::Usage,
                "--boot needs an IMAGE, here or as the setting run.image: this machine's own programs are no system to boot",
            );
            return Err(failed("run", cause));
        }
        let limit = self.timeout.or(settings.timeout.map(NonZeroU64::get)).map(Duration::from_secs);
        let bounds = Bounds::begin(&HEARD_FOR_A_COMMAND, limit).map_err(|e| failed("hear signals", e))?;
        context.settle_all();
        let name = self.name.clone().map_or_else(random_name, Ok);
        let name = name.map_err(|e| failed("name a container", e))?;
        let once = Once { context, talk, bounds: &bounds, events, place: context.place(&name) };
        once.run(self).cannot("run", &name).map_err(Failure::beside_a_command)
    }
}

fn failed(act: &str, error: Error) -> Failure {
    Failure::new(act, error).beside_a_command()
}

/// A container that lives once.
struct Once<'a> {
    context: &'a Context,
    talk: Talk,
    bounds: &'a Bounds,
    events: &'a mut Events,
    place: Place,
}

impl Once<'_> {
    fn tell(&mut self, event: &Event<'_>) {
        self.events.tell(Some(self.place.name.as_str()), event);
    }

    /// Tells whether standard error is for sentences: somebody wants them, and no program reads events there.
    fn talks(&self) -> bool {
        self.talk != Talk::Quiet && !self.events.are_on_errors()
    }

    fn run(mut self, mut wanted: Run) -> container::Result<i32> {
        let place = self.context.settled(&self.place.name)?;
        let (template, source) = match wanted.image.as_deref() {
            Some(image) => making::from_image(self.context, image, &wanted.how, Some(self.bounds))?,
            None if wanted.how.lock.is_wanted() => return Err(wanted.how.lock.refusal("this machine")),
            None => (Template::Host, "host".to_owned()),
        };
        if let Template::Image(StoredImage { metadata: Metadata::Run(run), .. }) = &template {
            wanted.run_like(run);
        }
        let making = making::Wanted {
            place,
            template,
            source,
            arguments: Vec::new(),
            config: None,
            settings: if wanted.boot { EPHEMERAL } else { FOR_A_COMMAND },
            own: wanted.own.clone(),
            publish: Vec::new(),
            once: true,
        };
        let created = making::create(self.context, making, Some(self.bounds))?;
        self.tell(&Event::Created);
        if wanted.own.me() && self.talks() {
            created.notes.iter().for_each(|note| output::note(note));
        }
        let ended = match wanted.boot {
            true => self.boot(&wanted, created.marker),
            false => self.command(&wanted, created.marker),
        };
        // The monitor destroys what ran; this is for what could not be started.
        let cleaned = clean_up(self.context, &self.place, &created.idmap);
        if cleaned.is_ok() {
            self.tell(&Event::Removed);
        }
        ended.and_then(|status| cleaned.map(|()| status))
    }

    /// Returns the caller's own user inside, if that was asked for. LXC: knows no such user. Whoever asks to be one inside
    /// wants the command's files to be their own.
    fn me(&self, wanted: &Run, config: &Config) -> container::Result<Option<User>> {
        let caller = &self.context.facts()?.caller;
        Ok(User::me(&config.idmap, config, caller).filter(|_| wanted.own.me()))
    }

    /// Runs the command below Bryo's own init.
    fn command(&mut self, wanted: &Run, marker: Option<Marker>) -> container::Result<i32> {
        let config = self.context.config(&self.place)?.config;
        let shell = || config.init_cmd.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned()]);
        let argv = if wanted.command.is_empty() { shell() } else { wanted.command.clone() };
        let me = self.me(wanted, &config)?;
        let run = plan::Run::App(app(&wanted.wishes, me, argv, &config)?);
        let init = Wanted::init(self.place.clone());
        let start = Wanted {
            run,
            foreground: true,
            stdio: Stdio::Caller,
            network: wanted.net.map(Into::into),
            network_by_default: true,
            publish: wanted.publish.clone().into(),
            ..init
        };
        let (container, _) = self.start(start, None, marker)?;
        let ended = container.until_it_ends(self.bounds);
        if let Ok(status) = ended {
            self.tell(&Event::Command { status });
        }
        self.tell(&Event::Stopped);
        ended
    }

    /// Boots the image's own init, runs the command, and powers off.
    fn boot(&mut self, wanted: &Run, marker: Option<Marker>) -> container::Result<i32> {
        let network = wanted.net.map(Into::into);
        let init = Wanted::init(self.place.clone());
        let publish = wanted.publish.clone().into();
        let start = Wanted { foreground: true, network, network_by_default: true, publish, ..init };
        let (mut container, plan) = self.start(start, Some(Console::Memory), marker)?;
        let bar = self.talks().then(Bar::default);
        let booted = booting::wait(&self.place, &mut Watch::over_container(self.bounds, &mut container), bar);
        let booted =
            booted.map_err(|e| with_console(e, &container, &plan)).doing("waiting until it has booted");
        let ran = booted.and_then(|boot| self.in_booted(&mut container, &boot, wanted));
        let signals = self.bounds.signals();
        let ended = match ran.as_ref().map_err(Error::kind) {
            // Nobody waits for it any more.
            Err(Kind::Interrupted(_)) => {
                container.kill();
                Ok(())
            }
            Err(Kind::TimedOut) => container.end(signals, GRACE),
            _ => container.end(signals, stopping::PATIENCE),
        };
        self.tell(&Event::Stopped);
        ran.and_then(|status| ended.map(|()| status))
    }

    fn start(
        &mut self,
        wanted: Wanted,
        console: Option<Console>,
        marker: Option<Marker>,
    ) -> container::Result<(Foreground, StartPlan)> {
        let plan = starting::plan(self.context, wanted)?.plan;
        let (context, bounds) = (self.context, self.bounds);
        let on_running = |running: &Running| {
            // From here on its run file says that it lives only once.
            marker.into_iter().try_for_each(Marker::remove)?;
            let talk = only_if_asked(self.talk, &plan);
            rungs::announce(&plan, &running.rungs, &running.notes, context, talk);
            self.tell(&Event::Started { pid: running.init_pid });
            Ok(())
        };
        let container = Foreground::start(context, &plan, console, bounds, on_running)?;
        Ok((container, plan))
    }

    fn in_booted(&mut self, container: &mut Foreground, boot: &Boot, wanted: &Run) -> container::Result<i32> {
        let (state, failed_units) = (boot.state, boot.failed_units.as_slice());
        self.tell(&Event::Booted { state, failed_units, seconds: boot.took.as_secs_f64() });
        if self.talks() {
            booting::warn(&self.place, boot);
        }
        let config = self.context.config(&self.place)?.config;
        let me = self.me(wanted, &config)?;
        let request = wanted.wishes.login(me, wanted.command.clone(), &config)?;
        let ran =
            inside::run_within(&self.place, request, &mut Watch::over_container(self.bounds, container));
        let status = self.unless_it_ended(ran, container)?;
        self.tell(&Event::Command { status });
        Ok(status)
    }

    /// Looks whether what ended the command was the end of the container.
    fn unless_it_ended(
        &self,
        ran: container::Result<i32>,
        container: &mut Foreground,
    ) -> container::Result<i32> {
        let may_be = match &ran {
            Ok(status) => *status == KILLED,
            Err(e) => matches!(e.kind(), Kind::Died | Kind::NotRunning | Kind::Kernel(_)),
        };
        let late = Instant::now() + GRACE;
        while may_be && container.is_ending() && Instant::now() < late {
            let soon = Instant::now() + Duration::from_millis(50);
            Watch::over_container(self.bounds, container).readable(None, Some(soon))?;
        }
        ran
    }
}

/// What a throw-away container is.
const EPHEMERAL: &str = "lxc.ephemeral = 1\n";
/// The same for one command, which needs no way to more rights than it has: root inside is asked for with -u.
const FOR_A_COMMAND: &str = "lxc.ephemeral = 1\nlxc.no_new_privs = 1\n";

/// The shell status of what SIGKILL ended.
const KILLED: i32 = 128 + 9;

/// Adds what the console showed last to the failure of a container that did not come up.
fn with_console(error: Error, container: &Foreground, plan: &StartPlan) -> Error {
    let lines = container.last_lines();
    if lines.is_empty() || !matches!(error.kind(), Kind::Died | Kind::TimedOut) {
        return error;
    }
    let shown = lines.join("\n");
    // systemd says so in its last words, and the way out is known.
    let means_cgroup = ["cgroup", "control group"].iter().any(|word| shown.contains(word));
    let lacks_cgroup = plan.cgroup.rung() == Rung::None && means_cgroup;
    let kind = if lacks_cgroup { Kind::Cgroup } else { error.kind() };
    error.of_kind(kind).because(&format!("; the console's last lines:\n{shown}"))
}

/// A monitor that was killed may have left processes, which end before their files go.
fn clean_up(context: &Context, place: &Place, idmap: &IdMap) -> container::Result<()> {
    let facts = context.facts()?;
    monitor::recover(place, &facts.id_writer, &facts.caller)?;
    destroy::remove_files(place, idmap, &facts.id_writer, &facts.caller)
}

/// The letters of random names: those that are not mistaken for one another.
const LETTERS: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";

fn random_name() -> container::Result<ContainerName> {
    let mut bytes = [0; 6];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|e| Error::new(Kind::Kernel(e.raw_os_error().unwrap_or(0)), e.to_string()))
        .doing("reading /dev/urandom")?;
    let letters = bytes.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let name = format!("run-{}", letters.iter().collect::<String>());
    name.parse().map_err(|e: types::NameError| Error::new(Kind::Usage, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_random() {
        let names: Vec<ContainerName> = (0..4).map(|_| random_name().unwrap()).collect();
        assert!(names.iter().all(|name| name.as_str().len() == 10 && name.as_str().starts_with("run-")));
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
