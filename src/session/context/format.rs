//! The text in which a context is stored: JSON, with the number of its format.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::{Context, Identity, OpenSession, Stored, UnderPartners, fingerprint_of};
use crate::session::user::SessionUser;
use crate::transport::credentials::{Installation, can_be_sent};
use crate::transport::signature::{SigningKey, VerifyingKey};
use crate::types::{Secret, exposed, from_json, object_or_null};

/// The format that this version writes, and the newest that it reads. A text of this format is sealed where it is kept.
const FORMAT: u64 = 1;

/// A capacity that fits any context: a buffer that grows leaves copies of the secrets in memory.
const CAPACITY: usize = 16 * 1024;

/// The part that every format has.
#[derive(Deserialize)]
struct Header {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredContext {
    format: u64,
    environment: String,
    base_url: String,
    #[serde(serialize_with = "exposed")]
    api_key_fingerprint: Secret,
    #[serde(default, deserialize_with = "object_or_null", skip_serializing_if = "Option::is_none")]
    installation: Option<StoredInstallation>,
    /// In its place, if it is the partner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partners_installation: Option<String>,
    device_registered: bool,
    #[serde(default, deserialize_with = "object_or_null")]
    session: Option<OpenSession>,
}

#[derive(Serialize, Deserialize)]
struct StoredInstallation {
    #[serde(serialize_with = "exposed")]
    signing_key: Secret,
    server_public_key: String,
    #[serde(serialize_with = "exposed")]
    token: Secret,
}

/// Reads a user. A user of a kind that this version does not know reads as absent.
pub(super) fn known_user<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SessionUser>, D::Error> {
    let user = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(user).unwrap_or_default())
}

impl Context {
    /// Returns the text to store.
    pub(crate) fn encode(&self, identity: &Identity) -> Result<Secret, String> {
        let Self { installation, is_partners, device_registered, session } = self;
        let whole = || -> Result<_, String> {
            Ok(StoredInstallation {
                signing_key: installation.signing_key.to_pkcs8().map_err(|error| error.to_string())?,
                server_public_key: installation.server_key.to_pem(),
                token: installation.token.clone(),
            })
        };
        StoredContext {
            format: FORMAT,
            environment: identity.environment.to_string(),
            base_url: identity.base_url.clone(),
            api_key_fingerprint: identity.api_key_fingerprint.clone(),
            installation: (!is_partners).then(whole).transpose()?,
            partners_installation: is_partners.then(|| fingerprint_of(installation)),
            device_registered: *device_registered,
            session: session.clone(),
        }
        .write()
    }
}

impl Stored {
    /// Reads a text that was stored for `identity`.
    ///
    /// # Errors
    ///
    /// The problem, and what to do.
    pub(crate) fn decode(text: &Secret, identity: &Identity) -> Result<Self, String> {
        let stored = StoredContext::read(text)?;
        stored.check_owner(identity)?;
        // A session whose token cannot be sent is replaced like one that has expired.
        let session = stored.session.filter(|session| can_be_sent(&session.token));
        match (stored.installation, stored.partners_installation) {
            (Some(installation), None) => Ok(Self::Whole(Context {
                installation: Arc::new(installation.decode()?),
                is_partners: false,
                device_registered: stored.device_registered,
                session,
            })),
            (None, Some(installation_fingerprint)) => {
                Ok(Self::UnderPartners(UnderPartners { installation_fingerprint, session }))
            }
            _ => Err(damaged("the installation")),
        }
    }
}

impl StoredInstallation {
    fn decode(self) -> Result<Installation, String> {
        if !can_be_sent(&self.token) {
            return Err(damaged("the token of the installation"));
        }
        Ok(Installation {
            signing_key: SigningKey::from_pkcs8(&self.signing_key).map_err(damaged)?,
            server_key: VerifyingKey::from_pem(&self.server_public_key).map_err(damaged)?,
            token: self.token,
            received: None,
        })
    }
}

impl StoredContext {
    fn read(text: &Secret) -> Result<Self, String> {
        // serde_json's message may quote a secret, so only the position is shown.
        let broken =
            |error: serde_json::Error| damaged(format_args!("line {}, column {}", error.line(), error.column()));
        let Header { format } = from_json(text.expose().as_bytes()).map_err(broken)?;
        if format > FORMAT {
            return Err(format!(
                "the stored context has format {format}, but this version of bunq-partner knows formats up to {FORMAT}; it \
                 was left as it is: use the version that wrote it, or another store"
            ));
        }
        from_json(text.expose().as_bytes()).map_err(broken)
    }

