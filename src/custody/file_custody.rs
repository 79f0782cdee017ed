//! A custody in a folder, with a file for each user that only its owner can read and write.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OnceCell, watch};
use tokio::task::spawn_blocking;
use tracing::Span;

use super::interface::{Custody, CustodyEntry, CustodyFilter};
use super::turns::{Turn, Turns};
use super::user_folder::UserFolder;
use crate::error::Error;
use crate::files::lock::{Locked, lock_alone};
use crate::session::context::ContextLock;
use crate::transport::credentials::BoxFuture;
use crate::transport::runtime;
use crate::types::{ProvisionId, Secret};

/// Keeps users in a folder, for one process at a time. Clones share it.
///
/// ```no_run
/// use bunq_partner::FileCustody;
///
/// let custody = FileCustody::new("/var/lib/acme/users");
/// ```
///
/// The folder must exist, and only its owner may use it (`mkdir -m 700`). Each user has a file, `ID.json`, with the id of its
/// provision, sealed (see [`KeySealer`](crate::KeySealer)), which only the owner may use (mode 0600). A save replaces the whole file and
/// syncs it, so that neither a reader nor a crash leaves half of it. Beside them are `custody.lock`, which is locked while the folder is
/// used, the folder `unactivated` with an empty file for each user that is not activated, and, after a crash during a save,
/// `custody.bunq-partner-tmp`, which the next process removes. In a repository, the folder belongs into `.gitignore`. Back it up whole and
/// as a secret, and do not put an old copy back over newer files: what has happened since would be forgotten.
///
/// Files follow the rule of [`files`](crate::files) for kept files, and the folder that for own folders. What others may use, what
/// is a link, is damaged, or is of another user is refused with an error that names the file, and is left as it is.
///
/// The first use that may change something locks the folder until the last clone is dropped. A second process, or a second
/// `FileCustody` of this one, gets an error then, except from [`list`](Custody::list) and [`entry`](Custody::entry). The end of a
/// process, however it ends, releases the lock. On file systems without locks nothing is kept.
///
/// What nobody uses takes no memory: nothing is read before it is needed, one user is one file, and only a listing reads the names of
/// the others. While the pages of a listing of all are read, it holds 8 bytes for each user.
#[derive(Debug, Clone)]
pub struct FileCustody(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Arc<UserFolder>,
    /// The lock of the folder, once something was used.
    claim: OnceCell<Locked>,
    turns: Turns,
    /// Whether something is written: one thing at a time.
    is_writing: watch::Sender<bool>,
}

/// The lock of a user. The claim lasts as long.
type UsersLock = (Turn, FileCustody);

/// Exists while something is written. The claim lasts as long.
struct Write(FileCustody);

impl Drop for Write {
    fn drop(&mut self) {
        self.0.0.is_writing.send_replace(false);
    }
}

impl FileCustody {
    /// Keeps users in `folder`. Nothing is read or written yet.
    ///
    /// A relative path is relative to the current folder of the process.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = Arc::new(UserFolder::new(folder.into()));
        let (claim, turns, is_writing) = (OnceCell::new(), Turns::default(), watch::Sender::default());
        Self(Arc::new(Inner { folder, claim, turns, is_writing }))
    }

    /// Locks the folder for this process, unless it is locked already.
    async fn claim(&self) -> Result<(), Error> {
        if self.0.claim.initialized() {
            return Ok(());
        }
        runtime::check()?;
        // In a task: all others wait for the one that claims it, which must not be a future that is not polled.
        let custody = self.clone();
        let claiming = runtime::spawn(Span::current(), Box::pin(async move { custody.lock_folder().await }));
        claiming.await.map_err(|error| self.0.folder.refused("the task was aborted").with_source(error))?
    }

    async fn lock_folder(&self) -> Result<(), Error> {
        let claim = || async {
            let file = self.blocking(UserFolder::open_lock).await?;
            lock_alone(&file).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => {
                    let problem = "another process uses it, or this one twice: wait for its end, stop it, or use clones of one custody";
                    self.0.folder.refused(problem).with_source(error)
                }
                _ => self.0.folder.refused(error),
            })?;
            self.blocking(UserFolder::prepare).await?;
            Ok(Locked(file))
        };
        self.0.claim.get_or_try_init(claim).await.map(drop)
    }

    /// Makes a change of a user, which goes on and keeps the lock if the caller gives up.
    async fn change(
        &self,
        lock: &ContextLock,
        id: ProvisionId,
        change: impl FnOnce(&UserFolder) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.claim().await?;
        let turn = lock.guard::<UsersLock>().map(|(turn, _)| turn);
        Turn::check(turn, &self.0.turns, id, || self.name_of(id))?;
        let lock = lock.clone();
        self.write(move |folder| {
            let _lock = lock;
            change(folder)
        })
        .await
    }

    /// Writes to the folder, which is claimed. That goes on if the caller gives up.
    async fn write(&self, write: impl FnOnce(&UserFolder) -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
        let writing = self.begin_write().await;
        self.blocking(move |folder| {
            let written = write(folder);
            drop(writing);
            written
        })
        .await
    }

    /// Waits until nothing is written. Whoever waits is told of that, and is not handed the turn: a future that is not polled would keep it.
    async fn begin_write(&self) -> Write {
        let mut is_writing = self.0.is_writing.subscribe();
        while !self.0.is_writing.send_if_modified(|is_writing| !std::mem::replace(is_writing, true)) {
            // The sender is there as long as this.
            let _ = is_writing.wait_for(|is_writing| !is_writing).await;
        }
        Write(self.clone())
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&UserFolder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        runtime::check()?;
        let folder = Arc::clone(&self.0.folder);
        let done = spawn_blocking(move || work(&folder)).await;
        done.map_err(|error| self.0.folder.refused("the task was aborted").with_source(error))?
    }
}

impl Custody for FileCustody {
    fn name(&self) -> String {
        self.0.folder.name()
    }

    fn name_of(&self, id: ProvisionId) -> String {
        self.0.folder.name_of(id)
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async move {
            self.claim().await?;
            self.blocking(move |folder| folder.read(id)).await
        })
    }

    fn save<'a>(
        &'a self,
        lock: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.change(lock, entry.provision_id, move |folder| folder.write(&entry, &text)))
    }

    fn remove<'a>(&'a self, lock: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.change(lock, id, move |folder| folder.remove(id)))
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async move {
            self.claim().await?;
            let lock: UsersLock = (self.0.turns.take(id).await, self.clone());
            Ok(ContextLock::new(lock))
        })
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        Box::pin(async move {
            let page = self.blocking(move |folder| folder.list(filter, after)).await?;
            if self.0.claim.initialized() && !page.not_unactivated.is_empty() {
                let marks = page.not_unactivated;
                // If this fails, the next listing tries it again.
                let _ = self.write(move |folder| marks.into_iter().try_for_each(|id| folder.correct_mark(id))).await;
            }
            Ok(page.entries)
        })
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        Box::pin(self.blocking(move |folder| folder.entry(id)))
    }
}

#[cfg(test)]
mod tests;
