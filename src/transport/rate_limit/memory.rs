//! Permits in memory, for the clients of one process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::scope::LimitScope;
use super::store::{Grant, PermitStore, PermitWindow, Settlement, Taken};
use super::usage::Usage;
use crate::error::Error;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;

/// How long a call waits for the response to another before it asks for a permit again.
const RESPONSE_PAUSE: Duration = Duration::from_millis(50);

/// Permits in memory, for clients of one process that call from one address: for example, partners with a key each. Clones
/// share the permits.
///
/// It counts the calls of each operation at each bank, whatever the API key; those that count [by session](LimitScope::Session), for
/// each API key. If the clients have different limits, all of them apply.
#[derive(Clone, Default)]
pub struct MemoryPermits(Arc<Mutex<Windows>>);

/// The windows by bank and operation, and by API key where calls count by session.
type Windows = HashMap<(Arc<str>, &'static str, Option<Arc<str>>), Usage>;

impl MemoryPermits {
    /// Makes a store in which every permit is free.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, window: &PermitWindow, act: impl FnOnce(&mut Usage) -> T) -> T {
        let mut usages = lock(&self.0);
        let caller = match window.scope {
            LimitScope::Address => None,
            LimitScope::Session => Some(Arc::clone(&window.api_key_fingerprint)),
        };
        let key = (Arc::clone(&window.base_url), window.operation.id, caller);
        act(usages.entry(key).or_insert_with(|| Usage::new(window.limit)))
    }
}

impl fmt::Debug for MemoryPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryPermits")
    }
}

impl PermitStore for MemoryPermits {
    fn take<'a>(&'a self, window: &'a PermitWindow, _waited: Duration) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async {
            Ok(self.with(window, |usage| {
                let now = Instant::now();
                usage.add_limit(window.limit);
                usage.prune(now);
                let wait = usage.turn(now, 0).saturating_duration_since(now);
                if !wait.is_zero() {
                    return Taken::NotBefore(wait);
                }
                if usage.awaits_a_response() {
                    return Taken::NotBefore(RESPONSE_PAUSE);
                }
                usage.begin();
                Taken::Granted(Grant::new(0))
            }))
        })
    }

    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        _id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.with(window, |usage| usage.settle(&settlement, Instant::now()));
        Box::pin(async { Ok(()) })
    }

    /// The call may have arrived.
    fn abandon(&self, window: &PermitWindow, _id: u128) {
        self.with(window, |usage| usage.settle(&Settlement::Unknown, Instant::now()));
    }
}
