//! The caller's own files in a container: `--me` and `--share`.

use container::Result;
use container::create::Share;

/// What `create` and `run` are asked for.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Own {
    /// Be a user inside, with your own id: what that user makes is yours outside
    #[arg(long)]
    me: bool,
    /// Show a directory or file of yours inside, at the same path unless DST names another; implies --me
    #[arg(short = 'v', long = "share", value_name = "DIR[:DST][:ro]")]
    shares: Vec<String>,
}

impl Own {
    /// Tells whether the caller is to be a user inside.
    pub(crate) fn me(&self) -> bool {
        self.me || !self.shares.is_empty()
    }

    /// Looks at what is to be shared.
    ///
    /// # Errors
    /// A share that is none, or is not there.
    pub(crate) fn shares(&self) -> Result<Vec<Share>> {
        self.shares.iter().map(|share| Share::parse(share)).collect()
    }
}
