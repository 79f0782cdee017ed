//! The text that a context is kept as: JSON, with the number of its format.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Context, Identity, Installation, OpenSession};
use crate::secret::{Secret, written_out};
use crate::signature::{SigningKey, VerifyingKey};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u64 = 1;

/// Room for any context, so that its buffer does not grow and leave copies of the secrets behind.
const ROOM: usize = 16 * 1024;

/// What every format has.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u64,
    environment: String,
    base_url: String,
    #[serde(serialize_with = "written_out")]
    api_key_fingerprint: Secret,
    installation: KeptInstallation,
    device_registered: bool,
    session: Option<KeptSession>,
}

#[derive(Serialize, Deserialize)]
struct KeptInstallation {
    #[serde(serialize_with = "written_out")]
    signing_key: Secret,
    server_public_key: String,
    #[serde(serialize_with = "written_out")]
    token: Secret,
}

#[derive(Serialize, Deserialize)]
struct KeptSession {
    #[serde(serialize_with = "written_out")]
    token: Secret,
    renew_at: Option<jiff::Timestamp>,
}

impl Context {
    /// The text to keep.
    pub(super) fn encode(&self, identity: &Identity) -> Result<Secret, String> {
        let Self { installation, device_registered, session } = self;
        let kept = Kept {
            format: FORMAT,
            environment: identity.environment.to_string(),
            base_url: identity.base_url.clone(),
            api_key_fingerprint: identity.api_key_fingerprint.clone(),
            installation: KeptInstallation {
                signing_key: installation.signing_key.to_pkcs8().map_err(|error| error.to_string())?,
                server_public_key: installation.server_key.to_pem(),
                token: installation.token.clone(),
            },
            device_registered: *device_registered,
            session: session
                .as_ref()
                .map(|session| KeptSession { token: session.token.clone(), renew_at: session.renew_at }),
        };
        let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
        serde_json::to_writer_pretty(&mut *text, &kept).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&text).map_err(|error| error.to_string())?;
        Ok(Secret::new(text))
    }

    /// Reads what was kept, if it is `identity`'s and all in order; otherwise tells what is wrong and what to do.
    pub(super) fn decode(text: &Secret, identity: &Identity) -> Result<Self, String> {
        // What serde_json says may quote what it has read: the position is all that is told.
        let broken =
            |error: serde_json::Error| damaged(format_args!("line {}, column {}", error.line(), error.column()));
        let Head { format } = serde_json::from_str(text.expose()).map_err(broken)?;
        if format > FORMAT {
            return Err(format!(
                "what is kept has format {format}, but this version of bunq-partner knows formats up to {FORMAT}; it \
                 was left as it is: use the version that wrote it, or another store"
            ));
        }
        let kept: Kept = serde_json::from_str(text.expose()).map_err(broken)?;
        kept.check_owner(identity)?;
        let installation = Installation {
            signing_key: SigningKey::from_pkcs8(&kept.installation.signing_key).map_err(damaged)?,
            server_key: VerifyingKey::from_pem(&kept.installation.server_public_key).map_err(damaged)?,
            token: kept.installation.token,
        };
        Ok(Self {
            installation: Arc::new(installation),
            device_registered: kept.device_registered,
            session: kept.session.map(|session| OpenSession { token: session.token, renew_at: session.renew_at }),
        })
    }
}

impl Kept {
    fn check_owner(&self, identity: &Identity) -> Result<(), String> {
        let environment = identity.environment.to_string();
        if self.environment != environment {
            return Err(foreign("environment", &self.environment, &environment));
        }
        if self.base_url != identity.base_url {
            return Err(foreign("base URL", &self.base_url, &identity.base_url));
        }
        if self.api_key_fingerprint != identity.api_key_fingerprint {
            return Err(
                "what is kept belongs to another API key and was left as it is: use a store for each API key, \
                        or remove it to begin anew"
                    .to_string(),
            );
        }
        Ok(())
    }
}

fn damaged(what: impl fmt::Display) -> String {
    format!("what is kept is damaged ({what}) and was left as it is: remove it to begin anew")
}