    fn write(&self) -> Result<Secret, String> {
        let mut text = Zeroizing::new(Vec::with_capacity(CAPACITY));
        serde_json::to_writer_pretty(&mut *text, self).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&text).map_err(|error| error.to_string())?;
        Ok(Secret::new(text))
    }

    fn check_owner(&self, identity: &Identity) -> Result<(), String> {
        match identity.difference(&self.environment, &self.base_url, &self.api_key_fingerprint) {
            None => Ok(()),
            Some((what, belongs)) => Err(format!(
                "the stored context {belongs} and was not replaced: use a store for each {what}, or remove it, and the \
                 client makes a new one"
            )),
        }
    }
}

/// Returns a text that was stored for `before`, or whatever API key if that is `None`, as that of `identity`, which is at the same bank.
/// The installation stays. The device and the session are of their API key, and go with it.
pub(crate) fn under(text: &Secret, identity: &Identity, before: Option<&Identity>) -> Result<Secret, String> {
    let mut stored = StoredContext::read(text)?;
    if stored.check_owner(identity).is_ok() {
        return Ok(text.clone());
    }
    let whatever_key = identity.with_key(stored.api_key_fingerprint.expose());
    stored.check_owner(before.unwrap_or(&whatever_key))?;
    stored.api_key_fingerprint = identity.api_key_fingerprint.clone();
    stored.device_registered = false;
    stored.session = None;
    stored.write()
}

/// What can be told of a session that is stored: nothing secret.
#[derive(Deserialize)]
pub(crate) struct SessionInText {
    #[serde(default, deserialize_with = "known_user")]
    pub(crate) user: Option<SessionUser>,
}

/// Returns the session that a stored text has. One that is no context has none.
pub(crate) fn session_in(text: &Secret) -> Option<SessionInText> {
    #[derive(Deserialize)]
    struct Part {
        session: Option<SessionInText>,
    }

    from_json(text.expose().as_bytes()).ok().and_then(|part: Part| part.session)
}

