//! The session of a client: when the installation, the device and the session are made, and how they are shared.
//!
//! Any number of calls share one session. If there is none, one task opens it, in the order installation, device,
//! session, and every call waits for that task and shares its outcome. Processes that share a context store open one at a
//! time. An opening runs to its end even if every call has given up. A session that has expired or was rejected is
//! replaced by a new session; the installation and the device stay.
//!
//! The transport sees the session only as a source of credentials. The three calls themselves are in [`handshake`].

pub(crate) mod context;
pub(crate) mod handshake;
mod user;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument as _;

use self::context::{Context, ContextLock, ContextStore, Identity, OpenSession};
use self::handshake::Device;
pub use self::user::{SessionUser, UserKind};
use crate::error::{Error, ErrorKind, Sent};
use crate::transport::Transport;
use crate::transport::credentials::{BoxFuture, Credentials, ProvideCredentials};
use crate::types::Secret;

/// The session of one client. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Session(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    transport: Arc<Transport>,
    device: Device,
    identity: Identity,
    /// `None`: the context is in the state alone.
    store: Option<Arc<dyn ContextStore>>,
    /// The lock in place of a store's.
    own_lock: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<SessionState>,
}

/// What a call gets from an open session.
#[derive(Debug, Clone)]
struct Opened {
    credentials: Credentials,
    user: Option<SessionUser>,
}

/// The outcome of an opening; `None` while it is in progress.
type Outcome = Option<Result<Opened, Error>>;

#[derive(Debug, Default)]
struct SessionState {
    context: Option<Context>,
    /// The opening in progress. A waiter holds no lock, so a future that is not polled does not block the others.
    opening: Option<watch::Receiver<Outcome>>,
}

impl SessionState {
    /// The open session, unless it has expired or its token is the one that bunq has `rejected`.
    fn opened(&self, rejected: Option<&Secret>) -> Option<Opened> {
        let context = self.context.as_ref()?;
        let session = context.session.as_ref()?;
        let is_due = session.renew_at.is_some_and(|renew_at| Timestamp::now() >= renew_at);
        if is_due || rejected == Some(&session.token) {
            return None;
        }
        Some(context.opened(session))
    }

    /// The opening in progress. One whose task has ended, in whatever way, has closed its channel.
    fn opening(&self) -> Option<watch::Receiver<Outcome>> {
        self.opening.clone().filter(|opening| opening.borrow().is_none() && opening.has_changed().is_ok())
    }
}

impl Context {
    fn opened(&self, session: &OpenSession) -> Opened {
        let credentials =
            Credentials { installation: Some(Arc::clone(&self.installation)), token: Some(session.token.clone()) };
        Opened { credentials, user: session.user.clone() }
    }
}

impl Session {
    pub(crate) fn new(
        transport: Arc<Transport>,
        device: Device,
        identity: Identity,
        store: Option<Arc<dyn ContextStore>>,
    ) -> Self {
        Self(Arc::new(Shared { transport, device, identity, store, own_lock: Arc::default(), state: Mutex::default() }))
    }

    /// Opens a session, unless one is open.
    pub(crate) async fn open(&self) -> Result<(), Error> {
        self.opened(None).await.map(drop)
    }

    /// Returns the user of the session; opens one if none is open.
    pub(crate) async fn user(&self) -> Result<SessionUser, Error> {
        let mut opened = self.opened(None).await?;
        if opened.user.is_none() {
            // An earlier version has stored the session without its user.
            opened = self.opened(opened.credentials.token.as_ref()).await?;
        }
        let problem = "the response to create_session has no user with an id";
        opened.user.ok_or_else(|| Error::new(ErrorKind::InvalidResponse, Sent::No, problem))
    }

    /// Ends the open session at bunq, if there is one. It is done even if the caller gives up.
    pub(crate) async fn end(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.0);
        let ending = tokio::spawn(async move { shared.end().await }.in_current_span()).await;
        ending.map_err(|error| Error::internal("the task that ended the session was aborted").with_source(error))?
    }

    async fn opened(&self, rejected: Option<&Secret>) -> Result<Opened, Error> {
        let mut outcome = {
            let mut state = self.0.state();
            if let Some(opened) = state.opened(rejected) {
                return Ok(opened);
            }
            state.opening().unwrap_or_else(|| {
                let (sender, outcome) = watch::channel(None);
                let (shared, rejected) = (Arc::clone(&self.0), rejected.cloned());
                let opening = async move {
                    let outcome = shared.open(rejected.as_ref()).await;
                    // The state does not keep a token alive that a later session replaces.
                    shared.state().opening = None;
                    // Every waiter may have given up.
                    let _ = sender.send(Some(outcome));
                };
                tokio::spawn(opening.in_current_span());
                state.opening = Some(outcome.clone());
                outcome
            })
        };
        match outcome.wait_for(Outcome::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(Error::internal("the task that opened a session was aborted")),
        }
    }
}

