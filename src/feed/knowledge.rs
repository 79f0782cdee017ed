//! What is known of each object, and who is told of a later read.
//!
//! An object is kept while a caller waits for it. While there are subscribers, the objects that were read last are kept too: without
//! them, it could not tell what has changed. While calls are heard, those that do not change any more are kept too: a late call about one
//! needs no read.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use tokio::sync::{broadcast, oneshot};

use super::hearing::Hearing;
use super::resource::Resource;
#[cfg(feature = "webhook")]
use crate::types::Timestamp;

/// How many objects are kept only for subscribers. One takes about 2 KiB.
const MAX_IDLE: usize = 10_000;

/// How many objects are kept because a call about them may be late, while calls are heard.
const MAX_ENDED: usize = 1000;

/// How many changes a subscriber may be behind.
const MAX_BEHIND: usize = 1024;

/// A place in the one order of reads and of the callers that ask for them. Unlike times, no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(u64);

/// An object as a read has shown it, and when that read began.
#[derive(Debug, Clone)]
pub(super) struct Known<R> {
    pub(super) began: Moment,
    pub(super) object: Arc<R>,
}

#[derive(Debug)]
pub(super) struct Knowledge<R: Resource> {
    last_moment: u64,
    pub(super) entries: HashMap<R::Id, Entry<R>>,
    /// The entries that nobody waits for, those first whose read began first.
    idle: BTreeSet<(Moment, R::Id)>,
    /// `None` while there is no subscriber.
    changes: Option<broadcast::Sender<Arc<R>>>,
    at_the_end: Option<AtTheEnd<R>>,
    hearing: Hearing,
}

/// Told of each read of an object that does not change any more, whoever waits for it.
struct AtTheEnd<R>(Box<dyn Fn(&R) + Send>);

impl<R> fmt::Debug for AtTheEnd<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtTheEnd(..)")
    }
}

#[derive(Debug)]
pub(super) struct Entry<R> {
    known: Option<Known<R>>,
    interested: usize,
    /// How many of the interested ask because of a call.
    hinted: usize,
    /// Each is told of the next read that began after a moment.
    listeners: Vec<(Moment, oneshot::Sender<Known<R>>)>,
}

impl<R> Default for Entry<R> {
    fn default() -> Self {
        Self { known: None, interested: 0, hinted: 0, listeners: Vec::new() }
    }
}

impl<R: Resource> Knowledge<R> {
    pub(super) fn new(hearing: Hearing) -> Self {
        let (entries, idle) = (HashMap::new(), BTreeSet::new());
        Self { last_moment: 0, entries, idle, changes: None, at_the_end: None, hearing }
    }

    pub(super) fn now(&mut self) -> Moment {
        self.last_moment += 1;
        Moment(self.last_moment)
    }

    /// Sets who is told of each read of an object that does not change any more. It must not block.
    pub(super) fn tell_at_the_end(&mut self, tell: impl Fn(&R) + Send + 'static) {
        self.at_the_end = Some(AtTheEnd(Box::new(tell)));
    }

    /// Tells a read of an object that does not change any more.
    pub(super) fn see(&self, seen: &R) {
        if let Some(AtTheEnd(tell)) = &self.at_the_end
            && seen.is_terminal()
        {
            tell(seen);
        }
    }

    /// Whether a caller or a subscriber would be told of an object.
    pub(super) fn is_followed(&self, id: R::Id) -> bool {
        self.changes.is_some() || self.entries.contains_key(&id)
    }

    /// Keeps what a read has shown and tells it, unless a later read is known. `is_asked_for`: by a poll, a
    /// call or a look.
    pub(super) fn learn(&mut self, seen: &Known<R>, is_asked_for: bool) {
        let id = seen.object.id();
        if !self.is_followed(id) {
            return;
        }
        let entry = self.entries.entry(id).or_default();
        let before = entry.known.as_ref();
        if before.is_some_and(|before| before.began >= seen.began) {
            return;
        }
        if let Some(changes) = &self.changes
            && before.is_none_or(|before| before.object != seen.object)
        {
            // The last subscriber may just have gone.
            let _ = changes.send(Arc::clone(&seen.object));
        }
        if before.is_some_and(|before| before.object != seen.object) {
            match entry.hinted {
                0 if is_asked_for => self.hearing.has_missed(),
                0 => {}
                _ => self.hearing.has_come(),
            }
        }
        if entry.interested == 0 {
            before.map(|before| self.idle.remove(&(before.began, id)));
            self.idle.insert((seen.began, id));
        }
        entry.known = Some(seen.clone());
        for (_, sender) in entry.listeners.extract_if(.., |(after, _)| *after < seen.began) {
            // It may have given up.
            let _ = sender.send(seen.clone());
        }
        self.forget(self.most_idle());
    }

    /// An object as it was read last, if it had ended then, and was changed last when a call claims or later.
    #[cfg(feature = "webhook")]
    pub(super) fn ended(&self, id: R::Id, claim: Timestamp) -> Option<Arc<R>> {
        let object = &self.entries.get(&id)?.known.as_ref()?.object;
        let has_all = object.is_terminal() && object.updated().is_some_and(|updated| updated >= claim);
        has_all.then(|| Arc::clone(object))
    }

    /// Keeps an object from now on, until [`release`](Self::release). `is_hint` if that is because of a call.
    pub(super) fn keep(&mut self, id: R::Id, is_hint: bool) {
        let entry = self.entries.entry(id).or_default();
        entry.interested += 1;
        entry.hinted += usize::from(is_hint);
        if let Some(known) = &entry.known {
            self.idle.remove(&(known.began, id));
        }
    }

    pub(super) fn release(&mut self, id: R::Id, is_hint: bool) {
        let most_idle = self.most_idle();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.interested -= 1;
        entry.hinted -= usize::from(is_hint);
        if entry.interested > 0 {
            return;
        }
        match &entry.known {
            Some(known) if self.changes.is_some() || most_idle > 0 && known.object.is_terminal() => {
                self.idle.insert((known.began, id));
                self.forget(most_idle);
            }
            _ => _ = self.entries.remove(&id),
        }
    }

    /// What a read shows that begins after a moment, of an object that is [kept](Self::keep).
    pub(super) fn listen(&mut self, id: R::Id, after: Moment) -> oneshot::Receiver<Known<R>> {
        let (sender, receiver) = oneshot::channel();
        let entry = self.entries.entry(id).or_default();
        match &entry.known {
            Some(known) if known.began > after => _ = sender.send(known.clone()),
            _ => {
                entry.listeners.retain(|(_, sender)| !sender.is_closed());
                entry.listeners.push((after, sender));
            }
        }
        receiver
    }

    pub(super) fn subscribe(&mut self) -> broadcast::Receiver<Arc<R>> {
        self.changes.get_or_insert_with(|| broadcast::Sender::new(MAX_BEHIND)).subscribe()
    }

    /// A subscriber has gone, and its receiver is dropped.
    pub(super) fn unsubscribed(&mut self) {
        if self.changes.as_ref().is_some_and(|changes| changes.receiver_count() == 0) {
            self.changes = None;
            self.forget(0);
        }
    }

    /// How many objects are kept at most that nobody waits for.
    fn most_idle(&self) -> usize {
        match self.changes {
            Some(_) => MAX_IDLE,
            None if self.hearing.is_begun() => MAX_ENDED,
            None => 0,
        }
    }

    /// Forgets objects that nobody waits for, until so many are left.
    fn forget(&mut self, left: usize) {
        while self.idle.len() > left
            && let Some((_, id)) = self.idle.pop_first()
        {
            self.entries.remove(&id);
        }
    }
}
