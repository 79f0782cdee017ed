//! Checks the schemas: their names, values and extensions, and what goes in both directions.

use std::collections::HashMap;
use std::fmt::Display;

use serde_json::Value;

use super::both_ways;
use super::for_each_part;
use super::names::is_name;
use crate::bounds;
use crate::bytes;
use crate::direction::Directions;
use crate::document::{Diagnostic, Document};
use crate::ids;
use crate::names::pascal_case;
use crate::replacements::{REQUEST_SECRET, RESPONSE_SECRET};
use crate::texts;

/// Checks the names: schemas become types of the same name, and values of enums become variants.
pub(super) fn check(document: &Document, diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.extend(bytes::problems_of_schemas(document));
    let mut find = |name: &str, problem: &dyn Display| diagnostics.push(Diagnostic::of_schema(name, problem));
    let directions = Directions::of(&document.root);
    for (name, schema) in texts::checked(document) {
        if schema["x-bunq-rule"].as_str().is_none_or(str::is_empty) {
            find(name, &"say its pattern and bounds in words, for errors, under x-bunq-rule");
        }
        if let Err(problem) = texts::pattern(schema) {
            find(name, &problem);
        }
    }
    for (name, schema) in document.schemas().filter(|(_, schema)| schema.get("x-bunq-id").is_some()) {
        if schema["x-bunq-id"] != true {
            find(name, &"set x-bunq-id to true, or remove it");
        } else if let Some(problem) = ids::problem(schema) {
            find(name, &problem);
        }
    }
    for (name, schema) in document.schemas() {
        let has_two_capitals = name.as_bytes().windows(2).any(|two| two.iter().all(u8::is_ascii_uppercase));
        if has_two_capitals || !is_name(name, |first| first.is_ascii_uppercase(), |c| c.is_ascii_alphabetic()) {
            find(name, &"name it in PascalCase, as in `ProvisionStatus` or `ApiKey`");
        }
        if name == "Self" {
            find(name, &"rename it: the name stands for something else in Rust");
        }
        if [REQUEST_SECRET.0, RESPONSE_SECRET.0].contains(&name) {
            find(name, &"rename it: texts with `format: password` have this name in Rust");
        }
        let direction = directions.of_component("schemas", name);
        if let Some(problem) = both_ways::problem(schema, direction) {
            find(name, &problem);
        }
        if direction.is_both() && has_secret(schema) {
            let problem = "it has a secret, and is used in requests, which send it, and in responses, which redact it: \
                           write two schemas";
            find(name, &problem);
        }
        let values = schema.get("x-extensible-enum").or(schema.get("enum"));
        let mut seen = HashMap::new();
        for value in values.and_then(Value::as_array).into_iter().flatten() {
            let Some(text) = value.as_str() else {
                find(name, &format_args!("the value {value} is not a string"));
                continue;
            };
            if !is_name(
                text,
                |first| first.is_ascii_alphabetic(),
                |c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '/'),
            ) {
                find(name, &format_args!("the value `{text}` cannot be named in Rust"));
            }
            let variant = pascal_case(text);
            if ["Unknown", "Self"].contains(&variant.as_str()) {
                find(
                    name,
                    &format_args!("the value `{text}` would be `{variant}` in Rust, which stands for something else"),
                );
            }
            if let Some(other) = seen.insert(variant, text) {
                find(name, &format_args!("the values `{other}` and `{text}` have one name in Rust"));
            }
        }
    }
    for (name, problem) in bounds::problems(document) {
        find(name, &problem);
    }
    check_shared_enums(document, diagnostics);
}

/// Whether a schema itself contains a secret, not counting the schemas that it refers to.
fn has_secret(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            object.get("format").is_some_and(|format| format == "password") || object.values().any(has_secret)
        }
        Value::Array(items) => items.iter().any(has_secret),
        _ => false,
    }
}

/// Checks that the values of `x-bunq-enum` are those of the open enum that it names. Where there are none, others can be sent too.
fn check_shared_enums(document: &Document, diagnostics: &mut Vec<Diagnostic>) {
    for_each_part(&document.root, &mut |pointer, part| {
        let Some(name) = part.get("x-bunq-enum") else { return };
        let shared = name.as_str().map(|name| &document.root["components"]["schemas"][name]["x-extensible-enum"]);
        if shared.is_none_or(Value::is_null) || part.get("enum").is_some_and(|values| Some(values) != shared) {
            let problem = format!(
                "x-bunq-enum names {name}: name an open enum, and give both the same values in the same order, or that one alone"
            );
            diagnostics.push(Diagnostic::of_part(pointer, problem));
        }
    });
}
