//! The calls that wait in one window, in their order: turn by turn among the callers, first come first served within each.
//!
//! A caller that has had its turn goes behind all others, so a thousand calls of one caller delay those of another by one. It keeps
//! no books: a caller without a waiting call is not known here.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long after its turn a future may be polled before it is passed over.
pub(super) const GRACE: Duration = Duration::from_millis(50);

/// The order of calls that share their limits: a lower rank began earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(super) number: u64,
    pub(super) began: Instant,
    /// By when the session must be open that the call opens, if it is a user's. It orders the calls of several clients.
    pub(super) due: Option<Instant>,
}

impl Rank {
    /// The rank of a call that opens a session, which must be open by then.
    pub(crate) fn due(self, by: Option<Instant>) -> Self {
        Self { due: by, ..self }
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueCaller {
    /// Identifies the caller.
    pub(super) number: u64,
    /// Its calls go before those of all callers that are not urgent.
    pub(super) is_urgent: bool,
}

/// A place in the queue: the caller, the rank of the call, and a number that is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) caller: QueueCaller,
    pub(super) rank: Rank,
    pub(super) number: u64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// One for each caller with waiting calls, in the order of their turns.
    lines: Vec<Line>,
    /// How often a caller has come into the order.
    entries: u64,
}

/// The waiting calls of one caller.
#[derive(Debug)]
struct Line {
    caller: QueueCaller,
    since: Since,
    /// The calls in their order, with the estimated turn of each.
    waiting: VecDeque<(Ticket, Instant)>,
}

/// Since when a caller waits for its turn, and a number that is unique.
type Since = (Instant, u64);

impl Line {
    fn position(&self, ticket: &Ticket) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&(ticket.rank, ticket.number), |(other, _)| (other.rank, other.number))
    }

    /// The calls that come before `position`, without those that were not polled when their turn came.
    fn coming(&self, position: usize, now: Instant) -> impl Iterator<Item = &(Ticket, Instant)> {
        self.waiting.iter().take(position).filter(move |(_, turn)| *turn + GRACE > now)
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn index(&self, caller: QueueCaller) -> Option<usize> {
        self.lines.iter().position(|line| line.caller == caller)
    }

    /// The line of a call, and its position there.
    fn find(&self, ticket: &Ticket) -> Option<(usize, usize)> {
        let index = self.index(ticket.caller)?;
        Some((index, self.lines[index].position(ticket).ok()?))
    }

    /// Adds a call. `is_retry` if it has been sent from this queue before: its caller then waits since the call began.
    pub(super) fn enter(&mut self, ticket: Ticket, is_retry: bool, now: Instant) {
        self.entries += 1;
        let since = if is_retry { (ticket.rank.began, 0) } else { (now, self.entries) };
        let mut line = match self.index(ticket.caller) {
            None => Line { caller: ticket.caller, since, waiting: VecDeque::new() },
            Some(index) => self.lines.remove(index),
        };
        line.since = line.since.min(since);
        if let Err(position) = line.position(&ticket) {
            line.waiting.insert(position, (ticket, now));
        }
        self.insert(line);
    }

    fn insert(&mut self, line: Line) {
        let order = |line: &Line| (!line.caller.is_urgent, line.since);
        let place = self.lines.partition_point(|other| order(other) <= order(&line));
        self.lines.insert(place, line);
    }

    /// How many calls go before this one.
    pub(super) fn ahead(&self, ticket: &Ticket, now: Instant) -> usize {
        let Some((index, position)) = self.find(ticket) else { return 0 };
        let own = self.lines[index].coming(position, now).count();
        self.ahead_of(ticket.caller, index, own, now)
    }

    /// How many calls would go before one of this caller that came now.
    pub(super) fn ahead_of_next(&self, caller: QueueCaller, now: Instant) -> usize {
        let index = self.index(caller);
        let own = index.map_or(0, |index| self.lines[index].coming(usize::MAX, now).count());
        self.ahead_of(caller, index.unwrap_or(self.lines.len()), own, now)
    }

    /// The number of all waiting calls.
    pub(super) fn coming(&self, now: Instant) -> usize {
        self.lines.iter().map(|line| line.coming(usize::MAX, now).count()).sum()
    }

    /// How many calls go before one of the caller at `index`, which has `own` before it of its own.
    fn ahead_of(&self, caller: QueueCaller, index: usize, own: usize, now: Instant) -> usize {
        let others = self.lines.iter().enumerate().filter(|(place, _)| *place != index).map(|(place, other)| {
            let turns = match (other.caller.is_urgent, caller.is_urgent) {
                (true, false) => usize::MAX,
                (false, true) => 0,
                // As many turns as this caller has until then.
                _ => own + usize::from(place < index),
            };
            other.coming(usize::MAX, now).take(turns).count()
        });
        own + others.sum::<usize>()
    }

    /// Notes the estimated turn of a call.
    pub(super) fn note_turn(&mut self, ticket: &Ticket, turn: Instant) {
        if let Some((index, position)) = self.find(ticket) {
            self.lines[index].waiting[position].1 = turn;
        }
    }

    /// Removes a call that has its turn. Its caller goes behind the others.
    pub(super) fn serve(&mut self, ticket: &Ticket, now: Instant) {
        let Some((index, position)) = self.find(ticket) else { return };
        let mut line = self.lines.remove(index);
        line.waiting.remove(position);
        if !line.waiting.is_empty() {
            self.entries += 1;
            line.since = (now, self.entries);
            self.insert(line);
        }
    }

    /// Removes a call, if it still waits. Returns whether the turns of other calls may come earlier.
    pub(super) fn remove(&mut self, ticket: &Ticket) -> bool {
        let Some((index, position)) = self.find(ticket) else { return false };
        let waiting = &mut self.lines[index].waiting;
        waiting.remove(position);
        let has_later = position < waiting.len();
        if waiting.is_empty() {
            self.lines.remove(index);
        }
        // Others have the call before them if they have as many turns.
        let moves_up = |other: &Line| match (ticket.caller.is_urgent, other.caller.is_urgent) {
            (true, false) => true,
            (false, true) => false,
            _ => other.caller != ticket.caller && other.waiting.len() > position,
        };
        has_later || self.lines.iter().any(moves_up)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A caller, a rank, and whether the call is a retry.
    type Call = (u64, u64, bool);

    fn calls() -> impl Strategy<Value = Vec<Call>> {
        proptest::collection::vec((0_u64..6, 0_u64..40, proptest::bool::weighted(0.1)), 1..60)
    }

    fn queue_of(calls: Vec<Call>) -> (Queue, Vec<Ticket>, Instant) {
        let began = Instant::now();
        let (now, mut queue) = (began + Duration::from_secs(1), Queue::default());
        let enter = |(number, (caller, rank, is_retry))| {
            let caller = QueueCaller { number: caller, is_urgent: caller == 0 };
            let rank = Rank { number: rank, began: began + Duration::from_millis(rank), due: None };
            let ticket = Ticket { caller, rank, number };
            queue.enter(ticket, is_retry, now);
            ticket
        };
        let tickets = (0..).zip(calls).map(enter).collect();
        (queue, tickets, now)
    }

    proptest! {
        /// Where a call is said to be in the order is where it goes, whoever calls, and whether some are retries.
        #[test]
        fn the_order_is_as_estimated(calls in calls()) {
            test_timeout::start();
            let (mut queue, tickets, now) = queue_of(calls);
            let estimated: Vec<_> = tickets.iter().map(|ticket| queue.ahead(ticket, now)).collect();
            let mut went = vec![0; tickets.len()];
            for turn in 0..tickets.len() {
                let is_next = |ticket: &&Ticket| queue.find(ticket).is_some() && queue.ahead(ticket, now) == 0;
                let next: Vec<_> = tickets.iter().filter(is_next).copied().collect();
                prop_assert_eq!(next.len(), 1);
                queue.serve(&next[0], now);
                went[next[0].number as usize] = turn;
            }
            prop_assert_eq!(estimated, went);
            prop_assert!(queue.is_empty());
        }

        /// Others are woken if a call that leaves lets them go earlier.
        #[test]
        fn who_moves_up_is_told(calls in calls()) {
            test_timeout::start();
            let (mut queue, tickets, now) = queue_of(calls);
            for (position, left) in tickets.iter().enumerate() {
                let ahead = |queue: &Queue| tickets[position + 1..].iter().map(|ticket| queue.ahead(ticket, now)).sum::<usize>();
                let before = ahead(&queue);
                let is_told = queue.remove(left);
                prop_assert!(is_told || ahead(&queue) == before);
                prop_assert!(!queue.remove(left));
            }
        }
    }
}
