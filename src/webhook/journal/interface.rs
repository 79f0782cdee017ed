//! The interface of journals of hints.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::transport::credentials::BoxFuture;
use crate::webhook::Hint;
use crate::webhook::mark::{Mark, MarkedObject};

/// The number of an entry in its [`HintJournal`], as long as the journal is open. An entry has a larger number than those that were kept
/// before its `append` began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u64);

impl EntryId {
    /// Makes the id of an entry, for a journal of your own.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Whether a journal has taken a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a hint that was not taken is lost, unless the caller is told to call again"]
pub enum Appended {
    /// It is kept, also over a crash, until it is done.
    Kept(EntryId),
    /// The journal has no place for it. Answer the call with 503, and bunq calls again.
    Full,
}

/// Where hints are kept until they are done, so that a call that was answered with 200 is not lost in a crash.
///
/// [`FileHintJournal`] is the usual choice. Write one of your own for a database: an entry is a number and a [`Hint`],
/// which is stored by its [`Serialize`](serde::Serialize), in at most [`Hint::MAX_LEN`] bytes of JSON. An implementation promises:
///
/// - **Durability.** When `append` returns [`Appended::Kept`], the entry survives a crash of the process and of the machine. Only
///   [`MemoryHintJournal`](crate::webhook::MemoryHintJournal) does not promise it.
/// - **At least once.** An entry that is not done is among the `pending` ones of the next process. One whose `done` had not returned
///   may be, too. An entry whose `append` failed, or was dropped, may be there or not.
/// - **Order.** Entries are taken in the order of their numbers. One may appear after one with a larger number was taken, as when a
///   database commits two in another order than it has numbered them. It is taken after
///   [`look_interval`](crate::webhook::ChangesBuilder::look_interval) at the latest, with which the entries are read from the first on.
/// - **Bounds.** It has a bound, and answers [`Appended::Full`] beyond it. Nothing else makes place than `done`, and the age of an entry.
/// - **Marks.** It keeps the last [`Mark`] of each object that was handed on, for as long as an entry at least, and as many as entries at
///   least; those that were made first go first. When `mark` returns, the mark survives a crash.
///
/// Errors are made with [`Error::storage`], and name the journal and what to do. No method may block its thread. One process uses
/// a journal at a time.
///
/// [`FileHintJournal`]: crate::webhook::FileHintJournal
pub trait HintJournal: fmt::Debug + Send + Sync + 'static {
    /// Names the journal in errors, without a secret: `the journal of hints /var/lib/acme/hints`.
    fn name(&self) -> String;

    /// Keeps a hint. It returns when the hint is safe.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    fn append(&self, hint: Hint) -> BoxFuture<'_, Result<Appended, Error>>;

    /// Keeps an entry no longer. One that is not there is done already.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written. The entry may come again after a crash.
    fn done(&self, id: EntryId) -> BoxFuture<'_, Result<(), Error>>;

    /// Returns the next entries after `after` that are not done, in the order of their numbers: as many as fit into a page, and none only
    /// if there are no more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be read.
    fn pending(&self, after: Option<EntryId>) -> BoxFuture<'_, Result<Vec<(EntryId, Hint)>, Error>>;

    /// Keeps a mark in place of the one of the same object. It returns when the mark is safe.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    fn mark(&self, mark: Mark) -> BoxFuture<'_, Result<(), Error>>;

    /// Returns the mark of an object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be read.
    fn mark_of<'a>(&'a self, object: &'a MarkedObject) -> BoxFuture<'a, Result<Option<Mark>, Error>>;

    /// Returns the next marks after that of `after`, in an order that stays while no mark is made: as many as fit into a page, and none
    /// only if there are no more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if they cannot be read.
    fn marks<'a>(&'a self, after: Option<&'a MarkedObject>) -> BoxFuture<'a, Result<Vec<Mark>, Error>>;

    /// How many entries this process has dropped because of their age before they were done. What they were about is found by a look, or
    /// not at all. It is 0 unless a journal says otherwise.
    fn expired(&self) -> u64 {
        0
    }
}

impl<T: HintJournal + ?Sized> HintJournal for Arc<T> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn append(&self, hint: Hint) -> BoxFuture<'_, Result<Appended, Error>> {
        (**self).append(hint)
    }

    fn done(&self, id: EntryId) -> BoxFuture<'_, Result<(), Error>> {
        (**self).done(id)
    }

    fn pending(&self, after: Option<EntryId>) -> BoxFuture<'_, Result<Vec<(EntryId, Hint)>, Error>> {
        (**self).pending(after)
    }

    fn mark(&self, mark: Mark) -> BoxFuture<'_, Result<(), Error>> {
        (**self).mark(mark)
    }

    fn mark_of<'a>(&'a self, object: &'a MarkedObject) -> BoxFuture<'a, Result<Option<Mark>, Error>> {
        (**self).mark_of(object)
    }

    fn marks<'a>(&'a self, after: Option<&'a MarkedObject>) -> BoxFuture<'a, Result<Vec<Mark>, Error>> {
        (**self).marks(after)
    }

    fn expired(&self) -> u64 {
        (**self).expired()
    }
}
