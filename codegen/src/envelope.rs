//! Reads from `x-bunq-result` what the result of an operation is: which items of the envelope are returned, and which
//! of their members must repeat what the request asked for.

use serde_json::{Map, Value};

use super::document::{Diagnostic, Document, Operation, members, reference};
use super::ids;

const FORMS: &str = "set x-bunq-result to {item}, {first_of}, {all, any}, {list}, {page}, nothing or bytes";

/// The media type that the document gives to all bodies that are bytes: generators do not support a body of several media types.
pub(crate) const BYTES: &str = "application/octet-stream";

/// Which part of a success response is the result of the call.
pub(crate) enum ResultShape {
    /// The first item that has one of these members, in the order of the items.
    FirstOf(Vec<String>),
    /// The members of all items together: those in `all` are required, those in `any` are optional.
    Together { all: Vec<String>, any: Vec<String> },
    /// Each item with this member.
    List(String),
    /// Each item with this member, and the cursors of the neighbouring pages.
    Page(String),
    /// Only the success itself.
    Nothing,
    /// The body unchanged.
    Bytes,
}

/// The result of an operation.
pub(crate) struct Envelope {
    pub(crate) shape: ResultShape,
    /// Members of the returned item, each with the path parameter or body member that it must equal.
    pub(crate) repeats: Vec<(String, String)>,
    /// The kind of id that its `Id` holds.
    pub(crate) of: Option<String>,
}

impl Envelope {
    pub(crate) fn read(document: &Document, operation: &Operation<'_>) -> Result<Self, Diagnostic> {
        let value = &operation.value["x-bunq-result"];
        let shape = match value {
            Value::String(text) if text == "nothing" => ResultShape::Nothing,
            Value::String(text) if text == "bytes" => ResultShape::Bytes,
            Value::Object(object) => of_items(object).ok_or_else(|| operation.diagnostic(FORMS))?,
            _ => return Err(operation.diagnostic(FORMS)),
        };
        let media = if matches!(shape, ResultShape::Bytes) { BYTES } else { "application/json" };
        let content = &document.resolve(&operation.value["responses"]["200"])["content"];
        if content.get(media).is_none() || content.as_object().is_some_and(|content| content.len() > 1) {
            return Err(
                operation.diagnostic(format_args!("describe its 200 response as `{media}`, and as nothing else"))
            );
        }
        let of = value["of"].as_str().map(str::to_owned);
        let envelope = Self { shape, repeats: pairs(&value["repeats"]), of };
        envelope.check(document, operation)?;
        Ok(envelope)
    }

    /// The members of items that make up the result.
    pub(crate) fn items(&self) -> impl Iterator<Item = &String> {
        let (one, more): (&[String], &[String]) = match &self.shape {
            ResultShape::FirstOf(names) => (names, &[]),
            ResultShape::Together { all, any } => (all, any),
            ResultShape::List(name) | ResultShape::Page(name) => (std::slice::from_ref(name), &[]),
            ResultShape::Nothing | ResultShape::Bytes => (&[], &[]),
        };
        one.iter().chain(more)
    }

    fn check(&self, document: &Document, operation: &Operation<'_>) -> Result<(), Diagnostic> {
        let item = item_schema(document, operation).map(|(_, schema)| schema);
        for name in self.items() {
            if item.is_none_or(|item| item["properties"].get(name).is_none()) {
                return Err(operation.diagnostic(format_args!(
                    "x-bunq-result names the item `{name}`, which its 200 response does not have"
                )));
            }
        }
        let has_id = self.items().any(|name| item.is_some_and(|item| is_id(document, item, name)));
        let is_of_a_kind = self.of.as_ref().is_some_and(|kind| ids::is_kind(document, kind));
        if has_id != is_of_a_kind || has_id && !matches!(self.shape, ResultShape::FirstOf(_)) {
            return Err(operation.diagnostic(
                "say beside `item` or `first_of` what kind of id its `Id` holds, and only there, as in `{item: Id, of: ProvisionId}`: \
                 a schema with x-bunq-id",
            ));
        }
        if matches!(self.shape, ResultShape::Page(_)) {
            let has =
                |name: &str| query_parameters(document, operation).iter().any(|parameter| parameter["name"] == name);
            if !(has("older_id") && has("newer_id")) {
                return Err(
                    operation.diagnostic("a page is found by its cursor: give it the parameters older_id and newer_id")
                );
            }
            if !has_pagination(document, operation) {
                return Err(
                    operation.diagnostic("a page has a `Pagination` beside its items: describe it in its 200 response")
                );
            }
        }
        for (member, source) in &self.repeats {
            let known = self.items().any(|name| {
                item.and_then(|item| member_schema(document, item, name))
                    .is_some_and(|(_, schema)| schema["properties"].get(member).is_some())
            });
            let is_asked = operation.path.contains(&format!("{{{source}}}"))
                || bodies(document, operation).iter().all(|body| body["properties"].get(source).is_some())
                    && !bodies(document, operation).is_empty();
            if !known || !is_asked || !matches!(self.shape, ResultShape::FirstOf(_)) {
                return Err(operation.diagnostic(format_args!(
                    "x-bunq-result says that `{member}` repeats `{source}`: name a member of the item, and a path parameter \
                     or a member of every body"
                )));
            }
        }
        Ok(())
    }
}

