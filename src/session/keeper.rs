//! Keeps the context of a client: in its store, or only in memory.
//!
//! Each step of the store has a time limit. The session decides when to take a step, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;

use super::context::{Context, ContextLock, ContextStore, Identity, Stored};
use crate::error::{Error, ErrorKind, Sent};
use crate::text::duration;
use crate::transport::runtime::spawn;
use crate::transport::trouble::Trouble;

#[derive(Debug)]
pub(super) struct Keeper {
    identity: Identity,
    /// `None` keeps the context only in memory.
    store: Option<Arc<dyn ContextStore>>,
    /// Used in place of a store's lock if there is no store.
    own_lock: Arc<tokio::sync::Mutex<()>>,
    /// How long a step of the store may take.
    patience: Duration,
}

impl Keeper {
    pub(super) fn new(identity: Identity, store: Option<Arc<dyn ContextStore>>, patience: Duration) -> Self {
        Self { identity, store, own_lock: Arc::default(), patience }
    }

    pub(super) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// Takes the lock for opening or ending a session: one task of one process at a time holds it.
    pub(super) async fn lock(&self, trouble: &Trouble) -> Result<ContextLock, Error> {
        let locked = async {
            match &self.store {
                Some(store) => store.lock().await,
                None => Ok(ContextLock::new(Arc::clone(&self.own_lock).lock_owned().await)),
            }
        };
        self.in_time(ErrorKind::Busy, "its lock was not released", locked, trouble).await
    }

    /// Reads the store. `None` if there is no store or if it is empty.
    pub(super) async fn load(&self, trouble: &Trouble) -> Result<Option<Stored>, Error> {
        let Some(store) = &self.store else { return Ok(None) };
        let stored = self.in_time(ErrorKind::Context, "its context was not loaded", store.load(), trouble).await?;
        let context = stored.map(|text| Stored::decode(&text, &self.identity)).transpose();
        context.map_err(|problem| self.error(problem))
    }

    /// Saves a context in the store, if there is one, under its lock.
    pub(super) async fn save(&self, lock: &ContextLock, context: &Context, trouble: &Trouble) -> Result<(), Error> {
        let Some(store) = &self.store else { return Ok(()) };
        let saved = async {
            let text = context.encode(&self.identity).map_err(|problem| self.error(problem))?;
            let (store, lock) = (Arc::clone(store), lock.clone());
            // A save that takes too long is not aborted, and keeps the lock.
            let saving = spawn(Span::current(), Box::pin(async move { store.save(&lock, text).await }));
            saving.await.unwrap_or_else(|error| Err(self.error(error)))
        };
        let saved = self.in_time(ErrorKind::Context, "its context was not saved", saved, trouble).await;
        if let Err(error) = &saved {
            // The client itself continues with the context in memory.
            tracing::warn!(%error, "the context is not kept: other processes and the next run do not have it");
        }
        saved
    }

    /// Runs a step of the store, for at most as long as a call may take: then it fails with the kind `late`. Everything that waits for the
    /// session waits for it too.
    async fn in_time<T>(
        &self,
        late: ErrorKind,
        problem: &str,
        step: impl Future<Output = Result<T, Error>>,
        trouble: &Trouble,
    ) -> Result<T, Error> {
        let within = self.patience;
        trouble.note(Some(self.error_of(late, format_args!("{problem} so far: try again"))));
        let is_late = |_| Err(self.error_of(late, format_args!("{problem} within {}: try again", duration(within))));
        let done = timeout(within, step).await.unwrap_or_else(is_late);
        trouble.note(None);
        done
    }

    pub(super) fn error(&self, problem: impl std::fmt::Display) -> Error {
        self.error_of(ErrorKind::Context, problem)
    }

    fn error_of(&self, kind: ErrorKind, problem: impl std::fmt::Display) -> Error {
        let name = self.store.as_ref().map_or_else(|| "the session of this client".to_owned(), |store| store.name());
        Error::new(kind, Sent::No, format_args!("{name}: {problem}"))
    }
}
