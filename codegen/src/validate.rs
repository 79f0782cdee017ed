//! Finds the parts of a document that cannot be turned into working Rust.
//!
//! progenitor's own messages seldom name a place, and it does not notice every mistake. A diagnostic made here names
//! the schema, operation or line, and what to change. This module does not judge style.

mod both_ways;
mod callbacks;
mod names;
mod references;
mod refusals;
mod schemas;

use std::collections::HashMap;

use serde_json::{Map, Value};

use self::names::{is_name, problems_of_signature, two_of_one_name};
pub use self::references::circles;
use super::both_ways::EXTENSION as KEEP_UNKNOWN;
use super::bytes;
use super::document::{Diagnostic, Document, escaped, members, reference};
use super::envelope::{BYTES, Envelope};
use super::headers;
use super::names::rust_name;
use super::policy::{self, Policy};
use super::provenance;
use super::replacements::is_replaced;
use super::users;

/// The extensions that a string schema may have.
const OF_TEXTS: [&str; 9] = [
    bytes::OF_CONTENT_TYPES[0],
    bytes::OF_CONTENT_TYPES[1],
    "x-bunq-enum",
    "x-bunq-personal",
    "x-bunq-rule",
    "x-bunq-secret-path",
    "x-bunq-visible",
    "x-enum-descriptions",
    "x-extensible-enum",
];

/// The extension that the schema of an object may have.
const OF_OBJECTS: [&str; 1] = [KEEP_UNKNOWN];

/// The members whose keys are names that the document chooses.
const NAMES: [&str; 16] = [
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
    bytes::OF_CONTENT_TYPES[0],
    bytes::OF_CONTENT_TYPES[1],
    "x-enum-descriptions",
];

impl Document {
    /// Reads a document and validates it.
    ///
    /// # Errors
    ///
    /// The first diagnostic.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        let document = Self::read(text)?;
        diagnostics(&document).into_iter().next().map_or(Ok(document), Err)
    }
}

/// All diagnostics of a document.
pub fn diagnostics(document: &Document) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    check_shape(&document.root, &mut diagnostics);
    // After a wrong shape, the other checks would only report it again.
    if diagnostics.is_empty() {
        let operations: Vec<_> = document.operations().iter().map(|operation| operation.pointer()).collect();
        for_each_part(&document.root, &mut |pointer, part| {
            let is_operation = operations.iter().any(|operation| operation == pointer);
            let problems = [
                references::problem(&document.root, pointer, part),
                extension_problem(pointer, part, is_operation),
                generator_problem(pointer, part),
            ];
            let problems = problems.into_iter().flatten();
            diagnostics.extend(problems.map(|problem| Diagnostic::of_part(pointer, problem)));
        });
        diagnostics.extend(circles(&document.root));
        check_operations(document, &mut diagnostics);
        diagnostics.extend(callbacks::problems(document));
        schemas::check(document, &mut diagnostics);
    }
    diagnostics
}

/// The media types that a client can be generated for.
const MEDIA_TYPES: [&str; 2] = ["application/json", BYTES];

