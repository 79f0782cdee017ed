//! The credentials of a user, from the session behind them: another one when the token was replaced.

use std::fmt;
use std::sync::{Arc, Weak};

use super::room::Acting;
use super::user_shared::{UserShared, not_open};
use crate::error::Error;
use crate::transport::credentials::{BoxFuture, Credentials, ProvideCredentials, Renewal};
use crate::transport::trouble::Trouble;
use crate::types::ProvisionId;

/// Whether calls open a session if none is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opens {
    IfNeeded,
    Never,
}

impl Opens {
    pub(super) fn source(self, user: SourceUser) -> Arc<dyn ProvideCredentials> {
        match self {
            Self::IfNeeded => Arc::new(Source(user)),
            Self::Never => Arc::new(OpenSource(user)),
        }
    }
}

/// The user of a source.
pub(super) enum SourceUser {
    /// Somebody has a handle to it.
    Held(Arc<UserShared>, #[expect(dead_code, reason = "while it lives, sessions of users are opened")] Arc<Acting>),
    /// What lives with the user has the source. Whoever uses that has a handle to the user.
    Within(Weak<UserShared>, ProvisionId),
}

impl SourceUser {
    fn get(&self) -> Option<Arc<UserShared>> {
        match self {
            Self::Held(user, _) => Some(Arc::clone(user)),
            Self::Within(user, _) => user.upgrade(),
        }
    }

    fn id(&self) -> ProvisionId {
        match self {
            Self::Held(user, _) => user.id,
            Self::Within(_, id) => *id,
        }
    }

    fn held(&self) -> Result<Arc<UserShared>, Error> {
        let nobody = || Error::internal(format_args!("nobody acts for the user of provision {} any more", self.id()));
        self.get().ok_or_else(nobody)
    }
}

impl fmt::Debug for SourceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

/// A session is opened if none is open, and renewed.
#[derive(Debug)]
struct Source(SourceUser);

impl ProvideCredentials for Source {
    fn credentials<'a>(&'a self, with_user: bool, trouble: &'a Trouble) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async move {
            let user = self.0.held()?;
            let credentials = user.with_session(|session| async move { session.credentials(with_user, trouble).await });
            credentials.await.map_err(|error| user.doubting_the_clock(error))
        })
    }

    fn refuse<'a>(
        &'a self,
        credentials: &'a Credentials,
        refusal: &'a Error,
        is_again: bool,
    ) -> BoxFuture<'a, Renewal> {
        Box::pin(async move {
            match self.0.get().and_then(|user| user.known_session()) {
                Some(session) => session.refuse(credentials, refusal, is_again).await,
                None => Renewal::Renewed,
            }
        })
    }

    fn reread<'a>(&'a self, credentials: &'a Credentials) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            match self.0.get().and_then(|user| user.known_session()) {
                Some(session) => session.reread(credentials).await,
                None => true,
            }
        })
    }
}

/// The session that is open is used, and none is opened. One that bunq refuses is given up by the same rules, for whoever opens another.
#[derive(Debug)]
struct OpenSource(SourceUser);

impl ProvideCredentials for OpenSource {
    fn credentials<'a>(&'a self, with_user: bool, _trouble: &'a Trouble) -> BoxFuture<'a, Result<Credentials, Error>> {
        Box::pin(async move {
            let open = self.0.held()?.open_session()?.credentials;
            if with_user && open.user.is_none() { Err(not_open(self.0.id())) } else { Ok(open) }
        })
    }

    fn refuse<'a>(
        &'a self,
        credentials: &'a Credentials,
        refusal: &'a Error,
        is_again: bool,
    ) -> BoxFuture<'a, Renewal> {
        Box::pin(async move {
            let Some(user) = self.0.get() else { return Renewal::No };
            let Some(session) = user.known_session() else { return Renewal::No };
            // The custody still has the session.
            user.is_used();
            match session.refuse(credentials, refusal, is_again).await {
                Renewal::Forbidden(evidence) => Renewal::Forbidden(evidence),
                Renewal::Renewed | Renewal::After(_) | Renewal::No => Renewal::No,
            }
        })
    }

    fn reread<'a>(&'a self, _credentials: &'a Credentials) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }
}
