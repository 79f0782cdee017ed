//! The journal of an operation, if it has one.

use std::sync::Arc;

use super::journal::{Journal, JournalStart};
use super::record::{JournalHeader, RowKey, RowRecord};
use crate::error::Error;

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
