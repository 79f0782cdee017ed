//! What a store of permits has promised to the window of a client, and when it is asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::Ticket;
use super::store::{Grant, PermitStore, PermitWindow};

/// A call that asks says so at least this often. If it does not, its future is not polled, and another asks.
pub(super) const LONGEST_ASKING: Duration = Duration::from_secs(1);

/// The shortest time before a call asks the store again.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The longest time that a store is believed: then it is asked again.
const LONGEST_TOLD: Duration = Duration::from_secs(24 * 3600);

/// The window in the store.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) store: Arc<dyn PermitStore>,
    pub(crate) window: PermitWindow,
}

/// A permit that the store has granted and no call has used yet.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) share: Share,
    pub(super) id: u128,
    /// When it is free.
    pub(super) at: Instant,
    /// When it was asked for, and how long after that it may be used.
    asked: Asked,
    send_within: Option<Duration>,
    /// Closed when the promise is used or given back.
    _is_open: oneshot::Sender<Infallible>,
}

/// A time by two clocks: that of the runtime stands still while the machine is suspended, and the system's may be set back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    at: Instant,
    by_system: SystemTime,
}

impl Asked {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), by_system: SystemTime::now() }
    }

    /// When this time will have passed since then, if nothing stands still.
    pub(super) fn after(&self, time: Duration) -> Option<Instant> {
        self.at.checked_add(time)
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).max(self.by_system.elapsed().unwrap_or_default())
    }
}

impl Promise {
    /// Whether it may still be used: the machine may have stood still, or no future was polled.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.send_within.is_none_or(|time| self.asked.elapsed(now) <= time)
    }

    /// Gives it back to the store: no call is sent with it.
    pub(super) fn withdraw(self) {
        let Share { store, window } = self.share;
        store.withdraw(&window, &[self.id]);
    }
}

/// What the store was asked, and has answered.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// In the order of their times. The first call in the queue has the first one.
    granted: VecDeque<Promise>,
    /// The call that is asking, and when it last said so.
    asking: Option<(Ticket, Instant)>,
    told: Option<Told>,
}

/// The store has answered that there is no permit before a time.
#[derive(Debug, Clone, Copy)]
struct Told {
    until: Instant,
    /// It was an urgent call that asked.
    is_urgent: bool,
}

impl Promises {
    /// How many calls have one.
    pub(super) fn len(&self) -> usize {
        self.granted.len()
    }

    pub(super) fn get(&self, ahead: usize) -> Option<&Promise> {
        self.granted.get(ahead)
    }

    /// Takes the one that is free first.
    pub(super) fn next(&mut self) -> Option<Promise> {
        self.granted.pop_front()
    }

    /// Takes this one, if no call has.
    pub(super) fn unused(&mut self, id: u128) -> Option<Promise> {
        let position = self.granted.iter().position(|promise| promise.id == id)?;
        self.granted.remove(position)
    }

    /// A promise is withdrawn, and with it what the store knows of the calls that were told to wait: they ask again.
    pub(super) fn forget_told(&mut self) {
        self.told = None;
    }

    /// The call that was told to wait has left, and another comes in its place: it may go before others whom that one would not.
    pub(super) fn ask_anew(&mut self, now: Instant) {
        if let Some(told) = &mut self.told {
            told.until = now;
        }
    }

    /// Before when the store has no more, as far as it has told.
    pub(super) fn told(&self) -> Option<Instant> {
        self.told.map(|told| told.until)
    }

    /// A call came that the store does not know of: an urgent one asks at once, though another was told to wait.
    pub(super) fn enter(&mut self, ticket: &Ticket, now: Instant) {
        if let Some(told) = self.told.as_mut().filter(|told| ticket.caller.is_urgent && !told.is_urgent) {
            told.until = now;
        }
    }

    /// Until when another call that asks is waited for.
    pub(super) fn answer_by(&self, now: Instant) -> Option<Instant> {
        self.asking.map(|(_, since)| since + LONGEST_ASKING).filter(|by| *by > now)
    }

    pub(super) fn ask(&mut self, ticket: &Ticket, now: Instant) {
        self.asking = Some((*ticket, now));
    }

    /// The future of the call that asks is polled.
    pub(super) fn still_asks(&mut self, ticket: &Ticket, now: Instant) {
        if let Some((_, since)) = self.asking.as_mut().filter(|(asking, _)| asking == ticket) {
            *since = now;
        }
    }

    /// The call does not ask any more.
    pub(super) fn asked(&mut self, ticket: &Ticket) {
        self.asking = self.asking.filter(|(asking, _)| asking != ticket);
    }

    /// Notes a grant. What it returns ends when it is used or given back.
    pub(super) fn granted(
        &mut self,
        share: Share,
        grant: Grant,
        asked: Asked,
        now: Instant,
    ) -> oneshot::Receiver<Infallible> {
        let (is_open, is_closed) = oneshot::channel();
        let Grant { id, send_after, send_within } = grant;
        let at = now + send_after.min(LONGEST_TOLD);
        let position = self.granted.partition_point(|other| other.at <= at);
        self.granted.insert(position, Promise { share, id, at, asked, send_within, _is_open: is_open });
        self.told = None;
        is_closed
    }

    pub(super) fn not_before(&mut self, ticket: &Ticket, pause: Duration, now: Instant) {
        let until = now + pause.clamp(SHORTEST_WAIT, LONGEST_TOLD);
        self.told = Some(Told { until, is_urgent: ticket.caller.is_urgent });
    }

    /// Nobody waits any more. Returns the permits that nobody has used, if the store is to be told.
    pub(super) fn withdraw(&mut self) -> Option<Vec<u128>> {
        let unused: Vec<_> = self.granted.drain(..).map(|promise| promise.id).collect();
        let is_expected = self.told.take().is_some();
        (is_expected || !unused.is_empty()).then_some(unused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::rate_limit::queue::{QueueCaller, Rank};

    /// All calls of the partner stand still without its session.
    #[test]
    fn an_urgent_call_asks_though_another_was_told_to_wait() {
        test_timeout::start();
        let now = Instant::now();
        let ticket = |is_urgent| Ticket {
            caller: QueueCaller { number: u64::from(is_urgent), is_urgent },
            rank: Rank { number: 0, began: now, due: None },
            number: 0,
        };
        let hour = Duration::from_secs(3600);
        for (told, comes, expected) in
            [(false, true, now), (true, true, now + hour), (false, false, now + hour), (true, false, now + hour)]
        {
            let mut promises = Promises::default();
            promises.not_before(&ticket(told), hour, now);
            promises.enter(&ticket(comes), now);
            assert_eq!(promises.told(), Some(expected), "{told} {comes}");
        }
    }
}
