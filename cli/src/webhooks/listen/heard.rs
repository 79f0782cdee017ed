//! A journal that tells of each call that it has kept.

use std::pin::Pin;
use std::sync::Arc;

use bunq_partner::Error;
use bunq_partner::webhook::{Appended, EntryId, Hint, HintJournal, Mark, MarkedObject};
use tokio::sync::mpsc;

type Kept<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Another journal, whose calls are shown too.
#[derive(Debug)]
pub(super) struct Heard {
    journal: Arc<dyn HintJournal>,
    calls: mpsc::Sender<Hint>,
}

impl Heard {
    pub(super) fn new(journal: Arc<dyn HintJournal>, calls: mpsc::Sender<Hint>) -> Self {
        Self { journal, calls }
    }
}

impl HintJournal for Heard {
    fn name(&self) -> String {
        self.journal.name()
    }

    fn append(&self, hint: Hint) -> Kept<'_, Appended> {
        Box::pin(async move {
            let appended = self.journal.append(hint.clone()).await?;
            if let Appended::Kept(_) = appended {
                // At the end nobody is told any more.
                let _ = self.calls.send(hint).await;
            }
            Ok(appended)
        })
    }

    fn done(&self, id: EntryId) -> Kept<'_, ()> {
        self.journal.done(id)
    }

    fn pending(&self, after: Option<EntryId>) -> Kept<'_, Vec<(EntryId, Hint)>> {
        self.journal.pending(after)
    }

    fn mark(&self, mark: Mark) -> Kept<'_, ()> {
        self.journal.mark(mark)
    }

    fn mark_of<'a>(&'a self, object: &'a MarkedObject) -> Kept<'a, Option<Mark>> {
        self.journal.mark_of(object)
    }

    fn marks<'a>(&'a self, after: Option<&'a MarkedObject>) -> Kept<'a, Vec<Mark>> {
        self.journal.marks(after)
    }
}
