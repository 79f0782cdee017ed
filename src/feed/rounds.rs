//! Reads objects for all callers that ask, in rounds.
//!
//! A caller joins the others that wait for the next round. One object is read by its id. Several are searched in pages of the
//! listing, newest first: first among those with the states that they are expected to have, then among those with the states that
//! they may have got since. Only what is not found there is read by its id. A page begins at the newest object that is sought, so
//! no page costs more than the read of that one. Each caller gets a result of its own. Conditions are not evaluated here.
//!
//! Polls and nudges have a lane each. One task makes the rounds of a lane, also for callers in other runtimes than its own. A caller
//! that waits in vain for a task of another runtime, because that has ended or is not run, starts one in its own.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Id;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Span;

use super::knowledge::{Knowledge, Known};
use super::resource::Resource;
use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::sync::lock;
use crate::transport::runtime::spawn;
use crate::transport::trouble::Trouble;

/// How long a round waits for other callers, whose timers end at the same moment.
const GATHERING: Duration = Duration::from_millis(5);

/// Longer than any call, and short enough for the clock.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

type ReadResult<R> = Result<Known<R>, Error>;

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Polls,
    /// Its reads are spread over time: they take no more than their share of the rate limit.
    Nudges,
}

/// The rounds of both lanes, and what is known by them and by other reads.
pub(super) struct Rounds<R: Resource> {
    pub(super) api: Api,
    nudge_api: Api,
    knowledge: Mutex<Knowledge<R>>,
    polls: Mutex<LaneState<R>>,
    nudges: Mutex<LaneState<R>>,
    /// The time from which rounds are counted.
    epoch: Instant,
    /// The share of the rate limit that nudges may take.
    nudge_share: f64,
}

#[derive(Debug)]
struct LaneState<R: Resource> {
    /// The next round of each worker, by the runtime in which the worker is a task.
    next_rounds: HashMap<Id, Round<R>>,
    /// The runtime whose worker started last.
    last_started: Option<Id>,
    /// When the next read of a nudge may begin.
    next_turn: Option<Instant>,
}

/// Objects that are read together.
#[derive(Debug)]
struct Round<R: Resource> {
    waiting: HashMap<R::Id, Vec<oneshot::Sender<ReadResult<R>>>>,
    /// The states that the objects are expected to have, and others that they may have.
    expected: Vec<R::State>,
    others: Vec<R::State>,
    /// That of the call in progress, or of the round before it.
    trouble: Trouble,
}

impl<R: Resource> Default for LaneState<R> {
    fn default() -> Self {
        Self { next_rounds: HashMap::new(), last_started: None, next_turn: None }
    }
}

impl<R: Resource> Default for Round<R> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), expected: Vec::new(), others: Vec::new(), trouble: Trouble::default() }
    }
}

/// Adds the states that are not there yet.
fn add<S: Clone + PartialEq>(states: &mut Vec<S>, more: &[S]) {
    for state in more {
        if !states.contains(state) {
            states.push(state.clone());
        }
    }
}

impl<R: Resource> Rounds<R> {
    pub(super) fn new(api: Api, nudge_api: Api, nudge_share: f64) -> Self {
        let (knowledge, polls, nudges) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { api, nudge_api, knowledge, polls, nudges, epoch: Instant::now(), nudge_share }
    }

    pub(super) fn knowledge<T>(&self, access: impl FnOnce(&mut Knowledge<R>) -> T) -> T {
        access(&mut lock(&self.knowledge))
    }

