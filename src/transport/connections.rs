//! The connections of a client: pooled ones, which can all be given up at once, and those for a single attempt.
//!
//! A response to another request shows that a connection is out of step. The HTTP client does not say which connection
//! a response came on, and takes the connection back when the response is dropped. So all of them are given up.
//!
//! A server or a middlebox may close a pooled connection just when the next request is sent on it. Then it is unknown
//! whether that request arrived. So an attempt that must not fail in this way gets a connection of its own.
//!
//! A task of the runtime that made a connection drives it. The connection breaks when that runtime ends, and makes no
//! progress while the runtime is not run. So each runtime has a pool of its own, which is given up when the runtime
//! ends.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use tokio::runtime::Id;
use tokio::sync::oneshot;
use tracing::Span;

use super::runtime;
use crate::error::Error;
use crate::sync::lock;

/// Makes an HTTP client that has no connections yet.
type Make = dyn Fn(Reuse) -> Result<reqwest::Client, Error> + Send + Sync;

/// Which connections an attempt may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// A pooled connection, if there is one.
    Allowed,
    /// A fresh connection, which is not used again.
    Never,
}

/// The HTTP clients that calls are sent with.
pub(crate) struct Connections {
    make: Box<Make>,
    /// Only builds requests.
    unconnected: reqwest::Client,
    /// The HTTP client that pools no connections. It is made when it is first needed.
    fresh: OnceLock<reqwest::Client>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The pools of the live runtimes.
    kept: HashMap<Id, Kept>,
    /// The HTTP client that the first runtime takes.
    unused: Option<reqwest::Client>,
}

/// The HTTP client with a runtime's pool.
struct Kept {
    http: reqwest::Client,
    generation: u64,
    /// Dropping it ends the task that waits for the end of the runtime.
    _client: oneshot::Sender<()>,
}

/// An HTTP client. If it pools connections, `kept` identifies the pool.
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

    /// The HTTP client that builds requests.
    pub(crate) fn unconnected(&self) -> reqwest::Client {
        self.unconnected.clone()
    }

    /// An HTTP client with a pool of its own, for other users.
    #[cfg(feature = "reqwest-builder")]
    pub(crate) fn new_client(&self) -> Result<reqwest::Client, Error> {
        (self.make)(Reuse::Allowed)
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

    /// The pool of the current runtime.
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
            // Another task was faster.
            Entry::Occupied(kept) => return Ok(of(kept.get())),
            Entry::Vacant(place) => of(place.insert(Kept { http, generation: 0, _client: sender })),
        };
        let end = End { state: Arc::downgrade(&self.state), runtime };
        // A runtime that ends drops its tasks. There is no other sign of its end.
        let task = async move {
            let _end = end;
            let _ = client_is_dropped.await;
        };
        runtime::spawn(Span::none(), Box::pin(task));
        Ok(connection)
    }

    /// Gives up the pool that a call used, unless that has been done already. Calls in flight go on.
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

/// Dropped at the end of a runtime, it gives up the runtime's pool.
struct End {
    state: Weak<Mutex<State>>,
    runtime: Id,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            // Release the lock before the connections are dropped.
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
        // One runtime gives up its pool; the other keeps its own.
        first.block_on(async { connections.give_up(&connections.get(Reuse::Allowed).unwrap()) }).unwrap();
        second.block_on(async { connections.get(Reuse::Allowed).map(drop) }).unwrap();
        assert_eq!((made.load(Ordering::Relaxed), kept()), (3, 2));
        drop(first);
        assert_eq!(kept(), 1);
        // The client leaves nothing in a runtime that continues.
        drop(connections);
        second.block_on(tokio::task::yield_now());
        assert_eq!(second.metrics().num_alive_tasks(), 0);
    }
}
