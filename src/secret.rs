//! Text that must not be seen: API keys, tokens, authorization codes.
//!
//! What is kept here is wiped from memory when it is dropped and never printed. It is written out in two
//! situations alone: while a call is put on the wire, and in the text that is kept between runs, which is a secret
//! itself. This room knows nothing of the calls; they say where the wire begins by running inside [`on_wire`].

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

/// What a secret is serialized as when it is not on its way to bunq.
const REDACTED: &str = "[redacted]";

tokio::task_local! {
    static ON_WIRE: ();
}

/// Runs a future in which secrets serialize as what they are.
pub(crate) async fn on_wire<F: Future>(future: F) -> F::Output {
    ON_WIRE.scope((), future).await
}

/// Serializes a secret as what it is, for a field of something that is itself kept as a [`Secret`].
pub(crate) fn written_out<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// A text that bunq or its partner keeps secret.
///
/// Its `Debug` is constant, it has no `Display`, and it is wiped from memory when dropped. Serialized by
/// anything but a call to bunq it becomes `"[redacted]"`, so a [`Provision`](crate::Provision) may be logged or
/// stored as JSON without giving its token away; read back, `"[redacted]"` is refused rather than taken for a
/// token.
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
    /// Keeps `text` secret from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that needs it.
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
    /// Compares in a time that does not depend on where the texts differ.
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
        let on_wire = ON_WIRE.try_with(|()| ()).is_ok();
        serializer.serialize_str(if on_wire { self.expose() } else { REDACTED })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_written_out_on_the_wire_and_nowhere_else() {
        let secret = Secret::new("token-of-somebody");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        let written = on_wire(async { serde_json::to_string(&secret).unwrap() }).await;
        assert_eq!(written, "\"token-of-somebody\"");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
    }

    #[test]
    fn a_redacted_one_is_not_taken_for_a_token() {
        assert!(serde_json::from_str::<Secret>("\"[redacted]\"").is_err());
        assert_eq!(serde_json::from_str::<Secret>("\"abc\"").unwrap(), Secret::new("abc"));
    }
}
