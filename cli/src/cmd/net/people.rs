//! The accounts of the host, and what they are called.

use container::devices::Holder;
use policy::slots::Owner;
use policy::usernet::lint;
use serde::Serialize;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use sys::links::Link;
use types::IfName;

use crate::output::printable;

/// The host, for those who look names up: its accounts by the name services, and its interfaces.
pub(super) struct Host<'a> {
    pub(super) links: &'a [Link],
}

impl lint::Host for Host<'_> {
    fn uid(&self, name: &[u8]) -> Option<u32> {
        uzers::get_user_by_name(OsStr::from_bytes(name)).map(|user| user.uid())
    }

    fn gid(&self, name: &[u8]) -> Option<u32> {
        uzers::get_group_by_name(OsStr::from_bytes(name)).map(|group| group.gid())
    }

    fn kind(&self, name: &IfName) -> Option<&str> {
        self.links.iter().find(|link| link.name == name.as_str()).map(|link| link.kind.as_str())
    }
}

/// Who devices are counted to, as programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Named {
    kind: &'static str,
    id: u32,
    name: Option<String>,
}

impl Named {
    /// Looks the name up.
    pub(super) fn of(owner: Owner) -> Self {
        let text = |name: &OsStr| name.to_string_lossy().into_owned();
        let (kind, id, name) = match owner {
            Owner::User(uid) => ("user", uid, uzers::get_user_by_uid(uid).map(|user| text(user.name()))),
            Owner::Group(gid) => ("group", gid, uzers::get_group_by_gid(gid).map(|group| text(group.name()))),
        };
        Self { kind, id, name }
    }

    /// Returns it as the file of the grants writes it.
    pub(super) fn shown(&self) -> String {
        let sign = if self.kind == "group" { "@" } else { "" };
        match &self.name {
            Some(name) => format!("{sign}{}", printable(name)),
            None => format!("{sign}{}", self.id),
        }
    }
}

/// Returns how a list names who has a device.
pub(super) fn holder(holder: &Holder) -> String {
    match holder {
        Holder::Container(name) => printable(name),
        Holder::Process { pid, name } => format!("process {pid} ({})", printable(name)),
        Holder::Nobody => "nobody".to_owned(),
        Holder::Unknown => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_written_as_in_the_file_of_the_grants() {
        assert_eq!(Named::of(Owner::User(0)).shown(), "root");
        assert_eq!(Named::of(Owner::Group(0)).shown(), "@root");
        assert_eq!(Named::of(Owner::User(u32::MAX - 9)).shown(), "4294967286");
    }

    #[test]
    fn a_name_of_a_process_cannot_steer_the_terminal() {
        let process = Holder::Process { pid: 7, name: "a\u{1b}[2J".into() };
        assert_eq!(holder(&process), "process 7 (a\u{fffd}[2J)");
    }
}
