//! The permits that a member holds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::task::JoinHandle;

/// Once its permit was checked, a call may take 10 s to connect to bunq, and then it must arrive. The lease must last as long: it may
/// not be renewed meanwhile.
pub(super) const TO_ARRIVE: Duration = Duration::from_secs(11);

/// A lease is renewed so many times while it lasts.
pub(super) const RENEWALS: u32 = 3;

/// The permits whose leases are renewed.
#[derive(Debug, Default)]
pub(super) struct HeldPermits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// With their windows.
    permits: HashMap<i64, Vec<String>>,
    /// In each runtime that holds some: one may not be run. Each renews them all, and ends when there are none.
    renewals: HashMap<Id, JoinHandle<()>>,
}

impl HeldPermits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a permit. `renew` starts the task if none runs in this runtime.
    pub(super) fn add(&self, id: i64, windows: Vec<String>, renew: impl FnOnce() -> JoinHandle<()>) {
        let mut state = self.state();
        state.permits.insert(id, windows);
        // A runtime may have ended.
        state.renewals.retain(|_, renewal| !renewal.is_finished());
        state.renewals.entry(Handle::current().id()).or_insert_with(renew);
    }

    /// Removes a permit. Returns whether it was there.
    pub(super) fn remove(&self, id: i64) -> bool {
        self.state().permits.remove(&id).is_some()
    }

    /// The permits, each once for each of its windows; `None` if there are none, and the task ends.
    pub(super) fn to_renew(&self) -> Option<(Vec<i64>, Vec<String>)> {
        let mut state = self.state();
        if state.permits.is_empty() {
            state.renewals.remove(&Handle::current().id());
            return None;
        }
        Some(state.permits.iter().flat_map(|(id, windows)| windows.iter().map(|window| (*id, window.clone()))).unzip())
    }
}
