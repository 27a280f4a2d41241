//! `-p`: ports of the host that lead into a container.

use types::Published;

/// What `create`, `start` and `run` are asked for.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Publish {
    /// Let a port of this machine lead to one of the container's: on loopback, unless IP names another address, or * all
    #[arg(short, long = "publish", value_name = "[IP:]HOST:CT[/udp]")]
    publish: Vec<Published>,
}

impl From<Publish> for Vec<Published> {
    fn from(wanted: Publish) -> Self {
        wanted.publish
    }
}
