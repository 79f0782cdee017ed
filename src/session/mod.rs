//! The session of a client: when the installation, the device and the session are made, and how they are shared.
//!
//! Any number of calls share one session. If there is none, one task opens it: first the installation, then the device,
//! then the session. Every call waits for that task and shares its outcome. Processes that share a context store open
//! one session at a time: its lock is held for each attempt, and not while a session waits for its turn, and what others
//! have stored by then is taken over. An opening runs to its end even if every call has given up; if the runtime of its task ends,
//! a call of another runtime opens the session instead. A new session replaces one that has expired or that bunq
//! refuses; the installation and the device stay. Refusals are not signed, so a client opens at most one session in each
//! window of the rate limit in place of one that was refused. One that has expired by the system clock is used on while no turn for another
//! comes in time: bunq refuses it if it is over.
//!
//! If bunq has forgotten an installation, the client makes a new one by itself only if it has no store. It never
//! replaces a stored installation by itself. It takes over an installation that others have made and stored meanwhile,
//! also when a signature is not valid for the key that it knows.
//!
//! The transport sees the session only as a source of credentials. The three calls themselves are in [`handshake`], and
//! what decides about them is in [`opening`].

mod admission;
mod announcements;
pub(crate) mod context;
mod forecast;
pub(crate) mod handshake;
mod installation;
mod keeper;
mod opening;
mod order;
mod place;
mod queue;
mod refusal;
mod renewal;
#[cfg(test)]
mod tests;
pub(crate) mod turns;
mod user;
mod users_turn;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Id;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::Span;

pub use self::context::ContextSummary;
use self::context::{Context, ContextLock, ContextStore, Identity, OpenSession};
pub use self::handshake::UserInstallation;
use self::handshake::{ACCEPTED, Device};
use self::keeper::Keeper;
use self::refusal::Refusal;
use self::turns::STORE_PAUSE;
pub use self::user::{SessionUser, UserKind};
pub(crate) use self::users_turn::{Activation, Owner, UsersTurn};
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::sync::lock;
use crate::transport::credentials::{BoxFuture, Credentials, Installation, ProvideCredentials, Renewal};
use crate::transport::spans::{self, Awaited};
use crate::transport::trouble::Trouble;
use crate::transport::{Transport, runtime};
use crate::types::Secret;

/// The session of one client. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Session(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    transport: Arc<Transport>,
    device: Device,
    keeper: Keeper,
    owner: Owner,
    /// The session of the partner, if this one is a user's.
    partner: Option<Session>,
    state: Mutex<SessionState>,
}

/// What a call gets from an open session.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) credentials: Credentials,
    pub(crate) user: Option<SessionUser>,
}

/// An opening, shared by all calls that wait for it. They hold no lock, so a future that is not polled does not block
/// the others.
#[derive(Debug, Clone)]
struct Opening {
    /// `None` while it is in progress.
    outcome: watch::Receiver<Option<Result<Opened, Error>>>,
    trouble: Trouble,
    /// The runtime of its task.
    runtime: Id,
}

impl Opening {
    /// A task that has ended, for whatever reason, has closed its channel.
    fn is_in_progress(&self) -> bool {
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }

    /// Waits for the outcome. `None` if the task ended without one.
    async fn ended(mut self, trouble: &Trouble) -> Option<Result<Opened, Error>> {
        trouble.begin_wait(&self.trouble);
        let _waiting = spans::wait(Awaited::Session, None);
        let outcome = self.outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        trouble.end_wait();
        outcome.ok().flatten()
    }
}

/// How long a caller waits for the turn of a session that is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// As long as a call may take.
    OfCall,
    Until(Instant),
    /// Until then, behind all users whose sessions others wait for.
    Last(Instant),
}

impl Patience {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::OfCall => None,
            Self::Until(deadline) | Self::Last(deadline) => Some(deadline),
        }
    }
}

/// The place of an opening in the state.
type Slot = fn(&mut SessionState) -> &mut Option<Opening>;

#[derive(Debug, Default)]
struct SessionState {
    context: Option<Context>,
    /// The store does not have it: saving it has failed.
    is_unsaved: bool,
    /// The installation that bunq has refused. The store may still have it.
    forgotten: Option<Arc<Installation>>,
    opening: Option<Opening>,
    reinstalling: Option<Opening>,
    /// The token of the last session that this client has opened itself.
    own: Option<Secret>,
    /// The last token that was given up. The store may still have it.
    given_up: Option<Secret>,
    /// When bunq's refusal of a token last made the client give it up; below, the same for an installation.
    refused_at: Option<Instant>,
    reinstalled_at: Option<Instant>,
    /// A 403 has led to a new session. A 403 with the same text may also mean that bunq does not allow the call, so
    /// before a later 403 leads to another session, the client asks bunq whether it still accepts the token. For a
    /// user it asks before the first too.
    has_renewed_after_403: bool,
    refusal: Option<Refusal>,
    /// A session whose user is not known was given up. If bunq does not name the user of the next one either, that stays open.
    has_given_up_unnamed: bool,
}