    fn lane(&self, lane: Lane) -> MutexGuard<'_, LaneState<R>> {
        lock(match lane {
            Lane::Polls => &self.polls,
            Lane::Nudges => &self.nudges,
        })
    }

    /// When the next round begins for the waiters that poll once in every `interval`.
    pub(super) fn next_round(&self, interval: Duration) -> Instant {
        let now = Instant::now();
        let since = now.duration_since(self.epoch);
        let into_round = match interval.as_nanos() {
            0 => 0,
            interval => since.as_nanos() % interval,
        };
        let left = interval.saturating_sub(Duration::from_nanos(u64::try_from(into_round).unwrap_or(u64::MAX)));
        // Every waiter has a deadline before the end of the clock.
        now.checked_add(left).unwrap_or(now + MAX_PAUSE)
    }

    /// Puts an object into the next round of a worker, and returns the runtime of that worker: `own`, if only that will do, or if
    /// there is no worker yet.
    pub(super) fn request(
        self: &Arc<Self>,
        lane: Lane,
        id: R::Id,
        states: (&[R::State], &[R::State]),
        (own, is_only_own): (Id, bool),
        trouble: &Trouble,
    ) -> (Id, oneshot::Receiver<ReadResult<R>>) {
        let (sender, receiver) = oneshot::channel();
        if lane == Lane::Nudges {
            // The next round of polls may read the object anyway.
            let mut rounds = self.lane(Lane::Polls);
            let polled = rounds.next_rounds.iter_mut().filter(|(runtime, _)| !is_only_own || **runtime == own);
            for (runtime, round) in polled {
                if let Some(senders) = round.waiting.get_mut(&id) {
                    senders.push(sender);
                    trouble.begin_wait(&round.trouble);
                    return (*runtime, receiver);
                }
            }
        }
        let mut state = self.lane(lane);
        let others = state.last_started.filter(|runtime| !is_only_own && state.next_rounds.contains_key(runtime));
        let runtime = others.unwrap_or(own);
        let has_worker = state.next_rounds.contains_key(&runtime);
        let round = state.next_rounds.entry(runtime).or_default();
        round.waiting.entry(id).or_default().push(sender);
        add(&mut round.expected, states.0);
        add(&mut round.others, states.1);
        trouble.begin_wait(&round.trouble);
        if !has_worker {
            state.last_started = Some(runtime);
            drop(state);
            let worker = Worker { rounds: Arc::clone(self), lane, runtime, is_over: false };
            spawn(Span::current(), Box::pin(worker.run()));
        }
        (runtime, receiver)
    }

    /// Waits until a read of this lane may begin.
    async fn turn(&self, lane: Lane) {
        if lane == Lane::Polls {
            return;
        }
        let limits = self.api.transport().limits();
        let per_read =
            R::LIST.into_iter().fold(limits.interval(R::GET), |longest, list| longest.max(limits.interval(list)));
        let per_read = per_read.as_secs_f64() / self.nudge_share;
        let per_read = Duration::try_from_secs_f64(per_read).unwrap_or(MAX_PAUSE).min(MAX_PAUSE);
        let turn = {
            let (mut state, now) = (self.lane(lane), Instant::now());
            let turn = state.next_turn.map_or(now, |next| next.max(now));
            state.next_turn = Some(turn + per_read);
            turn
        };
        sleep_until(turn).await;
    }
}

/// Whether bunq refuses the listing itself, and not for a while only.
fn is_about_the_listing<R: Resource>(error: &Error) -> bool {
    let is_response = error.sent() == Sent::Responded && R::LIST.is_some() && error.operation() == R::LIST;
    is_response
        && !error.is_retryable()
        && matches!(
            error.kind(),
            ErrorKind::Forbidden | ErrorKind::Rejected | ErrorKind::NotFound | ErrorKind::InvalidResponse
        )
}

/// The task that makes the rounds of a lane for the callers that have joined it. Its place is free when it is dropped, as on the
/// shutdown of its runtime.
struct Worker<R: Resource> {
    rounds: Arc<Rounds<R>>,
    lane: Lane,
    runtime: Id,
    /// Its place is free already, and may be another's.
    is_over: bool,
}

impl<R: Resource> Drop for Worker<R> {
    fn drop(&mut self) {
        if !self.is_over {
            let left = self.rounds.lane(self.lane).next_rounds.remove(&self.runtime);
            // Callers in other runtimes are woken without the lock, and ask again.
            drop(left);
        }
    }
}

impl<R: Resource> Worker<R> {
    async fn run(mut self) {
        // Nothing is awaited between a round and the search for the next: the runtime may not be run any more when the callers in
        // it have their results.
        while self.has_next() {
            sleep(GATHERING).await;
            let round = self.next_round();
            round.serve(&self.rounds, self.lane).await;
        }
    }

    /// Whether anything is asked for. If not, the next caller starts another worker.
    fn has_next(&mut self) -> bool {
        let mut state = self.rounds.lane(self.lane);
        self.is_over = state.next_rounds.get(&self.runtime).is_none_or(|round| round.waiting.is_empty());
        if self.is_over {
            state.next_rounds.remove(&self.runtime);
        }
        !self.is_over
    }

    fn next_round(&self) -> Round<R> {
        let mut state = self.rounds.lane(self.lane);
        let next = state.next_rounds.entry(self.runtime).or_default();
        let round = std::mem::take(next);
        round.trouble.end_wait();
        next.trouble.begin_wait(&round.trouble);
        round
    }
}

