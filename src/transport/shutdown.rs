//! The end of a client, or of a part of its work: from then on no request leaves.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::select;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::Error;
use crate::operation::Operation;

/// How long the responses to requests on the wire are waited for. Containers are killed ten seconds after they were asked to end.
const LAST_RESPONSES: Duration = Duration::from_secs(5);

/// Ends a [`Bulk`](crate::Bulk) operation early, or all that a [client](crate::ClientBuilder::shutdown) does: after
/// [`begin`](Self::begin) no further request begins. Clones are the same handle.
///
/// A call that waits, for its turn within the rate limit, for a session or for another attempt, gives its turn back at once. Of a bulk
/// operation,
///
/// - reads and searches are dropped, also on the wire;
/// - the requests of rows that are on the wire have five seconds to be answered, and their responses count;
/// - a row whose outcome is not known then is [`Unfinished`](crate::RowState::Unfinished). It is
///   [in doubt](crate::RowRecord::is_in_doubt) only if a request for it has left, and may have been carried out.
///
/// So its stream ends within five seconds, and at once if no request is on the wire. Another run with the same journal goes on.
///
/// ```no_run
/// # async fn example(bulk: bunq_partner::Bulk) {
/// let shutdown = bunq_partner::Shutdown::default();
/// let rows = bulk.shutdown(&shutdown).stream();
/// tokio::spawn(async move {
///     // When the process is asked to end:
///     shutdown.begin();
/// });
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Shutdown {
    /// Begins the end.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether the end has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the end has begun.
    pub async fn begun(&self) {
        // The sender is not dropped before.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }
}

/// What each request passes before it leaves, until a shutdown. Clones are the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    client: Shutdown,
    /// That of a part of the client's work.
    part: Shutdown,
    /// How many requests are on the wire.
    on_wire: watch::Sender<u32>,
    may_have_run: AtomicBool,
}

impl Gate {
    /// The gate of a client.
    pub(crate) fn of_client(client: &Shutdown) -> Self {
        Self::new(client, client)
    }

    /// The gate of a part of the work behind this one.
    pub(crate) fn of_part(&self, part: &Shutdown) -> Self {
        Self::new(&self.0.client, part)
    }

    fn new(client: &Shutdown, part: &Shutdown) -> Self {
        let (client, part) = (client.clone(), part.clone());
        let (on_wire, may_have_run) = (watch::Sender::new(0), AtomicBool::new(false));
        Self(Arc::new(GateState { client, part, on_wire, may_have_run }))
    }

    /// Waits until no request may leave any more.
    pub(crate) async fn shut(&self) {
        select(pin!(self.0.client.begun()), pin!(self.0.part.begun())).await;
    }

    /// Waits until no request may leave any more, and then until none is on the wire, or those that are have had their time.
    pub(crate) async fn emptied(&self) {
        self.shut().await;
        let mut on_wire = self.0.on_wire.subscribe();
        let _ = timeout(LAST_RESPONSES, on_wire.wait_for(|count| *count == 0)).await;
    }

    /// A request leaves.
    pub(super) fn pass(&self, operation: &'static Operation) -> OnWire {
        self.0.on_wire.send_modify(|count| *count += 1);
        OnWire { gate: self.clone(), operation, is_refused: false }
    }

    /// Whether a request that must not run twice has left, and may have been carried out.
    pub(crate) fn may_have_run(&self) -> bool {
        self.0.may_have_run.load(Ordering::Relaxed)
    }
}

/// A request that has left. If it is dropped, its outcome is unknown.
#[derive(Debug)]
pub(super) struct OnWire {
    gate: Gate,
    operation: &'static Operation,
    /// bunq has surely not carried it out.
    is_refused: bool,
}

impl OnWire {
    /// The exchange is over.
    pub(super) fn ended<T>(mut self, exchange: &Result<T, Error>) {
        self.is_refused = exchange.as_ref().is_err_and(|error| !error.is_doubtful());
    }
}

impl Drop for OnWire {
    fn drop(&mut self) {
        let GateState { on_wire, may_have_run, .. } = &*self.gate.0;
        if !self.is_refused && !self.operation.idempotent {
            may_have_run.store(true, Ordering::Relaxed);
        }
        on_wire.send_modify(|count| *count -= 1);
    }
}
