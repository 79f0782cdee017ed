//! The client, for a partner or for one of its users.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use jiff::Timestamp;

use crate::api::Api;
use crate::builder::ClientBuilder;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::provisions::{Poller, Provisions, ProvisionsConfig};
use crate::session::{ContextSummary, Session, SessionUser};
use crate::transport::Transport;
use crate::types::{Credential, CredentialStatus, Secret};

/// A client of bunq's Partner API, for one API key.
///
/// Cheap to clone: all clones share the connections, the rate limits and the one session, which is opened by the first
/// call that needs it. Must be used within a Tokio runtime.
///
/// Several runtimes can share one client, as a `static` of tests that have a runtime each, and end at any time: each keeps
/// connections of its own, and what a task of one does for all, another goes on with. A session that is being opened in a
/// runtime that is there but not run, such as a `current_thread` one outside of `block_on`, is waited for as long as a call
/// may take.
///
/// ```no_run
/// # async fn example() -> Result<(), bunq_partner::Error> {
/// use bunq_partner::{Client, Environment, FileStore, ProvisionId};
///
/// let client = Client::builder(Environment::Sandbox)
///     .api_key("sandbox_…")
///     .context_store(FileStore::new("bunq-context.json"))
///     .build()?;
/// let provision = client.provisions().get(ProvisionId::try_from(123_u64)?).await?;
/// println!("{}", provision.status);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    environment: Environment,
    transport: Arc<Transport>,
    session: Session,
    provisions: Provisions,
    api: Api,
}

impl Client {
    pub(crate) fn new(
        environment: Environment,
        transport: Arc<Transport>,
        session: Session,
        provisions: ProvisionsConfig,
    ) -> Self {
        let api = Api::new(Arc::clone(&transport), Arc::new(session.clone()));
        let provisions =
            Provisions::new(api.clone(), Poller::new(api.clone()), provisions, session.api_key_fingerprint());
        Self { environment, transport, session, provisions, api }
    }

    /// Starts to build a client for `environment`.
    pub fn builder(environment: Environment) -> ClientBuilder {
        ClientBuilder::new(environment)
    }

    /// Starts to build a client from the process's environment: the API key from `BUNQ_API_KEY`, and from
    /// `BUNQ_ENV` either `sandbox`, which is also meant where it is not set, or `production`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if `BUNQ_API_KEY` is not set or not text, or `BUNQ_ENV` is something else.
    pub fn builder_from_env() -> Result<ClientBuilder, Error> {
        ClientBuilder::from_env(|name| std::env::var_os(name).map(OsString::into_string))
    }

    /// Returns the base URL of all calls, without a slash at its end.
    pub fn base_url(&self) -> &str {
        self.transport.base_url()
    }

    /// Returns the fingerprint of the API key, which shows which key it is of and nothing of the key. It is in journals and in
    /// stored contexts too: a program that keeps what is of one key can tell it by this.
    pub fn api_key_fingerprint(&self) -> &str {
        self.session.api_key_fingerprint()
    }

    /// Returns the operations on provisions that take more than one call: create, find, close, reset, wait and list.
    pub fn provisions(&self) -> Provisions {
        self.provisions.clone()
    }

    /// Returns the typed methods of all operations of the OpenAPI document.
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    /// Starts to build a client that acts for a provisioned user, with the credential of the user's provision.
    ///
    /// [`open_session`](Self::open_session) takes the credential into use, and [`user`](Self::user) returns the id with
    /// which bunq's paths for that user begin. This crate has no calls on accounts and payments yet, and a user may not
    /// make the calls on provisions.
    ///
    /// The builder has this client's timeouts, base URL and [`HttpConfig`](crate::HttpConfig), and the two clients share their rate limits, because bunq
    /// counts calls by the address that they come from. The first session turns the credential `ACTIVE`, and bunq never
    /// shows its token again: give the builder a [context store](ClientBuilder::context_store) of the user's own, and
    /// store the token as you store your API key, for [`for_user_token`](Self::for_user_token) after a restart.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CredentialSpent`] if the credential has expired or its token is not shown any more:
    /// [`reset_token`](Provisions::reset_token) gets another.
    pub fn for_user(&self, credential: &Credential) -> Result<ClientBuilder, Error> {
        let spent = |problem: &str| {
            let message = format_args!("the credential {problem}: get another with `reset_token`");
            Error::new(ErrorKind::CredentialSpent, Sent::No, message)
        };
        let over = credential.expiry_time.is_some_and(|expiry| expiry.as_jiff() <= Timestamp::now());
        let used = credential.status == Some(CredentialStatus::Active);
        if credential.status == Some(CredentialStatus::Expired) || (over && !used) {
            return Err(spent("has expired unused"));
        }
        let token =
            credential.token_value.as_ref().ok_or_else(|| spent("has been used, and its token is not shown"))?;
        Ok(self.for_user_token(token.clone()))
    }

