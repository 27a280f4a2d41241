//! `bryo config` of what stands in a container's `bryo.toml`: its published ports.

use config::beside::Beside;
use container::{Doing, Error, Kind, Result};
use types::{ContainerName, Published};

use super::{hold, own, remind};
use crate::context::{self, Context};
use crate::rungs::Talk;

/// The name of the list, which is no key of LXC's.
pub(super) const KEY: &str = "publish";

/// Returns the ports, a line each.
pub(super) fn get(context: &Context, name: &ContainerName) -> Result<String> {
    let beside = context.beside(&context.place(name))?;
    Ok(beside.publish.iter().map(|port| format!("{port}\n")).collect())
}

/// Publishes one more.
pub(super) fn add(context: &Context, name: &ContainerName, word: &str, talk: Talk) -> Result<i32> {
    let port = parse(word)?;
    change(context, name, talk, |all| {
        all.push(port);
        container::plan::check_published(all)
    })
}

/// Publishes one no longer, or none at all.
pub(super) fn remove(context: &Context, name: &ContainerName, word: Option<&str>, talk: Talk) -> Result<i32> {
    let port = word.map(parse).transpose()?;
    change(context, name, talk, |all| {
        let before = all.len();
        all.retain(|known| port.as_ref().is_some_and(|port| port != known));
        match (all.len() < before, &port) {
            (true, _) => Ok(()),
            (false, Some(port)) => Err(Error::new(Kind::Usage, format!("{name} does not publish {port}"))),
            (false, None) => Err(Error::new(Kind::Usage, format!("{name} publishes nothing"))),
        }
    })
}

fn parse(word: &str) -> Result<Published> {
    word.parse().map_err(|e: types::PublishedError| Error::new(Kind::Usage, e.to_string()).doing(word))
}

/// Changes the list. Whoever else changes the container meanwhile waits for its configuration, and so for this.
fn change(
    context: &Context,
    name: &ContainerName,
    talk: Talk,
    act: impl FnOnce(&mut Vec<Published>) -> Result<()>,
) -> Result<i32> {
    let (_held, _) = hold(&own(context, name)?)?;
    let place = context.place(name);
    let mut beside: Beside = context.beside(&place)?;
    act(&mut beside.publish)?;
    let path = place.beside();
    beside.save(&path).map_err(context::from_io).doing_with(|| format!("writing {}", path.display()))?;
    remind(context, name, talk)
}