/// Calls `visit` on every object that is neither an example nor a map of names, with its pointer.
pub fn for_each_part(root: &Value, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
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

/// Checks that the parts that later checks look up by name are mappings.
fn check_shape(root: &Value, diagnostics: &mut Vec<Diagnostic>) {
    if !root.is_object() {
        diagnostics.push(Diagnostic::new("document", "it is no mapping: begin it with `openapi: 3.0.3`"));
        return;
    }
    if !root["openapi"].as_str().is_some_and(|version| version.starts_with("3.0.")) {
        diagnostics.push(Diagnostic::at(
            "/openapi",
            "openapi",
            "set it to 3.0.3: the generator knows no other generation",
        ));
    }
    check_mappings(root, "/paths", 1, diagnostics);
    check_mappings(root, "/components", 2, diagnostics);
}

/// Checks that a part, if present, is a mapping, and so are its members down to `depth`.
fn check_mappings(root: &Value, pointer: &str, depth: u32, diagnostics: &mut Vec<Diagnostic>) {
    let Some(part) = root.pointer(pointer) else { return };
    if !part.is_object() {
        diagnostics.push(Diagnostic::of_part(pointer, "it must be a mapping: fill it in, or remove it"));
    } else if depth > 0 {
        for (name, _) in members(part) {
            check_mappings(root, &format!("{pointer}/{}", escaped(name)), depth - 1, diagnostics);
        }
    }
}

/// The extensions that a property may have.
const OF_PROPERTIES: [&str; 3] = ["x-bunq-lenient", "x-bunq-personal", "x-bunq-secret-path"];

fn extension_problem(pointer: &str, part: &Map<String, Value>, is_operation: bool) -> Option<String> {
    let is_property = pointer.rsplit('/').nth(1) == Some("properties");
    let is_set = |name: &&&str| part.get(**name).is_some_and(|value| *value != Value::Bool(true));
    if let Some(name) = OF_PROPERTIES.iter().filter(|_| is_property).find(is_set) {
        return Some(format!("set {name} to true, or remove it"));
    }
    let other = users::EXTENSIONS.iter().find(|name| part.get(**name).is_some_and(|value| value != "session"));
    if let Some(name) = other.filter(|_| part.contains_key("in")) {
        return Some(format!("set {name} to session, or remove it"));
    }
    let known: &[&str] = match part.get("type") {
        _ if is_operation => &policy::EXTENSIONS,
        _ if part.contains_key("in") => &users::EXTENSIONS,
        _ if pointer == "/info" => &[provenance::QUESTIONS],
        Some(kind) if kind == "string" => &OF_TEXTS,
        // Only a schema with a name of its own is a type.
        Some(kind) if kind == "integer" && is_component(pointer) => &["x-bunq-id"],
        Some(kind) if kind == "object" && is_component(pointer) => &OF_OBJECTS,
        _ => &[],
    };
    let is_known = |name: &str| known.contains(&name) || (is_property && OF_PROPERTIES.contains(&name));
    let unknown = part.keys().find(|name| name.starts_with("x-") && !is_known(name))?;
    Some(format!("`{unknown}` means nothing here: remove or rename it"))
}

/// Whether a part is a schema with a name of its own.
fn is_component(pointer: &str) -> bool {
    pointer.strip_prefix("/components/schemas/").is_some_and(|name| !name.contains('/'))
}

/// Finds what progenitor cannot turn into Rust, or turns into other Rust than intended.
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
        && let Some((other, _)) = members(media).find(|(media, _)| !MEDIA_TYPES.contains(media))
    {
        return Some(format!(
            "no client can be made for `{other}`: write `application/json`, or `application/octet-stream` for bytes"
        ));
    }
    let is_text = is("type", "string");
    if part.contains_key("pattern") && !(is_text && is_component(pointer)) {
        return Some("a pattern is checked by a type: write a schema of its own, and refer to it".into());
    }
    let is_date = is("format", "date") || is("format", "date-time");
    if is_date && !pointer.strip_prefix("/components/schemas/").is_some_and(is_replaced) {
        return Some("refer to the schema `Date` for a date, or to `Timestamp`".into());
    }
    let properties = part.get("properties").into_iter().flat_map(members).map(|(name, _)| name);
    let (one, other) = two_of_one_name(properties, rust_name)?;
    Some(format!("its properties `{one}` and `{other}` have one name in Rust: rename one"))
}

fn check_operations(document: &Document, diagnostics: &mut Vec<Diagnostic>) {
    let mut seen = HashMap::new();
    for operation in document.operations() {
        let here = format!("{} {}", operation.method.to_uppercase(), operation.path);
        if operation.id.is_empty() {
            diagnostics.push(Diagnostic::at(operation.pointer(), here, "give it an operationId"));
            continue;
        }
        // A keyword has another name in Rust.
        let is_its_name = rust_name(operation.id) == operation.id;
        if !is_its_name
            || !is_name(operation.id, |first| first.is_ascii_lowercase(), |c| c.is_ascii_lowercase() || c == '_')
        {
            diagnostics.push(operation.diagnostic("name it in snake_case, as in `get_provision`"));
        }
        // `Operation::ALL` is already the list of all operations.
        if operation.id == "all" {
            diagnostics.push(operation.diagnostic("rename it: `all` stands for all operations"));
        }
        if let Some(there) = seen.insert(operation.id, here.clone()) {
            diagnostics.push(operation.diagnostic(format_args!("names both {there} and {here}: rename one")));
        }
        let responses = &operation.value["responses"];
        for status in ["200", "4XX", "5XX"] {
            if responses.get(status).is_none() {
                diagnostics.push(operation.diagnostic(format_args!("describe its {status} response")));
            }
        }
        let others = members(responses).map(|(status, _)| status);
        for status in others.filter(|status| *status == "default" || status.starts_with('2') && *status != "200") {
            let problem = "response beside 200 breaks the generator: describe success as 200, the rest as 4XX and 5XX";
            diagnostics.push(operation.diagnostic(format_args!("a `{status}` {problem}")));
        }
        let bodies = members(responses).map(|(_, response)| response).chain(operation.value.get("requestBody"));
        for body in bodies {
            let schema = &document.resolve(body)["content"]["application/json"]["schema"];
            if !schema.is_null() && reference(schema).is_none() {
                diagnostics.push(operation.diagnostic("put its schemas under components/schemas, and refer to them"));
            }
        }
        let problems = [
            refusals::problem(document, &operation),
            bytes::problem(document, &operation),
            headers::problem(document, &operation),
        ];
        diagnostics.extend(problems.into_iter().flatten().map(|problem| operation.diagnostic(problem)));
        let (policy, envelope) = (Policy::read(&operation), Envelope::read(document, &operation));
        if let (Ok(policy), Ok(envelope)) = (&policy, &envelope) {
            let problem = users::problem(document, &operation, policy.auth, envelope);
            diagnostics.extend(problem.map(|problem| operation.diagnostic(problem)));
        }
        diagnostics.extend(policy.err());
        if let Ok(envelope) = &envelope {
            let problems = problems_of_signature(document, &operation, envelope);
            diagnostics.extend(problems.into_iter().map(|problem| operation.diagnostic(problem)));
        }
        diagnostics.extend(envelope.err());
    }
    if seen.is_empty() {
        diagnostics.push(Diagnostic::new("paths", "there is no operation"));
    }
}
