//! bunq on loopback: a server that behaves like bunq's Partner API, for tests without a network.
//!
//! It is not a mock: what is created is there until it is closed, sessions die, ids are used up, and a wrong order, a
//! wrong token or a wrong signature gets bunq's own kind of refusal. What bunq's public documentation does not say is
//! decided here, and said so where it is. bunq's rate limits are kept [if you ask for it](SandboxBuilder::rate_limits).
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
//!
//! What goes wrong between two computers can be had too, at any time and any point of an exchange: see [`Fault`] for
//! what there is, and [`Injection`] for when it strikes.
//!
//! ```
//! use bunq_partner::Operation;
//! use bunq_partner::sandbox::{Fault, Injection, Sandbox};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start().await?;
//! let client = sandbox.client().build()?;
//! let provision = sandbox.populate(1)[0];
//!
//! // bunq closes the provision, but its response is lost.
//! sandbox.inject(Injection::new(Fault::Drop).on(&Operation::UPDATE_PROVISION));
//! let _ = client.provisions().close(provision).await;
//!
//! let journal = sandbox.take_journal();
//! let closing = journal.iter().find(|call| call.fault == Some(Fault::Drop)).ok_or("no fault was played")?;
//! assert!(closing.carried_out);
//! # Ok(())
//! # }
//! ```

mod access_control;
mod bank;
mod call;
mod clock;
mod creation;
mod drift;
mod exchange;
mod fault;
mod handshake;
mod input;
mod journal;
mod life_cycle;
mod limits;
mod listing;
mod provision;
mod provisions;
mod response;
mod routes;
mod server;
mod settings;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;

pub use self::fault::{Fault, Injection};
pub use self::journal::{JournalEntry, ReceivedSignature};
pub use self::response::RawResponse;
pub use self::settings::{CreationResponse, Pace, SignatureForm};

use self::bank::{Bank, Settings};
use self::exchange::{BankState, Edits, SharedState, lock, new_key};
use self::fault::Injections;
use self::journal::Journal;
use self::life_cycle::Event;
use self::limits::ServerRateLimits;
use crate::builder::ClientBuilder;
use crate::client::Client;
use crate::environment::Environment;
use crate::operation::Operation;
use crate::types::{ProvisionId, Secret};

