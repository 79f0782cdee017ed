//! A client that acts for one user.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::credential::is_unused;
use super::recent::RecentUsers;
use super::room::{Acting, Room};
use crate::api::Api;
use crate::custody::{Steps, UserRecord};
use crate::error::{Error, ErrorKind, Remedy};
use crate::identity::{Identity, Submitting};
use crate::notifications::{NotificationChanges, Notifications};
use crate::onboarding::{InDoubtOnboarding, Onboarding};
use crate::papers::{Attachments, Documents, InDoubtAnswers, Inquiries};
use crate::reconcile::VerbConfig;
use crate::session::context::Identity as ContextIdentity;
use crate::session::{ContextSummary, Session, SessionUser};
use crate::sync::lock;
use crate::transport::Transport;
use crate::transport::credentials::{BoxFuture, Credentials, ProvideCredentials, Renewal};
use crate::transport::trouble::Trouble;
use crate::types::{ProvisionId, Timestamp as BunqTimestamp};

/// Acts for one user of a partner, whose credential is in [custody](crate::ClientBuilder::custody). Made by [`Users`](crate::Users). Cheap to clone;
/// all clients of one user share its session, which the first call opens, and which is opened again with the stored token when it has
/// ended.
///
/// It has the settings, the connections and the rate limits of its partner's client. bunq's paths for the user begin with an id that it
/// knows from the session: no method takes it.
#[derive(Clone)]
pub struct UserClient(Arc<UserShared>, Arc<Acting>);

pub(super) struct UserShared {
    room: Arc<Room>,
    pub(super) id: ProvisionId,
    transport: Arc<Transport>,
    /// Made from the record in custody when it is first needed.
    session: Mutex<KnownSession>,
    /// Held by the one that changes what is in custody by what bunq shows.
    pub(super) work: tokio::sync::Mutex<()>,
    onboarding: InDoubtOnboarding,
    answers: InDoubtAnswers,
    notifications: NotificationChanges,
    /// By this machine's clock the credential has expired, and bunq shows it as unused.
    is_clock_in_doubt: AtomicBool,
    recent: Weak<RecentUsers<Self>>,
    submitting: Submitting,
}

impl UserClient {
    pub(super) fn new(shared: Arc<UserShared>, acting: Arc<Acting>) -> Self {
        Self(shared, acting)
    }

    pub(super) fn shared(&self) -> &Arc<UserShared> {
        &self.0
    }

    /// Returns the id of the provision that has made the user.
    pub fn provision_id(&self) -> ProvisionId {
        self.0.id
    }

    /// Returns the typed methods of all operations of the OpenAPI document. Those that take [the session of a
    /// partner](crate::SessionOf::Partner) are refused before anything is sent.
    pub fn api(&self) -> Api {
        Api::new(Arc::clone(&self.0.transport), Arc::new(Source(Arc::clone(&self.0), Arc::clone(&self.1))))
    }

    /// Returns what brings the user to the statuses in which it can be served.
    pub fn onboarding(&self) -> Onboarding {
        let (config, steps) = self.0.verbs();
        Onboarding::new(self.api(), config, steps, self.0.onboarding.clone())
    }

    /// Returns what proves who the user is.
    pub fn identity(&self) -> Identity {
        let (config, steps) = self.0.verbs();
        Identity::new(self.api(), config, steps, self.0.submitting.clone())
    }

    /// Returns the files of the user.
    pub fn attachments(&self) -> Attachments {
        let (_, steps) = self.0.verbs();
        Attachments::new(self.api(), steps)
    }

    /// Returns the documents of the user.
    pub fn documents(&self) -> Documents {
        let (_, steps) = self.0.verbs();
        Documents::new(self.api(), steps)
    }

    /// Returns what bunq asks of the user, and answers it.
    pub fn inquiries(&self) -> Inquiries {
        let (config, steps) = self.0.verbs();
        Inquiries::new(self.api(), config, steps, self.0.answers.clone())
    }

    /// Returns the notification filters of the user: bunq calls their URLs when its onboarding or an inquiry waits for somebody. Provisions are
    /// told by the filters of [the partner](crate::Client::notifications).
    pub fn notifications(&self) -> Notifications {
        let (config, _) = self.0.verbs();
        Notifications::new(self.api(), config, self.0.room.environment, self.0.notifications.clone())
    }

    /// Opens a session now if none is open, in its turn. Without it, the first call opens one.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if there is nothing of the user in custody, or nothing that can be used.
    /// [`CredentialSpent`](crate::ErrorKind::CredentialSpent) if the credential has expired unused: [reset](crate::Users::reset) it.
    pub async fn open_session(&self) -> Result<(), Error> {
        let opened = self.0.with_session(|session| async move { session.open().await });
        opened.await.map_err(|error| self.0.doubting_the_clock(error))
    }

