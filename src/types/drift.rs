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

tokio::task_local! {
    static NOTED: RefCell<Vec<UnknownValue>>;
}

/// Notes a value that the schema does not know. The generated enums call it.
pub(crate) fn note_unknown(schema: &'static str, value: &str) {
    // Outside of a call, nothing collects the values.
    let _ = NOTED.try_with(|noted| {
        let mut noted = noted.borrow_mut();
        if noted.len() < MAX_VALUES {
            noted.push((schema, one_line(value, MAX_CHARS)));
        }
    });
}

/// Runs a future, and returns the values that were noted in it.
pub(crate) async fn collect_unknown<F: Future>(future: F) -> (F::Output, Vec<UnknownValue>) {
    let collecting = async {
        let output = future.await;
        (output, NOTED.with(RefCell::take))
    };
    NOTED.scope(RefCell::default(), collecting).await
}
