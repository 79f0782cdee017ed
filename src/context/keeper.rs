//! Loads and saves a context from async code, and names the place in what is refused.

use std::sync::Arc;
use std::time::Duration;

use super::store::{ContextLease, ContextStore};
use super::{Context, Identity};
use crate::error::Error;
use crate::secret::Secret;

/// The place where one client keeps its context. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    store: Arc<dyn ContextStore>,
    identity: Arc<Identity>,
}

/// The exclusive use of that place, given back when it is dropped; but a save under way is finished first.
#[derive(Debug)]
pub(crate) struct Lease {
    keeper: Keeper,
    lease: Arc<dyn ContextLease>,
}

impl Keeper {
    pub(crate) fn new(store: Arc<dyn ContextStore>, identity: Identity) -> Self {
        Self { store, identity: Arc::new(identity) }
    }

    /// What is kept, if anything is. Waits for no lock.
    pub(crate) async fn load(&self) -> Result<Option<Context>, Error> {
        let keeper = self.clone();
        self.blocking(move || keeper.decode(keeper.store.load()?)).await
    }

    /// Takes the lock, or gives up after `timeout`.
    pub(crate) async fn lock(&self, timeout: Duration) -> Result<Lease, Error> {
        let store = Arc::clone(&self.store);
        let lease = self.blocking(move || store.lock(timeout)).await?;
        Ok(Lease { keeper: self.clone(), lease: Arc::from(lease) })
    }

    fn decode(&self, text: Option<Secret>) -> Result<Option<Context>, Error> {
        text.map(|text| Context::decode(&text, &self.identity)).transpose().map_err(|problem| self.error(&problem))
    }

    fn error(&self, problem: &str) -> Error {
        Error::context(format_args!("{:?}: {problem}", self.store))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let cut_short = |error| self.error("its work was cut short").caused_by(error);
        tokio::task::spawn_blocking(work).await.map_err(cut_short)?
    }
}

impl Lease {
    /// What is kept, if anything is.
    pub(crate) async fn load(&self) -> Result<Option<Context>, Error> {
        let (keeper, lease) = (self.keeper.clone(), Arc::clone(&self.lease));
        self.keeper.blocking(move || keeper.decode(lease.load()?)).await
    }

    /// Keeps `context` from here on. It is finished even if the future is dropped.
    pub(crate) async fn save(&self, context: &Context) -> Result<(), Error> {
        let text = context.encode(&self.keeper.identity).map_err(|problem| self.keeper.error(&problem))?;
        let lease = Arc::clone(&self.lease);
        self.keeper.blocking(move || lease.save(&text)).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryStore, samples};
    use super::*;
    use crate::environment::Environment;
    use crate::error::{ErrorKind, Sent};

    #[tokio::test]
    async fn what_one_client_saved_another_loads() {
        let store = Arc::new(MemoryStore::new());
        let keeper = Keeper::new(store.clone(), samples::identity());
        assert!(keeper.load().await.unwrap().is_none());
        let lease = keeper.lock(Duration::ZERO).await.unwrap();
        assert!(lease.load().await.unwrap().is_none());
        lease.save(&samples::context()).await.unwrap();
        assert!(keeper.lock(Duration::ZERO).await.is_err());
        drop(lease);

        let other = Keeper::new(store, samples::identity());
        let found = other.load().await.unwrap().unwrap();
        assert_eq!(found.session.unwrap().token.expose(), samples::SESSION_TOKEN);
        assert!(other.lock(Duration::ZERO).await.unwrap().load().await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_refusal_names_the_place_and_leaves_it_alone() {
        let store = Arc::new(MemoryStore::new());
        let own = Keeper::new(store.clone(), samples::identity());
        own.lock(Duration::ZERO).await.unwrap().save(&samples::context()).await.unwrap();
        let kept = store.load().unwrap();

        let stranger = Identity::new(Environment::Sandbox, samples::BASE_URL, &"sandbox_other".into());
        let stranger = Keeper::new(store.clone(), stranger);
        let error = stranger.load().await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No));
        assert_eq!(
            error.to_string(),
            "MemoryStore: what is kept belongs to another API key and was left as it is: use a store for each API \
             key, or remove it to begin anew"
        );
        let under_lock = stranger.lock(Duration::ZERO).await.unwrap().load().await.unwrap_err();
        assert_eq!(under_lock.to_string(), error.to_string());
        assert_eq!(store.load().unwrap(), kept);
        samples::assert_nothing_secret(&format!("{error:?} {stranger:?}"));
    }
}
