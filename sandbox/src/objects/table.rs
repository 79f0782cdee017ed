//! The objects of one resource, by their owners.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::{Numbers, in_bunqs_form};
use crate::wire::response::Refusal;

/// What clients make, read and change. A copy of it is written to the state file.
pub(crate) trait Object: Clone {
    /// What a refusal calls one.
    const NAME: &'static str;
}

/// The user whose object it is, and the id of the object.
type Key = (u64, u64);

/// An object, with what every object has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stored<T> {
    owner: u64,
    pub(crate) id: u64,
    created: Timestamp,
    updated: Timestamp,
    pub(crate) content: T,
}

impl<T> Stored<T> {
    /// The object in its envelope: the members that every object has, and then these.
    pub(crate) fn item(&self, envelope: &str, members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
        self.part(self.id, self.updated, envelope, members)
    }

    /// A part of the object, made with it, with an id of its own that was last changed at this time.
    pub(crate) fn part(
        &self,
        id: u64,
        updated: Timestamp,
        envelope: &str,
        members: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Value {
        let times = [("created", self.created), ("updated", updated)];
        let common = times.map(|(name, time)| (name, in_bunqs_form(time).into()));
        let object = [("id", id.into())].into_iter().chain(common).chain(members);
        Value::from_iter([(envelope, Value::from_iter(object))])
    }
}

/// The objects of each owner by their ids, which grow with time, and which of them have changed since they were saved.
#[derive(Debug)]
pub(crate) struct Table<T> {
    objects: BTreeMap<Key, Stored<T>>,
    changed: BTreeSet<Key>,
}

/// Objects as they are saved, and the keys of those that were deleted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, bound(deserialize = "T: Deserialize<'de>"))]
pub(crate) struct SavedTable<T> {
    kept: Vec<Stored<T>>,
    deleted: Vec<Key>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), changed: BTreeSet::new() }
    }
}

impl<T> Default for SavedTable<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), deleted: Vec::new() }
    }
}

impl<T: Object> Table<T> {
    /// Adds an object, and returns its id.
    pub(crate) fn add(&mut self, owner: u64, content: T, now: Timestamp, numbers: &mut Numbers) -> u64 {
        let id = numbers.next();
        self.insert(owner, id, content, now);
        id
    }

    /// Adds an object with this id, which no other may have.
    pub(crate) fn insert(&mut self, owner: u64, id: u64, content: T, now: Timestamp) {
        self.objects.insert((owner, id), Stored { owner, id, created: now, updated: now, content });
        self.changed.insert((owner, id));
    }

    /// The objects of this owner, oldest first.
    pub(crate) fn of(&self, owner: u64) -> impl DoubleEndedIterator<Item = &Stored<T>> {
        self.objects.range((owner, 0)..=(owner, u64::MAX)).map(|(_, object)| object)
    }

    /// All who have objects.
    pub(crate) fn owners(&self) -> BTreeSet<u64> {
        self.objects.keys().map(|(owner, _)| *owner).collect()
    }

    /// An object of this owner. Nobody sees another's.
    pub(crate) fn get(&self, owner: u64, id: u64) -> Result<&Stored<T>, Refusal> {
        self.objects.get(&(owner, id)).ok_or_else(|| Self::missing(id))
    }

    /// An object of this owner, to change it.
    pub(crate) fn change(&mut self, owner: u64, id: u64, now: Timestamp) -> Result<&mut T, Refusal> {
        let object = self.objects.get_mut(&(owner, id)).ok_or_else(|| Self::missing(id))?;
        object.updated = now;
        self.changed.insert((owner, id));
        Ok(&mut object.content)
    }

    /// Notes something about an object of this owner, which does not change its time. `note` returns whether there is something new.
    pub(crate) fn note(&mut self, owner: u64, id: u64, note: impl FnOnce(&mut T) -> bool) -> Result<(), Refusal> {
        let object = self.objects.get_mut(&(owner, id)).ok_or_else(|| Self::missing(id))?;
        if note(&mut object.content) {
            self.changed.insert((owner, id));
        }
        Ok(())
    }

    /// The owner and the id of the first object that is like this, if there is one.
    pub(crate) fn search(&self, is_like: impl Fn(&T) -> bool) -> Option<(u64, u64)> {
        self.objects.values().find(|object| is_like(&object.content)).map(|object| (object.owner, object.id))
    }

