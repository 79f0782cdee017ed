//! The credentials of a call, and the trait by which the transport gets them.
//!
//! The transport does not know sessions. The caller passes a source of credentials with each call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

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

/// A source of credentials.
pub(crate) trait ProvideCredentials: fmt::Debug + Send + Sync {
    /// Returns the credentials for a call. They do not have the token that bunq has `rejected`.
    fn credentials<'a>(&'a self, rejected: Option<&'a Secret>) -> BoxFuture<'a, Result<Credentials, Error>>;

    /// Whether it has other credentials after a rejection.
    fn is_renewable(&self) -> bool;
}

/// Credentials that never change are their own source.
impl ProvideCredentials for Credentials {
    fn credentials<'a>(&'a self, _rejected: Option<&'a Secret>) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async { Ok(self.clone()) })
    }

    fn is_renewable(&self) -> bool {
        false
    }
}