/// A running sandbox.
///
/// It serves for as long as a handle of it is there and the Tokio runtime runs in which it was started; clones are
/// handles of the same sandbox. With the last handle the server and its connections end; all it knows is in memory and
/// goes with it. An exchange whose request has been read goes to its end even if the caller hangs up.
///
/// Where bunq's documentation is silent, the sandbox reads it so:
/// - creating a second provision with the same `external_uuid` is refused with 400, and nothing is created, unless
///   [`SandboxBuilder::deduplicate`] says otherwise;
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
    shared: Arc<SharedState>,
    server: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
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
            creation_response: CreationResponse::Id,
            deduplicate: true,
            rate_limits: ServerRateLimits::default(),
            injections: Injections::default(),
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

    /// Starts to build a client for this sandbox: its address, its API key and the rate limits that it keeps are
    /// filled in.
    pub fn client(&self) -> ClientBuilder {
        let builder = Client::builder(Environment::Sandbox).base_url(self.base_url()).api_key(self.api_key());
        let limits = self.state().rate_limits.kept();
        limits.into_iter().fold(builder.without_rate_limits(), |builder, (operation, limit)| {
            builder.rate_limit(operation, limit.calls, limit.per)
        })
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

    /// Ends all sessions: the next call with any token of theirs gets 401.
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

    /// Makes so many provisions at once, `ACTIVE` and with a credential that nobody has used, and gives their ids,
    /// oldest first.
    ///
    /// It is made for many: 100,000 take a fraction of a second and some tens of megabytes.
    pub fn populate(&self, count: usize) -> Vec<ProvisionId> {
        self.state().bank.populate(count).into_iter().filter_map(|id| id.try_into().ok()).collect()
    }

    /// The last 10,000 calls, oldest first, with everything in them.
    ///
    /// Headers and bodies **hold API keys, tokens and personal data**.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.state().journal.entries()
    }

    /// The calls of the [journal](Self::journal), which is empty afterwards.
    pub fn take_journal(&self) -> Vec<JournalEntry> {
        self.state().journal.take()
    }

    /// Adds a [`Fault`], or an [`Injection`] that says which calls it strikes, to those that are not used up.
    ///
    /// One fault at most strikes a call: of the injections that are due, the one that was added first.
    pub fn inject(&self, injection: impl Into<Injection>) {
        self.state().injections.push(injection.into());
    }

    /// Takes all injections back.
    pub fn clear_injections(&self) {
        self.state().injections.clear();
    }

    /// Edits every response before it is signed, error responses included: what comes out is validly signed.
    ///
    /// This is how to play drift of your own, beyond that of [`Fault`]. By then a fault has been played, unless it
    /// strikes at the signature or on the wire. `edit` replaces the one set before. It runs on the server's thread,
    /// one call at a time, so it should be quick; it must neither set nor clear edits, and a handle of this sandbox
    /// that it owns keeps the sandbox running until it is cleared.
    pub fn before_signing(&self, edit: impl FnMut(&JournalEntry, &mut RawResponse) + Send + 'static) {
        lock(&self.running.shared.edits).before_signing = Some(Box::new(edit));
    }

    /// Edits every response after it is signed, error responses included: what would go on the wire.
    ///
    /// This is how to play faults of your own, beyond [`Fault`]. Otherwise it is as
    /// [`before_signing`](Self::before_signing).
    pub fn after_signing(&self, edit: impl FnMut(&JournalEntry, &mut RawResponse) + Send + 'static) {
        lock(&self.running.shared.edits).after_signing = Some(Box::new(edit));
    }

    /// Lets responses go out unedited again.
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
    creation_response: CreationResponse,
    deduplicate: bool,
    rate_limits: ServerRateLimits,
    injections: Injections,
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
    /// Responses tell it in whole seconds, rounded down.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// What the signatures of responses cover. At first [`SignatureForm::Body`].
    pub fn signature_form(mut self, form: SignatureForm) -> Self {
        self.signature_form = form;
        self
    }

    /// The response to the creation of a provision. At first [`CreationResponse::Id`].
    pub fn creation_response(mut self, response: CreationResponse) -> Self {
        self.creation_response = response;
        self
    }

    /// Whether the creation of a provision is refused if its `external_uuid` was used before. At first `true`.
    ///
    /// `false` makes a second provision: the strictest test of a client that must not create twice.
    pub fn deduplicate(mut self, deduplicate: bool) -> Self {
        self.deduplicate = deduplicate;
        self
    }

    /// Whether bunq's rate limits are kept, as each [`Operation`] has them. At first `false`.
    ///
    /// A limit is for one operation and all callers, who share an address here. Its window rolls: it looks back from
    /// the arrival of each call. What would break it gets 429, in bunq's words and without a `Retry-After`; it
    /// is not carried out, and it does not itself count. bunq does not say whether it does.
    pub fn rate_limits(mut self, are_kept: bool) -> Self {
        self.rate_limits.are_kept = are_kept;
        self
    }

    /// Gives one operation a limit of its own, which is kept whatever [`rate_limits`](Self::rate_limits) says.
    pub fn rate_limit(mut self, operation: &Operation, calls: u32, per: Duration) -> Self {
        self.rate_limits.set(operation, calls, per);
        self
    }

    /// Injects a fault from the start, as [`Sandbox::inject`] does later.
    pub fn inject(mut self, injection: impl Into<Injection>) -> Self {
        self.injections.push(injection.into());
        self
    }

    /// The port on 127.0.0.1. At first 0: any that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the sandbox in the current Tokio runtime, which must have its I/O and its time driver enabled.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on, or no key can be made.
    pub async fn start(self) -> io::Result<Sandbox> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let key = new_key().await?;
        let api_key = self.api_key.unwrap_or_else(|| Secret::new(format!("sandbox_{}", clock::random_token())));
        let bank = Bank::new(Settings {
            pace: self.pace,
            api_key: api_key.clone(),
            session_timeout: self.session_timeout,
            creation_response: self.creation_response,
            deduplicate: self.deduplicate,
            public_key_pem: key.public_key_pem().map_err(io::Error::other)?,
        });
        let shared = Arc::new(SharedState {
            key,
            foreign_key: OnceCell::new(),
            signature_form: self.signature_form,
            state: Mutex::new(BankState {
                bank,
                rate_limits: self.rate_limits,
                injections: self.injections,
                journal: Journal::default(),
            }),
            edits: Mutex::new(Edits::default()),
        });
        let server = tokio::spawn(server::serve(listener, Arc::clone(&shared))).abort_handle();
        Ok(Sandbox { running: Arc::new(Running { base_url, api_key, shared, server }) })
    }
}
