//! Waiting for a provision to meet a condition.
//!
//! bunq pushes nothing that could be waited for, so a waiter polls, and yields every change. It ends when the condition
//! is met, when it cannot be met any more, or when the time is up. How a provision is read, together with those of other
//! waiters, is the poller's business.

use std::time::Duration;

use futures_util::stream::{Stream, TryStreamExt, try_unfold};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::condition::{Condition, Progress};
use super::poller::Poller;
use crate::error::{Error, ErrorKind, Sent};
use crate::transport::credentials::BoxFuture;
use crate::types::{Provision, ProvisionId, ProvisionStatus};

/// How often a waiter polls, and how long it goes on, by default.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
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
    /// bunq refused the request, because it had been carried out before.
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
    poll_interval: Duration,
    timeout: Duration,
}

impl Waiter {
    pub(super) fn new(poller: Poller, id: ProvisionId, condition: Condition, acceptance: Acceptance) -> Self {
        Self { poller, id, condition, acceptance, poll_interval: POLL_INTERVAL, timeout: TIMEOUT }
    }

    /// Returns the id of the provision.
    pub fn id(&self) -> ProvisionId {
        self.id
    }

    /// How it is known that bunq has accepted the request.
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }

    /// Sets the longest pause between two polls. The default is 2 seconds.
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
    /// [`WaitTimeout`](ErrorKind::WaitTimeout) when the time is up, and any failure that is not
    /// [transient](Error::is_retryable). All carry the provision as it was [last seen](Error::last_seen).
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
    /// The last transient failure.
    trouble: Option<Error>,
}

impl Wait {
    fn new(waiter: Waiter) -> Self {
        let now = Instant::now();
        let timeout = waiter.timeout.min(MAX_TIMEOUT);
        let last_poll = now + (timeout - LAST_POLL.min(timeout / 10));
        Self { waiter, deadline: now + timeout, last_poll, due: None, seen: None, trouble: None }
    }

    /// The next change, and the wait to go on with unless the condition is met.
    async fn next_change(mut self) -> Result<(Provision, Option<Self>), Error> {
        loop {
            if let Some(due) = self.due {
                sleep_until(due).await;
            }
            let began = Instant::now();
            self.due = Some(self.waiter.poller.next_round(self.waiter.poll_interval).min(self.last_poll.max(began)));
            let statuses = self.statuses();
            let changed = match timeout_at(self.deadline, self.waiter.poller.poll(self.waiter.id, statuses)).await {
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
                    self.trouble = Some(error);
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

    /// The statuses to filter the listing by: all at first, then the last one seen and those that can follow.
    fn statuses(&self) -> Vec<ProvisionStatus> {
        use ProvisionStatus::{Active, Cancelled, Closed, Created, Failed, TokenResetRequested};
        let Some(seen) = &self.seen else {
            return vec![Created, Active, Cancelled, Failed, Closed, TokenResetRequested];
        };
        let mut statuses = self.waiter.condition.statuses();
        // bunq may not accept in a request a status that it uses in responses. Then the provision is read by its id.
        if !matches!(seen.status, ProvisionStatus::Unknown(_)) {
            statuses.push(seen.status.clone());
        }
        statuses
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
        match self.trouble.take() {
            Some(trouble) => self.with_last_seen(error.with_source(trouble)),
            None => self.with_last_seen(error),
        }
    }

    fn with_last_seen(self, error: Error) -> Error {
        match self.seen {
            Some(seen) => error.with_last_seen(seen),
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
