//! Rewrites the document in the part of OpenAPI that progenitor understands.
//!
//! The document is written for every language. The crate does what progenitor cannot: headers and signatures, lists in
//! one query parameter, and the types of secrets, texts and enums.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::bytes;
use super::direction::Directions;
use super::document::{Document, for_each_object, lower_nullable, members, reference};
use super::envelope::{Envelope, ResultShape};
use super::replacements::{REQUEST_SECRET, RESPONSE_SECRET};
use super::users::PathUser;

pub(crate) fn lower(document: &Document) -> Value {
    let mut root = document.root.clone();
    let directions = Directions::of(&root);
    if let Some(schemas) = root["components"]["schemas"].as_object_mut() {
        for (name, schema) in schemas {
            let is_request = directions.of_component("schemas", name).request;
            let (secret, _) = if is_request { REQUEST_SECRET } else { RESPONSE_SECRET };
            for_each_object(schema, &mut |object| lower_secret(object, secret));
        }
    }
    for_each_object(&mut root, &mut |object| {
        // `both_ways` writes the field of the unknown members.
        object.remove("additionalProperties");
        // `bounds` enforces it.
        object.remove("minProperties");
        // progenitor does not support a schema of null only.
        lower_nullable(object);
        // `Tidy` makes null read as an empty list.
        if object.get("type") == Some(&json!("array")) {
            object.remove("nullable");
            // `Tidy` enforces the bound of a list.
            object.remove("maxItems");
        }
        // A list in one query parameter reaches the generated client as one string.
        if object.get("explode") == Some(&json!(false)) {
            object.insert("schema".into(), json!({"type": "string"}));
        }
    });
    for (name, _) in [REQUEST_SECRET, RESPONSE_SECRET] {
        root["components"]["schemas"][name] = json!({"type": "string"});
    }
    lower_cursors(document, &mut root);
    remove_bytes(document, &mut root);
    lower_numbers(&mut root);
    remove_headers(&mut root);
    // The bodies of callbacks are components, which become types without the callbacks.
    for_each_object(&mut root["paths"], &mut |object| drop(object.remove("callbacks")));
    root
}

fn lower_secret(object: &mut Map<String, Value>, secret: &str) {
    if object.get("type") == Some(&json!("string")) && object.get("format") == Some(&json!("password")) {
        let nullable = object.get("nullable").cloned().unwrap_or(json!(false));
        object.retain(|name, _| name == "description");
        object.insert("nullable".into(), nullable);
        object.insert("allOf".into(), json!([{"$ref": format!("#/components/schemas/{secret}")}]));
    }
}

/// Makes the cursor of each page a plain number, whatever is listed.
fn lower_cursors(document: &Document, root: &mut Value) {
    for operation in document.operations() {
        let Ok(Envelope { shape: ResultShape::Page(_), .. }) = Envelope::read(document, &operation) else { continue };
        let parameters = root["paths"][operation.path][operation.method]["parameters"].as_array_mut();
        for parameter in parameters.into_iter().flatten() {
            if parameter["name"] == "older_id" || parameter["name"] == "newer_id" {
                parameter["schema"] = json!({"type": "integer", "format": "int64"});
            }
        }
    }
}

/// Makes each number in a path or query an `i64`, like the ids in responses. progenitor would derive a type from its
/// bounds. The user of the session is a text: a request is built before the user is known, with a placeholder.
fn lower_numbers(root: &mut Value) {
    for_each_object(root, &mut |object| {
        if PathUser::of(&Value::Object(object.clone())).is_some() {
            object.insert("schema".into(), json!({"type": "string"}));
        }
        let is_number = object.get("schema").is_some_and(|schema| schema["type"] == "integer");
        if is_number && object.get("in").is_some_and(|place| place == "path" || place == "query") {
            object.insert("schema".into(), json!({"type": "integer", "format": "int64"}));
        }
    });
}

/// Removes the bodies that are bytes. The typed method sets them, with their content type.
fn remove_bytes(document: &Document, root: &mut Value) {
    for operation in document.operations().iter().filter(|operation| bytes::are_sent(document, operation)) {
        if let Some(part) = root["paths"][operation.path][operation.method].as_object_mut() {
            part.remove("requestBody");
        }
    }
}

/// Removes the headers. The transport adds its own, so that no caller can forget or forge one; the typed method adds those that a
/// caller gives.
fn remove_headers(root: &mut Value) {
    let headers: BTreeSet<String> = members(&root["components"]["parameters"])
        .filter(|(_, parameter)| parameter["in"] == "header")
        .map(|(name, _)| format!("/components/parameters/{name}"))
        .collect();
    for_each_object(&mut root["paths"], &mut |object| {
        if let Some(Value::Array(parameters)) = object.get_mut("parameters") {
            parameters.retain(|parameter| {
                parameter["in"] != "header" && !reference(parameter).is_some_and(|name| headers.contains(name))
            });
        }
    });
}