impl SessionState {
    /// The open session, unless it is due to be opened again or its token was given up.
    fn opened(&self) -> Option<Opened> {
        let is_usable = self.is_usable(self.context.as_ref()?.session.as_ref()?);
        if is_usable { self.not_given_up() } else { None }
    }

    fn is_usable(&self, session: &OpenSession) -> bool {
        let is_due = session.renew_at.is_some_and(|renew_at| Timestamp::now() >= renew_at);
        !is_due && self.given_up.as_ref() != Some(&session.token)
    }

    /// The last session, unless its token was given up. By the system clock it may be over.
    fn not_given_up(&self) -> Option<Opened> {
        let context = self.context.as_ref()?;
        let session = context.session.as_ref()?;
        (self.given_up.as_ref() != Some(&session.token)).then(|| context.opened(session))
    }

    /// Gives up the session of these credentials, whose user is not known, unless the one before was given up for that. Returns whether
    /// it is given up.
    fn gives_up_unnamed(&mut self, credentials: &Credentials) -> bool {
        if !std::mem::replace(&mut self.has_given_up_unnamed, true) {
            self.given_up.clone_from(&credentials.token);
        }
        self.given_up == credentials.token
    }

    /// The installation that was last used.
    fn installation(&self) -> Option<Arc<Installation>> {
        self.context.as_ref().map(|context| &context.installation).or(self.forgotten.as_ref()).cloned()
    }
}

impl Context {
    fn opened(&self, session: &OpenSession) -> Opened {
        let credentials = Credentials {
            token: Some(session.token.clone()),
            user: session.user.as_ref().map(|user| user.id),
            ..Credentials::of_installation(&self.installation)
        };
        Opened { credentials, user: session.user.clone() }
    }
}

impl Session {
    pub(crate) fn new(
        transport: Arc<Transport>,
        device: Device,
        identity: Identity,
        store: Option<Arc<dyn ContextStore>>,
        owner: Owner,
        partner: Option<Session>,
    ) -> Self {
        let keeper = Keeper::new(identity, store, transport.config().operation_timeout);
        Self(Arc::new(Shared { transport, device, keeper, owner, partner, state: Mutex::default() }))
    }

    /// The device that the session is registered as.
    pub(crate) fn device(&self) -> &Device {
        &self.0.device
    }

    /// Opens a session, unless one is open.
    pub(crate) async fn open(&self) -> Result<(), Error> {
        self.opened(&Trouble::default(), Patience::OfCall).await.map(drop)
    }

    /// Opens the session of a user, unless one is open, and waits for its turn until a time.
    pub(crate) async fn open_by(&self, deadline: Instant) -> Result<(), Error> {
        self.open_patiently(Patience::Until(deadline), deadline).await
    }

    /// The same, behind all users whose sessions others wait for.
    pub(crate) async fn open_last(&self, deadline: Instant) -> Result<(), Error> {
        self.open_patiently(Patience::Last(deadline), deadline).await
    }

