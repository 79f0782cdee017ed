//! Whether the calls of a client succeed, and why attempts fail.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::error::Error;

/// The outcomes of one client's calls.
#[derive(Debug, Default)]
pub(crate) struct Health {
    successes: AtomicU64,
    /// The last failure of an attempt that may succeed later.
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

    /// The number of calls that have succeeded.
    pub(crate) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// Subscribes to failures from now on.
    pub(crate) fn failures(&self) -> watch::Receiver<Option<Error>> {
        self.failure.subscribe()
    }
}
