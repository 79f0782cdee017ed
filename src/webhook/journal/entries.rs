//! The entries of a journal that are not done, and its marks, as the lines of its file. Nothing here does I/O.

use std::collections::BTreeMap;
use std::ops::Bound;

use jiff::Timestamp as Moment;
use serde::{Deserialize, Serialize};

use super::bounds::HintJournalBounds;
use super::interface::EntryId;
use super::marks::Marks;
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
    bounds: HintJournalBounds,
    /// In the order in which they were appended.
    pending: BTreeMap<u64, Entry>,
    /// The number of the next one.
    next: u64,
    /// How many were dropped because of their age.
    expired: u64,
    /// The length of the lines of all that are pending, and of the file.
    needed: usize,
    written: usize,
    marks: Marks,
}

struct Entry {
    line: Vec<u8>,
    arrived: Moment,
}

impl Entries {
    pub(super) fn new(bounds: HintJournalBounds) -> Self {
        let marks = Marks::new(bounds);
        Self { bounds, pending: BTreeMap::new(), next: 1, expired: 0, needed: 0, written: 0, marks }
    }

    /// Takes in a line of the file.
    pub(super) fn take(&mut self, number: u64, line: &[u8]) -> Result<(), String> {
        if number == 1 {
            let is_known = HEADER.strip_suffix(b"\n") == Some(line);
            return is_known.then_some(()).ok_or_else(|| "it is of another version of this program".into());
        }
        match Line::read(line)? {
            Line::Entry(number, hint) => {
                self.insert(number, [line, b"\n"].concat(), &hint);
                self.next = self.next.max(number.saturating_add(1));
            }
            Line::Done((number,)) => self.remove(number),
            Line::Mark(mark, made) => {
                let made = Moment::from_millisecond(made).map_err(|_| "a mark has no such time")?;
                self.marks.insert(mark, made, line.len() + 1);
            }
        }
        Ok(())
    }

    /// Gives a hint its number and its line. `None` if there is no place.
    pub(super) fn append(&mut self, hint: &Hint, now: Moment) -> Result<Option<(u64, Vec<u8>)>, String> {
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
        self.insert(number, line.clone(), hint);
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
        if let Some(entry) = self.pending.remove(&number) {
            self.needed -= entry.line.len();
        }
    }

    pub(super) fn page(&mut self, after: Option<EntryId>, now: Moment) -> Result<Vec<(EntryId, Hint)>, String> {
        self.expire(now);
        let after = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.get()));
        let page = self.pending.range((after, Bound::Unbounded)).take(PAGE);
        page.map(|(_, entry)| match Line::read(&entry.line)? {
            Line::Entry(number, hint) => Ok((EntryId::new(number), hint)),
            Line::Done(_) | Line::Mark(..) => Err("an entry is none".into()),
        })
        .collect()
    }

    /// The whole file, without what says nothing any more.
    pub(super) fn content(&mut self, now: Moment) -> Result<Vec<u8>, String> {
        self.expire(now);
        let lines = self.pending.values().map(|entry| entry.line.as_slice());
        let mut content: Vec<_> = std::iter::once(HEADER).chain(lines).flatten().copied().collect();
        for (mark, made) in self.marks.all(now) {
            content.extend(line_of(&(mark, made.as_millisecond()))?);
        }
        self.written = content.len();
        Ok(content)
    }

    /// The line of a mark, which counts when it is written and [marked](Self::marked).
    pub(super) fn mark_line(&mut self, mark: &Mark, now: Moment) -> Result<Vec<u8>, String> {
        let line = line_of(&(mark, now.as_millisecond()))?;
        if line.len() > MAX_LINE {
            return Err(format!("a mark of {} bytes is longer than {MAX_LINE}", line.len()));
        }
        self.written += line.len();
        Ok(line)
    }

    /// A mark is written, in a line of this length.
    pub(super) fn marked(&mut self, mark: Mark, now: Moment, len: usize) {
        self.marks.insert(mark, now, len);
    }

    pub(super) fn mark_of(&mut self, object: &MarkedObject, now: Moment) -> Option<Mark> {
        self.marks.of(object, now)
    }

    pub(super) fn marks(&mut self, after: Option<&MarkedObject>, now: Moment) -> Vec<Mark> {
        self.marks.page(after, now)
    }

    /// Whether the file is worth being written anew.
    pub(super) fn is_worth_rewriting(&self) -> bool {
        self.written > 2 * (self.needed + self.marks.needed()) + SPARE
    }

    pub(super) fn expired(&self) -> u64 {
        self.expired
    }

    fn insert(&mut self, number: u64, line: Vec<u8>, hint: &Hint) {
        self.remove(number);
        self.needed += line.len();
        self.pending.insert(number, Entry { line, arrived: hint.arrived.as_jiff() });
    }

    /// Drops those that are too old. They have arrived nearly in their order.
    fn expire(&mut self, now: Moment) {
        while let Some(first) = self.pending.first_entry()
            && now.duration_since(first.get().arrived).unsigned_abs() > self.bounds.max_age
            && first.get().arrived < now
        {
            self.needed -= first.remove().line.len();
            self.expired += 1;
        }
    }
}

fn line_of(line: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut line = serde_json::to_vec(line).map_err(|error| error.to_string())?;
    line.push(b'\n');
    Ok(line)
}
