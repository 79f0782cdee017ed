//! Hands on what has changed, as it was read over the verified API.
//!
//! A call is a hint. It is taken from the journal ([`intake`]), and asks for an object, of which [`objects`] knows when it may be read
//! and what may be handed on. It is read ([`reads`]), its [`version`] is held against what was handed on before, and its mark is kept in the
//! journal. Then whoever takes changes gets it, and until it is done, its entries stay in the journal. A [`look`] finds what no
//! call has told. One task does all of that ([`worker`]).

mod builder;
mod change;
mod changed_object;
mod intake;
mod look;
mod numbers;
mod object;
mod objects;
mod outcomes;
mod reads;
mod sessions;
mod shared;
#[cfg(test)]
mod tests;
mod unconfirmed;
mod unlisted;
mod version;
mod worker;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tracing::Span;

pub use self::builder::ChangesBuilder;
pub use self::change::Change;
pub use self::changed_object::ChangedObject;
pub use self::numbers::ChangesNumbers;
use self::objects::Given;
use self::shared::Shared;
use self::worker::Worker;
use crate::feed::HearingGuard;
use crate::notifications::Notifications;
use crate::provisions::Provisions;
use crate::sync::lock;
use crate::transport::runtime;
use crate::transport::shutdown::Gate;
use crate::types::Secret;
use crate::users::Users;

/// What a client has that changes need.
pub(crate) struct Bank {
    pub(crate) provisions: Provisions,
    pub(crate) users: Users,
    pub(crate) notifications: Notifications,
    pub(crate) gate: Gate,
    pub(crate) api_key: Secret,
}

/// Yields what has changed at bunq, as it was read over the verified API: see [`Client::changes`](crate::Client::changes).
///
/// It ends with the [shutdown](crate::ClientBuilder::shutdown) of the client. Dropping it ends its task; what is not done stays in the
/// journal. The task belongs to the runtime in which it was started; when that has ended, the next poll starts it in its own.
#[must_use = "changes are handed on to whoever polls this stream"]
pub struct Changes {
    worker: Arc<Worker>,
    /// `None` after its end.
    task: Option<JoinHandle<()>>,
    _place: OwnedSemaphorePermit,
    _hearing: HearingGuard,
}

impl Changes {
    fn new(worker: Worker, place: OwnedSemaphorePermit, hearing: HearingGuard) -> Self {
        let worker = Arc::new(worker);
        let task = Some(spawn(&worker));
        Self { worker, task, _place: place, _hearing: hearing }
    }

    /// What was done since the start.
    pub fn numbers(&self) -> ChangesNumbers {
        let Shared { journal, objects, .. } = &*self.worker.shared;
        ChangesNumbers { expired: journal.expired(), ..lock(objects).numbers() }
    }
}

fn spawn(worker: &Arc<Worker>) -> JoinHandle<()> {
    runtime::spawn(Span::current(), Box::pin(Arc::clone(worker).run()))
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        loop {
            let shared = &self.worker.shared;
            shared.taker.register(context.waker());
            if let Some(Given { key, object }) = shared.take() {
                return Poll::Ready(Some(Change::new(object, Arc::clone(shared), key)));
            }
            let Some(task) = &mut self.task else { return Poll::Ready(None) };
            let ended = ready!(Pin::new(task).poll(context));
            self.task = match ended {
                // Its runtime has ended.
                Err(error) if error.is_cancelled() && runtime::check().is_ok() => Some(spawn(&self.worker)),
                Err(error) => {
                    tracing::error!(%error, "changes are not handed on any more: their task was aborted");
                    None
                }
                Ok(()) => None,
            };
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        lock(&self.worker.shared.objects).measure();
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("numbers", &self.numbers()).finish_non_exhaustive()
    }
}
