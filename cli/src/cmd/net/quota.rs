//! `bryo net quota`

use container::devices::{self, Device, Holder, Holders};
use policy::slots::Owner;
use policy::usernet::Asker;
use serde::Serialize;

use super::people::{self, Host, Named};
use crate::context::Context;
use crate::json;
use crate::output::{self, Outcome};

/// Arguments of `bryo net quota`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The grants are lines of /etc/lxc/lxc-usernet: OWNER veth BRIDGE NUMBER. A device is free again when its container has stopped.

Examples:
  bryo net quota
  sudo bryo net quota --all              everybody's, also of those who have no line any more
  bryo net quota --json | jq '.[] | select(.used >= .limit).bridge'")]
pub(super) struct Quota {
    /// Tell about everybody; only root sees in which containers their devices are
    #[arg(short, long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A grant, as programs read it.
#[derive(Debug, Serialize)]
struct Row {
    bridge: String,
    /// The bridge is there.
    present: bool,
    /// Its ports do not reach each other; where there is none, the next ones will not.
    isolated: bool,
    owner: Named,
    used: usize,
    limit: u32,
    devices: Vec<Held>,
}

#[derive(Debug, Serialize)]
struct Held {
    name: String,
    holder: Holder,
}

impl Quota {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let rows = self.rows(context)?;
        if self.json {
            output::print_line(json::text(&rows));
        } else if rows.is_empty() {
            output::say(&self.nothing());
        } else {
            output::print(text(&rows));
        }
        Ok(0)
    }

    fn rows(&self, context: &Context) -> Result<Vec<Row>, output::Failure> {
        let (text, links) = (super::grants()?, super::links()?);
        let quotas = if self.all {
            devices::all_quotas(&text, &Host { links: &links }, &links)
        } else {
            let uid = sys::cred::real_uid().0;
            let user = uzers::get_user_by_uid(uid);
            let name = user.as_ref().map(|user| user.name().as_encoded_bytes());
            let groups = container::host::groups(&text);
            devices::quotas_of(&text, &Asker { uid, name, groups: &groups }, &links)
        };
        let (made, holders) = (devices::of(&links), holders(context));
        Ok(quotas.into_iter().map(|quota| Row::of(quota, &made, &holders)).collect())
    }

    fn nothing(&self) -> String {
        let user = Named::of(Owner::User(sys::cred::real_uid().0)).shown();
        match self.all {
            true => format!("{} grants nobody anything", super::USERNET),
            false => format!(
                "{file} grants {user} no device; the administrator can: \
                 echo '{user} veth lxcbr0 10' | sudo tee -a {file}",
                file = super::USERNET
            ),
        }
    }
}

/// Looks for who has devices; the caller's own containers are known by name.
pub(super) fn holders(context: &Context) -> Holders {
    let own = container::list::list(&context.lxcpath);
    Holders::look(own.into_iter().filter_map(|found| Some((found.pid?, found.name))))
}

impl Row {
    fn of(quota: devices::Quota, made: &[Device], holders: &Holders) -> Self {
        let held = |name: &String| {
            let device = made.iter().find(|device| device.name == *name);
            Held { name: name.clone(), holder: device.map_or(Holder::Nobody, |device| holders.of(device)) }
        };
        Self {
            bridge: quota.bridge.to_string(),
            present: quota.is_there,
            isolated: quota.is_isolated,
            owner: Named::of(quota.owner),
            used: quota.used.len(),
            limit: quota.limit,
            devices: quota.used.iter().map(held).collect(),
        }
    }
}

fn text(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let mut by: Vec<String> = row.devices.iter().map(|held| people::holder(&held.holder)).collect();
        by.sort();
        let by = if by.is_empty() { "-".to_owned() } else { by.join(", ") };
        let bridge = if row.present { row.bridge.clone() } else { format!("{} (not there)", row.bridge) };
        [bridge, row.owner.shown(), row.used.to_string(), row.limit.to_string(), by]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    super::table(["BRIDGE", "OWNER", "USED", "LIMIT", "BY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(present: bool, holders: &[Holder]) -> Row {
        let held = |holder: &Holder| Held { name: "u00000rsmi9vq00".into(), holder: holder.clone() };
        Row {
            bridge: "lxcbr0".into(),
            present,
            isolated: true,
            owner: Named::of(Owner::User(0)),
            used: holders.len(),
            limit: 2,
            devices: holders.iter().map(held).collect(),
        }
    }

    #[test]
    fn a_line_says_bridge_owner_numbers_and_who_has_them() {
        let rows = [row(true, &[Holder::Container("web".into()), Holder::Nobody]), row(false, &[])];
        let expected = "\
BRIDGE              OWNER  USED  LIMIT  BY
lxcbr0              root   2     2      nobody, web
lxcbr0 (not there)  root   0     2      -
";
        assert_eq!(text(&rows), expected);
    }

    #[test]
    fn programs_read_plain_names() {
        let expected = json!({
            "bridge": "lxcbr0",
            "present": true,
            "isolated": true,
            "owner": {"kind": "user", "id": 0, "name": "root"},
            "used": 2,
            "limit": 2,
            "devices": [
                {"name": "u00000rsmi9vq00", "holder": {"container": "web"}},
                {"name": "u00000rsmi9vq00", "holder": "nobody"},
            ],
        });
        let row = row(true, &[Holder::Container("web".into()), Holder::Nobody]);
        assert_eq!(serde_json::to_value(row).unwrap(), expected);
    }
}
