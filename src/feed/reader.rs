//! Reads objects for those who wait in a round, and tells what is read to all who follow them.

use std::ops::{Bound, RangeBounds as _};
use std::sync::Mutex;

use super::knowledge::{Knowledge, Known};
use super::resource::Resource;
use super::round::{Lane, Round};
use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::sync::lock;
use crate::types::Cursor;

#[derive(Debug)]
pub(super) struct Reader<R: Resource> {
    pub(super) api: Api,
    knowledge: Mutex<Knowledge<R>>,
}

/// Ids between two bounds, from the lower to the higher.
type Between<I> = (Bound<I>, Bound<I>);

/// What of the listing a page has shown.
#[derive(Debug)]
pub(super) struct Shown<R: Resource> {
    /// Everything that is listed between these ids is on the page. `None`: it does not say what is not listed.
    covered: Option<Between<R::Id>>,
    /// The highest id on it.
    pub(super) newest: Option<R::Id>,
    /// The callers of these were answered.
    pub(super) answered: Vec<R::Id>,
    /// The distance of the first id from the last, if the page was full.
    pub(super) span: Option<i64>,
}

impl<R: Resource> Shown<R> {
    /// Whether the object is on the page if it is listed.
    pub(super) fn covers(&self, id: R::Id) -> bool {
        self.covered.is_some_and(|covered| covered.contains(&id))
    }
}

/// How far a newer id is from an older one.
pub(super) fn distance<I: Into<i64>>(newer: I, older: I) -> i64 {
    newer.into().saturating_sub(older.into())
}

/// Whether bunq refuses the listing itself, and not for a while only.
pub(super) fn is_about_the_listing<R: Resource>(error: &Error) -> bool {
    let is_response = error.sent() == Sent::Responded && R::LIST.is_some() && error.operation() == R::LIST;
    is_response
        && !error.is_retryable()
        && matches!(
            error.kind(),
            ErrorKind::Forbidden | ErrorKind::Rejected | ErrorKind::NotFound | ErrorKind::InvalidResponse
        )
}

impl<R: Resource> Reader<R> {
    pub(super) fn new(api: Api, knowledge: Knowledge<R>) -> Self {
        Self { api, knowledge: Mutex::new(knowledge) }
    }

    pub(super) fn knowledge<T>(&self, access: impl FnOnce(&mut Knowledge<R>) -> T) -> T {
        access(&mut lock(&self.knowledge))
    }

    /// Reads the page of those with one of these states, or with any, that begins at `newest`, or else at the newest of all, and answers
    /// the callers of what is on it. `None`: nobody waits any more for what is `sought`.
    pub(super) async fn page(
        &self,
        round: &mut Round<R>,
        lane: Lane,
        api: &Api,
        states: &[R::State],
        newest: Option<R::Id>,
        sought: &[R::Id],
    ) -> Option<Result<Shown<R>, Error>> {
        let began = self.knowledge(Knowledge::now);
        // A saturated id is the last one that there can be.
        let cursor = newest.map(|newest| Cursor::OlderThan(newest.into().saturating_add(1)));
        let page = match round.while_wanted(sought, R::read_page(api, states, cursor)).await? {
            Ok(page) => page,
            Err(error) => return Some(Err(error)),
        };
        let ids: Vec<_> = page.items.iter().map(R::id).collect();
        let from = match page.older {
            Some(_) => ids.last().copied().or(newest).map(Bound::Included),
            None => Some(Bound::Unbounded),
        };
        let to = newest.map_or(Bound::Unbounded, Bound::Included);
        let mut shown = Shown {
            // One that is sorted otherwise may leave out anything.
            covered: from.map(|from| (from, to)).filter(|_| ids.is_sorted_by(|newer, older| newer > older)),
            newest: ids.iter().copied().max(),
            answered: Vec::new(),
            span: page.older.and(ids.first().zip(ids.last())).map(|(newest, oldest)| distance(*newest, *oldest)),
        };
        for object in page.items {
            let id = object.id();
            if self.tell(round, lane, Known { began, object: object.into() }) {
                shown.answered.push(id);
            }
        }
        Some(Ok(shown))
    }

    /// Reads an object by its id, and answers its callers.
    pub(super) async fn one(&self, round: &mut Round<R>, lane: Lane, api: &Api, id: R::Id) {
        let began = self.knowledge(Knowledge::now);
        match round.while_wanted(&[id], R::read(api, id)).await {
            Some(Ok(object)) => _ = self.tell(round, lane, Known { began, object: object.into() }),
            Some(Err(error)) => _ = round.answer(id, &Err(error)),
            None => {}
        }
    }

    fn tell(&self, round: &mut Round<R>, lane: Lane, seen: Known<R>) -> bool {
        // What a page of nudges shows beside them says nothing of calls that may be on their way.
        let is_asked_for = lane == Lane::Polls || round.seeks(seen.object.id());
        self.knowledge(|knowledge| {
            knowledge.see(&seen.object);
            knowledge.learn(&seen, is_asked_for);
        });
        round.answer(seen.object.id(), &Ok(seen))
    }
}
