//! Whose session is opened next: one order for all sessions of a client, the partner's own and those of its users.
//!
//! bunq lets few sessions be opened, and a credential that is not used in time is lost. So the partner's own session goes before all,
//! because all stand still without it, and those of users go in the order of the [queue](super::queue). One that cannot be in time,
//! or beside which one that was admitted could not, is refused at once. A session has its turn when the limit has a permit for it,
//! and not before: until then another may go first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::forecast::{Forecast, Renewals};
use super::queue::{EntryState, Next, SessionQueue};
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::operation::Operation;
use crate::sync::lock;
use crate::text::duration;
use crate::transport::rate_limit::RateLimits;
use crate::types::ProvisionId;

/// For how long a future that has its turn, or could have it, may not be polled before others go.
const PATIENCE: Duration = Duration::from_secs(60);

/// The turns of all sessions of a client. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Arc<RateLimits>,
    /// The longest time that a session takes to be opened when it has its turn.
    longest: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: SessionQueue,
    /// How often the session of the partner is being opened. No other has its turn meanwhile.
    partners: usize,
    /// When the session of the partner is to be opened again, if that is known.
    renewals: Option<Renewals>,
    /// How long the last session took that was opened.
    exchange: Duration,
    /// The one that is next, and since when it could have gone.
    head: Option<(u64, Option<Instant>)>,
}

/// A session of a user that is to be opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) id: ProvisionId,
    /// From [`Turns::ticket`].
    pub(super) ticket: u64,
    pub(super) deadline: Instant,
    /// The credential was used before, so that it does not expire.
    pub(super) is_renewal: bool,
    /// The credential was replaced by another.
    pub(super) is_withdrawn: &'a AtomicBool,
}

/// What a session has its turn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// To be opened.
    Open,
    /// All that wait have failed: it makes a call of the partner's own, which tells whether bunq works.
    Look,
}

/// What was done in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The session is open, or the call has succeeded.
    Works,
    /// The failure may pass.
    Fails,
    /// It says nothing of bunq.
    Unknown,
}

impl Turns {
    /// The turns within these limits. `longest`: how long opening a session may take.
    pub(crate) fn new(limits: Arc<RateLimits>, longest: Duration) -> Self {
        Self(Arc::new(Shared { limits, longest, state: Mutex::default() }))
    }

    /// Lets no user go while the session of the partner is being opened.
    pub(super) fn partner(&self) -> PartnersTurn {
        let mut state = self.0.state();
        state.partners += 1;
        state.head = None;
        drop(state);
        PartnersTurn(self.clone())
    }

    /// When the session of the partner is to be opened again, if that is known.
    pub(super) fn partner_is_due(&self, renewals: Option<Renewals>) {
        self.0.state().renewals = renewals;
    }

    /// What identifies the session of a user in the order.
    pub(super) fn ticket(&self) -> u64 {
        self.0.state().queue.ticket()
    }

    /// Takes a place for the session of a user.
    fn enter(&self, wanted: Wanted<'_>) -> Result<Place, Error> {
        let Wanted { id, ticket, deadline, is_renewal, is_withdrawn } = wanted;
        let now = Instant::now();
        let mut state = self.0.state();
        // It is set before its entry is looked for here.
        if is_withdrawn.load(Ordering::Relaxed) {
            return Err(replaced(id));
        }
        state.mark_late(&self.0, now);
        let forecast = state.forecast(&self.0, now);
        if !state.queue.admits(deadline, id, |ahead| forecast.turn(ahead)) {
            let needed = forecast.turn(state.queue.waiting()).saturating_duration_since(now);
            return Err(too_late(id, is_renewal, needed, deadline.saturating_duration_since(now)));
        }
        let wake = state.queue.add(ticket, id, deadline);
        state.choose(&self.0, now);
        drop(state);
        Ok(Place { turns: self.clone(), id, is_renewal, ticket, wake, deadline })
    }

