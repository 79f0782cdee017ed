//! What is known of objects at bunq, and who is told of it.
//!
//! Every read of an object goes through the feed: pages of listings, reads of single objects, and the rounds in which
//! waiters poll and [nudges](Feed::nudge) are answered. The feed tells what a read shows to all callers that wait for the object,
//! if the read began after they asked, and to all subscribers.

mod hearing;
mod knowledge;
mod nudges;
mod polls;
mod reader;
mod resource;
mod round;
mod rounds;
#[cfg(test)]
mod tests;
mod turns;
mod waiter;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use futures_util::stream::{Stream, unfold};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until, timeout};

use self::hearing::Hearing;
#[cfg(feature = "webhook")]
pub(crate) use self::hearing::HearingGuard;
pub(crate) use self::knowledge::Moment;
use self::knowledge::{Knowledge, Known};
pub use self::resource::Resource;
pub(crate) use self::resource::{Condition, Evaluation, Readable};
use self::round::Request;
use self::rounds::Rounds;
use self::turns::NudgeTurns;
pub use self::waiter::{Acceptance, Waiter};
use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::text::duration;
use crate::transport::runtime;
use crate::transport::trouble::Trouble;
use crate::types::Provision;
#[cfg(feature = "webhook")]
use crate::types::Timestamp;

/// How long a caller waits for the worker of another runtime, which may not be run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the changes of all objects of one kind that a client sees. Cheap to clone; all clones share what is known.
///
/// A feed reads nothing by itself, unless it is [nudged](Self::nudge). It learns from what the client reads: polls of a [`Waiter`], pages of a [`List`](crate::List), what
/// [`get`](crate::Provisions::get) returns. What the typed methods of [`Api`] read does not
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
    /// For reads outside of rounds.
    api: Api,
    rounds: Arc<Rounds<R>>,
    hearing: Hearing,
}

/// Who says that an object may have changed.
#[cfg(feature = "webhook")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum HeardBy {
    /// A call, and when it claims that the object was changed.
    Call(Option<Timestamp>),
    /// A call. It was read for it before, and a page of the listing lacks it: it is read by its id.
    Again,
    /// A look: if that is the first to show a change, the call has not come.
    Look,
}

/// What a subscriber to a [`Feed`] is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedItem<R = Provision> {
    /// An object that the feed did not know, or that has changed.
    Changed(Arc<R>),
    /// The subscriber was too slow, and so many changes were dropped.
    Lagged(u64),
}

impl<R: Resource> Feed<R> {
    /// The feed of a partner.
    pub(crate) fn new(api: Api, nudge_share: f64) -> Self {
        Self::with(api.clone(), api, NudgeTurns::new(nudge_share), Hearing::of_partner())
    }

    /// A feed of one of its users, which shares with that of the partner the turns of nudges, and who hears calls. Nudges are answered with other methods than
    /// polls.
    pub(crate) fn of_user(api: Api, nudges: Api, partners: &Feed) -> Self {
        Self::with(api, nudges, partners.rounds.turns.of_user(), partners.hearing.of_user())
    }

    fn with(api: Api, nudges: Api, turns: NudgeTurns, hearing: Hearing) -> Self {
        let knowledge = Knowledge::new(hearing.clone());
        Self { rounds: Arc::new(Rounds::new(api.clone(), nudges, knowledge, turns)), api, hearing }
    }