fn of_items(object: &Map<String, Value>) -> Option<ResultShape> {
    let text = |name: &str| object.get(name)?.as_str().map(str::to_owned);
    let texts = |name: &str| -> Option<Vec<String>> {
        object.get(name)?.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut names: Vec<_> =
        object.keys().map(String::as_str).filter(|name| !["of", "repeats"].contains(name)).collect();
    names.sort_unstable();
    match names[..] {
        ["item"] => Some(ResultShape::FirstOf(vec![text("item")?])),
        ["first_of"] => texts("first_of").filter(|names| !names.is_empty()).map(ResultShape::FirstOf),
        ["all"] => Some(ResultShape::Together { all: texts("all")?, any: Vec::new() }),
        ["all", "any"] => Some(ResultShape::Together { all: texts("all")?, any: texts("any")? }),
        ["list"] => text("list").map(ResultShape::List),
        ["page"] => text("page").map(ResultShape::Page),
        _ => None,
    }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    members(value).filter_map(|(name, source)| Some((name.to_owned(), source.as_str()?.to_owned()))).collect()
}

/// The JSON schema of a success response, with its name.
fn response_schema<'a>(document: &'a Document, operation: &Operation<'a>) -> Option<(&'a str, &'a Value)> {
    let response = document.resolve(&operation.value["responses"]["200"]);
    document.named(&response["content"]["application/json"]["schema"])
}

/// Whether a success response may have a `Pagination`.
pub(crate) fn has_pagination(document: &Document, operation: &Operation<'_>) -> bool {
    response_schema(document, operation).is_some_and(|(_, schema)| schema["properties"].get("Pagination").is_some())
}

/// Whether a success response without `Pagination` fails to decode.
pub(crate) fn requires_pagination(document: &Document, operation: &Operation<'_>) -> bool {
    let required = response_schema(document, operation).and_then(|(_, schema)| schema["required"].as_array());
    required.is_some_and(|names| names.iter().any(|name| name == "Pagination"))
}

/// The schema of an item of a success response, with its name.
pub(crate) fn item_schema<'a>(document: &'a Document, operation: &Operation<'a>) -> Option<(&'a str, &'a Value)> {
    let (_, response) = response_schema(document, operation)?;
    document.named(&response["properties"]["Response"]["items"])
}

/// The schema of the content of an item's member `name`, with its name.
pub(crate) fn member_schema<'a>(document: &'a Document, item: &'a Value, name: &str) -> Option<(&'a str, &'a Value)> {
    let property = &item["properties"][name];
    let alternatives = ["anyOf", "allOf"].iter().find_map(|keyword| property[keyword].as_array());
    alternatives.into_iter().flatten().chain([property]).find_map(|schema| document.named(schema))
}

/// Whether an item's member `name` is an `Id`, which holds the id of an object of any kind.
pub(crate) fn is_id(document: &Document, item: &Value, name: &str) -> bool {
    member_schema(document, item, name).is_some_and(|(schema, _)| schema == "Id")
}

/// The schemas of the body: several if the body can have several shapes.
pub(crate) fn bodies<'a>(document: &'a Document, operation: &Operation<'a>) -> Vec<&'a Value> {
    let body = document.resolve(&operation.value["requestBody"]);
    let schema = document.resolve(&body["content"]["application/json"]["schema"]);
    match schema["oneOf"].as_array() {
        Some(shapes) => shapes.iter().map(|shape| document.resolve(shape)).collect(),
        None if schema.is_null() => Vec::new(),
        None => vec![schema],
    }
}

/// The parameters of an operation, including those of its path item.
pub(crate) fn parameters<'a>(document: &'a Document, operation: &Operation<'a>) -> impl Iterator<Item = &'a Value> {
    let shared = &document.root["paths"][operation.path]["parameters"];
    let all = [shared, &operation.value["parameters"]].into_iter().filter_map(Value::as_array).flatten();
    all.map(|parameter| document.resolve(parameter))
}

/// The parameters that callers give: those of the path and of the query.
pub(crate) fn given_parameters<'a>(
    document: &'a Document,
    operation: &Operation<'a>,
) -> impl Iterator<Item = &'a Value> {
    parameters(document, operation).filter(|parameter| parameter["in"] == "path" || parameter["in"] == "query")
}

pub(crate) fn query_parameters<'a>(document: &'a Document, operation: &Operation<'a>) -> Vec<&'a Value> {
    parameters(document, operation).filter(|parameter| parameter["in"] == "query").collect()
}

/// The last segment of a reference.
pub(crate) fn name_of(pointer: &str) -> &str {
    pointer.rsplit('/').next().unwrap_or(pointer)
}

impl Document {
    /// The schema that `value` refers to, with its name.
    fn named<'a>(&'a self, value: &'a Value) -> Option<(&'a str, &'a Value)> {
        let pointer = reference(value)?;
        Some((name_of(pointer), self.root.pointer(pointer)?))
    }
}
