//! The locks of users within one process. Only those that are held or waited for take memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use crate::error::Error;
use crate::sync::lock;
use crate::types::ProvisionId;

#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<ProvisionId, Waiting>>>);

/// The lock of one user, and how many hold it or wait for it.
#[derive(Debug, Default)]
struct Waiting {
    mutex: Arc<tokio::sync::Mutex<()>>,
    count: usize,
}

/// One that holds the lock of a user or waits for it.
pub(super) struct Turn {
    turns: Turns,
    id: ProvisionId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else has the lock of this user.
    pub(super) async fn take(&self, id: ProvisionId) -> Turn {
        let mutex = {
            let mut all = lock(&self.0);
            let waiting = all.entry(id).or_default();
            waiting.count += 1;
            Arc::clone(&waiting.mutex)
        };
        let mut turn = Turn { turns: self.clone(), id, guard: None };
        turn.guard = Some(mutex.lock_owned().await);
        turn
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }
}

impl Turn {
    /// Fails if this is not the lock of the user `id` among `turns`. `name` names the user's record.
    pub(super) fn check(
        turn: Option<&Self>,
        turns: &Turns,
        id: ProvisionId,
        name: impl Fn() -> String,
    ) -> Result<(), Error> {
        if turn.is_some_and(|turn| turn.id == id && Arc::ptr_eq(&turn.turns.0, &turns.0)) {
            return Ok(());
        }
        Err(Error::context(format_args!("{} is changed with its own lock alone: take that before", name())))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut all = lock(&self.turns.0);
        if let Some(waiting) = all.get_mut(&self.id) {
            waiting.count -= 1;
            if waiting.count == 0 {
                all.remove(&self.id);
            }
        }
    }
}
