//! The interface of journals, a journal in memory, and the optional journal of an operation.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::record::{JournalHeader, RowKey, RowRecord};
use crate::error::Error;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;

/// Where a bulk operation keeps what it has done, so that another run can go on after a crash.
///
/// [`FileJournal`](crate::FileJournal) is the usual choice, [`MemoryJournal`] is for tests. Write one of your own for a
/// database: a row for the header, and one for each row of the input, which `append` replaces. Both are stored as JSON, by
/// their [`Serialize`](serde::Serialize).
///
/// What a method has written must be there after a crash when its future is done: the operation sends nothing before. No
/// method blocks its thread; each is waited for as long as it takes. Errors are made with [`Error::storage`], and end the operation.
/// Give a journal to one operation at a time.
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Says whether the journal was begun, and with what.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be read.
    fn start(&self) -> BoxFuture<'_, Result<JournalStart, Error>>;

    /// Begins a new journal.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    fn begin(&self, header: JournalHeader) -> BoxFuture<'_, Result<(), Error>>;

    /// Returns what was written last of the row with this number; `None` if nothing was.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be read.
    fn last(&self, row: u64) -> BoxFuture<'_, Result<Option<RowRecord>, Error>>;

    /// Writes what is known of a row.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    fn append(&self, record: RowRecord) -> BoxFuture<'_, Result<(), Error>>;
}

impl<T: Journal + ?Sized> Journal for Arc<T> {
    fn start(&self) -> BoxFuture<'_, Result<JournalStart, Error>> {
        (**self).start()
    }

    fn begin(&self, header: JournalHeader) -> BoxFuture<'_, Result<(), Error>> {
        (**self).begin(header)
    }

    fn last(&self, row: u64) -> BoxFuture<'_, Result<Option<RowRecord>, Error>> {
        (**self).last(row)
    }

    fn append(&self, record: RowRecord) -> BoxFuture<'_, Result<(), Error>> {
        (**self).append(record)
    }
}

/// Whether a journal was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalStart {
    /// It is new: nothing is known of earlier runs.
    New,
    /// It was begun with this.
    Begun(JournalHeader),
    /// It may have been begun, but what it was begun with is lost, as after a crash of a file system that lies about what it has
    /// stored. It counts as new.
    Lost,
}

/// A journal that lasts as long as the process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    header: Option<JournalHeader>,
    rows: HashMap<u64, RowRecord>,
}

impl MemoryJournal {
    /// Makes an empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Written) -> T) -> BoxFuture<'_, Result<T, Error>> {
        let done = work(&mut lock(&self.0));
        Box::pin(async { Ok(done) })
    }
}

impl Journal for MemoryJournal {
    fn start(&self) -> BoxFuture<'_, Result<JournalStart, Error>> {
        self.with(|written| written.header.clone().map_or(JournalStart::New, JournalStart::Begun))
    }

    fn begin(&self, header: JournalHeader) -> BoxFuture<'_, Result<(), Error>> {
        self.with(|written| *written = Written { header: Some(header), rows: HashMap::new() })
    }

    fn last(&self, row: u64) -> BoxFuture<'_, Result<Option<RowRecord>, Error>> {
        self.with(|written| written.rows.get(&row).cloned())
    }

    fn append(&self, record: RowRecord) -> BoxFuture<'_, Result<(), Error>> {
        self.with(|written| {
            written.rows.insert(record.row, RowRecord { error: None, ..record });
        })
    }
}

/// The journal, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Ledger(pub(super) Option<Arc<dyn Journal>>);

impl Ledger {
    /// Whether an earlier run has begun it, held against what this one would begin with.
    pub(super) async fn start(&self, own: &JournalHeader) -> Result<JournalStart, Error> {
        let Some(journal) = &self.0 else { return Ok(JournalStart::New) };
        let start = journal.start().await?;
        if let JournalStart::Begun(earlier) = &start {
            earlier.check(own)?;
        }
        Ok(start)
    }

    pub(super) async fn begin(&self, own: JournalHeader) -> Result<(), Error> {
        match &self.0 {
            Some(journal) => journal.begin(own).await,
            None => Ok(()),
        }
    }

    /// What an earlier run has written of a row, held against what the row is now.
    pub(super) async fn last(&self, row: u64, key: &RowKey) -> Result<Option<RowRecord>, Error> {
        let Some(journal) = &self.0 else { return Ok(None) };
        let last = journal.last(row).await?;
        last.map(|last| key.check(&last).map(|()| last)).transpose()
    }

    pub(super) async fn record(&self, record: RowRecord) -> Result<RowRecord, Error> {
        if let Some(journal) = &self.0 {
            journal.append(record.clone()).await?;
        }
        Ok(record)
    }
}
