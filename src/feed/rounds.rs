//! Reads objects for all callers that ask, in rounds.
//!
//! A caller joins the others that wait for the next round of its lane: that of polls (`polls.rs`) or that of nudges (`nudges.rs`). Each
//! caller gets a result of its own. Conditions are not evaluated here.
//!
//! One task makes the rounds of a lane, also for callers in other runtimes than its own. A caller that waits in vain for a task of another
//! runtime, because that has ended or is not run, starts one in its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Id;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Span;

use super::knowledge::Knowledge;
use super::nudges::{Next, Nudges};
use super::polls::Polls;
use super::reader::Reader;
use super::resource::Resource;
use super::round::{Lane, ReadResult, Request, Round};
use super::turns::NudgeTurns;
use crate::api::Api;
use crate::sync::lock;
use crate::transport::runtime::spawn;
use crate::transport::trouble::Trouble;

/// How long a round waits for other callers, whose timers end at the same moment.
const GATHERING: Duration = Duration::from_millis(5);

/// Longer than any call, and short enough for the clock.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The rounds of both lanes, and what is known by them and by other reads.
pub(super) struct Rounds<R: Resource> {
    reader: Arc<Reader<R>>,
    polls: Polls,
    pub(super) nudges: Nudges<R>,
    next_polls: Mutex<LaneState<R>>,
    next_nudges: Mutex<LaneState<R>>,
    /// Tells of each nudge.
    nudged: Notify,
    /// The time from which rounds are counted.
    epoch: Instant,
    /// When nudges are read.
    pub(super) turns: NudgeTurns,
}

#[derive(Debug)]
struct LaneState<R: Resource> {
    /// The next round of each worker, by the runtime in which the worker is a task.
    next_rounds: HashMap<Id, Round<R>>,
    /// The runtime whose worker started last.
    last_started: Option<Id>,
}

impl<R: Resource> Default for LaneState<R> {
    fn default() -> Self {
        Self { next_rounds: HashMap::new(), last_started: None }
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
    pub(super) fn new(api: Api, nudge_api: Api, knowledge: Knowledge<R>, turns: NudgeTurns) -> Self {
        let (polls, nudges) = (Polls::default(), Nudges::new(nudge_api));
        let (next_polls, next_nudges, nudged) = (Mutex::default(), Mutex::default(), Notify::new());
        let (reader, epoch) = (Arc::new(Reader::new(api, knowledge)), Instant::now());
        Self { reader, polls, nudges, next_polls, next_nudges, nudged, epoch, turns }
    }

    pub(super) fn api(&self) -> &Api {
        &self.reader.api
    }

    pub(super) fn knowledge<T>(&self, access: impl FnOnce(&mut Knowledge<R>) -> T) -> T {
        self.reader.knowledge(access)
    }

    fn lane(&self, lane: Lane) -> MutexGuard<'_, LaneState<R>> {
        lock(match lane {
            Lane::Polls => &self.next_polls,
            Lane::Nudges => &self.next_nudges,
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
        Request { lane, is_unlisted, .. }: Request,
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
                if round.seeks(id) {
                    round.add(id, sender);
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
        round.add(id, sender);
        if is_unlisted {
            round.add_unlisted(id);
        }
        add(&mut round.expected, states.0);
        add(&mut round.others, states.1);
        trouble.begin_wait(&round.trouble);
        if !has_worker {
            state.last_started = Some(runtime);
            drop(state);
            let worker = Worker { rounds: Arc::clone(self), lane, runtime, is_over: false };
            spawn(Span::current(), Box::pin(worker.run()));
        } else if lane == Lane::Nudges {
            drop(state);
            self.nudged.notify_waiters();
        }
        (runtime, receiver)
    }

    /// How often the rate limit allows a read of nudges.
    fn per_read(&self) -> Duration {
        let limits = self.api().transport().limits();
        R::LIST.into_iter().fold(limits.interval(R::GET), |longest, list| longest.max(limits.interval(list)))
    }
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
        match self.lane {
            Lane::Polls => self.make_polls().await,
            Lane::Nudges => self.answer_nudges().await,
        }
    }

    // Nothing is awaited between a round and the search for the next: the runtime may not be run any more when the callers in it have
    // their results.

    async fn make_polls(&mut self) {
        while self.has_next() {
            sleep(GATHERING).await;
            let round = self.next_round();
            self.rounds.polls.serve(&self.rounds.reader, round).await;
        }
    }

    async fn answer_nudges(&mut self) {
        let (rounds, mut round) = (Arc::clone(&self.rounds), Round::default());
        while !round.is_empty() || self.has_next() {
            sleep(GATHERING).await;
            let place = rounds.turns.enter();
            place.reached().await;
            let nudged = rounds.nudged.notified();
            // No read is under way: the next one begins after each of these calls.
            round.join(self.next_round());
            match rounds.nudges.next(&round, || place.take(rounds.per_read())) {
                Next::Read(read) => rounds.nudges.read(&rounds.reader, &mut round, read).await,
                Next::Wait(until) => _ = timeout_at(until, nudged).await,
                Next::Nothing => {}
            }
        }
    }

    /// Whether anything is asked for. If not, the next caller starts another worker.
    fn has_next(&mut self) -> bool {
        let mut state = self.rounds.lane(self.lane);
        self.is_over = state.next_rounds.get(&self.runtime).is_none_or(Round::is_empty);
        if self.is_over {
            state.next_rounds.remove(&self.runtime);
        }
        !self.is_over
    }

    fn next_round(&self) -> Round<R> {
        let mut state = self.rounds.lane(self.lane);
        let next = state.next_rounds.entry(self.runtime).or_default();
        let round = std::mem::take(next);
        match self.lane {
            Lane::Polls => {
                round.trouble.end_wait();
                next.trouble.begin_wait(&round.trouble);
            }
            // All nudges wait for the same read.
            Lane::Nudges => next.trouble = round.trouble.clone(),
        }
        round
    }
}
