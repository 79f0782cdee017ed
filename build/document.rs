//! Reads the document, finds one's way about it, and says where in it something is wrong.
//!
//! What is wrong with it is found elsewhere.

use std::fmt;

use serde_json::{Map, Value, json};
use serde_saphyr::UserMessageFormatter;

use super::faults::faults;
use super::lines::line_of;

/// What is wrong with the document, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    place: String,
    problem: String,
    spot: Spot,
}

/// Where to look in the file.
#[derive(Debug)]
enum Spot {
    Anywhere,
    Line(u64),
    Pointer(String),
}

impl Fault {
    pub(crate) fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { place: place.to_string(), problem: problem.to_string(), spot: Spot::Anywhere }
    }

    /// A fault of what the JSON pointer leads to.
    pub(crate) fn at(pointer: impl Into<String>, place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { spot: Spot::Pointer(pointer.into()), ..Self::new(place, problem) }
    }

    /// A fault of a part that has no name but its pointer.
    pub(crate) fn of_part(pointer: &str, problem: impl fmt::Display) -> Self {
        Self::at(pointer, format_args!("#{pointer}"), problem)
    }

    pub(crate) fn of_schema(name: &str, problem: impl fmt::Display) -> Self {
        Self::at(format!("/components/schemas/{name}"), format_args!("schema `{name}`"), problem)
    }

    /// The fault with the file and, where it can be had, the line.
    pub(crate) fn in_file(&self, file: &str, text: &str) -> String {
        let line = match &self.spot {
            Spot::Anywhere => None,
            Spot::Line(line) => Some(*line),
            Spot::Pointer(pointer) => line_of(text, pointer).map(|line| line as u64),
        };
        line.map_or_else(|| format!("{file}: {self}"), |line| format!("{file}:{line}: {self}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// The document as it stands in the file.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Value,
}

/// One operation of the document.
pub(crate) struct Operation<'a> {
    pub(crate) id: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) value: &'a Value,
}

impl Operation<'_> {
    pub(crate) fn fault(&self, problem: impl fmt::Display) -> Fault {
        Fault::at(self.pointer(), format_args!("operation `{}`", self.id), problem)
    }

    pub(crate) fn pointer(&self) -> String {
        format!("/paths/{}/{}", escaped(self.path), self.method)
    }
}

/// The members of a path that are operations.
pub(crate) const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

impl Document {
    /// Reads a document that a client can be made of; else says the first thing that stands in the way.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let document = Self::read(text)?;
        faults(&document).into_iter().next().map_or(Ok(document), Err)
    }

    /// Reads YAML, whatever it says.
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let root = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let spot = error.location().map_or(Spot::Anywhere, |location| Spot::Line(location.line()));
            Fault { spot, ..Fault::new("YAML", error.without_snippet().render_with_formatter(&UserMessageFormatter)) }
        })?;
        Ok(Self { root })
    }

    /// The component schemas by name, in the document's order of names.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = (&str, &Value)> {
        members(&self.root["components"]["schemas"])
    }

    /// Every operation, by path and method.
    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        members(&self.root["paths"])
            .flat_map(|(path, item)| {
                members(item).filter(|(method, _)| METHODS.contains(method)).map(move |(method, value)| Operation {
                    id: value["operationId"].as_str().unwrap_or_default(),
                    method,
                    path,
                    value,
                })
            })
            .collect()
    }

    /// Follows a `$ref`, if `value` is one.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        reference(value).and_then(|target| self.root.pointer(target)).unwrap_or(value)
    }
}

/// The members of an object; none if it is something else.
pub(crate) fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// The JSON pointer that `value` refers to, if it is a reference.
pub(crate) fn reference(value: &Value) -> Option<&str> {
    value.get("$ref")?.as_str()?.strip_prefix('#')
}

/// Calls `change` on every object in `value`, the innermost first.
pub(crate) fn for_each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(|value| for_each_object(value, change));
            change(object);
        }
        Value::Array(items) => items.iter_mut().for_each(|value| for_each_object(value, change)),
        _ => {}
    }
}

/// Says `anyOf` of a schema and null alone, if `object` is that, by `nullable`.
pub(crate) fn lower_nullable(object: &mut Map<String, Value>) {
    let null = json!([null]);
    if let Some([one, other]) = object.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
        && (one["enum"] == null) != (other["enum"] == null)
    {
        let schema = if one["enum"] == null { other.clone() } else { one.clone() };
        object.remove("anyOf");
        object.insert("nullable".into(), json!(true));
        object.insert("allOf".into(), json!([schema]));
    }
}

/// A name as a part of a JSON pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
