//! The runtime that a call runs in.

use tokio::runtime::{Handle, Id};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, Span};

use super::credentials::BoxFuture;
use crate::error::Error;

/// Refuses a call outside of a Tokio runtime, where its timers and connections would panic. Tokio does not tell whether
/// a runtime has timers and I/O enabled; without them it panics, and says what to enable.
pub(crate) fn check() -> Result<(), Error> {
    current().map(drop)
}

/// The id of the current runtime. Calls in different runtimes share everything except tasks and connections, which end
/// with their runtime and make no progress while it is not run.
pub(crate) fn current() -> Result<Id, Error> {
    let problem = "there is no Tokio runtime here: call it within `#[tokio::main]`, or within the `block_on` of a runtime that is built with `enable_all`";
    Handle::try_current().map(|runtime| runtime.id()).map_err(|_| Error::internal(problem))
}

/// Starts a task in the current runtime, within a span. It is boxed, because each type of future that is spawned has all that is a
/// task compiled for it.
pub(crate) fn spawn<T: Send + 'static>(span: Span, task: BoxFuture<'static, T>) -> JoinHandle<T> {
    tokio::spawn(task.instrument(span))
}
