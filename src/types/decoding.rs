//! How the generated types read lists, members that may be null or absent, and lenient members: those that no decision
//! depends on.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::drift::note_unknown;

/// What a value is read as. It keeps small what is compiled for each type.
pub(crate) trait Shape {
    /// Reads a value.
    fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>;

    /// Reads a lenient value. One of another type or shape is noted, and reads as if the member were absent, like null.
    fn read_lenient<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        member: &'static str,
        deserializer: D,
    ) -> Result<Option<T>, D::Error>;
}

/// Text, a number, a truth value: nothing that has parts.
pub(crate) struct Plain;

/// A value with members.
pub(crate) struct Object;

/// Reads a value with members.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(MembersVisitor(PhantomData))
}

/// Reads a value with members, or null.
pub(crate) fn object_or_null<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_option(OptionVisitor(PhantomData))
}

/// Reads a JSON text whose value has members.
pub(crate) fn from_json<'de, T: Deserialize<'de>>(json: &'de [u8]) -> serde_json::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = object(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a struct by the names of its members. A struct that is asked for directly is also read from a list of their values, which
/// nobody sends, and which is half of the code.
struct MembersVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

struct OptionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OptionVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        object(deserializer).map(Some)
    }
}

/// A list that is read up to `MAX` items. Limiting the response's bytes is not enough: an item of two characters can
/// take kilobytes.
struct BoundedList<S, T, const MAX: usize>(Vec<T>, PhantomData<S>);

impl<'de, S: Shape, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for BoundedList<S, T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ListVisitor::<S, T> { most: MAX, of: PhantomData };
        Ok(Self(deserializer.deserialize_seq(visitor)?, PhantomData))
    }
}

struct ListVisitor<S, T> {
    most: usize,
    of: PhantomData<(S, T)>,
}

impl<'de, S: Shape, T: Deserialize<'de>> Visitor<'de> for ListVisitor<S, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        expecting_at_most(self.most, f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Item::<S, T>(PhantomData))? {
            if list.len() == self.most {
                return Err(de::Error::custom(format_args!("a list has more than {} items", self.most)));
            }
            list.push(item);
        }
        Ok(list)
    }
}

// Compiled once for all types.
fn expecting_at_most(most: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "a list of at most {most} items")
}

struct Item<S, T>(PhantomData<(S, T)>);

impl<'de, S: Shape, T: Deserialize<'de>> DeserializeSeed<'de> for Item<S, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        S::read(deserializer)
    }
}

/// Reads a list of at most `MAX` items.
pub(crate) fn list<'de, S, T, D, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    S: Shape,
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    BoundedList::<S, T, MAX>::deserialize(deserializer).map(|list| list.0)
}

/// Reads a list of at most `MAX` items. Null reads as an empty list.
#[allow(dead_code, reason = "the document may have no such list")]
pub(crate) fn list_or_null<'de, S, T, D, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    S: Shape,
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<BoundedList<S, T, MAX>>::deserialize(deserializer)?.map(|list| list.0).unwrap_or_default())
}

/// Reads a lenient member.
pub(crate) fn lenient<'de, S, T, D>(member: &'static str, deserializer: D) -> Result<Option<T>, D::Error>
where
    S: Shape,
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    S::read_lenient(member, deserializer)
}

/// Reads a lenient list of at most `MAX` items. A list that is longer or has another shape is noted, and reads as
/// empty.
pub(crate) fn lenient_list<'de, S, T, D, const MAX: usize>(
    member: &'static str,
    deserializer: D,
) -> Result<Vec<T>, D::Error>
where
    S: Shape,
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(LenientList::<S, T> { member, most: MAX, of: PhantomData })
}

fn note(member: &'static str) {
    note_unknown(member, "a value of another type or shape");
}

impl Shape for Plain {
    fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }

    fn read_lenient<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        member: &'static str,
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        // What reads the value does not depend on `T`, so that it is compiled once for all types.
        let read = match deserializer.deserialize_any(PlainVisitor)? {
            Some(Value::Null) => return Ok(None),
            value => value.and_then(|value| T::deserialize(value).ok()),
        };
        if read.is_none() {
            note(member);
        }
        Ok(read)
    }
}

/// Reads any value; `None` for a list or an object.
struct PlainVisitor;

/// The methods of a visitor that makes its value of a plain one.
macro_rules! plain {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: de::Error>(self, value: $type) -> Result<Self::Value, E> {
            Ok(Some(value.into()))
        })*
    };
}

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    plain!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_string: String);

    fn visit_unit<E: de::Error>(self) -> Result<Option<Value>, E> {
        Ok(Some(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<Value>, E> {
        Ok(Some(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Option<Value>, A::Error> {
        IgnoredAny.visit_seq(items).map(|_| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Option<Value>, A::Error> {
        IgnoredAny.visit_map(members).map(|_| None)
    }
}

impl Shape for Object {
    fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        object(deserializer)
    }

    /// It can still fail if the members are not lenient themselves.
    fn read_lenient<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        member: &'static str,
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(ObjectVisitor { member, of: PhantomData })
    }
}

struct ObjectVisitor<T> {
    member: &'static str,
    of: PhantomData<T>,
}

/// The methods of a visitor that notes a plain value, and reads it as if the member were absent.
macro_rules! odd {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: de::Error>(self, _: $type) -> Result<Self::Value, E> {
            note(self.member);
            Ok(Self::Value::default())
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

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    odd!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Option<T>, A::Error> {
        note(self.member);
        IgnoredAny.visit_seq(items).map(|_| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<T>, A::Error> {
        match T::deserialize(MapAccessDeserializer::new(&mut members)) {
            Ok(read) => Ok(Some(read)),
            // If reading failed inside the object, so may skipping the rest of it.
            Err(_) => {
                note(self.member);
                IgnoredAny.visit_map(members).map(|_| None)
            }
        }
    }
}

struct LenientList<S, T> {
    member: &'static str,
    most: usize,
    of: PhantomData<(S, T)>,
}

impl<'de, S: Shape, T: Deserialize<'de>> Visitor<'de> for LenientList<S, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Some(Vec::new());
        while let Some(item) = items.next_element_seed(LenientItem::<S, T>(self.member, PhantomData))? {
            list = match (list, item) {
                (Some(mut list), Some(item)) if list.len() < self.most => {
                    list.push(item);
                    Some(list)
                }
                _ => None,
            };
        }
        if list.is_none() {
            note(self.member);
        }
        Ok(list.unwrap_or_default())
    }

    odd!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Vec<T>, A::Error> {
        note(self.member);
        IgnoredAny.visit_map(members).map(|_| Vec::new())
    }
}

/// An item of a lenient list; `None` if it has another type or shape.
struct LenientItem<S, T>(&'static str, PhantomData<(S, T)>);

impl<'de, S: Shape, T: Deserialize<'de>> DeserializeSeed<'de> for LenientItem<S, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        S::read_lenient(self.0, deserializer)
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
