//! Checks what operations say of their callbacks.

use std::collections::HashSet;

use serde_json::Value;

use super::names::is_name;
use crate::callbacks::callbacks;
use crate::document::{Diagnostic, Document, reference};

/// What is wrong with the callbacks of a document.
pub(super) fn problems(document: &Document) -> Vec<Diagnostic> {
    let (mut problems, mut seen) = (Vec::new(), HashSet::new());
    for callback in callbacks(&document.root) {
        let name = callback.name;
        let mut find = |problem: &str| {
            problems.push(Diagnostic::at(&callback.pointer, format_args!("callback `{name}`"), problem));
        };
        if !is_name(name, |first| first.is_ascii_lowercase(), |c| c.is_ascii_lowercase() || c == '_') {
            find("name it in snake_case, as in `notification_url`");
        }
        if !seen.insert(name) {
            find("another callback has the name: rename one");
        }
        if reference(callback.value).is_some() {
            find("write it at its operation, not as a reference");
            continue;
        }
        let calls: Vec<_> = callback.calls().collect();
        let [("post", call)] = calls[..] else {
            find("it is one call of bunq's: give it one URL, and under it one `post`");
            continue;
        };
        let content = &call["requestBody"]["content"];
        let is_json = content.as_object().is_some_and(|content| content.len() == 1);
        if !is_json || reference(&content["application/json"]["schema"]).is_none() {
            find("describe its requestBody as `application/json`, with a schema by reference, and as nothing else");
        }
        if call.get("responses").and_then(Value::as_object).is_none_or(|responses| !responses.contains_key("200")) {
            find("describe the 200 response that bunq expects");
        }
    }
    problems
}
