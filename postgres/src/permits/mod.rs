//! Permits in the database: one set of rate windows for all processes that use it.

mod builder;
mod counted_by;
mod held;
mod member;
mod metrics;
mod registration;
mod renewals;
mod share;

use std::fmt;
use std::sync::Arc;

use bunq_partner::{
    BoxFuture, Error, OtherSessions, PermitStore, PermitWindow, Priority, Settlement, Taken, WaitingSessions,
};

pub use self::builder::PostgresPermitsBuilder;
pub use self::counted_by::CountedBy;
use self::member::{Answer, Member, in_background, row_id};
use self::share::Share;
use crate::database::Database;
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
/// Nobody is woken: a member that was told when to ask again sleeps until then, also if a permit was given back meanwhile. So one that
/// waits alone may wait for up to one window longer than it would have to.
///
/// A call costs three statements at most, however many wait: a member that has to wait is told when to ask again, and has then the
/// permit or a time shortly after, at which it is free. It costs more if a response takes longer than a window, after a 429, and for
/// whoever is overtaken by a session.
///
/// # What is exact
///
/// A permit counts until one window after the response. It is held under a [lease](PostgresPermitsBuilder::lease), which is renewed
/// while the call lasts. When its process dies, it counts until one window after the end of the lease. A call that has not been sent
/// 11 s before the first end of the lease, because its machine stood still, is not sent with it: it may take as long to arrive.
///
/// All times are those of the server's clock. It may be set back, and the machines' clocks do not matter. It must not be set forward
/// by leaps, which would end windows early. After a restart of the server or a failover to another, which may have lost the last permits,
/// every window is closed for a lease, its own length, and up to 3 s more.
///
/// If the database cannot be asked, calls fail with [`ErrorKind::Permits`](bunq_partner::ErrorKind::Permits), and nothing is sent. A member
/// [with a share](PostgresPermitsBuilder::build_with_share) goes on with that part of the limits after a while.
#[derive(Clone)]
pub struct PostgresPermits(Arc<Member>);

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

impl PermitStore for PostgresPermits {
    fn take<'a>(&'a self, window: &'a PermitWindow, priority: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async move {
            let member = &self.0;
            if let Some(share) = &member.share {
                share.keep();
                if let Some(taken) = share.take(window, priority).await {
                    return taken;
                }
            }
            let answer = Member::take(Arc::clone(member), member.windows(window), window.limit, priority).await;
            answer.map(Answer::heard).map_err(|trouble| member.no_permit(window, &trouble))
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
            if let Some(share) = member.share.as_ref().filter(|_| Share::has(id)) {
                return share.settle(window, id, settlement).await;
            }
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
        if let Some(share) = self.0.share.as_ref().filter(|_| Share::has(id)) {
            return share.abandon(window, id);
        }
        self.0.held.remove(row_id(id));
        let (member, windows) = (Arc::clone(&self.0), self.0.windows(window));
        in_background(async move {
            if let Err(trouble) = member.settle(windows, row_id(id), Settlement::Unknown).await {
                tracing::warn!("the permit of a call that was given up is not settled: its lease ends it: {trouble}");
            }
        });
    }

    fn withdraw(&self, window: &PermitWindow, unused: &[u128]) {
        let (own, unused): (Vec<u128>, Vec<_>) = unused.iter().copied().partition(|id| Share::has(*id));
        for id in own {
            self.abandon(window, id);
        }
        let unused: Vec<_> = unused.into_iter().map(row_id).collect();
        for id in &unused {
            self.0.held.remove(*id);
        }
        let (member, windows) = (Arc::clone(&self.0), self.0.windows(window));
        in_background(async move { member.withdraw(windows, unused).await });
    }

    fn announce<'a>(
        &'a self,
        window: &'a PermitWindow,
        sessions: WaitingSessions,
    ) -> BoxFuture<'a, Result<OtherSessions, Error>> {
        Box::pin(async move {
            let member = &self.0;
            if let Some(share) = &member.share
                && let Some(others) = share.announce(window, &sessions).await
            {
                return others;
            }
            let announced = member.announce(member.windows(window), window.limit, sessions).await;
            announced.map_err(|trouble| member.no_permit(window, &trouble))
        })
    }
}
