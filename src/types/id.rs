//! What the ids of all kinds share. Their types are generated, one for each schema with `x-bunq-id`.

use std::fmt;

use serde::de::{self, Visitor};

use super::InvalidValue;

/// Returns the number if it can be an id. `field` is the name of the kind in errors.
pub(super) fn checked(field: &'static str, id: u64) -> Result<u64, InvalidValue> {
    if id == 0 || i64::try_from(id).is_err() { Err(refused(field, id)) } else { Ok(id) }
}

/// Returns the same for an `i64`, the type of bunq's integers.
pub(super) fn checked_signed(field: &'static str, id: i64) -> Result<u64, InvalidValue> {
    u64::try_from(id).ok().filter(|id| *id > 0).ok_or_else(|| refused(field, id))
}

/// Reads an id that is written in digits.
pub(super) fn parsed(field: &'static str, text: &str) -> Result<u64, InvalidValue> {
    // Only digits: `parse` would accept a phone number from the wrong column, because it begins with `+`.
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let id = digits.and_then(|digits| digits.parse().ok());
    id.map_or_else(|| Err(refused(field, text)), |id| checked(field, id))
}

/// Checks the text of a parameter that is an id, and returns it as an id is shown: without zeros before it.
pub(crate) fn id_text<'a>(name: &'static str, text: &'a str) -> Result<&'a str, InvalidValue> {
    parsed(name, text).map(|_| text.trim_start_matches('0'))
}

fn refused(field: &'static str, value: impl fmt::Display) -> InvalidValue {
    InvalidValue::new(field, format_args!("`{value}` is not a positive integer of at most 63 bits"))
}

/// Reads the id of the field, with the position of the number in the error.
pub(super) struct IdVisitor(pub(super) &'static str);

impl Visitor<'_> for IdVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a positive integer")
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<u64, E> {
        checked(self.0, id).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, id: i64) -> Result<u64, E> {
        checked_signed(self.0, id).map_err(E::custom)
    }
}

/// Implements a kind of id, which is a struct of one `u64`.
macro_rules! id {
    ($kind:ident, $field:literal) => {
        impl $kind {
            /// The number itself.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl ::std::convert::TryFrom<u64> for $kind {
            type Error = crate::types::InvalidValue;

            fn try_from(id: u64) -> ::std::result::Result<Self, Self::Error> {
                crate::types::id::checked($field, id).map(Self)
            }
        }

        impl ::std::convert::TryFrom<i64> for $kind {
            type Error = crate::types::InvalidValue;

            fn try_from(id: i64) -> ::std::result::Result<Self, Self::Error> {
                crate::types::id::checked_signed($field, id).map(Self)
            }
        }

        impl ::std::str::FromStr for $kind {
            type Err = crate::types::InvalidValue;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                crate::types::id::parsed($field, text).map(Self)
            }
        }

        impl ::std::convert::From<$kind> for u64 {
            fn from(id: $kind) -> Self {
                id.0
            }
        }

        /// In the type of bunq's integers. It always fits.
        impl ::std::convert::From<$kind> for i64 {
            fn from(id: $kind) -> Self {
                id.0.cast_signed()
            }
        }

        impl ::std::fmt::Display for $kind {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ::serde::Serialize for $kind {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $kind {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                deserializer.deserialize_u64(crate::types::id::IdVisitor($field)).map(Self)
            }
        }
    };
}

pub(crate) use id;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde_json::{Value, from_str, from_value, json, to_string};

    use crate::types::{DeviceServerId, ProvisionId};

    #[test]
    fn only_positive_numbers_that_bunq_can_hold_are_ids() {
        test_timeout::start();
        assert_eq!(ProvisionId::try_from(1_i64).unwrap().get(), 1);
        assert_eq!(ProvisionId::try_from(i64::MAX).unwrap().get(), i64::MAX as u64);
        assert_eq!(i64::from(ProvisionId::try_from(i64::MAX).unwrap()), i64::MAX);
        for id in ["0", "-1", "+31600000000", "9223372036854775808", "1.0", "", " 1", "eins"] {
            let error = id.parse::<ProvisionId>().unwrap_err();
            assert_eq!(error.to_string(), format!("provision_id: `{id}` is not a positive integer of at most 63 bits"));
        }
        for id in ["0", "-7", "9223372036854775808", "1.0", "\"1\"", "null"] {
            assert!(serde_json::from_str::<ProvisionId>(id).is_err(), "{id}");
        }
        let error = DeviceServerId::try_from(0_u64).unwrap_err();
        assert_eq!(error.to_string(), "device_server_id: `0` is not a positive integer of at most 63 bits");
    }

    #[test]
    fn an_id_is_a_key() {
        test_timeout::start();
        let id = |id: u64| ProvisionId::try_from(id).unwrap();
        let sorted: BTreeMap<_, _> = [(id(10), "b"), (id(9), "a")].into();
        let text = r#"{"9":"a","10":"b"}"#;
        assert_eq!(to_string(&sorted).unwrap(), text);
        let hashed: HashMap<ProvisionId, &str> = from_str(text).unwrap();
        assert_eq!((hashed[&id(9)], hashed[&id(10)]), ("a", "b"));
        let keys = |value: Value| from_value::<HashMap<ProvisionId, Value>>(value);
        assert_eq!(keys(json!({"9": null})).unwrap().into_keys().next(), Some(id(9)));
        assert!(keys(json!({"0": null})).is_err() && keys(json!({"-9": null})).is_err());
        assert_eq!(format!("{:?}", id(9)), "ProvisionId(9)");
    }
}
