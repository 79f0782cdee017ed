//! The credentials of a call, and the trait through which the transport gets them.
//!
//! The transport does not know sessions. The caller passes a source of credentials with each call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::signature::{SigningKey, VerifyingKey};
use super::trouble::Trouble;
use crate::error::Error;
use crate::text::one_line;
use crate::types::{REDACTED, Secret, UserId};

/// A boxed future, as returned by the methods of [`ContextStore`](crate::ContextStore).
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The keys that a client and bunq have exchanged, and the token for the calls that open a session.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) signing_key: SigningKey,
    pub(crate) server_key: VerifyingKey,
    pub(crate) token: Secret,
    /// When bunq has given it to this client; `None` if it is from an earlier run.
    pub(crate) received: Option<Instant>,
}

/// For how long bunq's key of an installation is surely neither out of date nor damaged.
const NEW: Duration = Duration::from_secs(3600);

impl Installation {
    /// Whether bunq has given its key to this client, and not long ago.
    pub(crate) fn is_new(&self) -> bool {
        self.received.is_some_and(|received| received.elapsed() < NEW)
    }
}

/// Compares what bunq has issued. The token is unique to the installation; bunq's key may change, and be corrected in
/// the store.
impl PartialEq for Installation {
    fn eq(&self, other: &Self) -> bool {
        self.token == other.token && self.server_key == other.server_key
    }
}

/// The keys and the token that sign, authenticate and verify one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// `None` before there is an installation.
    pub(crate) installation: Option<Arc<Installation>>,
    pub(crate) token: Option<Secret>,
    /// The user of the session, for paths; `None` if it is not known, or if the token is no session's.
    pub(crate) user: Option<UserId>,
    /// The API key, if the source has one. No call is made with it; it is redacted if a response repeats it.
    pub(crate) api_key: Option<Secret>,
}

/// Shorter secrets are not redacted: they could occur in any text by chance.
const MIN_SECRET_LEN: usize = 8;

impl Credentials {
    /// The credentials of an installation, for the calls that open a session.
    pub(crate) fn of_installation(installation: &Arc<Installation>) -> Self {
        Self {
            installation: Some(Arc::clone(installation)),
            token: Some(installation.token.clone()),
            ..Self::default()
        }
    }

    /// The same credentials, which also redact this API key.
    pub(crate) fn hiding(self, api_key: &Secret) -> Self {
        Self { api_key: Some(api_key.clone()), ..self }
    }

    /// Redacts the call's own secrets in a text of a response.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets_for(text).fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
    }

    /// Whether a text of a response has one of the call's own secrets.
    pub(crate) fn occur_in(&self, text: &str) -> bool {
        self.secrets_for(text).any(|secret| text.contains(secret))
    }

    /// The call's own secrets that a text is long enough for.
    fn secrets_for(&self, text: &str) -> impl Iterator<Item = &str> {
        let installation = self.installation.as_ref().map(|installation| &installation.token);
        let secrets = [installation, self.token.as_ref(), self.api_key.as_ref()].into_iter().flatten();
        // A search costs more than the comparison of the lengths, and most texts are ids that are shorter than any secret.
        let lengths = MIN_SECRET_LEN..=text.len();
        secrets.map(Secret::expose).filter(move |secret| lengths.contains(&secret.len()))
    }

    /// The beginning of a text of a response, on one line and without the call's own secrets. It is redacted before it is cut, or the
    /// rest of a secret would stay.
    pub(crate) fn excerpt(&self, text: &str, max_chars: usize) -> String {
        one_line(&self.redact(text), max_chars)
    }
}

/// Whether a token can be the value of a header.
pub(crate) fn can_be_sent(token: &Secret) -> bool {
    HeaderValue::from_str(token.expose()).is_ok_and(|value| !value.is_empty())
}

/// A source of credentials.
pub(crate) trait ProvideCredentials: fmt::Debug + Send + Sync {
    /// Returns the credentials for a call, with the user of the session if the call is about it. While the call waits for them,
    /// `trouble` points to the trouble of the work that makes them.
    fn credentials<'a>(&'a self, with_user: bool, trouble: &'a Trouble) -> BoxFuture<'a, Result<Credentials, Error>>;

    /// Tells the source that bunq refuses the token of these credentials with this error. `is_again` if bunq has
    /// already refused another token in the same call.
    fn refuse<'a>(&'a self, credentials: &'a Credentials, refusal: &'a Error, is_again: bool)
    -> BoxFuture<'a, Renewal>;

    /// Called when the token of these credentials does not help, or the key does not verify the response. Returns
    /// whether the source has another installation by now, which others may have made and stored.
    fn reread<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, bool>;
}

/// Whether a source has other credentials in place of those that bunq refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The source has other credentials.
    Renewed,
    /// The source can get other credentials only after this time.
    After(Duration),
    /// The caller may not make the call: the text shows that the credentials are not the cause.
    Forbidden(&'static str),
    /// The source has no other credentials.
    No,
}

/// Fixed credentials are their own source.
impl ProvideCredentials for Credentials {
    fn credentials<'a>(&'a self, _with_user: bool, _trouble: &'a Trouble) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async { Ok(self.clone()) })
    }

    fn refuse<'a>(
        &'a self,
        _credentials: &'a Credentials,
        _refusal: &'a Error,
        _is_again: bool,
    ) -> BoxFuture<'a, Renewal> {
        Box::pin(async { Renewal::No })
    }

    fn reread<'a>(&'a self, _credentials: &'a Credentials) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }
}
