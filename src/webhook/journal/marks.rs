//! The marks of a journal, as the lines of its file. Nothing here does I/O.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp as Moment;
use tokio::time::Instant;

use super::bounds::HintJournalBounds;
use crate::webhook::mark::{Mark, MarkedObject};

/// How many marks a page has.
const PAGE: usize = 1000;

pub(super) struct Marks {
    bounds: HintJournalBounds,
    /// In the order in which they were made.
    kept: BTreeMap<u64, Kept>,
    /// Where that of each object is.
    places: HashMap<MarkedObject, u64>,
    next: u64,
    /// The length of their lines.
    needed: usize,
}

struct Kept {
    mark: Mark,
    made: Made,
    len: usize,
}

/// When a mark was made, by the wall clock, and when it is too old.
#[derive(Clone, Copy)]
pub(super) struct Made {
    pub(super) at: Moment,
    pub(super) expires: Instant,
}

impl Marks {
    pub(super) fn new(bounds: HintJournalBounds) -> Self {
        Self { bounds, kept: BTreeMap::new(), places: HashMap::new(), next: 1, needed: 0 }
    }

    /// Keeps a mark, whose line has this length, in place of the one of the same object.
    pub(super) fn insert(&mut self, mark: Mark, made: Made, len: usize) {
        if let Some(before) = self.places.insert(mark.object.clone(), self.next)
            && let Some(before) = self.kept.remove(&before)
        {
            self.needed -= before.len;
        }
        self.kept.insert(self.next, Kept { mark, made, len });
        self.needed += len;
        self.next += 1;
        while self.kept.len() > self.bounds.max_entries {
            self.forget_first();
        }
    }

    pub(super) fn of(&mut self, object: &MarkedObject) -> Option<Mark> {
        self.expire();
        Some(self.kept.get(self.places.get(object)?)?.mark.clone())
    }

    /// The marks after that of `after`, in the order in which they were made. Of an object without one, all.
    pub(super) fn page(&mut self, after: Option<&MarkedObject>) -> Vec<Mark> {
        self.expire();
        let first = after.and_then(|after| self.places.get(after)).map_or(0, |place| place + 1);
        self.kept.range(first..).take(PAGE).map(|(_, kept)| kept.mark.clone()).collect()
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = (&Mark, Moment)> {
        self.expire();
        self.kept.values().map(|kept| (&kept.mark, kept.made.at))
    }

    pub(super) fn needed(&self) -> usize {
        self.needed
    }

    /// Drops those that are too old. Those of this process expire in their order.
    fn expire(&mut self) {
        let now = Instant::now();
        while self.kept.first_key_value().is_some_and(|(_, first)| first.made.expires <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, Kept { mark, len, .. })) = self.kept.pop_first() {
            self.places.remove(&mark.object);
            self.needed -= len;
        }
    }
}
