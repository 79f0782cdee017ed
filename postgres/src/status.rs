//! What the machines that share a database do now, which changes nothing and takes no lock; and which of them are forgotten.

use std::time::Duration;

use bunq_partner::jiff::Timestamp;
use bunq_partner::{Error, RateLimit, Uuid};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::database::Database;
use crate::trouble::Trouble;

/// What the machines that share a database do now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The database, as in `the database acme at db.example.com:5432`.
    pub database: String,
    /// The version of the schema.
    pub schema_version: i32,
    /// What the server's clock shows.
    pub time: Timestamp,
    /// The windows of bunq's rate limits in which something counts or waits, or that are closed.
    pub windows: Vec<WindowStatus>,
    /// The locks of contexts and users that are held, or whose holder has given a sign of life in the last 15 seconds.
    pub locks: Vec<LockStatus>,
    /// The members that have asked for a permit in the last ten minutes, or hold one.
    pub members: Vec<MemberStatus>,
    /// The shares of the limits that members keep to while they cannot reach the database.
    pub shares: Vec<ShareStatus>,
}

/// A window of bunq's rate limits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowStatus {
    /// The base URL, the operation, and by what its calls count.
    pub name: String,
    /// How many permits are held: their calls have no response yet, as far as is known.
    pub held: u64,
    /// How many calls besides count still.
    pub counting: u64,
    /// How many members wait.
    pub waiting: u64,
    /// How long no call will be sent: after a 429, or a restart of the server.
    pub closed_for: Duration,
    /// The limits that apply, the strictest first.
    pub limits: Vec<RateLimit>,
}

/// A lock of a context or a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockStatus {
    /// Of what it is.
    pub name: String,
    /// The `application_name` of the holder's connections, its process, and from where it has connected.
    pub holder: String,
    /// For how long it has been held.
    pub held_for: Duration,
    /// When the holder has renewed its lease last.
    pub renewed_ago: Duration,
}

/// A process that shares the windows, or a client of one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its id, which it has chosen at its start.
    pub id: Uuid,
    /// How many permits it holds.
    pub held: u64,
    /// In how many windows it waits.
    pub waiting: u64,
    /// When it has been heard of last.
    pub seen_ago: Duration,
}

/// A share of the limits, of a member that was [built with one](crate::PostgresPermitsBuilder::build_with_share).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareStatus {
    /// The name of the member.
    pub name: String,
    /// The id of its process.
    pub member: Uuid,
    /// How much it is of each limit, in percent.
    pub percent: u32,
    /// What its calls count by: `address NAME`, `key`, or both.
    pub counted_by: Vec<String>,
    /// When the member has renewed its lease last.
    pub renewed_ago: Duration,
    /// The lease has ended, and the share is held back from the others: until the member comes back, a process joins with its name, or it
    /// is [forgotten](Database::forget_member).
    pub is_held_back: bool,
}

const SERVER: &str = "
    SELECT max(version), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM bunq_partner.schema_version";

const WINDOWS: &str = "
    SELECT name, held, counting, waiting,
        CASE WHEN opens > now THEN extract(epoch FROM opens - now) * 1000000 ELSE 0 END::bigint, calls, per
    FROM bunq_partner.permit_windows AS w
    CROSS JOIN LATERAL (SELECT clock_timestamp() + set_back AS now) AS clock
    CROSS JOIN LATERAL (SELECT greatest(w.closed_until, w.claim_closed_until) AS opens) AS closed
    CROSS JOIN LATERAL (
        SELECT max(per) AS longest, coalesce(array_agg(calls ORDER BY per / calls DESC), '{}') AS calls,
            coalesce(array_agg((extract(epoch FROM per) * 1000000)::bigint ORDER BY per / calls DESC), '{}') AS per
        FROM (
            SELECT calls, per FROM bunq_partner.permit_limits WHERE window_id = w.id
            UNION SELECT named_calls, named_per WHERE named_until > now
            UNION SELECT claim_calls, claim_per WHERE claim_until > now AND claim_calls IS NOT NULL
        ) AS each
    ) AS limits
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE is_held) AS held,
            count(*) FILTER (WHERE NOT is_held AND coalesce(settled, lease_until) + longest > now) AS counting
        FROM (
            SELECT *, settled IS NULL AND lease_until > now AS is_held FROM bunq_partner.permits WHERE window_id = w.id
        ) AS each
    ) AS places
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting FROM bunq_partner.permit_waiters
        WHERE window_id = w.id AND ask_at + interval '1 s' > now
    ) AS waiters
    WHERE held + counting + waiting > 0 OR opens > now
    ORDER BY name";

const LOCKS: &str = "
    SELECT name, holder, (extract(epoch FROM clock_timestamp() - taken_at) * 1000000)::bigint,
        (extract(epoch FROM clock_timestamp() - renewed_at) * 1000000)::bigint
    FROM bunq_partner.lock
    WHERE renewed_at > clock_timestamp() - interval '15 s' OR EXISTS (
        SELECT FROM pg_catalog.pg_locks WHERE pid = backend AND locktype = 'advisory' AND granted AND objsubid = 1
            AND (classid::bigint << 32) | objid::bigint = bunq_partner.lock_key(name)
    )
    ORDER BY name";