    /// The same feed, which reads single objects with these methods.
    pub(crate) fn over(&self, api: Api) -> Self {
        Self { api, ..self.clone() }
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Reads an object soon, for example because a webhook or another machine says that it has changed. The read begins after this
    /// call: one that is under way already may show how the object was before.
    ///
    /// One read answers all nudges for one object, and pages of up to 200 answer nudges for several. Waiters for the object are told
    /// of the same read. Objects are read in the order in which they are nudged, neighbours together, and each once a second at
    /// most. Together, the nudges of a client and of its users begin at most [a share](crate::ClientBuilder::nudge_share)
    /// of the reads that bunq's rate limit allows, evenly spread, so that a flood of them holds up no other call for long. The
    /// call itself asks for the read; the future only returns it. Dropping the future before the read begins withdraws the nudge.
    ///
    /// # Errors
    ///
    /// Those of [`get`](crate::Provisions::get); [`NotFound`](ErrorKind::NotFound) also if a page of the listing would have shown the object
    /// and does not. [`Timeout`](ErrorKind::Timeout), or the last failure, if the
    /// [operation timeout](crate::ClientBuilder::operation_timeout) passes before it is read.
    pub fn nudge(&self, id: R::Id) -> impl Future<Output = Result<R, Error>> + Send + 'static + use<R> {
        let trouble = Trouble::default();
        let asked = self.ask(Request::NUDGE, id, Vec::new(), Vec::new(), &trouble);
        let longest = self.rounds.api().transport().config().operation_timeout;
        async move {
            match timeout(longest, asked?).await {
                Ok(read) => read.map(|seen| Arc::unwrap_or_clone(seen.object)),
                Err(_) => {
                    let longest = duration(longest);
                    Err(late(&format!("{} {id} was not read within {longest} of a nudge", R::NAME), &trouble))
                }
            }
        }
    }

