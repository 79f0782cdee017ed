//! What holds a call up, for all that wait for it: a deadline that ends tells the reason, and not the delay alone.

use std::sync::{Arc, Mutex};

use crate::error::Error;
use crate::sync::lock;

/// The last failure of something that goes on nevertheless. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    own: Option<Error>,
    /// The trouble of what it waits for.
    awaited: Option<Trouble>,
}

impl Trouble {
    /// Notes what has gone wrong last; `None` if nothing stands in the way any more.
    pub(crate) fn note(&self, own: Option<Error>) {
        lock(&self.0).own = own;
    }

    /// Begins to wait for something that has trouble of its own.
    pub(crate) fn begin_wait(&self, awaited: &Self) {
        lock(&self.0).awaited = Some(awaited.clone());
    }

    pub(crate) fn end_wait(&self) {
        lock(&self.0).awaited = None;
    }

    /// What has gone wrong last with that which it waits for.
    pub(crate) fn of_awaited(&self) -> Option<Error> {
        let awaited = lock(&self.0).awaited.clone();
        awaited?.last()
    }

    /// What has gone wrong last, if nothing has succeeded since.
    pub(crate) fn last(&self) -> Option<Error> {
        self.of_awaited().or_else(|| lock(&self.0).own.clone())
    }
}
