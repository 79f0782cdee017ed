//! The terminal, which live lines share with everything that is written. There is one, so this is one for the process.

use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};

static LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Adds a live line with this template, on standard error if that is a terminal. It is gone when it is dropped, or finished.
pub(super) fn live_line(line: ProgressBar, template: &str) -> ProgressBar {
    let line = LINES.add(line.with_finish(ProgressFinish::AndClear));
    line.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()));
    line
}

/// Writes to the terminal above the live lines. Must not be nested.
pub(super) fn above<T>(write: impl FnOnce() -> T) -> T {
    LINES.suspend(write)
}
