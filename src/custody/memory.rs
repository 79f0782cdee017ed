//! A custody that lasts no longer than the process.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex};

use super::interface::{Custody, CustodyEntry, CustodyFilter};
use super::turns::{Turn, Turns};
use crate::error::Error;
use crate::session::context::ContextLock;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;
use crate::types::{ProvisionId, Secret};

/// How many entries a page has.
const PAGE: usize = 1000;

/// A custody in memory, for tests and trials. Clones share it.
///
/// **What is in it is lost with the process.** bunq does not show the token of a credential in use: a user that was activated with this custody must be reset
/// before another process can act for it.
#[derive(Clone, Default)]
pub struct MemoryCustody {
    users: Arc<Mutex<BTreeMap<ProvisionId, (CustodyEntry, Secret)>>>,
    turns: Turns,
}

impl MemoryCustody {
    /// Makes an empty custody.
    pub fn new() -> Self {
        Self::default()
    }

    fn check(&self, held: &ContextLock, id: ProvisionId) -> Result<(), Error> {
        Turn::check(held.guard(), &self.turns, id, || self.name_of(id))
    }
}

impl fmt::Debug for MemoryCustody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryCustody")
    }
}

impl Custody for MemoryCustody {
    fn name(&self) -> String {
        "the custody in memory".to_owned()
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async move { Ok(lock(&self.users).get(&id).map(|(_, text)| text.clone())) })
    }

    fn save<'a>(
        &'a self,
        held: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.check(held, entry.provision_id)?;
            lock(&self.users).insert(entry.provision_id, (entry, text));
            Ok(())
        })
    }

    fn remove<'a>(&'a self, held: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.check(held, id)?;
            lock(&self.users).remove(&id);
            Ok(())
        })
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async move { Ok(ContextLock::new(self.turns.take(id).await)) })
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        Box::pin(async move {
            let users = lock(&self.users);
            let entries = users.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, (entry, _))| entry);
            let wanted = entries.filter(|entry| filter == CustodyFilter::All || !entry.is_activated);
            Ok(wanted.take(PAGE).cloned().collect())
        })
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        Box::pin(async move { Ok(lock(&self.users).get(&id).map(|(entry, _)| entry.clone())) })
    }
}
