//! bunq on loopback: a server that behaves like bunq's Partner API, for tests without a network.
//!
//! It is not a mock: what is created is there until it is closed, sessions die, ids are used up, and a wrong order, a
//! wrong token or a wrong signature gets bunq's own kind of refusal. What bunq's public documentation does not say is
//! decided here, and said so where it is. It does not keep bunq's rate limits.
//!
//! ```
//! use bunq_partner::{NewProvision, ProvisionStatus, Uuid, sandbox::Sandbox};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start().await?;
//! let client = sandbox.client().build()?;
//!
//! let new = NewProvision::person(Uuid::new_v4(), "user@example.com".parse()?, "+31600000000".parse()?);
//! let creating = client.provisions().create(new).await?;
//!
//! // What does your integration do when bunq fails to make the user?
//! sandbox.fail(creating.id());
//! let error = creating.wait().await.expect_err("it has failed");
//! assert_eq!(error.last_seen().map(|seen| &seen.status), Some(&ProvisionStatus::Failed));
//! # Ok(())
//! # }
//! ```

mod access;
mod answer;
mod bank;
mod clock;
mod creation;
mod exchange;
mod handshake;
mod input;
mod journal;
mod life_cycle;
mod listing;
mod provision;
mod provisions;
mod routes;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use self::answer::Answer;
pub use self::journal::{JournalEntry, ReceivedSignature};

use self::bank::{Bank, Settings};
use self::exchange::{BankState, Edits, Shared};
use self::journal::Journal;
use self::life_cycle::Event;
use crate::signature::SigningKey;
use crate::{Client, ClientBuilder, Environment, ProvisionId, Secret};

/// A running sandbox.
///
/// It serves for as long as a handle of it is there and the Tokio runtime runs in which it was started; clones are
/// handles of the same sandbox. All it knows is in memory and goes with it.
///
/// Where bunq's documentation is silent, the sandbox reads it so:
/// - creating a second provision with the same `external_uuid` is refused with 400, and nothing is created;
/// - a token reset is refused with 400 while one is under way, as is closing what is closing or closed;
/// - a credential that expired unused still shows its token, which opens nothing; a failed provision has none;
/// - `permitted_ips` must be well-formed, but calls from elsewhere are not refused;
/// - a listing refuses parameters that it does not know, and any that stands there twice.
#[derive(Clone)]
pub struct Sandbox {
    running: Arc<Running>,
}

struct Running {
    base_url: String,
    api_key: Secret,
    shared: Arc<Shared>,
    /// Dropped with the last handle, which stops the server.
    _stop: oneshot::Sender<()>,
}

impl Sandbox {
    /// Starts a sandbox with the settings that the [builder](Self::builder) begins with.
    ///
    /// # Errors
    ///
    /// As [`SandboxBuilder::start`].
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Sets a sandbox up before it starts.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder {
            pace: Pace::EachRead,
            api_key: None,
            session_timeout: Duration::from_secs(604_800),
            signature_form: SignatureForm::Body,
            creation_answer: CreationAnswer::Id,
            port: 0,
        }
    }

    /// Where it serves: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> &str {
        &self.running.base_url
    }

    /// The partner's API key.
    pub fn api_key(&self) -> Secret {
        self.running.api_key.clone()
    }

    /// Starts to build a client for this sandbox: its address and its API key are filled in, and no rate limits are
    /// kept.
    pub fn client(&self) -> ClientBuilder {
        Client::builder(Environment::Sandbox).base_url(self.base_url()).api_key(self.api_key()).without_rate_limits()
    }

    /// Moves a provision one step on in its life cycle, whatever the [`Pace`].
    ///
    /// Returns `false` if it is at rest (`ACTIVE`, `CLOSED`, `FAILED`) or there is no such provision.
    pub fn advance(&self, id: ProvisionId) -> bool {
        self.state().bank.intervene(id.get(), Event::Progress)
    }

    /// Lets bunq's work on a provision fail: its status becomes `FAILED`, and it loses its credential.
    ///
    /// Returns `false` if it is `CLOSED` or `FAILED` or there is no such provision.
    pub fn fail(&self, id: ProvisionId) -> bool {
        self.state().bank.intervene(id.get(), Event::Fail)
    }

    /// Makes a provision's credential expire, as if it had waited too long for its first use.
    ///
    /// Returns `false` if there is no credential in `PENDING_FIRST_USE` or no such provision.
    pub fn expire_credential(&self, id: ProvisionId) -> bool {
        self.state().bank.expire_credential(id.get())
    }

    /// Ends all sessions: the next call with any token of theirs is answered 401.
    pub fn end_sessions(&self) {
        self.state().bank.access.end_all_sessions();
    }

    /// A provision as bunq would show it now, its token included. Does not count as a read.
    pub fn provision(&self, id: ProvisionId) -> Option<Value> {
        self.state().bank.peek(id.get())
    }

    /// The ids of all provisions, oldest first.
    pub fn provision_ids(&self) -> Vec<ProvisionId> {
        self.state().bank.provisions.ids().filter_map(|id| id.try_into().ok()).collect()
    }

    /// The last 10,000 calls, oldest first, with everything in them.
    ///
    /// Headers and bodies **hold API keys, tokens and personal data**.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.state().journal.entries()
    }

    /// Edits every answer before it is signed, error answers included: what comes out is validly signed.
    ///
    /// This is how to play drift: new fields, new statuses, items missing. `edit` replaces the one set before. It
    /// runs on the server's thread, one call at a time, so it should be quick; it must neither set nor clear
    /// edits, and a handle of this sandbox that it owns keeps the sandbox running until it is cleared.
    pub fn before_signing(&self, edit: impl FnMut(&JournalEntry, &mut Answer) + Send + 'static) {
        lock(&self.running.shared.edits).before_signing = Some(Box::new(edit));
    }

    /// Edits every answer after it is signed, error answers included: what would go on the wire.
    ///
    /// This is how to play faults: tampering, missing signatures, a proxy's error page. Otherwise it is as
    /// [`before_signing`](Self::before_signing).
    pub fn after_signing(&self, edit: impl FnMut(&JournalEntry, &mut Answer) + Send + 'static) {
        lock(&self.running.shared.edits).after_signing = Some(Box::new(edit));
    }

    /// Lets answers go out unedited again.
    pub fn clear_edits(&self) {
        *lock(&self.running.shared.edits) = Edits::default();
    }

    fn state(&self) -> MutexGuard<'_, BankState> {
        lock(&self.running.shared.state)
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("base_url", &self.running.base_url).finish()
    }
}

