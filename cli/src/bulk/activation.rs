//! Credentials that expire: how many new users may wait to be activated, and their being activated.
//!
//! bunq lets one session be opened in 30 s. No more users are created than could have a session before the first credential
//! expires.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bunq_partner::jiff::Timestamp;
use bunq_partner::{
    Client, CredentialStatus, Environment, Error, ErrorKind, Operation, Provision, ProvisionId, RateLimit, RowRecord,
    Shutdown, Uuid,
};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, sleep_until, timeout};

use super::super::connection::BankConnection;
use super::queue::{SessionQueue, Unused};
use super::users::Users;

/// How long bunq may take to make a user.
const READY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long no session may be opened before that is given up.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(3600);

/// How long the response to a request on the wire is waited for after a shutdown.
const LAST_RESPONSE: Duration = Duration::from_secs(5);

/// What a new user waits for that has no place.
const AWAITS_SESSIONS: &str = "--activate waits for the session of a user";
const AWAITS_OTHERS: &str = "waits for users to be activated, --activate FOLDER does it";

/// What is to be said of the new users.
#[derive(Debug)]
pub(super) enum ActivationEvent {
    /// No further user is created until one of these is activated.
    Held {
        waiting: usize,
        /// What is waited for.
        by: &'static str,
    },
    /// A user was activated.
    Activated,
    /// No session can be opened for now.
    Delayed(Uuid, Error),
    Failed(Uuid, Error),
    /// Something is wrong with a file of a user's.
    Warning(String),
    /// Credentials have expired unused.
    Expired(usize),
    /// Nothing more is done. `left` users have a stored token, and no session.
    Over {
        left: usize,
    },
}

/// The new users, until they are activated.
pub(super) struct Activation {
    rows: Option<UnboundedSender<(Uuid, ProvisionId)>>,
    said: UnboundedSender<ActivationEvent>,
    events: UnboundedReceiver<ActivationEvent>,
    places: Arc<Semaphore>,
    capacity: usize,
    /// What a user waits for who has no place.
    awaited: &'static str,
}

impl Activation {
    /// Begins. With a folder it activates users; without one it watches others do it.
    pub(super) fn begin(
        connection: &BankConnection,
        client: &Client,
        folder: Option<PathBuf>,
        shutdown: Shutdown,
    ) -> Self {
        let interval = connection.interval(&Operation::CREATE_SESSION);
        let capacity = capacity(connection.environment);
        let awaited = if folder.is_some() { AWAITS_SESSIONS } else { AWAITS_OTHERS };
        let (said, events) = unbounded_channel();
        let (rows, mut new) = unbounded_channel();
        let places = Arc::new(Semaphore::new(capacity));
        let (client, task_places, said_by_task) = (client.clone(), Arc::clone(&places), said.clone());
        let task = ActivationTask { client, interval, places: task_places, capacity, said: said_by_task, shutdown };
        tokio::spawn(async move {
            let left = match folder {
                Some(folder) => {
                    let said = task.said.clone();
                    let warn = move |warning| _ = said.send(ActivationEvent::Warning(warning));
                    task.activate(Users::new(task.client.clone(), folder, warn), new).await
                }
                None => {
                    tokio::select! {
                        () = task.watch(&mut new) => {}
                        // Rows come until their requests on the wire are answered.
                        () = task.shutdown.begun() => while new.recv().await.is_some() {},
                    }
                    0
                }
            };
            task.say(ActivationEvent::Over { left });
        });
        Self { rows: Some(rows), said, events, places, capacity, awaited }
    }

