//! What is known of each object, and who is told when more is.
//!
//! It keeps an object as long as it is waited for. While changes are subscribed to, it also keeps the objects that were read last,
//! so that it can tell what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{broadcast, oneshot};

use super::resource::Resource;

/// How many objects are kept only for subscribers. One takes about 2 KiB.
const MAX_IDLE: usize = 10_000;

/// How many changes a subscriber may be behind.
const MAX_BEHIND: usize = 1024;

/// A place in the order of reads and of those who ask for one. Unlike a time, no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(u64);

/// What a read has shown that began at this moment.
#[derive(Debug, Clone)]
pub(super) struct Known<R> {
    pub(super) began: Moment,
    pub(super) object: Arc<R>,
}

#[derive(Debug)]
pub(super) struct Knowledge<R: Resource> {
    last_moment: u64,
    entries: BTreeMap<R::Id, Entry<R>>,
    /// The entries that are kept only for subscribers, those first whose read began first.
    idle: BTreeSet<(Moment, R::Id)>,
    /// `None` while there is no subscriber.
    changes: Option<broadcast::Sender<Arc<R>>>,
}

#[derive(Debug)]
struct Entry<R> {
    known: Option<Known<R>>,
    interested: usize,
    listeners: Vec<Listener<R>>,
}

/// Who is told of the next read that began after a moment.
#[derive(Debug)]
struct Listener<R> {
    after: Moment,
    sender: oneshot::Sender<Known<R>>,
}

impl<R> Default for Entry<R> {
    fn default() -> Self {
        Self { known: None, interested: 0, listeners: Vec::new() }
    }
}

impl<R: Resource> Default for Knowledge<R> {
    fn default() -> Self {
        Self { last_moment: 0, entries: BTreeMap::new(), idle: BTreeSet::new(), changes: None }
    }
}

impl<R: Resource> Knowledge<R> {
    pub(super) fn now(&mut self) -> Moment {
        self.last_moment += 1;
        Moment(self.last_moment)
    }

    /// Whether anybody would be told of an object.
    pub(super) fn is_followed(&self, id: R::Id) -> bool {
        self.changes.is_some() || self.entries.contains_key(&id)
    }

    /// Takes in what a read has shown, unless a later one has been taken in.
    pub(super) fn learn(&mut self, seen: &Known<R>) {
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
        if entry.interested == 0 {
            before.map(|before| self.idle.remove(&(before.began, id)));
            self.idle.insert((seen.began, id));
        }
        entry.known = Some(seen.clone());
        for listener in entry.listeners.extract_if(.., |listener| listener.after < seen.began) {
            // It may have given up.
            let _ = listener.sender.send(seen.clone());
        }
        self.forget(MAX_IDLE);
    }

    /// Keeps an object from now on, until [`release`](Self::release).
    pub(super) fn keep(&mut self, id: R::Id) {
        let entry = self.entries.entry(id).or_default();
        entry.interested += 1;
        if let Some(known) = &entry.known {
            self.idle.remove(&(known.began, id));
        }
    }

    pub(super) fn release(&mut self, id: R::Id) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.interested -= 1;
        if entry.interested > 0 {
            return;
        }
        match &entry.known {
            Some(known) if self.changes.is_some() => {
                self.idle.insert((known.began, id));
                self.forget(MAX_IDLE);
            }
            _ => _ = self.entries.remove(&id),
        }
    }

    /// What is known of an object that is [kept](Self::keep), as soon as that is of a read that began after a moment.
    pub(super) fn listen(&mut self, id: R::Id, after: Moment) -> oneshot::Receiver<Known<R>> {
        let (sender, receiver) = oneshot::channel();
        let entry = self.entries.entry(id).or_default();
        match &entry.known {
            Some(known) if known.began > after => _ = sender.send(known.clone()),
            _ => {
                entry.listeners.retain(|listener| !listener.sender.is_closed());
                entry.listeners.push(Listener { after, sender });
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

    /// Forgets objects that are kept only for subscribers, until so many are left.
    fn forget(&mut self, left: usize) {
        while self.idle.len() > left
            && let Some((_, id)) = self.idle.pop_first()
        {
            self.entries.remove(&id);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub(super) fn is_kept(&self, id: R::Id) -> bool {
        self.entries.contains_key(&id)
    }
}
