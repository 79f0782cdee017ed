//! Which feed reads for its nudges next, and when. The feeds of a client and of its users take turns, so that all of them together take one
//! share of the rate limit.
//!
//! Every other turn is the partner's, if it waits for one: a page of its provisions answers many nudges, and a flood about users does
//! not hold them up. Users take theirs in the order in which they came; who has had a turn goes behind the others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::sync::lock;

/// How long after its turn a worker may be polled before it is passed over: its runtime may not be run.
const GRACE: Duration = Duration::from_millis(50);

/// Longer than any call, and short enough for the clock.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The turns as one feed takes them.
#[derive(Debug)]
pub(super) struct NudgeTurns {
    /// The share of the rate limit that they may take.
    share: f64,
    is_partner: bool,
    order: Arc<Mutex<Order>>,
}

#[derive(Debug, Default)]
struct Order {
    /// From when the first of those that wait may take its turn; `None` if that is at once.
    opens_at: Option<Instant>,
    waiting: VecDeque<Waiting>,
    last_number: u64,
    /// The last turn was the partner's.
    was_partner: bool,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    wake: Arc<Notify>,
}

/// A place among those that wait for a turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    turns: &'a NudgeTurns,
    number: u64,
    wake: Arc<Notify>,
}

impl Order {
    fn position(&self, number: u64) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.number == number)
    }

    /// When the one at this position may take its turn if those before it do not.
    fn turn(&self, position: usize, now: Instant) -> Instant {
        self.opens_at.unwrap_or(now) + GRACE * u32::try_from(position).unwrap_or(u32::MAX)
    }

    /// Another may be the first from now on. Returns what wakes it.
    fn has_moved(&mut self, now: Instant) -> Option<Arc<Notify>> {
        self.opens_at = self.opens_at.max(Some(now));
        self.waiting.front().map(|first| Arc::clone(&first.wake))
    }
}

impl NudgeTurns {
    /// Those of a partner.
    pub(super) fn new(share: f64) -> Self {
        Self { share, is_partner: true, order: Arc::default() }
    }

    /// The same for the feed of a user.
    pub(super) fn of_user(&self) -> Self {
        Self { share: self.share, is_partner: false, order: Arc::clone(&self.order) }
    }

    /// Goes behind all others; as a partner before them, or behind the first if the turn before was its own.
    pub(super) fn enter(&self) -> Place<'_> {
        let (mut order, wake) = (lock(&self.order), Arc::new(Notify::new()));
        order.last_number += 1;
        let (number, last) = (order.last_number, order.waiting.len());
        let position = if self.is_partner { last.min(order.was_partner.into()) } else { last };
        order.waiting.insert(position, Waiting { number, wake: Arc::clone(&wake) });
        if position == 0 {
            order.has_moved(Instant::now());
        }
        Place { turns: self, number, wake }
    }
}

impl Place<'_> {
    /// Waits for the turn. It is not taken yet: until then, another may be.
    pub(super) async fn reached(&self) {
        loop {
            let Some(turn) = self.comes_at() else { return };
            // It may come earlier or later meanwhile.
            let _ = timeout_at(turn, self.wake.notified()).await;
        }
    }

    /// When the turn comes if those before it do not take theirs; `None` if that is now.
    fn comes_at(&self) -> Option<Instant> {
        let (order, now) = (lock(&self.turns.order), Instant::now());
        Some(order.turn(order.position(self.number)?, now)).filter(|turn| *turn > now)
    }

    /// Takes the turn for a read, of which the rate limit allows one `per_read`. Returns whether it could.
    pub(super) fn take(self, per_read: Duration) -> bool {
        let now = Instant::now();
        let mut order = lock(&self.turns.order);
        let position = order.position(self.number).filter(|position| order.turn(*position, now) <= now);
        let Some(position) = position else { return false };
        // Those before it were not polled in time.
        order.waiting.rotate_left(position);
        order.waiting.pop_front();
        order.was_partner = self.turns.is_partner;
        let pause = Duration::try_from_secs_f64(per_read.as_secs_f64() / self.turns.share);
        order.opens_at = Some(now + pause.unwrap_or(MAX_PAUSE).min(MAX_PAUSE));
        let first = order.has_moved(now);
        drop(order);
        wake(first);
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut order = lock(&self.turns.order);
        let Some(position) = order.position(self.number) else { return };
        order.waiting.remove(position);
        let first = if position == 0 { order.has_moved(Instant::now()) } else { None };
        drop(order);
        wake(first);
    }
}

/// Wakes a worker, which may be of another runtime.
fn wake(first: Option<Arc<Notify>>) {
    if let Some(first) = first {
        first.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep_until;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What has taken the turns in their order, and how long each took. All wait again and again.
    async fn taken(feeds: &[(&'static str, &NudgeTurns)], time: Duration) -> Vec<(&'static str, Duration)> {
        let (start, taken) = (Instant::now(), Mutex::new(Vec::new()));
        let all = feeds.iter().map(async |(name, turns)| {
            while start.elapsed() < time {
                let place = turns.enter();
                place.reached().await;
                assert!(place.take(SECOND));
                lock(&taken).push((*name, start.elapsed()));
            }
        });
        futures_util::future::join_all(all).await;
        taken.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn feeds_share_one_share_turn_by_turn() {
        test_timeout::start();
        let partner = NudgeTurns::new(0.5);
        let users = [(); 3].map(|()| partner.of_user());
        let names = ["first", "second", "third", "partner"];
        let [first, second, third] = &users;
        let feeds: Vec<_> = names.into_iter().zip([first, second, third, &partner]).collect();
        let taken = taken(&feeds, 17 * SECOND).await;
        let order: Vec<_> = taken.iter().take(9).map(|(name, _)| *name).collect();
        let [first, second, third, partner] = names;
        // The first has had its first turn before the others came.
        assert_eq!(order, [first, partner, first, partner, second, partner, third, partner, first]);
        let times = taken.iter().take(9).map(|(_, at)| at.as_secs());
        assert!(times.eq((0..9).map(|turn| 2 * turn)), "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_leaves_or_is_not_polled_holds_up_no_other() {
        test_timeout::start();
        let turns = NudgeTurns::new(1.0);
        let user = turns.of_user();
        let (gone, frozen, last) = (user.enter(), user.enter(), user.enter());
        drop(gone);
        let start = Instant::now();
        last.reached().await;
        assert!((GRACE..2 * GRACE).contains(&start.elapsed()), "{:?}", start.elapsed());
        assert!(last.take(SECOND));
        assert!(!frozen.take(SECOND), "its turn is another's");
        // Without a limit, all go at once.
        let start = Instant::now();
        let all = [&user, &turns, &user].map(async |turns| {
            for _ in 0..100 {
                let place = turns.enter();
                sleep_until(start + SECOND).await;
                place.reached().await;
                assert!(place.take(Duration::ZERO));
            }
        });
        futures_util::future::join_all(all).await;
        assert!(start.elapsed() < SECOND + GRACE, "{:?}", start.elapsed());
    }
}
