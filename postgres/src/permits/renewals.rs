//! The tasks that renew leases.

use std::collections::HashMap;

use tokio::runtime::{Handle, Id};
use tokio::task::JoinHandle;

/// One task in each runtime that asks for it: a runtime may have ended, or may not be run.
#[derive(Debug, Default)]
pub(super) struct Renewals(HashMap<Id, JoinHandle<()>>);

impl Renewals {
    /// Starts the task of this runtime, if it has none that runs.
    pub(super) fn keep(&mut self, renew: impl FnOnce() -> JoinHandle<()>) {
        self.0.retain(|_, renewal| !renewal.is_finished());
        self.0.entry(Handle::current().id()).or_insert_with(renew);
    }

    /// The task of this runtime, which calls this, ends.
    pub(super) fn end(&mut self) {
        self.0.remove(&Handle::current().id());
    }
}
