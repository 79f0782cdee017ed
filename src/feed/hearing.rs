//! Whether bunq's calls tell what changes. While they do, waiters poll as a safety net alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// What is known of bunq's calls, for all waiters of a client and of its users. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hearing(Arc<watch::Sender<Mode>>);

/// How often waiters poll.
#[derive(Debug, Default)]
pub(super) struct Mode {
    /// Those of all guards. Without a guard, nobody hears calls.
    net_intervals: Vec<Duration>,
    /// A poll has found a change whose call has not come, and no call has told a change since.
    has_missed: bool,
}

impl Mode {
    /// The longest pause between two polls of a waiter that polls once in `usual` if nobody hears calls.
    pub(super) fn poll_interval(&self, usual: Duration) -> Duration {
        match self.net_intervals.iter().min() {
            Some(net) if !self.has_missed => usual.max(*net),
            _ => usual,
        }
    }
}

/// While it lives, calls are heard.
#[cfg(feature = "webhook")]
#[derive(Debug)]
pub(crate) struct HearingGuard {
    hearing: Hearing,
    net_interval: Duration,
}

impl Hearing {
    /// Has waiters poll once in `net_interval` alone, or less often if that is their own interval, as long as the guard lives and calls
    /// come. Several guards have the shortest of their intervals.
    #[cfg(feature = "webhook")]
    pub(crate) fn begin(&self, net_interval: Duration) -> HearingGuard {
        self.0.send_modify(|mode| mode.net_intervals.push(net_interval));
        HearingGuard { hearing: self.clone(), net_interval }
    }

    /// Whether somebody hears calls.
    pub(super) fn is_begun(&self) -> bool {
        !self.0.borrow().net_intervals.is_empty()
    }

    /// The mode, and each change of it.
    pub(super) fn modes(&self) -> watch::Receiver<Mode> {
        self.0.subscribe()
    }

    /// A call was the first to tell a change.
    pub(super) fn has_come(&self) {
        if self.0.send_if_modified(|mode| std::mem::take(&mut mode.has_missed)) {
            tracing::debug!("calls come again: waiters poll as a safety net alone");
        }
    }

    /// A poll has shown a change whose call has not come.
    pub(super) fn has_missed(&self) {
        let is_new = |mode: &mut Mode| !mode.net_intervals.is_empty() && !std::mem::replace(&mut mode.has_missed, true);
        if self.0.send_if_modified(is_new) {
            tracing::debug!("the call of a change has not come: waiters poll at their usual interval until calls come");
        }
    }
}

#[cfg(feature = "webhook")]
impl Drop for HearingGuard {
    fn drop(&mut self) {
        self.hearing.0.send_modify(|mode| {
            if let Some(place) = mode.net_intervals.iter().position(|other| *other == self.net_interval) {
                mode.net_intervals.swap_remove(place);
            }
            mode.has_missed &= !mode.net_intervals.is_empty();
        });
    }
}
