//! Credentials that expire: how many new users may wait to be activated, and their being activated.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use bunq_partner::{
    Client, Error, ErrorKind, Operation, Places, Provision, ProvisionId, RowRecord, Shutdown, UserEvent, Uuid,
};
use futures_util::StreamExt as _;
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::super::connection::BankConnection;
use super::super::folders;

/// How long no session may be opened before that is given up.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(3600);

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
    /// Credentials have expired unused.
    Expired(usize),
    /// Nothing more is done. `left` users have no session.
    Over {
        left: usize,
    },
}

/// The new users, until they are activated.
pub(super) struct Activation {
    rows: Option<UnboundedSender<(Uuid, ProvisionId)>>,
    events: UnboundedReceiver<ActivationEvent>,
    places: Places,
    /// What a user waits for who has no place.
    awaited: &'static str,
}

impl Activation {
    /// Begins. It activates users, whose tokens the client's custody keeps, in `folder` if that is one; or it watches others do it.
    pub(super) fn begin(
        connection: &BankConnection,
        client: &Client,
        activates: bool,
        folder: Option<PathBuf>,
        shutdown: Shutdown,
    ) -> Self {
        let interval = connection.interval(&Operation::CREATE_SESSION);
        let places = client.users().places(capacity(connection, client));
        let awaited = if activates { AWAITS_SESSIONS } else { AWAITS_OTHERS };
        let (said, events) = unbounded_channel();
        let (rows, mut new) = unbounded_channel();
        let task = ActivationTask { client: client.clone(), interval, places: places.clone(), folder, said, shutdown };
        tokio::spawn(async move {
            let left = match activates {
                true => task.activate(new).await,
                false => {
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
        Self { rows: Some(rows), events, places, awaited }
    }

    /// Lets a user through when there is a place for it.
    pub(super) fn gate<S>(&self, new: S) -> impl Stream<Item = S::Item> + Send + use<S>
    where
        S: Stream<Item: Send> + Send + 'static,
    {
        self.places.gate(new)
    }

    /// Takes over the user of a row, or gives its place back.
    pub(super) fn add(&self, row: &RowRecord) {
        match (row.state.is_done(), row.external_uuid(), row.id) {
            (true, Some(external_uuid), Some(id)) => {
                // The task does not end before.
                let _ = self.rows.as_ref().map(|rows| rows.send((external_uuid, id)));
            }
            _ => self.places.give_back(),
        }
    }

    /// Whether no further user is created for now.
    pub(super) fn is_full(&self) -> bool {
        self.places.is_full()
    }

    /// No further user comes.
    pub(super) fn end(&mut self) {
        self.rows = None;
    }

    pub(super) async fn event(&mut self) -> ActivationEvent {
        tokio::select! {
            biased;
            event = self.events.recv() => event.unwrap_or(ActivationEvent::Over { left: 0 }),
            () = self.places.wanted() => ActivationEvent::Held { waiting: self.places.capacity(), by: self.awaited },
        }
    }
}

/// How many new users may wait to be activated. A rehearsal stops where the run that it rehearses does.
pub(super) fn capacity(connection: &BankConnection, client: &Client) -> usize {
    client.users().capacity() / connection.rehearse.max(1) as usize
}

struct ActivationTask {
    client: Client,
    /// How often a session can be opened.
    interval: Duration,
    places: Places,
    /// The folder of the custody, if it is one.
    folder: Option<PathBuf>,
    said: UnboundedSender<ActivationEvent>,
    shutdown: Shutdown,
}

impl ActivationTask {
    fn say(&self, event: ActivationEvent) {
        // The receiver is dropped when the run ends.
        let _ = self.said.send(event);
    }

    /// Activates each user. After a shutdown it ends when no call is on the wire, and no row comes any more. Returns how many users are
    /// left.
    async fn activate(&self, mut new: UnboundedReceiver<(Uuid, ProvisionId)>) -> usize {
        let users = &self.client.users();
        let (mut events, mut activating) = (pin!(users.events()), FuturesUnordered::new());
        let (mut names, mut is_over, mut left, mut failing_since) = (HashMap::new(), false, 0, None);
        while !is_over || !activating.is_empty() {
            let is_long = async {
                match failing_since {
                    Some(since) => sleep_until(since + OUTAGE_TIMEOUT).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                row = new.recv(), if !is_over => match row {
                    None => is_over = true,
                    Some((external_uuid, id)) => {
                        names.insert(id, external_uuid);
                        activating.push(async move { (external_uuid, users.activate(id).await) });
                    }
                },
                Some(event) = events.next() => match event {
                    UserEvent::Activated(_) => failing_since = None,
                    UserEvent::Delayed(id, error) if failing_since.is_none() => {
                        failing_since = Some(Instant::now());
                        names.get(&id).into_iter().for_each(|name| self.say(ActivationEvent::Delayed(*name, error.clone())));
                    }
                    _ => {}
                },
                Some((external_uuid, outcome)) = activating.next() => {
                    self.places.settle(&outcome);
                    match outcome {
                        Ok(_) => self.say(ActivationEvent::Activated),
                        Err(error) if error.kind() == ErrorKind::ShutDown => left += 1,
                        // There is no credential that expires.
                        Err(error) if is_closed(&error) => self.say(ActivationEvent::Activated),
                        Err(error) => self.failed(external_uuid, error),
                    }
                }
                () = is_long => {
                    failing_since = None;
                    self.shutdown.begin();
                }
            }
        }
        left
    }

    fn failed(&self, external_uuid: Uuid, error: Error) {
        let is_unusable = || self.folder.as_deref().is_some_and(|folder| folders::check_custody(folder).is_err());
        // No more users are created whose credentials would expire.
        if self.places.are_lost() || (error.kind() == ErrorKind::Context && is_unusable()) {
            self.shutdown.begin();
        }
        self.say(ActivationEvent::Failed(external_uuid, error));
    }

    /// Gives a place back for each user that others have activated, or whose credential has expired.
    async fn watch(&self, new: &mut UnboundedReceiver<(Uuid, ProvisionId)>) {
        let pause = self.interval.max(Duration::from_millis(20));
        let (mut waiting, mut next_look) = (HashSet::new(), Instant::now());
        loop {
            tokio::select! {
                row = new.recv() => match row {
                    None => return,
                    Some((_, id)) => _ = waiting.insert(id),
                },
                () = sleep_until(next_look), if self.places.is_full() => {
                    let before = waiting.len();
                    let expired = self.places.look(&mut waiting).await;
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
}

fn is_closed(error: &Error) -> bool {
    error.last_seen::<Provision>().is_some_and(|seen| seen.status.is_closing_or_closed())
}
