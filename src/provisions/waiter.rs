//! Waiting for a provision to meet a condition.
//!
//! bunq pushes nothing that could be waited for, so a waiter polls, and yields every change. It ends when the condition
//! is met, when it cannot be met any more, or when the time is up. How a provision is read, together with those of other
//! waiters, is the poller's business.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, TryStreamExt, try_unfold};
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use super::condition::{Condition, Progress};
use super::existing::Existing;
use super::poller::Poller;
use super::search;
use crate::error::{CallMetadata, Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::transport::credentials::BoxFuture;
use crate::transport::runtime;
use crate::transport::trouble::Trouble;
use crate::types::{CreateProvisionRequest, Phase, Provision, ProvisionId, ProvisionStatus, Timestamp};

/// How long a waiter goes on by default.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The last poll begins this long before the timeout, or a tenth of the timeout before it if that is less.
const LAST_POLL: Duration = Duration::from_secs(2);

/// Longer than any wait.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How it is known that bunq has accepted a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Acceptance {
    /// bunq's response confirmed the request.
    Accepted,
    /// The response was lost. Reading the provision afterwards showed that bunq has accepted the request.
    Found,
    /// It had been carried out before: bunq refused the request, or it was found before anything was requested.
    ///
    /// After a creation, bunq has the provision of an earlier one with the same `external_uuid`, which it made at
    /// [`created`](Waiter::created). Nothing of this request was used. bunq shows neither the e-mail address nor the phone number of a
    /// provision, so nobody can say whether it has those of this request. What it shows is the same: person or company, products,
    /// and the country once it is known; where they differ, the creation fails with [`Unattainable`](ErrorKind::Unattainable).
    Already,
    /// Nothing was requested; the waiter only waits.
    NotRequested,
}

/// Waits for a provision to meet a condition: as a future, by `.await` or with [`wait`](Self::wait), or change by change
/// with [`changes`](Self::changes).
///
/// All waiters of one client poll together: thousands of them cost a few pages of a listing per round, within bunq's
/// rate limits.
///
/// ```no_run
/// # async fn example(client: bunq_partner::Client, id: bunq_partner::ProvisionId) -> Result<(), bunq_partner::Error> {
/// let closing = client.provisions().close(id).await?;
/// let closed = closing.await?;
/// assert!(closed.is_closed());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "bunq has accepted the request, but has not carried it out yet: wait for it"]
pub struct Waiter {
    poller: Poller,
    id: ProvisionId,
    condition: Condition,
    acceptance: Acceptance,
    response_id: Option<String>,
    created: Option<Timestamp>,
    /// What was requested, where the provision was there already, and is held against it.
    requested: Option<Arc<CreateProvisionRequest>>,
    creation: Option<Requested>,
    poll_interval: Duration,
    timeout: Duration,
}

/// What a provision was created with.
#[derive(Debug, Clone, Copy)]
struct Requested {
    external_uuid: Uuid,
    /// It was requested more than once, so that there may be another.
    is_repeated: bool,
}

impl Waiter {
    pub(super) fn new(
        poller: Poller,
        id: ProvisionId,
        condition: Condition,
        acceptance: Acceptance,
        poll_interval: Duration,
    ) -> Self {
        let (response_id, created, requested, creation, timeout) = (None, None, None, None, TIMEOUT);
        Self { poller, id, condition, acceptance, response_id, created, requested, creation, poll_interval, timeout }
    }

    /// The response in which bunq has accepted the request.
    pub(super) fn accepted_in(self, response_id: Option<String>) -> Self {
        Self { response_id, ..self }
    }

    /// The provision was created at this time, by this request or by an earlier one.
    pub(super) fn found(self, created: Option<Timestamp>, new: &CreateProvisionRequest) -> Self {
        let requested = (self.acceptance == Acceptance::Already).then(|| Arc::new(new.clone()));
        Self { created, requested, ..self }
    }

    /// Holds the provision against what was requested.
    pub(super) fn of_created(self, external_uuid: Uuid, is_repeated: bool) -> Self {
        Self { creation: Some(Requested { external_uuid, is_repeated }), ..self }
    }

    /// Whether the provision was requested more than once, so that there may be another.
    pub(crate) fn is_repeated(&self) -> bool {
        self.creation.is_some_and(|creation| creation.is_repeated)
    }

