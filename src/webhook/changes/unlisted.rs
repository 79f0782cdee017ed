//! What pages of bunq's listing lack. They may lag behind what was just made, so it is sought once more, by its id. Nothing here does I/O.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::object::{Ask, Key};
use crate::webhook::EntryId;

/// How many wait to be sought once more.
const MAX_UNLISTED: usize = 100;

/// How many are sought at a time: among many that are none, they hold up the others little.
const MAX_SOUGHT: usize = 4;

/// How long after the page.
const PAUSE: Duration = Duration::from_secs(2);

/// An object that a page lacks, and what it was read for.
pub(super) struct Unlisted {
    pub(super) key: Key,
    pub(super) ask: Ask,
    /// When it may be sought.
    at: Instant,
    /// How far its id is from the newest that is listed: what was just made is near.
    distance_to_newest: u64,
}

#[derive(Default)]
pub(super) struct UnlistedObjects {
    waiting: Vec<Unlisted>,
    sought: HashSet<Key>,
}

impl UnlistedObjects {
    /// An object is to be sought once more. If there are too many, the one is returned that is least likely to have been made just now.
    pub(super) fn add(&mut self, key: Key, ask: Ask, distance_to_newest: u64, now: Instant) -> Option<Unlisted> {
        let ask = Ask { is_unlisted: true, ..ask.again() };
        match self.waiting.iter_mut().find(|unlisted| unlisted.key == key) {
            Some(unlisted) => unlisted.ask.join(ask),
            None => self.waiting.push(Unlisted { key, ask, at: now + PAUSE, distance_to_newest }),
        }
        let farthest = (0..self.waiting.len()).max_by_key(|index| self.waiting[*index].distance_to_newest);
        farthest.filter(|_| self.waiting.len() > MAX_UNLISTED).map(|index| self.waiting.swap_remove(index))
    }

    /// The next that is to be sought: the one that is nearest to the newest.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Key, Ask)> {
        if self.sought.len() >= MAX_SOUGHT {
            return None;
        }
        let due = (0..self.waiting.len()).filter(|index| self.waiting[*index].at <= now);
        let Unlisted { key, ask, .. } = due
            .min_by_key(|index| self.waiting[*index].distance_to_newest)
            .map(|index| self.waiting.swap_remove(index))?;
        self.sought.insert(key.clone());
        Some((key, ask))
    }

    /// When the next is to be sought.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.waiting.iter().map(|unlisted| unlisted.at).min();
        due.filter(|_| self.sought.len() < MAX_SOUGHT)
    }

    /// An object was read.
    pub(super) fn was_read(&mut self, key: &Key) {
        self.sought.remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = EntryId> {
        self.waiting.iter().flat_map(|unlisted| &unlisted.ask.entries).copied()
    }
}
