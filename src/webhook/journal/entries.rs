//! The entries of a journal that are not done, and its marks, as the lines of its file. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use jiff::Timestamp as Moment;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::bounds::HintJournalBounds;
use super::interface::EntryId;
use super::marks::{Made, Marks};
use crate::webhook::Hint;
use crate::webhook::mark::{Mark, MarkedObject};

/// The beginning of the first line.
pub(super) const MAGIC: &[u8] = br#"{"bunq_partner_hints":"#;

/// The first line.
const HEADER: &[u8] = b"{\"bunq_partner_hints\":1}\n";

/// The length of the longest line, with its line break.
pub(super) const MAX_LINE: usize = 200;

/// How many entries a page has.
const PAGE: usize = 1000;

/// How much of the file may be lines that say nothing any more, beside as much as those that do.
const SPARE: usize = 1024 * 1024;

/// How far apart two warnings begin at least that entries have expired.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// A line after the first: `[1,[…]]`, `[1]` when that is done, and `[[…],1]`, a mark with the milliseconds of when it was made.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Entry(u64, Hint),
    Done((u64,)),
    Mark(Mark, i64),
}

impl Line {
    fn read(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|_| "a line is neither an entry, nor what is done, nor a mark".into())
    }
}

pub(super) struct Entries {
    /// How warnings name the journal.
    name: String,
    bounds: HintJournalBounds,
    /// The time at the start, by both clocks. The wall clock is not asked for the age of what is kept after that: it may be set.
    start: (Instant, Moment),
    /// In the order in which they were appended.
    pending: BTreeMap<u64, Entry>,
    /// When each of them is too old.
    expiries: BTreeSet<(Instant, u64)>,
    /// The number of the next one.
    next: u64,
    /// How many were dropped because of their age, and how many of them a warning has told.
    expired: u64,
    warned: u64,
    next_warning: Instant,
    /// The length of the lines of all that are pending, and of the file.
    needed: usize,
    written: usize,
    marks: Marks,
}

struct Entry {
    line: Vec<u8>,
    expires: Instant,
}

impl Entries {
    pub(super) fn new(name: String, bounds: HintJournalBounds) -> Self {
        let (now, moment) = (Instant::now(), Moment::now());
        let (pending, expiries, marks) = (BTreeMap::new(), BTreeSet::new(), Marks::new(bounds));
        let (next, expired, warned, needed, written) = (1, 0, 0, 0, 0);
        let (start, next_warning) = ((now, moment), now);
        Self { name, bounds, start, pending, expiries, next, expired, warned, next_warning, needed, written, marks }
    }

    /// Takes in a line of the file.
    pub(super) fn take(&mut self, number: u64, line: &[u8]) -> Result<(), String> {
        if number == 1 {
            let is_known = HEADER.strip_suffix(b"\n") == Some(line);
            return is_known.then_some(()).ok_or_else(|| "it is of another version of this program".into());
        }
        match Line::read(line)? {
            Line::Entry(number, hint) => {
                let expires = self.expiry_of(hint.arrived.as_jiff());
                self.insert(number, [line, b"\n"].concat(), expires);
                self.next = self.next.max(number.saturating_add(1));
            }
            Line::Done((number,)) => self.remove(number),
            Line::Mark(mark, made) => {
                let at = Moment::from_millisecond(made).map_err(|_| "a mark has no such time")?;
                let expires = self.expiry_of(at);
                self.marks.insert(mark, Made { at, expires }, line.len() + 1);
            }
        }
        Ok(())
    }

    /// Gives a hint its number and its line. `None` if there is no place.
    pub(super) fn append(&mut self, hint: &Hint) -> Result<Option<(u64, Vec<u8>)>, String> {
        let now = Instant::now();
        self.expire(now);
        if self.pending.len() >= self.bounds.max_entries {
            return Ok(None);
        }
        let number = self.next;
        let line = line_of(&(number, hint))?;
        if line.len() > MAX_LINE {
            return Err(format!("an entry of {} bytes is longer than {MAX_LINE}", line.len()));
        }
        // One that could not be read again would be taken for damage, and lost with those after it.
        Line::read(&line)?;
        self.next += 1;
        self.written += line.len();
        self.insert(number, line.clone(), now + self.bounds.max_age);
        Ok(Some((number, line)))
    }

