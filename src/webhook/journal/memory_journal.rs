//! A journal of hints in memory.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::bounds::HintJournalBounds;
use super::entries::Entries;
use super::interface::{Appended, EntryId, HintJournal};
use crate::error::Error;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;
use crate::webhook::Hint;
use crate::webhook::mark::{Mark, MarkedObject};

const NAME: &str = "the journal of hints in memory";

/// Keeps hints in memory, where no disk is. Clones share it.
///
/// It loses all its entries when the process ends, although bunq was told that their calls have arrived: bunq does not repeat them, and
/// does not list them as failed deliveries. What they were about is found only by a look at all that is under way. A
/// [`FileHintJournal`](crate::webhook::FileHintJournal) keeps them.
///
/// ```
/// use bunq_partner::webhook::{HintJournalBounds, MemoryHintJournal};
///
/// let journal = MemoryHintJournal::new(HintJournalBounds::default().max_entries(10_000))?;
/// # Ok::<(), bunq_partner::Error>(())
/// ```
///
/// It holds about 300 bytes for each entry that is not done, and for each mark. An entry that is older than [`HintJournalBounds::max_age`] is dropped, and
/// [counted](HintJournal::expired).
#[derive(Clone)]
pub struct MemoryHintJournal(Arc<Mutex<Entries>>);

impl MemoryHintJournal {
    /// Makes an empty journal.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the bounds cannot be.
    pub fn new(bounds: HintJournalBounds) -> Result<Self, Error> {
        bounds.check()?;
        Ok(Self(Arc::new(Mutex::new(Entries::new(NAME.to_owned(), bounds)))))
    }
}

impl fmt::Debug for MemoryHintJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryHintJournal")
    }
}

impl HintJournal for MemoryHintJournal {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn append(&self, hint: Hint) -> BoxFuture<'_, Result<Appended, Error>> {
        Box::pin(async move {
            let appended = lock(&self.0).append(&hint).map_err(refused)?;
            Ok(appended.map_or(Appended::Full, |(number, _)| Appended::Kept(EntryId::new(number))))
        })
    }

    fn done(&self, id: EntryId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            lock(&self.0).remove(id.get());
            Ok(())
        })
    }

    fn pending(&self, after: Option<EntryId>) -> BoxFuture<'_, Result<Vec<(EntryId, Hint)>, Error>> {
        Box::pin(async move { lock(&self.0).page(after).map_err(refused) })
    }

    fn mark(&self, mark: Mark) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut entries = lock(&self.0);
            let (line, made) = entries.mark_line(&mark).map_err(refused)?;
            entries.marked(mark, made, line.len());
            Ok(())
        })
    }

    fn mark_of<'a>(&'a self, object: &'a MarkedObject) -> BoxFuture<'a, Result<Option<Mark>, Error>> {
        Box::pin(async move { Ok(lock(&self.0).mark_of(object)) })
    }

    fn marks<'a>(&'a self, after: Option<&'a MarkedObject>) -> BoxFuture<'a, Result<Vec<Mark>, Error>> {
        Box::pin(async move { Ok(lock(&self.0).marks(after)) })
    }

    fn expired(&self) -> u64 {
        lock(&self.0).expired()
    }
}

fn refused(problem: String) -> Error {
    Error::storage(format_args!("{NAME}: {problem}"))
}
