//! How much a journal keeps.

use std::time::Duration;

use crate::error::Error;

/// The most entries that can be set.
const MOST_ENTRIES: usize = 1_000_000;

/// The longest age that can be set.
const LONGEST_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How much a [`FileHintJournal`](crate::webhook::FileHintJournal) or a [`MemoryHintJournal`](crate::webhook::MemoryHintJournal) keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HintJournalBounds {
    pub(super) max_entries: usize,
    pub(super) max_age: Duration,
}

impl Default for HintJournalBounds {
    /// 50,000 entries, of one hour.
    fn default() -> Self {
        Self { max_entries: 50_000, max_age: Duration::from_secs(3600) }
    }
}

impl HintJournalBounds {
    /// How many entries that are not done are kept. When there are so many, the journal is full. From 1 to 1,000,000.
    #[must_use]
    pub fn max_entries(mut self, max_entries: usize) -> Self {
        self.max_entries = max_entries;
        self
    }

    /// For how long after the arrival of its call an entry is kept that is not done. Up to seven days. Only for what the process before has
    /// kept is the wall clock asked: that it is set while the process runs makes nothing older.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if !(1..=MOST_ENTRIES).contains(&self.max_entries) {
            let problem = format_args!("{} is not from 1 to {MOST_ENTRIES}", self.max_entries);
            return Err(Error::invalid_input("max_entries", problem));
        }
        if self.max_age.is_zero() || self.max_age > LONGEST_AGE {
            let problem = format_args!("{:?} is not more than zero and at most seven days", self.max_age);
            return Err(Error::invalid_input("max_age", problem));
        }
        Ok(())
    }
}