    /// Reads the provision once, together with those of others, and holds it against what was requested.
    pub(crate) async fn confirm(self) -> Result<(), Error> {
        let time = self.poller.api().transport().config().operation_timeout;
        let wait = Wait::new(Self { timeout: time, ..self });
        match timeout_at(wait.deadline, wait.look()).await {
            Ok(looked) => looked.map(drop),
            Err(_) => Err(wait.timed_out()),
        }
    }

    /// Returns the id of the provision.
    pub fn id(&self) -> ProvisionId {
        self.id
    }

    /// How it is known that bunq has accepted the request.
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }

    /// When bunq created the provision, where a creation has found one that was there, as with
    /// [`Already`](Acceptance::Already). `None` where bunq's response confirmed the creation, or nothing was created.
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// bunq's id of the response that has accepted the request (`X-Bunq-Client-Response-Id`), for your logs: bunq's support
    /// asks for it. It is `None` if there was no such response, as where [`acceptance`](Self::acceptance) is not
    /// [`Accepted`](Acceptance::Accepted).
    pub fn response_id(&self) -> Option<&str> {
        self.response_id.as_deref()
    }

    /// Sets the longest pause between two polls. The default is that of the
    /// [client](crate::ClientBuilder::poll_interval).
    ///
    /// Waiters with the same interval poll at the same time, and together.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Sets the longest time to wait. The default is 15 minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Waits, and returns the provision as it was when it met the condition. `.await` on the waiter does the same.
    ///
    /// Dropping the future ends the wait and nothing else; another waiter can be made.
    ///
    /// # Errors
    ///
    /// [`Unattainable`](ErrorKind::Unattainable) as soon as the condition cannot be met any more,
    /// [`WaitTimeout`](ErrorKind::WaitTimeout) when the time is up, with the last failure as its source, and any failure that
    /// does not [pass by itself](Error::is_retryable). For a provision that was just created also
    /// [`Duplicate`](ErrorKind::Duplicate) if it was requested more than once and bunq has created several, `Unattainable` if the
    /// one that was there [already](Acceptance::Already) turns out to be another than was requested, and
    /// [`InvalidResponse`](ErrorKind::InvalidResponse) if the response to its creation was about another. If the provision
    /// was seen before, they carry it as it was [last seen](Error::last_seen).
    pub async fn wait(self) -> Result<Provision, Error> {
        let mut wait = Wait::new(self);
        loop {
            let (seen, next) = wait.next_change().await?;
            match next {
                Some(next) => wait = next,
                None => return Ok(seen),
            }
        }
    }

    /// The provision as it is first seen, then every change of it, up to the one that meets the condition.
    ///
    /// The errors are those of [`wait`](Self::wait), and end the stream. The timeout also runs while the stream is not
    /// polled.
    pub fn changes(self) -> impl Stream<Item = Result<Provision, Error>> + Send {
        try_unfold(Some(Wait::new(self)), async |wait| match wait {
            Some(wait) => wait.next_change().await.map(Some),
            None => Ok(None),
        })
        .into_stream()
    }
}

impl IntoFuture for Waiter {
    type Output = Result<Provision, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

/// A wait in progress.
struct Wait {
    waiter: Waiter,
    deadline: Instant,
    last_poll: Instant,
    /// When to poll next; at once before the first poll.
    due: Option<Instant>,
    seen: Option<Provision>,
    /// The last transient failure of a look, and what holds up the look in progress.
    failure: Option<Error>,
    trouble: Trouble,
}

impl Wait {
    fn new(waiter: Waiter) -> Self {
        let now = Instant::now();
        let timeout = waiter.timeout.min(MAX_TIMEOUT);
        let last_poll = now + (timeout - LAST_POLL.min(timeout / 10));
        let (failure, trouble) = (None, Trouble::default());
        Self { waiter, deadline: now + timeout, last_poll, due: None, seen: None, failure, trouble }
    }

