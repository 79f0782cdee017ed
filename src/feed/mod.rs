//! What is known of objects at bunq, and who is told of it.
//!
//! Every read of an object goes through the feed: pages of listings, reads of single objects, and the rounds in which
//! waiters poll and [nudges](Feed::nudge) are answered. It is told to all who wait for the object, if the read began after they
//! asked, and to all who subscribe.

mod knowledge;
mod resource;
mod rounds;
#[cfg(test)]
mod tests;
mod waiter;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use futures_util::stream::{Stream, unfold};
use tokio::runtime::Id;
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use self::knowledge::Moment;
use self::knowledge::{Knowledge, Known};
pub use self::resource::Resource;
pub(crate) use self::resource::{Condition, Evaluation, Readable};
use self::rounds::{Lane, Requested, Rounds};
pub use self::waiter::{Acceptance, Waiter};
use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::transport::runtime;
use crate::transport::trouble::Trouble;
use crate::types::Provision;

/// How long a reader waits for the worker of another runtime, which may not be run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the changes of all objects of one kind that a client sees. Cheap to clone; all clones share what is known.
///
/// It reads nothing by itself. It knows what the client reads: polls of a [`Waiter`], pages of a [`List`](crate::List), what
/// [`get`](crate::Provisions::get) returns, and [nudges](Self::nudge). What the typed methods of [`Api`] read does not
/// go through it.
///
/// ```no_run
/// # async fn example(client: bunq_partner::Client, id: bunq_partner::ProvisionId) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::FeedItem;
/// use futures_util::StreamExt as _;
///
/// let feed = client.provisions().feed();
/// tokio::spawn(feed.subscribe().for_each(async |item| match item {
///     FeedItem::Changed(provision) => println!("{}: {}", provision.id, provision.status),
///     _ => eprintln!("some changes were missed"),
/// }));
/// // A webhook names a provision. Its waiters and all subscribers are told what this reads.
/// feed.nudge(id).await?;
/// # Ok(())
/// # }
/// ```
pub struct Feed<R: Resource = Provision> {
    /// With which it reads what is not read in rounds.
    api: Api,
    rounds: Arc<Rounds<R>>,
}

/// What a subscriber to a [`Feed`] is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedItem<R = Provision> {
    /// An object as it was read: the feed has not known it before, or it has changed.
    Changed(Arc<R>),
    /// The subscriber was too slow, and so many changes were dropped.
    Lagged(u64),
}

impl<R: Resource> Feed<R> {
    pub(crate) fn new(api: Api, nudge_share: f64) -> Self {
        Self { rounds: Arc::new(Rounds::new(api.clone(), nudge_share)), api }
    }

    /// The same feed, which reads single objects with these methods.
    pub(crate) fn over(&self, api: Api) -> Self {
        Self { api, rounds: Arc::clone(&self.rounds) }
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Asks for an object to be read now, as where a webhook or another machine says that it has changed, and returns what that
    /// shows. The read begins after this call: one that is under way already may show how it was before.
    ///
    /// Nudges are gathered: those for one object are answered by one read, and those for several by pages of up to 200. A wait for
    /// the object ends or goes on with the same read. Together, all nudges of a client begin at most
    /// [a share](crate::ClientBuilder::nudge_share) of the reads that bunq's rate limit allows, one at a time and evenly spread,
    /// so that a flood of them holds up no other call for long. A nudge that was called is asked for at once, whether the future is
    /// polled or not; to drop it before the read begins withdraws it.
    ///
    /// # Errors
    ///
    /// Those of [`get`](crate::Provisions::get). [`Timeout`](ErrorKind::Timeout), or the last failure, if the
    /// [operation timeout](crate::ClientBuilder::operation_timeout) passes before it is read.
    pub fn nudge(&self, id: R::Id) -> impl Future<Output = Result<R, Error>> + Send + 'static + use<R> {
        let trouble = Trouble::default();
        let asked = self.ask(Lane::Nudges, id, Vec::new(), R::states(), &trouble);
        let longest = self.rounds.api.transport().config().operation_timeout;
        async move {
            match timeout(longest, asked?.answer()).await {
                Ok(read) => read.map(|seen| Arc::unwrap_or_clone(seen.object)),
                Err(_) => Err(late(&format!("{} {id} was not read within {longest:?} of a nudge", R::NAME), &trouble)),
            }
        }
    }