const MEMBERS: &str = "
    SELECT member, count(DISTINCT permit), count(DISTINCT waiting), (extract(epoch FROM min(seen_ago)) * 1000000)::bigint
    FROM bunq_partner.permit_windows AS w
    CROSS JOIN LATERAL (SELECT clock_timestamp() + set_back AS now) AS clock
    CROSS JOIN LATERAL (
        SELECT member, CASE WHEN settled IS NULL AND lease_until > now THEN p.id END AS permit, NULL::bigint AS waiting,
            now - coalesce(settled, least(starts, now)) AS seen_ago
        FROM bunq_partner.permits AS p WHERE window_id = w.id
        UNION ALL
        SELECT member, NULL, CASE WHEN ask_at + interval '1 s' > now THEN w.id END, now - greatest(since, served)
        FROM bunq_partner.permit_waiters WHERE window_id = w.id
    ) AS signs
    GROUP BY member
    HAVING min(seen_ago) < interval '10 min' OR count(permit) > 0
    ORDER BY member";

const SHARES: &str = "
    SELECT name, member, percent, scopes, (extract(epoch FROM clock_timestamp() - renewed) * 1000000)::bigint,
        is_lapsed OR clock_timestamp() < renewed OR renewed + lease <= clock_timestamp()
    FROM bunq_partner.permit_shares
    WHERE ended IS NULL
    ORDER BY name";

/// A share that is renewed is not forgotten.
const FORGET: &str = "
    UPDATE bunq_partner.permit_shares SET ended = clock_timestamp()
    WHERE name = $1 AND ended IS NULL AND (is_lapsed OR renewed + lease <= clock_timestamp())
    RETURNING name";

impl Database {
    /// Reads what the machines do now, for people who operate them.
    ///
    /// # Errors
    ///
    /// Like [`connect`](Self::connect).
    pub async fn status(&self) -> Result<Status, Error> {
        self.read_status().await.map_err(Trouble::context)
    }

    /// Forgets a member that has ended for good: its [share](crate::PostgresPermitsBuilder::build_with_share) is not held back from the others
    /// any more. Do it only when its process has ended: one that is cut off uses its share.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](bunq_partner::ErrorKind::Context) if no member of this name has a share, or it still renews its lease; and like
    /// [`connect`](Self::connect).
    pub async fn forget_member(&self, name: &str) -> Result<(), Error> {
        self.forget(name).await.map_err(Trouble::context)
    }

    async fn forget(&self, name: &str) -> Result<(), Trouble> {
        let forgotten = self.query(FORGET, vec![(Box::new(name.to_owned()), Type::TEXT)]).await?;
        if !forgotten.is_empty() {
            return Ok(());
        }
        let shares = self.query(SHARES, Vec::new()).await?;
        let names = shares.iter().map(|row| self.column::<String>(row, 0)).collect::<Result<Vec<_>, _>>()?;
        let problem = match names.iter().any(|known| known == name) {
            true => format!("has heard of the member {name} lately: stop it, and try again when its lease has ended"),
            false if names.is_empty() => format!("knows no member {name} with a share: there is none"),
            false => format!("knows no member {name} with a share: there are {}", names.join(", ")),
        };
        Err(Trouble::new(self.place(), problem))
    }

    async fn read_status(&self) -> Result<Status, Trouble> {
        let read = |sql| self.query(sql, Vec::new());
        let (windows, locks, members) = (read(WINDOWS).await?, read(LOCKS).await?, read(MEMBERS).await?);
        let shares = read(SHARES).await?;
        let server = read(SERVER).await?;
        let server = self.row(&server)?;
        let window = |row| {
            let limits = self.column::<Vec<i32>>(row, 5)?.into_iter().zip(self.column::<Vec<i64>>(row, 6)?);
            let limit = |(calls, per)| RateLimit::new(u32::try_from(calls).unwrap_or_default(), microseconds(per));
            Ok(WindowStatus {
                name: self.column(row, 0)?,
                held: self.count(row, 1)?,
                counting: self.count(row, 2)?,
                waiting: self.count(row, 3)?,
                closed_for: self.duration(row, 4)?,
                limits: limits.map(limit).collect(),
            })
        };
        let lock = |row| {
            Ok(LockStatus {
                name: self.column(row, 0)?,
                holder: self.column(row, 1)?,
                held_for: self.duration(row, 2)?,
                renewed_ago: self.duration(row, 3)?,
            })
        };
        let member = |row| {
            Ok(MemberStatus {
                id: self.column(row, 0)?,
                held: self.count(row, 1)?,
                waiting: self.count(row, 2)?,
                seen_ago: self.duration(row, 3)?,
            })
        };
        let share = |row| {
            Ok(ShareStatus {
                name: self.column(row, 0)?,
                member: self.column(row, 1)?,
                percent: u32::try_from(self.column::<i32>(row, 2)?).unwrap_or_default(),
                counted_by: self.column(row, 3)?,
                renewed_ago: self.duration(row, 4)?,
                is_held_back: self.column(row, 5)?,
            })
        };
        Ok(Status {
            database: self.place().to_owned(),
            schema_version: self.column(server, 0)?,
            time: Timestamp::from_microsecond(self.column(server, 1)?).unwrap_or_default(),
            windows: windows.iter().map(window).collect::<Result<_, Trouble>>()?,
            locks: locks.iter().map(lock).collect::<Result<_, Trouble>>()?,
            members: members.iter().map(member).collect::<Result<_, Trouble>>()?,
            shares: shares.iter().map(share).collect::<Result<_, Trouble>>()?,
        })
    }

    fn count(&self, row: &Row, index: usize) -> Result<u64, Trouble> {
        Ok(u64::try_from(self.column::<i64>(row, index)?).unwrap_or_default())
    }

    /// Reads microseconds. A clock that was set back may make them negative.
    fn duration(&self, row: &Row, index: usize) -> Result<Duration, Trouble> {
        Ok(microseconds(self.column(row, index)?))
    }
}

fn microseconds(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or_default())
}
