//! Which read answers the nudges that wait, and when.
//!
//! Objects are read in the order in which they were nudged. One alone is read by its id. If others are near, a page of the listing
//! answers all that are on it: it begins above the object at its turn, so far that this one is still on it. A page of all objects also
//! says which ids are none: what it would show and does not is not found, and not read by its id. So the page of the newest settles
//! all that is above them. If that is much, every other read is this page: the others do not wait for it, nor it for them. No page begins
//! above what bunq has shown: bunq might refuse an id that somebody has made up, and the listing with it.
//!
//! If many wait that are far from each other, a page of the objects in progress may have more of them. What is not on it is read as above.
//! After such a page has answered fewer than the other would have, the next ones are not tried for a while.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::reader::{Reader, Shown, distance, is_about_the_listing};
use super::resource::Resource;
use super::round::{Lane, Round};
use crate::api::Api;
use crate::error::{CallMetadata, Error, ErrorKind, Sent};
use crate::sync::lock;

/// An object is not read again before.
const SAME_OBJECT: Duration = Duration::from_secs(1);

/// A listing that bunq has refused is not read again before.
const REFUSED_LISTING: Duration = Duration::from_secs(60);

/// How many objects a page has.
const PAGE: usize = 200;

/// Fewer are not worth a page of the objects in progress.
const FEW: usize = 8;

/// After how many other reads, at most, a page of the objects in progress is tried again.
const MAX_SKIPPED: u32 = 64;

/// What nudges know from the reads before. It outlives the queue, which may be empty between two calls.
#[derive(Debug)]
pub(super) struct Nudges<R: Resource> {
    api: Api,
    memory: Mutex<Memory<R>>,
}

#[derive(Debug)]
struct Memory<R: Resource> {
    /// When which objects were read, within [`SAME_OBJECT`].
    read_at: HashMap<R::Id, Instant>,
    /// How far the ids on a page of all objects, and of those in progress, are from each other; not known at first.
    span: i64,
    span_in_progress: i64,
    /// The nudged objects that are not in progress.
    at_rest: HashSet<R::Id>,
    /// The last object that a page was for and did not reach.
    missed: Option<R::Id>,
    /// The highest id that a page has shown.
    newest: Option<R::Id>,
    /// The last read was the page of the newest.
    was_newest: bool,
    /// For how many reads no page of the objects in progress is tried, and how many it were the last time.
    skips: u32,
    skipped: u32,
    /// When the listing may be read again.
    refused_until: Option<Instant>,
}

/// What the lane does next.
#[derive(Debug)]
pub(super) enum Next<R: Resource> {
    Read(Read<R>),
    /// Nothing is to be read before this time, unless other objects are nudged.
    Wait(Instant),
    /// Nobody waits, or another has taken the turn.
    Nothing,
}

/// A read that answers the first object, and others.
#[derive(Debug)]
pub(super) struct Read<R: Resource> {
    first: R::Id,
    page: Option<PageRead<R>>,
}

#[derive(Debug)]
struct PageRead<R: Resource> {
    /// Where it begins; `None` if it is the page of the newest.
    newest: Option<R::Id>,
    /// Of the objects in progress; otherwise of all.
    is_in_progress: bool,
    /// The objects that the page probably covers.
    sought: Vec<R::Id>,
    /// How many a page of all objects would have answered.
    otherwise: usize,
}

impl<R: Resource> Default for Memory<R> {
    fn default() -> Self {
        Self {
            read_at: HashMap::new(),
            span: i64::MAX,
            span_in_progress: i64::MAX,
            at_rest: HashSet::new(),
            missed: None,
            newest: None,
            was_newest: false,
            skips: 0,
            skipped: 0,
            refused_until: None,
        }
    }
}

impl<R: Resource> Nudges<R> {
    pub(super) fn new(api: Api) -> Self {
        Self { api, memory: Mutex::default() }
    }

    /// Decides what is read next, if `takes_turn`. It is asked only if there is something to read.
    pub(super) fn next(&self, round: &Round<R>, takes_turn: impl FnOnce() -> bool) -> Next<R> {
        let (memory, now) = (&mut *lock(&self.memory), Instant::now());
        memory.read_at.retain(|_, at| now.duration_since(*at) < SAME_OBJECT);
        memory.at_rest.retain(|id| round.seeks(*id));
        let Some(first) = round.in_order().find(|id| !memory.read_at.contains_key(id)) else {
            let earliest = round.in_order().filter_map(|id| memory.read_at.get(&id)).min();
            return earliest.map_or(Next::Nothing, |earliest| Next::Wait(*earliest + SAME_OBJECT));
        };
        if takes_turn() { Next::Read(memory.choose(first, round, now)) } else { Next::Nothing }
    }

    /// How far an id is from the newest that a page has shown.
    #[cfg(feature = "webhook")]
    pub(super) fn distance_to_newest(&self, id: R::Id) -> u64 {
        lock(&self.memory).newest.map_or(0, Into::into).abs_diff(id.into())
    }

