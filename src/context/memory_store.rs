//! Keeps a context for as long as the process runs.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::store::{ContextLease, ContextStore};
use crate::error::Error;
use crate::secret::Secret;

/// Keeps keys and session in memory, to be shared by the clients of one process.
///
/// Cheap to clone: all clones keep the same.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    released: Condvar,
}

#[derive(Default)]
struct Kept {
    text: Option<Secret>,
    lent: bool,
}

impl MemoryStore {
    /// A store that keeps nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl ContextStore for MemoryStore {
    fn load(&self) -> Result<Option<Secret>, Error> {
        Ok(self.kept().text.clone())
    }

    fn lock(&self, timeout: Duration) -> Result<Box<dyn ContextLease>, Error> {
        let waited = self.0.released.wait_timeout_while(self.kept(), timeout, |kept| kept.lent);
        let (mut kept, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if kept.lent {
            return Err(Error::context(format_args!(
                "{self:?}: its lock was not to be had within {timeout:?}: another client holds it, try again"
            )));
        }
        kept.lent = true;
        Ok(Box::new(MemoryLease(self.clone())))
    }
}

#[derive(Debug)]
struct MemoryLease(MemoryStore);

impl ContextLease for MemoryLease {
    fn load(&self) -> Result<Option<Secret>, Error> {
        self.0.load()
    }

    fn save(&self, text: &Secret) -> Result<(), Error> {
        self.0.kept().text = Some(text.clone());
        Ok(())
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        self.0.kept().lent = false;
        self.0.0.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn clones_keep_the_same() {
        let store = MemoryStore::new();
        assert_eq!(store.load().unwrap(), None);
        store.lock(Duration::ZERO).unwrap().save(&"text".into()).unwrap();
        let other = store.clone();
        assert_eq!(other.load().unwrap(), Some("text".into()));
        assert_eq!(other.lock(Duration::ZERO).unwrap().load().unwrap(), Some("text".into()));
    }

    #[test]
    fn one_holds_the_lock_and_the_others_wait_as_long_as_they_like() {
        let store = MemoryStore::new();
        let lease = store.lock(Duration::ZERO).unwrap();
        let error = store.lock(Duration::from_millis(20)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "MemoryStore: its lock was not to be had within 20ms: another client holds it, try again"
        );
        let other = store.clone();
        let waiting = thread::spawn(move || other.lock(Duration::from_secs(60)).map(drop));
        drop(lease);
        waiting.join().unwrap().unwrap();
        store.lock(Duration::ZERO).unwrap();
    }

    #[test]
    fn debug_shows_nothing_secret() {
        let store = MemoryStore::new();
        let lease = store.lock(Duration::ZERO).unwrap();
        lease.save(&"planted".into()).unwrap();
        assert_eq!(format!("{store:?} {lease:?}"), "MemoryStore MemoryLease(MemoryStore)");
    }
}
