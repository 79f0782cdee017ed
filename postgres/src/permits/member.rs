//! A member: its statements, and the task that renews the leases of the permits that it holds.

use std::sync::Arc;
use std::time::Duration;

use bunq_partner::{Grant, PermitWindow, Priority, RateLimit, Settlement, Taken};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::counted_by::CountedBy;
use super::held::Held;
use super::metrics;
use crate::database::{Database, Value};
use crate::trouble::Trouble;

/// A lease is renewed so many times while it lasts.
const RENEWALS: u32 = 3;

/// A process, or a client of one, that shares the windows.
pub(super) struct Member {
    pub(super) id: Uuid,
    pub(super) database: Database,
    pub(super) counted_by: CountedBy,
    pub(super) lease: Duration,
    pub(super) held: Held,
}

impl Member {
    pub(super) fn windows(&self, window: &PermitWindow) -> Value {
        value(self.counted_by.windows(window), Type::TEXT_ARRAY)
    }

    /// Runs a statement, and measures it.
    async fn ask(&self, name: &'static str, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Trouble> {
        let start = Instant::now();
        let mut all = vec![value(self.id, Type::UUID)];
        all.extend(values);
        let rows = self.database.query(sql, all).await;
        metrics::asked(name, start.elapsed());
        rows
    }

    pub(super) async fn take(&self, windows: Value, limit: RateLimit, priority: Priority) -> Result<Taken, Trouble> {
        let take = "SELECT permit, wait FROM bunq_partner.take_permit($1, $2, $3, $4, $5, $6, $7, $8)";
        let values = vec![
            windows,
            value(i32::try_from(limit.calls.max(1)).unwrap_or(i32::MAX), Type::INT4),
            value(microseconds(limit.per).max(1), Type::INT8),
            value(microseconds(self.lease), Type::INT8),
            value(microseconds(priority.waited), Type::INT8),
            value(priority.is_urgent, Type::BOOL),
            value(priority.deadline.map(microseconds), Type::INT8),
        ];
        let rows = self.ask("take", take, values).await?;
        let row = rows.first().ok_or_else(|| Trouble::new(self.database.place(), "has answered nothing"))?;
        let (permit, wait): (Option<i64>, i64) = (self.database.column(row, 0)?, self.database.column(row, 1)?);
        let wait = Duration::from_micros(u64::try_from(wait).unwrap_or_default());
        Ok(match permit {
            None => Taken::NotBefore(wait),
            // The other half of the lease is for the way of the request.
            Some(id) => Taken::Granted(
                Grant::new(u128::from(id.unsigned_abs())).send_after(wait).send_within(wait + self.lease / 2),
            ),
        })
    }

    pub(super) async fn settle(&self, windows: Value, id: i64, settlement: Settlement) -> Result<(), Trouble> {
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
            windows,
            value(id, Type::INT8),
            value(settlement == Settlement::Admitted, Type::BOOL),
            value(refusal.map(|refusal| microseconds(refusal.pause)), Type::INT8),
            value(limit.map(calls), Type::INT4),
            value(limit.map(|limit| microseconds(limit.per)), Type::INT8),
            value(claim.map(|claim| microseconds(claim.pause)), Type::INT8),
            value(claimed.map(calls), Type::INT4),
            value(claimed.map(|limit| microseconds(limit.per)), Type::INT8),
        ];
        let rows = self.ask("settle", settle, values).await?;
        let was_held = rows.first().is_some_and(|row| self.database.column(row, 0).unwrap_or(true));
        match was_held {
            true => Ok(()),
            false => {
                let problem = "was told of the end of a call later than the lease of its permit allows: other calls may \
                               have been sent meanwhile. Raise the lease, or see what held this process up";
                Err(Trouble::new(self.database.place(), problem))
            }
        }
    }

    pub(super) async fn withdraw(&self, windows: Value, unused: Vec<i64>) {
        let withdraw = "SELECT bunq_partner.withdraw_permits($1, $2, $3)";
        let withdrawn = self.ask("withdraw", withdraw, vec![windows, value(unused, Type::INT8_ARRAY)]).await;
        if let Err(trouble) = withdrawn {
            tracing::debug!("permits that were not used end with their leases: {trouble}");
        }
    }

    /// Returns the permits whose leases have ended before.
    async fn renew(&self, permits: Vec<i64>) -> Result<Vec<i64>, Trouble> {
        let renew = "SELECT bunq_partner.renew_permits($1, $2, $3)";
        let values = vec![value(permits, Type::INT8_ARRAY), value(microseconds(self.lease), Type::INT8)];
        let rows = self.ask("renew", renew, values).await?;
        rows.first().map_or(Ok(Vec::new()), |row| self.database.column(row, 0))
    }

    /// Renews the lease of a permit from now on.
    pub(super) fn hold(member: &Arc<Self>, id: i64) {
        member.held.add(id, || tokio::spawn(keep_leases(Arc::clone(member))));
    }
}

/// Renews the leases of all permits that a member holds, with one statement each time.
async fn keep_leases(member: Arc<Member>) {
    let mut ticks = interval(member.lease / RENEWALS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(permits) = member.held.to_renew() else { return };
        let lost = match member.renew(permits).await {
            Ok(lost) => lost,
            Err(trouble) => {
                tracing::warn!("the leases of permits are not renewed: {trouble}");
                continue;
            }
        };
        for id in lost {
            // It may have been settled meanwhile.
            if member.held.remove(id) {
                metrics::lost();
                tracing::warn!(
                    "the lease of a permit has ended while its call lasted: other calls may be sent meanwhile"
                );
            }
        }
    }
}

fn value<T: ToSql + Send + Sync + 'static>(value: T, kind: Type) -> Value {
    (Box::new(value), kind)
}

/// What the functions of the database take: at most a year, which is longer than any limit.
fn microseconds(time: Duration) -> i64 {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    i64::try_from(time.min(YEAR).as_micros()).unwrap_or(i64::MAX)
}
