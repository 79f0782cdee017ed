//! Waiting for a provision to get somewhere.
//!
//! bunq calls nobody back in time to be waited for, so a waiter asks again and again, and shows every change. It
//! ends when the goal is reached, when the goal can no longer be reached, or when its time is up.

use std::time::Duration;

use futures_util::stream::{Stream, TryStreamExt, try_unfold};
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, ErrorKind, Sent};
use crate::provision_id::ProvisionId;
use crate::provisions::Provisions;
use crate::types::{Credential, CredentialStatus, Provision, ProvisionStatus};

/// How often a waiter asks, and how long it goes on, unless told otherwise.
const POLL_EVERY: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

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

    /// A pure function: what is seen in, what it means for the goal out.
    fn judge(&self, seen: &Provision) -> Progress {
        match (self, &seen.status) {
            (_, ProvisionStatus::Failed) => Progress::Lost("bunq has failed to process it"),
            (Self::Closed, ProvisionStatus::Closed) => Progress::Reached,
            (Self::Closed, _) => Progress::Underway,
            (_, ProvisionStatus::Cancelled | ProvisionStatus::Closed) => {
                Progress::Lost("it is being or has been closed")
            }
            (Self::Ready, _) => match (seen.fresh_credential(), &seen.credential) {
                (Some(_), _) => Progress::Reached,
                (None, Some(Credential { status: CredentialStatus::Active, .. })) => {
                    Progress::Lost("its credential is already in use; reset the token for a new one")
                }
                (None, Some(Credential { status: CredentialStatus::Expired, .. })) => {
                    Progress::Lost("its credential has expired unused; reset the token for a new one")
                }
                _ => Progress::Underway,
            },
            (Self::Reset { old }, _) => match seen.fresh_credential() {
                Some(fresh) if is_new(fresh, old.as_ref()) => Progress::Reached,
                _ => Progress::Underway,
            },
        }
    }
}

/// A new credential is told by its id or its token: bunq may show the old one for a while after a reset.
fn is_new(fresh: &Credential, old: Option<&Credential>) -> bool {
    old.is_none_or(|old| fresh.id != old.id || fresh.token_value != old.token_value)
}

/// Waits for a provision to get somewhere: as a future with [`wait`](Self::wait), or change by change with
/// [`changes`](Self::changes).
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
    provisions: Provisions,
    id: ProvisionId,
    goal: Goal,
    poll_every: Duration,
    timeout: Duration,
}

impl Waiter {
    pub(crate) fn new(provisions: Provisions, id: ProvisionId, goal: Goal) -> Self {
        Self { provisions, id, goal, poll_every: POLL_EVERY, timeout: TIMEOUT }
    }

    /// The provision that is waited for.
    pub fn id(&self) -> ProvisionId {
        self.id
    }

    /// How long to pause between two looks at the provision. The default is 2 seconds, below bunq's limit of 3
    /// reads in any 3 seconds.
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
    /// # Errors
    ///
    /// [`Unreachable`](ErrorKind::Unreachable) as soon as it can no longer get there,
    /// [`WaitTimeout`](ErrorKind::WaitTimeout) when the time is up; both tell the provision as it was
    /// [last seen](Error::last_seen). Else as any call: the first failure ends the wait.
    pub async fn wait(self) -> Result<Provision, Error> {
        let (id, goal) = (self.id, self.goal.name());
        let last = self.changes().try_fold(None, async |_, seen| Ok(Some(seen))).await?;
        // The stream ends well only after it has shown the provision at its goal.
        last.ok_or_else(|| Error::new(ErrorKind::WaitTimeout, Sent::No, format_args!("provision {id} is not {goal}")))
    }

    /// The provision as it is first seen, then every change of it, up to where it gets there.
    ///
    /// The errors are those of [`wait`](Self::wait), and end the stream. Nothing is asked while the stream is not
    /// polled.
    pub fn changes(self) -> impl Stream<Item = Result<Provision, Error>> + Send {
        let start = Watch { deadline: Instant::now() + self.timeout, next: None, last: None, waiter: self };
        try_unfold(Some(start), async |watch| match watch {
            Some(watch) => watch.next_change().await.map(Some),
            None => Ok(None),
        })
    }
}

/// A wait under way.
struct Watch {
    waiter: Waiter,
    deadline: Instant,
    /// When to look next; at once if never looked.
    next: Option<Instant>,
    last: Option<Provision>,
}

impl Watch {
    /// The next change, and the watch to go on with unless the goal is reached.
    async fn next_change(mut self) -> Result<(Provision, Option<Self>), Error> {
        loop {
            if let Some(next) = self.next {
                sleep_until(next).await;
            }
            let seen = self.waiter.provisions.get(self.waiter.id).await?;
            let progress = self.waiter.goal.judge(&seen);
            let changed = self.last.as_ref() != Some(&seen);
            self.last = Some(seen.clone());
            match progress {
                Progress::Reached => return Ok((seen, None)),
                Progress::Lost(reason) => return Err(self.lost(seen, reason)),
                Progress::Underway => {}
            }
            let now = Instant::now();
            if now >= self.deadline {
                return Err(self.late(seen));
            }
            // The last look is taken when the time is up, not a pause before.
            self.next = Some((now + self.waiter.poll_every).min(self.deadline));
            if changed {
                return Ok((seen, Some(self)));
            }
        }
    }

    fn lost(&self, seen: Provision, reason: &str) -> Error {
        let Waiter { id, goal, .. } = &self.waiter;
        let message = format_args!("provision {id} will not be {}: {reason} ({})", goal.name(), state(&seen));
        Error::new(ErrorKind::Unreachable, Sent::Answered, message).seeing(seen.clone())
    }

    fn late(&self, seen: Provision) -> Error {
        let Waiter { id, goal, timeout, .. } = &self.waiter;
        let message = format_args!("provision {id} is not {} after {timeout:?} ({})", goal.name(), state(&seen));
        Error::new(ErrorKind::WaitTimeout, Sent::Answered, message).seeing(seen.clone())
    }
}

/// The state of a provision in one phrase.
fn state(seen: &Provision) -> String {
    let step = seen.sub_status.as_ref().map_or("no sub_status", |step| step.as_str());
    format!("last seen as {} with {step}", seen.status)
}
