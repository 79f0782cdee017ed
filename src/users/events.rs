//! What is told of users: events, and credentials that nobody has activated, before they expire.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{Stream, TryStreamExt as _, unfold};
use jiff::Timestamp;
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tracing::Span;

use crate::custody::{CustodyEntry, CustodyFilter, Records};
use crate::error::Error;
use crate::provisions::Provisions;
use crate::sync::lock;
use crate::transport::{metrics, runtime};
use crate::types::{CredentialStatus, ProvisionId, Timestamp as BunqTimestamp};

/// How many events a subscriber may be behind.
const MAX_BEHIND: usize = 1024;

/// The longest pause between two looks at the credentials that nobody has activated.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What has become of a user: see [`Users::events`](crate::Users::events).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum UserEvent {
    /// The token of a credential is stored in custody.
    Stored(ProvisionId),
    /// A session was opened with the credential.
    Activated(ProvisionId),
    /// Nobody has activated the credential, and it expires soon: less than a quarter of its life is left.
    Expiring(ProvisionId),
    /// The credential has expired unused, by this machine's clock, and bunq does not show it as used: [reset](crate::Users::reset) it.
    Expired(ProvisionId),
    /// Nobody has activated the credential, and its record in custody cannot be used: the error says why, and what to do.
    Unusable(ProvisionId, Error),
    /// No session can be opened for now. Others go first, and it is tried again.
    Delayed(ProvisionId, Error),
    /// The user was not activated.
    Failed(ProvisionId, Error),
    /// The provision is closed, and what was kept of the user is removed.
    Removed(ProvisionId),
    /// The subscriber was too slow, and so many events were dropped.
    Lagged(u64),
}

/// The credentials in custody that nobody has activated: see [`Users::unactivated`](crate::Users::unactivated).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unactivated {
    /// How many there are, those included that have expired, or whose record cannot be used.
    pub count: usize,
    /// When the next of them expires, if one is left and bunq has said when.
    pub next_expiry: Option<BunqTimestamp>,
}

/// Who is told, and the task that looks at the credentials that nobody has activated.
#[derive(Debug)]
pub(super) struct Events {
    told: broadcast::Sender<UserEvent>,
    /// The users whose sessions were opened, for the first time or again.
    opened: broadcast::Sender<ProvisionId>,
    /// Wakes the task, and ends it when it is dropped.
    changed: watch::Sender<()>,
    task: Mutex<Option<AbortHandle>>,
    /// What the task looks at; `None` if the client has no custody.
    records: Option<Records>,
    provisions: Provisions,
    /// How long a credential lives that is not used.
    lifetime: Duration,
}

impl Events {
    pub(super) fn new(records: Option<Records>, provisions: Provisions, lifetime: Duration) -> Self {
        let (told, opened) = (broadcast::Sender::new(MAX_BEHIND), broadcast::Sender::new(MAX_BEHIND));
        let (changed, task) = (watch::Sender::new(()), Mutex::default());
        Self { told, opened, changed, task, records, provisions, lifetime }
    }

    pub(super) fn subscribe(&self) -> impl Stream<Item = UserEvent> + Send + use<> {
        unfold(self.told.subscribe(), async |mut told| {
            let event = match told.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(missed)) => UserEvent::Lagged(missed),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((event, told))
        })
    }

    /// A session of a user was opened.
    pub(super) fn opened(&self, id: ProvisionId) {
        // There may be no subscriber.
        let _ = self.opened.send(id);
    }

    #[cfg(feature = "webhook")]
    pub(super) fn opened_sessions(&self) -> broadcast::Receiver<ProvisionId> {
        self.opened.subscribe()
    }

    pub(super) fn tell(&self, event: UserEvent) {
        if matches!(event, UserEvent::Stored(_)) {
            self.changed.send_replace(());
        }
        // There may be no subscriber.
        let _ = self.told.send(event);
    }

    /// Whether a credential that has expired by this machine's clock was never used: a session may have been opened with it that could not be
    /// kept. `None` if that is not found out now.
    async fn is_unused(&self, id: ProvisionId) -> Option<bool> {
        match self.provisions.feed().nudge(id).await {
            Ok(seen) => {
                let status = seen.credential.and_then(|credential| credential.status);
                Some(status != Some(CredentialStatus::Active))
            }
            Err(error) if error.is_retryable() => None,
            Err(_) => Some(true),
        }
    }

    /// Looks at the credentials that nobody has activated from now on, unless a task does it already.
    pub(super) fn watch(self: &Arc<Self>) {
        let mut task = lock(&self.task);
        if self.records.is_none() || task.as_ref().is_some_and(|task| !task.is_finished()) || runtime::check().is_err()
        {
            return;
        }
        let looking = watch_unactivated(Arc::downgrade(self), self.changed.subscribe());
        *task = Some(runtime::spawn(Span::none(), Box::pin(looking)).abort_handle());
    }
}

