//! How the generated types read members that may be null or absent, lists, and members that nobody decides by.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::de::StrRead;
use serde_json::value::RawValue;

use super::drift::note_unknown;

/// A list that is read up to its bound. Memory is bounded by what was allowed, not by how it decodes: an item of two
/// characters can take kilobytes.
struct List<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
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
    List::<T, MAX>::deserialize(deserializer).map(|list| list.0)
}

/// Reads a list of at most `MAX` items; null is an empty one.
pub(crate) fn list_or_null<'de, T, D, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<List<T, MAX>>::deserialize(deserializer)?.map(|list| list.0).unwrap_or_default())
}

/// Reads a member that nobody decides by: an odd value is noted, and read as if the member were absent.
pub(crate) fn lenient<'de, T, D, R>(member: &'static str, deserializer: D, read: R) -> Result<T, D::Error>
where
    T: Default,
    D: Deserializer<'de>,
    R: FnOnce(&mut serde_json::Deserializer<StrRead<'_>>) -> serde_json::Result<T>,
{
    let text = Box::<RawValue>::deserialize(deserializer)?;
    Ok(read(&mut serde_json::Deserializer::from_str(text.get())).unwrap_or_else(|_| {
        note_unknown(member, "a value of another type or shape");
        T::default()
    }))
}

/// Reads a member that may be absent, but not null.
pub(crate) fn not_null<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
