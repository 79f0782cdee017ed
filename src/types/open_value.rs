//! Values whose shape bunq does not document.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use serde_json::value::RawValue;

use super::drift::note_unknown;
use super::secret::{REDACTED, redact};

/// The longest text that is kept, in bytes.
const MAX_LEN: usize = 16 * 1024;

/// A JSON value of a shape that bunq does not document, as its text.
///
/// It is stored as text, because a tree would take many times the memory. As a member of a response, a text of more than
/// 16 KiB is not read. `Debug` shows only its length, because it may be about a person. It can be deserialized only from JSON. It
/// serializes with `"[redacted]"` in place of each member that has the name of a secret, or of all of it if its secrets cannot be found.
///
/// ```
/// # fn example(credential: &bunq_partner::Credential) -> Option<serde_json::Value> {
/// let device = credential.permitted_device.as_ref()?;
/// serde_json::from_str(device.as_json()).ok()
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct OpenValue(Box<str>);

impl OpenValue {
    /// The value as JSON.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The value with its secrets redacted; in place of one that JSON allows and serde_json does not hold, such as a number above those
    /// of 64 bits, or half of a character, no more than that it is redacted.
    pub(crate) fn redacted(&self) -> Value {
        let Ok(mut value) = serde_json::from_str(&self.0) else { return REDACTED.into() };
        redact(&mut value);
        value
    }

    /// Reads a value out of a text whose length is bounded.
    pub(crate) fn of_any_length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.into()))
    }
}

impl fmt::Debug for OpenValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenValue({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for OpenValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
        if text.len() > MAX_LEN {
            return Err(de::Error::custom(format_args!("a value of open shape is longer than {MAX_LEN} bytes")));
        }
        Ok(Self(text))
    }
}

/// Reads a lenient open value. One that is too long is noted, and reads as if the member were absent.
pub(crate) fn lenient_open_value<'de, D: Deserializer<'de>>(
    member: &'static str,
    deserializer: D,
) -> Result<Option<OpenValue>, D::Error> {
    let text: Option<Box<str>> = Option::<Box<RawValue>>::deserialize(deserializer)?.map(Into::into);
    let is_long = text.as_ref().is_some_and(|text| text.len() > MAX_LEN);
    if is_long {
        note_unknown(member, "a value that is too long");
    }
    Ok(text.filter(|_| !is_long).map(OpenValue))
}

impl Serialize for OpenValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.redacted().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_is_kept_as_its_text() {
        test_timeout::start();
        for text in ["1", "\"x\"", "[1, {\"a\": null}]", "{\"a\":[]}"] {
            let value: OpenValue = serde_json::from_str(text).unwrap();
            assert_eq!(value.as_json(), text);
            let written: serde_json::Value = serde_json::to_value(&value).unwrap();
            assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).unwrap());
        }
        assert_eq!(serde_json::from_str::<Option<OpenValue>>("null").unwrap(), None);
    }

    #[test]
    fn a_secret_in_it_is_not_written_out() {
        test_timeout::start();
        let value: OpenValue = serde_json::from_str(r#"[{"token_value": "planted", "ip": "127.0.0.1"}]"#).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), r#"[{"ip":"127.0.0.1","token_value":"[redacted]"}]"#);
        assert!(value.as_json().contains("planted"));
    }

    #[test]
    fn a_value_that_cannot_be_looked_into_is_redacted_whole() {
        test_timeout::start();
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for text in ["1e999", r#"{"token_value": "planted", "half": "\ud800"}"#, &deep] {
            let value: OpenValue = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&value).unwrap(), "\"[redacted]\"");
            assert_eq!(value.as_json(), text);
        }
    }

    #[test]
    fn a_long_value_is_not_read() {
        test_timeout::start();
        let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        assert!(serde_json::from_str::<OpenValue>(&text(MAX_LEN)).is_ok());
        assert!(serde_json::from_str::<OpenValue>(&text(MAX_LEN + 1)).is_err());
    }

    #[test]
    fn debug_shows_its_length() {
        test_timeout::start();
        let value: OpenValue = serde_json::from_str("\"secret\"").unwrap();
        assert_eq!(format!("{value:?}"), "OpenValue(8 bytes)");
    }
}
