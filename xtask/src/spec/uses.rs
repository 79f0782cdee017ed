//! Which parts of the document go to bunq, and which come from it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::build::document::{members, reference};

/// In which direction a part goes over the wire; both, one or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) request: bool,
    pub(super) answer: bool,
}

impl Use {
    pub(super) const REQUEST: Self = Self { request: true, answer: false };
    pub(super) const ANSWER: Self = Self { request: false, answer: true };
}

/// The components that requests lead to, and those that answers lead to.
#[derive(Default)]
pub(super) struct Uses {
    requests: BTreeSet<String>,
    answers: BTreeSet<String>,
}

impl Uses {
    pub(super) fn of(root: &Value) -> Self {
        let mut uses = Self::default();
        for (_, item) in members(&root["paths"]) {
            uses.add(root, item);
            members(item).for_each(|(_, operation)| uses.add(root, operation));
        }
        uses
    }

    /// Adds the uses of another document, so that both can be compared.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.requests.extend(other.requests);
        self.answers.extend(other.answers);
        self
    }

    pub(super) fn of_component(&self, kind: &str, name: &str) -> Use {
        let pointer = format!("/components/{kind}/{name}");
        Use { request: self.requests.contains(&pointer), answer: self.answers.contains(&pointer) }
    }

    fn add(&mut self, root: &Value, part: &Value) {
        collect(root, &part["parameters"], &mut self.requests);
        collect(root, &part["requestBody"], &mut self.requests);
        collect(root, &part["responses"], &mut self.answers);
    }
}

fn collect(root: &Value, value: &Value, found: &mut BTreeSet<String>) {
    if let Some(pointer) = reference(value)
        && found.insert(pointer.to_string())
        && let Some(target) = root.pointer(pointer)
    {
        collect(root, target, found);
    }
    match value {
        Value::Object(object) => {
            object.iter().filter(|(name, _)| *name != "examples").for_each(|(_, value)| collect(root, value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(root, value, found)),
        _ => {}
    }
}
