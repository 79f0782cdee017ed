//! Writes the kinds of ids: the schemas with `x-bunq-id`. What all kinds share is written by hand, in `src/types/id.rs`.

use quote::{format_ident, quote};
use serde_json::Value;

use super::document::{Diagnostic, Document, reference};
use super::names::snake_case;
use super::texts::json_schema;

/// The schemas of ids.
pub(crate) fn kinds(document: &Document) -> impl Iterator<Item = (&str, &Value)> {
    document.schemas().filter(|(_, schema)| schema["x-bunq-id"] == true)
}

/// The kind of id that `schema` refers to.
pub(crate) fn kind_of<'a>(document: &Document, schema: &'a Value) -> Option<&'a str> {
    let name = reference(schema)?.strip_prefix("/components/schemas/")?;
    is_kind(document, name).then_some(name)
}

/// Whether the schema `name` is a kind of id.
pub(crate) fn is_kind(document: &Document, name: &str) -> bool {
    document.root["components"]["schemas"][name]["x-bunq-id"] == true
}

/// What is wrong with a kind of id.
pub(crate) fn problem(schema: &Value) -> Option<&'static str> {
    let is_id = schema["type"] == "integer" && schema["format"] == "int64" && schema["minimum"] == 1;
    if !is_id || schema.get("maximum").is_some() {
        return Some(
            "an id is positive and has no other bound: write `type: integer`, `format: int64` and `minimum: 1`",
        );
    }
    let is_described = schema["description"].as_str().is_some_and(|text| !text.trim().is_empty());
    (!is_described).then_some("say of what it is the id, as its description")
}

/// Writes the types of all ids. All are public, because types that are written by hand have them too, such as the user of a session.
pub(crate) fn generate(document: &Document) -> Result<Vec<syn::Item>, Diagnostic> {
    let mut items = Vec::new();
    for (name, schema) in kinds(document) {
        let (ident, field) = (format_ident!("{name}"), snake_case(name));
        let doc = format!(" {}", schema["description"].as_str().unwrap_or_default().trim_end());
        let json_schema = json_schema(name, schema);
        let code = quote! {
            #[doc = #doc]
            #[doc = ""]
            #[doc = " It is a positive integer of at most 63 bits, and no id of another kind."]
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct #ident(u64);
            crate::types::id!(#ident, #field);
            #json_schema
        };
        let file: syn::File = syn::parse2(code).map_err(|error| Diagnostic::of_schema(name, error))?;
        items.extend(file.items);
    }
    Ok(items)
}
