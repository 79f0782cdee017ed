//! Finds what stands between a document and a client.
//!
//! The generator's own complaints seldom name a place, and some mistakes it does not notice at all; what is
//! found here names the schema, operation or line, and what to change. Style is not judged here.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::document::{Document, Fault, escaped, members, reference};
use super::policy::{self, Policy};

/// The extensions that a schema may have.
const OF_SCHEMAS: [&str; 2] = ["x-extensible-enum", "x-enum-descriptions"];

/// How many references in a row are followed.
const MOST_REFERENCES: usize = 100;

/// Everything that can be seen here.
pub(crate) fn faults(document: &Document) -> Vec<Fault> {
    let mut faults = Vec::new();
    check_shape(&document.root, &mut faults);
    // What has no shape would only be complained about once more by each check.
    if faults.is_empty() {
        let operations: Vec<_> = document.operations().iter().map(|operation| operation.pointer()).collect();
        for_each_part(&document.root, "", &mut |pointer, part| {
            check_reference(document, pointer, part, &mut faults);
            let known: &[&str] =
                if operations.iter().any(|operation| operation == pointer) { &policy::EXTENSIONS } else { &OF_SCHEMAS };
            for name in part.keys().filter(|name| name.starts_with("x-") && !known.contains(&name.as_str())) {
                let problem = format_args!("`{name}` means nothing here: remove or rename it");
                faults.push(Fault::at(pointer, shown(pointer), problem));
            }
        });
        check_operations(document, &mut faults);
        check_schemas(document, &mut faults);
    }
    faults
}

/// Calls `visit` on every object in `value` that is no example, with its pointer.
pub(crate) fn for_each_part(value: &Value, pointer: &str, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(pointer, object);
            let named = pointer.ends_with("/properties");
            for (name, value) in
                object.iter().filter(|(name, _)| named || !["example", "value"].contains(&name.as_str()))
            {
                for_each_part(value, &format!("{pointer}/{}", escaped(name)), visit);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                for_each_part(value, &format!("{pointer}/{index}"), visit);
            }
        }
        _ => {}
    }
}

fn shown(pointer: &str) -> String {
    format!("#{pointer}")
}

/// What is looked into by name is a mapping.
fn check_shape(root: &Value, faults: &mut Vec<Fault>) {
    if !root.is_object() {
        faults.push(Fault::new("document", "it is no mapping: begin it with `openapi: 3.0.3`"));
        return;
    }
    if !root["openapi"].as_str().is_some_and(|version| version.starts_with("3.0.")) {
        faults.push(Fault::at("/openapi", "openapi", "set it to 3.0.3: the generator knows no other generation"));
    }
    let mut check = |pointer: String| {
        if root.pointer(&pointer).is_some_and(|part| !part.is_object()) {
            faults.push(Fault::at(&pointer, shown(&pointer), "it must be a mapping: fill it in, or remove it"));
        }
    };
    for (parent, depth) in [("paths", 1), ("components", 2)] {
        check(format!("/{parent}"));
        for (name, inside) in members(&root[parent]) {
            let pointer = format!("/{parent}/{}", escaped(name));
            check(pointer.clone());
            for (name, _) in members(inside).filter(|_| depth > 1) {
                check(format!("{pointer}/{}", escaped(name)));
            }
        }
    }
}

/// A reference leads to something that is no reference in the end.
fn check_reference(document: &Document, pointer: &str, part: &Map<String, Value>, faults: &mut Vec<Fault>) {
    let Some(target) = part.get("$ref").filter(|_| !pointer.ends_with("/properties")) else { return };
    let mut fault = |problem: &str| {
        let problem =
            format!("`$ref: {}` {problem}", target.as_str().map_or_else(|| target.to_string(), str::to_owned));
        faults.push(Fault::at(pointer, shown(pointer), problem));
    };
    let Some(mut seen) = document.root.pointer(pointer) else { return };
    for _ in 0..MOST_REFERENCES {
        match reference(seen) {
            Some(target) => match document.root.pointer(target) {
                Some(found) => seen = found,
                None => return fault("leads nowhere: correct it, or write what it should lead to"),
            },
            None if seen.get("$ref").is_some() => return fault("leads nowhere: write it as `#/components/…`"),
            None => return,
        }
    }
    fault("leads back to itself: correct it");
}

fn check_operations(document: &Document, faults: &mut Vec<Fault>) {
    let mut seen = HashMap::new();
    for operation in document.operations() {
        let here = format!("{} {}", operation.method.to_uppercase(), operation.path);
        if operation.id.is_empty() {
            faults.push(Fault::at(operation.pointer(), here, "give it an operationId"));
            continue;
        }
        if !is_name(operation.id, |first| first.is_ascii_lowercase(), |c| c.is_ascii_lowercase() || c == '_') {
            faults.push(operation.fault("name it in snake_case, as in `get_provision`"));
        }
        // The list of all operations has the name.
        if operation.id == "all" {
            faults.push(operation.fault("rename it: `all` stands for all operations"));
        }
        if let Some(there) = seen.insert(operation.id, here.clone()) {
            faults.push(operation.fault(format_args!("names both {there} and {here}: rename one")));
        }
        let answers = &operation.value["responses"];
        for status in ["200", "4XX", "5XX"] {
            if answers.get(status).is_none() {
                faults.push(operation.fault(format_args!("describe its {status} answer")));
            }
        }
        let others = members(answers).map(|(status, _)| status);
        for status in others.filter(|status| *status == "default" || status.starts_with('2') && *status != "200") {
            let problem = "answer beside 200 breaks the generator: describe success as 200, the rest as 4XX and 5XX";
            faults.push(operation.fault(format_args!("a `{status}` {problem}")));
        }
        faults.extend(Policy::read(&operation).err());
    }
    if seen.is_empty() {
        faults.push(Fault::new("paths", "there is no operation"));
    }
}

/// Schemas become types of the same name.
fn check_schemas(document: &Document, faults: &mut Vec<Fault>) {
    for (name, _) in document.schemas() {
        if !is_name(name, |first| first.is_ascii_uppercase(), |c| c.is_ascii_alphabetic()) {
            faults.push(Fault::of_schema(name, "name it in PascalCase, as in `ProvisionStatus`"));
        }
    }
}

/// Whether a name begins and goes on so; it may hold digits.
fn is_name(name: &str, begins: fn(&char) -> bool, goes_on: fn(char) -> bool) -> bool {
    name.chars().next().is_some_and(|first| begins(&first))
        && name.chars().skip(1).all(|c| goes_on(c) || c.is_ascii_digit())
}
