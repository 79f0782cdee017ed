//! Whose session is opened next: one order for all sessions of a client, the partner's own and those of its users.
//!
//! bunq lets few sessions be opened, and a credential that is not used in time is lost. So the partner's own session goes before all,
//! because all stand still without it, and those of users go in the order of the [queue](super::queue). One that cannot be in time,
//! or beside which one that was admitted could not, is refused at once, before anything is made for it. What a session needs is made
//! while it waits, for a few at once. It has its turn when the limit has a permit for it, and not before: until then another may go
//! first.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::admission;
use super::announcements::Announcements;
use super::forecast::Renewals;
use super::order::Order;
use super::place::{Outcome, Turn, admit};
use super::queue::{EntryState, Standing, Stands, Wanted};
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::sync::lock;
use crate::transport::rate_limit::{Caller, RateLimits};

/// The shortest time for which what was refused for its rate is not tried again.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// For how long a session lets others go whose lock somebody else has.
const LOCK_PAUSE: Duration = Duration::from_secs(10);

/// For how long nobody has a turn after a store could not be reached: no session is opened without it.
pub(super) const STORE_PAUSE: Duration = Duration::from_secs(2);

/// The turns of all sessions of a client. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Order>);

impl Turns {
    /// The turns within these limits, which `caller` keeps to. `longest`: how long opening a session may take.
    pub(crate) fn new(limits: Arc<RateLimits>, caller: &Caller, longest: Duration) -> Self {
        let announcements = limits.share(&Operation::CREATE_SESSION, caller).map(Announcements::new);
        Self(Arc::new(Order { limits, longest, announcements, state: Mutex::default() }))
    }

    /// Lets no user go while the session of the partner is being opened.
    pub(super) fn partner(&self) -> PartnersTurn {
        let mut state = self.0.state();
        state.partners += 1;
        state.head = None;
        drop(state);
        PartnersTurn(Arc::clone(&self.0))
    }

    /// When the session of the partner is to be opened again, if that is known.
    pub(super) fn partner_is_due(&self, renewals: Option<Renewals>) {
        self.0.state().renewals = renewals;
    }

    /// What identifies the session of a user in the order.
    pub(super) fn ticket(&self) -> u64 {
        self.0.state().queue.ticket()
    }

