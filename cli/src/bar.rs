//! What a terminal shows while something takes long. It is drawn by whoever waits: a thread of its own would make forking
//! unsafe. It is gone when it is dropped.

use std::io::IsTerminal;

use container::create::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// The bar.
#[derive(Debug, Default)]
pub(crate) struct Bar {
    drawn: Option<ProgressBar>,
}

impl Bar {
    /// Shows how much of an image is unpacked.
    pub(crate) fn show(&mut self, progress: Progress) {
        let made = || match progress.total {
            Some(total) => ProgressBar::new(total).with_style(style("{bar:40} {bytes}/{total_bytes} {eta}")),
            None => ProgressBar::no_length().with_style(style("{spinner} {elapsed}")),
        };
        let bar = self.on_terminal(made);
        match progress.total {
            Some(_) => bar.set_position(progress.read),
            None => bar.tick(),
        }
    }

    /// Shows what is waited for.
    pub(crate) fn wait(&mut self, what: String) {
        let made = || ProgressBar::no_length().with_style(style("{spinner} {msg} {elapsed}"));
        let bar = self.on_terminal(made);
        bar.set_message(what);
        bar.tick();
    }

    fn on_terminal(&mut self, made: impl FnOnce() -> ProgressBar) -> &ProgressBar {
        let is_shown = std::io::stderr().is_terminal();
        self.drawn.get_or_insert_with(|| if is_shown { made() } else { ProgressBar::hidden() })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.drawn.iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
