//! Bodies that are bytes. The operation names an enum of content types, which says of each how its files begin, and has an example
//! file of it.

use serde_json::Value;

use super::document::{Diagnostic, Document, Operation, members, reference};
use super::envelope::{BYTES, name_of};

pub(crate) const EXTENSION: &str = "x-bunq-content-type";
const FIRST_BYTES: &str = "x-bunq-first-bytes";
const FILES: &str = "x-bunq-files";

/// The extensions of an enum of content types.
pub(crate) const OF_CONTENT_TYPES: [&str; 2] = [FIRST_BYTES, FILES];

/// One of the content types of an operation.
pub(crate) struct ContentType<'a> {
    pub(crate) name: &'a str,
    /// What a file of it begins with: one of these.
    pub(crate) first_bytes: Vec<Vec<u8>>,
    /// An example.
    pub(crate) file: Vec<u8>,
}

/// Whether the body of a request is bytes.
pub(crate) fn are_sent(document: &Document, operation: &Operation<'_>) -> bool {
    document.resolve(&operation.value["requestBody"])["content"].get(BYTES).is_some()
}

/// The schema of the content types of an operation, by its name.
pub(crate) fn name_in<'a>(operation: &Operation<'a>) -> Option<&'a str> {
    reference(&operation.value[EXTENSION]).map(name_of)
}

/// The content types of an operation. Those that validation refuses are left out.
pub(crate) fn content_types<'a>(document: &'a Document, operation: &Operation<'a>) -> Vec<ContentType<'a>> {
    let schema = document.resolve(&operation.value[EXTENSION]);
    values(schema).filter_map(|name| content_type(schema, name).ok()).collect()
}

fn values(schema: &Value) -> impl Iterator<Item = &str> {
    schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn content_type<'a>(schema: &Value, name: &'a str) -> Result<ContentType<'a>, String> {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !name.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype)) {
        return Err(format!("the value `{name}` is no content type: write it as `image/png`"));
    }
    let first_bytes: Option<Vec<_>> =
        schema[FIRST_BYTES][name].as_array().map(|all| all.iter().map(bytes).collect()).unwrap_or_default();
    let first_bytes = first_bytes.filter(|all| !all.is_empty()).ok_or_else(|| {
        format!(
            "say how a file of `{name}` begins: set {FIRST_BYTES} to a list of texts in hexadecimal, such as ['ffd8ff']"
        )
    })?;
    let file = bytes(&schema[FILES][name])
        .ok_or_else(|| format!("give an example file of `{name}` under {FILES}, as a text in hexadecimal"))?;
    Ok(ContentType { name, first_bytes, file })
}

/// The bytes of a text in hexadecimal, of which there is at least one.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    let digits = value.as_str()?.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<_>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes.filter(|bytes| !bytes.is_empty())
}

impl ContentType<'_> {
    fn begins(&self, file: &[u8]) -> bool {
        self.first_bytes.iter().any(|first| file.starts_with(first))
    }
}

/// What is wrong with the bodies of an operation that are bytes.
pub(crate) fn problem(document: &Document, operation: &Operation<'_>) -> Option<String> {
    let request = &document.resolve(&operation.value["requestBody"])["content"];
    if members(request).count() > 1 {
        return Some("its request has several media types: describe one".into());
    }
    let has_bytes = are_sent(document, operation) || operation.value["x-bunq-result"] == "bytes";
    match (has_bytes, operation.value.get(EXTENSION)) {
        (false, None) => None,
        (false, Some(_)) => Some(format!("neither its request nor its result is bytes: remove {EXTENSION}")),
        (true, named) => {
            let schema = named.filter(|named| reference(named).is_some()).map(|named| document.resolve(named));
            let is_closed = schema.is_some_and(|schema| values(schema).next().is_some());
            (!is_closed).then(|| {
                format!("it takes or returns bytes: set {EXTENSION} to the reference of a closed enum of content types")
            })
        }
    }
}

/// What is wrong with the enums of content types.
pub(crate) fn problems_of_schemas(document: &Document) -> Vec<Diagnostic> {
    let operations = document.operations();
    let named: Vec<_> = operations.iter().filter_map(name_in).collect();
    let schemas = document.schemas().filter(|(name, schema)| {
        named.contains(name) || OF_CONTENT_TYPES.iter().any(|extension| schema.get(extension).is_some())
    });
    schemas.filter_map(|(name, schema)| Some(Diagnostic::of_schema(name, problem_of_schema(schema)?))).collect()
}

fn problem_of_schema(schema: &Value) -> Option<String> {
    for extension in OF_CONTENT_TYPES {
        if let Some((name, _)) =
            members(&schema[extension]).find(|(name, _)| values(schema).all(|value| value != *name))
        {
            return Some(format!("{extension} has `{name}`, which is no value of it: remove one"));
        }
    }
    let types = match values(schema).map(|name| content_type(schema, name)).collect::<Result<Vec<_>, _>>() {
        Ok(types) => types,
        Err(problem) => return Some(problem),
    };
    types.iter().find_map(|one| {
        let ContentType { name, file, .. } = one;
        if !one.begins(file) {
            return Some(format!("its example file of `{name}` does not begin as {FIRST_BYTES} says: correct one"));
        }
        let other = types.iter().find(|other| other.name != *name && other.begins(file))?.name;
        Some(format!("its example file of `{name}` begins as `{other}` too: write more of their first bytes"))
    })
}
