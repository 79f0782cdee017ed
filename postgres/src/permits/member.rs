//! A member: its statements, and the task that renews the leases of the permits that it holds.

use std::sync::Arc;
use std::time::Duration;

use bunq_partner::{
    Error, Grant, OtherSessions, PermitWindow, Priority, RateLimit, Settlement, Taken, WaitingSessions,
};
use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::counted_by::CountedBy;
use super::held::{HeldPermits, RENEWALS, TO_ARRIVE};
use super::metrics;
use super::share::Share;
use crate::database::{Database, Value, microseconds, value};
use crate::trouble::Trouble;

/// What the database has said to a call that asked for a permit. A permit that the call never hears of is given back.
pub(super) struct Answer {
    member: Arc<Member>,
    windows: Vec<String>,
    taken: Taken,
    is_heard: bool,
}

/// A process, or a client of one, that shares the windows.
pub(super) struct Member {
    pub(super) id: Uuid,
    pub(super) database: Database,
    pub(super) counted_by: CountedBy,
    pub(super) lease: Duration,
    pub(super) held: HeldPermits,
    /// What it may use while it cannot reach the database.
    pub(super) share: Option<Arc<Share>>,
}

impl Answer {
    /// Hands the answer over, and renews the lease of a permit from now on.
    pub(super) fn heard(mut self) -> Taken {
        self.is_heard = true;
        if let Taken::Granted(grant) = self.taken {
            let member = &self.member;
            let windows = std::mem::take(&mut self.windows);
            member.held.add(row_id(grant.id), windows, || tokio::spawn(keep_leases(Arc::clone(member))));
        }
        self.taken
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let (Taken::Granted(grant), false) = (self.taken, self.is_heard) {
            let (member, windows) = (Arc::clone(&self.member), std::mem::take(&mut self.windows));
            in_background(async move { member.withdraw(windows, vec![row_id(grant.id)]).await });
        }
    }
}

impl Member {
    pub(super) fn windows(&self, window: &PermitWindow) -> Vec<String> {
        self.counted_by.windows(window)
    }

    /// Why a permit is not had: the database, and what becomes of the share of a member that has one.
    pub(super) fn no_permit(&self, window: &PermitWindow, trouble: &Trouble) -> Error {
        match &self.share {
            Some(share) if trouble.is_passing() => Error::permits(format_args!("{trouble}; {}", share.why_not(window))),
            _ => Error::permits(trouble),
        }
    }

    /// Runs a statement, and measures it.
    async fn ask<T: Send + 'static>(
        &self,
        name: &'static str,
        sql: &'static str,
        values: Vec<Value>,
        read: impl FnOnce(Vec<Row>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let start = Instant::now();
        let answer = self.database.query_as(sql, values, read).await;
        metrics::asked(name, start.elapsed());
        answer
    }

    pub(super) async fn take(
        member: Arc<Self>,
        windows: Vec<String>,
        limit: RateLimit,
        priority: Priority,
    ) -> Result<Answer, Trouble> {
        let take = "SELECT permit, wait FROM bunq_partner.take_permit($1, $2, $3, $4, $5, $6, $7, $8)";
        let values = vec![
            value(member.id, Type::UUID),
            value(windows.clone(), Type::TEXT_ARRAY),
            value(i32::try_from(limit.calls.max(1)).unwrap_or(i32::MAX), Type::INT4),
            value(microseconds(limit.per).max(1), Type::INT8),
            value(microseconds(member.lease), Type::INT8),
            value(microseconds(priority.waited), Type::INT8),
            value(priority.is_urgent, Type::BOOL),
            value(priority.deadline.map(microseconds), Type::INT8),
        ];
        let asking = Arc::clone(&member);
        let read = move |rows: Vec<Row>| {
            let database = &member.database;
            let row = database.row(&rows)?;
            let (permit, wait): (Option<i64>, i64) = (database.column(row, 0)?, database.column(row, 1)?);
            let wait = Duration::from_micros(u64::try_from(wait).unwrap_or_default());
            let taken = match permit {
                None => Taken::NotBefore(wait),
                Some(id) => {
                    let to_send = member.lease.saturating_sub(TO_ARRIVE);
                    let grant = Grant::new(u128::from(id.unsigned_abs()));
                    Taken::Granted(grant.send_after(wait).send_within(wait + to_send))
                }
            };
            Ok(Answer { member, windows, taken, is_heard: false })
        };
        asking.ask("take", take, values, read).await
    }

    /// It is told again over another connection if the first has ended: it may have been told, which changes nothing then.
    pub(super) async fn settle(&self, windows: Vec<String>, id: i64, settlement: Settlement) -> Result<(), Trouble> {
        let was_held = match self.try_settle(&windows, id, settlement).await {
            Err(trouble) if trouble.ends_connection() => self.try_settle(&windows, id, settlement).await?,
            answer => answer?,
        };
        match was_held {
            true => Ok(()),
            false => {
                metrics::lost();
                let problem = "was told of the end of a call later than the lease of its permit allows: other calls may \
                               have been sent meanwhile. Raise the lease, or see what held this process up";
                Err(Trouble::new(self.database.place(), problem))
            }
        }
    }

