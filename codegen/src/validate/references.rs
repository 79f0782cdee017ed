//! Checks where references lead.

use serde_json::{Map, Value};

use crate::document::{Diagnostic, escaped, members, reference};

/// Finds a reference that leads nowhere, or to something else than a component of the kind that belongs there: the generator would end
/// without naming it.
pub(super) fn problem(root: &Value, pointer: &str, part: &Map<String, Value>) -> Option<String> {
    let target = part.get("$ref")?;
    let Some(text) = target.as_str().filter(|target| target.starts_with("#/")) else {
        return Some(format!(
            "`$ref: {}` leads nowhere: write it as `#/components/…`",
            target.to_string().trim_matches('"')
        ));
    };
    if root.pointer(&text[1..]).is_none() {
        return Some(format!("`$ref: {text}` leads nowhere: correct it, or write what it should lead to"));
    }
    let Some(kind) = kind_at(pointer) else {
        return Some("a path has its operations itself: write them in place of `$ref`".into());
    };
    let name = text.strip_prefix("#/components/").and_then(|rest| rest.strip_prefix(kind)?.strip_prefix('/'));
    name.is_none_or(|name| name.contains('/')).then(|| {
        format!("`$ref: {text}` is none of `#/components/{kind}`: write there what belongs here, and refer to it")
    })
}

/// The kind of the components that a part can refer to; none if it can refer to nothing.
fn kind_at(pointer: &str) -> Option<&'static str> {
    let mut names = pointer.rsplit('/');
    let (name, within) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let kinds =
        ["callbacks", "examples", "headers", "links", "parameters", "requestBodies", "responses", "securitySchemes"];
    match (within, name) {
        ("paths", _) => None,
        ("properties", _) | (_, "additionalProperties" | "items" | "not" | "schema") => Some("schemas"),
        (_, "requestBody") => Some("requestBodies"),
        _ => Some(kinds.into_iter().find(|kind| *kind == within).unwrap_or("schemas")),
    }
}

/// Components that are composed of themselves. Having itself as a member is allowed.
pub fn circles(root: &Value) -> Vec<Diagnostic> {
    fn is_circle<'a>(root: &'a Value, part: &'a Value, path: &mut Vec<&'a str>) -> bool {
        if let Some(target) = reference(part) {
            if path.contains(&target) {
                return true;
            }
            path.push(target);
            let is_one = root.pointer(target).is_some_and(|found| is_circle(root, found, path));
            path.pop();
            return is_one;
        }
        let compositions = ["allOf", "oneOf", "anyOf"].iter().filter_map(|keyword| part[keyword].as_array());
        compositions.flatten().any(|part| is_circle(root, part, path))
    }
    let mut diagnostics = Vec::new();
    for (kind, components) in members(&root["components"]) {
        for (name, _) in members(components).filter(|(_, component)| is_circle(root, component, &mut Vec::new())) {
            let pointer = format!("/components/{kind}/{}", escaped(name));
            diagnostics.push(Diagnostic::of_part(&pointer, "it leads back to itself: correct its `$ref`"));
        }
    }
    diagnostics
}