    /// Opens the session of a user in its turn. If it fails in a way that may pass, others go first, and it is tried again:
    /// `failed` is told. `look` makes a call of the partner's own.
    ///
    /// # Errors
    ///
    /// [`RateLimited`](ErrorKind::RateLimited) at once if it cannot be in time, or if another that was admitted could not then;
    /// otherwise those of `open`, and the last one if it is given up.
    pub(super) async fn open<T, O, L>(
        &self,
        wanted: Wanted<'_>,
        open: impl Fn() -> O + Send,
        look: impl Fn() -> L + Send,
        failed: impl Fn(&Error) + Send,
    ) -> Result<T, Error>
    where
        O: Future<Output = Result<T, Error>> + Send,
        L: Future<Output = Result<(), Error>> + Send,
    {
        let place = self.enter(wanted)?;
        loop {
            let turn = place.turn().await?;
            let done = match turn {
                Turn::Open => open().await.map(Some),
                Turn::Look => look().await.map(|()| None),
            };
            let error = match done {
                Ok(opened) => {
                    place.done(turn, Outcome::Works);
                    match opened {
                        Some(opened) => return Ok(opened),
                        None => continue,
                    }
                }
                Err(error) => error,
            };
            let outcome = match error.kind() {
                // It is about all calls from this address.
                ErrorKind::RateLimited => Outcome::Unknown,
                ErrorKind::ShutDown => return Err(error),
                _ if turn == Turn::Look || error.is_retryable() => Outcome::Fails,
                // bunq has answered.
                _ => {
                    place.done(turn, Outcome::Works);
                    return Err(error);
                }
            };
            if turn == Turn::Open {
                failed(&error);
            }
            if place.done(turn, outcome) {
                return Err(error);
            }
        }
    }

    /// Ends the wait of a session that [is withdrawn](Wanted::is_withdrawn).
    pub(super) fn withdraw(&self, ticket: u64) {
        if let Some(entry) = self.0.state().queue.get(ticket) {
            entry.state = EntryState::IsWithdrawn;
            entry.wake.notify_one();
        }
    }

    /// How many sessions of users wait for their turn.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.state().queue.waiting()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn forecast<'a>(&self, shared: &'a Shared, now: Instant) -> Forecast<'a> {
        let going = self.queue.going() + self.partners;
        // Those that go have reached the limit, or will do so soon.
        let before = going.saturating_sub(shared.limits.in_progress(&Operation::CREATE_SESSION));
        let renewals = self.renewals.and_then(|renewals| renewals.from(now, self.partners > 0));
        Forecast { limits: &shared.limits, now, before, exchange: self.exchange, renewals }
    }

    fn mark_late(&mut self, shared: &Shared, now: Instant) {
        // That one was slow says nothing of the others: what can still be in time is not given up.
        let forecast = Forecast { exchange: Duration::ZERO, ..self.forecast(shared, now) };
        self.queue.mark_late(now, |ahead| forecast.turn(ahead));
    }

    /// Tells the one that is next that it is.
    fn choose(&mut self, shared: &Shared, now: Instant) {
        if let Some(before) = now.checked_sub(shared.longest + PATIENCE) {
            self.queue.take_back(before);
        }
        let room = shared.limits.at_once(&Operation::CREATE_SESSION).unwrap_or(usize::MAX);
        let is_free = self.partners == 0 && self.queue.going() < room;
        let next = match self.queue.next() {
            Next::Session(ticket) | Next::Look(ticket) if is_free => ticket,
            _ => {
                self.head = None;
                return;
            }
        };
        if self.head.is_none_or(|(head, _)| head != next) {
            self.head = Some((next, None));
            if let Some(entry) = self.queue.get(next) {
                entry.wake.notify_one();
            }
        }
    }

    /// Passes over the next if it could have gone for long: its future is not polled.
    fn watch(&mut self, shared: &Shared, now: Instant) {
        let Some((ticket, could_go)) = self.head else {
            // Whoever goes may not be polled.
            self.choose(shared, now);
            return;
        };
        let is_open = shared.limits.turn(&Operation::CREATE_SESSION, now, 0).is_none_or(|turn| turn <= now);
        match could_go {
            Some(since) if is_open && since + PATIENCE <= now => {
                if let Some(entry) = self.queue.get(ticket) {
                    entry.state = EntryState::IsPassedOver;
                }
                self.choose(shared, now);
            }
            Some(_) if is_open => {}
            _ => self.head = Some((ticket, is_open.then_some(now))),
        }
    }
}

