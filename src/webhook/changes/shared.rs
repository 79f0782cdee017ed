//! What the task of [`Changes`](super::Changes), whoever takes changes, and those changes have in common.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use futures_util::future::{join, join_all};
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::changed_object::ChangedObject;
use super::object::{Ask, Key};
use super::objects::{Given, Job, Objects};
use super::reads::{Outcome, Reads};
use super::version::Version;
use crate::custody::Granted;
use crate::error::Error;
use crate::sync::lock;
use crate::types::ProvisionId;
use crate::webhook::{EntryId, HintJournal};

pub(super) struct Shared {
    pub(super) journal: Arc<dyn HintJournal>,
    pub(super) objects: Mutex<Objects>,
    /// Entries that are done, and that the journal could not be told.
    undone: Mutex<Vec<EntryId>>,
    pub(super) cursor: Mutex<Cursor>,
    /// Wakes the task.
    pub(super) changed: Notify,
    /// Wakes what takes hints in.
    pub(super) has_room: Notify,
    /// Wakes whoever takes changes.
    pub(super) taker: AtomicWaker,
}

/// How far the journal is read.
#[derive(Default)]
pub(super) struct Cursor {
    /// The last entry that was read.
    pub(super) last: Option<EntryId>,
    /// Entries that were taken before the journal is read anew, and are not taken again.
    pub(super) held: HashSet<EntryId>,
}

impl Shared {
    pub(super) fn new(journal: Arc<dyn HintJournal>) -> Self {
        let (objects, undone, cursor, changed, has_room, taker) = Default::default();
        Self { journal, objects, undone, cursor, changed, has_room, taker }
    }

    /// Has the journal read from its first entry on: one may be there that was not when those after it were taken. What is held is
    /// known before it is read, so that nothing is taken again that is done meanwhile.
    pub(super) fn read_anew(&self) {
        let mut held = lock(&self.objects).held();
        held.extend(lock(&self.undone).iter());
        *lock(&self.cursor) = Cursor { last: None, held };
    }

    pub(super) fn ask(&self, key: Key, ask: Ask) {
        lock(&self.objects).ask(key, ask, Instant::now());
        self.changed.notify_one();
    }

    /// A look has found an object.
    pub(super) fn find(&self, key: Key, ask: Ask) {
        lock(&self.objects).find(key, ask);
        self.changed.notify_one();
    }

    /// The session of a user is open, or of any.
    pub(super) fn opened(&self, id: Option<ProvisionId>) {
        lock(&self.objects).opened(id, Instant::now());
        self.changed.notify_one();
    }

    pub(super) fn take(&self) -> Option<Given> {
        let given = lock(&self.objects).take()?;
        self.changed.notify_one();
        Some(given)
    }

    /// Tells the journal that a change is done.
    pub(super) async fn done(&self, key: &Key) -> Result<(), Error> {
        let (mark, entries) = lock(&self.objects).to_be_done(key);
        let marked = async {
            let Some(mark) = mark else { return Ok(()) };
            match self.journal.mark_of(&mark.object).await? {
                // Since these changes were dropped, others have handed on another state.
                Some(kept) if Version::of(&kept) != Version::of(&mark) => Ok(()),
                _ => self.journal.mark(mark).await,
            }
        };
        let done = join_all(entries.into_iter().map(|entry| self.journal.done(entry)));
        let (marked, done) = join(marked, done).await;
        marked?;
        done.into_iter().collect::<Result<(), Error>>()?;
        lock(&self.objects).done(key, Instant::now());
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn dropped(&self, key: &Key, object: &ChangedObject) {
        // The session of the user may end before it is read again.
        let hint = object.clone().into_hint().or_else(|| key.hint());
        lock(&self.objects).dropped(key, hint, Instant::now());
        self.changed.notify_one();
    }

    /// Tells the journal of entries that nothing is to be done for any more. What fails is told again with the next look.
    pub(super) async fn forget(&self, entries: impl IntoIterator<Item = EntryId>) {
        let done = entries.into_iter().map(async |entry| (entry, self.journal.done(entry).await));
        for (entry, done) in join_all(done).await {
            if let Err(error) = done {
                tracing::warn!(%error, "the journal of hints keeps an entry that is done");
                lock(&self.objects).numbers.failed += 1;
                lock(&self.undone).push(entry);
            }
        }
    }

    /// Tells the journal again what it could not be told.
    pub(super) async fn forget_again(&self) {
        let undone = std::mem::take(&mut *lock(&self.undone));
        self.forget(undone).await;
    }

    /// Does a job, and says what has come of it.
    pub(super) async fn work(&self, reads: &Reads, job: Job) {
        let (key, ask) = match job {
            Job::Read { key, ask } => (key, ask),
            Job::Open(id) => {
                if let Err(error) = reads.users.of(id).open_last().await {
                    tracing::debug!(%error, provision = %id, "no session is opened for a call");
                }
                return lock(&self.objects).session_tried(id, Instant::now());
            }
            Job::Mark { key, mark } => {
                let kept = self.journal.mark(mark).await;
                if let Err(error) = &kept {
                    tracing::warn!(%error, "a change is not handed on yet: the journal of hints cannot be written");
                }
                return lock(&self.objects).marked(&key, kept.is_ok(), Instant::now());
            }
        };
        let outcome = reads.outcome(&*self.journal, &key, ask).await;
        let done = self.learn(&key, outcome);
        self.forget(done).await;
    }

    /// Learns what has come of a read. Returns the entries that are done.
    fn learn(&self, key: &Key, outcome: Result<Outcome, Error>) -> Vec<EntryId> {
        let (mut objects, now) = (lock(&self.objects), Instant::now());
        match outcome {
            Ok(Outcome::Seen(seen, mark)) => objects.seen(key, seen, mark.as_ref(), now),
            Ok(Outcome::Belongs(Granted::To(ids))) => objects.belongs(key, ids, now),
            Ok(Outcome::Belongs(Granted::Nobody)) => objects.belongs(key, Vec::new(), now),
            Ok(Outcome::Belongs(Granted::NotYet { look_again })) => objects.put_off(key, look_again),
            Ok(Outcome::WantsSession(hint)) => objects.wants_session(key, hint, now),
            Ok(Outcome::Known) => objects.known(key),
            Ok(Outcome::NotOurs) => objects.not_ours(key, now),
            Ok(Outcome::NotListed { distance_to_newest }) => objects.not_listed(key, distance_to_newest, now),
            Ok(Outcome::NotOpen) => objects.not_open(key),
            Err(error) => {
                tracing::debug!(%error, "an object that has perhaps changed is not read yet");
                objects.failed(key, error.is_retryable(), now);
                Vec::new()
            }
        }
    }
}