    async fn open_patiently(&self, patience: Patience, deadline: Instant) -> Result<(), Error> {
        let mut may_have_joined = true;
        loop {
            let Err(error) = self.opened(&Trouble::default(), patience).await else { return Ok(()) };
            // It may have joined an opening that had less time.
            if self.is_renewal() && has_no_turn(&error) && std::mem::take(&mut may_have_joined) {
                continue;
            }
            let is_held_up = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Context) && error.is_retryable();
            if !is_held_up || self.is_open() || Instant::now() + STORE_PAUSE > deadline {
                return Err(error);
            }
            if timeout(STORE_PAUSE, self.0.transport.gate().shut()).await.is_ok() {
                return Err(error);
            }
        }
    }

    /// Tells that the credential of a user was replaced by another: no session is opened with it any more, also by what is being done
    /// already. A request on the wire is waited for.
    pub(crate) fn withdraw(&self) {
        self.0.owner.withdraw();
    }

    /// Whether its credential was used before.
    pub(crate) fn is_renewal(&self) -> bool {
        self.0.owner.is_renewal()
    }

    /// Whether a session is open, as far as this client knows without asking anybody.
    pub(crate) fn is_open(&self) -> bool {
        self.0.state().opened().is_some()
    }

    /// The session that is open, as far as this client knows without asking anybody.
    pub(crate) fn known_open(&self) -> Option<Opened> {
        let Opened { credentials, user } = self.0.state().opened()?;
        Some(Opened { credentials: credentials.hiding(&self.0.device.api_key), user })
    }

    /// Takes over what the store has, if nothing is known yet. bunq is asked nothing, and no lock is waited for.
    pub(crate) async fn recall(&self) -> Result<(), Error> {
        if self.0.state().context.is_none() {
            let stored = self.0.load_known(&Trouble::default()).await?;
            self.0.take_over(stored);
        }
        Ok(())
    }

    /// Makes a new installation and opens a session with it. The work runs to its end even if the caller gives up.
    /// Concurrent callers share the outcome.
    pub(crate) async fn reinstall(&self) -> Result<(), Error> {
        let used = self.0.state().installation();
        let join = |own| {
            let used = used.clone();
            let work = async move |shared: Arc<Shared>, trouble| shared.reinstall(used, &trouble).await;
            ControlFlow::Continue(self.join(&mut self.0.state(), |state| &mut state.reinstalling, own, work))
        };
        self.shared(&Trouble::default(), join).await.map(drop)
    }

    /// Returns the user of the session, which it opens if none is open.
    pub(crate) async fn user(&self) -> Result<SessionUser, Error> {
        self.opened_with_user(&Trouble::default()).await.map(|(_, user)| user)
    }

    async fn opened_with_user(&self, trouble: &Trouble) -> Result<(Credentials, SessionUser), Error> {
        let mut opened = self.opened(trouble, Patience::OfCall).await?;
        if opened.user.is_none() && self.0.state().gives_up_unnamed(&opened.credentials) {
            opened = self.opened(trouble, Patience::OfCall).await?;
        }
        let problem = "the response to create_session has no user with an id";
        let user = opened.user.ok_or_else(|| Error::new(ErrorKind::InvalidResponse, Sent::No, problem))?;
        Ok((opened.credentials, user))
    }

    /// Summarizes what is known from earlier calls.
    pub(crate) async fn context(&self) -> Result<Option<ContextSummary>, Error> {
        runtime::check()?;
        self.0.reload(&Trouble::default()).await?;
        Ok(self.0.state().context.as_ref().map(Context::summary))
    }

    /// Ends the open session at bunq, if there is one. The work runs to its end even if the caller gives up.
    pub(crate) async fn end(&self) -> Result<(), Error> {
        runtime::check()?;
        let shared = Arc::clone(&self.0);
        let user = shared.owner.user();
        let ending = async move {
            let _user = user;
            shared.end().await
        };
        let task = runtime::spawn(Span::current(), Box::pin(ending)).await;
        task.map_err(|error| Error::internal("the task that ended the session was aborted").with_source(error))?
    }

    async fn opened(&self, trouble: &Trouble, patience: Patience) -> Result<Opened, Error> {
        let deadline = patience.deadline();
        let join = |own| {
            let mut state = self.0.state();
            if let Some(opened) = state.opened().filter(|_| !state.is_unsaved) {
                return ControlFlow::Break(Ok(opened));
            }
            let is_going = state.opening.as_ref().is_some_and(Opening::is_in_progress);
            if let Err(error) = self.0.owner.is_wanted(patience, is_going, &self.0.transport) {
                return ControlFlow::Break(Err(error));
            }
            let work = async move |shared: Arc<Shared>, trouble| shared.open(&trouble, deadline).await;
            ControlFlow::Continue(self.join(&mut state, |state| &mut state.opening, own, work))
        };
        match self.shared(trouble, join).await {
            // Only the system clock says that the last one is over, and it may be wrong. If bunq refuses it, it is given up.
            Err(error) if deadline.is_none() && has_no_turn(&error) => self.0.state().not_given_up().ok_or(error),
            outcome => outcome,
        }
    }

    /// Waits for the opening that `join` finds or starts. If the runtime of its task has ended, or may have made it
    /// fail by ending, this starts the opening again in its own runtime.
    async fn shared(
        &self,
        trouble: &Trouble,
        join: impl Fn(Id) -> ControlFlow<Result<Opened, Error>, Opening>,
    ) -> Result<Opened, Error> {
        let own = runtime::current()?;
        let mut has_failed = false;
        loop {
            let opening = match join(own) {
                ControlFlow::Break(known) => return known,
                ControlFlow::Continue(opening) => opening,
            };
            let is_own = opening.runtime == own;
            match opening.ended(trouble).await {
                None if !is_own => {}
                // A failure caused by the end of that runtime is not transient. A transient failure is tried again
                // once.
                Some(Err(error))
                    if !is_own && error.sent() != Sent::Responded && !(has_failed && error.is_retryable()) =>
                {
                    has_failed = true;
                }
                Some(outcome) => return outcome,
                None => return Err(Error::internal("the task that opened a session was aborted")),
            }
        }
    }

    /// Returns the opening in `slot` that is in progress. If there is none, it starts one as a task in the current
    /// runtime, `own`.
    fn join<F>(
        &self,
        state: &mut SessionState,
        slot: Slot,
        own: Id,
        work: impl FnOnce(Arc<Shared>, Trouble) -> F,
    ) -> Opening
    where
        F: Future<Output = Result<Opened, Error>> + Send + 'static,
    {
        if let Some(opening) = slot(state).clone().filter(Opening::is_in_progress) {
            return opening;
        }
        let ((sender, outcome), trouble) = (watch::channel(None), Trouble::default());
        let (shared, work) = (Arc::clone(&self.0), work(Arc::clone(&self.0), trouble.clone()));
        let user = shared.owner.user();
        let task = async move {
            let _user = user;
            let done = work.await;
            // Do not keep a token in the state after a later session has replaced it.
            *slot(&mut shared.state()) = None;
            // Sending fails if every waiter has given up.
            let _ = sender.send(Some(done));
        };
        runtime::spawn(Span::current(), Box::pin(task));
        let opening = Opening { outcome, trouble, runtime: own };
        *slot(state) = Some(opening.clone());
        opening
    }
}

