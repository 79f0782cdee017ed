//! The users of a partner: their credentials in custody, their sessions, and clients that act for them.
//!
//! bunq shows the token of a credential until its first session is opened, and lets it live for four hours unused. So it is stored before anything is done with
//! it ([`activation`], [`reset`]), and its session is opened in the one order that all sessions of a client have. bunq decides what is right:
//! the provision is read, and what is in custody is held against its credential.

mod activation;
mod credential;
mod events;
mod places;
mod recent;
mod reset;
mod room;
mod source;
mod user_client;
mod user_shared;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use futures_util::stream::{Stream, StreamExt as _, TryStreamExt as _, iter};
#[cfg(feature = "webhook")]
use tokio::sync::broadcast;
use tokio::time::Instant;
use tracing::Span;

use self::events::unactivated;
pub use self::events::{Unactivated, UserEvent};
pub use self::places::Places;
use self::recent::{REMEMBERED_FOR, RecentUsers};
pub(crate) use self::room::UserDevice;
use self::room::{Acting, Room};
pub use self::user_client::UserClient;
use self::user_shared::UserShared;
use crate::api::Api;
use crate::custody::{CustodyEntry, CustodyFilter, Granted, Records};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Sent};
use crate::provisions::Provisions;
use crate::session::turns::Turns;
use crate::sync::lock;
use crate::transport::runtime;
use crate::types::{Phase, ProvisionId, UserId};

/// Acts for users: activates their credentials, keeps what is needed for it in [custody](crate::ClientBuilder::custody), and gives a
/// [`UserClient`] for each. Cheap to clone.
///
/// The credential of a new user is the most delicate thing there is: bunq never shows its token after the first session, it expires after four hours (one hour
/// in the sandbox) unless a session was opened with it, and one session can be opened in 30 seconds. So
///
/// - a token is stored before it is used, and found again after a crash at any point;
/// - all sessions of a client, its clones and its users are opened in one order: the partner's first, then that whose credential expires
///   first. Another client has an order of its own: a process has one client for each bank and API key;
/// - one that cannot be in time, or that would make another late, is refused at once
///   ([`RateLimited`](crate::ErrorKind::RateLimited), with the time that it would have needed);
/// - a session that has ended is opened again with the stored token.
///
/// ```no_run
/// # async fn example(ready: bunq_partner::ProvisionId) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::{Client, Environment, MemoryCustody};
///
/// let client = Client::builder(Environment::Sandbox).api_key("sandbox_…").custody(MemoryCustody::new()).build()?;
/// let user = client.users().activate(ready).await?;
/// println!("acts for {:?}", user.user().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Users(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    room: Arc<Room>,
    /// The users that somebody acts for.
    open: Mutex<HashMap<ProvisionId, Weak<UserShared>>>,
    /// Those whom somebody has acted for a short time ago: what they must remember outlives a handle.
    recent: Arc<RecentUsers<UserShared>>,
    acting: Arc<Acting>,
}

impl Users {
    /// The users of a partner, who makes calls with `api`.
    pub(crate) fn new(
        environment: Environment,
        api: Api,
        provisions: Provisions,
        turns: Turns,
        device: UserDevice,
        records: Option<Records>,
    ) -> Self {
        let has_custody = records.is_some();
        let acting = Arc::new(Acting(turns.clone()));
        let room = Arc::new(Room::new(environment, api, provisions, turns, device, records));
        // A call ends within its time, and then an answer to it may arrive late.
        let remembered = REMEMBERED_FOR.max(room.provisions.config().late_arrival);
        let remembered = remembered + room.api.transport().config().operation_timeout;
        let recent = Arc::new(RecentUsers::new(remembered));
        let users = Self(Arc::new(Shared { room, open: Mutex::default(), recent, acting }));
        if has_custody {
            let shared = Arc::downgrade(&users.0);
            users.0.room.provisions.feed().at_the_end(move |seen| {
                let (Some(shared), Phase::Closed) = (shared.upgrade(), seen.status.phase()) else { return };
                let id = seen.id;
                let removed = async move { warn(id, Self(shared).remove_closed(id).await) };
                // It is within a read, so there is a runtime.
                runtime::spawn(Span::current(), Box::pin(removed));
            });
        }
        users
    }

    /// Returns the client that acts for the user of a provision. It reads nothing: its first call reads the custody.
    ///
    /// All that are asked for at the same time share one session.
    pub fn of(&self, id: ProvisionId) -> UserClient {
        let mut open = lock(&self.0.open);
        if open.len() > 64 && open.len().is_power_of_two() {
            open.retain(|_, user| user.strong_count() > 0);
        }
        if let Some(user) = open.get(&id).and_then(Weak::upgrade) {
            return UserClient::new(user, Arc::clone(&self.0.acting));
        }
        let recent = Arc::downgrade(&self.0.recent);
        let user = Arc::new(UserShared::new(Arc::clone(&self.0.room), id, recent));
        open.insert(id, Arc::downgrade(&user));
        UserClient::new(user, Arc::clone(&self.0.acting))
    }

    /// Activates many users, and yields each with what became of it, in the order in which they are done. It takes no more of them
    /// from the stream than can have a session before the first of their credentials expires.
    ///
    /// The errors are those of [`activate`](Self::activate).
    pub fn activate_all<S>(
        &self,
        ids: S,
    ) -> impl Stream<Item = (ProvisionId, Result<UserClient, Error>)> + Send + use<S>
    where
        S: Stream<Item = ProvisionId> + Send + 'static,
    {
        let users = self.clone();
        ids.map(move |id| {
            let users = users.clone();
            async move { (id, users.activate(id).await) }
        })
        .buffer_unordered(self.capacity().max(1))
    }

