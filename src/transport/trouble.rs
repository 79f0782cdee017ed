//! What holds up a call, for everything that waits for it: when a deadline passes, the error gives the reason and not
//! only the delay.

use std::sync::{Arc, Mutex};

use crate::error::Error;
use crate::sync::lock;

/// The last failure of an operation that is still going on. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    own: Option<Error>,
    /// The trouble of the operation that this one waits for.
    awaited: Option<Trouble>,
}

impl Trouble {
    /// Records the last failure, or `None` if nothing is wrong any more.
    pub(crate) fn note(&self, own: Option<Error>) {
        lock(&self.0).own = own;
    }

    /// Begins to wait for an operation that has a trouble of its own.
    pub(crate) fn begin_wait(&self, awaited: &Self) {
        lock(&self.0).awaited = Some(awaited.clone());
    }

    pub(crate) fn end_wait(&self) {
        lock(&self.0).awaited = None;
    }

    /// The last failure of the operation that this one waits for.
    pub(crate) fn of_awaited(&self) -> Option<Error> {
        let awaited = lock(&self.0).awaited.clone();
        awaited?.last()
    }

    /// The last failure, if nothing has succeeded since.
    pub(crate) fn last(&self) -> Option<Error> {
        self.of_awaited().or_else(|| lock(&self.0).own.clone())
    }
}
