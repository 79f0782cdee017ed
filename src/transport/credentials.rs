//! The credentials of a call, and the trait by which the transport gets them.
//!
//! The transport does not know sessions. The caller passes a source of credentials with each call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;

use super::signature::{SigningKey, VerifyingKey};
use crate::error::Error;
use crate::types::Secret;

/// A boxed future, as the methods of [`ContextStore`](crate::ContextStore) return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The keys that a client and bunq have exchanged, and the token for the calls that open a session.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) signing_key: SigningKey,
    pub(crate) server_key: VerifyingKey,
    pub(crate) token: Secret,
}

/// The keys and the token with which one call is signed, authenticated and verified.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// `None` before there is an installation.
    pub(crate) installation: Option<Arc<Installation>>,
    pub(crate) token: Option<Secret>,
}

impl Credentials {
    /// The credentials of an installation, for the calls that open a session.
    pub(crate) fn of_installation(installation: &Arc<Installation>) -> Self {
        Self { installation: Some(Arc::clone(installation)), token: Some(installation.token.clone()) }
    }
}

/// Whether a token can be the value of a header.
pub(crate) fn can_be_sent(token: &Secret) -> bool {
    HeaderValue::from_str(token.expose()).is_ok_and(|value| !value.is_empty())
}

/// A source of credentials.
pub(crate) trait ProvideCredentials: fmt::Debug + Send + Sync {
    /// Returns the credentials for a call.
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials, Error>>;

    /// bunq refuses the token of these credentials with this error.
    fn refuse<'a>(&'a self, credentials: &'a Credentials, refusal: &'a Error) -> BoxFuture<'a, Renewal>;
}

/// Whether a source has other credentials in place of those that bunq refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// It has.
    Renewed,
    /// Not before this time has passed.
    After(Duration),
    /// It has none.
    No,
}

/// Credentials that never change are their own source.
impl ProvideCredentials for Credentials {
    fn credentials(&self) -> BoxFuture<'_, Result<Credentials, Error>> {
        Box::pin(async { Ok(self.clone()) })
    }

    fn refuse<'a>(&'a self, _credentials: &'a Credentials, _refusal: &'a Error) -> BoxFuture<'a, Renewal> {
        Box::pin(async { Renewal::No })
    }
}
