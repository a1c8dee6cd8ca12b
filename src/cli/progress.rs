//! The progress bar of a transfer, on standard error when that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::image::{Progress, Transfer};

/// A bar, and what feeds it. The bar disappears when the transfer is over.
pub(super) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}") {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    pub(super) fn progress(&self) -> Progress {
        let Some(bar) = self.0.clone() else {
            return Progress::none();
        };
        Progress::new(move |transfer| match transfer {
            Transfer::Expected(bytes) => bar.inc_length(bytes),
            Transfer::Moved(bytes) => bar.inc(bytes),
        })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
