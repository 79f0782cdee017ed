//! Who is next, by the queue, the limit, and the session of the partner.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::announcements::{Announcements, Others};
use super::forecast::{Forecast, Renewals};
use super::queue::{EntryState, Next, Preparation, SessionQueue, Standing};
use crate::operation::Operation;
use crate::sync::lock;
use crate::transport::rate_limit::RateLimits;

/// For how long a future that has its turn, or could have it, may not be polled before others go.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The same of one that is still being prepared: others are ready.
const PATIENCE_WITH_UNPREPARED: Duration = Duration::from_secs(5);

/// For how long one that could go leaves the turn to a session of another client that goes before it, but is not ready perhaps.
const COURTESY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Order {
    pub(super) limits: Arc<RateLimits>,
    /// The longest time that a session takes to be opened when it has its turn.
    pub(super) longest: Duration,
    /// If other clients share the limits.
    pub(super) announcements: Option<Announcements>,
    pub(super) state: Mutex<OrderState>,
}

#[derive(Debug, Default)]
pub(super) struct OrderState {
    pub(super) queue: SessionQueue,
    /// How often the session of the partner is being opened. No other has its turn meanwhile.
    pub(super) partners: usize,
    /// When the session of the partner is to be opened again, if that is known.
    pub(super) renewals: Option<Renewals>,
    /// How long the last session took that was opened.
    pub(super) exchange: Duration,
    /// The one that is next, and since when it could have gone.
    pub(super) head: Option<(u64, Option<Instant>)>,
    /// Nobody has a turn before this: bunq has refused sessions for their rate.
    pub(super) paused_until: Option<Instant>,
    /// What other clients have waiting, as far as is known.
    pub(super) others: Others,
    /// Nobody is left who acts for users: none of their sessions has a turn any more.
    pub(super) is_closed: bool,
}

impl Order {
    /// Tells the other clients what has changed.
    pub(super) fn announce(&self) {
        if let Some(announcements) = &self.announcements {
            announcements.changed.notify_one();
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, OrderState> {
        lock(&self.state)
    }
}

impl OrderState {
    /// Notes what other clients have waiting.
    pub(super) fn hear(&mut self, order: &Order, others: Others) {
        let now = Instant::now();
        self.others = others;
        self.mark_late(order, now);
        self.choose(order, now);
        self.wake(self.head.map(|(head, _)| head));
    }

    pub(super) fn forecast<'a>(&self, order: &'a Order, now: Instant) -> Forecast<'a> {
        let going = self.queue.going() + self.partners;
        // Those that go have reached the limit, or will do so soon.
        let before = going.saturating_sub(order.limits.in_progress(&Operation::CREATE_SESSION));
        let renewals = self.renewals.and_then(|renewals| renewals.from(now, self.partners > 0));
        let not_before = self.paused_until.map_or(now, |until| until.max(now));
        let has_room = self.others.has_room.unwrap_or(now);
        Forecast { limits: &order.limits, now, not_before, has_room, before, exchange: self.exchange, renewals }
    }

    pub(super) fn mark_late(&mut self, order: &Order, now: Instant) {
        // That one was slow says nothing of the others: what can still be in time is not given up.
        // Of other clients, one that has a permit is among those that wait, and is not counted twice.
        let forecast = Forecast { exchange: Duration::ZERO, has_room: now, ..self.forecast(order, now) };
        self.queue.mark_late(now, &mut self.others.deadlines, |ahead| forecast.turn(ahead));
    }

    /// When the next session can be opened, as far as that is known; not after `now` if that is at once.
    pub(super) fn opens(&mut self, order: &Order, now: Instant) -> Instant {
        let has_room = self.others.has_room.unwrap_or(now);
        let told = self.head.and_then(|(head, _)| self.queue.get(head)?.no_permit_before);
        let turn = order.limits.turn(&Operation::CREATE_SESSION, now, 0, has_room);
        turn.max(self.paused_until).max(told).unwrap_or(now)
    }

    /// Until when the one that is next gives way to another client, one of whose sessions goes before it.
    pub(super) fn gives_way(&mut self, now: Instant) -> Option<Instant> {
        let (ticket, could_go) = self.head?;
        let entry = self.queue.get(ticket)?;
        // The store has told each of those that have asked when to come back, and who goes first then.
        if entry.no_permit_before.is_some() {
            return None;
        }
        let Standing { is_last, deadline, .. } = entry.standing;
        let goes_first = self.others.deadlines.iter().any(|other| is_last || *other < deadline);
        goes_first.then(|| could_go.unwrap_or(now) + COURTESY)
    }

    /// Tells the one that is next that it is, and the one that is to be prepared.
    pub(super) fn choose(&mut self, order: &Order, now: Instant) {
        if let Some(before) = now.checked_sub(order.longest + PATIENCE) {
            self.queue.take_back(before);
        }
        let room = order.limits.at_once(&Operation::CREATE_SESSION).unwrap_or(usize::MAX);
        let is_free = self.partners == 0 && self.queue.going() < room;
        let next = match self.queue.next() {
            Next::Session(ticket) | Next::Look(ticket) if is_free => Some(ticket),
            _ => None,
        };
        if self.head.map(|(head, _)| head) != next {
            self.head = next.map(|next| (next, None));
            self.wake(next);
            if self.patience() < PATIENCE {
                self.queue.wake_all();
            }
        }
        self.wake(self.queue.next_to_prepare());
    }

    pub(super) fn wake(&mut self, ticket: Option<u64>) {
        if let Some(entry) = ticket.and_then(|ticket| self.queue.get(ticket)) {
            entry.wake.notify_one();
        }
    }

    /// For how long the others wait for the one that is next.
    pub(super) fn patience(&mut self) -> Duration {
        let next = self.head.and_then(|(head, _)| self.queue.get(head));
        match next.map(|next| next.preparation) {
            Some(Preparation::Needed | Preparation::IsGoing(_)) => PATIENCE_WITH_UNPREPARED,
            Some(Preparation::IsOver) | None => PATIENCE,
        }
    }

    /// Passes over the next if it could have gone for long: its future is not polled, or what it needs is not made.
    pub(super) fn watch(&mut self, order: &Order, now: Instant) {
        let Some((ticket, could_go)) = self.head else {
            // Whoever goes may not be polled.
            self.choose(order, now);
            return;
        };
        let is_open = self.opens(order, now) <= now;
        let patience = self.patience();
        match could_go {
            Some(since) if is_open && since + patience <= now => {
                if let Some(entry) = self.queue.get(ticket) {
                    entry.state = EntryState::IsPassedOver;
                }
                self.choose(order, now);
            }
            Some(_) if is_open => {}
            _ => {
                self.head = Some((ticket, is_open.then_some(now)));
                if is_open && !self.others.deadlines.is_empty() {
                    // One of another client may have gone since that was heard.
                    order.announce();
                }
            }
        }
    }
}
