//! Writes what holds the body of a request to the bounds of the document that its type cannot: whether it may be empty, and how many
//! values its lists have.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use serde_json::Value;

use super::document::{Document, Operation, members};

/// The bounds of the body of an operation, if it has any.
pub(crate) fn of_body(document: &Document, operation: &Operation<'_>) -> Option<TokenStream> {
    let schema = body(document, operation);
    let names: Vec<_> = match schema[LEAST].as_u64() {
        Some(_) => members(&schema["properties"]).map(|(name, _)| name).collect(),
        None => Vec::new(),
    };
    let lists = members(&schema["properties"]).filter_map(|(name, property)| {
        let (least, most) = (property["minItems"].as_u64(), property["maxItems"].as_u64());
        least.or(most)?;
        let least = Literal::u64_unsuffixed(least.unwrap_or(0));
        let most = most.map_or(quote!(usize::MAX), |most| {
            let most = Literal::u64_unsuffixed(most);
            quote!(#most)
        });
        Some(quote!(ListBounds { name: #name, least: #least, most: #most }))
    });
    let lists: Vec<_> = lists.collect();
    let has_any = !names.is_empty() || !lists.is_empty();
    has_any.then(|| quote!(BodyBounds { one_of: &[#(#names),*], lists: &[#(#lists),*] }))
}

const LEAST: &str = "minProperties";

/// What is wrong with the bounds of objects: those that nothing holds.
pub(crate) fn problems(document: &Document) -> impl Iterator<Item = (&str, &'static str)> {
    document.schemas().filter(|(_, schema)| schema.get(LEAST).is_some()).filter_map(|(name, schema)| {
        let is_body = |operation: &Operation<'_>| std::ptr::eq(body(document, operation), schema);
        if !document.operations().iter().any(is_body) {
            return Some((name, "only the body of a request is held to `minProperties`: remove it"));
        }
        (schema[LEAST] != 1).then_some((name, "set `minProperties` to 1, or remove it"))
    })
}

/// The schema of the body of an operation.
fn body<'a>(document: &'a Document, operation: &Operation<'a>) -> &'a Value {
    let media = &document.resolve(&operation.value["requestBody"])["content"]["application/json"];
    document.resolve(&media["schema"])
}