    /// Yields the changes of all objects that the client reads, from now on: each object when it is read for the first time, and
    /// then whenever it has changed. Nothing is read for the subscription itself.
    ///
    /// A subscriber that falls more than 1024 changes behind misses the oldest, and is told how many
    /// ([`FeedItem::Lagged`]). While there are subscribers, the feed keeps the objects of all waits, and the 10 000 that
    /// were read last beside those: about 2 KiB each, tokens that bunq shows included. One that it does not keep is told as if it
    /// were new. Without subscribers it keeps what is waited for.
    pub fn subscribe(&self) -> impl Stream<Item = FeedItem<R>> + Send + 'static + use<R> {
        let receiver = Some(self.knowledge(Knowledge::subscribe));
        let subscription = Subscription { feed: self.clone(), receiver };
        unfold(subscription, async |mut subscription| {
            let item = match subscription.receiver.as_mut()?.recv().await {
                Ok(seen) => FeedItem::Changed(seen),
                Err(broadcast::error::RecvError::Lagged(missed)) => FeedItem::Lagged(missed),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((item, subscription))
        })
    }

    /// The moment at which a read begins: what it shows is then [learnt](Self::learn).
    pub(crate) fn now(&self) -> Moment {
        self.knowledge(Knowledge::now)
    }

    /// Reads several objects with the next round of polls, each once: by pages of all that are listed, and by their ids where they
    /// are not.
    pub(crate) async fn read_all(&self, ids: &[R::Id]) -> Vec<(R::Id, Result<Arc<R>, Error>)> {
        let read = async |id| {
            let read = self.ask(Lane::Polls, id, R::states(), Vec::new(), &Trouble::default())?.answer().await?;
            Ok(read.object)
        };
        join_all(ids.iter().map(async |id| (*id, read(*id).await))).await
    }

    /// Takes in what a read has shown that began at this moment or later.
    pub(crate) fn learn<'a>(&self, seen: impl IntoIterator<Item = &'a R>, began: Moment) {
        self.knowledge(|knowledge| {
            for object in seen {
                if knowledge.is_followed(object.id()) {
                    knowledge.learn(&Known { began, object: Arc::new(object.clone()) });
                }
            }
        });
    }

    /// Reads an object, and takes in what that shows.
    pub(crate) async fn read(&self, id: R::Id) -> Result<R, Error> {
        let began = self.now();
        let seen = R::read(&self.api, id).await?;
        self.learn([&seen], began);
        Ok(seen)
    }

    fn knowledge<T>(&self, access: impl FnOnce(&mut Knowledge<R>) -> T) -> T {
        self.rounds.knowledge(access)
    }

    /// Keeps what is known of an object, until the guard is dropped.
    fn keep(&self, id: R::Id) -> Interest<R> {
        self.knowledge(|knowledge| knowledge.keep(id));
        Interest { feed: self.clone(), id }
    }

    /// Asks for an object to be read with the next round of a lane. It has one of the states that are `expected`, or else one of
    /// `others`, or else any. Until it is read, `trouble` is that of the round.
    fn ask(
        &self,
        lane: Lane,
        id: R::Id,
        expected: Vec<R::State>,
        others: Vec<R::State>,
        trouble: &Trouble,
    ) -> Result<Ask<R>, Error> {
        let own = runtime::current()?;
        let interest = self.keep(id);
        let heard = self.knowledge(|knowledge| {
            let now = knowledge.now();
            knowledge.listen(id, now)
        });
        let requested = self.rounds.request(lane, id, (&expected, &others), own, None, trouble);
        Ok(Ask { heard, requested, interest, lane, expected, others, own, trouble: trouble.clone() })
    }
}

