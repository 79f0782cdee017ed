//! Reads objects for all who ask, in rounds.
//!
//! Who asks joins the others that wait for the next round. One object is read by its id. Several are searched in pages of the
//! listing, newest first: first among those with the states that they are expected to have, then among those with the states that
//! they may have got since. Only what is not found there is read by its id. A page begins at the newest object that is sought, so
//! no page costs more than the read of that one. Each who asks gets a result of its own. Conditions are not evaluated here.
//!
//! Polls and nudges have a lane each. One task makes the rounds of a lane, also for those who ask in other runtimes than its own.
//! When its runtime ends, or is not run, one of those that still wait starts another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Id;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument as _;

use super::knowledge::{Knowledge, Known};
use super::resource::Resource;
use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::sync::lock;
use crate::transport::trouble::Trouble;

/// How long the first who asks waits for the others of the round, whose timers end at the same moment.
const GATHERING: Duration = Duration::from_millis(5);

type ReadResult<R> = Result<Known<R>, Error>;

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Polls,
    /// Its reads are spread over time: they take no more than their share of the rate limit.
    Nudges,
}

/// The reads that are made for all who ask, and what is known by them and by others.
pub(super) struct Rounds<R: Resource> {
    pub(super) api: Api,
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
    requested: ReadRound<R>,
    /// The worker that makes the rounds. It also serves what is requested while it runs.
    worker: Option<WorkerId>,
    /// How many workers there were.
    workers: u64,
    /// When the next read of a nudge may begin.
    next_turn: Option<Instant>,
}

/// A worker, and the runtime in which it is a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerId {
    pub(super) runtime: Id,
    number: u64,
}

/// A place in the next round of a worker.
pub(super) struct Requested<R> {
    pub(super) worker: WorkerId,
    /// The worker was started for it.
    pub(super) is_new: bool,
    pub(super) receiver: oneshot::Receiver<ReadResult<R>>,
}

/// Objects that are read together.
#[derive(Debug)]
struct ReadRound<R: Resource> {
    waiting: BTreeMap<R::Id, Vec<oneshot::Sender<ReadResult<R>>>>,
    /// The states that the objects are expected to have, and others that they may have.
    expected: Vec<R::State>,
    others: Vec<R::State>,
    /// That of the call in progress, or of the round before it.
    trouble: Trouble,
}

impl<R: Resource> Default for LaneState<R> {
    fn default() -> Self {
        Self { requested: ReadRound::default(), worker: None, workers: 0, next_turn: None }
    }
}