    pub(super) async fn read(&self, reader: &Reader<R>, round: &mut Round<R>, read: Read<R>) {
        let (api, now) = (self.api.telling(&round.trouble), Instant::now());
        let Read { first, page: Some(page) } = read else {
            reader.one(round, Lane::Nudges, &api, read.first).await;
            lock(&self.memory).read_at.insert(read.first, now);
            return;
        };
        let states = if page.is_in_progress { R::in_progress() } else { Vec::new() };
        match reader.page(round, Lane::Nudges, &api, &states, page.newest, &page.sought).await {
            Some(Ok(shown)) => {
                let absent = round.sought().keys().copied().filter(|id| shown.covers(*id) && !round.is_unlisted(*id));
                let absent: Vec<_> = absent.collect();
                if !page.is_in_progress {
                    for id in &absent {
                        round.answer(*id, &Err(none_listed::<R>(*id)));
                    }
                }
                lock(&self.memory).learn(first, &page, &shown, absent, now);
            }
            Some(Err(error)) if is_about_the_listing::<R>(&error) => {
                lock(&self.memory).refused_until = Some(now + REFUSED_LISTING);
            }
            Some(Err(error)) => {
                let failed = Err(error);
                for id in page.sought {
                    round.answer(id, &failed);
                }
            }
            None => {}
        }
    }
}

impl<R: Resource> Memory<R> {
    fn choose(&mut self, first: R::Id, round: &Round<R>, now: Instant) -> Read<R> {
        if R::LIST.is_none() || self.refused_until.is_some_and(|until| now < until) {
            return Read { first, page: None };
        }
        let was_newest = std::mem::take(&mut self.was_newest);
        let (newest, sought) = self.place(first, round, self.span, |_| true);
        let is_unlisted = round.is_unlisted(first);
        let otherwise = if is_unlisted { 1 } else { sought.len() };
        let above = round.sought().keys().rev().copied().take_while(|id| self.is_above(*id));
        let above: Vec<_> = above.filter(|id| !round.is_unlisted(*id)).collect();
        let is_on_page = !is_unlisted && self.missed != Some(first);
        let is_first_above = is_on_page && above.last().is_some_and(|lowest| *lowest <= first);
        if let [highest, _, ..] = above[..]
            && (is_first_above || !was_newest && above.len() > FEW.max(2 * otherwise))
        {
            self.was_newest = true;
            let first = if is_first_above { first } else { highest };
            let page = PageRead { newest: None, is_in_progress: false, sought: above, otherwise };
            return Read { first, page: Some(page) };
        }
        if is_unlisted {
            return Read { first, page: None };
        }
        let may_filter = self.skips == 0 && !R::in_progress().is_empty() && !self.at_rest.contains(&first);
        self.skips = self.skips.saturating_sub(1);
        if may_filter {
            let (newest, sought) = self.place(first, round, self.span_in_progress, |id| !self.at_rest.contains(&id));
            if sought.len() > FEW.max(2 * otherwise) {
                return Read { first, page: Some(PageRead { newest, is_in_progress: true, sought, otherwise }) };
            }
        }
        let page = PageRead { newest, is_in_progress: false, sought, otherwise };
        Read { first, page: (otherwise > 1).then_some(page) }
    }

    /// Whether an object with this id is newer than all that pages have shown.
    fn is_above(&self, id: R::Id) -> bool {
        self.newest.is_none_or(|newest| id > newest)
    }

    /// Where a page begins that still has the first object on it, and the nudged objects that it probably covers.
    fn place(
        &self,
        first: R::Id,
        round: &Round<R>,
        span: i64,
        is_candidate: impl Fn(R::Id) -> bool,
    ) -> (Option<R::Id>, Vec<R::Id>) {
        let is_candidate = |id| !round.is_unlisted(id) && is_candidate(id);
        let above = round.sought().range(first..).map(|(id, _)| *id).filter(|id| is_candidate(*id));
        let newest = match self.missed == Some(first) {
            true => None,
            false => above.take(PAGE).take_while(|id| distance(*id, first) <= span).last(),
        };
        let newest = newest.unwrap_or(first);
        let below = round.sought().range(..=newest).rev().map(|(id, _)| *id).filter(|id| is_candidate(*id));
        let covered = below.take(PAGE).take_while(|id| distance(newest, *id) <= span);
        ((!self.is_above(newest)).then_some(newest), covered.collect())
    }

    fn learn(&mut self, first: R::Id, page: &PageRead<R>, shown: &Shown<R>, absent: Vec<R::Id>, now: Instant) {
        self.read_at.extend(shown.answered.iter().map(|id| (*id, now)));
        self.newest = self.newest.max(shown.newest);
        if !shown.covers(first) {
            self.missed = Some(first);
        }
        if page.is_in_progress {
            self.span_in_progress = shown.span.unwrap_or(self.span_in_progress);
            self.at_rest.extend(absent);
            let has_paid = shown.answered.len() > page.otherwise;
            self.skipped = if has_paid { 0 } else { (2 * self.skipped).clamp(1, MAX_SKIPPED) };
            self.skips = self.skipped;
        } else {
            self.span = shown.span.unwrap_or(self.span);
            self.read_at.extend(absent.into_iter().map(|id| (id, now)));
        }
    }
}

/// A page of the listing would have shown the object.
fn none_listed<R: Resource>(id: R::Id) -> Error {
    let problem =
        format_args!("{} {id} is not in bunq's listing: there is none with this id, or it is not yours", R::NAME);
    let error = Error::new(ErrorKind::NotFound, Sent::Responded, problem).with_refusal(true, &[], None);
    match R::LIST {
        Some(operation) => error.with_metadata(CallMetadata::new(operation, 1)),
        None => error,
    }
}
