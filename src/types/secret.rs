//! Text that must not be seen: API keys, tokens, authorization codes.
//!
//! A secret is wiped from memory when it is dropped, and is never printed. A [`Secret`] serializes as `"[redacted]"`.
//! Members of requests have another type, [`RequestSecret`], which serializes as plain text. So only the type of a
//! value decides whether its secrets are written out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use zeroize::Zeroizing;

include!(concat!(env!("OUT_DIR"), "/secrets.rs"));

/// What a secret serializes to.
pub(crate) const REDACTED: &str = "[redacted]";

/// A text that bunq or its partner keeps secret.
///
/// Its `Debug` is constant, it has no `Display`, and it is wiped from memory when dropped. It serializes as
/// `"[redacted]"`, so that a [`Provision`](crate::Provision) can be logged or stored as JSON without its token. Such a
/// provision reads back as one without a token; `"[redacted]"` is never read as a secret.
///
/// ```
/// use bunq_partner::Secret;
///
/// let key = Secret::new("sandbox_0123456789");
/// assert_eq!(format!("{key:?}"), "Secret(..)");
/// assert_eq!(key.expose(), "sandbox_0123456789");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Makes a secret of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Returns the text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    /// Compares in constant time: the time does not depend on where the texts differ.
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = Self::new(String::deserialize(deserializer)?);
        if secret.expose() == REDACTED {
            return Err(de::Error::custom("a secret that was redacted when it was stored cannot be read back"));
        }
        Ok(secret)
    }
}

/// Reads a secret that may be absent. A redacted secret reads as absent.
pub(crate) fn redacted_as_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let secret = Option::<String>::deserialize(deserializer)?.map(Secret::new);
    Ok(secret.filter(|secret| secret.expose() != REDACTED))
}

/// Serializes a secret as plain text, for a member of something that is itself kept secret: `#[serde(serialize_with =
/// "bunq_partner::wire::exposed")]`.
///
/// # Errors
///
/// Those of the serializer.
pub fn exposed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Redacts all members of `value` that have the name of a secret and are not null, at any depth.
pub(crate) fn redact(value: &mut Value) {
    redact_members(value, SECRET_MEMBERS);
}

/// Redacts all members of `value` that have one of these names and are not null, at any depth.
pub(crate) fn redact_members(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if names.contains(&name.as_str()) && !value.is_null() {
                    *value = REDACTED.into();
                }
                redact_members(value, names);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact_members(item, names)),
        _ => {}
    }
}

/// A secret as a member of a request. It serializes as plain text. Its `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSecret(Secret);

impl From<Secret> for RequestSecret {
    fn from(secret: Secret) -> Self {
        Self(secret)
    }
}

impl From<RequestSecret> for Secret {
    fn from(secret: RequestSecret) -> Self {
        secret.0
    }
}

impl Serialize for RequestSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        exposed(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for RequestSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Credential;

    #[test]
    fn the_type_decides_whether_a_secret_is_written_out() {
        test_timeout::start();
        let secret = Secret::new("token-of-somebody");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        let sent = RequestSecret::from(secret);
        assert_eq!(serde_json::to_string(&sent).unwrap(), "\"token-of-somebody\"");
        assert_eq!(format!("{sent:?}"), "RequestSecret(Secret(..))");
    }

    #[test]
    fn a_redacted_secret_is_not_a_token() {
        test_timeout::start();
        assert!(serde_json::from_str::<Secret>("\"[redacted]\"").is_err());
        assert_eq!(serde_json::from_str::<Secret>("\"abc\"").unwrap(), Secret::new("abc"));
    }

    #[test]
    fn what_was_stored_reads_back_without_its_secret() {
        test_timeout::start();
        let credential: Credential = serde_json::from_str(r#"{"id": 7, "token_value": "token"}"#).unwrap();
        assert_eq!(credential.token_value, Some("token".into()));
        let stored = serde_json::to_string(&credential).unwrap();
        let read: Credential = serde_json::from_str(&stored).unwrap();
        assert_eq!((read.id, read.token_value), (Some(7_u64.try_into().unwrap()), None));
    }
}
