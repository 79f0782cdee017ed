//! Finds what stands between a document and a client.
//!
//! The generator's own complaints seldom name a place, and some mistakes it does not notice at all; what is
//! found here names the schema, operation or line, and what to change. Style is not judged here.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::by_hand::BY_HAND;
use super::document::{Document, Fault, escaped, members, reference};
use super::policy::{self, Policy};

/// The extensions that a text may have.
const OF_TEXTS: [&str; 2] = ["x-extensible-enum", "x-enum-descriptions"];

/// What maps names of the document's own choice: its members are parts, whatever they are called.
const NAMES: [&str; 14] = [
    "callbacks",
    "content",
    "examples",
    "headers",
    "links",
    "parameters",
    "paths",
    "properties",
    "requestBodies",
    "responses",
    "schemas",
    "securitySchemes",
    "variables",
    "x-enum-descriptions",
];

/// Everything that can be seen here.
pub(crate) fn faults(document: &Document) -> Vec<Fault> {
    let mut faults = Vec::new();
    check_shape(&document.root, &mut faults);
    // What has no shape would only be complained about once more by each check.
    if faults.is_empty() {
        let operations: Vec<_> = document.operations().iter().map(|operation| operation.pointer()).collect();
        for_each_part(&document.root, &mut |pointer, part| {
            let is_operation = operations.iter().any(|operation| operation == pointer);
            let problems = [
                reference_problem(&document.root, part),
                extension_problem(part, is_operation),
                generator_problem(pointer, part),
            ];
            let problems = problems.into_iter().flatten();
            faults.extend(problems.map(|problem| Fault::of_part(pointer, problem)));
        });
        faults.extend(circles(&document.root));
        check_operations(document, &mut faults);
        check_schemas(document, &mut faults);
    }
    faults
}

/// Calls `visit` on every object that is neither an example nor a map of names, with its pointer.
pub(crate) fn for_each_part(root: &Value, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    fn walk(value: &Value, pointer: &str, is_names: bool, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
        match value {
            Value::Object(object) => {
                if !is_names {
                    visit(pointer, object);
                }
                for (name, value) in object {
                    if is_names || !["example", "value", "default", "enum"].contains(&name.as_str()) {
                        let is_names = !is_names && NAMES.contains(&name.as_str());
                        walk(value, &format!("{pointer}/{}", escaped(name)), is_names, visit);
                    }
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    walk(value, &format!("{pointer}/{index}"), false, visit);
                }
            }
            _ => {}
        }
    }
    walk(root, "", false, visit);
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
    check_mappings(root, "/paths", 1, faults);
    check_mappings(root, "/components", 2, faults);
}

/// Whether a part is a mapping, if it is there, and what it holds down to `depth`.
fn check_mappings(root: &Value, pointer: &str, depth: u32, faults: &mut Vec<Fault>) {
    let Some(part) = root.pointer(pointer) else { return };
    if !part.is_object() {
        faults.push(Fault::of_part(pointer, "it must be a mapping: fill it in, or remove it"));
    } else if depth > 0 {
        for (name, _) in members(part) {
            check_mappings(root, &format!("{pointer}/{}", escaped(name)), depth - 1, faults);
        }
    }
}

fn reference_problem(root: &Value, part: &Map<String, Value>) -> Option<String> {
    let target = part.get("$ref")?;
    let Some(text) = target.as_str().filter(|target| target.starts_with("#/")) else {
        return Some(format!(
            "`$ref: {}` leads nowhere: write it as `#/components/…`",
            target.to_string().trim_matches('"')
        ));
    };
    let leads_nowhere = root.pointer(&text[1..]).is_none();
    leads_nowhere.then(|| format!("`$ref: {text}` leads nowhere: correct it, or write what it should lead to"))
}

fn extension_problem(part: &Map<String, Value>, is_operation: bool) -> Option<String> {
    let known: &[&str] = match part.get("type") {
        _ if is_operation => &policy::EXTENSIONS,
        Some(kind) if kind == "string" => &OF_TEXTS,
        _ => &[],
    };
    let unknown = part.keys().find(|name| name.starts_with("x-") && !known.contains(&name.as_str()))?;
    Some(format!("`{unknown}` means nothing here: remove or rename it"))
}

