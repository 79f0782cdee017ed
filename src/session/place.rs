//! The place of a session in the order: it waits for what it may do next, and tells what has come of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::order::{Order, OrderState};
use super::queue::{EntryState, Next, Preparation, Standing, Wanted};
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::text::duration;
use crate::transport::rate_limit::Expected;
use crate::types::ProvisionId;

/// What a session does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What it needs is made, before its turn.
    Prepare,
    /// To be opened.
    Open,
    /// All that wait have failed: it makes a call of the partner's own, which tells whether bunq works.
    Look,
}

/// What has come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The session is open, or what was made is there, or the call has succeeded.
    Works,
    /// The failure may pass.
    Fails,
    /// It was refused for its rate, or its lock is held, which says nothing of bunq: it goes on after this time, and others meanwhile.
    Pauses(Duration),
    /// The same, and it is so for all: sessions were refused for their rate, or the store cannot be reached.
    AllPause(Duration),
    /// There is no permit for it before this time has passed: nothing was sent, and it keeps its place.
    HasNoPermit(Duration),
}

/// The place of a session, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    order: Arc<Order>,
    id: ProvisionId,
    is_renewal: bool,
    ticket: u64,
    wake: Arc<Notify>,
    /// Between the attempts, what the store has promised stays.
    _expected: Option<Expected>,
}

enum Step {
    Go(Turn),
    /// Look again at this time.
    At(Instant),
}

impl Place {
    /// Takes a place, by what is known here.
    pub(super) fn take(order: &Arc<Order>, wanted: Wanted<'_>) -> Result<Self, Error> {
        let Wanted { id, ticket, is_renewal, .. } = wanted;
        let (mut state, now) = (order.state(), Instant::now());
        check(order, &mut state, now, &wanted)?;
        let wake = state.queue.add(&wanted);
        state.choose(order, now);
        drop(state);
        let share = order.announcements.as_ref().map(|announcements| &announcements.share);
        let _expected = share.and_then(|share| order.limits.expect(share));
        Ok(Self { order: Arc::clone(order), id, is_renewal, ticket, wake, _expected })
    }

    /// Waits for what the session may do next, which [`done`](Self::done) ends.
    ///
    /// # Errors
    ///
    /// It cannot be in time any more, or its credential was replaced, or nobody is left who acts for users.
    pub(super) async fn turn(&self) -> Result<Turn, Error> {
        loop {
            let at = match self.step()? {
                Step::Go(turn) => return Ok(turn),
                Step::At(at) => at,
            };
            self.woken(at).await;
        }
    }

    /// Waits until the session may do something, or stands last no more.
    pub(super) async fn reached(&self) -> Result<(), Error> {
        while self.is_last()
            && let Step::At(at) = self.step()?
        {
            self.woken(at).await;
        }
        Ok(())
    }

    fn is_last(&self) -> bool {
        self.order.state().queue.get(self.ticket).is_some_and(|entry| entry.standing.is_last)
    }

    async fn woken(&self, by: Instant) {
        // Others are woken when something changes, except if a future is not polled.
        let _ = timeout(by.saturating_duration_since(Instant::now()), self.wake.notified()).await;
    }

    fn step(&self) -> Result<Step, Error> {
        let order = &*self.order;
        let now = Instant::now();
        let mut state = order.state();
        if state.is_closed {
            return Err(nobody_left(self.id));
        }
        if state.queue.get(self.ticket).is_some_and(|entry| now > entry.standing.deadline) {
            // The process was suspended, so that nobody has told it before.
            state.mark_late(order, now);
        }
        let Some(entry) = state.queue.get(self.ticket) else {
            return Err(Error::internal("the session has lost its place in the order"));
        };
        let needs = entry.preparation == Preparation::Needed;
        let deadline = entry.standing.deadline;
        let late = |needed| too_late(self.id, self.is_renewal, needed, deadline.saturating_duration_since(now));
        match entry.state {
            EntryState::IsLate(needed) => return Err(late(needed)),
            EntryState::IsWithdrawn => return Err(replaced(self.id)),
            EntryState::Pauses(until) if until > deadline => return Err(late(until.duration_since(now))),
            EntryState::Pauses(until) if until > now => return Ok(Step::At(until)),
            EntryState::Pauses(_) | EntryState::IsPassedOver | EntryState::Goes(_) => {
                entry.state = EntryState::Waits;
                state.choose(order, now);
            }
            EntryState::Waits => state.watch(order, now),
        }
        let is_next = state.head.is_some_and(|(head, _)| head == self.ticket);
        let looks = is_next && matches!(state.queue.next(), Next::Look(_));
        let pauses = state.paused_until.filter(|until| *until > now);
        if needs && !looks && state.queue.next_to_prepare() == Some(self.ticket) {
            if let Some(until) = pauses {
                return Ok(Step::At(until));
            }
            if let Some(entry) = state.queue.get(self.ticket) {
                entry.preparation = Preparation::IsGoing(now);
            }
            state.choose(order, now);
            return Ok(Step::Go(Turn::Prepare));
        }
        if !is_next || needs && !looks {
            return Ok(Step::At(now + state.patience()));
        }
        // The partner's own call takes no permit within the limit of sessions, and waits for none.
        let at = if looks { state.paused_until.unwrap_or(now) } else { state.opens(order, now) };
        if at > now {
            return Ok(Step::At(at));
        }
        if !looks && let Some(at) = state.gives_way(now).filter(|at| *at > now) {
            return Ok(Step::At(at));
        }
        if let Some(entry) = state.queue.get(self.ticket) {
            entry.state = EntryState::Goes(now);
            entry.no_permit_before = None;
        }
        state.head = None;
        state.choose(order, now);
        Ok(Step::Go(if looks { Turn::Look } else { Turn::Open }))
    }

