//! Credentials that expire: how many new users may wait to be taken into use, and their being taken into use.
//!
//! bunq lets one session be opened in 30 s. No more users are created than could have a session before the first credential
//! expires.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::jiff::Timestamp;
use bunq_partner::{
    Client, CredentialStatus, Environment, Error, NewProvision, Operation, PageSize, ProvisionId, ProvisionStatus,
    RateLimit, RowRecord, Shutdown, Uuid,
};
use futures_util::stream::{FuturesUnordered, Stream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::super::connection::Connection;
use super::users::Users;

/// How long bunq may take to make a user.
const READY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The pause after a failure that passes by itself.
const PAUSE: Duration = Duration::from_secs(5);

/// What is to be said of the new users.
#[derive(Debug)]
pub(super) enum Event {
    /// No further user is created until one of these is taken into use.
    Held {
        waiting: usize,
    },
    /// A user was taken into use.
    InUse,
    Failed(Uuid, Error),
    /// Credentials have expired unused.
    Expired(usize),
    /// There is nothing more to do.
    Over,
}

/// The new users, until they are taken into use.
pub(super) struct Uptake {
    rows: Option<UnboundedSender<(Uuid, ProvisionId)>>,
    said: UnboundedSender<Event>,
    events: UnboundedReceiver<Event>,
    places: Arc<Semaphore>,
    capacity: usize,
}

impl Uptake {
    /// Begins. With a folder it takes users into use; without one it watches others do it.
    pub(super) fn begin(connection: &Connection, client: &Client, folder: Option<PathBuf>, shutdown: Shutdown) -> Self {
        let interval = connection.interval(&Operation::CREATE_SESSION);
        let capacity = capacity(connection.environment());
        let (said, events) = unbounded_channel();
        let (rows, new) = unbounded_channel();
        let places = Arc::new(Semaphore::new(capacity));
        let task = Task { client: client.clone(), places: Arc::clone(&places), said: said.clone(), shutdown };
        tokio::spawn(async move {
            match folder {
                Some(folder) => task.take_into_use(Users::new(task.client.clone(), folder), new).await,
                None => task.watch(new, interval.max(Duration::from_millis(20))).await,
            }
            task.say(Event::Over);
        });
        Self { rows: Some(rows), said, events, places, capacity }
    }

    /// Lets a user through when there is a place for it.
    pub(super) fn gate<S>(&self, new: S) -> impl Stream<Item = NewProvision> + Send + use<S>
    where
        S: Stream<Item = NewProvision> + Send + 'static,
    {
        let (places, said, capacity) = (Arc::clone(&self.places), self.said.clone(), self.capacity);
        new.then(move |new| {
            let (places, said) = (Arc::clone(&places), said.clone());
            async move {
                if places.available_permits() == 0 {
                    // Nobody listens at the end.
                    let _ = said.send(Event::Held { waiting: capacity });
                }
                if let Ok(place) = places.acquire().await {
                    place.forget();
                }
                new
            }
        })
    }

    /// Takes over the user of a row, or gives its place back.
    pub(super) fn add(&self, row: &RowRecord) {
        match (row.state.is_done(), row.external_uuid, row.id) {
            (true, Some(external_uuid), Some(id)) => {
                // The task does not end before.
                let _ = self.rows.as_ref().map(|rows| rows.send((external_uuid, id)));
            }
            _ => self.places.add_permits(1),
        }
    }

    /// No further user comes.
    pub(super) fn end(&mut self) {
        self.rows = None;
    }

    pub(super) async fn event(&mut self) -> Event {
        self.events.recv().await.unwrap_or(Event::Over)
    }
}

/// How many users can have a session before the first of their credentials expires.
pub(super) fn capacity(environment: Environment) -> usize {
    let lifetime = match environment {
        Environment::Production => Duration::from_secs(4 * 3600),
        _ => Duration::from_secs(3600),
    };
    let RateLimit { calls, per, .. } = Operation::CREATE_SESSION.rate_limit;
    usize::try_from(lifetime.as_secs() * u64::from(calls) / per.as_secs().max(1)).unwrap_or(usize::MAX)
}

struct Task {
    client: Client,
    places: Arc<Semaphore>,
    said: UnboundedSender<Event>,
    shutdown: Shutdown,
}

impl Task {
    fn say(&self, event: Event) {
        // Nobody listens at the end.
        let _ = self.said.send(event);
    }

    /// Stores the token of each user when bunq has made it, and opens the sessions, that of the credential first which expires
    /// first. After a shutdown no further session is opened; the tokens that come are stored.
    async fn take_into_use(&self, users: Users, mut new: UnboundedReceiver<(Uuid, ProvisionId)>) {
        let users = &users;
        let mut making = FuturesUnordered::new();
        let mut ready: BTreeSet<(Option<Timestamp>, Uuid)> = BTreeSet::new();
        let mut opening = FuturesUnordered::new();
        let mut is_over = false;
        loop {
            if opening.is_empty()
                && !self.shutdown.has_begun()
                && let Some((expiry, external_uuid)) = ready.pop_first()
            {
                opening.push(async move { (expiry, external_uuid, users.open_session(external_uuid).await) });
            }
            tokio::select! {
                row = new.recv(), if !is_over => match row {
                    None => is_over = true,
                    Some((external_uuid, id)) => {
                        making.push(async move { (external_uuid, users.store_token(external_uuid, id, READY_TIMEOUT).await) });
                    }
                },
                Some((external_uuid, stored)) = making.next() => match stored {
                    Ok(Some(expiry)) => { ready.insert((expiry, external_uuid)); }
                    Ok(None) => self.used(),
                    Err(error) => self.failed(external_uuid, error),
                },
                Some((expiry, external_uuid, opened)) = opening.next() => match opened {
                    Ok(()) => self.used(),
                    Err(error) if error.is_retryable() && !self.shutdown.has_begun() => {
                        sleep(PAUSE).await;
                        ready.insert((expiry, external_uuid));
                    }
                    Err(error) => self.failed(external_uuid, error),
                },
                else => break,
            }
            if is_over && making.is_empty() && opening.is_empty() && (ready.is_empty() || self.shutdown.has_begun()) {
                break;
            }
        }
    }

    fn used(&self) {
        self.places.add_permits(1);
        self.say(Event::InUse);
    }

    fn failed(&self, external_uuid: Uuid, error: Error) {
        self.places.add_permits(1);
        self.say(Event::Failed(external_uuid, error));
    }

    /// Gives a place back for each user that others have taken into use, or whose credential has expired.
    async fn watch(&self, mut new: UnboundedReceiver<(Uuid, ProvisionId)>, pause: Duration) {
        let mut waiting = HashSet::new();
        loop {
            tokio::select! {
                row = new.recv() => match row {
                    None => return,
                    Some((_, id)) => { waiting.insert(id); }
                },
                () = sleep(pause), if self.places.available_permits() == 0 => {
                    // A failed look is made again.
                    if let Ok((unused, expired)) = self.unused().await {
                        let before = waiting.len();
                        let expired_of_these = waiting.intersection(&expired).count();
                        waiting.retain(|id| unused.contains(id));
                        self.places.add_permits(before - waiting.len());
                        if expired_of_these > 0 {
                            self.say(Event::Expired(expired_of_these));
                        }
                    }
                }
            }
        }
    }

    /// The provisions whose credential nobody has used yet, and those whose credential has expired.
    async fn unused(&self) -> Result<(HashSet<ProvisionId>, HashSet<ProvisionId>), Error> {
        let listing = self.client.provisions().list().status([ProvisionStatus::Created]).count(PageSize::MAX);
        let mut provisions = std::pin::pin!(listing.stream());
        let (mut unused, mut expired) = (HashSet::new(), HashSet::new());
        let now = Timestamp::now();
        while let Some(seen) = provisions.try_next().await? {
            let (status, expiry) = seen
                .credential
                .as_ref()
                .map_or((None, None), |credential| (credential.status.as_ref(), credential.expiry_time));
            match status {
                Some(CredentialStatus::Active) => {}
                Some(CredentialStatus::Expired) => _ = expired.insert(seen.id),
                _ if expiry.is_some_and(|expiry| expiry.as_jiff() <= now) => _ = expired.insert(seen.id),
                _ => _ = unused.insert(seen.id),
            }
        }
        Ok((unused, expired))
    }
}
