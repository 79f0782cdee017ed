//! What bunq sends by itself: the callbacks of operations. Their bodies are received.

use serde_json::Value;

use super::document::{METHODS, escaped, members};

/// One callback of an operation.
pub struct Callback<'a> {
    /// Its name under `callbacks`.
    pub name: &'a str,
    /// The JSON pointer to it.
    pub pointer: String,
    /// What the operation says of it: its calls, by their URL.
    pub value: &'a Value,
}

impl<'a> Callback<'a> {
    /// What bunq calls, by its method: one `post` in a valid document.
    pub fn calls(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        members(self.value).flat_map(|(_, item)| members(item).filter(|(method, _)| METHODS.contains(method)))
    }

    /// The body that bunq sends.
    pub fn body(&self) -> Option<&'a Value> {
        self.calls().find_map(|(_, call)| call.get("requestBody"))
    }
}

/// The callbacks of all operations.
pub fn callbacks(root: &Value) -> Vec<Callback<'_>> {
    let mut found = Vec::new();
    for (path, item) in members(&root["paths"]) {
        for (method, operation) in members(item).filter(|(method, _)| METHODS.contains(method)) {
            found.extend(members(&operation["callbacks"]).map(|(name, value)| Callback {
                name,
                pointer: format!("/paths/{}/{method}/callbacks/{}", escaped(path), escaped(name)),
                value,
            }));
        }
    }
    found
}
