//! The connections of a client: those that are kept, which can be given up all at once, and those for a single call.
//!
//! A response that belongs to another request shows that a connection is out of step. The HTTP client does not say which
//! one a response came on, and takes it back when the response is dropped. So all of them are given up.
//!
//! A server or a box on the way may close a kept connection just when the next request is sent on it. Nobody knows then
//! whether that request has arrived. So an attempt that must not fail in this way gets a connection of its own.
//!
//! A connection is driven by a task of the runtime that has made it. It breaks when that runtime ends, and stands still when
//! that is not run. So each runtime keeps its own, and they are given up with it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use tokio::runtime::Id;
use tokio::sync::oneshot;

use super::runtime;
use crate::error::Error;
use crate::sync::lock;

/// Makes an HTTP client without connections.
type Make = dyn Fn(Reuse) -> Result<reqwest::Client, Error> + Send + Sync;

/// Which connections an attempt may go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// One that was used before, if there is one.
    Allowed,
    /// A fresh one, which is not used again.
    Never,
}

/// The HTTP clients that calls are sent with.
pub(crate) struct Connections {
    make: Box<Make>,
    /// Builds requests.
    unconnected: reqwest::Client,
    /// The HTTP client that keeps no connections, made when it is needed first.
    fresh: OnceLock<reqwest::Client>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// By the runtimes that live.
    kept: HashMap<Id, Kept>,
    /// What the first of them takes.
    unused: Option<reqwest::Client>,
}

/// The HTTP client of a runtime.
struct Kept {
    http: reqwest::Client,
    generation: u64,
    /// Dropped with this, it ends the task that waits for the end of the runtime.
    _client: oneshot::Sender<()>,
}

/// An HTTP client, and which one it is if it keeps connections.
pub(crate) struct Connection {
    pub(crate) http: reqwest::Client,
    kept: Option<(Id, u64)>,
}

impl Connections {
    pub(crate) fn new(
        make: impl Fn(Reuse) -> Result<reqwest::Client, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let unconnected = make(Reuse::Allowed)?;
        let state = State { kept: HashMap::new(), unused: Some(unconnected.clone()) };
        Ok(Self { make: Box::new(make), unconnected, fresh: OnceLock::new(), state: Arc::new(Mutex::new(state)) })
    }

    /// The HTTP client to build requests with.
    pub(crate) fn unconnected(&self) -> reqwest::Client {
        self.unconnected.clone()
    }

    pub(crate) fn get(&self, reuse: Reuse) -> Result<Connection, Error> {
        match (reuse, self.fresh.get()) {
            (Reuse::Allowed, _) => self.kept(),
            (Reuse::Never, Some(fresh)) => Ok(Connection { http: fresh.clone(), kept: None }),
            (Reuse::Never, None) => {
                let made = (self.make)(Reuse::Never)?;
                Ok(Connection { http: self.fresh.get_or_init(|| made).clone(), kept: None })
            }
        }
    }

    /// The connections of this runtime.
    fn kept(&self) -> Result<Connection, Error> {
        let runtime = runtime::current()?;
        let of = |kept: &Kept| Connection { http: kept.http.clone(), kept: Some((runtime, kept.generation)) };
        let unused = {
            let mut state = self.state();
            if let Some(kept) = state.kept.get(&runtime) {
                return Ok(of(kept));
            }
            state.unused.take()
        };
        let http = unused.map_or_else(|| (self.make)(Reuse::Allowed), Ok)?;
        let (sender, client_is_dropped) = oneshot::channel::<()>();
        let connection = match self.state().kept.entry(runtime) {
            // Another task was quicker.
            Entry::Occupied(kept) => return Ok(of(kept.get())),
            Entry::Vacant(place) => of(place.insert(Kept { http, generation: 0, _client: sender })),
        };
        let end = End { state: Arc::downgrade(&self.state), runtime };
        // A runtime that ends drops its tasks, and tells it in no other way.
        tokio::spawn(async move {
            let _end = end;
            let _ = client_is_dropped.await;
        });
        Ok(connection)
    }

    /// Gives up the connections that a call was sent with, unless that is done already. Calls in flight go on.
    pub(crate) fn give_up(&self, used: &Connection) -> Result<(), Error> {
        let Some((runtime, generation)) = used.kept else { return Ok(()) };
        let mut state = self.state();
        if let Some(kept) = state.kept.get_mut(&runtime).filter(|kept| kept.generation == generation) {
            (kept.http, kept.generation) = ((self.make)(Reuse::Allowed)?, generation + 1);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The end of a runtime, with which its connections are given up.
struct End {
    state: Weak<Mutex<State>>,
    runtime: Id,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            // The lock is not held while they are dropped.
            let ended = lock(&state).kept.remove(&self.runtime);
            drop(ended);
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("runtimes", &self.state().kept.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn each_runtime_that_lives_keeps_its_own() {
        test_timeout::start();
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let connections = Connections::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(reqwest::Client::new())
        });
        let connections = connections.unwrap();
        let kept = || connections.state().kept.len();
        let (first, second) = (runtime(), runtime());
        for runtime in [&first, &second, &first, &second] {
            runtime.block_on(async { connections.get(Reuse::Allowed).map(drop) }).unwrap();
        }
        assert_eq!((made.load(Ordering::Relaxed), kept()), (2, 2));
        // What one gives up, the other keeps.
        first.block_on(async { connections.give_up(&connections.get(Reuse::Allowed).unwrap()) }).unwrap();
        second.block_on(async { connections.get(Reuse::Allowed).map(drop) }).unwrap();
        assert_eq!((made.load(Ordering::Relaxed), kept()), (3, 2));
        drop(first);
        assert_eq!(kept(), 1);
        // Nothing of a client is left in a runtime that goes on.
        drop(connections);
        second.block_on(tokio::task::yield_now());
        assert_eq!(second.metrics().num_alive_tasks(), 0);
    }
}
