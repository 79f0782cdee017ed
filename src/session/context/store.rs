//! The interface of a store for the context.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::transport::credentials::BoxFuture;
use crate::types::Secret;

/// The lock of a [`ContextStore`], or of a user in a [`Custody`](crate::Custody). It is held until this and all clones are dropped.
#[derive(Clone)]
pub struct ContextLock(Arc<dyn Any + Send + Sync>);

impl ContextLock {
    /// Makes a lock from a guard that releases it when it is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(guard))
    }

    /// Returns the guard that the lock was made from; `None` if that has another type. A store saves with the guard that it has made.
    pub fn guard<G: 'static>(&self) -> Option<&G> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for ContextLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContextLock(..)")
    }
}

/// Stores the keys and the session of a [`Client`](crate::Client) between runs.
///
/// [`FileStore`](crate::FileStore) is the usual choice. Write one of your own for a vault or a database: it stores one
/// secret, opaque text, which is [sealed](crate::KeySealer), and has one lock. The client holds the lock while it opens a session, so that
/// processes that share a store share a session too.
///
/// The lock and the save are one: `save` gets the lock that its caller holds, and finds its own guard in it with [`ContextLock::guard`].
/// A store whose lock can be lost, such as one with a lease in a database, saves only while nobody else has taken the lock since.
///
/// Make errors with [`Error::context`], with [`Error::unavailable`] if the store cannot be reached now, and with [`Error::busy`] if
/// somebody else holds the lock for too long. No method may block its thread. The client waits for each up to its
/// [operation timeout](crate::ClientBuilder::operation_timeout); after that it drops `load` and `lock`, while `save` continues in its own
/// task, which keeps the lock.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use bunq_partner::{BoxFuture, ContextLock, ContextStore, Error, Secret};
///
/// /// Shares a context among the clients of one process.
/// #[derive(Clone, Default)]
/// struct SharedMemory {
///     stored: Arc<Mutex<Option<Secret>>>,
///     lock: Arc<tokio::sync::Mutex<()>>,
/// }
///
/// impl std::fmt::Debug for SharedMemory {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         f.write_str("SharedMemory")
///     }
/// }
///
/// impl ContextStore for SharedMemory {
///     fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
///         Box::pin(async { Ok(self.stored.lock().unwrap().clone()) })
///     }
///
///     fn save<'a>(&'a self, _lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
///         Box::pin(async {
///             *self.stored.lock().unwrap() = Some(context);
///             Ok(())
///         })
///     }
///
///     fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
///         Box::pin(async { Ok(ContextLock::new(Arc::clone(&self.lock).lock_owned().await)) })
///     }
/// }
/// ```
pub trait ContextStore: fmt::Debug + Send + Sync + 'static {
    /// Names the store in errors, without a secret: `the context file /var/lib/acme/bunq.json`. The default is what
    /// `Debug` writes.
    fn name(&self) -> String {
        format!("{self:?}")
    }

    /// Loads the complete text that was saved last; `None` if none was saved. It must not wait for the lock. The client calls
    /// it when it opens a session, and before it fails a call that another installation may let succeed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if there is a text that cannot be read or must not be trusted.
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>>;

    /// Replaces the stored text, so that it survives a crash. A concurrent `load` returns the old text or the new one,
    /// never a part. `lock` is the lock of this store, which the caller holds. What goes on after this was dropped keeps a clone of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if it cannot be written, or if the lock was lost. The stored text is then the
    /// old one or the new one.
    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>>;

    /// Waits until the lock is free, in this process and in others, and takes it. Dropping the [`ContextLock`] releases
    /// it, and so does the end of the process, however it ends.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if it cannot be taken, and [`ErrorKind::Busy`](crate::ErrorKind::Busy) if this
    /// gives up because somebody else holds it.
    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>>;

    /// Whether there may be texts that a version before has kept, which are readable. A store that is newer than that returns `false`:
    /// a text that is not sealed is refused then, as one that somebody else has put there.
    fn may_have_readable_texts(&self) -> bool {
        true
    }
}

impl<T: ContextStore + ?Sized> ContextStore for Arc<T> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        (**self).load()
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        (**self).save(lock, context)
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        (**self).lock()
    }

    fn may_have_readable_texts(&self) -> bool {
        (**self).may_have_readable_texts()
    }
}