    /// Lets a user through when there is a place for it.
    pub(super) fn gate<S>(&self, new: S) -> impl Stream<Item = S::Item> + Send + use<S>
    where
        S: Stream<Item: Send> + Send + 'static,
    {
        let (places, said, waiting, by) = (Arc::clone(&self.places), self.said.clone(), self.capacity, self.awaited);
        new.then(move |new| {
            let (places, said) = (Arc::clone(&places), said.clone());
            async move {
                if places.available_permits() == 0 {
                    // The receiver is dropped when the run ends.
                    let _ = said.send(ActivationEvent::Held { waiting, by });
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
        match (row.state.is_done(), row.external_uuid(), row.id) {
            (true, Some(external_uuid), Some(id)) => {
                // The task does not end before.
                let _ = self.rows.as_ref().map(|rows| rows.send((external_uuid, id)));
            }
            _ => self.places.add_permits(1),
        }
    }

    /// Whether no further user is created for now.
    pub(super) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// No further user comes.
    pub(super) fn end(&mut self) {
        self.rows = None;
    }

    pub(super) async fn event(&mut self) -> ActivationEvent {
        self.events.recv().await.unwrap_or(ActivationEvent::Over { left: 0 })
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

struct ActivationTask {
    client: Client,
    /// How often a session can be opened.
    interval: Duration,
    places: Arc<Semaphore>,
    capacity: usize,
    said: UnboundedSender<ActivationEvent>,
    shutdown: Shutdown,
}

impl ActivationTask {
    fn say(&self, event: ActivationEvent) {
        // The receiver is dropped when the run ends.
        let _ = self.said.send(event);
    }

    /// Stores the token of each user when bunq has made it, and opens the sessions, that of the credential first which expires
    /// first. After a shutdown it ends when no call is on the wire, and no row comes any more. Returns how many users are left.
    async fn activate(&self, users: Users, mut new: UnboundedReceiver<(Uuid, ProvisionId)>) -> usize {
        let users = &users;
        let mut making = FuturesUnordered::new();
        let mut queue = SessionQueue::default();
        let mut opening = FuturesUnordered::new();
        let (mut is_over, mut is_ending, mut failing_since) = (false, false, None);
        // How many places are not given back, because a credential still waits there.
        let mut lost = 0;
        loop {
            if opening.is_empty() && queue.len() > 0 && !self.shutdown.has_begun() {
                let pause = if failing_since.is_some() { self.interval } else { Duration::ZERO };
                opening.push(self.open_next(users, queue.next(), pause));
            }
            tokio::select! {
                row = new.recv(), if !is_over => match row {
                    None => is_over = true,
                    Some((external_uuid, id)) => {
                        making.push(async move { (external_uuid, id, users.store_token(id, READY_TIMEOUT).await) });
                    }
                },
                () = self.shutdown.begun(), if !is_ending => is_ending = true,
                Some((external_uuid, id, stored)) = making.next(), if !is_ending => match stored {
                    Ok(Some(expiry)) => queue.add(external_uuid, id, expiry),
                    Ok(None) => self.used(),
                    Err(error) => self.failed(users, external_uuid, error, &mut lost),
                },
                Some((user, outcome)) = opening.next() => match (user, outcome) {
                    (user, None) => user.into_iter().for_each(|user| queue.put_back(user)),
                    (None, Some(Ok(()))) => queue.works(),
                    (Some(user), Some(Err(error))) if error.kind() == ErrorKind::ShutDown => queue.put_back(user),
                    (None, Some(Err(_))) => queue.outage(),
                    (Some(_), Some(Ok(()))) => {
                        failing_since = None;
                        queue.works();
                        self.used();
                    }
                    (Some(user), Some(Err(error))) if error.is_retryable() => {
                        if failing_since.is_none() {
                            self.say(ActivationEvent::Delayed(user.external_uuid, error.clone()));
                        }
                        let is_long = failing_since.get_or_insert_with(Instant::now).elapsed() >= OUTAGE_TIMEOUT;
                        if is_long {
                            self.shutdown.begin();
                        }
                        let given_up = if is_long { Err(user) } else { queue.failed(user) };
                        if let Err(user) = given_up {
                            self.failed(users, user.external_uuid, error, &mut lost);
                        }
                    }
                    (Some(user), Some(Err(error))) => {
                        failing_since = None;
                        self.failed(users, user.external_uuid, error, &mut lost);
                    }
                },
                else => break,
            }
            if is_over && opening.is_empty() && (is_ending || (making.is_empty() && queue.len() == 0)) {
                break;
            }
        }
        queue.len() + making.len()
    }

    /// Opens the session of a user after a pause, or without one makes a call of the partner's own. No outcome: the end came
    /// first.
    async fn open_next(
        &self,
        users: &Users,
        user: Option<Unused>,
        pause: Duration,
    ) -> (Option<Unused>, Option<Result<(), Error>>) {
        // The end does not wait for the pause.
        if timeout(pause, self.shutdown.begun()).await.is_ok() {
            return (user, None);
        }
        let opened = async {
            match &user {
                Some(user) => users.open_session(user.id).await,
                None => self.client.api().get_installation().await.map(drop),
            }
        };
        let ended = async {
            self.shutdown.begun().await;
            sleep(LAST_RESPONSE).await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = opened => Some(outcome),
            () = ended => None,
        };
        (user, outcome)
    }

    fn used(&self) {
        self.places.add_permits(1);
        self.say(ActivationEvent::Activated);
    }

    fn failed(&self, users: &Users, external_uuid: Uuid, error: Error, lost: &mut usize) {
        use ErrorKind::{CredentialSpent, NotFound, Unattainable};
        if matches!(error.kind(), CredentialSpent | NotFound | Unattainable) {
            self.places.add_permits(1);
        } else {
            *lost += 1;
        }
        // No more users are created whose credentials would expire.
        if *lost >= self.capacity || (error.kind() == ErrorKind::Context && users.check().is_err()) {
            self.shutdown.begin();
        }
        self.say(ActivationEvent::Failed(external_uuid, error));
    }

    /// Gives a place back for each user that others have activated, or whose credential has expired.
    async fn watch(&self, new: &mut UnboundedReceiver<(Uuid, ProvisionId)>) {
        let pause = self.interval.max(Duration::from_millis(20));
        let mut waiting = HashSet::new();
        // A clock that is set meanwhile makes nothing expire.
        let (began, clock) = (Instant::now(), Timestamp::now());
        let mut next_look = began;
        loop {
            tokio::select! {
                row = new.recv() => match row {
                    None => return,
                    Some((_, id)) => _ = waiting.insert(id),
                },
                () = sleep_until(next_look.into()), if self.places.available_permits() == 0 => {
                    let before = waiting.len();
                    // What could not be read is read again.
                    let seen = self.look_at(&waiting).await;
                    let now = clock.saturating_add(began.elapsed()).unwrap_or(Timestamp::MAX);
                    let uses: Vec<_> = seen.iter().map(|seen| (seen.id, Use::of(seen, now))).collect();
                    let expired = uses.iter().filter(|(_, of_it)| *of_it == Use::Expired).count();
                    for (id, of_it) in uses {
                        if of_it != Use::Waits {
                            waiting.remove(&id);
                        }
                    }
                    self.places.add_permits(before - waiting.len());
                    if expired > 0 {
                        self.say(ActivationEvent::Expired(expired));
                    }
                    if before == waiting.len() {
                        next_look = Instant::now() + pause;
                    }
                }
            }
        }
    }

    /// What has become of users, of those that could be read.
    async fn look_at(&self, waiting: &HashSet<ProvisionId>) -> Vec<Provision> {
        let feed = self.client.provisions().feed();
        join_all(waiting.iter().map(|id| feed.nudge(*id))).await.into_iter().filter_map(Result::ok).collect()
    }
}

/// What becomes of the credential of a new user.
#[derive(Debug, PartialEq, Eq)]
enum Use {
    /// It is not there yet, or is still unused.
    Waits,
    Expired,
    /// It was used, or cannot be used any more.
    Over,
}

impl Use {
    fn of(seen: &Provision, now: Timestamp) -> Self {
        match &seen.credential {
            _ if seen.status.is_over() => Self::Over,
            Some(credential) => match (&credential.status, &credential.expiry_time) {
                (Some(CredentialStatus::Active), _) => Self::Over,
                (Some(CredentialStatus::Expired), _) => Self::Expired,
                (_, Some(expiry)) if expiry.as_jiff() <= now => Self::Expired,
                _ => Self::Waits,
            },
            None => Self::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_waits_until_its_credential_is_used_or_expired() {
        test_timeout::start();
        let now = "2026-11-01T12:00:00Z".parse().unwrap();
        for (status, credential, expected) in [
            ("CREATED", "null", Use::Waits),
            ("CREATED", r#"{"status": "PENDING_FIRST_USE", "expiry_time": "2026-11-01 12:00:01"}"#, Use::Waits),
            ("ACTIVE", r#"{"status": "PENDING_FIRST_USE"}"#, Use::Waits),
            ("TOKEN_RESET_REQUESTED", r#"{"status": "PENDING_FIRST_USE"}"#, Use::Waits),
            ("CREATED", r#"{"status": "PENDING_FIRST_USE", "expiry_time": "2026-11-01 12:00:00"}"#, Use::Expired),
            ("ACTIVE", r#"{"status": "EXPIRED"}"#, Use::Expired),
            ("ACTIVE", r#"{"status": "ACTIVE", "expiry_time": "2026-11-01 11:00:00"}"#, Use::Over),
            ("CANCELLED", r#"{"status": "PENDING_FIRST_USE"}"#, Use::Over),
            ("FAILED", "null", Use::Over),
        ] {
            let json = format!(r#"{{"id": 1, "status": "{status}", "credential": {credential}}}"#);
            let seen: Provision = serde_json::from_str(&json).unwrap();
            assert_eq!(Use::of(&seen, now), expected, "{json}");
        }
    }
}
