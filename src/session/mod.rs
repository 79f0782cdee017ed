//! The session of a client: when the installation, the device and the session are made, and how they are shared.
//!
//! Any number of calls share one session. If there is none, one task opens it: first the installation, then the device,
//! then the session. Every call waits for that task and shares its outcome. Processes that share a context store open
//! one session at a time. An opening runs to its end even if every call has given up; if the runtime of its task ends,
//! a call of another runtime opens the session instead. A new session replaces one that has expired or that bunq
//! refuses; the installation and the device stay. Refusals are not signed, so a refused session is replaced at most
//! once in each window of the rate limit.
//!
//! If bunq has forgotten an installation, the client makes a new one by itself only if it has no store. It never
//! replaces a stored installation by itself. It takes over an installation that others have made and stored meanwhile,
//! also when a signature is not valid for the key that it knows.
//!
//! The transport sees the session only as a source of credentials. The three calls themselves are in [`handshake`].

pub(crate) mod context;
mod forecast;
pub(crate) mod handshake;
mod installation;
mod keeper;
mod order;
mod place;
mod queue;
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
use tokio::time::Instant;
use tracing::Span;

pub use self::context::ContextSummary;
use self::context::{Context, ContextStore, Identity, OpenSession};
pub use self::handshake::UserInstallation;
use self::handshake::{ACCEPTED, Device};
use self::keeper::Keeper;
pub use self::user::{SessionUser, UserKind};
use self::users_turn::Work;
pub(crate) use self::users_turn::{Owner, UsersTurn};
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::operation::Operation;
use crate::sync::lock;
use crate::transport::credentials::{BoxFuture, Credentials, Installation, ProvideCredentials, Renewal};
use crate::transport::signature::SigningKey;
use crate::transport::spans::{self, Awaited};
use crate::transport::trouble::Trouble;
use crate::transport::{Transport, metrics, runtime};
use crate::types::Secret;

/// What may have happened if bunq refuses a stored installation.
const FORGOTTEN: &str = "bunq may have forgotten the stored installation, as after its sandbox is emptied";

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
struct Opened {
    credentials: Credentials,
    user: Option<SessionUser>,
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

/// The place of an opening in the state.
type Slot = fn(&mut SessionState) -> &mut Option<Opening>;

#[derive(Debug, Default)]
struct SessionState {
    context: Option<Context>,
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
    /// before a later 403 leads to another session, the client asks bunq whether it still accepts the token.
    has_renewed_after_403: bool,
}

impl SessionState {
    /// The open session, unless it has expired or its token was given up.
    fn opened(&self) -> Option<Opened> {
        let context = self.context.as_ref()?;
        let session = context.session.as_ref()?;
        let is_due = session.renew_at.is_some_and(|renew_at| Timestamp::now() >= renew_at);
        if is_due || self.given_up.as_ref() == Some(&session.token) {
            return None;
        }
        Some(context.opened(session))
    }

    /// The installation that was last used.
    fn installation(&self) -> Option<Arc<Installation>> {
        self.context.as_ref().map(|context| &context.installation).or(self.forgotten.as_ref()).cloned()
    }
}

/// What an opening has made so far. What fails is tried again with it.
#[derive(Clone)]
struct Made {
    key: Option<SigningKey>,
    context: Option<Context>,
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
        self.opened(&Trouble::default(), None).await.map(drop)
    }

