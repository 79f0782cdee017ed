//! The share of the limits that a member keeps to while it cannot reach the database.
//!
//! It is used when two things are sure: the database holds it back, because the lease of the share has ended, and what was granted before
//! that has left the windows. Only elapsed time tells, since nothing is heard then. No clock of a machine is compared with another.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bunq_partner::text::duration;
use bunq_partner::{
    Error, Grant, LimitScope, MemoryPermits, OtherSessions, PermitStore as _, PermitWindow, Priority, RateLimit,
    Settlement, Taken, WaitingSessions,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::held::{RENEWALS, TO_ARRIVE};
use super::registration::{Joined, Registration, Renewal};
use super::renewals::Renewals;
use crate::trouble::Trouble;

/// A permit may be granted so long before it is free, and a little more for what is on its way.
const AHEAD: Duration = Duration::from_secs(4);

/// The numbers of the share's own permits begin here. Those of the database are smaller.
const FIRST_ID: u128 = 1 << 64;

/// A share of the limits of a member's own.
pub(super) struct Share {
    registration: Registration,
    permits: MemoryPermits,
    state: Mutex<State>,
}

struct State {
    heard: Heard,
    /// How many of its own permits are held.
    held: usize,
    next_id: u128,
    /// The windows for which bunq has named a limit, as the database says: their parts are not known here.
    named: HashSet<String>,
    /// The same, as refusals have told it.
    learnt: HashSet<String>,
    /// Why the member has no share any more.
    lost: Option<String>,
    renewals: Renewals,
}

/// What the database has answered last about the share.
#[derive(Clone, Copy)]
struct Heard {
    at: Instant,
    /// What its clock showed.
    clock: SystemTime,
    /// The longest lease of all permits.
    longest_lease: Duration,
    /// The share is in the database for longer than one answer: a failover may lose what was written last.
    is_kept: bool,
}

impl Share {
    /// Has a new member join with a share.
    pub(super) async fn join(registration: Registration) -> Result<Self, Error> {
        let Registration { name, percent, lease, .. } = &registration;
        if !(1..=100).contains(percent) {
            let problem = format_args!("a share of {percent} % is not possible: set one from 1 to 100 %");
            return Err(Error::permits(problem));
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(Error::permits("the name of a member is empty, or has control characters: give it another"));
        }
        let clock = match registration.join(None).await.map_err(Trouble::permits)? {
            Joined::Share(clock) => clock,
            Joined::Refused(problem) => return Err(Error::permits(problem)),
        };
        let heard = Heard { at: Instant::now(), clock, longest_lease: *lease, is_kept: false };
        let (named, learnt, renewals) = (HashSet::new(), HashSet::new(), Renewals::default());
        let state = State { heard, held: 0, next_id: FIRST_ID, named, lost: None, learnt, renewals };
        Ok(Self { registration, permits: MemoryPermits::new(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the lease is renewed in this runtime.
    pub(super) fn keep(self: &Arc<Self>) {
        let mut state = self.state();
        if state.lost.is_some() {
            return;
        }
        state.renewals.keep(|| tokio::spawn(keep_lease(Arc::downgrade(self), self.registration.lease)));
    }

    /// Its part of a limit.
    fn part(&self, limit: RateLimit) -> RateLimit {
        let calls = u64::from(limit.calls) * u64::from(self.registration.percent) / 100;
        RateLimit::new(u32::try_from(calls).unwrap_or(u32::MAX), limit.per)
    }

    /// The window in which the share's own permits count. `None` if it has none there.
    fn window(&self, window: &PermitWindow) -> Option<PermitWindow> {
        let limit = self.part(window.limit);
        let has_part = limit.calls > 0 && window.scope == LimitScope::Address;
        has_part.then(|| {
            let mut own = window.clone();
            own.limit = limit;
            own
        })
    }

    /// From when on it may be used in a window. `None`: not as long as nothing is heard.
    fn usable_at(&self, state: &State, window: &PermitWindow) -> Option<Instant> {
        let Heard { at, longest_lease, is_kept, .. } = state.heard;
        // A renewal that was not answered may have come into force a lease after what was heard, and ends a lease later, or another if the
        // clock was set back meanwhile. What was granted before is sent and arrives within its own lease.
        let has_left = at + 3 * self.registration.lease + AHEAD + longest_lease + window.limit.per;
        (is_kept && state.lost.is_none()).then_some(has_left)
    }

    fn is_usable(&self, state: &State, window: &PermitWindow) -> bool {
        let usable_at = self.usable_at(state, window);
        usable_at.is_some_and(|from| from <= Instant::now()) && !self.has_named_limit(state, window)
    }

    fn has_named_limit(&self, state: &State, window: &PermitWindow) -> bool {
        self.registration
            .counted_by
            .windows(window)
            .iter()
            .any(|name| state.named.contains(name) || state.learnt.contains(name))
    }

    /// Takes a permit of the share. `None` if it may not be used.
    pub(super) async fn take(&self, window: &PermitWindow, priority: Priority) -> Option<Result<Taken, Error>> {
        let own = self.window(window)?;
        let id = {
            let mut state = self.state();
            self.is_usable(&state, window).then_some(())?;
            // It is held before it is taken, so that the member does not come back meanwhile.
            state.held += 1;
            state.next_id += 1;
            state.next_id
        };
        let taken = self.permits.take(&own, priority).await;
        if let Ok(Taken::Granted(_)) = taken {
            let to_send = self.registration.lease.saturating_sub(TO_ARRIVE);
            return Some(Ok(Taken::Granted(Grant::new(id).send_within(to_send))));
        }
        self.state().held -= 1;
        Some(taken)
    }

    /// Whether a permit is one of a share.
    pub(super) fn has(id: u128) -> bool {
        id >= FIRST_ID
    }

    /// Ends a permit of the share.
    pub(super) async fn settle(&self, window: &PermitWindow, id: u128, settlement: Settlement) -> Result<(), Error> {
        let settled = match self.window(window) {
            Some(own) => self.permits.settle(&own, id, settlement).await,
            None => Ok(()),
        };
        let mut state = self.state();
        if let Settlement::Refused(refusal) = settlement
            && refusal.limit.is_some()
        {
            state.learnt.extend(self.registration.counted_by.windows(window));
        }
        state.held -= 1;
        settled
    }

    pub(super) fn abandon(&self, window: &PermitWindow, id: u128) {
        if let Some(own) = self.window(window) {
            self.permits.abandon(&own, id);
        }
        self.state().held -= 1;
    }

    /// Announces sessions to the clients of this member. `None` if the share may not be used.
    pub(super) async fn announce(
        &self,
        window: &PermitWindow,
        sessions: &WaitingSessions,
    ) -> Option<Result<OtherSessions, Error>> {
        let own = self.window(window)?;
        let is_usable = self.is_usable(&self.state(), window);
        match is_usable {
            true => Some(self.permits.announce(&own, sessions.clone()).await),
            false => None,
        }
    }

    /// Why the share is not used while the database is away.
    pub(super) fn why_not(&self, window: &PermitWindow) -> String {
        let Registration { name, percent, .. } = &self.registration;
        let (RateLimit { calls, per, .. }, part) = (window.limit, self.part(window.limit).calls);
        let (state, per) = (self.state(), duration(per));
        match (&state.lost, window.scope, part, self.usable_at(&state, window)) {
            (Some(lost), ..) => lost.clone(),
            (_, LimitScope::Session, ..) => "calls that count by session have no share".to_owned(),
            (_, _, 0, _) => format!("the share of {name}, {percent} % of {calls} in {per}, is less than a call"),
            _ if self.has_named_limit(&state, window) => "there is no share of a limit that bunq has named".to_owned(),
            (_, _, _, None) => format!("the share of {name} is not used: it was not renewed since it has joined"),
            (_, _, part, Some(from)) => {
                let left = Duration::from_secs(from.saturating_duration_since(Instant::now()).as_secs() + 1);
                format!("in {}, the share of {name} is used: {part} of {calls} in {per}", duration(left))
            }
        }
    }

    /// Renews the lease. If it has ended, the member comes back once what it has sent of its share is over.
    async fn renew(&self) -> Result<(), Trouble> {
        let last = self.state().heard;
        let Renewal { is_renewed, is_known, clock, longest_lease, named } = self.registration.renew(last.clock).await?;
        let heard = Heard { at: Instant::now(), clock, longest_lease, is_kept: is_renewed || last.is_kept && is_known };
        let is_unused = {
            let mut state = self.state();
            (state.heard, state.named) = (heard, named.into_iter().collect());
            state.held == 0
        };
        if !is_renewed && is_unused {
            let joined = self.registration.join(Some(clock)).await?;
            let mut state = self.state();
            match joined {
                Joined::Share(clock) => state.heard = Heard { at: Instant::now(), clock, is_kept: false, ..heard },
                Joined::Refused(problem) => {
                    tracing::warn!("this member has no share of the limits any more: {problem}");
                    state.lost = Some(problem);
                }
            }
        }
        Ok(())
    }
}

/// Renews the lease of a share as long as that exists.
async fn keep_lease(share: Weak<Share>, lease: Duration) {
    let mut is_away = false;
    let mut ticks = interval(lease / RENEWALS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(share) = share.upgrade().filter(|share| share.state().lost.is_none()) else { return };
        let (renewed, name) = (share.renew().await, &share.registration.name);
        match &renewed {
            Err(trouble) if !is_away => tracing::warn!("the share of {name} is not renewed: {trouble}"),
            Ok(()) if is_away => tracing::info!("the share of {name} is renewed again"),
            _ => {}
        }
        is_away = renewed.is_err();
    }
}
