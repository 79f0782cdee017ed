//! A change that is handed on.

use std::fmt;
use std::sync::Arc;

use super::changed_object::ChangedObject;
use super::object::Key;
use super::shared::Shared;
use crate::error::Error;

/// An object that has changed, as [`Changes`](crate::webhook::Changes) hand it on.
///
/// It stays in the journal until it is [`done`](Self::done). Dropped without that, it is handed on again after a pause, of a second at first
/// and of five minutes at most, in the state that the object then has. Until it is done, later states of the same object wait; changes of
/// other objects do not.
#[must_use = "a change that is dropped without `done` is handed on again"]
pub struct Change {
    object: ChangedObject,
    /// What becomes of it is told to these; `None` once it was.
    given: Option<(Arc<Shared>, Key)>,
}

impl Change {
    pub(super) fn new(object: ChangedObject, shared: Arc<Shared>, key: Key) -> Self {
        Self { object, given: Some((shared, key)) }
    }

    /// What has changed.
    pub fn object(&self) -> &ChangedObject {
        &self.object
    }

    /// The work for this change is done: it is not handed on again. It returns when the journal has that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the journal cannot be written. The change is handed on again then, as it is if
    /// the future is dropped.
    pub async fn done(self) -> Result<(), Error> {
        let mut given = self;
        let Some((shared, key)) = &given.given else { return Ok(()) };
        shared.done(key).await?;
        given.given = None;
        Ok(())
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if let Some((shared, key)) = self.given.take() {
            shared.dropped(&key, &self.object);
        }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("object", &self.object).finish_non_exhaustive()
    }
}
