//! The settings of a member.

use std::sync::Arc;
use std::time::Duration;

use bunq_partner::Error;
use uuid::Uuid;

use super::PostgresPermits;
use super::counted_by::CountedBy;
use super::held::{HeldPermits, TO_ARRIVE};
use super::member::Member;
use super::registration::Registration;
use super::share::Share;
use crate::database::Database;

const DEFAULT_LEASE: Duration = Duration::from_secs(15);

/// It leaves 2 s in which a call must be sent, and a renewal over one connection be answered.
const SHORTEST_LEASE: Duration = Duration::from_secs(13);

/// A dead process, and a restart of the server, hold permits up for longer than the lease.
const LONGEST_LEASE: Duration = Duration::from_secs(600);

/// The settings of [`PostgresPermits`].
#[derive(Debug, Clone)]
#[must_use]
pub struct PostgresPermitsBuilder {
    database: Database,
    counted_by: CountedBy,
    lease: Duration,
}

impl PostgresPermitsBuilder {
    pub(super) fn new(database: &Database) -> Self {
        let counted_by = CountedBy::Address("all".to_owned());
        Self { database: database.clone(), counted_by, lease: DEFAULT_LEASE }
    }

    /// Sets by what bunq counts calls. By default all members call from one address, and bunq counts by that. All members must have the
    /// same setting, except for the name of the address.
    pub fn counted_by(mut self, counted_by: CountedBy) -> Self {
        self.counted_by = counted_by;
        self
    }

    /// Sets how long a permit is held for a process that gives no sign of life: by default 15 s, at least 13 s and at most 10 min. It is
    /// renewed three times as often. 11 s of it are for a call to connect to bunq and to arrive; one that is
    /// not sent in the rest, from when it was granted, asks again. The permits of a process that dies are free one window after their
    /// leases have ended.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Makes the member. Nothing is read or written yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Permits`](bunq_partner::ErrorKind::Permits) if the lease is too short or too long.
    pub fn build(self) -> Result<PostgresPermits, Error> {
        Ok(PostgresPermits(Arc::new(self.member()?)))
    }

    /// Makes the member with a share of the limits, in percent, that it keeps to while it cannot reach the database. Of a limit of 5 calls, 20 %
    /// are one call; a part of a call is none. The shares of all members of a database that count by the same address, or that count by key,
    /// are at most 100 %, whichever their banks and keys.
    ///
    /// The share is used once the database is sure to hold it back from the others, and what they were granted before has left the
    /// windows: four [leases](Self::lease), one window and 4 s after the last answer, 67 s by default. Until then calls fail and say when. Calls
    /// that count [by session](bunq_partner::LimitScope::Session) have no share. When the database answers again, its permits
    /// are used again.
    ///
    /// The database holds back the share of a member that does not renew its lease: one that is cut off, and one that has ended. It does
    /// so until a process joins with the same name, or the member is [forgotten](Database::forget_member). So give a process the
    /// name of the one that it replaces, and start it when that has ended: two that run with one name may send more than bunq allows when both
    /// are cut off. The first of them has no share any more once it hears of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Permits`](bunq_partner::ErrorKind::Permits) like [`build`](Self::build), if the share is not possible beside those of
    /// the others, and if the database cannot be asked.
    pub async fn build_with_share(self, name: impl Into<String>, percent: u8) -> Result<PostgresPermits, Error> {
        let mut member = self.member()?;
        let Member { id, database, counted_by, lease, .. } = &member;
        let share = Share::join(Registration {
            member: *id,
            name: name.into(),
            percent,
            counted_by: counted_by.clone(),
            lease: *lease,
            database: database.clone(),
        });
        let share = Arc::new(share.await?);
        share.keep();
        member.share = Some(share);
        Ok(PostgresPermits(Arc::new(member)))
    }

    fn member(self) -> Result<Member, Error> {
        let Self { database, counted_by, lease } = self;
        if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease) {
            let problem = format_args!(
                "a lease of {lease:?} is not possible: set one from {SHORTEST_LEASE:?}, of which a call takes {TO_ARRIVE:?} to \
                 connect and to arrive, to {LONGEST_LEASE:?}"
            );
            return Err(Error::permits(problem));
        }
        let (id, held) = (Uuid::new_v4(), HeldPermits::default());
        Ok(Member { id, database, counted_by, lease, held, share: None })
    }
}
