//! How an operation is ended early.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Ends a [`Bulk`](crate::Bulk) operation early: no further row begins, and none is tried again. Clones are of the same operation.
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

    pub(super) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for this long; says whether the end has begun meanwhile.
    pub(super) async fn within(&self, pause: Duration) -> bool {
        let mut begun = self.0.subscribe();
        let begun = begun.wait_for(|begun| *begun);
        timeout(pause, begun).await.is_ok()
    }
}
