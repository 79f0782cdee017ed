//! A journal of hints in a file, synced before an entry counts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::bounds::HintJournalBounds;
use super::entries::{Entries, MAGIC, MAX_LINE};
use super::interface::{Appended, EntryId, HintJournal};
use crate::error::Error;
use crate::files::lines::{Format, LineFile};
use crate::files::lock::{Locked, lock_alone};
use crate::files::{beside, for_owner_alone, open_kept_with, replace_kept};
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;
use crate::transport::runtime;
use crate::webhook::Hint;
use crate::webhook::mark::{Mark, MarkedObject};

const FORMAT: Format = Format {
    magic: MAGIC,
    max_line: MAX_LINE as u64,
    max_torn: 64_000,
    damaged: "move it away, and read anew at bunq what may have changed meanwhile",
    foreign: "it does not hold hints: give the path of a file that does, or of one to be made",
};

/// After a file could not be written anew, how long the next attempt is away at least.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps hints in a file, for one process at a time. Clones share it.
///
/// ```no_run
/// use bunq_partner::webhook::{FileHintJournal, HintJournalBounds};
///
/// # async fn example() -> Result<(), bunq_partner::Error> {
/// let journal = FileHintJournal::open("/var/lib/acme/hints", HintJournalBounds::default()).await?;
/// # Ok(())
/// # }
/// ```
///
/// The file has a line of JSON, of at most 200 bytes, for each entry, for each that is done, and for each mark. Entries that come together are synced
/// together. When most of the file says nothing any more, it is replaced by one with the entries that are not done: whatever
/// happens, the old or the new one is there, complete. A crash meanwhile leaves a file with `.bunq-partner-tmp` after its name, which
/// the next replacement removes.
///
/// The file follows the rule of [`files`](crate::files) for kept files: only its owner can read and write it (mode 0600). Beside it is
/// an empty file with `.lock` after its name, which is locked until the last clone is dropped; leave it there. An end of the file that
/// was written in part, as in a crash, is cut off when it is opened, up to 64,000 bytes of it.
///
/// If a write fails, as on a full disk, its entries are not kept, and the entries before them are. The next call tries to write the
/// file anew, at most once a second, so that the journal works again when there is space.
///
/// An entry that is older than [`HintJournalBounds::max_age`] is dropped, [counted](HintJournal::expired), and told in a warning; so is a
/// mark, without either. After a restart an entry that the process before has dropped may be counted again.
///
/// In memory it holds about 300 bytes for each entry that is not done and for each mark.
#[derive(Clone)]
pub struct FileHintJournal(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// Held to write while the file is replaced.
    file: Arc<RwLock<LineFile>>,
    state: Mutex<State>,
    /// The file itself is another one after it was replaced.
    _claim: Locked,
}

struct State {
    entries: Entries,
    /// Nothing more is written to the file: it has to be replaced.
    is_to_be_replaced: bool,
    /// When that failed last, and why.
    failed: Option<(Instant, String)>,
}

impl FileHintJournal {
    /// Opens the journal at `path`, or makes it, in a folder that must exist. The entries in it that are not done are
    /// [pending](HintJournal::pending).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the bounds cannot be.
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is not a journal of hints, if others may use it, if it is in use, by
    /// another process or this one, if it is damaged farther from its end than 64,000 bytes, or if it cannot be read or written.
    pub async fn open(path: impl Into<PathBuf>, bounds: HintJournalBounds) -> Result<Self, Error> {
        bounds.check()?;
        runtime::check()?;
        let path = path.into();
        let path = std::path::absolute(&path).unwrap_or(path);
        let claim = claim(&path).await.map_err(|problem| refused(&path, problem))?;
        let entries = Arc::new(Mutex::new(Entries::new(name(&path), bounds)));
        let taken = Arc::clone(&entries);
        let opened = LineFile::open(&path, FORMAT, move |number, _, line| lock(&taken).take(number, line)).await;
        let (file, _) = opened.map_err(|problem| refused(&path, problem))?;
        let entries = std::mem::replace(&mut *lock(&entries), Entries::new(String::new(), bounds));
        // So a new one gets its first line, and one from before loses what says nothing any more.
        let state = State { entries, is_to_be_replaced: true, failed: None };
        let (file, state) = (Arc::new(RwLock::new(file)), Mutex::new(state));
        let journal = Self(Arc::new(Inner { path, file, state, _claim: claim }));
        journal.replace().await?;
        Ok(journal)
    }

    fn refused(&self, problem: impl fmt::Display) -> Error {
        refused(&self.0.path, problem)
    }

