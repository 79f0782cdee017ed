//! Checks what operations say of their refusals.

use serde_json::Value;

use super::for_each_part;
use super::names::two_of_one_name;
use crate::document::{Document, Operation, members, reference};
use crate::envelope::{member_schema, name_of};
use crate::names::rust_variant;
use crate::refusals::EXTENSION;

/// What is wrong with what an operation says of its refusals.
pub(super) fn problem(document: &Document, operation: &Operation<'_>) -> Option<String> {
    let refusals = members(&operation.value["responses"]).filter(|(status, _)| *status != "200");
    let mut schemas =
        refusals.map(|(_, response)| &document.resolve(response)["content"]["application/json"]["schema"]);
    let is_other = |schema: &Value| reference(schema).is_some_and(|pointer| name_of(pointer) != "ErrorResponse");
    if schemas.any(is_other) {
        return Some(format!(
            "all its refusals are an `ErrorResponse`: name what stands in `error_additional_parameter` under {EXTENSION}"
        ));
    }
    let named = operation.value.get(EXTENSION)?;
    let schema = document.resolve(named);
    let mut kinds = members(&schema["properties"]).peekable();
    let is_object = schema["type"] == "object" && kinds.peek().is_some();
    if reference(named).is_none()
        || !is_object
        || kinds.any(|(name, _)| member_schema(document, schema, name).is_none())
    {
        return Some(format!(
            "set {EXTENSION} to the reference of an object, whose members are each a schema by reference"
        ));
    }
    // `Unknown` is the variant of all others.
    let names = members(&schema["properties"]).map(|(name, _)| name).chain(["Unknown"]);
    if let Some((one, other)) = two_of_one_name(names, rust_variant) {
        return Some(format!(
            "of what its {EXTENSION} names, `{one}` and `{other}` have one name in Rust: name one of them"
        ));
    }
    let mut is_used = false;
    for_each_part(&document.root, &mut |pointer, part| {
        is_used |= part.get("$ref") == named.get("$ref") && !pointer.ends_with(EXTENSION);
    });
    is_used.then(|| format!("what its {EXTENSION} names is used elsewhere too: write two schemas"))
}
