//! What the database knows of a share, and the statements about it.

use std::time::{Duration, SystemTime};

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::counted_by::CountedBy;
use super::held::RENEWALS;
use crate::database::{Database, microseconds, value};
use crate::trouble::Trouble;

/// Whose share it is, and how much.
pub(super) struct Registration {
    /// The id of the member.
    pub(super) member: Uuid,
    pub(super) name: String,
    pub(super) percent: u8,
    pub(super) counted_by: CountedBy,
    pub(super) lease: Duration,
    pub(super) database: Database,
}

/// The outcome of joining.
pub(super) enum Joined {
    /// It has its share, and the database's clock shows this.
    Share(SystemTime),
    /// It has none, for this reason.
    Refused(String),
}

/// The answer to a renewal.
pub(super) struct Renewal {
    pub(super) is_renewed: bool,
    /// Whether the database knows the share.
    pub(super) is_known: bool,
    /// What the database's clock shows.
    pub(super) clock: SystemTime,
    /// The longest lease of all permits.
    pub(super) longest_lease: Duration,
    /// The windows for which bunq has named a limit.
    pub(super) named: Vec<String>,
}

impl Registration {
    /// Has the member join. If it comes back, `heard` is what the database's clock has shown it last: this comes into force within a lease
    /// from then, or not at all.
    pub(super) async fn join(&self, heard: Option<SystemTime>) -> Result<Joined, Trouble> {
        let Self { member, name, percent, counted_by, lease, database } = self;
        let join = "SELECT clock, outcome, others, percent_left FROM bunq_partner.join_share($1, $2, $3, $4, $5, $6)";
        let values = vec![
            value(name.clone(), Type::TEXT),
            value(*member, Type::UUID),
            value(i32::from(*percent), Type::INT4),
            value(counted_by.scopes(), Type::TEXT_ARRAY),
            value(microseconds(*lease), Type::INT8),
            value(heard, Type::TIMESTAMPTZ),
        ];
        let rows = database.query(join, values).await?;
        let row = database.row(&rows)?;
        let outcome: String = database.column(row, 1)?;
        Ok(match outcome.as_str() {
            "joined" => Joined::Share(database.column(row, 0)?),
            "replaced" => Joined::Refused(format!(
                "another process has joined as {name}: give each process that runs a name of its own"
            )),
            _ => {
                let (others, left): (Option<String>, i32) = (database.column(row, 2)?, database.column(row, 3)?);
                Joined::Refused(format!(
                    "there is no share of {percent} % for {name} in {}: {}, and {} % is left. Lower the shares, or forget a member that \
                     is gone with `bunq-partner fleet forget NAME`",
                    database.place(),
                    others.unwrap_or_default(),
                    left.max(0)
                ))
            }
        })
    }

    /// Renews the lease, if it has not ended. It comes into force within a lease from `heard`, or not at all.
    pub(super) async fn renew(&self, heard: SystemTime) -> Result<Renewal, Trouble> {
        let Self { member, name, lease, database, .. } = self;
        let renew = "SELECT clock, holder, is_renewed, longest_lease, named FROM bunq_partner.renew_share($1, $2, $3)";
        let values = [value(name.clone(), Type::TEXT), value(*member, Type::UUID), value(heard, Type::TIMESTAMPTZ)];
        let rows = database.query_twice(*lease / RENEWALS / 2, renew, &values).await?;
        let row = database.row(&rows)?;
        let longest: Option<i64> = database.column(row, 3)?;
        let longest = longest.and_then(|lease| u64::try_from(lease).ok()).unwrap_or_default();
        Ok(Renewal {
            is_renewed: database.column(row, 2)?,
            is_known: database.column::<Option<Uuid>>(row, 1)? == Some(*member),
            clock: database.column(row, 0)?,
            longest_lease: Duration::from_micros(longest).max(*lease),
            named: database.column(row, 4)?,
        })
    }
}
