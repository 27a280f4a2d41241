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
    /// The key that, with Ctrl and before q, leaves; a unless the setting console.escape says otherwise
    #[arg(long, value_name = "KEY", value_parser = escape)]
    escape: Option<Escape>,
    /// Print the last of what the console showed while nobody had it, as much as lxc.console.buffer.size keeps
    #[arg(long, conflicts_with_all = ["tty", "escape"])]
    last: bool,
}

fn escape(text: &str) -> Result<Escape, &'static str> {
    Escape::parse(text).ok_or("expected a letter")
}

impl Console {
    pub(super) fn run(self, context: &Context) -> Outcome {
        let place = context.settled(&self.name).cannot("use a terminal of", &self.name)?;
        if self.last {
            return console::print_memory(&place).map(|()| 0).cannot("read the console of", &self.name);
        }
        let usual = || Escape::parse(&context.settings().console.escape?.to_string());
        let escape = self.escape.or_else(usual).unwrap_or_default();
        console::run(&place, self.tty, escape).cannot("use a terminal of", &self.name)?;
        Ok(0)
    }
}
