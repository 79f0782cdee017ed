//! What all share who act for one user: its session, and what is known between two calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::credential::is_unused;
use super::recent::RecentUsers;
use super::room::Room;
use crate::custody::{Steps, UserRecord};
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::feed::Feed;
use crate::identity::Submitting;
use crate::notifications::NotificationChanges;
use crate::onboarding::InDoubtOnboarding;
use crate::papers::InDoubtAnswers;
use crate::reconcile::VerbConfig;
use crate::session::context::Identity as ContextIdentity;
use crate::session::{Opened, Session};
use crate::sync::lock;
use crate::transport::Transport;
use crate::types::{ProvisionId, Timestamp as BunqTimestamp, UserInformationInquiry, UserOnboarding};

pub(super) struct UserShared {
    pub(super) room: Arc<Room>,
    pub(super) id: ProvisionId,
    pub(super) transport: Arc<Transport>,
    /// Made from the record in custody when it is first needed.
    pub(super) session: Mutex<KnownSession>,
    /// Held by the one that changes what is in custody by what bunq shows.
    pub(super) work: tokio::sync::Mutex<()>,
    pub(super) onboarding: InDoubtOnboarding,
    pub(super) answers: InDoubtAnswers,
    pub(super) notifications: NotificationChanges,
    /// By this machine's clock the credential has expired, and bunq shows it as unused.
    pub(super) is_clock_in_doubt: AtomicBool,
    pub(super) recent: Weak<RecentUsers<Self>>,
    pub(super) submitting: Submitting,
    /// All who wait for an onboarding or an inquiry share what any of them reads, and what is read because of a call of bunq's.
    pub(super) onboardings: OnceLock<Feed<UserOnboarding>>,
    pub(super) inquiries: OnceLock<Feed<UserInformationInquiry>>,
}

/// The session of a user, once it is known.
#[derive(Debug, Default)]
pub(super) struct KnownSession {
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
        let (onboardings, inquiries) = Default::default();
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
            onboardings,
            inquiries,
        }
    }

    /// The times of the checks of its verbs, and what they have done that bunq cannot be asked about. Without a custody, no call is made.
    pub(super) fn verbs(&self) -> (VerbConfig, Steps) {
        let steps = self.room.kept(self.id).map_or_else(|_| Steps::none(), Steps::new);
        (self.room.provisions.config().of_verbs(), steps)
    }

    /// The session, if it is known already.
    pub(super) fn known_session(&self) -> Option<Session> {
        self.known().0
    }

    /// The same, and how often one was forgotten.
    fn known(&self) -> (Option<Session>, u64) {
        let known = lock(&self.session);
        (known.session.clone(), known.forgotten)
    }

    /// The session that is open, as far as that is known.
    pub(super) fn open_session(&self) -> Result<Opened, Error> {
        self.known_session().and_then(|session| session.known_open()).ok_or_else(|| not_open(self.id))
    }

    /// Whether a session is open, in memory or in custody. bunq is asked nothing, and no lock is waited for.
    pub(super) async fn has_open_session(self: &Arc<Self>) -> Result<bool, Error> {
        let (known, forgotten) = self.known();
        let session = match known {
            Some(session) => session,
            None => {
                // Without a custody there is none.
                let Ok(kept) = self.room.kept(self.id) else { return Ok(false) };
                // bunq is asked about a credential that is not activated, and it has no session.
                let record = kept.record().await?.filter(|record| record.is_activated);
                let Some(record) = record else { return Ok(false) };
                let made = self.session_with(record).await?;
                let Some(session) = self.share(made, forgotten) else { return Ok(false) };
                session
            }
        };
        match session.recall().await {
            // Its token is another by now.
            Err(error) if error.kind() == ErrorKind::Context && self.is_replaced(&session).await => Ok(false),
            recalled => recalled.map(|()| session.is_open()),
        }
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
        self.is_used();
        self.known_or_made().await
    }

    /// Has what is known of the user outlive the last handle for a time.
    pub(super) fn is_used(self: &Arc<Self>) {
        if let Some(recent) = self.recent.upgrade() {
            recent.used(self.id, Arc::clone(self));
        }
    }

    async fn known_or_made(self: &Arc<Self>) -> Result<Session, Error> {
        loop {
            let (known, forgotten) = self.known();
            if let Some(session) = known {
                return Ok(session);
            }
            let record = self.room.kept(self.id)?.record().await?.ok_or_else(|| not_kept(self.id))?;
            let made = self.session_with(record).await?;
            if let Some(session) = self.share(made, forgotten) {
                return Ok(session);
            }
        }
    }

    /// The session that all share: this one, unless another has been faster. `None` if one was forgotten since: its token may be another by
    /// now.
    fn share(&self, made: Session, forgotten: u64) -> Option<Session> {
        let mut known = lock(&self.session);
        (known.forgotten == forgotten).then(|| known.session.get_or_insert(made).clone())
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
    async fn session_with(self: &Arc<Self>, record: UserRecord) -> Result<Session, Error> {
        let kept = self.room.kept(self.id)?;
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

/// The error of a call that opens no session.
pub(super) fn not_open(id: ProvisionId) -> Error {
    let problem = format_args!("no session of provision {id} is open, and this call opens none");
    Error::new(ErrorKind::Unauthorized, Sent::No, problem)
}