fn damaged(what: impl fmt::Display) -> String {
    format!("the stored context is damaged ({what}) and was not replaced: remove it, and the client makes a new one")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::samples;
    use super::*;
    use crate::environment::Environment;

    fn encoded() -> Secret {
        samples::context().encode(&samples::identity()).unwrap()
    }

    fn decoded(text: &Secret) -> Context {
        let Stored::Whole(context) = Stored::decode(text, &samples::identity()).unwrap() else { panic!("{text:?}") };
        context
    }

    /// The refusal of a stored context that `edit` has changed.
    fn refusal(edit: impl FnOnce(&mut Value)) -> String {
        let mut stored = serde_json::from_str(encoded().expose()).unwrap();
        edit(&mut stored);
        refusal_of(&stored.to_string())
    }

    fn refusal_of(text: &str) -> String {
        let refusal = Stored::decode(&text.into(), &samples::identity()).unwrap_err();
        samples::assert_nothing_secret(&refusal);
        refusal
    }

    #[test]
    fn an_encoded_context_is_decoded() {
        test_timeout::start();
        let (context, decoded) = (samples::context(), decoded(&encoded()));
        assert_eq!(decoded.encode(&samples::identity()).unwrap(), encoded());
        let signature = decoded.installation.signing_key.sign(b"body").unwrap();
        assert!(context.installation.server_key.verifies(b"body", signature.as_bytes()));
        assert_eq!(decoded.installation.token, context.installation.token);
        assert!(decoded.device_registered);
        let (was, is) = (context.session.unwrap(), decoded.session.unwrap());
        assert_eq!((is.token, is.opened_at, is.renew_at, is.user), (was.token, was.opened_at, was.renew_at, was.user));
    }

    #[test]
    fn an_unfinished_context_is_stored_too() {
        test_timeout::start();
        let begun = Context { device_registered: false, session: None, ..samples::context() };
        let text = begun.encode(&samples::identity()).unwrap();
        let decoded = decoded(&text);
        assert!(!decoded.device_registered && decoded.session.is_none());
    }

    /// The key of the partner is in its own store alone.
    #[test]
    fn a_session_under_the_partners_installation_is_stored_without_it() {
        test_timeout::start();
        let text = Context { is_partners: true, ..samples::context() }.encode(&samples::identity()).unwrap();
        let stored: Value = serde_json::from_str(text.expose()).unwrap();
        assert!(stored["installation"].is_null() && !text.expose().contains(samples::INSTALLATION_TOKEN));
        let other = SigningKey::generate().unwrap();
        let other = Installation {
            server_key: VerifyingKey::from_pem(&other.public_key_pem().unwrap()).unwrap(),
            signing_key: other,
            token: "another".into(),
            received: None,
        };
        for (installation, has_session) in [(samples::context().installation, true), (Arc::new(other), false)] {
            let Stored::UnderPartners(stored) = Stored::decode(&text, &samples::identity()).unwrap() else {
                panic!("{text:?}")
            };
            let context = stored.with(Arc::clone(&installation));
            assert!(context.is_partners && context.device_registered && context.installation == installation);
            assert_eq!(context.session.is_some(), has_session);
        }
    }

    #[test]
    fn the_format_is_stable() {
        test_timeout::start();
        let mut stored: Value = serde_json::from_str(encoded().expose()).unwrap();
        for secret in ["/api_key_fingerprint", "/installation/signing_key", "/installation/server_public_key"] {
            assert!(stored.pointer_mut(secret).unwrap().take().is_string());
        }
        let expected = json!({
            "format": 1,
            "environment": "sandbox",
            "base_url": "https://partner-api.sandbox.bunq.com/v1",
            "api_key_fingerprint": null,
            "installation": {
                "signing_key": null, "server_public_key": null, "token": samples::INSTALLATION_TOKEN,
            },
            "device_registered": true,
            "session": {
                "token": samples::SESSION_TOKEN,
                "opened_at": "2026-08-06T14:46:18.62155Z",
                "renew_at": "2026-08-13T14:45:18.62155Z",
                "user": { "kind": "Company", "id": 7, "display_name": "Acme" },
            },
        });
        assert_eq!(stored, expected);
        assert!(!encoded().expose().contains(samples::API_KEY));
    }

    #[test]
    fn members_of_later_versions_are_ignored() {
        test_timeout::start();
        let mut stored: Value = serde_json::from_str(encoded().expose()).unwrap();
        stored["added"] = json!("later");
        stored["session"]["user"]["kind"] = json!("Later");
        assert!(Stored::decode(&stored.to_string().into(), &samples::identity()).is_ok());
    }

    #[test]
    fn the_context_of_another_client_is_refused() {
        test_timeout::start();
        assert_eq!(
            refusal(|stored| stored["environment"] = json!("production")),
            "the stored context belongs to the environment `production`, not to `sandbox`, and was not replaced: use a store for each environment, or remove it, and the client makes a new one"
        );
        assert_eq!(
            refusal(|stored| stored["base_url"] = json!("https://bunq.acme.test\n/v1")),
            "the stored context belongs to the base URL `https://bunq.acme.test\\n/v1`, not to \
             `https://partner-api.sandbox.bunq.com/v1`, and was not replaced: use a store for each base URL, or remove it, and the client makes a new one"
        );
        let other = Identity::new(Environment::Sandbox, samples::BASE_URL, &"sandbox_other".into());
        assert_eq!(
            Stored::decode(&encoded(), &other).unwrap_err(),
            "the stored context belongs to another API key and was not replaced: use a store for each API key, or remove it, and the client makes a new one"
        );
    }

    #[test]
    fn a_newer_format_is_refused_whatever_is_in_it() {
        test_timeout::start();
        assert_eq!(
            refusal_of(r#"{"format": 2, "installation": "elsewhere"}"#),
            "the stored context has format 2, but this version of bunq-partner knows formats up to 1; it was left as it is: \
             use the version that wrote it, or another store"
        );
    }

    #[test]
    fn a_damaged_context_is_refused_with_only_its_position() {
        test_timeout::start();
        let damaged = |what: &str| {
            format!(
                "the stored context is damaged ({what}) and was not replaced: remove it, and the client makes a new one"
            )
        };
        assert_eq!(refusal_of(""), damaged("line 1, column 0"));
        assert_eq!(refusal_of("{\"format\": \"1\"}"), damaged("line 1, column 14"));
        let text = encoded();
        assert_eq!(refusal_of(&text.expose()[..text.expose().len() - 2]), damaged("line 21, column 3"));
        assert_eq!(
            refusal_of(&text.expose().replace("\"device_registered\": true", "\"device_registered\": \"planted\"")),
            damaged("line 11, column 32")
        );
        assert_eq!(
            refusal(|stored| stored["installation"]["signing_key"] = json!("QUJD")),
            damaged("the private key is not RSA of at least 2048 bits in PKCS#8")
        );
        assert_eq!(
            refusal(|stored| stored["installation"]["server_public_key"] = json!("key")),
            damaged("the public key is not PEM")
        );
        let vectors: Value = serde_json::from_str(include_str!("../../../openapi/vectors/keys.json")).unwrap();
        let short = vectors["cases"].as_array().unwrap().iter().find(|case| case["name"] == "1024 bits").unwrap();
        assert_eq!(
            refusal(|stored| stored["installation"]["server_public_key"] = short["public_key_pem"].clone()),
            damaged("the public key has 1024 bits, and must have 2048 to 8192")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            test_timeout::start();
            let _ = Stored::decode(&String::from_utf8_lossy(&bytes).into_owned().into(), &samples::identity());
        }

        #[test]
        fn any_change_to_a_context_is_decoded_or_refused(at: prop::sample::Index, put: u8, cut: prop::sample::Index) {
            test_timeout::start();
            let mut bytes = encoded().expose().as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = put;
            bytes.truncate(cut.index(bytes.len() * 2));
            let _ = Stored::decode(&String::from_utf8_lossy(&bytes).into_owned().into(), &samples::identity());
        }
    }
}