impl ProvideCredentials for Session {
    fn credentials<'a>(&'a self, with_user: bool, trouble: &'a Trouble) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async move {
            let credentials = if with_user {
                self.opened_with_user(trouble).await?.0
            } else {
                self.opened(trouble, Patience::OfCall).await?.credentials
            };
            Ok(credentials.hiding(&self.0.device.api_key))
        })
    }

    fn refuse<'a>(
        &'a self,
        credentials: &'a Credentials,
        refusal: &'a Error,
        is_again: bool,
    ) -> BoxFuture<'a, Renewal> {
        Box::pin(self.0.refuse(credentials, refusal, is_again))
    }

    fn reread<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, bool> {
        Box::pin(self.0.reread(credentials))
    }
}

/// Whether a session is not opened because its turn would come too late.
fn has_no_turn(error: &Error) -> bool {
    error.kind() == ErrorKind::RateLimited && error.sent() == Sent::No
}

/// How much is left of `window` since `done`; `None` if it has passed.
fn left_of(window: Duration, done: Option<Instant>) -> Option<Duration> {
    window.checked_sub(done?.elapsed()).filter(|left| !left.is_zero())
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, SessionState> {
        lock(&self.state)
    }

    /// The shortest time between two openings of a session within the rate limit.
    fn window(&self) -> Duration {
        self.transport.limits().interval(&Operation::CREATE_SESSION)
    }

    async fn end(&self) -> Result<(), Error> {
        // Each attempt to open one holds this lock too.
        let trouble = &Trouble::default();
        let held = self.keeper.lock(trouble).await?;
        self.reload(trouble).await?;
        let Some(mut context) = self.state().context.clone() else { return Ok(()) };
        let Some(session) = context.session.take() else { return Ok(()) };
        let credentials = context.opened(&session).credentials.hiding(&self.device.api_key);
        match handshake::end(&self.transport, credentials.clone()).await {
            // If bunq does not know the session any more, it is over. A refusal proves little, so bunq is asked.
            Err(error) if error.refuses_token() => match handshake::accepts(&self.transport, credentials).await {
                Some(false) => self.keep(&held, &context, trouble).await,
                Some(true) if error.status() == Some(403) => Err(error.forbidden(ACCEPTED)),
                Some(true) | None => Err(error),
            },
            Err(error) => Err(error),
            Ok(()) => self.keep(&held, &context, trouble).await,
        }
    }

    /// Reads the store, if there is one, and returns the session if it is still valid.
    async fn reload(&self, trouble: &Trouble) -> Result<Option<Opened>, Error> {
        let stored = self.load(trouble).await?;
        Ok(self.take_over(stored))
    }

    /// Takes over what was stored, and returns the session if it is still valid.
    fn take_over(&self, stored: Option<Context>) -> Option<Opened> {
        let mut state = self.state();
        if let Some(mut stored) = stored {
            // What is in memory tells too since when it is there.
            if let Some(known) = state.context.take().filter(|known| known.installation == stored.installation) {
                stored.installation = known.installation;
            }
            self.owner.is_due(stored.session.as_ref());
            if stored.session.is_some() {
                self.owner.activated();
            }
            state.context = Some(stored);
            state.is_unsaved = false;
        }
        state.opened()
    }

    async fn keep(&self, held: &ContextLock, context: &Context, trouble: &Trouble) -> Result<(), Error> {
        self.owner.is_due(context.session.as_ref());
        self.state().context = Some(context.clone());
        let saved = self.keeper.save(held, context, trouble).await;
        self.state().is_unsaved = saved.is_err();
        saved
    }
}