/// Exists while the session of the partner is being opened.
#[derive(Debug)]
pub(super) struct PartnersTurn(Turns);

impl Drop for PartnersTurn {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let mut state = shared.state();
        state.partners -= 1;
        let now = Instant::now();
        state.mark_late(shared, now);
        state.choose(shared, now);
    }
}

/// The place of a session in the order, until it is dropped.
#[derive(Debug)]
struct Place {
    turns: Turns,
    id: ProvisionId,
    is_renewal: bool,
    ticket: u64,
    wake: Arc<Notify>,
    deadline: Instant,
}

/// What a session that waits does next.
enum Step {
    Go(Turn),
    /// Look again at this time.
    At(Instant),
}

impl Place {
    /// Waits for a turn, which [`done`](Self::done) ends.
    ///
    /// # Errors
    ///
    /// It cannot be in time any more, or its credential was replaced.
    async fn turn(&self) -> Result<Turn, Error> {
        loop {
            let at = match self.step()? {
                Step::Go(turn) => return Ok(turn),
                Step::At(at) => at,
            };
            // Others are woken when something changes, except if a future is not polled.
            let _ = timeout(at.saturating_duration_since(Instant::now()), self.wake.notified()).await;
        }
    }

    fn step(&self) -> Result<Step, Error> {
        let shared = &self.turns.0;
        let now = Instant::now();
        let mut state = shared.state();
        if now > self.deadline {
            // The process was suspended, so that nobody has told it before.
            state.mark_late(shared, now);
        }
        let Some(entry) = state.queue.get(self.ticket) else {
            return Err(Error::internal("the session has lost its place in the order"));
        };
        match entry.state {
            EntryState::IsLate(needed) => {
                let left = self.deadline.saturating_duration_since(now);
                return Err(too_late(self.id, self.is_renewal, needed, left));
            }
            EntryState::IsWithdrawn => return Err(replaced(self.id)),
            EntryState::IsPassedOver | EntryState::Goes(_) => {
                entry.state = EntryState::Waits;
                state.choose(shared, now);
            }
            EntryState::Waits => state.watch(shared, now),
        }
        if state.head.is_none_or(|(head, _)| head != self.ticket) {
            return Ok(Step::At(now + PATIENCE));
        }
        let turn = match state.queue.next() {
            Next::Look(_) => Turn::Look,
            // Its call takes no permit within the limit of sessions, and waits for none.
            _ => match shared.limits.turn(&Operation::CREATE_SESSION, now, 0) {
                Some(at) if at > now => return Ok(Step::At(at)),
                _ => Turn::Open,
            },
        };
        if let Some(entry) = state.queue.get(self.ticket) {
            entry.state = EntryState::Goes(now);
        }
        state.head = None;
        state.choose(shared, now);
        Ok(Step::Go(turn))
    }

    /// Ends a turn. Returns whether the session is to be given up.
    fn done(&self, turn: Turn, outcome: Outcome) -> bool {
        let shared = &self.turns.0;
        let now = Instant::now();
        let mut state = shared.state();
        let is_given_up = match (turn, outcome) {
            (_, Outcome::Works) => {
                state.queue.works();
                false
            }
            (Turn::Open, Outcome::Fails) => state.queue.failed(self.ticket),
            (Turn::Look, Outcome::Fails) => {
                state.queue.outage();
                false
            }
            (_, Outcome::Unknown) => false,
        };
        if let Some(entry) = state.queue.get(self.ticket)
            && let EntryState::Goes(since) = entry.state
        {
            entry.state = EntryState::Waits;
            if (turn, outcome) == (Turn::Open, Outcome::Works) {
                state.exchange = now.saturating_duration_since(since);
            }
        }
        if (turn, outcome) == (Turn::Open, Outcome::Works) {
            state.queue.remove(self.ticket);
        }
        state.mark_late(shared, now);
        state.choose(shared, now);
        is_given_up
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.turns.0;
        let mut state = shared.state();
        state.queue.remove(self.ticket);
        state.head = state.head.filter(|(head, _)| *head != self.ticket);
        state.choose(shared, Instant::now());
    }
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

#[cfg(test)]
mod tests;
