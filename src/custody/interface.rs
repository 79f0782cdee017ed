//! The interface of a custody.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::Error;
use crate::session::context::ContextLock;
use crate::transport::credentials::BoxFuture;
use crate::types::{ProvisionId, Secret, Timestamp, UserId};

/// The length of the longest text, in bytes. A record that is sealed is a third longer than it was.
pub(super) const MAX_TEXT_LEN: usize = 128 * 1024;

/// What a custody tells of a user. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CustodyEntry {
    /// The provision that has made the user.
    pub provision_id: ProvisionId,
    /// The key that the partner has given the user.
    pub external_uuid: Option<Uuid>,
    /// The user's id in bunq's paths, once a session was opened. bunq's calls name a user by this id or the next.
    pub user_id: Option<UserId>,
    /// The id of the person or company that the user is, once a session was opened.
    pub granted_by: Option<UserId>,
    /// When the credential expires, if it is not activated before; `None` if bunq has not said it.
    pub expiry: Option<Timestamp>,
    /// Whether a session was opened with the credential.
    pub is_activated: bool,
    /// Why the record of the user cannot be used, and what to do, if listing it has shown that. The other members are then not
    /// known.
    pub problem: Option<String>,
}

impl CustodyEntry {
    /// Makes the entry of a user that is not activated, and of which nothing else is known.
    pub fn new(provision_id: ProvisionId) -> Self {
        Self {
            provision_id,
            external_uuid: None,
            user_id: None,
            granted_by: None,
            expiry: None,
            is_activated: false,
            problem: None,
        }
    }
}

/// Which users a custody lists: see [`Custody::list`](crate::Custody::list).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CustodyFilter {
    /// All of them.
    All,
    /// Those whose credential is not activated, so that it expires.
    Unactivated,
}

/// Keeps what is needed to act for provisioned users: for each, the token of its credential and the keys of its session.
///
/// [`FileCustody`](crate::FileCustody) is the usual choice. Write one of your own for a database or a vault: it keeps an opaque,
/// secret text of at most 128 KiB for each user, and an entry without secrets beside it, by which users are listed. The client
/// makes and reads the texts, which are sealed: see [`KeySealer`](crate::KeySealer).
///
/// A lost token cannot be had again: bunq shows it once, and the user must be reset. So an implementation promises:
///
/// - **Durability.** When `save` or `remove` returns, its effect survives a crash of the process and of the machine. Whenever a
///   crash comes, `load` then returns the old text or the new one, never a part.
/// - **One at a time.** No two holders have the lock of one user, in this process and in others that may use the custody. The end
///   of a process, however it ends, releases its locks. `save` and `remove` get the lock that the caller holds: where it can be lost,
///   as with a lease in a database, they fail once somebody else has taken it. A custody that cannot be shared refuses a second process,
///   with an error of `load`, `save`, `remove` and `lock`; `list` and `entry` work for everybody.
/// - **Secrecy.** Only the text is secret. It is in no name, no `Debug`, no error and no log, and nobody else can read or change
///   it where it is kept. What is left of a crash, such as half a file, is removed.
/// - **Errors.** They are made with [`Error::context`], or with [`Error::unavailable`] if the custody cannot be reached now, or with
///   [`Error::busy`] if somebody else holds a lock for too long, and name the custody, the user, and what to do.
///
/// No method may block its thread. The client waits for each up to its
/// [operation timeout](crate::ClientBuilder::operation_timeout).
pub trait Custody: fmt::Debug + Send + Sync + 'static {
    /// Names the custody in errors, without a secret: `the custody in /var/lib/acme/users`.
    fn name(&self) -> String;

    /// Names the place of one user in errors, without a secret: `the record /var/lib/acme/users/1015.json of
    /// provision 1015`.
    fn name_of(&self, id: ProvisionId) -> String {
        format!("{}: the record of provision {id}", self.name())
    }

    /// Loads the text that was saved last for a user; `None` if there is none. It reads nothing of other users, and does not wait
    /// for the lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if there is a text that cannot be read or must not be trusted, or if
    /// another process uses the custody.
    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>>;

    /// Replaces the text and the entry of the user `entry.provision_id`. Both are replaced together. `lock` is the lock of this user,
    /// which the caller holds. What goes on after this was dropped keeps a clone of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if they cannot be written, or if the lock was lost. What is kept is then the
    /// old or the new.
    fn save<'a>(&'a self, lock: &'a ContextLock, entry: CustodyEntry, text: Secret)
    -> BoxFuture<'a, Result<(), Error>>;

    /// Removes the text and the entry of a user, if there are any. `lock` is as in [`save`](Self::save).
    ///
    /// # Errors
    ///
    /// Like [`save`](Self::save).
    fn remove<'a>(&'a self, lock: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>>;

    /// Waits until the lock of a user is free, and takes it. Dropping the [`ContextLock`] releases it. The user need not be in the
    /// custody.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if it cannot be taken, or if another process uses the custody, and
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if this gives up because somebody else holds it.
    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>>;

    /// Returns the next entries after the user `after`, with ascending ids: as many as fit into a page, and none only if there are
    /// no more. Users that are saved or removed meanwhile may be among them or not. It reads no text, and with
    /// [`CustodyFilter::Unactivated`] nothing of other users.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if the custody cannot be read. A single record that is damaged is an entry
    /// with a [`problem`](CustodyEntry::problem).
    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>>;

    /// Returns the entry of a user; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Like [`list`](Self::list).
    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>>;

    /// Whether there may be texts that a version before has kept, which are readable. A custody that is newer than that returns `false`:
    /// a text that is not sealed is refused then, as one that somebody else has put there.
    fn may_have_readable_texts(&self) -> bool {
        true
    }
}

impl<T: Custody + ?Sized> Custody for Arc<T> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn name_of(&self, id: ProvisionId) -> String {
        (**self).name_of(id)
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        (**self).load(id)
    }

    fn save<'a>(
        &'a self,
        lock: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        (**self).save(lock, entry, text)
    }

    fn remove<'a>(&'a self, lock: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>> {
        (**self).remove(lock, id)
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        (**self).lock(id)
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        (**self).list(filter, after)
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        (**self).entry(id)
    }

    fn may_have_readable_texts(&self) -> bool {
        (**self).may_have_readable_texts()
    }
}