/// Whether something has failed before anything was sent, and for longer than a while.
fn is_of_this_machine(error: &Error) -> bool {
    error.sent() == Sent::No && !error.is_retryable()
}

/// The error of an object that was not read in time, with what held it up.
fn late(problem: &str, trouble: &Trouble) -> Error {
    match trouble.last() {
        Some(last) => Error::held_up(problem, last),
        None => Error::new(ErrorKind::Timeout, Sent::No, problem),
    }
}

/// A guard that keeps what is known of an object.
struct Interest<R: Resource> {
    feed: Feed<R>,
    id: R::Id,
}

impl<R: Resource> Interest<R> {
    /// What is known of the object, as soon as that is of a read that began after a moment; `None` at a time before.
    async fn newer_than(&self, after: Moment, until: Instant) -> Option<Known<R>> {
        let heard = self.feed.knowledge(|knowledge| knowledge.listen(self.id, after));
        match select(heard, pin!(sleep_until(until))).await {
            Either::Left((heard, _)) => heard.ok(),
            Either::Right(_) => None,
        }
    }
}

impl<R: Resource> Drop for Interest<R> {
    fn drop(&mut self) {
        self.feed.knowledge(|knowledge| knowledge.release(self.id));
    }
}

/// An object that is to be read.
struct Ask<R: Resource> {
    /// What any read shows that begins after it was asked.
    heard: oneshot::Receiver<Known<R>>,
    requested: Requested<R>,
    interest: Interest<R>,
    lane: Lane,
    expected: Vec<R::State>,
    others: Vec<R::State>,
    /// The runtime of who asks.
    own: Id,
    trouble: Trouble,
}

impl<R: Resource> Ask<R> {
    async fn answer(self) -> Result<Known<R>, Error> {
        let Self { mut heard, mut requested, interest, lane, expected, others, own, trouble } = self;
        loop {
            let Requested { worker, is_new, receiver } = requested;
            let is_own = worker.runtime == own;
            let received = async { if is_own { Some(receiver.await) } else { timeout(PATIENCE, receiver).await.ok() } };
            let received = match select(&mut heard, pin!(received)).await {
                Either::Left((Ok(seen), _)) => {
                    trouble.end_wait();
                    return Ok(seen);
                }
                Either::Left((Err(_), _)) => return Err(Error::internal("the feed has forgotten who asks")),
                Either::Right((received, _)) => received,
            };
            trouble.end_wait();
            match received {
                Some(Ok(result)) if is_own || !result.as_ref().is_err_and(is_of_this_machine) => return result,
                Some(Err(_)) if is_new => return Err(Error::internal("the runtime of the call is shut down")),
                // The worker's runtime has ended, is not run, or has failed the call by its end.
                _ => {
                    let (Interest { feed, id }, states) = (&interest, (&expected[..], &others[..]));
                    requested = feed.rounds.request(lane, *id, states, own, Some(worker), &trouble);
                }
            }
        }
    }
}

/// One subscriber.
struct Subscription<R: Resource> {
    feed: Feed<R>,
    /// `None` when it is dropped.
    receiver: Option<broadcast::Receiver<Arc<R>>>,
}

impl<R: Resource> Drop for Subscription<R> {
    fn drop(&mut self) {
        self.receiver = None;
        self.feed.knowledge(Knowledge::unsubscribed);
    }
}

impl<R: Resource> Clone for Feed<R> {
    fn clone(&self) -> Self {
        Self { api: self.api.clone(), rounds: Arc::clone(&self.rounds) }
    }
}

impl<R: Resource> fmt::Debug for Feed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("resource", &R::NAME).finish_non_exhaustive()
    }
}