    /// The next change, and the wait to go on with unless the condition is met.
    async fn next_change(mut self) -> Result<(Provision, Option<Self>), Error> {
        runtime::check()?;
        loop {
            if let Some(due) = self.due {
                sleep_until(due).await;
            }
            let began = Instant::now();
            self.due = Some(self.waiter.poller.next_round(self.waiter.poll_interval).min(self.last_poll.max(began)));
            let looked = timeout_at(self.deadline, self.look()).await;
            let changed = match looked {
                Ok(Ok(seen)) => {
                    let changed = self.seen.as_ref() != Some(&seen);
                    let progress = self.waiter.condition.evaluate(&seen);
                    self.seen = Some(seen.clone());
                    match progress {
                        Progress::Met => return Ok((seen, None)),
                        Progress::Unattainable(reason) => return Err(self.unattainable(reason)),
                        Progress::Pending => changed.then_some(seen),
                    }
                }
                Ok(Err(error)) if error.is_retryable() => {
                    tracing::debug!(provision = self.waiter.id.get(), %error, "a poll has failed: the wait goes on");
                    let not_before = error.retry_after().and_then(|pause| Instant::now().checked_add(pause));
                    self.due = self.due.max(not_before).map(|due| due.min(self.last_poll.max(began)));
                    self.failure = Some(error);
                    None
                }
                Ok(Err(error)) => return Err(self.with_last_seen(error)),
                Err(_) => return Err(self.timed_out()),
            };
            if began >= self.last_poll {
                return Err(self.timed_out());
            }
            if let Some(seen) = changed {
                return Ok((seen, Some(self)));
            }
        }
    }

    /// Reads the provision. One that was created is held against what was requested; if it was requested more than once,
    /// its readiness is believed only if there is no other.
    async fn look(&self) -> Result<Provision, Error> {
        let Waiter { poller, id, condition, creation, requested, .. } = &self.waiter;
        let seen = poller.poll(*id, self.expected(), self.others(), &self.trouble).await?;
        let Some(Requested { external_uuid, is_repeated }) = creation else { return Ok(seen) };
        if let Some(other) = seen.external_uuid.filter(|other| other != external_uuid) {
            let problem = format_args!(
                "provision {id} has the external_uuid {other}, not {external_uuid}: the response to its creation was about \
                 another; search with `find`"
            );
            let metadata = CallMetadata::new(&Operation::CREATE_PROVISION, 1);
            return Err(Error::invalid_response(metadata, problem));
        }
        if let Some(requested) = requested {
            // bunq may not have shown all of it before.
            let compared = Existing::from(&seen).compare(requested);
            compared.map_err(|error| error.with_last_seen(Arc::new(seen.clone())))?;
        }
        if *is_repeated && condition.evaluate(&seen) == Progress::Met {
            search::find(&poller.api().telling(&self.trouble), *external_uuid).await?;
        }
        Ok(seen)
    }

    /// The statuses that the provision is expected to have.
    fn expected(&self) -> Vec<ProvisionStatus> {
        let mut expected = ProvisionStatus::of(self.waiter.condition.pending());
        // bunq may not accept in a request a status that it uses in responses. Then the provision is read by its id.
        if let Some(seen) = &self.seen
            && seen.status.phase() != Phase::Unknown
        {
            expected.push(seen.status.clone());
        }
        expected
    }

    /// The other statuses that it may have: those in which the wait ends, or any if nothing is known of it.
    fn others(&self) -> Vec<ProvisionStatus> {
        if self.seen.is_none() && self.waiter.acceptance == Acceptance::NotRequested {
            return ProvisionStatus::KNOWN.to_vec();
        }
        ProvisionStatus::of(self.waiter.condition.ends())
    }

    fn unattainable(self, reason: &str) -> Error {
        let (id, condition) = (self.waiter.id, self.waiter.condition.name());
        let message = format!("provision {id} will not be {condition}: {reason} ({})", self.state());
        self.with_last_seen(Error::new(ErrorKind::Unattainable, Sent::Responded, message))
    }

    fn timed_out(mut self) -> Error {
        let Waiter { id, condition, timeout, .. } = &self.waiter;
        let message = format!("provision {id} is not {} after {timeout:?} ({})", condition.name(), self.state());
        let sent = if self.seen.is_some() { Sent::Responded } else { Sent::Maybe };
        let error = Error::new(ErrorKind::WaitTimeout, sent, message);
        match self.trouble.last().or(self.failure.take()) {
            Some(failure) => self.with_last_seen(error.with_source(failure)),
            None => self.with_last_seen(error),
        }
    }

    fn with_last_seen(self, error: Error) -> Error {
        match self.seen {
            Some(seen) => error.with_last_seen(Arc::new(seen)),
            None => error,
        }
    }

    /// The state of the provision in one phrase.
    fn state(&self) -> String {
        let Some(seen) = &self.seen else { return "it was never read".into() };
        let step = seen.sub_status.as_ref().map_or("no sub_status", |step| step.as_str());
        format!("last seen as {} with {step}", seen.status)
    }
}
