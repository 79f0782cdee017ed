//! Waiting for an object to meet a condition.
//!
//! A waiter polls, and yields every change. It ends when the condition is met, when it cannot be met any more, or when the time is up.
//! Between its polls the feed tells it what others read. While bunq's calls are heard and tell what changes, it polls as a safety net
//! alone.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{Stream, TryStreamExt, try_unfold};
use tokio::time::{Instant, timeout_at};

use super::hearing::Mode;
use super::knowledge::{Known, Moment};
use super::resource::{Condition, Evaluation, Resource};
use super::round::Request;
use super::{Feed, Interest};
use crate::error::{Error, ErrorKind, Sent};
use crate::text::duration;
use crate::transport::credentials::BoxFuture;
use crate::transport::runtime;
use crate::transport::trouble::Trouble;
use crate::types::Provision;

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
    /// provision, so it cannot be said whether it has those of this request. What it shows is the same: person or company, products,
    /// and the country once it is known; where they differ, the creation fails with [`Unattainable`](ErrorKind::Unattainable).
    Already,
    /// Nothing was requested; the waiter only waits.
    NotRequested,
}

/// Waits for an object, such as a provision, to meet a condition: as a future, by `.await` or with [`wait`](Self::wait), or change
/// by change with [`changes`](Self::changes).
///
/// All waiters of one client poll together: thousands of them cost a few pages of a listing per round, within bunq's
/// rate limits. A waiter hears of what else the client reads, so that a [nudge](Feed::nudge) ends a wait before the next poll.
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
pub struct Waiter<R: Resource = Provision> {
    pub(crate) feed: Feed<R>,
    id: R::Id,
    pub(crate) condition: R::Condition,
    acceptance: Acceptance,
    response_id: Option<String>,
    poll_interval: Duration,
    timeout: Duration,
}

impl<R: Resource> Waiter<R> {
    pub(crate) fn new(
        feed: Feed<R>,
        id: R::Id,
        condition: R::Condition,
        acceptance: Acceptance,
        poll_interval: Duration,
    ) -> Self {
        Self { feed, id, condition, acceptance, response_id: None, poll_interval, timeout: TIMEOUT }
    }

    /// The response in which bunq has accepted the request.
    pub(crate) fn accepted_in(self, response_id: Option<String>) -> Self {
        Self { response_id, ..self }
    }

    /// Reads the object once, together with those of others, and holds it against what was requested.
    pub(crate) async fn confirm(self) -> Result<(), Error> {
        let time = self.feed.api().transport().config().operation_timeout;
        let mut wait = Wait::new(Self { timeout: time, ..self });
        match timeout_at(wait.deadline, wait.poll()).await {
            Ok(read) => read.map(drop),
            Err(_) => Err(wait.timed_out()),
        }
    }

    /// Returns the id of the object.
    pub fn id(&self) -> R::Id {
        self.id
    }

    /// How it is known that bunq has accepted the request.
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }

    /// bunq's id of the response that has accepted the request (`X-Bunq-Client-Response-Id`), for your logs: bunq's support
    /// asks for it. It is `None` if there was no such response, as where [`acceptance`](Self::acceptance) is not
    /// [`Accepted`](Acceptance::Accepted).
    pub fn response_id(&self) -> Option<&str> {
        self.response_id.as_deref()
    }

    /// Sets the longest pause between two polls. The default is that of the
    /// [client](crate::ClientBuilder::poll_interval). While bunq's calls are heard and tell what changes, the pause is longer.
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

    /// Waits, and returns the object as it was when it met the condition. `.await` on the waiter does the same.
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
    /// [`InvalidResponse`](ErrorKind::InvalidResponse) if the response to its creation was about another. If the object
    /// was seen before, they carry it as it was [last seen](Error::last_seen).
    pub async fn wait(self) -> Result<R, Error> {
        let mut wait = Wait::new(self);
        loop {
            match wait.next_change().await? {
                (_, Some(next)) => wait = next,
                (seen, None) => return Ok(seen),
            }
        }
    }

    /// The object as it is first seen, then every change of it, up to the one that meets the condition.
    ///
    /// The errors are those of [`wait`](Self::wait), and end the stream. The timeout also runs while the stream is not
    /// polled.
    pub fn changes(self) -> impl Stream<Item = Result<R, Error>> + Send {
        try_unfold(Some(Wait::new(self)), async |wait| match wait {
            Some(wait) => wait.next_change().await.map(Some),
            None => Ok(None),
        })
        .into_stream()
    }
}

impl<R: Resource> IntoFuture for Waiter<R> {
    type Output = Result<R, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

/// A wait in progress.
struct Wait<R: Resource> {
    waiter: Waiter<R>,
    interest: Interest<R>,
    deadline: Instant,
    last_poll: Instant,
    /// When to poll next; at once before the first poll.
    due: Option<Instant>,
    /// Before that, bunq asks not to poll.
    not_before: Option<Instant>,
    /// How often to poll.
    mode: Mode,
    /// When the read began that was told last, whether what it has shown could be confirmed or not.
    told: Moment,
    seen: Option<Arc<R>>,
    /// The last transient failure, and what holds up the read in progress.
    failure: Option<Error>,
    trouble: Trouble,
}

impl<R: Resource> Wait<R> {
    fn new(waiter: Waiter<R>) -> Self {
        let now = Instant::now();
        let timeout = waiter.timeout.min(MAX_TIMEOUT);
        let last_poll = now + (timeout - LAST_POLL.min(timeout / 10));
        let (interest, mode) = (waiter.feed.keep(waiter.id, false), waiter.feed.hearing.mode());
        Self {
            waiter,
            interest,
            deadline: now + timeout,
            last_poll,
            due: None,
            not_before: None,
            mode,
            told: Moment::default(),
            seen: None,
            failure: None,
            trouble: Trouble::default(),
        }
    }

