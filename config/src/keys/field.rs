//! How the fields of a configuration take, show and lose their values.

use std::path::PathBuf;

use types::{NsGid, NsUid, Signal};

use crate::{Arch, Config, EnvVar, Fault, LogLevel, MountAuto, MountEntry, RootfsPath, net, units};

/// What fills the open part of a key's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot<'a> {
    /// The number of `lxc.net.N.*`.
    pub index: u32,
    /// The rest of the name in families such as `lxc.cgroup2.*`.
    pub name: &'a str,
}

/// The three acts of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) set: fn(&mut Config, &Slot<'_>, &str) -> Result<(), Fault>,
    pub(crate) show: fn(&Config, &Slot<'_>) -> Result<String, Fault>,
    pub(crate) clear: fn(&mut Config, &Slot<'_>),
}

/// The acts of a key that is one field of [`Config`].
macro_rules! field {
    ($field:ident) => {
        Access {
            set: |config, _, value| config.$field.read(value),
            show: |config, _| Ok(config.$field.show()),
            clear: |config, _| config.$field = Config::default().$field,
        }
    };
    // One field that is read and shown in its own way.
    ($field:ident, $read:expr, $show:expr) => {
        Access {
            set: |config, _, value| {
                config.$field = $read(value)?;
                Ok(())
            },
            show: |config, _| Ok($show(&config.$field)),
            clear: |config, _| config.$field = Config::default().$field,
        }
    };
}
pub(super) use field;

/// A field that takes one line's value. A refused value leaves it as it was.
pub(super) trait Field {
    /// Takes a value that is not empty.
    fn read(&mut self, value: &str) -> Result<(), Fault>;
    /// Shows the value in LXC's form.
    fn show(&self) -> String;
}

/// A single value.
pub(super) trait Scalar: Sized {
    /// Reads it.
    fn parse(text: &str) -> Result<Self, Fault>;
    /// Writes it, so that it reads back as the same.
    fn write(&self) -> String;
}

impl<T: Scalar> Field for T {
    fn read(&mut self, value: &str) -> Result<(), Fault> {
        *self = T::parse(value)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.write()
    }
}

impl<T: Scalar> Field for Option<T> {
    fn read(&mut self, value: &str) -> Result<(), Fault> {
        *self = Some(T::parse(value)?);
        Ok(())
    }

    fn show(&self) -> String {
        self.as_ref().map(T::write).unwrap_or_default()
    }
}

/// Lists grow by one item a line, and show one item a line.
impl<T: Scalar> Field for Vec<T> {
    fn read(&mut self, value: &str) -> Result<(), Fault> {
        self.push(T::parse(value)?);
        Ok(())
    }

    fn show(&self) -> String {
        self.iter().map(|item| item.write() + "\n").collect()
    }
}

macro_rules! scalars {
    ($($type:ty: |$text:ident| $read:expr, |$value:ident| $show:expr;)+) => {
        $(impl Scalar for $type {
            fn parse($text: &str) -> Result<Self, Fault> { $read }
            fn write(&self) -> String { let $value = self; $show }
        })+
    };
}

scalars! {
    bool: |text| units::switch(text), |switch| u8::from(*switch).to_string();
    u32: |text| units::number(text, "a whole number"), |n| n.to_string();
    i32: |text| units::number(text, "a whole number, possibly negative"), |n| n.to_string();
    u64: |text| units::size(text), |bytes| bytes.to_string();
    String: |text| Ok(text.to_owned()), |text| text.clone();
    PathBuf: |text| Ok(PathBuf::from(text)), |path| path.display().to_string();
    NsUid: |text| units::number(text, "a user id").map(NsUid).map_err(|fault| fault.meaning(id_of(text))), |id| id.to_string();
    NsGid: |text| units::number(text, "a group id").map(NsGid).map_err(|fault| fault.meaning(id_of(text))), |id| id.to_string();
    MountEntry: |text| Ok(MountEntry::read(text)), |entry| entry.line.clone();
    Arch: |text| text.parse(), |arch| arch.to_string();
    EnvVar: |text| text.parse(), |variable| variable.to_string();
    LogLevel: |text| text.parse(), |level| level.to_string();
    RootfsPath: |text| text.parse(), |path| path.to_string();
    net::NetKind: |text| text.parse(), |kind| kind.to_string();
    net::VethMode: |text| text.parse(), |mode| mode.to_string();
    net::MacvlanMode: |text| text.parse(), |mode| mode.to_string();
    net::IpvlanMode: |text| text.parse(), |mode| mode.to_string();
    net::IpvlanIsolation: |text| text.parse(), |isolation| isolation.to_string();
    net::HwAddr: |text| text.parse(), |address| address.to_string();
    net::VethVlan: |text| text.parse(), |vlan| vlan.to_string();
}

/// Returns the id of the one name that is the same in every container.
fn id_of(name: &str) -> Option<String> {
    (name == "root").then(|| "0".to_owned())
}

impl<A: net::IpAddress> Scalar for net::Gateway<A> {
    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// Addresses, networks and VLANs are shown one a line without a line break at the end, as LXC does.
macro_rules! lines {
    ($([$($generic:tt)*] $type:ty: $read:expr;)+) => {
        $(impl $($generic)* Field for Vec<$type> {
            fn read(&mut self, value: &str) -> Result<(), Fault> {
                self.push($read(value)?);
                Ok(())
            }

            fn show(&self) -> String {
                let lines: Vec<String> = self.iter().map(<$type>::to_string).collect();
                lines.join("\n")
            }
        })+
    };
}

lines! {
    [] net::Ipv4Address: str::parse;
    [<A: net::IpAddress>] net::Cidr<A>: str::parse;
    [] u16: net::vlan_id;
}

/// The tag of a VLAN; 0 is none.
impl Field for u16 {
    fn read(&mut self, value: &str) -> Result<(), Fault> {
        *self = if value == "0" { 0 } else { net::vlan_id(value)? };
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A signal; 0 is none, and shown for none.
impl Field for Option<Signal> {
    fn read(&mut self, value: &str) -> Result<(), Fault> {
        *self = match value {
            "0" => None,
            text => Some(text.parse().map_err(|_| not_a_signal(text))?),
        };
        Ok(())
    }

    fn show(&self) -> String {
        self.map_or(0, Signal::number).to_string()
    }
}

fn not_a_signal(text: &str) -> Fault {
    let with_prefix = format!("SIG{}", text.to_ascii_uppercase().trim_start_matches("SIG"));
    let meant = with_prefix.parse::<Signal>().is_ok().then_some(with_prefix);
    Fault::value(text, "a signal (SIGNAME, SIGRTMIN+n, SIGRTMAX-n or a number from 1 to 64)").meaning(meant)
}

impl Field for MountAuto {
    fn read(&mut self, value: &str) -> Result<(), Fault> {
        MountAuto::read(self, value)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}
