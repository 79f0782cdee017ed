//! The share of the limits that a member keeps to while it cannot reach the database.
//!
//! It is used when two things are sure: the database holds it back, because the lease of the share has ended, and what was granted before
//! that has left the windows. Only elapsed time tells, since nothing is heard then. No clock of a machine is compared with another.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bunq_partner::text::duration;
use bunq_partner::{
    Error, Grant, LimitScope, MemoryPermits, OtherSessions, PermitStore as _, PermitWindow, Priority, RateLimit,
    Settlement, Taken, WaitingSessions,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::counted_by::CountedBy;
use super::member::{Member, RENEWALS, TO_ARRIVE, microseconds, value};
use crate::trouble::Trouble;

/// A permit may be granted so long before it is free, and a little more for what is on its way.
const AHEAD: Duration = Duration::from_secs(4);

/// The numbers of the share's own permits begin here. Those of the database are smaller.
const FIRST_ID: u128 = 1 << 64;

/// A share of the limits of a member's own.
pub(super) struct Share {
    name: String,
    percent: u8,
    lease: Duration,
    counted_by: CountedBy,
    permits: MemoryPermits,
    state: Mutex<State>,
}

struct State {
    heard: Heard,
    /// How many of its own permits are held.
    held: usize,
    next_id: u128,
    /// The windows for which bunq has named a limit: their parts are not known here.
    named: HashSet<String>,
    /// Why the member has no share any more.
    lost: Option<String>,
    /// Renews the lease.
    renewal: Option<JoinHandle<()>>,
}

/// What the database has answered last about the share.
#[derive(Clone, Copy)]
struct Heard {
    at: Instant,
    /// What its clock showed. What is sent next comes into force within a lease from this, or not at all.
    clock: SystemTime,
    /// The longest lease of all permits.
    longest_lease: Duration,
    /// The share is in the database for longer than one answer: a failover may lose what was written last.
    is_kept: bool,
}

/// The outcome of joining.
enum Joined {
    /// It has a share, and the database's clock shows this.
    Share(SystemTime),
    /// It has none, for this reason.
    Refused(String),
}

/// The outcome of a renewal.
struct Renewal {
    heard: Heard,
    is_renewed: bool,
    named: HashSet<String>,
}

impl Share {
    /// Has a new member join with a share.
    pub(super) async fn join(member: &Member, name: String, percent: u8) -> Result<Self, Error> {
        if !(1..=100).contains(&percent) {
            return Err(Error::permits(format_args!(
                "a share of {percent} % is not possible: set one from 1 to 100 %"
            )));
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(Error::permits("the name of a member is empty, or has control characters: give it another"));
        }
        let (lease, counted_by, permits) = (member.lease, member.counted_by.clone(), MemoryPermits::new());
        let clock = match ask_to_join(member, &name, percent, None).await.map_err(Trouble::permits)? {
            Joined::Share(clock) => clock,
            Joined::Refused(problem) => return Err(Error::permits(problem)),
        };
        let heard = Heard { at: Instant::now(), clock, longest_lease: lease, is_kept: false };
        let state =
            Mutex::new(State { heard, held: 0, next_id: FIRST_ID, named: HashSet::new(), lost: None, renewal: None });
        Ok(Self { name, percent, lease, counted_by, permits, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the lease is renewed. `renew` starts the task if none runs: the runtime of the last may have ended.
    pub(super) fn keep(&self, renew: impl FnOnce() -> JoinHandle<()>) {
        let mut state = self.state();
        if state.lost.is_none() && state.renewal.as_ref().is_none_or(JoinHandle::is_finished) {
            state.renewal = Some(renew());
        }
    }

    /// Its part of a limit.
    fn part(&self, limit: RateLimit) -> RateLimit {
        let calls = u64::from(limit.calls) * u64::from(self.percent) / 100;
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
            return Some(Ok(Taken::Granted(Grant::new(id).send_within(self.lease.saturating_sub(TO_ARRIVE)))));
        }
        self.state().held -= 1;
        Some(taken)
    }

    fn is_usable(&self, state: &State, window: &PermitWindow) -> bool {
        let usable_at = state.usable_at(self.lease, window.limit.per);
        usable_at.is_some_and(|from| from <= Instant::now()) && !self.has_named_limit(state, window)
    }

    fn has_named_limit(&self, state: &State, window: &PermitWindow) -> bool {
        self.counted_by.windows(window).iter().any(|name| state.named.contains(name))
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
            state.named.extend(self.counted_by.windows(window));
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
        let Self { name, percent, lease, .. } = self;
        let (RateLimit { calls, per, .. }, part) = (window.limit, self.part(window.limit).calls);
        let state = self.state();
        match (&state.lost, window.scope, part, state.usable_at(*lease, per)) {
            (Some(lost), ..) => lost.clone(),
            (_, LimitScope::Session, ..) => "calls that count by session have no share".to_owned(),
            (_, _, 0, _) => {
                format!("the share of {name}, {percent} % of {calls} in {}, is less than a call", duration(per))
            }
            _ if self.has_named_limit(&state, window) => "there is no share of a limit that bunq has named".to_owned(),
            (_, _, _, None) => {
                format!("the share of {name} is not used: the database was away when it had just joined")
            }
            (_, _, part, Some(from)) => {
                let left = Duration::from_secs(from.saturating_duration_since(Instant::now()).as_secs() + 1);
                format!("in {}, the share of {name} is used: {part} of {calls} in {}", duration(left), duration(per))
            }
        }
    }

    /// Renews the lease of the share, and has the member come back if it has ended.
    async fn renew(&self, member: &Member) -> Result<(), Trouble> {
        let last = self.state().heard;
        let Renewal { heard, is_renewed, named } = ask_to_renew(member, &self.name, last).await?;
        let is_unused = {
            let mut state = self.state();
            (state.heard, state.named) = (heard, named);
            state.held == 0
        };
        // What it has sent of its share must be over.
        if !is_renewed && is_unused {
            match ask_to_join(member, &self.name, self.percent, Some(heard.clock)).await? {
                Joined::Share(clock) => {
                    self.state().heard = Heard { at: Instant::now(), clock, is_kept: false, ..heard };
                }
                Joined::Refused(problem) => {
                    tracing::warn!("this member has no share of the limits any more: {problem}");
                    self.state().lost = Some(problem);
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// From when on the share may be used in a window of this length. `None`: not as long as nothing is heard.
    fn usable_at(&self, lease: Duration, per: Duration) -> Option<Instant> {
        let Heard { at, longest_lease, is_kept, .. } = self.heard;
        // A renewal that was not answered may have come into force a lease after what was heard, and ends a lease later, or another if the
        // clock was set back meanwhile. What was granted before is sent and arrives within its own lease.
        (is_kept && self.lost.is_none()).then(|| at + 3 * lease + AHEAD + longest_lease + per)
    }
}

/// Renews the lease of a member's share as long as the member exists.
pub(super) async fn keep_share(member: Weak<Member>) {
    let mut is_away = false;
    loop {
        let Some(lease) = member.upgrade().map(|member| member.lease) else { return };
        sleep(lease / RENEWALS).await;
        let Some(member) = member.upgrade() else { return };
        let Some(share) = member.share.as_ref().filter(|share| share.state().lost.is_none()) else { return };
        let renewed = share.renew(&member).await;
        match &renewed {
            Err(trouble) if !is_away => tracing::warn!("the share of {} is not renewed: {trouble}", share.name),
            Ok(()) if is_away => tracing::info!("the share of {} is renewed again", share.name),
            _ => {}
        }
        is_away = renewed.is_err();
    }
}

async fn ask_to_join(member: &Member, name: &str, percent: u8, heard: Option<SystemTime>) -> Result<Joined, Trouble> {
    let join = "SELECT clock, outcome, others, percent_left FROM bunq_partner.join_share($1, $2, $3, $4, $5, $6)";
    let values = vec![
        value(name.to_owned(), Type::TEXT),
        value(member.id, Type::UUID),
        value(i32::from(percent), Type::INT4),
        value(member.counted_by.scopes(), Type::TEXT_ARRAY),
        value(microseconds(member.lease), Type::INT8),
        value(heard, Type::TIMESTAMPTZ),
    ];
    let database = &member.database;
    let rows = database.query(join, values).await?;
    let row = rows.first().ok_or_else(|| Trouble::new(database.place(), "has answered nothing"))?;
    let outcome: String = database.column(row, 1)?;
    match outcome.as_str() {
        "joined" => Ok(Joined::Share(database.column(row, 0)?)),
        "replaced" => Ok(Joined::Refused(format!(
            "another process has joined as {name}: give each process that runs a name of its own"
        ))),
        _ => {
            let others: Option<String> = database.column(row, 2)?;
            let left: i32 = database.column(row, 3)?;
            Ok(Joined::Refused(format!(
                "there is no share of {percent} % for {name} in {}: {}, and {} % is left. Lower the shares, or forget a member that is \
                 gone with `bunq-partner fleet forget NAME`",
                database.place(),
                others.unwrap_or_default(),
                left.max(0)
            )))
        }
    }
}

async fn ask_to_renew(member: &Member, name: &str, last: Heard) -> Result<Renewal, Trouble> {
    let renew = "SELECT clock, holder, is_renewed, longest_lease, named FROM bunq_partner.renew_share($1, $2, $3)";
    let values =
        [value(name.to_owned(), Type::TEXT), value(member.id, Type::UUID), value(last.clock, Type::TIMESTAMPTZ)];
    let database = &member.database;
    let rows = database.query_twice(member.lease / RENEWALS / 2, renew, &values).await?;
    let row = rows.first().ok_or_else(|| Trouble::new(database.place(), "has answered nothing"))?;
    let holder: Option<Uuid> = database.column(row, 1)?;
    let is_renewed: bool = database.column(row, 2)?;
    let longest: Option<i64> = database.column(row, 3)?;
    let longest = Duration::from_micros(longest.and_then(|lease| u64::try_from(lease).ok()).unwrap_or_default());
    let heard = Heard {
        at: Instant::now(),
        clock: database.column(row, 0)?,
        longest_lease: longest.max(member.lease),
        is_kept: is_renewed || last.is_kept && holder == Some(member.id),
    };
    let named: Vec<String> = database.column(row, 4)?;
    Ok(Renewal { heard, is_renewed, named: named.into_iter().collect() })
}
