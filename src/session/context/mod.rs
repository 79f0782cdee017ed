//! The context: what is stored between runs, so that a restart within the life of a session makes no authentication
//! call.
//!
//! A [`ContextStore`] stores it as one text: the keys that client and bunq have exchanged, and the session. It does not
//! contain the API key, only a fingerprint that identifies it. A context that cannot be used is refused and not
//! replaced. The session decides when to load and save it.

mod file_store;
mod format;
mod store;

use std::sync::Arc;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

pub use self::file_store::FileStore;
pub(crate) use self::format::{session_in, under};
pub use self::store::{ContextLock, ContextStore};
use super::user::SessionUser;
use crate::environment::Environment;
use crate::transport::credentials::Installation;
use crate::types::{Secret, exposed};

/// Precedes the API key in the hash, so that the fingerprint differs from another program's hash of the key.
const FINGERPRINT_DOMAIN: &[u8] = b"bunq-partner API key\n";

/// Identifies an API key and reveals nothing of it.
pub(crate) fn api_key_fingerprint(api_key: &Secret) -> String {
    fingerprint(FINGERPRINT_DOMAIN, api_key)
}

/// Precedes the token of an installation in the hash, for the same reason.
const INSTALLATION_DOMAIN: &[u8] = b"bunq-partner installation\n";

/// The results of those calls that open a session that have been made so far.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) installation: Arc<Installation>,
    /// The installation is that of the partner whose user has the session. It is not stored with it.
    pub(crate) is_partners: bool,
    pub(crate) device_registered: bool,
    pub(crate) session: Option<OpenSession>,
}

/// What was stored.
#[derive(Debug)]
pub(crate) enum Stored {
    Whole(Context),
    UnderPartners(UnderPartners),
}

/// The session of a user under an installation of its partner's, which is stored elsewhere.
#[derive(Debug)]
pub(crate) struct UnderPartners {
    installation_fingerprint: String,
    session: Option<OpenSession>,
}

impl UnderPartners {
    /// Completes it with the installation that the partner has now. The key of an earlier one is not there any more, so a session
    /// under it cannot be used.
    pub(crate) fn with(self, installation: Arc<Installation>) -> Context {
        let is_same = fingerprint_of(&installation) == self.installation_fingerprint;
        Context { installation, is_partners: true, device_registered: true, session: self.session.filter(|_| is_same) }
    }
}

/// Identifies an installation and reveals nothing of it.
fn fingerprint_of(installation: &Installation) -> String {
    fingerprint(INSTALLATION_DOMAIN, &installation.token)
}

fn fingerprint(domain: &[u8], secret: &Secret) -> String {
    let mut digest = Digest::new(&SHA256);
    digest.update(domain);
    digest.update(secret.expose().as_bytes());
    BASE64.encode(digest.finish())
}

/// A session that bunq has opened. It is stored as it is, with its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OpenSession {
    #[serde(serialize_with = "exposed")]
    pub(crate) token: Secret,
    /// By the system clock.
    pub(crate) opened_at: Option<jiff::Timestamp>,
    /// When to replace it, by the system clock: the time must hold after a restart.
    pub(crate) renew_at: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "format::known_user")]
    pub(crate) user: Option<SessionUser>,
}

/// What a client knows from earlier calls: see [`Client::context`](crate::Client::context). It contains no key and no
/// token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextSummary {
    /// Whether bunq has registered the device. If so, bunq has accepted the API key once from the address of the
    /// registration.
    pub device_registered: bool,
    /// Whether there is a session. bunq may have ended it.
    pub has_session: bool,
    /// When the client will replace the session, if bunq has said how long it lasts.
    pub renew_at: Option<jiff::Timestamp>,
    /// The user of the session, if bunq has named it.
    pub user: Option<SessionUser>,
}

impl Context {
    pub(super) fn summary(&self) -> ContextSummary {
        let session = self.session.as_ref();
        ContextSummary {
            device_registered: self.device_registered,
            has_session: session.is_some(),
            renew_at: session.and_then(|session| session.renew_at),
            user: session.and_then(|session| session.user.clone()),
        }
    }
}

/// Identifies the client that a context belongs to. The context of another client is not used.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    environment: Environment,
    base_url: String,
    api_key_fingerprint: Secret,
}

impl Identity {
    pub(crate) fn new(environment: Environment, base_url: impl Into<String>, api_key: &Secret) -> Self {
        let api_key_fingerprint = Secret::new(api_key_fingerprint(api_key));
        Self { environment, base_url: base_url.into(), api_key_fingerprint }
    }

