//! Errors of the command line, which repeat what was typed.

use std::ffi::OsString;

use bunq_partner::text::forges_lines;
use clap::Error;
use clap::builder::StyledStr;
use clap::error::ContextValue;

use super::words::clean;

/// The same error, in which what was typed forges nothing. The rules of values are parts of it too: they repeat a value only after
/// they have cleaned it.
pub(super) fn cleaned(mut error: Error, typed: impl IntoIterator<Item = OsString>) -> Error {
    if !typed.into_iter().any(|word| word.to_string_lossy().contains(forges_lines)) {
        return error;
    }
    let parts: Vec<_> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in parts {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(clean(&text)),
            ContextValue::Strings(texts) => ContextValue::Strings(texts.iter().map(|text| clean(text)).collect()),
            // These are advice about a word, each on one line. Its style is lost.
            ContextValue::StyledStrs(texts) => {
                ContextValue::StyledStrs(texts.iter().map(|text| StyledStr::from(clean(&text.to_string()))).collect())
            }
            // The usage, and what no one has typed.
            value => value,
        };
        error.insert(kind, value);
    }
    error
}