    /// Opens the session of a user, unless one is open, and waits for its turn until a time.
    pub(crate) async fn open_by(&self, deadline: Instant) -> Result<(), Error> {
        self.opened(&Trouble::default(), Some(deadline)).await.map(drop)
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
        let mut opened = self.opened(trouble, None).await?;
        if opened.user.is_none() && self.0.state().own != opened.credentials.token {
            // An earlier version stored the session without its user.
            self.0.state().given_up = opened.credentials.token;
            opened = self.opened(trouble, None).await?;
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

    async fn opened(&self, trouble: &Trouble, deadline: Option<Instant>) -> Result<Opened, Error> {
        let join = |own| {
            let mut state = self.0.state();
            if let Some(opened) = state.opened() {
                return ControlFlow::Break(opened);
            }
            let work = async move |shared: Arc<Shared>, trouble| shared.open(&trouble, deadline).await;
            ControlFlow::Continue(self.join(&mut state, |state| &mut state.opening, own, work))
        };
        self.shared(trouble, join).await
    }

    /// Waits for the opening that `join` finds or starts. If the runtime of its task has ended, or may have made it
    /// fail by ending, this starts the opening again in its own runtime.
    async fn shared(
        &self,
        trouble: &Trouble,
        join: impl Fn(Id) -> ControlFlow<Opened, Opening>,
    ) -> Result<Opened, Error> {
        let own = runtime::current()?;
        let mut has_failed = false;
        loop {
            let opening = match join(own) {
                ControlFlow::Break(opened) => return Ok(opened),
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
                self.opened(trouble, None).await?.credentials
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

    /// Takes over a stored session that is still valid, or opens one.
    async fn open(&self, trouble: &Trouble, deadline: Option<Instant>) -> Result<Opened, Error> {
        // Taking over a valid session needs no lock.
        let is_unknown = self.state().context.is_none();
        if is_unknown && let Some(opened) = self.reload(trouble).await? {
            return Ok(opened);
        }
        let _lock = self.keeper.lock(trouble).await?;
        // Another process may have opened a session meanwhile.
        if let Some(opened) = self.reload(trouble).await? {
            return Ok(opened);
        }
        let (known, before) = self.ways(trouble).await?;
        let tried = known.as_ref().map(|known| (Arc::clone(&known.installation), known.is_partners));
        let is_known = known.is_some();
        let error = match self.advance(known, trouble, deadline).await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        if let Some(before) = before.filter(|_| error.is_from_bunq() && error.kind() == ErrorKind::Unauthorized) {
            tracing::info!("bunq takes the token with the installation of before alone");
            return self.advance(Some(before), trouble, deadline).await;
        }
        // bunq may have forgotten the installation.
        if !is_known || !error.refuses_token() || error.operation() != Some(&Operation::CREATE_SESSION) {
            return Err(error);
        }
        if let Some((used, true)) = tried {
            // If the partner has another one by now, the user goes on with it.
            return match self.partners_other(&used, trouble).await? {
                Some(other) => self.advance(Some(other), trouble, deadline).await,
                None => Err(error),
            };
        }
        if self.keeper.has_store() {
            // The next opening reads the store again: an operator may have replaced the context by then.
            let mut state = self.state();
            state.forgotten = state.context.take().map(|context| context.installation);
            drop(state);
            let remedy = if self.partner.is_some() { Remedy::ResetToken } else { Remedy::Reinstall };
            return Err(error.with_advice(FORGOTTEN).with_remedy(remedy));
        }
        let is_first = {
            let window = self.window();
            let mut state = self.state();
            let is_first = left_of(window, state.reinstalled_at).is_none();
            state.reinstalled_at = Some(Instant::now());
            is_first
        };
        if is_first {
            tracing::warn!("bunq does not accept the installation any more: another is made");
            return self.advance(None, trouble, deadline).await;
        }
        Err(error)
    }

    /// Makes a new installation in place of the one in use, unless others have made one meanwhile.
    async fn reinstall(&self, used: Option<Arc<Installation>>, trouble: &Trouble) -> Result<Opened, Error> {
        let used = match used {
            Some(used) => Some(used),
            None => {
                let stored = self.load(trouble).await?.map(|context| context.installation);
                // One that this client itself has made since is the new installation already.
                let made = self.state().installation().filter(|made| made.received.is_some());
                stored.filter(|stored| made.as_ref() != Some(stored))
            }
        };
        let _lock = self.keeper.lock(trouble).await?;
        // Fails here if the stored context belongs to another client, so that it is not replaced.
        let opened = self.reload(trouble).await?;
        let made = self.state().context.clone().filter(|made| Some(&made.installation) != used.as_ref());
        if let Some(made) = made {
            let taken = match opened {
                Some(opened) => Ok(opened),
                None => self.advance(Some(made), trouble, None).await,
            };
            // bunq may have forgotten that installation too.
            if let Ok(taken) = taken
                && handshake::accepts(&self.transport, taken.credentials.clone()).await == Some(true)
            {
                return Ok(taken);
            }
        }
        self.advance(None, trouble, None).await
    }

    /// Makes those of the three calls that have not been made yet. Each result is saved at once.
    async fn advance(
        &self,
        known: Option<Context>,
        trouble: &Trouble,
        deadline: Option<Instant>,
    ) -> Result<Opened, Error> {
        let _turn = self.owner.begin();
        let known = known.map(|context| Context { session: None, ..context });
        let is_prepared = known.as_ref().is_some_and(|context| context.device_registered);
        let made = &Mutex::new(Made { key: None, context: known });
        let prepare = || async move { self.prepare(made, trouble).await.map(drop) };
        let attempt = |time| async move {
            let context = self.prepare(made, trouble).await?;
            let credentials = self.credentials_of(&context);
            let session = handshake::open(&self.transport, &self.device, credentials, trouble, time).await?;
            Ok((context, session))
        };
        let work = Work { is_prepared, prepare, attempt };
        let (mut context, session) = self.owner.open(&self.transport, work, trouble, deadline).await?;
        tracing::info!(renew_at = session.renew_at.map(display), "a session is open");
        metrics::session_opened();
        let opened = context.opened(&session);
        self.state().own = Some(session.token.clone());
        context.session = Some(session);
        self.keep(&context, trouble).await?;
        Ok(opened)
    }

    /// Makes the installation and the device, as far as they are missing in `made`.
    async fn prepare(&self, made: &Mutex<Made>, trouble: &Trouble) -> Result<Context, Error> {
        let Made { key, context } = lock(made).clone();
        let mut context = match context {
            Some(context) => context,
            None => {
                let key = match key {
                    Some(key) => key,
                    None => handshake::make_key(&self.device).await?,
                };
                lock(made).key = Some(key.clone());
                let installation = handshake::install(&self.transport, &self.device, key, trouble).await?;
                let installation = Arc::new(installation);
                let context = Context { installation, is_partners: false, device_registered: false, session: None };
                lock(made).context = Some(context.clone());
                // What a token was used with stays until bunq takes it with another.
                if !self.state().context.as_ref().is_some_and(|context| context.is_partners) {
                    self.keep(&context, trouble).await?;
                }
                context
            }
        };
        if !context.device_registered {
            let credentials = self.credentials_of(&context);
            handshake::register(&self.transport, &self.device, credentials, trouble).await?;
            context.device_registered = true;
            lock(made).context = Some(context.clone());
            self.keep(&context, trouble).await?;
        }
        Ok(context)
    }

    fn credentials_of(&self, context: &Context) -> Credentials {
        Credentials::of_installation(&context.installation).hiding(&self.device.api_key)
    }

    async fn end(&self) -> Result<(), Error> {
        // An opening holds this lock too.
        let trouble = &Trouble::default();
        let _lock = self.keeper.lock(trouble).await?;
        self.reload(trouble).await?;
        let Some(mut context) = self.state().context.clone() else { return Ok(()) };
        let Some(session) = context.session.take() else { return Ok(()) };
        let credentials = context.opened(&session).credentials.hiding(&self.device.api_key);
        match handshake::end(&self.transport, credentials.clone()).await {
            // If bunq does not know the session any more, it is over. A refusal proves little, so bunq is asked.
            Err(error) if error.refuses_token() => match handshake::accepts(&self.transport, credentials).await {
                Some(false) => self.keep(&context, trouble).await,
                Some(true) if error.status() == Some(403) => Err(error.forbidden(ACCEPTED)),
                Some(true) | None => Err(error),
            },
            Err(error) => Err(error),
            Ok(()) => self.keep(&context, trouble).await,
        }
    }

    /// Reads the store, if there is one, and returns the session if it is still valid.
    async fn reload(&self, trouble: &Trouble) -> Result<Option<Opened>, Error> {
        let stored = self.load(trouble).await?;
        let mut state = self.state();
        if let Some(mut stored) = stored {
            // What is in memory tells too since when it is there.
            if let Some(known) = state.context.take().filter(|known| known.installation == stored.installation) {
                stored.installation = known.installation;
            }
            self.owner.is_due(stored.session.as_ref());
            state.context = Some(stored);
        }
        Ok(state.opened())
    }

    async fn keep(&self, context: &Context, trouble: &Trouble) -> Result<(), Error> {
        self.owner.is_due(context.session.as_ref());
        self.state().context = Some(context.clone());
        self.keeper.save(context, trouble).await
    }
}
