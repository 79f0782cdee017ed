//! What a place must be able to do in which a context is kept.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::secret::Secret;

/// A place where a [`Client`](crate::Client) keeps its keys and its session between runs.
///
/// [`FileStore`](crate::FileStore) is the usual choice. Write one of your own for a vault or a database: it keeps one
/// text, which is opaque to it and secret, and lends it to one client at a time.
///
/// The methods are called on threads that may block. All of them end within a bounded time, and fail with
/// [`Error::context`]. `Debug` names the place in errors, as in `FileStore("/var/lib/acme/bunq.json")`; it shows
/// nothing secret.
///
/// ```
/// use std::time::Duration;
///
/// use bunq_partner::{ContextLease, ContextStore, Error, Secret};
///
/// /// A store that was filled beforehand and takes nothing new.
/// #[derive(Debug, Clone)]
/// struct ReadOnly(Option<Secret>);
///
/// impl ContextStore for ReadOnly {
///     fn load(&self) -> Result<Option<Secret>, Error> {
///         Ok(self.0.clone())
///     }
///
///     fn lock(&self, _timeout: Duration) -> Result<Box<dyn ContextLease>, Error> {
///         Err(Error::context("the read-only store: what it keeps has run out, fill it anew"))
///     }
/// }
/// # impl ContextLease for ReadOnly {
/// #     fn load(&self) -> Result<Option<Secret>, Error> { Ok(None) }
/// #     fn save(&self, _text: &Secret) -> Result<(), Error> { Ok(()) }
/// # }
/// ```
pub trait ContextStore: fmt::Debug + Send + Sync + 'static {
    /// The text that was saved last, whole; `None` if none ever was. Takes no lock, and waits for none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if there is one that cannot be read or must not be trusted.
    fn load(&self) -> Result<Option<Secret>, Error>;

    /// Waits until nobody else holds the lock, in this process or another, and takes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if there is no lock to be had within `timeout`. Zero means
    /// one try.
    fn lock(&self, timeout: Duration) -> Result<Box<dyn ContextLease>, Error>;
}

/// The lock of a [`ContextStore`], held until it is dropped or its process ends, however it ends.
///
/// Its methods are called on threads that may block. It may be dropped on one that may not.
pub trait ContextLease: fmt::Debug + Send + Sync + 'static {
    /// As [`ContextStore::load`], but nobody else saves meanwhile.
    ///
    /// # Errors
    ///
    /// As [`ContextStore::load`].
    fn load(&self) -> Result<Option<Secret>, Error>;

    /// Puts `text` in the place of what is kept, so that it is still there after a crash. Who loads meanwhile gets
    /// the old text or the new one, never a part.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if it cannot be written. Either text may be kept then.
    fn save(&self, text: &Secret) -> Result<(), Error>;
}
