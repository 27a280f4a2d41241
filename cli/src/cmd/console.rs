//! `bryo console`

use types::ContainerName;

use crate::console;
use crate::context::Context;
use crate::escape::Escape;
use crate::output::{Cannot, Outcome};

/// Arguments of `bryo console`.
#[derive(Debug, clap::Args)]
pub(super) struct Console {
    /// The container
    name: ContainerName,
    /// The number of the terminal, 0 for the console itself; the first free one without it
    #[arg(short, long, value_name = "NUMBER")]
    tty: Option<u32>,
    /// The key that, with Ctrl and before q, leaves
    #[arg(long, value_name = "KEY", default_value = "a", value_parser = escape)]
    escape: Escape,
}

fn escape(text: &str) -> Result<Escape, &'static str> {
    Escape::parse(text).ok_or("expected a letter")
}

impl Console {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let place = context.settled(&self.name).cannot("use a terminal of", &self.name)?;
        console::run(&place, self.tty, self.escape).cannot("use a terminal of", &self.name)?;
        Ok(0)
    }
}
