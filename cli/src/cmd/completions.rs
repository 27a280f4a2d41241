//! `bryo completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::Bryo;
use crate::output::Outcome;

/// Arguments of `bryo completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Outcome {
        clap_complete::generate(self.shell, &mut Bryo::command(), "bryo", &mut std::io::stdout());
        Ok(0)
    }
}
