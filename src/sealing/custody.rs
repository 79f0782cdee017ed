//! A custody, which gets sealed texts.

use std::sync::Arc;

use super::Sealing;
use super::text::Place;
use crate::custody::{Custody, CustodyEntry, CustodyFilter};
use crate::error::Error;
use crate::session::context::ContextLock;
use crate::transport::credentials::BoxFuture;
use crate::transport::metrics::LockWait;
use crate::types::{ProvisionId, Secret};

/// Seals what it hands to a custody, and opens what it gets from it. The entries are readable.
#[derive(Debug)]
pub(crate) struct SealedCustody {
    custody: Arc<dyn Custody>,
    sealing: Sealing,
}

impl SealedCustody {
    pub(crate) fn new(custody: Arc<dyn Custody>, sealing: Sealing) -> Self {
        Self { custody, sealing }
    }

    fn place(&self, id: ProvisionId) -> Place {
        Place::of_user(id, &*self.custody)
    }
}

impl Custody for SealedCustody {
    fn name(&self) -> String {
        self.custody.name()
    }

    fn name_of(&self, id: ProvisionId) -> String {
        self.custody.name_of(id)
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async move {
            match self.custody.load(id).await? {
                Some(text) => self.sealing.opened(&self.place(id), text).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn save<'a>(
        &'a self,
        lock: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let sealed = self.sealing.seal(&self.place(entry.provision_id), &text).await?;
            self.custody.save(lock, entry, sealed).await
        })
    }

    fn remove<'a>(&'a self, lock: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>> {
        self.custody.remove(lock, id)
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async move {
            let _waiting = LockWait::begin("user");
            self.custody.lock(id).await
        })
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        self.custody.list(filter, after)
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        self.custody.entry(id)
    }
}