    /// Returns the user that the session acts for. Opens a session if none is open.
    ///
    /// # Errors
    ///
    /// Those of [`open_session`](Self::open_session), and [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if bunq did not name the
    /// user when the session was opened, nor when it was opened again for that.
    pub async fn user(&self) -> Result<SessionUser, Error> {
        self.0.with_session(|session| async move { session.user().await }).await
    }

    /// Returns what is known of the session from earlier calls, without asking bunq; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// As [`open_session`](Self::open_session).
    pub async fn context(&self) -> Result<Option<ContextSummary>, Error> {
        self.0.with_session(|session| async move { session.context().await }).await
    }

    /// Ends the session at bunq, if there is one, including one that the custody has from an earlier run. The next call opens a new
    /// one with the stored token.
    ///
    /// # Errors
    ///
    /// As [`Client::end_session`](crate::Client::end_session).
    pub async fn end_session(&self) -> Result<(), Error> {
        self.0.with_session(|session| async move { session.end().await }).await
    }
}

impl fmt::Debug for UserClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserClient").field("provision_id", &self.0.id).finish_non_exhaustive()
    }
}

/// The session of a user, once it is known.
#[derive(Debug, Default)]
struct KnownSession {
    session: Option<Session>,
    /// How often one was forgotten.
    forgotten: u64,
}

impl KnownSession {
    /// Whoever is making one makes it again.
    fn forget(&mut self) -> Option<Session> {
        self.forgotten += 1;
        self.session.take()
    }
}

impl UserShared {
    pub(super) fn new(room: Arc<Room>, id: ProvisionId, recent: Weak<RecentUsers<Self>>) -> Self {
        let transport = Arc::new(room.api.transport().for_user(id));
        let (session, work, onboarding, answers, notifications, is_clock_in_doubt, submitting) = Default::default();
        Self {
            room,
            id,
            transport,
            session,
            work,
            onboarding,
            answers,
            notifications,
            is_clock_in_doubt,
            recent,
            submitting,
        }
    }

    /// The times of the checks of its verbs, and what they have done that bunq cannot be asked about. Without a custody, no call is made.
    fn verbs(&self) -> (VerbConfig, Steps) {
        let steps = self.room.kept(self.id).map_or_else(|_| Steps::none(), Steps::new);
        (self.room.provisions.config().of_verbs(), steps)
    }

    /// The session, if it is known already.
    pub(super) fn known_session(&self) -> Option<Session> {
        lock(&self.session).session.clone()
    }

    /// Forgets the session: the token that it was opened with may be another by now.
    pub(super) fn forget(&self) {
        let forgotten = lock(&self.session).forget();
        if let Some(session) = forgotten {
            session.withdraw();
        }
    }

    /// Forgets a session that is to be opened again, and may wait for its turn.
    pub(super) fn forget_renewal(&self) {
        let mut known = lock(&self.session);
        let waits = known.session.as_ref().is_some_and(|session| session.is_renewal() && !session.is_open());
        let forgotten = if waits { known.forget() } else { None };
        drop(known);
        if let Some(session) = forgotten {
            session.withdraw();
        }
    }

    /// Whether only this machine's clock says that the credential has expired.
    pub(super) fn has_expired_by_clock_alone(&self) -> bool {
        let is_used = self.known_session().is_some_and(|session| session.is_renewal());
        !is_used && self.is_clock_in_doubt.load(Ordering::Relaxed)
    }

    /// Names the clock in the error of a session whose credential is to be reset, if the clock may be wrong.
    pub(super) fn doubting_the_clock(&self, error: Error) -> Error {
        if !error.remedy().is_some_and(Remedy::is_reset) || !self.has_expired_by_clock_alone() {
            return error;
        }
        error.with_advice(
            "by this machine's clock the credential has expired, and bunq shows it as unused: set the clock right if it is ahead",
        )
    }

    /// The session, from the record in custody, for a call that begins.
    pub(super) async fn session(self: &Arc<Self>) -> Result<Session, Error> {
        if let Some(recent) = self.recent.upgrade() {
            recent.used(self.id, Arc::clone(self));
        }
        loop {
            let forgotten = {
                let known = lock(&self.session);
                match &known.session {
                    Some(session) => return Ok(session.clone()),
                    None => known.forgotten,
                }
            };
            let made = self.made().await?;
            let mut known = lock(&self.session);
            // Its token may be another by now. Otherwise another may have been faster: all share one.
            if known.forgotten == forgotten {
                return Ok(known.session.get_or_insert(made).clone());
            }
        }
    }

