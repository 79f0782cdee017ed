//! What a call is made with, and the trait by which the transport asks for it.
//!
//! The transport does not know a session. Whoever makes a call hands in a source of credentials with it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::signature::{SigningKey, VerifyingKey};
use crate::error::Error;
use crate::types::Secret;

/// A future in a box, as the object-safe traits of this crate return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The keys that a client and bunq have exchanged, and the token for the calls that open a session.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) signing_key: SigningKey,
    pub(crate) server_key: VerifyingKey,
    pub(crate) token: Secret,
}

/// What one call is signed, authenticated and verified with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    /// `None` before there is an installation.
    pub(crate) installation: Option<Arc<Installation>>,
    pub(crate) token: Option<Secret>,
}

impl Credentials {
    /// Those of an installation itself, for the calls that open a session.
    pub(crate) fn of_installation(installation: &Arc<Installation>) -> Self {
        Self { installation: Some(Arc::clone(installation)), token: Some(installation.token.clone()) }
    }
}

/// A source of credentials.
pub(crate) trait ProvideCredentials: fmt::Debug + Send + Sync {
    /// The credentials to make a call with; others than those with the token that bunq has `rejected`.
    fn credentials<'a>(&'a self, rejected: Option<&'a Secret>) -> BoxFuture<'a, Result<Credentials, Error>>;

    /// Whether there are others after a rejection.
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
