//! Whether the calls of a client succeed, and why an attempt has failed.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::error::Error;

/// What becomes of the calls of one client.
#[derive(Debug, Default)]
pub(crate) struct Health {
    successes: AtomicU64,
    /// The attempt that has failed last, of those that may succeed later.
    failure: watch::Sender<Option<Error>>,
}

impl Health {
    pub(super) fn succeeded(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: &Error) {
        if error.is_retryable() {
            self.failure.send_replace(Some(error.clone()));
        }
    }

    /// How many calls have succeeded.
    pub(crate) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// The failures from now on.
    pub(crate) fn failures(&self) -> watch::Receiver<Option<Error>> {
        self.failure.subscribe()
    }
}