    /// Ends what it did. Returns whether the session is to be given up.
    pub(super) fn done(&self, turn: Turn, outcome: Outcome) -> bool {
        let order = &*self.order;
        let now = Instant::now();
        let mut state = order.state();
        let mut is_given_up = false;
        match (turn, outcome) {
            (_, Outcome::AllPause(time)) => state.paused_until = state.paused_until.max(now.checked_add(time)),
            (_, Outcome::Pauses(_) | Outcome::HasNoPermit(_)) | (Turn::Prepare, _) => {}
            (_, Outcome::Works) => state.queue.works(),
            (Turn::Open, Outcome::Fails) => is_given_up = state.queue.failed(self.ticket),
            (Turn::Look, Outcome::Fails) => state.queue.outage(),
        }
        if let Some(entry) = state.queue.get(self.ticket) {
            if turn == Turn::Prepare {
                let is_undone = matches!(outcome, Outcome::AllPause(_));
                entry.preparation = if is_undone { Preparation::Needed } else { Preparation::IsOver };
            }
            let since = match entry.state {
                EntryState::Goes(since) => {
                    entry.state = EntryState::Waits;
                    Some(since)
                }
                _ => None,
            };
            if let Outcome::Pauses(time) = outcome
                && entry.state.is_in_line()
            {
                entry.preparation = Preparation::Needed;
                entry.state = EntryState::Pauses(now.checked_add(time).unwrap_or(now));
            }
            if let Outcome::HasNoPermit(time) = outcome
                && entry.state.is_in_line()
            {
                entry.no_permit_before = now.checked_add(time);
                if entry.no_permit_before > Some(entry.standing.deadline) {
                    entry.state = EntryState::IsLate(time);
                }
            }
            if (turn, outcome) == (Turn::Open, Outcome::Works) {
                state.exchange = since.map_or(state.exchange, |since| now.saturating_duration_since(since));
                state.queue.remove(self.ticket);
            }
        }
        state.mark_late(order, now);
        state.choose(order, now);
        order.announce();
        is_given_up
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let order = &*self.order;
        let mut state = order.state();
        state.queue.remove(self.ticket);
        state.head = state.head.filter(|(head, _)| *head != self.ticket);
        state.choose(order, Instant::now());
        order.announce();
    }
}

/// Fails if a session cannot take a place.
pub(super) fn check(order: &Order, state: &mut OrderState, now: Instant, wanted: &Wanted<'_>) -> Result<(), Error> {
    // It is set before its entry is looked for here.
    if wanted.is_withdrawn.load(Ordering::Relaxed) {
        return Err(replaced(wanted.id));
    }
    if state.is_closed {
        return Err(nobody_left(wanted.id));
    }
    state.mark_late(order, now);
    admit(order, state, now, wanted, wanted.standing())
}

/// Fails if a session cannot be in time where it would stand, or another that was admitted could not then.
pub(super) fn admit(
    order: &Order,
    state: &mut OrderState,
    now: Instant,
    &Wanted { id, ticket, is_renewal, .. }: &Wanted<'_>,
    standing: Standing,
) -> Result<(), Error> {
    let forecast = state.forecast(order, now);
    if state.queue.admits(standing, state.others.all(), |ahead| forecast.turn(ahead)) {
        return Ok(());
    }
    let waits = state.queue.get(ticket).is_some_and(|entry| entry.state.is_in_line());
    let others = state.queue.waiting() - usize::from(waits) + state.others.all().count();
    let needed = forecast.turn(others).saturating_duration_since(now);
    Err(too_late(id, is_renewal, needed, standing.deadline.saturating_duration_since(now)))
}

/// The error of a session that cannot be opened in time.
fn too_late(id: ProvisionId, is_renewal: bool, needed: Duration, left: Duration) -> Error {
    let seconds = |time: Duration| duration(Duration::from_secs(time.as_secs()));
    let what = if is_renewal { "renewed" } else { "opened" };
    let problem = format_args!(
        "the session of provision {id} cannot be {what} in time: with those before it, it would take {}, and there are {} left",
        seconds(needed),
        seconds(left)
    );
    let error = Error::new(ErrorKind::RateLimited, Sent::No, problem).with_retry_after(Some(needed));
    match is_renewal {
        true => error.with_advice("its credential stays valid: try again when that time has passed"),
        false => error.with_remedy(Remedy::ResetToken),
    }
}

fn replaced(id: ProvisionId) -> Error {
    Error::new(
        ErrorKind::CredentialSpent,
        Sent::No,
        format_args!("the credential of provision {id} was replaced by another while its session waited for its turn"),
    )
}

/// The error of a session that nobody waits for.
fn nobody_left(id: ProvisionId) -> Error {
    let problem = format_args!("the session of provision {id} was not opened: its client was dropped");
    Error::new(ErrorKind::ShutDown, Sent::No, problem)
}