/// Counts the credentials that nobody has activated, and finds the next that expires.
pub(super) async fn unactivated(records: &Records) -> Result<Unactivated, Error> {
    let now = Timestamp::now();
    let none = Unactivated { count: 0, next_expiry: None };
    let count = |known: Unactivated, entry: CustodyEntry| {
        let ahead = entry.expiry.filter(|expiry| expiry.as_jiff() > now);
        let next_expiry = known.next_expiry.into_iter().chain(ahead).min_by_key(|expiry| expiry.as_jiff());
        async move { Ok(Unactivated { count: known.count + 1, next_expiry }) }
    };
    records.entries(CustodyFilter::Unactivated).try_fold(none, count).await
}

/// Tells of each credential once that it expires soon, once that it has expired, and once that its record cannot be used.
async fn watch_unactivated(events: Weak<Events>, mut changed: watch::Receiver<()>) {
    let (mut expiring, mut expired, mut unusable) = (HashSet::new(), HashSet::new(), HashSet::new());
    loop {
        let Some(events) = events.upgrade() else { return };
        let Some(records) = &events.records else { return };
        let (now, soon) = (Timestamp::now(), events.lifetime / 4);
        let (mut pause, looked_at, mut over) = (LONGEST_PAUSE, Instant::now(), Vec::new());
        let entries: Result<Vec<_>, Error> = records.entries(CustodyFilter::Unactivated).try_collect().await;
        match entries {
            Ok(entries) => {
                for entry in entries {
                    if let Some(problem) = &entry.problem {
                        if unusable.insert(entry.provision_id) {
                            tracing::warn!(provision = %entry.provision_id, %problem, "the record of a user that nobody has activated cannot be used");
                            events.tell(UserEvent::Unusable(entry.provision_id, Error::context(problem)));
                        }
                        continue;
                    }
                    unusable.remove(&entry.provision_id);
                    let (id, Some(expiry)) = (entry.provision_id, entry.expiry) else { continue };
                    let left = Duration::try_from(expiry.as_jiff().duration_since(now)).unwrap_or_default();
                    if left.is_zero() && !expired.contains(&id) {
                        over.push(id);
                    } else if !left.is_zero() && left <= soon && expiring.insert(id) {
                        let seconds_left = left.as_secs();
                        tracing::warn!(provision = %id, seconds_left, "nobody has activated the credential of a user, and it expires soon");
                        metrics::credential_expiring();
                        events.tell(UserEvent::Expiring(id));
                    }
                    // One that was replaced by a reset may expire too.
                    if left > soon {
                        (_, _) = (expiring.remove(&id), expired.remove(&id));
                    }
                    let next = if left > soon { left - soon } else { left };
                    pause = if next.is_zero() { pause } else { pause.min(next) };
                }
            }
            Err(error) => tracing::warn!(%error, "credentials that nobody has activated are not looked at"),
        }
        for (id, is_unused) in join_all(over.into_iter().map(async |id| (id, events.is_unused(id).await))).await {
            if is_unused.is_some() {
                expired.insert(id);
            }
            if is_unused == Some(true) {
                tracing::warn!(provision = %id, "the credential of a user has expired unused: reset it");
                metrics::credential_expired();
                events.tell(UserEvent::Expired(id));
            }
        }
        drop(events);
        if timeout_at(looked_at + pause, changed.changed()).await.is_ok_and(|changed| changed.is_err()) {
            return;
        }
    }
}
