//! `bryo net ls`

use container::devices::{self, Device, Flaw, Holder, Holders};
use policy::slots::Owner;
use serde::Serialize;

use super::people::{self, Named};
use crate::context::Context;
use crate::json;
use crate::output::{self, Outcome};

/// Arguments of `bryo net ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A device is named by its end on the host. One that nobody has goes by itself as soon as its network namespace is let go;
until then it counts.

Examples:
  bryo net ls
  sudo bryo net ls --all
  sudo bryo net ls --all --json | jq '.[] | select(.holder == \"nobody\").name'")]
pub(super) struct Ls {
    /// List everybody's; only root sees in which containers they are
    #[arg(short, long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A device, as programs read it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    bridge: Option<String>,
    owner: Named,
    /// Who asked for it.
    user: Named,
    holder: Holder,
    flaw: Option<Flaw>,
}

impl Ls {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let links = super::links()?;
        let holders = super::quota::holders(context);
        let uid = sys::cred::real_uid().0;
        let is_own = |device: &Device| device.asked_by == uid || device.owner == Owner::User(uid);
        let devices = devices::of(&links).into_iter().filter(|device| self.all || is_own(device));
        let rows: Vec<Row> = devices.map(|device| Row::of(device, &holders)).collect();
        if self.json {
            output::print_line(json::text(&rows));
        } else if !rows.is_empty() {
            output::print(text(&rows));
            rows.iter().filter_map(remark).for_each(|remark| output::warning(&remark));
        }
        Ok(0)
    }
}

impl Row {
    fn of(device: Device, holders: &Holders) -> Self {
        Self {
            holder: holders.of(&device),
            name: device.name,
            bridge: device.bridge,
            owner: Named::of(device.owner),
            user: Named::of(Owner::User(device.asked_by)),
            flaw: device.flaw,
        }
    }
}

fn text(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let bridge = row.bridge.as_deref().map_or("-".to_owned(), output::printable);
        [row.name.clone(), bridge, row.owner.shown(), people::holder(&row.holder)]
    };
    super::table(["DEVICE", "BRIDGE", "OWNER", "BY"], &rows.iter().map(row).collect::<Vec<_>>())
}

/// Returns what should be known of a device that is not as it should be.
fn remark(row: &Row) -> Option<String> {
    let name = &row.name;
    Some(match (row.flaw, &row.holder) {
        (Some(Flaw::Foreign), _) => format!(
            "{name} is no port of a bridge, and takes a slot of {}: whoever made it can remove it (sudo ip link del {name})",
            row.owner.shown()
        ),
        (Some(Flaw::Down), _) => format!(
            "{name} is down: whoever asked for it was killed before it was ready; it goes with its network namespace"
        ),
        (Some(Flaw::Unguarded), _) => format!(
            "{name} takes part in the spanning tree of {}: sudo bridge link set dev {name} guard on",
            row.bridge.as_deref().unwrap_or("its bridge")
        ),
        (None, Holder::Nobody) => format!(
            "{name} stands in nobody's container: no process is in its network namespace, which somebody holds open, \
             or the kernel has not yet removed"
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(holder: Holder, flaw: Option<Flaw>) -> Row {
        let owner = || Named::of(Owner::User(0));
        let bridge = (flaw != Some(Flaw::Foreign)).then(|| "lxcbr0".to_owned());
        Row { name: "u00000rsmi9vq00".into(), bridge, owner: owner(), user: owner(), holder, flaw }
    }

    #[test]
    fn a_line_says_device_bridge_owner_and_who_has_it() {
        let rows = [row(Holder::Container("web".into()), None), row(Holder::Unknown, Some(Flaw::Foreign))];
        let expected = "\
DEVICE           BRIDGE  OWNER  BY
u00000rsmi9vq00  lxcbr0  root   web
u00000rsmi9vq00  -       root   ?
";
        assert_eq!(text(&rows), expected);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_told_and_nothing_else() {
        let told = |holder, flaw| remark(&row(holder, flaw)).unwrap_or_default();
        assert_eq!(told(Holder::Container("web".into()), None), "");
        assert_eq!(told(Holder::Unknown, None), "");
        assert!(told(Holder::Nobody, None).contains("stands in nobody's container"));
        assert!(told(Holder::Nobody, Some(Flaw::Foreign)).contains("sudo ip link del u00000rsmi9vq00"));
        assert!(told(Holder::Nobody, Some(Flaw::Down)).contains("is down"));
        assert!(told(Holder::Unknown, Some(Flaw::Unguarded)).contains("spanning tree of lxcbr0"));
    }
}