    /// Deletes an object of this owner.
    pub(crate) fn delete(&mut self, owner: u64, id: u64) -> Result<(), Refusal> {
        self.objects.remove(&(owner, id)).ok_or_else(|| Self::missing(id))?;
        self.changed.insert((owner, id));
        Ok(())
    }

    fn missing(id: u64) -> Refusal {
        Refusal::not_found(format!("There is no {} {id}.", T::NAME))
    }

    /// All objects, as they are saved.
    pub(crate) fn whole(&self) -> SavedTable<T> {
        SavedTable { kept: self.objects.values().cloned().collect(), deleted: Vec::new() }
    }

    /// What has changed since this was called before.
    pub(crate) fn take_changes(&mut self) -> SavedTable<T> {
        let mut changes = SavedTable::default();
        for key in std::mem::take(&mut self.changed) {
            match self.objects.get(&key) {
                Some(object) => changes.kept.push(object.clone()),
                None => changes.deleted.push(key),
            }
        }
        changes
    }

    /// Adds what was saved, in the place of what was there of the same objects.
    pub(crate) fn apply(&mut self, saved: SavedTable<T>) {
        self.objects.extend(saved.kept.into_iter().map(|object| ((object.owner, object.id), object)));
        saved.deleted.iter().for_each(|key| drop(self.objects.remove(key)));
    }
}

impl<T> SavedTable<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.deleted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Object for String {
        const NAME: &'static str = "word";
    }

    fn shown(table: &Table<String>) -> Vec<(u64, u64, &str)> {
        table.objects.iter().map(|((owner, id), object)| (*owner, *id, object.content.as_str())).collect()
    }

    #[test]
    fn an_object_is_its_owners_alone() {
        test_timeout::start();
        let (mut table, mut numbers, now) = (Table::default(), Numbers::new(), Timestamp::now());
        let [a, b, others] =
            [(1, "a"), (1, "b"), (2, "c")].map(|(owner, word)| table.add(owner, word.to_owned(), now, &mut numbers));
        assert_eq!(table.of(1).map(|object| object.id).collect::<Vec<_>>(), [a, b]);
        assert_eq!(table.get(1, a).unwrap().content, "a");
        let expected = Refusal::not_found(format!("There is no word {others}."));
        assert_eq!(table.get(1, others).unwrap_err(), expected);
        assert_eq!(table.change(1, others, now).unwrap_err(), expected);
        assert_eq!(table.delete(1, others).unwrap_err(), expected);
        assert_eq!(shown(&table), [(1, a, "a"), (1, b, "b"), (2, others, "c")]);
    }

    #[test]
    fn changes_make_of_an_older_table_the_new_one() {
        test_timeout::start();
        let (mut table, mut numbers, now) = (Table::default(), Numbers::new(), Timestamp::now());
        let [a, b] = ["a", "b"].map(|word| table.add(1, word.to_owned(), now, &mut numbers));
        let reread = |saved: SavedTable<String>| serde_json::from_value(serde_json::to_value(saved).unwrap()).unwrap();
        let mut other = Table::default();
        other.apply(reread(table.whole()));
        assert!(!table.take_changes().is_empty() && table.take_changes().is_empty());
        assert!(other.take_changes().is_empty(), "what was saved has not changed");

        *table.change(1, a, now).unwrap() = "A".to_owned();
        table.delete(1, b).unwrap();
        let gone = table.add(1, "brief".to_owned(), now, &mut numbers);
        table.delete(1, gone).unwrap();
        table.add(2, "c".to_owned(), now, &mut numbers);
        other.apply(reread(table.take_changes()));
        assert_eq!(shown(&other), shown(&table));
        assert_eq!(shown(&other).len(), 2);
    }

    #[test]
    fn an_item_begins_with_what_every_object_has() {
        test_timeout::start();
        let now = "2025-08-13T14:45:18.62155Z".parse().unwrap();
        let mut table = Table::default();
        let id = table.add(1, "a".to_owned(), now, &mut Numbers::new());
        let item = table.get(1, id).unwrap().item("Word", [("word", "a".into())]);
        let time = "2025-08-13 14:45:18.621550";
        assert_eq!(item, serde_json::json!({"Word": {"id": id, "created": time, "updated": time, "word": "a"}}));
    }
}