impl<R: Resource> Round<R> {
    async fn serve(mut self, rounds: &Arc<Rounds<R>>, lane: Lane) {
        let api = match lane {
            Lane::Polls => &rounds.api,
            Lane::Nudges => &rounds.nudge_api,
        };
        let api = api.telling(&self.trouble);
        let expected = std::mem::take(&mut self.expected);
        let mut others = std::mem::take(&mut self.others);
        others.retain(|state| !expected.contains(state));
        let mut sought: Vec<_> = self.waiting.keys().copied().collect();
        sought.sort_unstable();
        for states in [expected, others] {
            if states.is_empty() {
                continue;
            }
            sought = match self.search(rounds, lane, &api, &states, sought.clone()).await {
                Ok(missing) => missing,
                // If only the listing is refused, the objects are read by their ids.
                Err(error) if is_about_the_listing::<R>(&error) => break,
                Err(error) => return answer(self.waiting.into_values(), &Err(error)),
            };
        }
        let reads = self.read_each(Arc::clone(rounds), lane, api, sought);
        match lane {
            // The next round does not wait for these.
            Lane::Polls => drop(spawn(Span::current(), Box::pin(reads))),
            Lane::Nudges => reads.await,
        }
    }

    /// Searches the listing of those with one of `states`; returns what is not found, or is the only one left. Both are in order.
    async fn search(
        &mut self,
        rounds: &Arc<Rounds<R>>,
        lane: Lane,
        api: &Api,
        states: &[R::State],
        mut sought: Vec<R::Id>,
    ) -> Result<Vec<R::Id>, Error> {
        let mut missing = Vec::new();
        while sought.len() > 1 {
            rounds.turn(lane).await;
            sought.retain(|id| self.is_wanted(*id));
            let Some(&newest) = sought.last() else { break };
            let began = rounds.knowledge(Knowledge::now);
            let Some(page) = self.while_wanted(&sought, R::read_page(api, states, newest)).await else { break };
            let page = page?;
            // Down to this id the page shows everything that the listing has; down to the end if there is none.
            let shown_to = page.older.map(|_| page.items.last().map_or(newest, |oldest| oldest.id().min(newest)));
            for object in page.items {
                let id = object.id();
                if let Ok(place) = sought.binary_search(&id) {
                    sought.remove(place);
                }
                self.complete(rounds, Known { began, object: Arc::new(object) }, id);
            }
            let first_shown = sought.partition_point(|id| shown_to.is_some_and(|shown_to| *id < shown_to));
            missing.extend(sought.drain(first_shown..).rev());
        }
        missing.extend(sought.into_iter().rev());
        missing.reverse();
        Ok(missing)
    }

    async fn read_each(mut self, rounds: Arc<Rounds<R>>, lane: Lane, api: Api, ids: Vec<R::Id>) {
        for id in ids {
            if self.is_wanted(id) {
                rounds.turn(lane).await;
            }
            if !self.is_wanted(id) {
                continue;
            }
            let began = rounds.knowledge(Knowledge::now);
            match self.while_wanted(&[id], R::read(&api, id)).await {
                Some(Ok(object)) => self.complete(&rounds, Known { began, object: Arc::new(object) }, id),
                Some(Err(error)) => answer(self.waiting.remove(&id), &Err(error)),
                None => {}
            }
        }
    }

    /// Whether a caller still waits for an object: another read may have answered it meanwhile.
    fn is_wanted(&self, id: R::Id) -> bool {
        self.waiting.get(&id).is_some_and(|senders| senders.iter().any(|sender| !sender.is_closed()))
    }

    /// What a read shows. `None`: no caller waits for any of these objects any more. A read that waits for its turn gives it back then.
    async fn while_wanted<T>(&mut self, ids: &[R::Id], read: impl Future<Output = T>) -> Option<T> {
        let mut read = pin!(read);
        poll_fn(|context| {
            if let Poll::Ready(read) = read.as_mut().poll(context) {
                return Poll::Ready(Some(read));
            }
            let mut is_given_up = |id| {
                let senders: Option<&mut Vec<_>> = self.waiting.get_mut(id);
                senders.is_none_or(|senders| senders.iter_mut().all(|sender| sender.poll_closed(context).is_ready()))
            };
            if ids.iter().all(&mut is_given_up) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    fn complete(&mut self, rounds: &Arc<Rounds<R>>, seen: Known<R>, id: R::Id) {
        rounds.knowledge(|knowledge| {
            knowledge.see(&seen.object);
            knowledge.learn(&seen);
        });
        answer(self.waiting.remove(&id), &Ok(seen));
    }
}

/// Gives callers their result, unless they have given up.
fn answer<R: Resource>(callers: impl IntoIterator<Item = Vec<oneshot::Sender<ReadResult<R>>>>, result: &ReadResult<R>) {
    for sender in callers.into_iter().flatten() {
        let _ = sender.send(result.clone());
    }
}