    /// The same client with another API key, of which the fingerprint is known.
    pub(crate) fn with_key(&self, api_key_fingerprint: &str) -> Self {
        Self { api_key_fingerprint: api_key_fingerprint.into(), ..self.clone() }
    }

    /// Identifies the key and reveals nothing of it.
    pub(crate) fn api_key_fingerprint(&self) -> &str {
        self.api_key_fingerprint.expose()
    }

    pub(crate) fn environment(&self) -> Environment {
        self.environment
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Compares this with the owner of something that was stored. Returns what differs, and in words to whom that belongs.
    pub(crate) fn difference(
        &self,
        environment: &str,
        base_url: &str,
        api_key_fingerprint: &Secret,
    ) -> Option<(&'static str, String)> {
        let is_same_key = || *api_key_fingerprint == self.api_key_fingerprint;
        let other_key = || (!is_same_key()).then(|| ("API key", "belongs to another API key".to_owned()));
        self.other_bank(environment, base_url).or_else(other_key)
    }

    /// The same, whatever the API key.
    pub(crate) fn other_bank(&self, environment: &str, base_url: &str) -> Option<(&'static str, String)> {
        let ours = self.environment.to_string();
        for (what, theirs, ours) in [("environment", environment, &*ours), ("base URL", base_url, &*self.base_url)] {
            if theirs != ours {
                let theirs = theirs.escape_debug();
                return Some((what, format!("belongs to the {what} `{theirs}`, not to `{ours}`,")));
            }
        }
        None
    }
}

/// Samples that the tests of these modules share.
#[cfg(test)]
mod samples {
    use std::sync::LazyLock;

    use super::super::user::UserKind;
    use super::*;
    use crate::transport::signature::{SigningKey, VerifyingKey};

    pub(super) const BASE_URL: &str = "https://partner-api.sandbox.bunq.com/v1";
    pub(super) const API_KEY: &str = "sandbox_planted-key";
    pub(super) const INSTALLATION_TOKEN: &str = "planted-installation-token";
    pub(super) const SESSION_TOKEN: &str = "planted-session-token";

    static INSTALLATION: LazyLock<Arc<Installation>> = LazyLock::new(|| {
        let signing_key = SigningKey::generate().unwrap();
        let server_key = VerifyingKey::from_pem(&signing_key.public_key_pem().unwrap()).unwrap();
        Arc::new(Installation { signing_key, server_key, token: INSTALLATION_TOKEN.into(), received: None })
    });

    pub(super) fn identity() -> Identity {
        Identity::new(Environment::Sandbox, BASE_URL, &API_KEY.into())
    }

    pub(super) fn context() -> Context {
        let opened_at = Some("2026-08-06T14:46:18.62155Z".parse().unwrap());
        let renew_at = Some("2026-08-13T14:45:18.62155Z".parse().unwrap());
        let (id, display_name) = (7_u64.try_into().unwrap(), Some("Acme".into()));
        let user = SessionUser { kind: UserKind::Company, id, granted_by: None, display_name };
        let session = Some(OpenSession { token: SESSION_TOKEN.into(), opened_at, renew_at, user: Some(user) });
        Context { installation: Arc::clone(&INSTALLATION), is_partners: false, device_registered: true, session }
    }

    /// Fails if `shown` contains one of the secrets in this module.
    pub(super) fn assert_nothing_secret(shown: &str) {
        let signing_key = INSTALLATION.signing_key.to_pkcs8().unwrap();
        let fingerprint = identity().api_key_fingerprint;
        let planted = [API_KEY, INSTALLATION_TOKEN, SESSION_TOKEN, fingerprint.expose(), signing_key.expose()];
        assert!(planted.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_the_documented_digest() {
        test_timeout::start();
        // printf 'bunq-partner API key\nsandbox_1' | openssl dgst -sha256 -binary | base64
        let identity = Identity::new(Environment::Sandbox, samples::BASE_URL, &"sandbox_1".into());
        assert_eq!(identity.api_key_fingerprint.expose(), "5rADNf8nq+6rMOVyAgN45WkNw/zBAWRxiAKp2WXy178=");
    }

    #[test]
    fn debug_shows_nothing_secret() {
        test_timeout::start();
        samples::assert_nothing_secret(&format!("{:?} {:#?}", samples::context(), samples::identity()));
    }
}
