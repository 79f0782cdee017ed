//! The id of a provision.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::InvalidValue;

/// The id that bunq gives to a provision: a positive integer of at most 63 bits.
///
/// ```
/// use bunq_partner::ProvisionId;
///
/// let id: ProvisionId = "123".parse()?;
/// assert_eq!(id.get(), 123);
/// assert!(ProvisionId::try_from(-5_i64).is_err());
/// # Ok::<(), bunq_partner::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "u64")]
pub struct ProvisionId(u64);

impl ProvisionId {
    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as an `i64`, the type of bunq's integers. It always fits.
    pub(crate) const fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }

    fn refused(value: impl fmt::Display) -> InvalidValue {
        InvalidValue::new("provision_id", format_args!("`{value}` is not a positive integer of at most 63 bits"))
    }
}

/// Uses a visitor, so that the error has the position of the number.
impl<'de> Deserialize<'de> for ProvisionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = ProvisionId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a positive integer")
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<ProvisionId, E> {
        id.try_into().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, id: i64) -> Result<ProvisionId, E> {
        id.try_into().map_err(E::custom)
    }
}

impl TryFrom<u64> for ProvisionId {
    type Error = InvalidValue;

    fn try_from(id: u64) -> Result<Self, InvalidValue> {
        if id == 0 || i64::try_from(id).is_err() {
            return Err(Self::refused(id));
        }
        Ok(Self(id))
    }
}

impl TryFrom<i64> for ProvisionId {
    type Error = InvalidValue;

    fn try_from(id: i64) -> Result<Self, InvalidValue> {
        u64::try_from(id).map_err(|_| Self::refused(id))?.try_into()
    }
}

impl FromStr for ProvisionId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // Only digits: `parse` would accept a phone number from the wrong column, because it begins with `+`.
        let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let id: Option<u64> = digits.and_then(|digits| digits.parse().ok());
        id.ok_or_else(|| Self::refused(text))?.try_into()
    }
}

impl From<ProvisionId> for u64 {
    fn from(id: ProvisionId) -> Self {
        id.0
    }
}

impl fmt::Display for ProvisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positive_numbers_that_bunq_can_hold_are_ids() {
        test_timeout::start();
        assert_eq!(ProvisionId::try_from(1_i64).unwrap().get(), 1);
        assert_eq!(ProvisionId::try_from(i64::MAX).unwrap().get(), i64::MAX as u64);
        for id in ["0", "-1", "+31600000000", "9223372036854775808", "1.0", "", " 1", "eins"] {
            let error = id.parse::<ProvisionId>().unwrap_err();
            assert_eq!(error.to_string(), format!("provision_id: `{id}` is not a positive integer of at most 63 bits"));
        }
        assert!(serde_json::from_str::<ProvisionId>("0").is_err());
        assert!(serde_json::from_str::<ProvisionId>("-7").is_err());
    }
}
