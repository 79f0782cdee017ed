//! The terminal, which live lines share with all other output. There is one for the process.

use std::io::Write as _;
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::Value;

use super::words::escaped;

static LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Adds a live line with this template, on standard error if that is a terminal. It disappears when it is dropped or finished.
pub(super) fn live_line(line: ProgressBar, template: &str) -> ProgressBar {
    let line = LINES.add(line.with_finish(ProgressFinish::AndClear));
    set_template(&line, template);
    line
}

/// Shows a live line with another template.
pub(super) fn set_template(line: &ProgressBar, template: &str) {
    line.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()));
}

/// Writes to the terminal above the live lines. Must not be nested.
pub(super) fn above<T>(write: impl FnOnce() -> T) -> T {
    LINES.suspend(write)
}

/// Writes to standard error. If that is closed, the text is lost.
pub(super) fn say(text: &str) {
    let _ = above(|| anstream::stderr().lock().write_all(text.as_bytes()));
}

/// Writes JSON to standard error, on one line.
pub(super) fn say_json(json: &Value) {
    say(&(escaped(&json.to_string()) + "\n"));
}