    /// The line that says that an entry is done. `None` if it is not there.
    pub(super) fn done_line(&mut self, number: u64) -> Result<Option<Vec<u8>>, String> {
        if !self.pending.contains_key(&number) {
            return Ok(None);
        }
        let line = line_of(&(number,))?;
        self.written += line.len();
        Ok(Some(line))
    }

    /// Removes an entry that is done, or was not written.
    pub(super) fn remove(&mut self, number: u64) {
        if let Some(Entry { line, expires }) = self.pending.remove(&number) {
            self.expiries.remove(&(expires, number));
            self.needed -= line.len();
        }
    }

    pub(super) fn page(&mut self, after: Option<EntryId>) -> Result<Vec<(EntryId, Hint)>, String> {
        self.expire(Instant::now());
        let after = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.get()));
        let page = self.pending.range((after, Bound::Unbounded)).take(PAGE);
        page.map(|(_, entry)| match Line::read(&entry.line)? {
            Line::Entry(number, hint) => Ok((EntryId::new(number), hint)),
            Line::Done(_) | Line::Mark(..) => Err("an entry is none".into()),
        })
        .collect()
    }

    /// The whole file, without what says nothing any more.
    pub(super) fn content(&mut self) -> Result<Vec<u8>, String> {
        self.expire(Instant::now());
        let lines = self.pending.values().map(|entry| entry.line.as_slice());
        let mut content: Vec<_> = std::iter::once(HEADER).chain(lines).flatten().copied().collect();
        for (mark, made) in self.marks.all() {
            content.extend(line_of(&(mark, made.as_millisecond()))?);
        }
        self.written = content.len();
        Ok(content)
    }

    /// The line of a mark, which counts when it is written and [marked](Self::marked).
    pub(super) fn mark_line(&mut self, mark: &Mark) -> Result<(Vec<u8>, Made), String> {
        let made = Made { at: Moment::now(), expires: Instant::now() + self.bounds.max_age };
        let line = line_of(&(mark, made.at.as_millisecond()))?;
        if line.len() > MAX_LINE {
            return Err(format!("a mark of {} bytes is longer than {MAX_LINE}", line.len()));
        }
        self.written += line.len();
        Ok((line, made))
    }

    /// A mark is written, in a line of this length.
    pub(super) fn marked(&mut self, mark: Mark, made: Made, len: usize) {
        self.marks.insert(mark, made, len);
    }

    pub(super) fn mark_of(&mut self, object: &MarkedObject) -> Option<Mark> {
        self.marks.of(object)
    }

    pub(super) fn marks(&mut self, after: Option<&MarkedObject>) -> Vec<Mark> {
        self.marks.page(after)
    }

    /// Whether the file is worth being written anew.
    pub(super) fn is_worth_rewriting(&self) -> bool {
        self.written > 2 * (self.needed + self.marks.needed()) + SPARE
    }

    pub(super) fn expired(&self) -> u64 {
        self.expired
    }

    fn insert(&mut self, number: u64, line: Vec<u8>, expires: Instant) {
        self.remove(number);
        self.needed += line.len();
        self.expiries.insert((expires, number));
        self.pending.insert(number, Entry { line, expires });
    }

    /// When something is too old that the process before has kept. What comes from the future, by the wall clock, is as old as this
    /// process.
    fn expiry_of(&self, kept: Moment) -> Instant {
        let (start, moment) = self.start;
        let age = Duration::try_from(moment.duration_since(kept)).unwrap_or_default();
        start + self.bounds.max_age.saturating_sub(age)
    }

    /// Drops those that are too old.
    fn expire(&mut self, now: Instant) {
        while let Some(&(expires, number)) = self.expiries.first()
            && expires <= now
        {
            self.remove(number);
            self.expired += 1;
        }
        if self.warned < self.expired && self.next_warning <= now {
            let (name, count) = (&self.name, self.expired - self.warned);
            tracing::warn!(
                "{name} has dropped entries that were not done, since they are older than it keeps them: {count}"
            );
            (self.warned, self.next_warning) = (self.expired, now + BETWEEN_WARNINGS);
        }
    }
}

fn line_of(line: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut line = serde_json::to_vec(line).map_err(|error| error.to_string())?;
    line.push(b'\n');
    Ok(line)
}
