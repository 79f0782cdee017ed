//! The members of an object that the document does not know, and that are sent again.
//!
//! By itself, a value serializes with the secrets among them redacted. Within a request, it serializes them as they came.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::Value;
use serde_json::value::RawValue;

use super::open_value::OpenValue;
use super::secret::redact;

/// The greatest length of the unknown members of an object, in bytes.
const MAX_LEN: usize = 64 * 1024;

/// The members that the document does not know, in their order. They serialize with `"[redacted]"` in place of each that has the name
/// of a secret, and `Debug` shows their names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct UnknownMembers(Vec<(Box<str>, OpenValue)>);

impl UnknownMembers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them as they came.
    pub(crate) fn sent<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members =
            self.0.iter().map(|(name, value)| Ok((name, serde_json::from_str::<&RawValue>(value.as_json())?)));
        let members: Vec<_> = members.collect::<serde_json::Result<_>>().map_err(ser::Error::custom)?;
        serializer.collect_map(members)
    }
}

impl fmt::Debug for UnknownMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl Serialize for UnknownMembers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = self.0.iter().map(|(name, value)| (name.to_string(), value.redacted()));
        let mut members = Value::Object(members.collect());
        redact(&mut members);
        members.serialize(serializer)
    }
}

/// An object whose unknown members are kept.
pub(crate) trait Keeps: Sized {
    /// The names of the known members.
    const KNOWN: &'static [&'static str];

    /// Reads the known members.
    fn read_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Adds the unknown ones.
    fn keep(&mut self, unknown: UnknownMembers);
}

/// Reads an object whose unknown members are kept.
pub(crate) fn keeping<'de, T: Keeps, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(KeepingVisitor(PhantomData))
}

struct KeepingVisitor<T>(PhantomData<T>);

impl<'de, T: Keeps> Visitor<'de> for KeepingVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        let (mut unknown, mut len) = (UnknownMembers::default(), 0);
        let known = Known { members, known: T::KNOWN, unknown: &mut unknown, len: &mut len };
        let mut read = T::read_known(MapAccessDeserializer::new(known))?;
        read.keep(unknown);
        Ok(read)
    }
}

/// The known members of an object. The unknown ones are put into `unknown`.
struct Known<'a, A> {
    members: A,
    known: &'static [&'static str],
    unknown: &'a mut UnknownMembers,
    /// The length of the unknown members so far, in bytes.
    len: &'a mut usize,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Known<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.members.next_key::<String>()? {
            if self.known.contains(&name.as_str()) {
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
            let value = self.members.next_value::<Unbounded>()?.0;
            *self.len += name.len() + value.as_json().len();
            if *self.len > MAX_LEN {
                return Err(de::Error::custom(format_args!("the unknown members are longer than {MAX_LEN} bytes")));
            }
            self.unknown.0.push((name.into(), value));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

/// A value of any length, which counts with those of the other members.
struct Unbounded(OpenValue);

impl<'de> Deserialize<'de> for Unbounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        OpenValue::of_any_length(deserializer).map(Self)
    }
}

/// A value that serializes in another way within a request than by itself.
pub(crate) trait Sent {
    /// Writes it as it is sent.
    fn serialize_sent<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

impl<T: Sent> Sent for Vec<T> {
    fn serialize_sent<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(AsSent))
    }
}

impl<T: Sent> Sent for Option<T> {
    fn serialize_sent<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_ref().map(AsSent).serialize(serializer)
    }
}

/// A value that serializes as it is sent.
pub(crate) struct AsSent<'a, T>(pub(crate) &'a T);

impl<T: Sent> Serialize for AsSent<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_sent(serializer)
    }
}

/// Serializes a member of a request as it is sent.
pub(crate) fn sent<T: Sent, S: Serializer>(member: &T, serializer: S) -> Result<S::Ok, S::Error> {
    member.serialize_sent(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{NotificationCategory, NotificationFilter, ReplaceNotificationFiltersRequest};

    /// A filter with these members beside those that it must have.
    fn filter(members: &str) -> serde_json::Result<NotificationFilter> {
        let known = r#""category": "NOVELTY", "notification_target": "http://a.example""#;
        serde_json::from_str(&format!("{{{members}{known}, \"all_verification_type\": null}}"))
    }

    #[test]
    fn what_others_have_set_is_sent_as_it_came_and_shown_redacted() {
        test_timeout::start();
        let members = r#""all_user_id": null, "n": 1.50, "token": {"deep": "qzx"}, "of": [ {"secret": "qzx"} ], "#;
        let mut read = filter(members).unwrap();
        assert_eq!(read.category, NotificationCategory::Unknown("NOVELTY".into()));
        let request = ReplaceNotificationFiltersRequest::new(vec![read.clone()]);
        let known = r#""category":"NOVELTY","notification_target":"http://a.example""#;
        let kept = r#""all_user_id":null,"n":1.50,"token":{"deep": "qzx"},"of":[ {"secret": "qzx"} ]"#;
        let sent = format!("{{\"notification_filters\":[{{{known},{kept}}}]}}");
        assert_eq!(serde_json::to_string(&request).unwrap(), sent);
        let shown = format!("{read:?} {}", serde_json::to_string(&read).unwrap());
        assert!(!shown.contains("qzx") && shown.contains(r#""of":[{"secret":"[redacted]"}]"#), "{shown}");

        // A change of what is known leaves the rest as it is.
        read.category = NotificationCategory::Support;
        let request = serde_json::to_string(&ReplaceNotificationFiltersRequest::new(vec![read])).unwrap();
        assert!(request.contains("SUPPORT") && request.ends_with(&format!("{kept}}}]}}")), "{request}");
    }

    #[test]
    fn one_that_is_made_has_no_unknown_members() {
        test_timeout::start();
        let made = NotificationFilter::new(NotificationCategory::Support, "https://a.example".parse().unwrap());
        let written = r#"{"category":"SUPPORT","notification_target":"https://a.example"}"#;
        assert_eq!(serde_json::to_string(&made).unwrap(), written);
        assert_eq!(serde_json::from_str::<NotificationFilter>(written).unwrap(), made);
        // Also from forms other than JSON text.
        let value: Value =
            serde_json::from_str(r#"{"x": 1, "category": "SUPPORT", "notification_target": "t"}"#).unwrap();
        let read: NotificationFilter = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), value);
    }

    #[test]
    fn they_are_bounded() {
        test_timeout::start();
        let members =
            |count: usize| (0..count).map(|n| format!("\"m{n}\": \"{}\", ", "x".repeat(16_000))).collect::<String>();
        assert!(filter(&members(4)).is_ok());
        let error = filter(&members(5)).unwrap_err().to_string();
        assert!(error.starts_with("the unknown members are longer than 65536 bytes"), "{error}");
        let one = |length: usize| filter(&format!("\"m\": \"{}\", ", "x".repeat(length)));
        assert!(one(MAX_LEN - 3).is_ok() && one(MAX_LEN - 2).is_err());
    }
}
