//! Searches for the users of a creation that bunq has already: by pages of the listing, and row by row.
//!
//! As long as fewer pages were read than there are rows to search for, it reads the next page, newest first. Only then does it read
//! each row that the pages do not settle. So it reads no more pages than rows, and no row if there are fewer pages: at most
//! twice the calls of the cheaper way, without knowing how many rows will come.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::journal::JournalStart;
use super::outage::Run;
use super::record::JournalHeader;
use crate::error::Error;
use crate::provisions::{Existing, Shown, choose};
use crate::reconcile::InFlight;
use crate::types::{Cursor, PageSize, ProvisionId};

/// The search of one run. It begins with the first row that is searched for.
#[derive(Debug)]
pub(super) struct Lookup {
    run: Arc<Run>,
    journal: Begun,
    /// What was listed so far, by the keys of the users.
    seen: Vec<(Uuid, Existing)>,
    shown: HashSet<Arc<Shown>>,
    /// The newest and the oldest provision that were listed.
    newest: Option<ProvisionId>,
    oldest: Option<ProvisionId>,
    /// Where the next page begins; `None` if there is none, or none was read.
    next: Option<Cursor>,
    pages: usize,
    rows: usize,
}

/// By whom the journal was begun.
#[derive(Debug)]
enum Begun {
    /// By an earlier run. What is newer than this provision, if there was one, may be from that run.
    Earlier(Option<ProvisionId>),
    /// By this run, as soon as the newest provision before it is known. What exists then is not from this run.
    Now(Option<JournalHeader>),
}

/// A row whose user is searched for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) external_uuid: Uuid,
    /// An earlier run has searched for it, and then sent it.
    pub(super) was_sent: bool,
}

/// What bunq has for a row.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    /// One, which may be of an earlier run with the same journal.
    One {
        existing: Existing,
        is_own: bool,
    },
    /// Several that are neither closing, closed nor failed; the error names them.
    Several(Error),
}

impl Lookup {
    /// `own` is what the journal is begun with, unless it has begun.
    pub(super) fn new(run: Arc<Run>, start: JournalStart, own: JournalHeader) -> Result<Self, Error> {
        let journal = match start {
            JournalStart::Begun(earlier) => Begun::Earlier(earlier.newest_before()?),
            JournalStart::New | JournalStart::Lost => Begun::Now(Some(own)),
        };
        let (seen, shown) = (Vec::new(), HashSet::new());
        let (newest, oldest, next) = (None, None, None);
        Ok(Self { run, journal, seen, shown, newest, oldest, next, pages: 0, rows: 0 })
    }

    /// What bunq has for each of these rows, when none of these requests can arrive any more; `None` if the end of the run has
    /// begun before.
    pub(super) async fn find(&mut self, wanted: &[Wanted], in_flight: InFlight) -> Result<Option<Vec<Found>>, Error> {
        if self.pages == 0 && !self.begin(in_flight).await? {
            return Ok(None);
        }
        self.rows += wanted.len();
        while self.pages < self.rows && !wanted.iter().all(|wanted| self.tells_of(*wanted)) {
            if !self.read_page().await? {
                return Ok(None);
            }
        }
        self.seen.sort_unstable_by_key(|(key, existing)| (*key, existing.id));
        self.seen.dedup_by_key(|(key, existing)| (*key, existing.id));
        let mut found = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let existing = if self.tells_of(*wanted) {
                self.listed(wanted.external_uuid)
            } else {
                let read = || self.run.provisions.existing(wanted.external_uuid);
                let Some(read) = self.run.until_done(read).await? else { return Ok(None) };
                read
            };
            found.push(self.judge(wanted.external_uuid, existing));
        }
        Ok(Some(found))
    }

    /// Waits until none of these requests can arrive any more, then reads the first page, and begins a journal that has not begun.
    /// `false` if the end of the run has begun before.
    async fn begin(&mut self, in_flight: InFlight) -> Result<bool, Error> {
        if self.run.ends_within(in_flight.left()).await || !self.read_page().await? {
            return Ok(false);
        }
        if let Begun::Now(own) = &mut self.journal
            && let Some(own) = own.take()
        {
            self.run.ledger.begin(JournalHeader { watermark: self.newest.map(|id| id.to_string()), ..own }).await?;
        }
        Ok(true)
    }

    /// Reads the next page; `false` if the end of the run has begun before.
    async fn read_page(&mut self) -> Result<bool, Error> {
        let mut listing = self.run.provisions.list().count(PageSize::MAX);
        if let Some(next) = self.next {
            listing = listing.start_at(next);
        }
        let Some(page) = self.run.until_done(|| listing.page()).await? else { return Ok(false) };
        self.pages += 1;
        self.next = page.older;
        for seen in &page.items {
            self.newest = self.newest.max(Some(seen.id));
            self.oldest = Some(self.oldest.map_or(seen.id, |oldest| oldest.min(seen.id)));
            if let Some(key) = seen.external_uuid {
                self.seen.push((key, Existing::from(seen).sharing(&mut self.shown)));
            }
        }
        Ok(true)
    }

    /// Whether the pages that were read have every provision that can be of a row.
    fn tells_of(&self, wanted: Wanted) -> bool {
        let is_own_listed = match self.journal {
            // The earlier run has searched what is older.
            Begun::Earlier(Some(newest_before)) => self.oldest.is_some_and(|oldest| oldest <= newest_before),
            Begun::Earlier(None) | Begun::Now(_) => false,
        };
        self.next.is_none() || (wanted.was_sent && is_own_listed)
    }

    fn listed(&self, external_uuid: Uuid) -> Vec<Existing> {
        let first = self.seen.partition_point(|(key, _)| *key < external_uuid);
        let of_it = self.seen[first..].iter().take_while(|(key, _)| *key == external_uuid);
        of_it.map(|(_, existing)| existing.clone()).collect()
    }

    fn judge(&self, external_uuid: Uuid, existing: Vec<Existing>) -> Found {
        let chosen = choose(external_uuid, existing.iter().map(|existing| (existing.id, existing.is_over())));
        let chosen = match chosen {
            Ok(id) => existing.into_iter().find(|existing| Some(existing.id) == id),
            Err(error) => return Found::Several(error),
        };
        chosen.map_or(Found::Nothing, |existing| {
            let is_own = matches!(&self.journal, Begun::Earlier(newest) if Some(existing.id) > *newest);
            Found::One { existing, is_own }
        })
    }
}