    /// Opens the session of a user in its turn, after `prepare` has made what it needs. If it fails in a way that may pass, others go
    /// first, and it is tried again: `failed` is told. `open` makes what `prepare` could not. Both break off with what others have done
    /// meanwhile, and the turn is given back. `look` makes a call of the partner's own.
    ///
    /// # Errors
    ///
    /// [`RateLimited`](ErrorKind::RateLimited) at once if it cannot be in time, or if another that was admitted could not then;
    /// otherwise those of `prepare` and `open`, and the last one if it is given up; [`Busy`](ErrorKind::Busy),
    /// [`Context`](ErrorKind::Context) or [`Permits`](ErrorKind::Permits) if its lock or a store has held it up until it could not be in
    /// time any more.
    pub(super) async fn open<T, P, O, L>(
        &self,
        wanted: Wanted<'_>,
        prepare: impl Fn() -> P + Send,
        open: impl Fn() -> O + Send,
        look: impl Fn() -> L + Send,
        failed: impl Fn(&Error) + Send,
    ) -> Result<T, Error>
    where
        P: Future<Output = Result<ControlFlow<T>, Error>> + Send,
        O: Future<Output = Result<ControlFlow<T, T>, Error>> + Send,
        L: Future<Output = Result<(), Error>> + Send,
    {
        let place = admission::enter(&self.0, wanted).await?;
        let mut held_up_by = None;
        loop {
            let turn = match place.turn().await {
                Err(late) if late.kind() == ErrorKind::RateLimited => return Err(held_up_by.unwrap_or(late)),
                turn => turn?,
            };
            let done = match turn {
                Turn::Prepare => prepare().await.map(|prepared| prepared.map_continue(|()| None)),
                Turn::Open => open().await.map(|opened| opened.map_continue(Some)),
                Turn::Look => look().await.map(|()| ControlFlow::Continue(None)),
            };
            let error = match done {
                Ok(ControlFlow::Break(by_others)) => return Ok(by_others),
                Ok(ControlFlow::Continue(opened)) => {
                    place.done(turn, Outcome::Works);
                    held_up_by = None;
                    match opened {
                        Some(opened) => return Ok(opened),
                        None => continue,
                    }
                }
                Err(error) => error,
            };
            let outcome = match error.kind() {
                ErrorKind::RateLimited => {
                    let pause = error.retry_after().unwrap_or_default().max(SHORTEST_PAUSE);
                    let is_of_sessions = error.operation() == Some(&Operation::CREATE_SESSION);
                    match turn {
                        Turn::Open if is_of_sessions && error.sent() == Sent::No => Outcome::HasNoPermit(pause),
                        Turn::Open if is_of_sessions => Outcome::AllPause(pause),
                        // The calls that a session needs may be refused while others need none.
                        Turn::Open | Turn::Prepare => Outcome::Pauses(pause),
                        Turn::Look => Outcome::AllPause(pause),
                    }
                }
                ErrorKind::ShutDown => return Err(error),
                // What is stored, and who has its lock, says nothing of bunq.
                ErrorKind::Context | ErrorKind::Permits if error.is_retryable() => Outcome::AllPause(STORE_PAUSE),
                ErrorKind::Context if turn != Turn::Look => return Err(error),
                ErrorKind::Busy if turn != Turn::Look => Outcome::Pauses(LOCK_PAUSE),
                ErrorKind::Busy => Outcome::Works,
                _ if error.is_retryable() => Outcome::Fails,
                // It is no outage that the partner's own call fails for a reason of its own.
                _ if turn == Turn::Look => Outcome::Works,
                // bunq has answered.
                _ => {
                    place.done(turn, Outcome::Works);
                    return Err(error);
                }
            };
            if turn == Turn::Open && !matches!(outcome, Outcome::HasNoPermit(_)) {
                failed(&error);
            }
            if place.done(turn, outcome) {
                return Err(error);
            }
            let is_of_a_store = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Context | ErrorKind::Permits);
            let is_held_up = turn != Turn::Look && is_of_a_store;
            held_up_by = is_held_up.then_some(error);
        }
    }

    /// Waits until a session that stands last could be opened, or stands last no more. It opens none.
    pub(super) async fn reach(&self, wanted: Wanted<'_>) -> Result<(), Error> {
        admission::enter(&self.0, wanted).await?.reached().await
    }

    /// Gives a session that stands last its usual place with this deadline, which it keeps until it is open.
    ///
    /// # Errors
    ///
    /// [`RateLimited`](ErrorKind::RateLimited) if it cannot be in time there, or another that was admitted could not then: it stays last.
    pub(super) fn move_up(&self, wanted: Wanted<'_>) -> Result<(), Error> {
        let Wanted { id, ticket, deadline, stands, .. } = wanted;
        let (order, now) = (&*self.0, Instant::now());
        let mut state = order.state();
        if *lock(stands) != Stands::Last {
            return Ok(());
        }
        let standing = Standing { is_last: false, deadline, id };
        let admitted = admit(order, &mut state, now, &wanted, standing);
        let entry = state.queue.get(ticket);
        if admitted.is_err() {
            let is_being_opened = entry.is_some_and(|entry| !entry.state.is_in_line());
            return if is_being_opened { Ok(()) } else { admitted };
        }
        *lock(stands) = Stands::MovedUp(deadline);
        if let Some(entry) = entry {
            entry.standing = standing;
            entry.wake.notify_one();
            state.choose(order, now);
            order.announce();
        }
        Ok(())
    }

    /// Ends the wait of a session that [is withdrawn](Wanted::is_withdrawn).
    pub(super) fn withdraw(&self, ticket: u64) {
        if let Some(entry) = self.0.state().queue.get(ticket) {
            entry.state = EntryState::IsWithdrawn;
            entry.wake.notify_one();
        }
    }

    /// Ends the wait of all sessions of users, now and later. A request on the wire is waited for.
    pub(crate) fn close(&self) {
        let mut state = self.0.state();
        state.is_closed = true;
        state.queue.wake_all();
    }

    /// How many sessions of users wait for their turn.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.state().queue.waiting()
    }
}

/// Exists while the session of the partner is being opened.
#[derive(Debug)]
pub(super) struct PartnersTurn(Arc<Order>);

impl Drop for PartnersTurn {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.partners -= 1;
        let now = Instant::now();
        state.mark_late(&self.0, now);
        state.choose(&self.0, now);
    }
}

#[cfg(test)]
mod tests;