    /// Returns the file to be written, which is replaced before if that is due. It is not replaced while it is held.
    async fn file(&self) -> Result<RwLockReadGuard<'_, LineFile>, Error> {
        runtime::check()?;
        loop {
            let file = self.0.file.read().await;
            if !lock(&self.0.state).is_to_be_replaced {
                return Ok(file);
            }
            drop(file);
            self.replace().await?;
        }
    }

    /// Replaces the file by one with the entries that are not done, unless another has done so meanwhile. A caller that gives up
    /// leaves it to the next.
    async fn replace(&self) -> Result<(), Error> {
        let file = Arc::clone(&self.0.file).write_owned().await;
        {
            let state = lock(&self.0.state);
            match &state.failed {
                _ if !state.is_to_be_replaced => return Ok(()),
                Some((at, problem)) if at.elapsed() < PAUSE => return Err(self.refused(problem)),
                _ => {}
            }
        }
        let inner = Arc::clone(&self.0);
        // It goes on if the caller gives up: until its end nobody else may write.
        let replaced = spawn_blocking(move || {
            let content = lock(&inner.state).entries.content()?;
            replace_kept(&inner.path, &content).map_err(|error| error.to_string())?;
            Ok::<_, String>(file)
        });
        let opened = async {
            let replaced = replaced.await.map_err(|error| format!("the task was aborted: {error}"))?;
            let mut file = replaced?;
            (*file, _) = LineFile::open(&self.0.path, FORMAT, |_, _, _| Ok(())).await?;
            Ok(file)
        };
        let opened: Result<_, String> = opened.await;
        let mut state = lock(&self.0.state);
        state.is_to_be_replaced = opened.is_err();
        state.failed = opened.as_ref().err().map(|problem| (Instant::now(), problem.clone()));
        opened.map(drop).map_err(|problem| self.refused(problem))
    }

    /// Writes a line, and returns when it is synced.
    async fn write(&self, file: &LineFile, line: &[u8]) -> Result<(), Error> {
        let written = async {
            let place = file.add(line)?;
            file.written(place).await
        };
        let written = written.await;
        let mut state = lock(&self.0.state);
        state.is_to_be_replaced |= written.is_err() || state.entries.is_worth_rewriting();
        written.map_err(|problem| self.refused(problem))
    }
}

impl HintJournal for FileHintJournal {
    fn name(&self) -> String {
        name(&self.0.path)
    }

    fn append(&self, hint: Hint) -> BoxFuture<'_, Result<Appended, Error>> {
        Box::pin(async move {
            let file = self.file().await?;
            let appended = lock(&self.0.state).entries.append(&hint);
            let Some((number, line)) = appended.map_err(|problem| self.refused(problem))? else {
                return Ok(Appended::Full);
            };
            let mut place = Place { journal: self, number, is_kept: false };
            self.write(&file, &line).await?;
            place.is_kept = true;
            Ok(Appended::Kept(EntryId::new(number)))
        })
    }

    fn done(&self, id: EntryId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let file = self.file().await?;
            let line = lock(&self.0.state).entries.done_line(id.get());
            let Some(line) = line.map_err(|problem| self.refused(problem))? else { return Ok(()) };
            self.write(&file, &line).await?;
            // Until then it stays: another call for it writes the line.
            lock(&self.0.state).entries.remove(id.get());
            Ok(())
        })
    }

    fn pending(&self, after: Option<EntryId>) -> BoxFuture<'_, Result<Vec<(EntryId, Hint)>, Error>> {
        let page = lock(&self.0.state).entries.page(after);
        Box::pin(async move { page.map_err(|problem| self.refused(problem)) })
    }

    fn mark(&self, mark: Mark) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let file = self.file().await?;
            let line = lock(&self.0.state).entries.mark_line(&mark);
            let (line, made) = line.map_err(|problem| self.refused(problem))?;
            self.write(&file, &line).await?;
            lock(&self.0.state).entries.marked(mark, made, line.len());
            Ok(())
        })
    }

    fn mark_of<'a>(&'a self, object: &'a MarkedObject) -> BoxFuture<'a, Result<Option<Mark>, Error>> {
        let mark = lock(&self.0.state).entries.mark_of(object);
        Box::pin(async move { Ok(mark) })
    }

    fn marks<'a>(&'a self, after: Option<&'a MarkedObject>) -> BoxFuture<'a, Result<Vec<Mark>, Error>> {
        let page = lock(&self.0.state).entries.marks(after);
        Box::pin(async move { Ok(page) })
    }

    fn expired(&self) -> u64 {
        lock(&self.0.state).entries.expired()
    }
}

/// The place of an entry that is being written. It is free again if that fails, or if the caller gives up.
struct Place<'a> {
    journal: &'a FileHintJournal,
    number: u64,
    is_kept: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            lock(&self.journal.0.state).entries.remove(self.number);
        }
    }
}

/// Locks the journal for this process.
async fn claim(path: &Path) -> Result<Locked, String> {
    let lock_path = beside(path, ".lock");
    let to_open = lock_path.clone();
    let opened = spawn_blocking(move || open_kept_with(&to_open, for_owner_alone().create(true).truncate(false)));
    let file = opened.await.map_err(|error| format!("the task was aborted: {error}"))?;
    let refused = |error| format!("its lock `{}`: {error}", lock_path.display());
    let file = file.map_err(refused)?;
    lock_alone(&file).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            "another process uses it, or this one twice: wait for its end, stop it, or use clones of one journal".into()
        }
        _ => refused(error),
    })?;
    Ok(Locked(file))
}

fn name(path: &Path) -> String {
    format!("the journal of hints {}", path.display())
}

fn refused(path: &Path, problem: impl fmt::Display) -> Error {
    Error::storage(format_args!("{}: {problem}", name(path)))
}

impl fmt::Debug for FileHintJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileHintJournal").field("path", &self.0.path).finish_non_exhaustive()
    }
}
