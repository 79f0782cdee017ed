//! The direction in which each part of the document goes over the wire.

use std::collections::BTreeSet;

use serde_json::Value;

use super::callbacks::callbacks;
use super::document::{members, reference};

/// The direction in which a part goes over the wire: one, both or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// From the client to bunq.
    pub request: bool,
    /// From bunq to the client.
    pub response: bool,
}

impl Direction {
    /// A part that is only sent.
    pub const REQUEST: Self = Self { request: true, response: false };
    /// A part that is only received.
    pub const RESPONSE: Self = Self { request: false, response: true };

    /// The direction of the response to a part.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { request: self.response, response: self.request }
    }

    /// Whether a part is both sent and received.
    pub fn is_both(self) -> bool {
        self.request && self.response
    }
}

/// The components that requests refer to, and those that responses refer to.
#[derive(Default)]
pub struct Directions {
    requests: BTreeSet<String>,
    responses: BTreeSet<String>,
}

impl Directions {
    /// Follows the references from all operations and callbacks of a document.
    pub fn of(root: &Value) -> Self {
        let mut directions = Self::default();
        for (_, item) in members(&root["paths"]) {
            directions.add(root, item);
            members(item).for_each(|(_, operation)| directions.add(root, operation));
        }
        for callback in callbacks(root) {
            for (_, call) in callback.calls() {
                follow_references(root, &call["parameters"], &mut directions.responses);
                follow_references(root, &call["requestBody"], &mut directions.responses);
                follow_references(root, &call["responses"], &mut directions.requests);
            }
        }
        directions
    }

    /// Adds the directions of another document, so that the two can be compared.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.requests.extend(other.requests);
        self.responses.extend(other.responses);
        self
    }

    /// The direction of `#/components/{kind}/{name}`.
    pub fn of_component(&self, kind: &str, name: &str) -> Direction {
        let pointer = format!("/components/{kind}/{name}");
        Direction { request: self.requests.contains(&pointer), response: self.responses.contains(&pointer) }
    }

    fn add(&mut self, root: &Value, part: &Value) {
        follow_references(root, &part["parameters"], &mut self.requests);
        follow_references(root, &part["requestBody"], &mut self.requests);
        follow_references(root, &part["responses"], &mut self.responses);
        follow_references(root, &part["x-bunq-content-type"], &mut self.requests);
        follow_references(root, &part["x-bunq-refusal"], &mut self.responses);
    }
}

/// Adds the pointers of all components that `value` refers to, directly or indirectly.
pub(crate) fn follow_references(root: &Value, value: &Value, found: &mut BTreeSet<String>) {
    if let Some(pointer) = reference(value)
        && found.insert(pointer.to_string())
        && let Some(target) = root.pointer(pointer)
    {
        follow_references(root, target, found);
    }
    match value {
        Value::Object(object) => object
            .iter()
            .filter(|(name, _)| *name != "examples")
            .for_each(|(_, value)| follow_references(root, value, found)),
        Value::Array(items) => items.iter().for_each(|value| follow_references(root, value, found)),
        _ => {}
    }
}
