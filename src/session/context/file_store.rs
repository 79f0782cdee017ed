//! A store in a file that is its owner's alone.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;
use zeroize::Zeroizing;

use super::store::{ContextLock, ContextStore};
use crate::error::Error;
use crate::files::{at_once, check_owner, for_owner_alone, sync_folder};
use crate::transport::credentials::BoxFuture;
use crate::types::Secret;

/// No context is larger.
const MAX_LEN: usize = 64 * 1024;

/// The pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Stores keys and session in a file, to be shared by the processes of one machine.
///
/// The file is its owner's alone (mode 0600), in a folder that must exist. It is replaced as a whole, so that neither a
/// reader nor a crash finds half of it. Beside it is an empty file with `.lock` after its name, which is locked while a
/// session is opened; leave it there. A file with `.tmp` after its name is left over from a crash during a save; the next
/// save removes it.
///
/// A file that group or others may use is refused, because the keys in it may be known. So is one that belongs to
/// another user, even for root, one that is larger than 64 KiB, and anything but a regular file. That includes a symbolic link: to replace the file would replace the
/// link, and each of the two paths would have a lock of its own. Folders may be links.
///
/// On systems without Unix permissions, the folder's permissions must keep others out.
///
/// ```
/// use bunq_partner::FileStore;
///
/// let store = FileStore::new("/var/lib/acme/bunq.json");
/// ```
#[derive(Debug, Clone)]
pub struct FileStore(PathBuf);

impl FileStore {
    /// Stores the context in the file at `path`. Nothing is read or written yet.
    ///
    /// A relative path starts at the current folder of the process.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self(std::path::absolute(&path).unwrap_or(path))
    }

    fn refused(&self, problem: impl std::fmt::Display) -> Error {
        Error::context(format_args!("{self:?}: {problem}"))
    }

    fn failed(&self, what: &str) -> impl Fn(io::Error) -> Error {
        move |error| self.refused(format_args!("it cannot be {what}: {error}"))
    }

    fn folder(&self) -> Result<&Path, Error> {
        let folder = self.0.parent().ok_or_else(|| self.refused("it is not the path of a file"))?;
        if !folder.is_dir() {
            return Err(self.refused(format_args!("the folder `{}` does not exist: make it first", folder.display())));
        }
        Ok(folder)
    }

    /// The path of the file that has `extension` after the whole of this one's name.
    fn beside(&self, extension: &str) -> PathBuf {
        let mut path = self.0.clone().into_os_string();
        path.push(extension);
        path.into()
    }

    fn check_kind(&self, found: &Metadata) -> Result<(), Error> {
        if found.is_symlink() {
            return Err(self.refused("it is a symbolic link: give the path that it leads to"));
        }
        if !found.is_file() {
            return Err(self.refused("it is not a regular file: give the path of one, or of one to be made"));
        }
        Ok(())
    }

    fn check_owner(&self, found: &Metadata) -> Result<(), Error> {
        check_owner(found).map_err(|problem| self.refused(problem))
    }

    #[cfg(unix)]
    fn check_permissions(&self, found: &Metadata) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt as _;

        self.check_owner(found)?;
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(self.refused(format_args!(
                "its mode is {mode:04o}, so other users may have read the keys in it: remove it, and the client \
                 makes a new one; or set its mode to 0600 if nobody has read it"
            )));
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_permissions(&self, found: &Metadata) -> Result<(), Error> {
        self.check_owner(found)
    }

    fn read(&self, file: File) -> Result<Secret, Error> {
        // Capacity for all of it: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN + 1024));
        file.take(MAX_LEN as u64 + 1).read_to_end(&mut bytes).map_err(self.failed("read"))?;
        if bytes.len() > MAX_LEN {
            return Err(self.refused("it is larger than 64 KiB, so it is not a context: give another path"));
        }
        let text = std::str::from_utf8(&bytes);
        text.map(Secret::new).map_err(|_| self.refused("it is not text, so it is not a context: give another path"))
    }

    fn write(&self, text: &Secret) -> Result<(), Error> {
        if text.expose().len() > MAX_LEN {
            return Err(self.refused("the context is larger than 64 KiB"));
        }
        let folder = self.folder()?;
        // A file that must not be read must not be replaced either.
        self.read_stored()?;
        let unfinished = self.beside(".tmp");
        let written = write_new(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &self.0))
            .and_then(|()| sync_folder(folder));
        if written.is_err() {
            // As on a full disk. If it cannot be removed, the next save removes it.
            let _ = fs::remove_file(&unfinished);
        }
        written.map_err(self.failed("written"))
    }

    fn read_stored(&self) -> Result<Option<Secret>, Error> {
        self.folder()?;
        let found = match fs::symlink_metadata(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(self.failed("read"))?,
        };
        self.check_kind(&found)?;
        let file = at_once(OpenOptions::new().read(true)).open(&self.0).map_err(self.failed("read"))?;
        // It may be another one by now.
        let found = file.metadata().map_err(self.failed("read"))?;
        self.check_kind(&found)?;
        self.check_permissions(&found)?;
        self.read(file).map(Some)
    }

    fn open_lock(&self) -> Result<File, Error> {
        self.folder()?;
        let path = self.beside(".lock");
        let check = |found: &Metadata| match found.is_file() {
            true => Ok(()),
            false => Err(self.refused(format_args!("`{}` is not a regular file: remove it", path.display()))),
        };
        if let Ok(found) = fs::symlink_metadata(&path) {
            check(&found)?;
        }
        let file =
            at_once(for_owner_alone().create(true).truncate(false)).open(&path).map_err(self.failed("locked"))?;
        let found = file.metadata().map_err(self.failed("locked"))?;
        check(&found)?;
        self.check_owner(&found)?;
        Ok(file)
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
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(self.blocking(Self::read_stored))
    }

    fn save(&self, context: Secret) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.blocking(move |store| store.write(&context)))
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async {
            let file = self.blocking(Self::open_lock).await?;
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(ContextLock::new(FileLock(file))),
                    Err(TryLockError::Error(error)) => return Err(self.failed("locked")(error)),
                    Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE).await,
                }
            }
        })
    }
}

struct FileLock(File);

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file is not enough while another thread starts a process: until that runs its program, it has
        // the file open too. If unlocking fails, closing is what is left.
        let _ = self.0.unlock();
    }
}

fn write_new(path: &Path, text: &Secret) -> io::Result<()> {
    // The lock is held, so an existing one is left over from a crash.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = for_owner_alone().create_new(true).open(path)?;
    file.write_all(text.expose().as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