impl ProvideCredentials for Session {
    fn credentials<'a>(&'a self, rejected: Option<&'a Secret>) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async move { self.opened(rejected).await.map(|opened| opened.credentials) })
    }

    fn is_renewable(&self) -> bool {
        true
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a stored session that is still valid, or opens one.
    async fn open(&self, rejected: Option<&Secret>) -> Result<Opened, Error> {
        // A session that is still valid needs no lock.
        let is_unknown = self.state().context.is_none();
        if is_unknown && let Some(opened) = self.reload(rejected).await? {
            return Ok(opened);
        }
        let _lock = self.lock().await?;
        // Another process may have opened one meanwhile.
        if let Some(opened) = self.reload(rejected).await? {
            return Ok(opened);
        }
        let known = self.state().context.clone();
        let opened = self.advance(known).await;
        let is_refused =
            opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unauthorized && error.is_from_bunq());
        if is_refused && self.store.is_some() {
            // If bunq has forgotten the installation, an operator removes it from the store. The next opening reads the
            // store again.
            self.state().context = None;
        }
        opened
    }

    /// Makes those of the three calls that have not been made yet. Each result is stored at once.
    async fn advance(&self, known: Option<Context>) -> Result<Opened, Error> {
        let mut context = match known {
            Some(context) => Context { session: None, ..context },
            None => {
                let installation = Arc::new(handshake::install(&self.transport).await?);
                let context = Context { installation, device_registered: false, session: None };
                self.keep(&context).await?;
                context
            }
        };
        let credentials = Credentials::of_installation(&context.installation);
        if !context.device_registered {
            handshake::register(&self.transport, &self.device, credentials.clone()).await?;
            context.device_registered = true;
            self.keep(&context).await?;
        }
        let session = handshake::open(&self.transport, &self.device, credentials).await?;
        tracing::info!(renew_at = ?session.renew_at.map(|at| at.to_string()), "a session is open");
        let opened = context.opened(&session);
        context.session = Some(session);
        self.keep(&context).await?;
        Ok(opened)
    }

    async fn end(&self) -> Result<(), Error> {
        // An opening holds the lock too.
        let _lock = self.lock().await?;
        self.reload(None).await?;
        let Some(mut context) = self.state().context.clone() else { return Ok(()) };
        let Some(session) = context.session.take() else { return Ok(()) };
        match handshake::end(&self.transport, context.opened(&session).credentials).await {
            Err(error) if error.kind() != ErrorKind::Unauthorized || !error.is_from_bunq() => Err(error),
            _ => self.keep(&context).await,
        }
    }

    /// Reads the store, if there is one, and returns the session if it is valid.
    async fn reload(&self, rejected: Option<&Secret>) -> Result<Option<Opened>, Error> {
        let stored = match &self.store {
            Some(store) => self.in_time("its context was not loaded", store.load()).await?,
            None => None,
        };
        let context = stored.map(|text| Context::decode(&text, &self.identity)).transpose();
        let context = context.map_err(|problem| self.store_error(problem))?;
        let mut state = self.state();
        if context.is_some() {
            state.context = context;
        }
        Ok(state.opened(rejected))
    }

    async fn keep(&self, context: &Context) -> Result<(), Error> {
        self.state().context = Some(context.clone());
        match &self.store {
            Some(store) => {
                let text = context.encode(&self.identity).map_err(|problem| self.store_error(problem))?;
                let store = Arc::clone(store);
                // A save that takes too long is not broken off.
                let saving = tokio::spawn(async move { store.save(text).await }.in_current_span());
                let saved = async { saving.await.unwrap_or_else(|error| Err(self.store_error(error))) };
                self.in_time("its context was not saved", saved).await
            }
            None => Ok(()),
        }
    }

    /// Takes the lock under which a session is opened or ended, by one task of one process at a time.
    async fn lock(&self) -> Result<ContextLock, Error> {
        let locked = async {
            match &self.store {
                Some(store) => store.lock().await,
                None => Ok(ContextLock::new(Arc::clone(&self.own_lock).lock_owned().await)),
            }
        };
        self.in_time("its lock was not released", locked).await
    }

    /// Waits for the store no longer than a call may take.
    async fn in_time<T>(&self, problem: &str, step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let within = self.transport.config().operation_timeout;
        let late = |_| Err(self.store_error(format_args!("{problem} within {within:?}: try again")));
        timeout(within, step).await.unwrap_or_else(late)
    }

    fn store_error(&self, problem: impl std::fmt::Display) -> Error {
        match &self.store {
            Some(store) => Error::context(format_args!("{store:?}: {problem}")),
            None => Error::context(format_args!("the session of this client: {problem}")),
        }
    }
}
