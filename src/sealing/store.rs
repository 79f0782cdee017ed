//! The store of a context, which gets sealed texts.

use std::sync::Arc;

use super::Sealing;
use super::text::Place;
use crate::error::Error;
use crate::session::context::{ContextLock, ContextStore};
use crate::transport::credentials::BoxFuture;
use crate::transport::metrics::LockWait;
use crate::types::Secret;

/// Seals what it hands to a store, and opens what it gets from it.
#[derive(Debug)]
pub(crate) struct SealedStore {
    store: Arc<dyn ContextStore>,
    sealing: Sealing,
}

impl SealedStore {
    pub(crate) fn new(store: Arc<dyn ContextStore>, sealing: Sealing) -> Self {
        Self { store, sealing }
    }
}

impl ContextStore for SealedStore {
    fn name(&self) -> String {
        self.store.name()
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async {
            match self.store.load().await? {
                Some(text) => self.sealing.opened(&Place::of_context(&*self.store), text).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let sealed = self.sealing.seal(&Place::of_context(&*self.store), &context).await?;
            self.store.save(lock, sealed).await
        })
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async {
            let _waiting = LockWait::begin("context");
            self.store.lock().await
        })
    }
}
