//! The lock of a file. The kernel gives it back when its holder ends, however that ends.

use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::not_locked;

/// How long to wait until another process closes a file, and the pause between two attempts.
const TIMEOUT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Locks a file for this process alone. An operation that was dropped may still be using it, so this waits a moment.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) if another process uses it.
pub(crate) async fn lock_alone(file: &File) -> io::Result<()> {
    let patience = Instant::now() + TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < patience => sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => {
                let problem = "another process uses it: wait for its end, or stop it";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, problem));
            }
            Err(TryLockError::Error(error)) => return Err(not_locked(error)),
        }
    }
}

/// A locked file, which is unlocked when this is dropped.
#[derive(Debug)]
pub(crate) struct Locked(pub(crate) File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing the file is not enough while another thread is starting a process: until the new process runs its
        // program, it has the file open too. If unlocking fails, closing still releases the lock.
        let _ = self.0.unlock();
    }
}
