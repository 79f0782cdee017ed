//! The connections of a client, which can be given up all at once.
//!
//! A response that belongs to another request shows that a connection is out of step. The HTTP client does not say which
//! one a response came on, and takes it back when the response is dropped. So all of them are given up.

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use crate::error::Error;
use crate::sync::lock;

/// Makes an HTTP client without connections.
type Make = dyn Fn() -> Result<reqwest::Client, Error> + Send + Sync;

/// The HTTP client that calls are sent with.
pub(crate) struct Connections {
    make: Box<Make>,
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
        make: impl Fn() -> Result<reqwest::Client, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let state = Mutex::new(State { http: make()?, generation: 0 });
        Ok(Self { make: Box::new(make), state })
    }

    pub(crate) fn get(&self) -> Connection {
        let state = self.state();
        Connection { http: state.http.clone(), generation: state.generation }
    }

    /// Gives up the connections that a call was sent with, unless that is done already. Calls in flight go on.
    pub(crate) fn give_up(&self, used: &Connection) -> Result<(), Error> {
        let mut state = self.state();
        if state.generation == used.generation {
            *state = State { http: (self.make)()?, generation: used.generation + 1 };
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