fn foreign(what: &str, theirs: &str, ours: &str) -> String {
    let theirs = theirs.escape_debug();
    format!(
        "what is kept belongs to the {what} `{theirs}`, not to `{ours}`, and was left as it is: use a store for each \
         {what}, or remove it to begin anew"
    )
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

    /// The refusal of what is kept after `edit`.
    fn refusal(edit: impl FnOnce(&mut Value)) -> String {
        let mut kept = serde_json::from_str(encoded().expose()).unwrap();
        edit(&mut kept);
        refusal_of(&kept.to_string())
    }

    fn refusal_of(text: &str) -> String {
        let refusal = Context::decode(&text.into(), &samples::identity()).unwrap_err();
        samples::assert_nothing_secret(&refusal);
        refusal
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let (context, decoded) = (samples::context(), Context::decode(&encoded(), &samples::identity()).unwrap());
        assert_eq!(decoded.encode(&samples::identity()).unwrap(), encoded());
        let signature = decoded.installation.signing_key.sign(b"body").unwrap();
        assert!(context.installation.server_key.verifies(b"body", signature.as_bytes()));
        assert_eq!(decoded.installation.token, context.installation.token);
        assert!(decoded.device_registered);
        let (was, is) = (context.session.unwrap(), decoded.session.unwrap());
        assert_eq!((is.token, is.renew_at), (was.token, was.renew_at));
    }

    #[test]
    fn half_the_way_is_kept_too() {
        let begun = Context { device_registered: false, session: None, ..samples::context() };
        let text = begun.encode(&samples::identity()).unwrap();
        let decoded = Context::decode(&text, &samples::identity()).unwrap();
        assert!(!decoded.device_registered && decoded.session.is_none());
    }

    #[test]
    fn the_format_is_what_it_was() {
        let mut kept: Value = serde_json::from_str(encoded().expose()).unwrap();
        for secret in ["/api_key_fingerprint", "/installation/signing_key", "/installation/server_public_key"] {
            assert!(kept.pointer_mut(secret).unwrap().take().is_string());
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
            "session": { "token": samples::SESSION_TOKEN, "renew_at": "2026-08-13T14:45:18.62155Z" },
        });
        assert_eq!(kept, expected);
        assert!(!encoded().expose().contains(samples::API_KEY));
    }

    #[test]
    fn what_a_later_version_has_added_is_passed_over() {
        let mut kept: Value = serde_json::from_str(encoded().expose()).unwrap();
        kept["added"] = json!("later");
        assert!(Context::decode(&kept.to_string().into(), &samples::identity()).is_ok());
    }

    #[test]
    fn what_belongs_to_another_is_refused() {
        assert_eq!(
            refusal(|kept| kept["environment"] = json!("production")),
            "what is kept belongs to the environment `production`, not to `sandbox`, and was left as it is: use a \
             store for each environment, or remove it to begin anew"
        );
        assert_eq!(
            refusal(|kept| kept["base_url"] = json!("https://bunq.acme.test\n/v1")),
            "what is kept belongs to the base URL `https://bunq.acme.test\\n/v1`, not to \
             `https://partner-api.sandbox.bunq.com/v1`, and was left as it is: use a store for each base URL, or \
             remove it to begin anew"
        );
        let other = Identity::new(Environment::Sandbox, samples::BASE_URL, &"sandbox_other".into());
        assert_eq!(
            Context::decode(&encoded(), &other).unwrap_err(),
            "what is kept belongs to another API key and was left as it is: use a store for each API key, or remove \
             it to begin anew"
        );
    }

    #[test]
    fn a_newer_format_is_refused_whatever_is_in_it() {
        assert_eq!(
            refusal_of(r#"{"format": 2, "installation": "elsewhere"}"#),
            "what is kept has format 2, but this version of bunq-partner knows formats up to 1; it was left as it is: \
             use the version that wrote it, or another store"
        );
    }

    #[test]
    fn what_is_damaged_is_refused_with_the_place_alone() {
        let damaged =
            |what: &str| format!("what is kept is damaged ({what}) and was left as it is: remove it to begin anew");
        assert_eq!(refusal_of(""), damaged("line 1, column 0"));
        assert_eq!(refusal_of("{\"format\": \"1\"}"), damaged("line 1, column 14"));
        let text = encoded();
        assert_eq!(refusal_of(&text.expose()[..text.expose().len() - 2]), damaged("line 15, column 3"));
        assert_eq!(
            refusal_of(&text.expose().replace("\"device_registered\": true", "\"device_registered\": \"planted\"")),
            damaged("line 11, column 32")
        );
        assert_eq!(
            refusal(|kept| kept["installation"]["signing_key"] = json!("QUJD")),
            damaged("the private key is not RSA of at least 2048 bits in PKCS#8")
        );
        assert_eq!(
            refusal(|kept| kept["installation"]["server_public_key"] = json!("key")),
            damaged("the public key is not PEM")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = Context::decode(&String::from_utf8_lossy(&bytes).into_owned().into(), &samples::identity());
        }

        #[test]
        fn any_change_to_a_context_is_decoded_or_refused(at: prop::sample::Index, put: u8, cut: prop::sample::Index) {
            let mut bytes = encoded().expose().as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = put;
            bytes.truncate(cut.index(bytes.len() * 2));
            let _ = Context::decode(&String::from_utf8_lossy(&bytes).into_owned().into(), &samples::identity());
        }
    }
}
