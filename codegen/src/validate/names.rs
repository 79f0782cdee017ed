//! Finds two names of the document that would be one name in Rust.

use std::collections::HashMap;

use crate::document::{Document, Operation};
use crate::envelope::{Envelope, ResultShape, given_parameters};
use crate::headers;
use crate::names::{pascal_case, rust_name, rust_variant};

/// The first two that have one name in Rust.
pub(super) fn two_of_one_name<T: Copy>(all: impl Iterator<Item = T>, name: impl Fn(T) -> String) -> Option<(T, T)> {
    let mut seen = HashMap::new();
    all.into_iter().find_map(|one| Some((seen.insert(name(one), one)?, one)))
}

/// The names that the code around the arguments of a method has: its arguments, variables and functions.
const OF_METHODS: [&str; 28] = [
    "api",
    "body",
    "content_type",
    "cursor",
    "decode",
    "each",
    "envelope",
    "exchange",
    "first",
    "is_whole",
    "item",
    "items",
    "joined",
    "links",
    "of_kind",
    "output",
    "pages",
    "query",
    "repeats",
    "requests",
    "required",
    "response",
    "text",
    "user",
    "value",
    "with_bytes",
    "with_header",
    "within_bounds",
];

/// The names of what is called of a query, which has a method for each of its parameters.
const OF_QUERIES: [&str; 2] = ["clone", "default"];

/// What is wrong with the names in the signature of a method and in its types.
pub(super) fn problems_of_signature(
    document: &Document,
    operation: &Operation<'_>,
    envelope: &Envelope,
) -> Vec<String> {
    let mut problems = Vec::new();
    let parameters = given_parameters(document, operation).map(|parameter| {
        let name = parameter["name"].as_str().unwrap_or_default();
        (name, parameter["in"].as_str().unwrap_or_default(), rust_name(name))
    });
    let headers = headers::given(document, operation).map(|header| (header.name, "header", header.argument()));
    let parameters: Vec<_> = parameters.chain(headers).collect();
    let shown = |(name, place, _): &(&str, &str, String)| format!("`{name}` in the {place}");
    if let Some((one, other)) = two_of_one_name(parameters.iter(), |(_, _, rust)| rust.clone()) {
        let remedy = if [one, other].iter().any(|(_, place, _)| *place == "path") {
            "rename that in the path"
        } else {
            "leave one out"
        };
        let (one, other) = (shown(one), shown(other));
        problems.push(format!("its parameters {one} and {other} have one name in Rust: {remedy}"));
    }
    for (name, place, rust) in &parameters {
        let other = match *place {
            "path" if OF_METHODS.contains(&rust.as_str()) => "something in its method: rename it in the path",
            "header" if OF_METHODS.contains(&rust.as_str()) => "something in its method: leave the header out",
            "query" if OF_QUERIES.contains(&rust.as_str()) => "a method of its query: leave the parameter out",
            "query" if rust == "body" && operation.value.get("requestBody").is_some() => {
                "its body: leave the parameter out"
            }
            "query" if rust == "cursor" && matches!(envelope.shape, ResultShape::Page(_)) => {
                "the cursor of its page: leave the parameter out"
            }
            _ => continue,
        };
        problems.push(format!("its parameter `{name}` has in Rust the name of {other}"));
    }
    if let Some((one, other)) = two_of_one_name(envelope.items(), |name| rust_variant(name)) {
        problems.push(format!("its items `{one}` and `{other}` have one name in Rust: name one of them"));
    }
    let id = pascal_case(operation.id);
    for made in [format!("{id}Query"), format!("{id}Output")] {
        if !document.root["components"]["schemas"][&made].is_null() {
            problems
                .push(format!("the schema `{made}` has the name of a type that is made of the operation: rename one"));
        }
    }
    if matches!(envelope.shape, ResultShape::Page(_)) {
        let made = ["pages", "stream"].map(|made| format!("{}_{made}", operation.id));
        if let Some(other) = document.operations().iter().find(|other| made.iter().any(|made| made == other.id)) {
            let id = other.id;
            problems.push(format!("the operation `{id}` has the name of a method that is made of it: rename one"));
        }
    }
    problems
}

/// Whether a name begins and continues with the given characters; it may contain digits.
pub(super) fn is_name(name: &str, begins: fn(&char) -> bool, goes_on: fn(char) -> bool) -> bool {
    name.chars().next().is_some_and(|first| begins(&first))
        && name.chars().skip(1).all(|c| goes_on(c) || c.is_ascii_digit())
}