    /// Reads an object soon because bunq's call says that it has changed: as [`nudge`](Self::nudge), but it waits for its turn as long as
    /// that takes. One that is known to have ended is not read again if it was changed last when the call claims or later.
    ///
    /// # Errors
    ///
    /// As [`nudge`](Self::nudge), without the timeout.
    #[cfg(feature = "webhook")]
    pub(crate) fn hear(
        &self,
        id: R::Id,
        by: HeardBy,
    ) -> impl Future<Output = Result<Arc<R>, Error>> + Send + 'static + use<R> {
        let (claim, request) = match by {
            HeardBy::Call(claim) => (claim, Request::NUDGE),
            HeardBy::Again => (None, Request { is_unlisted: true, ..Request::NUDGE }),
            HeardBy::Look => (None, Request { is_hint: false, ..Request::NUDGE }),
        };
        let asked = match claim.and_then(|claim| self.knowledge(|knowledge| knowledge.ended(id, claim))) {
            Some(ended) => Either::Left(ended),
            None => {
                let trouble = Trouble::default();
                Either::Right(self.ask(request, id, Vec::new(), Vec::new(), &trouble))
            }
        };
        async move {
            match asked {
                Either::Left(ended) => Ok(ended),
                Either::Right(asked) => asked?.await.map(|seen| seen.object),
            }
        }
    }

    /// How far an id is from the newest that bunq's listing has shown.
    #[cfg(feature = "webhook")]
    pub(crate) fn distance_to_newest(&self, id: R::Id) -> u64 {
        self.rounds.nudges.distance_to_newest(id)
    }

    /// What the waiters for these objects know of bunq's calls.
    #[cfg(feature = "webhook")]
    pub(crate) fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// Yields the changes of all objects that the client reads from now on: each object when it is first read, and
    /// then whenever it has changed. Nothing is read for the subscription itself.
    ///
    /// A subscriber that falls more than 1024 changes behind misses the oldest, and is told how many
    /// ([`FeedItem::Lagged`]). The feed keeps the objects that waiters wait for. While there are subscribers, it also keeps the other
    /// 10 000 objects that were read last: about 2 KiB each, including the tokens that bunq shows. An object that it does not keep is
    /// told as if it were new.
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

    /// Sets who is told of each read of an object that does not change any more, whoever waits for it. It must not block, and must not
    /// use the feed.
    pub(crate) fn at_the_end(&self, tell: impl Fn(&R) + Send + 'static) {
        self.knowledge(|knowledge| knowledge.tell_at_the_end(tell));
    }

    /// The moment at which a read begins, for [`learn`](Self::learn).
    pub(crate) fn now(&self) -> Moment {
        self.knowledge(Knowledge::now)
    }

    /// Reads several objects with the next round of polls, each once: by pages of all that are listed, and by their ids where they
    /// are not.
    pub(crate) async fn read_all(&self, ids: &[R::Id]) -> Vec<(R::Id, Result<Arc<R>, Error>)> {
        let read =
            async |id| Ok(self.ask(Request::POLL, id, R::states(), Vec::new(), &Trouble::default())?.await?.object);
        join_all(ids.iter().map(async |id| (*id, read(*id).await))).await
    }

    /// Learns from a read that began at this moment or later.
    pub(crate) fn learn<'a>(&self, seen: impl IntoIterator<Item = &'a R>, began: Moment) {
        self.knowledge(|knowledge| {
            for object in seen {
                knowledge.see(object);
                if knowledge.is_followed(object.id()) {
                    knowledge.learn(&Known { began, object: Arc::new(object.clone()) }, false);
                }
            }
        });
    }

    /// Reads an object, and learns from it.
    pub(crate) async fn read(&self, id: R::Id) -> Result<R, Error> {
        let began = self.now();
        let seen = R::read(&self.api, id).await?;
        self.learn([&seen], began);
        Ok(seen)
    }

    fn knowledge<T>(&self, access: impl FnOnce(&mut Knowledge<R>) -> T) -> T {
        self.rounds.knowledge(access)
    }

    /// Keeps what is known of an object, until the guard is dropped. `is_hint` if that is because of a call.
    fn keep(&self, id: R::Id, is_hint: bool) -> Interest<R> {
        self.knowledge(|knowledge| knowledge.keep(id, is_hint));
        Interest { feed: self.clone(), id, is_hint }
    }

    /// Asks for an object to be read with the next round of a lane. It has one of the states that are `expected`, or else one of
    /// `others`, or else any. It is asked for at once, before the future is polled. Until it
    /// is read, `trouble` is that of the round.
    fn ask(
        &self,
        request: Request,
        id: R::Id,
        expected: Vec<R::State>,
        others: Vec<R::State>,
        trouble: &Trouble,
    ) -> Result<impl Future<Output = Result<Known<R>, Error>> + Send + use<R>, Error> {
        let own = runtime::current()?;
        let interest = self.keep(id, request.is_hint);
        let mut heard = self.knowledge(|knowledge| {
            let now = knowledge.now();
            knowledge.listen(id, now)
        });
        let trouble = trouble.clone();
        let mut requested = self.rounds.request(request, id, (&expected, &others), (own, false), &trouble);
        Ok(async move {
            loop {
                let (runtime, receiver) = requested;
                let is_own = runtime == own;
                let received = async { if is_own { Ok(receiver.await) } else { timeout(PATIENCE, receiver).await } };
                let received = pin!(received);
                let answered = select(&mut heard, received).await;
                trouble.end_wait();
                match answered {
                    Either::Left((heard, _)) => {
                        return heard.map_err(|_| Error::internal("the feed has forgotten a caller"));
                    }
                    Either::Right((Ok(Ok(result)), _)) if is_own || !result.as_ref().is_err_and(is_of_this_machine) => {
                        return result;
                    }
                    Either::Right(_) if is_own => return Err(Error::internal("the runtime of the call is shut down")),
                    // The worker's runtime has ended, is not run, or has failed the call by its end.
                    Either::Right(_) => {
                        let states = (&expected[..], &others[..]);
                        requested = interest.feed.rounds.request(request, id, states, (own, true), &trouble);
                    }
                }
            }
        })
    }
}

/// Whether a call has failed before it was sent, and would fail again.
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
    is_hint: bool,
}

impl<R: Resource> Interest<R> {
    /// What a read shows that begins after a moment; `None` if there is none until a time.
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
        self.feed.knowledge(|knowledge| knowledge.release(self.id, self.is_hint));
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
        Self { api: self.api.clone(), rounds: Arc::clone(&self.rounds), hearing: self.hearing.clone() }
    }
}

impl<R: Resource> fmt::Debug for Feed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("resource", &R::NAME).finish_non_exhaustive()
    }
}
