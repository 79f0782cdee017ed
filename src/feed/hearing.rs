//! Whether bunq's calls tell what changes. While they do, waiters poll as a safety net alone.
//!
//! Whether somebody hears calls is the same for all feeds of a client and of its users. Whether calls come is known of each feed alone:
//! provisions may have a filter where the onboardings of a user have none.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select;
use tokio::sync::watch;

/// What a feed knows of bunq's calls. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Hearing {
    /// Those of all guards. Without a guard, nobody hears calls.
    net_intervals: Arc<watch::Sender<Vec<Duration>>>,
    /// Of the changes that a call or a poll was the first to tell, the last was told by a call.
    calls_come: Arc<watch::Sender<bool>>,
}

/// How often the waiters of a feed poll.
#[derive(Debug)]
pub(super) struct Mode {
    net_intervals: watch::Receiver<Vec<Duration>>,
    calls_come: watch::Receiver<bool>,
}

impl Mode {
    /// The longest pause between two polls of a waiter that polls once in `usual` if nobody hears calls.
    pub(super) fn poll_interval(&mut self, usual: Duration) -> Duration {
        let calls_come = *self.calls_come.borrow_and_update();
        match self.net_intervals.borrow_and_update().iter().min() {
            Some(net) if calls_come => usual.max(*net),
            _ => usual,
        }
    }

    /// Waits until it may be another.
    pub(super) async fn changed(&mut self) {
        let (net_intervals, calls_come) = (self.net_intervals.changed(), self.calls_come.changed());
        select(pin!(net_intervals), pin!(calls_come)).await;
    }
}

/// While it lives, calls are heard.
#[cfg(feature = "webhook")]
#[derive(Debug)]
pub(crate) struct HearingGuard {
    net_intervals: Arc<watch::Sender<Vec<Duration>>>,
    net_interval: Duration,
}

impl Hearing {
    /// What a feed knows whose objects are told by the filters of the partner: once somebody hears calls, they are expected to come.
    pub(super) fn of_partner() -> Self {
        Self { net_intervals: Arc::default(), calls_come: Arc::new(watch::Sender::new(true)) }
    }

    /// What the feed of a user knows, whose filters may be missing: calls are not expected until one has told a change.
    pub(super) fn of_user(&self) -> Self {
        Self { net_intervals: Arc::clone(&self.net_intervals), calls_come: Arc::default() }
    }

    /// Has waiters poll once in `net_interval` alone, or less often if that is their own interval, as long as the guard lives and calls
    /// come. Several guards have the shortest of their intervals.
    #[cfg(feature = "webhook")]
    pub(crate) fn begin(&self, net_interval: Duration) -> HearingGuard {
        self.net_intervals.send_modify(|intervals| intervals.push(net_interval));
        HearingGuard { net_intervals: Arc::clone(&self.net_intervals), net_interval }
    }

    /// Whether somebody hears calls.
    pub(super) fn is_begun(&self) -> bool {
        !self.net_intervals.borrow().is_empty()
    }

    /// The mode, and each change of it.
    pub(super) fn mode(&self) -> Mode {
        Mode { net_intervals: self.net_intervals.subscribe(), calls_come: self.calls_come.subscribe() }
    }

    /// A call was the first to tell a change.
    pub(super) fn has_come(&self) {
        if self.is_begun() && self.calls_come.send_if_modified(|come| !std::mem::replace(come, true)) {
            tracing::debug!("calls come: waiters poll as a safety net alone");
        }
    }

    /// A poll has shown a change whose call has not come.
    pub(super) fn has_missed(&self) {
        if self.is_begun() && self.calls_come.send_if_modified(std::mem::take) {
            tracing::debug!("the call of a change has not come: waiters poll at their usual interval until calls come");
        }
    }
}

#[cfg(feature = "webhook")]
impl Drop for HearingGuard {
    fn drop(&mut self) {
        self.net_intervals.send_modify(|intervals| {
            if let Some(place) = intervals.iter().position(|other| *other == self.net_interval) {
                intervals.swap_remove(place);
            }
        });
    }
}
