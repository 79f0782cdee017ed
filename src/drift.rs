//! Notices what bunq says that the document does not know: new values of open enums.
//!
//! Decoding notes them here, where a call listens; the call reports them. Nothing is refused for its novelty.

use std::cell::RefCell;

use crate::error::one_line;

/// The schema and the value.
pub(crate) type Novelty = (&'static str, String);

/// More than this many in one answer are not worth telling apart.
const MOST: usize = 100;

/// No more of a value is told.
const MAX_CHARS: usize = 100;

tokio::task_local! {
    static NOTED: RefCell<Vec<Novelty>>;
}

/// Notes a value that the schema does not know. Called by the generated enums.
pub(crate) fn note(schema: &'static str, value: &str) {
    // Outside of a call nobody listens.
    let _ = NOTED.try_with(|noted| {
        let mut noted = noted.borrow_mut();
        if noted.len() < MOST {
            noted.push((schema, one_line(value, MAX_CHARS)));
        }
    });
}

/// Runs a future, and gives what was noted in it.
pub(crate) async fn listen<F: Future>(future: F) -> (F::Output, Vec<Novelty>) {
    let listening = async {
        let output = future.await;
        (output, NOTED.with(RefCell::take))
    };
    NOTED.scope(RefCell::default(), listening).await
}
