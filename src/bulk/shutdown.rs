//! How an operation is ended early.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Ends a [`Bulk`](crate::Bulk) operation early: no further row begins, and none is tried again. Clones are of the same
/// operation.
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
    /// Begins the end. The stream of the operation ends when the rows in progress have ended.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether the end has begun: by [`begin`](Self::begin), or because something keeps every row from succeeding.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the end has begun.
    pub async fn begun(&self) {
        // The sender is not dropped before.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }

    /// Waits for this long; says whether the end has begun meanwhile.
    pub(super) async fn within(&self, pause: Duration) -> bool {
        timeout(pause, self.begun()).await.is_ok()
    }
}