    /// Does something with the session; once more with another one, if another client has replaced its token in custody since it was
    /// made.
    pub(super) async fn with_session<T, F>(self: &Arc<Self>, act: impl Fn(Session) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let session = self.session().await?;
        match act(session.clone()).await {
            Err(error) if error.kind() == ErrorKind::Context && self.is_replaced(&session).await => {
                act(self.session().await?).await
            }
            done => done,
        }
    }

    /// Whether the custody has another token than that of a session. It is forgotten then.
    async fn is_replaced(&self, used: &Session) -> bool {
        let Ok(kept) = self.room.kept(self.id) else { return false };
        let Ok(Some(UserRecord { token, .. })) = kept.record().await else { return false };
        let is_of_another = |session: &Session| session.device().api_key != token;
        let mut known = lock(&self.session);
        let forgotten = if known.session.as_ref().is_some_and(is_of_another) { known.forget() } else { None };
        drop((known, forgotten));
        is_of_another(used)
    }

    /// Makes the session from the record in custody.
    async fn made(self: &Arc<Self>) -> Result<Session, Error> {
        let kept = self.room.kept(self.id)?;
        let record = kept.record().await?.ok_or_else(|| not_kept(self.id))?;
        let expiry = self.expiry(&record).await?;
        let partner = &self.room.api;
        let identity = ContextIdentity::new(self.room.environment, partner.transport().base_url(), &record.token);
        let store = Arc::new(kept.context_of(record.token.clone()));
        let device = self.room.device(record.token);
        let owner = self.room.owner(self.id, expiry, self);
        let partner = self.room.partner();
        Ok(Session::new(Arc::clone(&self.transport), device, identity, Some(store), owner, Some(partner)))
    }

    /// When the credential of a record expires, if it was not used yet. If that is over by this machine's clock, bunq is asked.
    async fn expiry(&self, record: &UserRecord) -> Result<Option<Instant>, Error> {
        self.is_clock_in_doubt.store(false, Ordering::Relaxed);
        if record.is_activated {
            return Ok(None);
        }
        let (id, now, clock) = (self.id, Instant::now(), Timestamp::now());
        let left =
            |until: Timestamp| Duration::try_from(until.duration_since(clock)).ok().filter(|left| !left.is_zero());
        let latest = record.stored_at.as_jiff().checked_add(self.room.lifetime()).ok();
        let Some(expiry) = record.expiry.map(BunqTimestamp::as_jiff).or(latest) else {
            return Ok(now.checked_add(self.room.lifetime()));
        };
        if let Some(left) = left(expiry) {
            return Ok(now.checked_add(left));
        }
        if !is_unused(&self.room.provisions.get(id).await?, record)? {
            return Ok(None);
        }
        tracing::warn!(
            provision = %id, %expiry,
            "bunq shows a credential as unused that has expired by this machine's clock: is the clock right?"
        );
        self.is_clock_in_doubt.store(true, Ordering::Relaxed);
        // If the clock was as far ahead when the token was stored, the credential lives until then at most.
        Ok(now.checked_add(latest.and_then(left).unwrap_or(self.transport.config().operation_timeout)))
    }
}

/// The error of a user of which nothing is kept.
pub(super) fn not_kept(id: ProvisionId) -> Error {
    Error::context(format_args!("there is no token of provision {id} in custody")).with_remedy(Remedy::Activate)
}

/// The credentials of a user. The session behind it is another one when the token was replaced.
struct Source(
    Arc<UserShared>,
    #[expect(dead_code, reason = "while it lives, sessions of users are opened")] Arc<Acting>,
);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.0.id).finish()
    }
}

impl ProvideCredentials for Source {
    fn credentials<'a>(&'a self, with_user: bool, trouble: &'a Trouble) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async move {
            let credentials =
                self.0.with_session(|session| async move { session.credentials(with_user, trouble).await });
            credentials.await.map_err(|error| self.0.doubting_the_clock(error))
        })
    }

    fn refuse<'a>(
        &'a self,
        credentials: &'a Credentials,
        refusal: &'a Error,
        is_again: bool,
    ) -> BoxFuture<'a, Renewal> {
        Box::pin(async move {
            match self.0.known_session() {
                Some(session) => session.refuse(credentials, refusal, is_again).await,
                None => Renewal::Renewed,
            }
        })
    }

    fn reread<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            match self.0.known_session() {
                Some(session) => session.reread(credentials).await,
                None => true,
            }
        })
    }
}
