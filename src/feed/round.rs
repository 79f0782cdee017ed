//! The objects that are to be read, and who waits for each.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::sync::oneshot;

use super::knowledge::Known;
use super::resource::Resource;
use crate::error::Error;
use crate::transport::trouble::Trouble;

pub(super) type ReadResult<R> = Result<Known<R>, Error>;

/// What a read is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Polls,
    /// Its reads are spread over time: they take no more than their share of the rate limit.
    Nudges,
}

/// How an object is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) lane: Lane,
    /// Because of a call.
    pub(super) is_hint: bool,
    /// It is read by its id, since a page of the listing lacks it.
    pub(super) is_unlisted: bool,
}

impl Request {
    pub(super) const POLL: Self = Self { lane: Lane::Polls, is_hint: false, is_unlisted: false };
    pub(super) const NUDGE: Self = Self { lane: Lane::Nudges, is_hint: true, is_unlisted: false };
}

/// Objects that are read together.
#[derive(Debug)]
pub(super) struct Round<R: Resource> {
    waiting: BTreeMap<R::Id, Vec<oneshot::Sender<ReadResult<R>>>>,
    /// The objects in the order in which they were asked for first. Some of them may have been answered.
    order: Vec<R::Id>,
    /// Those that a page does not answer by lacking them.
    unlisted: BTreeSet<R::Id>,
    /// The states that the objects are expected to have, and others that they may have.
    pub(super) expected: Vec<R::State>,
    pub(super) others: Vec<R::State>,
    /// That of the call in progress, or of the round before it.
    pub(super) trouble: Trouble,
}

impl<R: Resource> Default for Round<R> {
    fn default() -> Self {
        let (waiting, order, unlisted, expected, others, trouble) = Default::default();
        Self { waiting, order, unlisted, expected, others, trouble }
    }
}

impl<R: Resource> Round<R> {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether an object has not been answered.
    pub(super) fn seeks(&self, id: R::Id) -> bool {
        self.waiting.contains_key(&id)
    }

    /// The objects that have not been answered, in the order of their ids.
    pub(super) fn sought(&self) -> &BTreeMap<R::Id, Vec<oneshot::Sender<ReadResult<R>>>> {
        &self.waiting
    }

    /// Whether an object is read by its id, since a page of the listing lacks it.
    pub(super) fn is_unlisted(&self, id: R::Id) -> bool {
        self.unlisted.contains(&id)
    }

    /// The objects that have not been answered, in the order in which they were asked for.
    pub(super) fn in_order(&self) -> impl Iterator<Item = R::Id> {
        self.order.iter().copied().filter(|id| self.seeks(*id))
    }

    pub(super) fn add(&mut self, id: R::Id, sender: oneshot::Sender<ReadResult<R>>) {
        let senders = self.waiting.entry(id).or_default();
        if senders.is_empty() {
            self.order.push(id);
        }
        senders.push(sender);
    }

    /// Has an object read by its id.
    pub(super) fn add_unlisted(&mut self, id: R::Id) {
        self.unlisted.insert(id);
    }

    /// Adds those of another round, which have asked later, and forgets those for whom nobody waits any more.
    pub(super) fn join(&mut self, later: Self) {
        self.waiting.retain(|_, senders| senders.iter().any(|sender| !sender.is_closed()));
        self.order.retain(|id| self.waiting.contains_key(id));
        let Self { mut waiting, order, unlisted, trouble, .. } = later;
        self.trouble = trouble;
        self.unlisted.retain(|id| self.waiting.contains_key(id));
        self.unlisted.extend(unlisted);
        for id in order {
            for sender in waiting.remove(&id).into_iter().flatten().filter(|sender| !sender.is_closed()) {
                self.add(id, sender);
            }
        }
    }

    /// Whether a caller still waits for an object: another read may have answered it meanwhile.
    pub(super) fn is_wanted(&self, id: R::Id) -> bool {
        self.waiting.get(&id).is_some_and(|senders| senders.iter().any(|sender| !sender.is_closed()))
    }

    /// What a read shows. `None`: no caller waits for any of these objects any more. A read that waits for its turn gives it back then.
    pub(super) async fn while_wanted<T>(&mut self, ids: &[R::Id], read: impl Future<Output = T>) -> Option<T> {
        let mut read = pin!(read);
        poll_fn(|context| {
            if let Poll::Ready(read) = read.as_mut().poll(context) {
                return Poll::Ready(Some(read));
            }
            let mut is_given_up = |id| {
                let senders: Option<&mut Vec<_>> = self.waiting.get_mut(id);
                // Only those that are open are polled: that takes of the task's budget, and without budget nothing is ready.
                senders.is_none_or(|senders| {
                    senders.iter_mut().all(|sender| sender.is_closed() || sender.poll_closed(context).is_ready())
                })
            };
            if ids.iter().all(&mut is_given_up) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Gives the callers of an object their result, unless they have given up. Returns whether there were any.
    pub(super) fn answer(&mut self, id: R::Id, result: &ReadResult<R>) -> bool {
        let senders = self.waiting.remove(&id);
        let is_sought = senders.is_some();
        for sender in senders.into_iter().flatten() {
            let _ = sender.send(result.clone());
        }
        is_sought
    }

    /// Gives the callers of all objects that are left the same failure.
    pub(super) fn fail(mut self, error: Error) {
        let result = Err(error);
        while let Some((&id, _)) = self.waiting.first_key_value() {
            self.answer(id, &result);
        }
    }
}