    /// The next change, and the wait to go on with unless the condition is met.
    async fn next_change(mut self) -> Result<(R, Option<Self>), Error> {
        runtime::check()?;
        loop {
            let heard = self.heard().await;
            let (began, is_poll) = (Instant::now(), heard.is_none());
            self.not_before = None;
            self.schedule(began);
            let confirmed = timeout_at(self.deadline, async {
                match heard {
                    Some(heard) => self.confirm(heard).await,
                    None => self.poll().await,
                }
            });
            let changed = match confirmed.await {
                Ok(Ok(seen)) => {
                    let changed = self.seen.as_ref() != Some(&seen);
                    let evaluation = self.waiter.condition.evaluate(&seen);
                    self.seen = Some(Arc::clone(&seen));
                    match evaluation {
                        Evaluation::Met => return Ok((Arc::unwrap_or_clone(seen), None)),
                        Evaluation::Unattainable(reason) => return Err(self.unattainable(reason)),
                        Evaluation::Pending => changed.then_some(seen),
                    }
                }
                Ok(Err(error)) if error.is_retryable() => {
                    let (resource, id) = (R::NAME, &self.waiter.id);
                    tracing::debug!(resource, %id, %error, "a poll has failed: the wait goes on");
                    self.not_before = error.retry_after().and_then(|pause| Instant::now().checked_add(pause));
                    self.due = self.due.max(self.not_before).map(|due| due.min(self.last_poll.max(began)));
                    self.failure = Some(error);
                    None
                }
                Ok(Err(error)) => return Err(self.with_last_seen(error)),
                Err(_) => return Err(self.timed_out()),
            };
            if is_poll && began >= self.last_poll {
                return Err(self.timed_out());
            }
            if let Some(seen) = changed {
                return Ok((Arc::unwrap_or_clone(seen), Some(self)));
            }
        }
    }

    /// What others read before the next poll is due.
    async fn heard(&mut self) -> Option<Known<R>> {
        while let Some(due) = self.due {
            let newer = self.interest.newer_than(self.told, due);
            if let Either::Left((heard, _)) = select(pin!(newer), pin!(self.mode.changed())).await {
                return heard;
            }
            self.schedule(Instant::now());
        }
        None
    }

    /// Sets when to poll next.
    fn schedule(&mut self, now: Instant) {
        let interval = self.mode.poll_interval(self.waiter.poll_interval);
        let due = self.waiter.feed.rounds.next_round(interval);
        self.due = Some(self.not_before.unwrap_or(due).max(due).min(self.last_poll.max(now)));
    }

    /// Reads the object with the next round.
    async fn poll(&mut self) -> Result<Arc<R>, Error> {
        let (feed, id) = (&self.waiter.feed, self.waiter.id);
        let read = feed.ask(Request::POLL, id, self.expected(), self.others(), &self.trouble)?.await?;
        self.confirm(read).await
    }

    async fn confirm(&mut self, known: Known<R>) -> Result<Arc<R>, Error> {
        self.told = known.began;
        let api = self.waiter.feed.api().telling(&self.trouble);
        self.waiter.condition.confirm(&api, &known.object).await?;
        Ok(known.object)
    }

    /// The states that the object is expected to have.
    fn expected(&self) -> Vec<R::State> {
        let mut expected = self.waiter.condition.pending();
        expected.extend(self.seen.as_ref().and_then(|seen| seen.state()));
        expected
    }

    /// The other states that it may have: those in which the wait ends, or any if nothing is known of it.
    fn others(&self) -> Vec<R::State> {
        if self.seen.is_none() && self.waiter.acceptance == Acceptance::NotRequested {
            return R::states();
        }
        self.waiter.condition.ends()
    }

    fn unattainable(self, reason: &str) -> Error {
        let (id, condition) = (self.waiter.id, self.waiter.condition.name());
        let message = format!("{} {id} will not be {condition}: {reason} ({})", R::NAME, self.progress());
        self.with_last_seen(Error::new(ErrorKind::Unattainable, Sent::Responded, message))
    }

    fn timed_out(mut self) -> Error {
        let Waiter { id, condition, timeout, .. } = &self.waiter;
        let (condition, progress) = (condition.name(), self.progress());
        let after = if timeout.is_zero() { String::new() } else { format!(" after {}", duration(*timeout)) };
        let message = format!("{} {id} is not {condition}{after} ({progress})", R::NAME);
        let sent = if self.seen.is_some() { Sent::Responded } else { Sent::Maybe };
        let error = Error::new(ErrorKind::WaitTimeout, sent, message);
        match self.trouble.last().or(self.failure.take()) {
            Some(failure) => self.with_last_seen(error.with_source(failure)),
            None => self.with_last_seen(error),
        }
    }

    fn with_last_seen(self, error: Error) -> Error {
        match self.seen {
            Some(seen) => error.with_last_seen(seen),
            None => error,
        }
    }

    /// How far the object is, in one phrase.
    fn progress(&self) -> String {
        self.seen.as_ref().map_or("it was never read".into(), |seen| format!("last seen as {}", seen.progress()))
    }
}
