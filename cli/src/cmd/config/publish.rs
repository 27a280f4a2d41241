//! `bryo config` of what stands in a container's `bryo.toml`: its published ports.

use std::path::Path;

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
    let Some(word) = word else { return remove_all(context, name, talk) };
    let port = parse(word)?;
    change(context, name, talk, |all| {
        let before = all.len();
        all.retain(|known| port != *known);
        match all.len() < before {
            true => Ok(()),
            false => Err(Error::new(Kind::Usage, format!("{name} does not publish {port}"))),
        }
    })
}

/// Publishes nothing any more, also where the file is wrong: then this mends it.
fn remove_all(context: &Context, name: &ContainerName, talk: Talk) -> Result<i32> {
    let (_held, _) = hold(&own(context, name)?)?;
    let place = context.place(name);
    context.require_own_beside(&place)?;
    let path = place.beside();
    let mut beside = match Beside::load(&path) {
        Ok(beside) if beside.publish.is_empty() => {
            return Err(Error::new(Kind::Usage, format!("{name} publishes nothing")));
        }
        Ok(beside) => beside,
        Err(_) => Beside::default(),
    };
    beside.publish.clear();
    save(&beside, &path)?;
    remind(context, name, talk)
}

fn save(beside: &Beside, path: &Path) -> Result<()> {
    beside.save(path).map_err(context::from_io).doing_with(|| format!("writing {}", path.display()))
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
    save(&beside, &place.beside())?;
    remind(context, name, talk)
}