/// What the generator makes no Rust of that compiles, or none that is meant.
fn generator_problem(pointer: &str, part: &Map<String, Value>) -> Option<String> {
    let is = |name: &str, value: &str| part.get(name).is_some_and(|found| found == value);
    if is("in", "path") && part.get("required") != Some(&Value::Bool(true)) {
        return Some("a parameter in the path is never left out: set `required: true`".into());
    }
    if part.get("items").is_some_and(|items| !items.is_object()) {
        return Some("`items` is one schema, not a list: write it as a mapping".into());
    }
    if is("type", "number") {
        return Some("fractions cannot be compared: use `integer`, or `string` as bunq does for amounts".into());
    }
    if let Some(media) = part.get("content")
        && let Some((other, _)) = members(media).find(|(media, _)| *media != "application/json")
    {
        return Some(format!("bunq speaks JSON alone: write `application/json` for `{other}`"));
    }
    let checked = part.contains_key("pattern") || is("format", "date") || is("format", "date-time");
    let name = pointer.strip_prefix("/components/schemas/");
    if name.is_some_and(|name| checked && BY_HAND.iter().all(|(by_hand, _)| *by_hand != name)) {
        let problem =
            "the generator does not check a pattern or a date: refer to a schema whose type is written by hand";
        return Some(format!("{problem} (build/by_hand.rs)"));
    }
    let mut seen = HashMap::new();
    let properties = part.get("properties").into_iter().flat_map(members);
    properties.map(|(name, _)| name).find_map(|name| {
        let rust = name.replace(['-', '_'], "").to_lowercase();
        let other = seen.insert(rust, name)?;
        Some(format!("its properties `{other}` and `{name}` have one name in Rust: rename one"))
    })
}

/// Components that are made of themselves, and so of nothing; what holds itself as a member is none of them. Whoever
/// follows references goes round in them for ever.
pub(crate) fn circles(root: &Value) -> Vec<Fault> {
    fn is_circle<'a>(root: &'a Value, part: &'a Value, way: &mut Vec<&'a str>) -> bool {
        if let Some(target) = reference(part) {
            if way.contains(&target) {
                return true;
            }
            way.push(target);
            let is_one = root.pointer(target).is_some_and(|found| is_circle(root, found, way));
            way.pop();
            return is_one;
        }
        let compositions = ["allOf", "oneOf", "anyOf"].iter().filter_map(|keyword| part[keyword].as_array());
        compositions.flatten().any(|part| is_circle(root, part, way))
    }
    let mut faults = Vec::new();
    for (kind, components) in members(&root["components"]) {
        for (name, _) in members(components).filter(|(_, component)| is_circle(root, component, &mut Vec::new())) {
            let pointer = format!("/components/{kind}/{}", escaped(name));
            faults.push(Fault::of_part(&pointer, "it leads back to itself: correct its `$ref`"));
        }
    }
    faults
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
        let bodies = members(answers).map(|(_, answer)| answer).chain(operation.value.get("requestBody"));
        for body in bodies {
            let schema = &document.resolve(body)["content"]["application/json"]["schema"];
            if !schema.is_null() && reference(schema).is_none() {
                faults.push(operation.fault("put its schemas under components/schemas, and refer to them"));
            }
        }
        faults.extend(Policy::read(&operation).err());
    }
    if seen.is_empty() {
        faults.push(Fault::new("paths", "there is no operation"));
    }
}

/// Schemas become types of the same name, and values of enums become variants.
fn check_schemas(document: &Document, faults: &mut Vec<Fault>) {
    for (name, schema) in document.schemas() {
        let has_two_capitals = name.as_bytes().windows(2).any(|two| two.iter().all(u8::is_ascii_uppercase));
        if has_two_capitals || !is_name(name, |first| first.is_ascii_uppercase(), |c| c.is_ascii_alphabetic()) {
            faults.push(Fault::of_schema(name, "name it in PascalCase, as in `ProvisionStatus` or `ApiKey`"));
        }
        if name == "Secret" {
            faults.push(Fault::of_schema(name, "rename it: texts with `format: password` have this name in Rust"));
        }
        let values = schema.get("x-extensible-enum").or(schema.get("enum"));
        let mut seen = HashSet::new();
        for value in values.and_then(Value::as_array).into_iter().flatten() {
            let Some(text) = value.as_str() else {
                faults.push(Fault::of_schema(name, format_args!("the value {value} is not a string")));
                continue;
            };
            if !is_name(text, |first| first.is_ascii_alphabetic(), |c| c.is_ascii_alphabetic() || c == '_') {
                faults.push(Fault::of_schema(name, format_args!("the value `{text}` cannot be named in Rust")));
            }
            let variant = variant_name(text);
            if ["Unknown", "Self"].contains(&variant.as_str()) || !seen.insert(variant) {
                faults.push(Fault::of_schema(name, format_args!("the value `{text}` has the Rust name of another")));
            }
        }
    }
}

/// What a value of an enum is called in Rust.
pub(crate) fn variant_name(value: &str) -> String {
    let capitalized = |word: &str| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + &rest.to_lowercase()
    };
    value.split('_').map(capitalized).collect()
}

/// Whether a name begins and goes on so; it may hold digits.
fn is_name(name: &str, begins: fn(&char) -> bool, goes_on: fn(char) -> bool) -> bool {
    name.chars().next().is_some_and(|first| begins(&first))
        && name.chars().skip(1).all(|c| goes_on(c) || c.is_ascii_digit())
}
