//! The permits that a member holds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::renewals::Renewals;

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
    /// Each renews them all, and ends when there are none.
    renewals: Renewals,
}

impl HeldPermits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a permit. `renew` starts the task if none runs in this runtime.
    pub(super) fn add(&self, id: i64, windows: Vec<String>, renew: impl FnOnce() -> JoinHandle<()>) {
        let mut state = self.state();
        state.permits.insert(id, windows);
        state.renewals.keep(renew);
    }

    /// Removes a permit. Returns whether it was there.
    pub(super) fn remove(&self, id: i64) -> bool {
        self.state().permits.remove(&id).is_some()
    }

    /// The permits, each once for each of its windows; `None` if there are none, and the task ends.
    pub(super) fn to_renew(&self) -> Option<(Vec<i64>, Vec<String>)> {
        let mut state = self.state();
        if state.permits.is_empty() {
            state.renewals.end();
            return None;
        }
        Some(state.permits.iter().flat_map(|(id, windows)| windows.iter().map(|window| (*id, window.clone()))).unzip())
    }
}
