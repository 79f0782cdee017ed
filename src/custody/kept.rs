//! One user's place in a custody. Every change of its record is made here.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{Stream, TryStreamExt as _, iter, try_unfold};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::Span;
use uuid::Uuid;

use super::index::{Granted, UserIndex};
use super::interface::{Custody, CustodyEntry, CustodyFilter};
use super::record::UserRecord;
use crate::error::Error;
use crate::session::context::{ContextLock, ContextStore, Identity};
use crate::text::duration;
use crate::transport::credentials::BoxFuture;
use crate::transport::runtime;
use crate::types::{self, CredentialId, ProvisionId, Secret, UserId};

/// The records of a partner's users, in a custody. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Records(Arc<Place>);

#[derive(Debug)]
struct Place {
    custody: Arc<dyn Custody>,
    /// The partner whose users they are.
    identity: Identity,
    /// How long a step of the custody may take.
    patience: Duration,
    index: UserIndex,
}

/// One user's place in a custody, whether something is kept there or not. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    records: Records,
    id: ProvisionId,
}

/// The token of a credential that bunq shows, as it is stored first.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    pub(crate) external_uuid: Option<Uuid>,
    pub(crate) credential_id: Option<CredentialId>,
    pub(crate) token: Secret,
    pub(crate) expiry: Option<types::Timestamp>,
}

impl Records {
    pub(crate) fn new(custody: Arc<dyn Custody>, identity: Identity, patience: Duration) -> Self {
        Self(Arc::new(Place { custody, identity, patience, index: UserIndex::default() }))
    }

    pub(crate) fn of(&self, id: ProvisionId) -> Kept {
        Kept { records: self.clone(), id }
    }

    /// Returns the provisions that have made a user, by the id in its paths or that of the person or company that it is, for a question
    /// that arose at `since`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if the custody cannot be listed.
    pub(crate) async fn provisions_of(&self, user: UserId, since: Instant) -> Result<Granted, Error> {
        loop {
            if let Some(answer) = self.0.index.answer(user, since) {
                return answer;
            }
            runtime::check()?;
            let records = self.clone();
            // In a task: all others wait for the one that lists, which must not be a future that is not polled.
            let listing = async move { records.0.index.list(user, since, records.entries(CustodyFilter::All)).await };
            let listed = runtime::spawn(Span::current(), Box::pin(listing)).await;
            listed.map_err(|error| Error::internal("the task that listed a custody was aborted").with_source(error))?;
        }
    }

    /// Returns the next page of entries: see [`Custody::list`].
    async fn list(&self, filter: CustodyFilter, after: Option<ProvisionId>) -> Result<Vec<CustodyEntry>, Error> {
        let name = || self.0.custody.name();
        self.in_time(Error::unavailable, name, "was not listed", self.0.custody.list(filter, after)).await
    }

    /// Yields the entries of all pages.
    pub(crate) fn entries(
        &self,
        filter: CustodyFilter,
    ) -> impl Stream<Item = Result<CustodyEntry, Error>> + Send + use<> {
        let records = self.clone();
        let pages = try_unfold(None, move |after| {
            let records = records.clone();
            async move {
                let page = records.list(filter, after).await?;
                let last = page.last().map(|entry| entry.provision_id);
                Ok::<_, Error>(last.map(|last| (iter(page.into_iter().map(Ok)), Some(last))))
            }
        });
        pages.try_flatten()
    }

    /// Reads what is kept of nobody: a custody that cannot be used refuses it.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let nobody = ProvisionId::try_from(i64::MAX)?;
        self.in_time(Error::unavailable, || self.0.custody.name(), "was not read", self.0.custody.load(nobody))
            .await
            .map(drop)
    }

    /// Waits for a step of the custody, as long as a call may take: then it fails with the error that `late` makes.
    async fn in_time<T>(
        &self,
        late: fn(String) -> Error,
        name: impl Fn() -> String,
        problem: &str,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        runtime::check()?;
        let within = self.0.patience;
        let is_late = |_| Err(late(format!("{} {problem} within {}: try again", name(), duration(within))));
        timeout(within, step).await.unwrap_or_else(is_late)
    }
}

impl Kept {
    pub(crate) fn id(&self) -> ProvisionId {
        self.id
    }

    /// Returns what can be told of the user, also while another process uses the custody.
    pub(crate) async fn entry(&self) -> Result<Option<CustodyEntry>, Error> {
        self.in_time(Error::unavailable, "was not read", self.custody().entry(self.id)).await
    }

    /// Reads the record, to act for the user with it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if it must not be used: it is damaged, or of another bank, key or user, or
    /// its credential is unused and was stored in the future.
    pub(crate) async fn record(&self) -> Result<Option<UserRecord>, Error> {
        let record = self.in_time(Error::unavailable, "was not read", self.load()).await?;
        let Some(record) = record else { return Ok(None) };
        record.check_clock(Timestamp::now()).map_err(|problem| self.refused(problem))?;
        Ok(Some(record))
    }

    /// Takes the lock of the user. Whoever holds it can read, and nobody can change what is kept.
    pub(crate) async fn lock(&self) -> Result<ContextLock, Error> {
        self.in_time(Error::busy, NOT_LOCKED, self.custody().lock(self.id)).await
    }