impl<R: Resource> Default for ReadRound<R> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), expected: Vec::new(), others: Vec::new(), trouble: Trouble::default() }
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
    pub(super) fn new(api: Api, nudge_share: f64) -> Self {
        let (knowledge, polls, nudges) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { api, knowledge, polls, nudges, epoch: Instant::now(), nudge_share }
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

    /// When the next round begins of the waiters that poll once in every `interval`.
    pub(super) fn next_round(&self, interval: Duration) -> Instant {
        let now = Instant::now();
        let since = now.duration_since(self.epoch);
        let into_round = match interval.as_nanos() {
            0 => 0,
            interval => since.as_nanos() % interval,
        };
        // An interval that the clock cannot hold is cut short; every waiter has a nearer deadline.
        let left = interval.saturating_sub(Duration::from_nanos(u64::try_from(into_round).unwrap_or(u64::MAX)));
        now.checked_add(left).unwrap_or(now + Duration::from_secs(3600))
    }

    /// Puts an object into the next round. Starts a worker in the runtime `own` if there is none, or if it is the one that has
    /// `failed`.
    pub(super) fn request(
        self: &Arc<Self>,
        lane: Lane,
        id: R::Id,
        states: (&[R::State], &[R::State]),
        own: Id,
        failed: Option<WorkerId>,
        trouble: &Trouble,
    ) -> Requested<R> {
        let (sender, receiver) = oneshot::channel();
        if lane == Lane::Nudges {
            // What is about to be polled is read in any case.
            let mut polls = self.lane(Lane::Polls);
            if let (Some(worker), Some(senders)) = (polls.worker, polls.requested.waiting.get_mut(&id)) {
                senders.push(sender);
                trouble.begin_wait(&polls.requested.trouble);
                return Requested { worker, is_new: false, receiver };
            }
        }
        let worker = {
            let mut state = self.lane(lane);
            state.requested.waiting.entry(id).or_default().push(sender);
            add(&mut state.requested.expected, states.0);
            add(&mut state.requested.others, states.1);
            trouble.begin_wait(&state.requested.trouble);
            if let Some(worker) = state.worker.filter(|worker| Some(*worker) != failed) {
                return Requested { worker, is_new: false, receiver };
            }
            state.workers += 1;
            let worker = WorkerId { runtime: own, number: state.workers };
            state.worker = Some(worker);
            worker
        };
        let (rounds, id) = (Arc::clone(self), worker);
        tokio::spawn(Worker { rounds, lane, id }.run().in_current_span());
        Requested { worker, is_new: true, receiver }
    }

    /// Waits until a read of this lane may begin.
    async fn turn(&self, lane: Lane) {
        if lane == Lane::Polls {
            return;
        }
        let limits = self.api.transport().limits();
        let per_read = limits.interval(R::GET).max(limits.interval(R::LIST)).div_f64(self.nudge_share);
        loop {
            let turn = {
                let mut state = self.lane(lane);
                let now = Instant::now();
                match state.next_turn.filter(|turn| *turn > now) {
                    Some(turn) => turn,
                    None => {
                        state.next_turn = now.checked_add(per_read);
                        return;
                    }
                }
            };
            sleep_until(turn).await;
        }
    }
}

/// Whether bunq refuses the listing itself, and not for a while only.
fn is_about_the_listing<R: Resource>(error: &Error) -> bool {
    let is_response = error.sent() == Sent::Responded && error.operation() == Some(R::LIST);
    is_response
        && !error.is_retryable()
        && matches!(
            error.kind(),
            ErrorKind::Forbidden | ErrorKind::Rejected | ErrorKind::NotFound | ErrorKind::InvalidResponse
        )
}

/// The task that makes the rounds of a lane. If it is dropped before its end, as on the shutdown of a runtime, another can start.
struct Worker<R: Resource> {
    rounds: Arc<Rounds<R>>,
    lane: Lane,
    id: WorkerId,
}

impl<R: Resource> Drop for Worker<R> {
    fn drop(&mut self) {
        let mut state = self.rounds.lane(self.lane);
        if state.worker == Some(self.id) {
            state.worker = None;
            let left = std::mem::take(&mut state.requested);
            drop(state);
            // Who waits in another runtime requests it again.
            drop(left);
        }
    }
}

impl<R: Resource> Worker<R> {
    async fn run(self) {
        while self.is_needed() {
            sleep(GATHERING).await;
            let Some(round) = self.next_round() else { return };
            round.serve(&self.rounds, self.lane).await;
        }
    }

    /// Whether anything is requested. It is asked right after a round, because the runtime may not be run any more when those
    /// that wait in it have their results.
    fn is_needed(&self) -> bool {
        let mut state = self.rounds.lane(self.lane);
        if state.requested.waiting.is_empty() {
            // Set under the lock: who asks next starts a worker of its own.
            state.worker = state.worker.filter(|worker| *worker != self.id);
        }
        state.worker == Some(self.id)
    }

    /// What is requested, unless another worker has taken over.
    fn next_round(&self) -> Option<ReadRound<R>> {
        let mut state = self.rounds.lane(self.lane);
        (state.worker == Some(self.id)).then(|| {
            let round = std::mem::take(&mut state.requested);
            round.trouble.end_wait();
            state.requested.trouble.begin_wait(&round.trouble);
            round
        })
    }
}

