//! `lxc-create`

use container::create::Template;
use container::place::Place;

use super::{Call, NAME, Tool};
use crate::getopt::value;
use crate::making;
use crate::own::Own;

/// The tool.
pub(super) static TOOL: Tool = Tool {
    name: "lxc-create",
    usage: "--name=NAME --template=TEMPLATE [OPTION...] [-- TEMPLATE OPTIONS]",
    about: "makes a container",
    options: &[
        NAME,
        value("f", "config", "FILE", "begin the configuration with FILE"),
        value(
            "t",
            "template",
            "TEMPLATE",
            "download, local, oci, busybox, debian, ubuntu, host or none; or a program, by name or path",
        ),
        value("B", "bdev", "TYPE", "the backing store: dir, best or none"),
        value("", "rcfile", "FILE", "accepted, and without effect"),
    ],
    about_one: true,
    run: |call| run(call).unwrap_or_else(|status| status),
};

fn run(call: &Call) -> Result<i32, i32> {
    let failed = || call.fail(format!("Failed to create container {}", call.name));
    let name = call.container().map_err(|_| failed())?;
    let Some(template) = call.given.value("template") else {
        call.fail("A template must be specified");
        return Err(call.fail("Use \"none\" if you really want a container without a rootfs"));
    };
    check_store(call)?;
    let place = call.context.place(&name);
    if place.is_defined() && !container::create::is_half_made(&place) {
        return Err(call.fail("Container already exists"));
    }
    let made = making::template(&call.context, template, &call.words).inspect_err(|_| {
        if !making::is_template(template) {
            call.fail(format!("bad template: {template}"));
            call.fail(format!("Template \"{template}\" not found"));
        }
    });
    let made = call.or_fail(made).and_then(|made| create(call, place, made));
    made.map_err(|_| failed())
}

fn check_store(call: &Call) -> Result<(), i32> {
    match call.given.value("bdev") {
        None | Some("dir" | "best" | "none") => Ok(()),
        Some(store @ ("btrfs" | "lvm" | "loop" | "zfs" | "rbd" | "overlay" | "overlayfs" | "nbd")) => {
            Err(call.fail(format!("the backing store {store} cannot be made; dir can")))
        }
        Some(other) => Err(call.fail(format!("{other} is not a valid backing storage type"))),
    }
}

fn create(call: &Call, place: Place, template: Template) -> Result<i32, i32> {
    let wanted = making::Wanted {
        place,
        template,
        source: call.given.value("template").unwrap_or_default().to_owned(),
        arguments: call.words.clone(),
        config: call.given.value("config").map(Into::into),
        settings: "",
        own: Own::default(),
        publish: Vec::new(),
        once: false,
    };
    let created = call.or_fail(making::create(&call.context, wanted, None))?;
    created.notes.iter().for_each(|note| log::warn!("{note}"));
    Ok(0)
}
