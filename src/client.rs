//! The client: what all calls are made with, for a partner or for one of its users.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::builder::ClientBuilder;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Sent};
use crate::looks::Looks;
use crate::pipeline::Pipeline;
use crate::provisions::Provisions;
use crate::secret::Secret;
use crate::types::{Credential, CredentialStatus};

/// A client of bunq's Partner API, for one API key.
///
/// Cheap to clone: all clones share the connections, the rate limits and the one session, which is opened by the first
/// call that needs it. Must be used within a Tokio runtime.
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
    pipeline: Arc<Pipeline>,
    looks: Looks,
}

impl Client {
    pub(crate) fn new(environment: Environment, pipeline: Pipeline) -> Self {
        let pipeline = Arc::new(pipeline);
        Self { environment, looks: Looks::new(Arc::clone(&pipeline)), pipeline }
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

    /// Where the calls go, without a slash at its end.
    pub fn base_url(&self) -> &str {
        self.pipeline.base_url()
    }

    /// The verbs on provisions.
    pub fn provisions(&self) -> Provisions {
        Provisions::new(Arc::clone(&self.pipeline), self.looks.clone())
    }

    /// Starts to build a client that acts for a provisioned user, with the credential of the user's provision.
    ///
    /// What it can do so far is to [open](Self::open_session) and end the user's session, and so take the credential
    /// into use: this crate has no calls on accounts and payments yet, and bunq refuses a user the calls on provisions.
    ///
    /// The builder begins with this client's bounds and address, and the two share their rate limits: bunq counts by
    /// the address that calls come from. The first session turns the credential `ACTIVE`, and bunq never shows its
    /// token again: give the builder a [context store](ClientBuilder::context_store) of the user's own, and keep the
    /// token as you keep your API key, for [`for_user_token`](Self::for_user_token) after a restart.
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

    /// As [`for_user`](Self::for_user), with the token that has been kept. Whether it is still good is for bunq to say.
    pub fn for_user_token(&self, token: impl Into<Secret>) -> ClientBuilder {
        ClientBuilder::for_user(self.environment, &self.pipeline, token.into())
    }

    /// Opens a session now, if there is none that is good; otherwise the first call does it.
    ///
    /// Worth calling at the start of a program, to know at once whether the API key is accepted; and with a user's
    /// client, to take the credential into use before it expires. A session that was kept, and whose time is not over,
    /// is taken for good without asking bunq.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn open_session(&self) -> Result<(), Error> {
        self.pipeline.session().access(&self.pipeline, None).await.map(drop)
    }

    /// Ends the session at bunq, if there is one, also one that a [context store](ClientBuilder::context_store) has
    /// kept. The next call opens a new one.
    ///
    /// Worth calling when the work is done and the context is not kept: a session that is not ended lives on for a
    /// week, and with it its token.
    ///
    /// # Errors
    ///
    /// As any call; the session is then kept. That bunq answers 401 is no error: it is what an ended session gets.
    pub async fn end_session(&self) -> Result<(), Error> {
        self.pipeline.session().end(&self.pipeline).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
