//! Waiting for a provision to get somewhere.
//!
//! bunq calls nobody back in time to be waited for, so a waiter looks again and again, and shows every change. It
//! ends when the goal is reached, when the goal can no longer be reached, or when its time is up. How a look is
//! taken, and with whom it is shared, is [`looks`](crate::looks)' affair.

use std::time::Duration;

use futures_util::stream::{Stream, TryStreamExt, try_unfold};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{Error, ErrorKind, Sent};
use crate::looks::Looks;
use crate::provision_id::ProvisionId;
use crate::types::{Credential, CredentialStatus, Provision, ProvisionStatus};

/// How often a waiter looks, and how long it goes on, unless told otherwise.
const POLL_EVERY: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The last look is taken this long before the time is up, or a tenth of it before if that is less.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What a waiter waits for.
#[derive(Debug, Clone)]
pub(crate) enum Goal {
    /// The provision is closed.
    Closed,
    /// It has a credential that has not been used yet.
    Ready,
    /// The same, but another credential than the old one.
    Reset { old: Option<Credential> },
}

/// What a look at the provision says of the goal.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Reached,
    Underway,
    /// It will not be reached any more, for this reason.
    Lost(&'static str),
}

impl Goal {
    fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Ready => "ready",
            Self::Reset { .. } => "ready with a new credential",
        }
    }

    /// The statuses on the way to the goal and at its end: where to look for a provision.
    fn statuses(&self) -> Vec<ProvisionStatus> {
        use ProvisionStatus::{Active, Cancelled, Closed, Created, Failed, TokenResetRequested};
        match self {
            Self::Closed => vec![Cancelled, Closed, Failed],
            Self::Ready | Self::Reset { .. } => vec![Created, Active, TokenResetRequested, Failed],
        }
    }

    /// A pure function: what is seen in, what it means for the goal out.
    fn judge(&self, seen: &Provision) -> Progress {
        use CredentialStatus::{Active, Expired};
        use ProvisionStatus::{Cancelled, Closed, Failed, TokenResetRequested};
        match (self, &seen.status) {
            (_, Failed) => Progress::Lost("bunq has failed to process it"),
            (Self::Closed, Closed) => Progress::Reached,
            (Self::Closed, _) => Progress::Underway,
            (_, Cancelled | Closed) => Progress::Lost("it is being or has been closed"),
            // The credential that is still shown is on its way out.
            (_, TokenResetRequested) => Progress::Underway,
            (Self::Ready, _) => match (seen.fresh_credential(), &seen.credential) {
                (Some(_), _) => Progress::Reached,
                (None, Some(Credential { status: Some(Active), .. })) => {
                    Progress::Lost("its credential is already in use; reset the token for a new one")
                }
                (None, Some(Credential { status: Some(Expired), .. })) => {
                    Progress::Lost("its credential has expired unused; reset the token for a new one")
                }
                _ => Progress::Underway,
            },
            (Self::Reset { old }, _) => match (seen.fresh_credential(), &seen.credential) {
                (Some(fresh), _) if is_new(fresh, old.as_ref()) => Progress::Reached,
                // By its id alone: the old one loses its token too when it is used.
                (None, Some(Credential { id: Some(id), status: Some(Active | Expired), .. }))
                    if old.as_ref().and_then(|old| old.id).is_some_and(|old| old != *id) =>
                {
                    Progress::Lost("its new credential is in use already, or has expired; reset the token again")
                }
                _ => Progress::Underway,
            },
        }
    }
}

/// A new credential is told by its id or its token: bunq may show the old one for a while after a reset.
pub(crate) fn is_new(fresh: &Credential, old: Option<&Credential>) -> bool {
    old.is_none_or(|old| fresh.id != old.id || fresh.token_value != old.token_value)
}

/// How it is known that bunq has taken on what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Acceptance {
    /// bunq answered that it has.
    Answered,
    /// No answer was to be had, but a look afterwards showed that it has.
    Found,
    /// It was so before it was asked.
    Already,
    /// It was not asked: one only waits.
    NotAsked,
}

/// Waits for a provision to get somewhere: as a future with [`wait`](Self::wait), or change by change with
/// [`changes`](Self::changes).
///
/// However many waiters of one client there are, they look together: thousands of them cost a few pages of a list per
/// round, within bunq's rate limits.
///
/// ```no_run
/// # async fn example(client: bunq_partner::Client, id: bunq_partner::ProvisionId) -> Result<(), bunq_partner::Error> {
/// let closing = client.provisions().close(id).await?;
/// let closed = closing.wait().await?;
/// assert!(closed.is_closed());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "bunq has been asked, but has not done it yet: wait for it"]
pub struct Waiter {
    looks: Looks,
    id: ProvisionId,
    goal: Goal,
    acceptance: Acceptance,
    poll_every: Duration,
    timeout: Duration,
}

impl Waiter {
    pub(crate) fn new(looks: Looks, id: ProvisionId, goal: Goal, acceptance: Acceptance) -> Self {
        Self { looks, id, goal, acceptance, poll_every: POLL_EVERY, timeout: TIMEOUT }
    }

    /// The provision that is waited for.
    pub fn id(&self) -> ProvisionId {
        self.id
    }

