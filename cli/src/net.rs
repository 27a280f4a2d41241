//! `--net`: another network than the configuration's, for one start.

use container::plan::NetChoice;

/// The networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Net {
    /// This machine's own: the container reaches, and listens on, all that you can
    Host,
    /// In user mode, by pasta or slirp4netns: no bridge, no grant
    User,
    /// None but loopback
    Loopback,
}

impl From<Net> for NetChoice {
    fn from(net: Net) -> Self {
        match net {
            Net::Host => Self::Host,
            Net::User => Self::User,
            Net::Loopback => Self::Loopback,
        }
    }
}
