//! The connections of a client: those that are kept, which can be given up all at once, and those for a single call.
//!
//! A response that belongs to another request shows that a connection is out of step. The HTTP client does not say which
//! one a response came on, and takes it back when the response is dropped. So all of them are given up.
//!
//! A server or a box on the way may close a kept connection just when the next request is sent on it. Nobody knows then
//! whether that request has arrived. So an attempt that must not fail in this way gets a connection of its own.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock};

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

/// The HTTP client that calls are sent with.
pub(crate) struct Connections {
    make: Box<Make>,
    /// The HTTP client that keeps no connections, made when it is needed first.
    fresh: OnceLock<reqwest::Client>,
    state: Mutex<State>,
}

struct State {
    http: reqwest::Client,
    generation: u64,
}

/// An HTTP client, and which one it is.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) http: reqwest::Client,
    generation: u64,
}

impl Connections {
    pub(crate) fn new(
        make: impl Fn(Reuse) -> Result<reqwest::Client, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let state = Mutex::new(State { http: make(Reuse::Allowed)?, generation: 0 });
        Ok(Self { make: Box::new(make), fresh: OnceLock::new(), state })
    }

    pub(crate) fn kept(&self) -> Connection {
        let state = self.state();
        Connection { http: state.http.clone(), generation: state.generation }
    }

    pub(crate) fn get(&self, reuse: Reuse) -> Result<Connection, Error> {
        let kept = self.kept();
        match (reuse, self.fresh.get()) {
            (Reuse::Allowed, _) => Ok(kept),
            (Reuse::Never, Some(fresh)) => Ok(Connection { http: fresh.clone(), ..kept }),
            (Reuse::Never, None) => {
                let made = (self.make)(Reuse::Never)?;
                Ok(Connection { http: self.fresh.get_or_init(|| made).clone(), ..kept })
            }
        }
    }

    /// Gives up the connections that a call was sent with, unless that is done already. Calls in flight go on.
    pub(crate) fn give_up(&self, used: &Connection) -> Result<(), Error> {
        let mut state = self.state();
        if state.generation == used.generation {
            *state = State { http: (self.make)(Reuse::Allowed)?, generation: used.generation + 1 };
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("generation", &self.state().generation).finish_non_exhaustive()
    }
}
