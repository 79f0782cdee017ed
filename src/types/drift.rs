//! Collects the enum values of a response that the document does not know.
//!
//! Decoding notes them here; the call that decodes collects and reports them. No response is refused for such a value.

use std::cell::RefCell;

use crate::text::one_line;

/// The schema, and the value as bunq sent it.
pub(crate) type UnknownValue = (&'static str, String);

/// The largest number of values that are noted in one response.
const MAX_VALUES: usize = 100;

/// The largest number of characters of a value that are noted.
const MAX_CHARS: usize = 100;

thread_local! {
    /// `None` while nothing collects the values.
    static NOTED: RefCell<Option<Vec<UnknownValue>>> = const { RefCell::new(None) };
}

/// Notes a value that the schema does not know. The generated enums call it.
pub(crate) fn note_unknown(schema: &'static str, value: &str) {
    // A thread that ends has none any more.
    let _ = NOTED.try_with(|noted| {
        if let Some(noted) = noted.borrow_mut().as_mut().filter(|noted| noted.len() < MAX_VALUES) {
            noted.push((schema, one_line(value, MAX_CHARS)));
        }
    });
}

/// Decodes something, and returns the values that were noted meanwhile.
pub(crate) fn collect_unknown<T>(decode: impl FnOnce() -> T) -> (T, Vec<UnknownValue>) {
    note_from_now();
    let decoded = decode();
    (decoded, noted())
}

fn note_from_now() {
    NOTED.set(Some(Vec::new()));
}

fn noted() -> Vec<UnknownValue> {
    NOTED.take().unwrap_or_default()
}
