//! A store in a file that only its owner can read and write.

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use super::store::{ContextLock, ContextStore};
use crate::error::Error;
use crate::files::lock::Locked;
use crate::files::{beside, for_owner_alone, not_locked, open_kept, open_kept_with, read_text, replace_kept};
use crate::transport::credentials::BoxFuture;
use crate::types::Secret;

/// The largest context, in bytes.
const MAX_LEN: usize = 64 * 1024;

/// The pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Stores keys and session in a file, which the processes of one machine can share.
///
/// What it says is sealed: see [`KeySealer`](crate::KeySealer). Only its owner can read and write the file (mode 0600). Its folder must
/// exist. A save replaces the whole file, so that neither a reader nor a crash leaves half of it. Beside it is an empty file with `.lock`
/// after its name, which is locked while a session is opened; leave it there. A crash during a save leaves a file with `.bunq-partner-tmp`
/// after its name; the next save removes it. In a repository, all three belong into `.gitignore`: `/bunq.json*`.
///
/// The file and its lock follow the rule of [`files`](crate::files) for kept files. A file that others may use, that
/// belongs to another user, or that is a hard link or a symbolic link is refused before anything is sent, and so is one
/// on a file system without locks. (Replacing a file through a symbolic link would replace the link, and each of the two
/// paths would have its own lock.) Folders may be links. If everybody may read the file, its keys may be known: remove
/// it, and the client makes new keys. A file larger than 64 KiB is refused.
///
/// ```
/// use bunq_partner::FileStore;
///
/// let store = FileStore::new("/var/lib/acme/bunq.json");
/// ```
#[derive(Debug, Clone)]
pub struct FileStore(PathBuf);

/// The lock of the store at a path.
struct FileLock {
    path: PathBuf,
    _file: Locked,
}

impl FileStore {
    /// Stores the context in the file at `path`. Nothing is read or written yet.
    ///
    /// A relative path is relative to the current folder of the process.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    fn refused(&self, problem: impl std::fmt::Display) -> Error {
        Error::context(format_args!("{}: {problem}", self.name()))
    }

    /// Refuses a path that has no existing folder.
    fn folder(&self) -> Result<(), Error> {
        let folder = self.0.parent().ok_or_else(|| self.refused("it is not the path of a file"))?;
        if !folder.exists() {
            return Err(self.refused(format_args!("the folder `{}` does not exist: make it first", folder.display())));
        }
        if !folder.is_dir() {
            return Err(self.refused(format_args!("`{}` is not a folder: give a path in one", folder.display())));
        }
        Ok(())
    }

    fn lock_path(&self) -> PathBuf {
        beside(&self.0, ".lock")
    }

    fn write(&self, text: &Secret) -> Result<(), Error> {
        if text.expose().len() > MAX_LEN {
            return Err(self.refused("the context is larger than 64 KiB"));
        }
        // A file that must not be read must not be replaced either.
        self.read_stored()?;
        replace_kept(&self.0, text.expose().as_bytes()).map_err(|error| self.refused(error))
    }

    fn read_stored(&self) -> Result<Option<Secret>, Error> {
        self.folder()?;
        // Find a lock that cannot be taken now, and not in the middle of an opening.
        match open_kept(self.lock_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.unlockable(&error)),
            _ => {}
        }
        let file = match open_kept(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.refused(error))?,
        };
        read_text(file, MAX_LEN).map(Some).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => {
                self.refused(format_args!("{error}, so it is not a context: give another path"))
            }
            _ => self.refused(error),
        })
    }

    fn open_lock(&self) -> Result<File, Error> {
        self.folder()?;
        let opened = open_kept_with(&self.lock_path(), for_owner_alone().create(true).truncate(false));
        opened.map_err(|error| self.unlockable(&error))
    }

    fn unlockable(&self, error: &io::Error) -> Error {
        self.refused(format_args!("its lock `{}`: {error}", self.lock_path().display()))
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|error| self.refused("the task was aborted").with_source(error))?
    }
}

impl ContextStore for FileStore {
    fn name(&self) -> String {
        format!("the context file {}", self.0.display())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(self.blocking(Self::read_stored))
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        let lock = lock.clone();
        // It goes on if the caller gives up, and keeps the lock.
        Box::pin(self.blocking(move |store| match lock.guard::<FileLock>() {
            Some(FileLock { path, .. }) if *path == store.0 => store.write(&context),
            _ => Err(store.refused("it is saved with its own lock alone: take that before")),
        }))
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async {
            let file = self.blocking(Self::open_lock).await?;
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(ContextLock::new(FileLock { path: self.0.clone(), _file: Locked(file) })),
                    Err(TryLockError::Error(error)) => return Err(self.unlockable(&not_locked(error))),
                    Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE).await,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