/// The settings of a sandbox that is about to start.
#[derive(Debug, Clone)]
#[must_use = "a sandbox does nothing until it is started"]
pub struct SandboxBuilder {
    pace: Pace,
    api_key: Option<Secret>,
    session_timeout: Duration,
    signature_form: SignatureForm,
    creation_answer: CreationAnswer,
    port: u16,
}

impl SandboxBuilder {
    /// What moves provisions on. At first [`Pace::EachRead`].
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// The partner's API key. At first a random one that starts with `sandbox_`.
    pub fn api_key(mut self, api_key: Secret) -> Self {
        self.api_key = Some(api_key);
        self
    }

    /// How long a session lasts from its opening. At first 604,800 s, a week.
    ///
    /// Answers tell it in whole seconds, rounded down.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// What the signatures of answers cover. At first [`SignatureForm::Body`].
    pub fn signature_form(mut self, form: SignatureForm) -> Self {
        self.signature_form = form;
        self
    }

    /// What the creation of a provision answers. At first [`CreationAnswer::Id`].
    pub fn creation_answer(mut self, answer: CreationAnswer) -> Self {
        self.creation_answer = answer;
        self
    }

    /// The port on 127.0.0.1. At first 0: any that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the sandbox in the current Tokio runtime, which must have its I/O driver enabled.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on, or no key can be made.
    pub async fn start(self) -> io::Result<Sandbox> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let key = tokio::task::spawn_blocking(SigningKey::generate).await?.map_err(io::Error::other)?;
        let api_key = self.api_key.unwrap_or_else(|| Secret::new(format!("sandbox_{}", clock::random_token())));
        let bank = Bank::new(Settings {
            pace: self.pace,
            api_key: api_key.clone(),
            session_timeout: self.session_timeout,
            creation_answer: self.creation_answer,
            public_key_pem: key.public_key_pem().map_err(io::Error::other)?,
        });
        let shared = Arc::new(Shared {
            key,
            signature_form: self.signature_form,
            state: Mutex::new(BankState { bank, journal: Journal::default() }),
            edits: Mutex::new(Edits::default()),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let routes = Router::new().fallback(exchange::handle).with_state(Arc::clone(&shared));
        let server = axum::serve(listener, routes).with_graceful_shutdown(async {
            // An error is what tells that the sender is gone.
            let _ = stopped.await;
        });
        tokio::spawn(async { server.await });
        Ok(Sandbox { running: Arc::new(Running { base_url, api_key, shared, _stop: stop }) })
    }
}

/// What moves a provision on, step by step through its life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pace {
    /// Reading it, alone or on a page of a listing: each read of a step that has been read before. So every step
    /// is shown, and whoever polls comes to the end without waiting.
    EachRead,
    /// [`Sandbox::advance`] alone.
    Manual,
    /// Time: a step for each such duration.
    Every(Duration),
}

/// What the signatures of answers cover. Both forms are bunq's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureForm {
    /// The body alone.
    Body,
    /// The older form: the status, the `X-Bunq-*` headers and the body.
    WithHeaders,
}

/// What the creation of a provision answers. Both answers are documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreationAnswer {
    /// One `Id` item.
    Id,
    /// One `PartnerUserProvision` item.
    Provision,
}

/// Locks what no panic can leave half-changed: where one happened, in an edit, the data is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
