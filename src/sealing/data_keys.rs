//! The data keys of a client: the one that it seals with, and those that it has opened.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::Span;

use super::cipher::random_secret;
use super::key_sealer::KeySealer;
use crate::error::Error;
use crate::sync::lock;
use crate::text::duration;
use crate::transport::credentials::BoxFuture;
use crate::transport::runtime;
use crate::types::Secret;

/// A sealer that has not answered by then is asked again by whoever needs the key next.
const TO_ANSWER: Duration = Duration::from_secs(30);

/// How many data keys are remembered, so that the sealer is not asked again.
const REMEMBERED: usize = 64;

/// A data key, and how it is kept. Clones share the latter.
#[derive(Clone)]
pub(super) struct DataKey {
    sealed: Arc<[u8]>,
    secret: Secret,
}

/// One that was opened, or is being opened.
type Known = Arc<OnceCell<Option<DataKey>>>;

#[derive(Clone)]
pub(super) struct DataKeys(Arc<Keys>);

struct Keys {
    sealer: Arc<dyn KeySealer>,
    /// What this client seals with: the first one that it has opened, or else one of its own.
    current: OnceCell<DataKey>,
    /// The newest last.
    known: Mutex<VecDeque<(Arc<[u8]>, Known)>>,
}

impl DataKey {
    pub(super) fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl DataKeys {
    pub(super) fn new(sealer: Arc<dyn KeySealer>) -> Self {
        Self(Arc::new(Keys { sealer, current: OnceCell::new(), known: Mutex::default() }))
    }

    /// The data key to seal with.
    pub(super) async fn current(&self) -> Result<DataKey, Error> {
        if let Some(current) = self.0.current.get() {
            return Ok(current.clone());
        }
        let keys = self.clone();
        in_task(Box::pin(async move { keys.0.current.get_or_try_init(|| keys.make()).await.cloned() })).await
    }

    async fn make(&self) -> Result<DataKey, Error> {
        let secret = random_secret();
        let secret = secret.map_err(|error| Error::internal("a data key cannot be made").with_source(error))?;
        let sealed = self.in_time(self.0.sealer.seal(&secret)).await?.into();
        Ok(DataKey { sealed, secret })
    }

    /// Seals with this one from now on, if nothing was sealed yet: so many short runs have one data key.
    pub(super) fn adopt(&self, key: DataKey) {
        // It may be known which one to seal with.
        let _ = self.0.current.set(key);
    }

    /// Opens a data key. `None` if the sealer has not sealed it.
    pub(super) async fn open(&self, sealed: Vec<u8>) -> Result<Option<DataKey>, Error> {
        let (sealed, known) = self.known(sealed);
        if let Some(key) = known.get() {
            return Ok(key.clone());
        }
        let keys = self.clone();
        let open = async move {
            let secret = keys.in_time(keys.0.sealer.open(&sealed)).await?;
            Ok(secret.map(|secret| DataKey { sealed, secret }))
        };
        in_task(Box::pin(async move { known.get_or_try_init(|| open).await.cloned() })).await
    }

    async fn in_time<T>(&self, answer: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
        timeout(TO_ANSWER, answer).await.unwrap_or_else(|_| {
            let (id, within) = (self.0.sealer.id(), duration(TO_ANSWER));
            Err(Error::unavailable(format_args!("the key `{}` has not answered within {within}", id.escape_debug())))
        })
    }

    fn known(&self, sealed: Vec<u8>) -> (Arc<[u8]>, Known) {
        let mut all = lock(&self.0.known);
        if let Some(known) = all.iter().find(|(other, _)| **other == *sealed) {
            return known.clone();
        }
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        let known = (sealed.into(), Known::default());
        all.push_back(known.clone());
        known
    }
}

/// Asks the sealer in a task: all others wait for the one that asks, which must not be a future that is not polled.
async fn in_task<T: Send + 'static>(asking: BoxFuture<'static, Result<T, Error>>) -> Result<T, Error> {
    runtime::check()?;
    let asked = runtime::spawn(Span::current(), asking).await;
    asked.map_err(|error| Error::internal("the task that asked for a data key was aborted").with_source(error))?
}
