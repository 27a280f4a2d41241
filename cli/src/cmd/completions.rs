//! `bryo completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::Bryo;
use crate::output::{self, Outcome};

/// Arguments of `bryo completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Bryo::command(), "bryo", &mut script);
        output::print(String::from_utf8_lossy(&script));
        Ok(0)
    }
}
