//! Keeps the context of a client: in its store, or only in memory.
//!
//! Each step of the store has a time limit. The session decides when to take a step, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;

use super::context::{Context, ContextLock, ContextStore, Identity, Stored};
use crate::error::Error;
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
        self.lock_within(self.patience, trouble).await
    }

    /// The same within this time, or within that of a step of the store if that is shorter.
    pub(super) async fn lock_within(&self, time: Duration, trouble: &Trouble) -> Result<ContextLock, Error> {
        let locked = async {
            match &self.store {
                Some(store) => store.lock().await,
                None => Ok(ContextLock::new(Arc::clone(&self.own_lock).lock_owned().await)),
            }
        };
        self.within(time.min(self.patience), Error::busy, "its lock was not released", locked, trouble).await
    }

    /// Reads the store. `None` if there is no store or if it is empty.
    pub(super) async fn load(&self, trouble: &Trouble) -> Result<Option<Stored>, Error> {
        let Some(store) = &self.store else { return Ok(None) };
        let stored = self.in_time("its context was not loaded", store.load(), trouble).await?;
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
        let saved = self.in_time("its context was not saved", saved, trouble).await;
        if let Err(error) = &saved {
            // The client itself continues with the context in memory.
            tracing::warn!(%error, "the context is not kept: other processes and the next run do not have it");
        }
        saved
    }

    /// Runs a step of the store, for at most as long as a call may take. Everything that waits for the session waits for it too.
    async fn in_time<T>(
        &self,
        problem: &str,
        step: impl Future<Output = Result<T, Error>>,
        trouble: &Trouble,
    ) -> Result<T, Error> {
        self.within(self.patience, Error::unavailable, problem, step, trouble).await
    }

    /// Runs a step of the store within a time, after which it fails with the error that `late` makes.
    async fn within<T>(
        &self,
        time: Duration,
        late: fn(String) -> Error,
        problem: &str,
        step: impl Future<Output = Result<T, Error>>,
        trouble: &Trouble,
    ) -> Result<T, Error> {
        trouble.note(Some(late(self.named(format_args!("{problem} so far: try again")))));
        let is_late = |_| Err(late(self.named(format_args!("{problem} within {}: try again", duration(time)))));
        let done = timeout(time, step).await.unwrap_or_else(is_late);
        trouble.note(None);
        done
    }

    pub(super) fn error(&self, problem: impl std::fmt::Display) -> Error {
        Error::context(self.named(problem))
    }

    fn named(&self, problem: impl std::fmt::Display) -> String {
        let name = self.store.as_ref().map_or_else(|| "the session of this client".to_owned(), |store| store.name());
        format!("{name}: {problem}")
    }
}