    /// Like [`for_user`](Self::for_user), with a token that you have stored. bunq decides whether it is still valid.
    pub fn for_user_token(&self, token: impl Into<Secret>) -> ClientBuilder {
        ClientBuilder::for_user(self.environment, &self.transport, *self.provisions.config(), token.into())
    }

    /// Opens a session now, if none is open; otherwise the first call does it.
    ///
    /// Call it at the start of a program to learn at once whether the API key is accepted, and on a user's client to
    /// take the credential into use before it expires. A stored session that has not expired is used without
    /// asking bunq.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`].
    pub async fn open_session(&self) -> Result<(), Error> {
        self.session.open().await
    }

    /// Makes a new installation, with keys of its own, and opens a session with it, in place of the one that is in memory
    /// or in the [context store](ClientBuilder::context_store).
    ///
    /// Call it when bunq has forgotten the installation, as after its sandbox is emptied, or when bunq's signatures are not
    /// valid any more, because the key that is stored is damaged or out of date. In memory alone, a client does it by itself
    /// when bunq refuses the installation. It never does so because a signature is not valid, since that would trust whoever
    /// made it.
    ///
    /// One call is enough for all that share a store: before a call of theirs fails, because a signature is not valid or
    /// because a refused session cannot be renewed, they read the store once, and use what is there if it is another
    /// installation. Calls of `reinstall` at the same time share one, also in several processes: what another has stored
    /// meanwhile, and bunq accepts, is taken over.
    ///
    /// # Errors
    ///
    /// [`Context`](ErrorKind::Context) if the stored context is another client's, or cannot be read: it is not replaced.
    /// Remove it then.
    pub async fn reinstall(&self) -> Result<(), Error> {
        self.session.reinstall().await
    }

    /// Returns the user that the session acts for. Most of bunq's paths begin with the id of that user. Opens a session if
    /// none is open.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
    /// let user = client.user().await?;
    /// println!("/user/{}/… is a {:?}", user.id, user.kind);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidResponse`](ErrorKind::InvalidResponse) if bunq did not say it when the session was opened.
    pub async fn user(&self) -> Result<SessionUser, Error> {
        self.session.user().await
    }

    /// Returns how long a call of `operation` would wait for its permit within bunq's rate limit if it began now. It asks
    /// nobody: what others at the address do is not known.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) {
    /// use std::time::Duration;
    /// use bunq_partner::Operation;
    ///
    /// if client.expected_wait(&Operation::UPDATE_PROVISION) > Duration::from_secs(30) {
    ///     println!("others are closing: try again later");
    /// }
    /// # }
    /// ```
    pub fn expected_wait(&self, operation: &Operation) -> Duration {
        self.transport.limits().expected_wait(operation)
    }

    /// Yields why attempts of the client's calls fail, from now on: each failure that [may pass](Error::is_retryable), also where
    /// the call goes on with another attempt. Of those that come together, it yields the last.
    ///
    /// It says what a [`Bulk`](crate::Bulk) operation or a [`Waiter`](crate::Waiter) waits for that goes on through an outage: a
    /// name, a port, a certificate, the bank.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) {
    /// use futures_util::StreamExt as _;
    ///
    /// let failures = client.failures();
    /// tokio::spawn(failures.for_each(async |failure| eprintln!("it is tried again: {failure}")));
    /// # }
    /// ```
    pub fn failures(&self) -> impl Stream<Item = Error> + Send + use<> {
        unfold(self.transport.health().failures(), async |mut failure| {
            failure.changed().await.ok()?;
            let error = failure.borrow_and_update().clone()?;
            Some((error, failure))
        })
    }

    /// Returns what the client has of earlier calls, in memory or in the [context store](ClientBuilder::context_store), without
    /// asking bunq; `None` if it has nothing.
    ///
    /// # Errors
    ///
    /// [`Context`](ErrorKind::Context) if the stored context cannot be read or is another client's.
    pub async fn context(&self) -> Result<Option<ContextSummary>, Error> {
        self.session.context().await
    }

    /// Ends the session at bunq, if there is one, also one that a [context store](ClientBuilder::context_store) has
    /// from an earlier run. The next call opens a new one.
    ///
    /// Call it when the work is done and the context is not stored: a session that is not ended lives on for a week, and
    /// its token with it.
    ///
    /// # Errors
    ///
    /// If it fails, the session stays in use. A session that bunq refuses, and refuses again when asked about it, has ended
    /// already: that is a success.
    pub async fn end_session(&self) -> Result<(), Error> {
        self.session.end().await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