    /// Checks that the custody can be used, and takes it for this process. Without it, the first user that is activated does so: call it
    /// before users are created. It sends nothing.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if it cannot be used, or another process uses it;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no custody.
    pub async fn check_custody(&self) -> Result<(), Error> {
        self.0.room.records()?.check().await
    }

    /// Returns how many users can have a session before the first of their credentials expires, at this client's rate limit of
    /// [`create_session`](crate::Operation::CREATE_SESSION): 480, and 120 in the sandbox, unless the limit is set.
    pub fn capacity(&self) -> usize {
        self.0.room.capacity()
    }

    /// Makes places for so many new users at a time, but one at least, usually [`capacity`](Self::capacity): whoever creates more has
    /// credentials that expire. [`gate`](Places::gate) holds creation back until a place is free.
    pub fn places(&self, capacity: usize) -> Places {
        Places::new(Arc::clone(&self.0.room), capacity)
    }

    /// Yields what the custody has of all users, with ascending ids. Nothing of it is secret.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if the custody cannot be read;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no custody.
    pub fn list(&self) -> impl Stream<Item = Result<CustodyEntry, Error>> + Send + use<> {
        let entries = self.0.room.records().map(|records| records.entries(CustodyFilter::All));
        iter([entries]).try_flatten()
    }

    /// Returns what the custody has of a user; `None` if it has nothing.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn get(&self, id: ProvisionId) -> Result<Option<CustodyEntry>, Error> {
        self.0.room.kept(id)?.entry().await
    }

    /// Yields what becomes of users from now on.
    ///
    /// Credentials that nobody has activated are looked at from the first call of a method that needs the custody, or of this one within a
    /// runtime; those that expire soon are a warning of `tracing` too. Nothing is read of users that are activated. Before it is told that a
    /// credential has expired, its provision is read at bunq, within the share of [nudges](crate::Feed::nudge): it may have been used.
    pub fn events(&self) -> impl Stream<Item = UserEvent> + Send + use<> {
        self.0.room.events.watch();
        self.0.room.events.subscribe()
    }

    /// Tells the users whose sessions are opened from now on, for the first time or again.
    #[cfg(feature = "webhook")]
    pub(crate) fn opened_sessions(&self) -> broadcast::Receiver<ProvisionId> {
        self.0.room.events.opened_sessions()
    }

    /// Counts the credentials in custody that nobody has activated, and says when the next of them expires. It reads nothing of other
    /// users.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn unactivated(&self) -> Result<Unactivated, Error> {
        unactivated(self.0.room.records()?).await
    }

    /// Removes from custody what is kept of a user whose provision is closed, if there is anything.
    ///
    /// Whatever reads that a provision is closed begins this too, such as the wait for a closing, and goes on without it. The end of the
    /// process may come first. This reads the provision, and returns when nothing is kept.
    ///
    /// # Errors
    ///
    /// [`Unattainable`](crate::ErrorKind::Unattainable) if the provision is not closed: its token may be the only copy.
    /// [`Context`](crate::ErrorKind::Context) if the custody cannot be changed.
    pub async fn remove(&self, id: ProvisionId) -> Result<(), Error> {
        self.0.room.records()?;
        let seen = self.0.room.provisions.get(id).await?;
        if seen.status.phase() != Phase::Closed {
            let problem = format_args!("provision {id} is {}, not closed: what is kept of its user stays", seen.status);
            return Err(Error::new(ErrorKind::Unattainable, Sent::Responded, problem));
        }
        self.remove_closed(id).await
    }

    /// Returns the provisions that have made a user, by either id by which bunq's calls name the user. It asks bunq nothing.
    ///
    /// `since`: when the call arrived. That nobody has made the user is known only by what the custody has had since.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if the custody cannot be listed.
    #[cfg_attr(not(any(test, feature = "webhook")), expect(dead_code, reason = "calls of bunq name users so"))]
    pub(crate) async fn provisions_of(&self, user: UserId, since: Instant) -> Result<Granted, Error> {
        match self.0.room.records() {
            Ok(records) => records.provisions_of(user, since).await,
            // Without a custody there are no users.
            Err(_) => Ok(Granted::Nobody),
        }
    }

    /// The user, if somebody acts for it.
    fn known(&self, id: ProvisionId) -> Option<Arc<UserShared>> {
        lock(&self.0.open).get(&id).and_then(Weak::upgrade)
    }

    /// Removes what is kept of a user whose provision is closed.
    async fn remove_closed(&self, id: ProvisionId) -> Result<(), Error> {
        let known = self.known(id);
        // Whoever is about to store a token does so before. Nobody begins it any more: bunq shows that the provision is closed.
        let _working = match &known {
            Some(user) => {
                user.forget();
                Some(user.work.lock().await)
            }
            None => None,
        };
        self.remove_kept(id).await
    }

    /// Removes what is kept of a user whose provision is closed, for whoever holds `work` of the user.
    async fn remove_kept(&self, id: ProvisionId) -> Result<(), Error> {
        let kept = self.0.room.kept(id)?;
        // Also while another process uses the custody, which then removes it.
        if kept.entry().await?.is_none() {
            return Ok(());
        }
        let is_removed = kept.remove().await?;
        if let Some(user) = self.known(id) {
            user.forget();
        }
        if is_removed {
            self.0.room.events.tell(UserEvent::Removed(id));
        }
        Ok(())
    }
}

/// Tells that what is kept of a closed user was not removed beside what has shown that.
fn warn(id: ProvisionId, removed: Result<(), Error>) {
    if let Err(error) = removed {
        tracing::warn!(provision = %id, %error, "the record of a closed user is not removed from custody");
    }
}

#[cfg(test)]
mod tests;
