//! Permits in the database: one set of rate windows for all processes that use it.

mod builder;
mod counted_by;
mod held;
mod metrics;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::{BoxFuture, Error, Grant, PermitStore, PermitWindow, Priority, RateLimit, Settlement, Taken};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

pub use self::builder::PostgresPermitsBuilder;
pub use self::counted_by::CountedBy;
use self::held::Held;
use crate::database::{Database, Value};
use crate::trouble::Trouble;

/// Permits in a database, for the clients of many processes and machines that share bunq's rate limits.
///
/// ```no_run
/// use bunq_partner::{Client, Environment};
/// use bunq_partner_postgres::{CountedBy, Database, PostgresPermits};
///
/// # async fn connect() -> Result<(), bunq_partner::Error> {
/// let database = Database::connect("postgres://acme:PASSWORD@db.example.com/acme").await?;
/// let permits = PostgresPermits::builder(&database).counted_by(CountedBy::Address("nat-1".into())).build()?;
/// let client = Client::builder(Environment::Production).api_key("KEY").permits(permits).build()?;
/// # Ok(())
/// # }
/// ```
///
/// Each of these is a *member*: give one to each client, whose clones and users share it. In the database a member waits for one permit
/// of a window at a time, however many of its calls wait. Members take turns: one that has had a permit goes behind those that wait, so
/// a member with a thousand calls delays a call of another by one. Of the members that have had none, the one whose call began first
/// goes first; before all of them, the sessions of users by their deadlines; before those, the partner's own session.
///
/// A call costs three statements at most, however many wait: a member that has to wait is told when to ask again, and has then the
/// permit or a time shortly after, at which it is free. It costs more if a response takes longer than a window, after a 429, and for
/// whoever is overtaken by a session.
///
/// # What is exact
///
/// A permit counts until one window after the response. It is held under a [lease](PostgresPermitsBuilder::lease), which is renewed
/// while the call lasts. When its process dies, it counts until one window after the end of the lease. A call that has not been sent
/// when half of the lease has passed, because its machine stood still, is not sent with it.
///
/// All times are those of the server's clock. It may be set back, and the machines' clocks do not matter. It must not be set forward
/// by leaps, which would end windows early. After a restart of the server or a failover to another, which may have lost the last permits,
/// every window is closed for a lease and its own length.
///
/// If the database cannot be asked, calls fail with [`ErrorKind::Permits`](bunq_partner::ErrorKind::Permits), and nothing is sent.
#[derive(Clone)]
pub struct PostgresPermits(Arc<Member>);

/// A process, or a client of one, that shares the windows.
struct Member {
    id: Uuid,
    database: Database,
    counted_by: CountedBy,
    lease: Duration,
    held: Held,
}

impl PostgresPermits {
    /// Begins to make a member.
    pub fn builder(database: &Database) -> PostgresPermitsBuilder {
        PostgresPermitsBuilder::new(database)
    }
}

impl fmt::Debug for PostgresPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresPermits").field(&self.0.database.place()).finish()
    }
}

impl Member {
    fn windows(&self, window: &PermitWindow) -> Value {
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

    async fn take(&self, windows: Value, limit: RateLimit, priority: Priority) -> Result<Taken, Trouble> {
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

    async fn settle(&self, windows: Value, id: i64, settlement: Settlement) -> Result<(), Trouble> {
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

    async fn withdraw(&self, windows: Value, unused: Vec<i64>) {
        let withdraw = "SELECT bunq_partner.withdraw_permits($1, $2, $3)";
        let withdrawn = self.ask("withdraw", withdraw, vec![windows, value(unused, Type::INT8_ARRAY)]).await;
        if let Err(trouble) = withdrawn {
            tracing::debug!("permits that were not used end with their leases: {trouble}");
        }
    }
}

impl PermitStore for PostgresPermits {
    fn take<'a>(&'a self, window: &'a PermitWindow, priority: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        let (member, limit) = (Arc::clone(&self.0), window.limit);
        Box::pin(async move {
            let windows = || member.windows(window);
            let (asked, unheard) = (windows(), windows());
            let (sender, answer) = oneshot::channel();
            let asking = Arc::clone(&member);
            // It goes on if the call is dropped, and gives back what nobody uses then.
            tokio::spawn(async move {
                let taken = asking.take(asked, limit, priority).await;
                if let Err(Ok(Taken::Granted(grant))) = sender.send(taken) {
                    asking.withdraw(unheard, vec![row_id(grant.id)]).await;
                }
            });
            let taken = answer.await.unwrap_or_else(|_| Err(Trouble::new(member.database.place(), "was not asked")));
            let taken = taken.map_err(Trouble::permits)?;
            if let Taken::Granted(grant) = taken {
                Held::add(&member, row_id(grant.id));
            }
            Ok(taken)
        })
    }

    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let member = Arc::clone(&self.0);
        Box::pin(async move {
            member.held.remove(row_id(id));
            let windows = member.windows(window);
            let place = member.database.clone();
            // It goes on if the call does not wait for it.
            let settled = tokio::spawn(async move { member.settle(windows, row_id(id), settlement).await });
            let settled = settled.await.unwrap_or_else(|_| Err(Trouble::new(place.place(), "was not told")));
            settled.map_err(Trouble::permits)
        })
    }

    fn abandon(&self, window: &PermitWindow, id: u128) {
        self.0.held.remove(row_id(id));
        let (member, windows) = (Arc::clone(&self.0), self.0.windows(window));
        in_background(async move {
            if let Err(trouble) = member.settle(windows, row_id(id), Settlement::Unknown).await {
                tracing::warn!("the permit of a call that was given up is not settled: its lease ends it: {trouble}");
            }
        });
    }

    fn withdraw(&self, window: &PermitWindow, unused: &[u128]) {
        let unused: Vec<_> = unused.iter().copied().map(row_id).collect();
        for id in &unused {
            self.0.held.remove(*id);
        }
        let (member, windows) = (Arc::clone(&self.0), self.0.windows(window));
        in_background(async move { member.withdraw(windows, unused).await });
    }
}

/// Runs what a dropped call cannot wait for. Without a runtime the lease does what it would do.
fn in_background(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(work);
    }
}

fn value<T: tokio_postgres::types::ToSql + Send + Sync + 'static>(value: T, kind: Type) -> Value {
    (Box::new(value), kind)
}

/// The number of a permit, which the database has given.
fn row_id(id: u128) -> i64 {
    i64::try_from(id).unwrap_or_default()
}

/// What the functions of the database take: at most a year, which is longer than any limit.
fn microseconds(time: Duration) -> i64 {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    i64::try_from(time.min(YEAR).as_micros()).unwrap_or(i64::MAX)
}
