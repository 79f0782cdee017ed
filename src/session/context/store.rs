//! What a store of the context must be able to do.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::transport::credentials::BoxFuture;
use crate::types::Secret;

/// The lock of a [`ContextStore`], held until this is dropped.
pub struct ContextLock(#[allow(dead_code, reason = "it is there to be dropped")] Box<dyn Any + Send>);

impl ContextLock {
    /// Makes a lock of a guard that releases it when it is dropped.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for ContextLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContextLock(..)")
    }
}

/// Where a [`Client`](crate::Client) stores its keys and its session between runs.
///
/// [`FileStore`](crate::FileStore) is the usual choice. Write one of your own for a vault or a database: it stores one
/// text, which is opaque to it and secret, and has one lock. The lock is held while a session is opened, so that
/// processes that share a store share a session too.
///
/// Errors are made with [`Error::context`]. `Debug` names the store in errors, as in
/// `FileStore("/var/lib/acme/bunq.json")`, and shows nothing secret. No method blocks its thread. The client waits for each
/// up to its [operation timeout](crate::ClientBuilder::operation_timeout); after that `load` and `lock` are dropped, and
/// `save` runs on in a task of its own.
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
///     fn save(&self, context: Secret) -> BoxFuture<'_, Result<(), Error>> {
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
    /// Loads the text that was saved last, complete; `None` if none was saved. It does not wait for the lock. It is called
    /// when a session is opened, and before a call fails that another installation may help.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if there is a text that cannot be read or must not be trusted.
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>>;

    /// Replaces the stored text, so that it is still there after a crash. A concurrent `load` returns the old text or
    /// the new one, never a part. The lock is held.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if it cannot be written. The stored text is then the old one or
    /// the new one.
    fn save(&self, context: Secret) -> BoxFuture<'_, Result<(), Error>>;

    /// Waits until the lock is free, in this process and in others, and takes it. It is released when the [`ContextLock`]
    /// is dropped, or when the process ends in whatever way.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if it cannot be taken.
    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>>;
}

impl<T: ContextStore + ?Sized> ContextStore for Arc<T> {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        (**self).load()
    }

    fn save(&self, context: Secret) -> BoxFuture<'_, Result<(), Error>> {
        (**self).save(context)
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        (**self).lock()
    }
}
