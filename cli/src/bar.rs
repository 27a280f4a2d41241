//! What a terminal shows while something takes long. It is drawn by whoever waits: a thread of its own would make forking
//! unsafe. It is gone when it is dropped.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// The bar.
#[derive(Debug, Default)]
pub(crate) struct Bar {
    drawn: Option<(Kind, ProgressBar)>,
}

/// What is shown. One kind of work may follow another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// How much of something whose size is known.
    Part,
    /// That something goes on.
    Going,
    /// What is waited for.
    Waiting,
}

impl Bar {
    /// Shows how far it is. Without a total it shows that something goes on.
    pub(crate) fn show(&mut self, done: u64, total: Option<u64>) {
        match total {
            Some(total) => {
                let bar = self.of(Kind::Part);
                bar.set_length(total);
                bar.set_position(done);
            }
            None => self.of(Kind::Going).tick(),
        }
    }

    /// Shows what is waited for.
    pub(crate) fn wait(&mut self, what: String) {
        let bar = self.of(Kind::Waiting);
        bar.set_message(what);
        bar.tick();
    }

    fn of(&mut self, kind: Kind) -> &ProgressBar {
        let drawn = match self.drawn.take() {
            Some((known, bar)) if known == kind => bar,
            other => {
                other.iter().for_each(|(_, bar)| bar.finish_and_clear());
                new(kind)
            }
        };
        &self.drawn.insert((kind, drawn)).1
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.drawn.iter().for_each(|(_, bar)| bar.finish_and_clear());
    }
}

fn new(kind: Kind) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    match kind {
        Kind::Part => ProgressBar::new(0).with_style(style("{bar:40} {bytes}/{total_bytes} {eta}")),
        Kind::Going => ProgressBar::no_length().with_style(style("{spinner} {elapsed}")),
        Kind::Waiting => ProgressBar::no_length().with_style(style("{spinner} {msg} {elapsed}")),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
