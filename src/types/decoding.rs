//! How the generated types read lists, members that may be null or absent, and lenient members: those that no decision
//! depends on.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::drift::note_unknown;

/// A list that is read up to `MAX` items. Limiting the response's bytes is not enough: an item of two characters can
/// take kilobytes.
struct BoundedList<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for BoundedList<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor::<T, MAX>(PhantomData)).map(Self)
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MAX {
                return Err(de::Error::custom(format_args!("a list has more than {MAX} items")));
            }
            list.push(item);
        }
        Ok(list)
    }
}

/// Reads a list of at most `MAX` items.
pub(crate) fn list<'de, T, D, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    BoundedList::<T, MAX>::deserialize(deserializer).map(|list| list.0)
}

/// Reads a list of at most `MAX` items. Null reads as an empty list.
#[allow(dead_code, reason = "the document may have no such list")]
pub(crate) fn list_or_null<'de, T, D, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<BoundedList<T, MAX>>::deserialize(deserializer)?.map(|list| list.0).unwrap_or_default())
}

/// Reads a lenient member. A value of another type or shape is noted, and reads as if the member were absent.
pub(crate) fn lenient<'de, T, D>(member: &'static str, deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Lenient { member, of: PhantomData })
}

/// Reads a lenient list of at most `MAX` items. A list that is longer or has another shape is noted, and reads as
/// empty.
pub(crate) fn lenient_list<'de, T, D, const MAX: usize>(
    member: &'static str,
    deserializer: D,
) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(LenientList::<T, MAX>(Lenient { member, of: PhantomData }))
}

/// The methods of a visitor that reads null as absent, and a value that is neither a list nor an object with `of_value`.
macro_rules! values {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: de::Error>(self, value: $type) -> Result<Self::Value, E> {
            self.of_value(value)
        })*

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    };
}

/// Reads any value, as a `T` if it is one. It neither reads a value twice nor buffers it. An object can still fail if
/// its members are not lenient themselves.
struct Lenient<T> {
    member: &'static str,
    of: PhantomData<T>,
}

impl<T> Lenient<T> {
    /// Reads a value that is neither a list nor an object.
    fn of_value<'de, E: de::Error>(self, value: impl IntoDeserializer<'de, E>) -> Result<Option<T>, E>
    where
        T: Deserialize<'de>,
    {
        let read = T::deserialize(value.into_deserializer()).ok();
        if read.is_none() {
            self.note();
        }
        Ok(read)
    }

    fn note(&self) {
        note_unknown(self.member, "a value of another type or shape");
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Lenient<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    values!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<T>, A::Error> {
        self.note();
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<T>, A::Error> {
        match T::deserialize(MapAccessDeserializer::new(&mut members)) {
            Ok(read) => Ok(Some(read)),
            // A text or a number has read nothing of the object, so the rest is skipped. If reading failed inside the
            // object, skipping it fails too.
            Err(_) => {
                self.note();
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }
    }
}

struct LenientList<T, const MAX: usize>(Lenient<T>);

impl<T, const MAX: usize> LenientList<T, MAX> {
    fn odd(self) -> Vec<T> {
        self.0.note();
        Vec::new()
    }

    fn of_value<E>(self, _: impl Sized) -> Result<Vec<T>, E> {
        Ok(self.odd())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for LenientList<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Some(Vec::new());
        while let Some(item) = items.next_element_seed(LenientItem(self.0.member, PhantomData))? {
            list = match (list, item) {
                (Some(mut list), Some(item)) if list.len() < MAX => {
                    list.push(item);
                    Some(list)
                }
                _ => None,
            };
        }
        Ok(list.unwrap_or_else(|| self.odd()))
    }

    values!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<T>, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.odd())
    }
}

/// An item of a lenient list; `None` if it has another type or shape.
struct LenientItem<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for LenientItem<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        lenient(self.0, deserializer)
    }
}

/// Reads a member that may be absent, but not null.
pub(crate) fn not_null<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