impl<R: Resource> ReadRound<R> {
    async fn serve(mut self, rounds: &Arc<Rounds<R>>, lane: Lane) {
        let api = rounds.api.telling(&self.trouble);
        let expected = std::mem::take(&mut self.expected);
        let mut others = std::mem::take(&mut self.others);
        others.retain(|state| !expected.contains(state));
        let mut sought: BTreeSet<_> = self.waiting.keys().copied().collect();
        for states in [expected, others] {
            if states.is_empty() {
                continue;
            }
            sought = match self.search(rounds, lane, &api, &states, sought.clone()).await {
                Ok(missing) => missing,
                // If only the listing is refused, the objects are read by their ids.
                Err(error) if is_about_the_listing::<R>(&error) => break,
                Err(error) => return self.fail(&error),
            };
        }
        let reads = self.read_each(Arc::clone(rounds), lane, api, sought);
        match lane {
            // The next round does not wait for these.
            Lane::Polls => drop(tokio::spawn(reads.in_current_span())),
            Lane::Nudges => reads.await,
        }
    }

    /// Searches the listing of those with one of `states`; returns what is not found, or is the only one left.
    async fn search(
        &mut self,
        rounds: &Arc<Rounds<R>>,
        lane: Lane,
        api: &Api,
        states: &[R::State],
        mut sought: BTreeSet<R::Id>,
    ) -> Result<BTreeSet<R::Id>, Error> {
        let mut missing = BTreeSet::new();
        while sought.len() > 1 {
            rounds.turn(lane).await;
            sought.retain(|id| self.is_wanted(*id));
            let Some(&newest) = sought.last() else { break };
            let began = rounds.knowledge(Knowledge::now);
            let page = R::read_page(api, states, newest).await?;
            // Down to this id the page shows everything that the listing has.
            let shown_to = match (page.older, page.items.last()) {
                (None, _) => Bound::Unbounded,
                (Some(_), Some(oldest)) => Bound::Included(oldest.id().min(newest)),
                (Some(_), None) => Bound::Included(newest),
            };
            for object in page.items {
                sought.remove(&object.id());
                self.complete(rounds, object.id(), Known { began, object: Arc::new(object) });
            }
            let not_listed: BTreeSet<_> = sought.range((shown_to, Bound::Included(newest))).copied().collect();
            sought = &sought - &not_listed;
            missing.extend(not_listed);
        }
        missing.extend(sought);
        Ok(missing)
    }

    async fn read_each(mut self, rounds: Arc<Rounds<R>>, lane: Lane, api: Api, ids: BTreeSet<R::Id>) {
        for id in ids {
            if !self.is_wanted(id) {
                continue;
            }
            rounds.turn(lane).await;
            if !self.is_wanted(id) {
                continue;
            }
            let began = rounds.knowledge(Knowledge::now);
            match R::read(&api, id).await {
                Ok(object) => self.complete(&rounds, id, Known { began, object: Arc::new(object) }),
                Err(error) => self.waiting.remove(&id).into_iter().flatten().for_each(|sender| {
                    let _ = sender.send(Err(error.clone()));
                }),
            }
        }
    }

    /// Whether somebody still waits for an object: it may have been told by another read meanwhile.
    fn is_wanted(&self, id: R::Id) -> bool {
        self.waiting.get(&id).is_some_and(|senders| senders.iter().any(|sender| !sender.is_closed()))
    }

    fn complete(&mut self, rounds: &Arc<Rounds<R>>, id: R::Id, seen: Known<R>) {
        rounds.knowledge(|knowledge| knowledge.learn(&seen));
        for sender in self.waiting.remove(&id).into_iter().flatten() {
            // It may have given up.
            let _ = sender.send(Ok(seen.clone()));
        }
    }

    fn fail(self, error: &Error) {
        for sender in self.waiting.into_values().flatten() {
            let _ = sender.send(Err(error.clone()));
        }
    }
}