    /// Stores a token that bunq has shown, before a session is opened with it. The context goes, unless the token is there already:
    /// it is of another credential. The steps and the ids of the user stay.
    pub(crate) async fn store(&self, new: NewToken) -> Result<(), Error> {
        self.change(move |kept| {
            if kept.as_ref().is_some_and(|record| record.token == new.token) {
                return Ok(());
            }
            let before = kept.take();
            let ids = before.as_ref().map(|record| (record.user_id, record.granted_by));
            let (user_id, granted_by) = ids.unwrap_or_default();
            *kept = Some(UserRecord {
                external_uuid: new.external_uuid,
                credential_id: new.credential_id,
                token: new.token,
                expiry: new.expiry,
                stored_at: Timestamp::now().into(),
                is_activated: false,
                user_id,
                granted_by,
                context: None,
                steps: before.map(|record| record.steps).unwrap_or_default(),
            });
            Ok(())
        })
        .await
    }

    /// Returns the store for the session that is opened with this token.
    pub(crate) fn context_of(&self, token: Secret) -> impl ContextStore + use<> {
        TokensContext { kept: self.clone(), token }
    }

    /// Changes the record. Concurrent changes are made one after the other.
    pub(crate) async fn update<T: Send + 'static>(
        &self,
        update: impl FnOnce(&mut UserRecord) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Error> {
        self.change(|kept| update(kept.as_mut().ok_or(NOT_KEPT)?)).await
    }

    /// Removes what is kept, and returns whether there was anything. What does not fit this partner and this user is not removed.
    pub(crate) async fn remove(&self) -> Result<bool, Error> {
        self.change(|kept| Ok(kept.take().is_some())).await
    }

    /// Makes a change under the lock of the user. Once begun, it is made even if the caller gives up.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Option<UserRecord>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Error> {
        runtime::check()?;
        let (kept, (mut has_locked, locked), (caller, changed)) =
            (self.clone(), oneshot::channel(), oneshot::channel());
        // The task waits for the lock too: a future that is not polled would keep it.
        let changing = async move {
            let lock = match select(kept.custody().lock(kept.id), pin!(has_locked.closed())).await {
                Either::Left((lock, _)) => lock,
                Either::Right(_) => return,
            };
            let lock = match lock {
                Ok(lock) => lock,
                Err(error) => return drop(has_locked.send(Err(error))),
            };
            // The caller may have given up just before.
            if has_locked.send(Ok(())).is_ok() {
                let _ = caller.send(kept.change_locked(&lock, change).await);
            }
        };
        runtime::spawn(Span::current(), Box::pin(changing));
        let aborted = |_| self.refused("was not changed: the task was aborted");
        self.in_time(Error::busy, NOT_LOCKED, async { locked.await.map_err(aborted).flatten() }).await?;
        self.in_time(Error::unavailable, "was not changed", async { changed.await.map_err(aborted).flatten() }).await
    }

    /// Makes a change for a caller that holds the lock.
    async fn change_locked<T>(
        &self,
        lock: &ContextLock,
        change: impl FnOnce(&mut Option<UserRecord>) -> Result<T, String>,
    ) -> Result<T, Error> {
        let custody = self.custody();
        let text = custody.load(self.id).await?;
        let mut record = self.decode(text.as_ref())?;
        let changed = change(&mut record).map_err(|problem| self.refused(problem))?;
        match record {
            Some(record) => {
                let encoded = record.encode(&self.records.0.identity, self.id);
                let encoded = encoded.map_err(|problem| self.refused(problem))?;
                if text.as_ref() != Some(&encoded) {
                    let entry = record.entry(self.id);
                    let ids = entry.user_ids();
                    custody.save(lock, entry, encoded).await?;
                    self.records.0.index.kept(self.id, ids);
                }
            }
            None if text.is_some() => {
                custody.remove(lock, self.id).await?;
                self.records.0.index.removed(self.id);
            }
            None => {}
        }
        Ok(changed)
    }

    async fn load(&self) -> Result<Option<UserRecord>, Error> {
        self.decode(self.custody().load(self.id).await?.as_ref())
    }

    fn decode(&self, text: Option<&Secret>) -> Result<Option<UserRecord>, Error> {
        let decoded = text.map(|text| UserRecord::decode(text, &self.records.0.identity, self.id)).transpose();
        decoded.map_err(|problem| self.refused(problem))
    }

    fn custody(&self) -> &dyn Custody {
        &*self.records.0.custody
    }

    async fn in_time<T>(
        &self,
        late: fn(String) -> Error,
        problem: &str,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.records.in_time(late, || self.custody().name_of(self.id), problem, step).await
    }

    fn refused(&self, problem: impl fmt::Display) -> Error {
        refused(&self.custody().name_of(self.id), problem)
    }
}

/// That another holds the lock of a record.
const NOT_LOCKED: &str = "was not unlocked by its holder";

/// Ends of sentences about a record that is not there, or not the same any more.
const REPLACED: &str = "has another token by now: the session with the one before it is over; call again";
const NOT_KEPT: &str = "is not there: activate the user if it is new, and reset it if it was activated elsewhere";

fn refused(name: &str, problem: impl fmt::Display) -> Error {
    Error::context(format_args!("{name} {problem}"))
}

/// The store for the session of a user with one token. When another token is kept, it is of use no more.
#[derive(Debug)]
struct TokensContext {
    kept: Kept,
    token: Secret,
}

impl ContextStore for TokensContext {
    fn name(&self) -> String {
        self.kept.custody().name_of(self.kept.id)
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async {
            let record = self.kept.load().await?.ok_or_else(|| self.kept.refused(NOT_KEPT))?;
            if record.token != self.token { Err(self.kept.refused(REPLACED)) } else { Ok(record.context) }
        })
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.kept.change_locked(lock, |kept| {
            let record = kept.as_mut().ok_or(NOT_KEPT)?;
            if record.token != self.token {
                return Err(REPLACED.into());
            }
            record.take_context(context);
            Ok(())
        }))
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.kept.custody().lock(self.kept.id)
    }
}