    /// How it is known that bunq has taken on what it was asked.
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }

    /// How long to pause at the most between two looks at the provision. The default is 2 seconds.
    ///
    /// Waiters with the same pause look at the same time, and together.
    pub fn poll_every(mut self, pause: Duration) -> Self {
        self.poll_every = pause;
        self
    }

    /// How long to wait at the most. The default is 15 minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Waits, and gives the provision as it was when it got there.
    ///
    /// It may be given up at any time, and another waiter made.
    ///
    /// # Errors
    ///
    /// [`Unattainable`](ErrorKind::Unattainable) as soon as it can no longer get there,
    /// [`WaitTimeout`](ErrorKind::WaitTimeout) when the time is up, and any failure that does not
    /// [pass by itself](Error::is_retryable). All tell the provision as it was [last seen](Error::last_seen).
    pub async fn wait(self) -> Result<Provision, Error> {
        let mut watch = Watch::new(self);
        loop {
            let (seen, goes_on) = watch.next_change().await?;
            match goes_on {
                Some(goes_on) => watch = goes_on,
                None => return Ok(seen),
            }
        }
    }

    /// The provision as it is first seen, then every change of it, up to where it gets there.
    ///
    /// The errors are those of [`wait`](Self::wait), and end the stream. Nothing is looked at while the stream is not
    /// polled, but the time runs.
    pub fn changes(self) -> impl Stream<Item = Result<Provision, Error>> + Send {
        try_unfold(Some(Watch::new(self)), async |watch| match watch {
            Some(watch) => watch.next_change().await.map(Some),
            None => Ok(None),
        })
        .into_stream()
    }
}

/// A wait under way.
struct Watch {
    waiter: Waiter,
    deadline: Instant,
    last_look: Instant,
    /// When to look next; at once if never looked.
    due: Option<Instant>,
    seen: Option<Provision>,
    /// The last failure that may pass.
    trouble: Option<Error>,
}

impl Watch {
    fn new(waiter: Waiter) -> Self {
        let now = Instant::now();
        let timeout = waiter.timeout.min(FOR_EVER);
        let last_look = now + (timeout - LAST_LOOK.min(timeout / 10));
        Self { waiter, deadline: now + timeout, last_look, due: None, seen: None, trouble: None }
    }

    /// The next change, and the watch to go on with unless the goal is reached.
    async fn next_change(mut self) -> Result<(Provision, Option<Self>), Error> {
        loop {
            if let Some(due) = self.due {
                sleep_until(due).await;
            }
            let began = Instant::now();
            self.due = Some(self.waiter.looks.next_round(self.waiter.poll_every).min(self.last_look.max(began)));
            let statuses = self.statuses();
            let changed = match timeout_at(self.deadline, self.waiter.looks.look(self.waiter.id, statuses)).await {
                Ok(Ok(seen)) => {
                    let changed = self.seen.as_ref() != Some(&seen);
                    let progress = self.waiter.goal.judge(&seen);
                    self.seen = Some(seen.clone());
                    match progress {
                        Progress::Reached => return Ok((seen, None)),
                        Progress::Lost(reason) => return Err(self.lost(reason)),
                        Progress::Underway => changed.then_some(seen),
                    }
                }
                Ok(Err(error)) if error.is_retryable() => {
                    tracing::debug!(provision = self.waiter.id.get(), %error, "a look has failed: the wait goes on");
                    self.trouble = Some(error);
                    None
                }
                Ok(Err(error)) => return Err(self.telling(error)),
                Err(_) => return Err(self.late()),
            };
            if began >= self.last_look {
                return Err(self.late());
            }
            if let Some(seen) = changed {
                return Ok((seen, Some(self)));
            }
        }
    }

    /// Where to look: anywhere at first, then where it was and where it may have gone.
    fn statuses(&self) -> Vec<ProvisionStatus> {
        use ProvisionStatus::{Active, Cancelled, Closed, Created, Failed, TokenResetRequested};
        let Some(seen) = &self.seen else {
            return vec![Created, Active, Cancelled, Failed, Closed, TokenResetRequested];
        };
        let mut statuses = self.waiter.goal.statuses();
        // bunq need not know a status in a question that it uses in answers: then the id will do.
        if !matches!(seen.status, ProvisionStatus::Unknown(_)) {
            statuses.push(seen.status.clone());
        }
        statuses
    }

    fn lost(self, reason: &str) -> Error {
        let (id, goal) = (self.waiter.id, self.waiter.goal.name());
        let message = format!("provision {id} will not be {goal}: {reason} ({})", self.state());
        self.telling(Error::new(ErrorKind::Unattainable, Sent::Answered, message))
    }

    fn late(mut self) -> Error {
        let Waiter { id, goal, timeout, .. } = &self.waiter;
        let message = format!("provision {id} is not {} after {timeout:?} ({})", goal.name(), self.state());
        let sent = if self.seen.is_some() { Sent::Answered } else { Sent::Maybe };
        let error = Error::new(ErrorKind::WaitTimeout, sent, message);
        match self.trouble.take() {
            Some(trouble) => self.telling(error.caused_by(trouble)),
            None => self.telling(error),
        }
    }

    fn telling(self, error: Error) -> Error {
        match self.seen {
            Some(seen) => error.seeing(seen),
            None => error,
        }
    }

    /// The state of the provision in one phrase.
    fn state(&self) -> String {
        let Some(seen) = &self.seen else { return "it was never seen".into() };
        let step = seen.sub_status.as_ref().map_or("no sub_status", |step| step.as_str());
        format!("last seen as {} with {step}", seen.status)
    }
}