    /// Returns whether the permit was held until now.
    async fn try_settle(&self, windows: &[String], id: i64, settlement: Settlement) -> Result<bool, Trouble> {
        let settle = "SELECT bunq_partner.settle_permit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let refusal = match settlement {
            Settlement::Refused(refusal) => Some(refusal),
            _ => None,
        };
        let claim = refusal.and_then(|refusal| refusal.claim);
        let limit = refusal.and_then(|refusal| refusal.limit);
        let claimed = claim.and_then(|claim| claim.limit);
        let calls = |limit: RateLimit| i32::try_from(limit.calls.max(1)).unwrap_or(i32::MAX);
        let values = vec![
            value(self.id, Type::UUID),
            value(windows.to_vec(), Type::TEXT_ARRAY),
            value(id, Type::INT8),
            value(settlement == Settlement::Admitted, Type::BOOL),
            value(refusal.map(|refusal| microseconds(refusal.pause)), Type::INT8),
            value(limit.map(calls), Type::INT4),
            value(limit.map(|limit| microseconds(limit.per)), Type::INT8),
            value(claim.map(|claim| microseconds(claim.pause)), Type::INT8),
            value(claimed.map(calls), Type::INT4),
            value(claimed.map(|limit| microseconds(limit.per)), Type::INT8),
        ];
        let rows = self.ask("settle", settle, values, Ok).await?;
        rows.first().map_or(Ok(false), |row| self.database.column(row, 0))
    }

    pub(super) async fn withdraw(&self, windows: Vec<String>, unused: Vec<i64>) {
        let withdraw = "SELECT bunq_partner.withdraw_permits($1, $2, $3)";
        let values =
            vec![value(self.id, Type::UUID), value(windows, Type::TEXT_ARRAY), value(unused, Type::INT8_ARRAY)];
        // What is not withdrawn by then has ended.
        let withdrawn = timeout(self.lease, self.ask("withdraw", withdraw, values, Ok)).await;
        if let Ok(Err(trouble)) = withdrawn {
            tracing::debug!("permits that were not used end with their leases: {trouble}");
        }
    }

    pub(super) async fn announce(
        &self,
        windows: Vec<String>,
        limit: RateLimit,
        sessions: WaitingSessions,
    ) -> Result<OtherSessions, Trouble> {
        let announce =
            "SELECT deadlines, candidates, not_before FROM bunq_partner.announce_sessions($1, $2, $3, $4, $5, $6, $7)";
        let deadlines: Vec<_> = sessions.deadlines.into_iter().map(microseconds).collect();
        let values = vec![
            value(Uuid::from_u128(sessions.client), Type::UUID),
            value(windows, Type::TEXT_ARRAY),
            value(microseconds(limit.per).max(1), Type::INT8),
            value(i64::try_from(sessions.number).unwrap_or(i64::MAX), Type::INT8),
            value(deadlines, Type::INT8_ARRAY),
            value(sessions.candidate.map(microseconds), Type::INT8),
            value(microseconds(sessions.lease), Type::INT8),
        ];
        let database = self.database.clone();
        let read = move |rows: Vec<Row>| {
            let row = database.row(&rows)?;
            // A deadline may have passed.
            let time = |time: i64| Duration::from_micros(u64::try_from(time).unwrap_or_default());
            let times = |index| {
                let times: Vec<i64> = database.column(row, index)?;
                Ok::<_, Trouble>(times.into_iter().map(time).collect())
            };
            Ok(OtherSessions::new(times(0)?, times(1)?).not_before(time(database.column(row, 2)?)))
        };
        self.ask("announce", announce, values, read).await
    }

    /// Returns the permits whose leases have ended before.
    async fn renew(&self, permits: Vec<i64>, windows: Vec<String>) -> Result<Vec<i64>, Trouble> {
        let renew = "SELECT bunq_partner.renew_permits($1, $2, $3, $4)";
        let values = [
            value(self.id, Type::UUID),
            value(permits, Type::INT8_ARRAY),
            value(windows, Type::TEXT_ARRAY),
            value(microseconds(self.lease), Type::INT8),
        ];
        let start = Instant::now();
        let rows = self.database.query_twice(self.lease / RENEWALS / 2, renew, &values).await;
        metrics::asked("renew", start.elapsed());
        rows?.first().map_or(Ok(Vec::new()), |row| self.database.column(row, 0))
    }
}

/// Renews the leases of all permits that a member holds, with one statement each time.
async fn keep_leases(member: Arc<Member>) {
    let mut ticks = interval(member.lease / RENEWALS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some((permits, windows)) = member.held.to_renew() else { return };
        let lost = match member.renew(permits, windows).await {
            Ok(lost) => lost,
            Err(trouble) => {
                tracing::warn!("the leases of permits are not renewed: {trouble}");
                continue;
            }
        };
        for id in lost {
            // It may have been settled meanwhile.
            if member.held.remove(id) {
                tracing::warn!(
                    "the lease of a permit has ended while its call lasted: other calls may be sent meanwhile"
                );
            }
        }
    }
}

/// Runs what a dropped call cannot wait for. Without a runtime the lease does what it would do.
pub(super) fn in_background(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(work);
    }
}

/// The number of a permit, which the database has given.
pub(super) fn row_id(id: u128) -> i64 {
    i64::try_from(id).unwrap_or_default()
}
