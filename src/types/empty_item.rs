//! Items that have no known members.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An item without known members. Its content is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EmptyItem;

impl<'de> Deserialize<'de> for EmptyItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Ignoring)
    }
}

struct Ignoring;

impl<'de> Visitor<'de> for Ignoring {
    type Value = EmptyItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<EmptyItem, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(EmptyItem)
    }
}

impl Serialize for EmptyItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}
