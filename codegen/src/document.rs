//! The document, lookups in it, and the diagnostics that name its parts.
//!
//! [`validate`](super::validate) finds what is wrong with a document.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::lines::{Lines, line_of};
use super::yaml;

/// A problem in the document: where it is, what it is, and what to do.
#[derive(Debug)]
pub struct Diagnostic {
    place: String,
    problem: String,
    location: Location,
}

/// The place in the file.
#[derive(Debug)]
enum Location {
    Unknown,
    Line(usize),
    Pointer(String),
}

impl Diagnostic {
    /// A diagnostic of a part without a pointer.
    pub fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { place: place.to_string(), problem: problem.to_string(), location: Location::Unknown }
    }

    /// A diagnostic of the part at a JSON pointer.
    pub fn at(pointer: impl Into<String>, place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { location: Location::Pointer(pointer.into()), ..Self::new(place, problem) }
    }

    /// A diagnostic of a part whose only name is its pointer.
    pub fn of_part(pointer: &str, problem: impl fmt::Display) -> Self {
        Self::at(pointer, format_args!("#{pointer}"), problem)
    }

    /// A diagnostic of the schema `name`.
    pub fn of_schema(name: &str, problem: impl fmt::Display) -> Self {
        Self::at(format!("/components/schemas/{name}"), format_args!("schema `{name}`"), problem)
    }

    /// The text of the diagnostic, with the file and, if known, the line.
    pub fn in_file(&self, file: &str, text: &str) -> String {
        let line = self.line(text);
        line.map_or_else(|| format!("{file}: {self}"), |line| format!("{file}:{line}: {self}"))
    }

    /// The line in the text, if it is known.
    pub(crate) fn line(&self, text: &str) -> Option<usize> {
        match &self.location {
            Location::Unknown => None,
            Location::Line(line) => Some(*line),
            Location::Pointer(pointer) => line_of(text, pointer),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// The document as written in the file.
#[derive(Debug)]
pub struct Document {
    /// The whole document as JSON.
    pub root: Value,
    /// The line of each operation, by its pointer.
    lines: HashMap<String, usize>,
}

impl From<Value> for Document {
    /// A document without lines: its operations are in the order of their paths and methods.
    fn from(root: Value) -> Self {
        Self { root, lines: HashMap::new() }
    }
}

/// One operation of the document.
pub struct Operation<'a> {
    /// Its `operationId`.
    pub id: &'a str,
    /// Its method, in lower case.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// The operation itself.
    pub value: &'a Value,
}

impl Operation<'_> {
    /// A diagnostic of this operation.
    pub fn diagnostic(&self, problem: impl fmt::Display) -> Diagnostic {
        Diagnostic::at(self.pointer(), format_args!("operation `{}`", self.id), problem)
    }

    /// The JSON pointer to the operation.
    pub fn pointer(&self) -> String {
        format!("/paths/{}/{}", escaped(self.path), self.method)
    }
}

/// The members of a path item that are operations.
pub const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

impl Document {
    /// Reads YAML without validating it.
    ///
    /// # Errors
    ///
    /// If it is not YAML, or has what JSON has not, such as an anchor or a tag, or has a key twice.
    pub fn read(text: &str) -> Result<Self, Diagnostic> {
        let root = yaml::read(text).map_err(|error| {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            Diagnostic {
                location: Location::Line(line),
                ..Diagnostic::new("YAML", format_args!("line {line}, column {column}: {}", error.info()))
            }
        })?;
        let mut document = Self::from(root);
        let lines = Lines::of(text);
        let pointers = document.operations().into_iter().map(|operation| operation.pointer());
        document.lines = pointers.filter_map(|pointer| lines.find(&pointer).map(|line| (pointer, line))).collect();
        Ok(document)
    }

    /// The component schemas by name, in the order of names.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &Value)> {
        members(&self.root["components"]["schemas"])
    }

    /// All operations, in the order of the document: that of its sources, and of the reference that is made of it.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations: Vec<_> = members(&self.root["paths"])
            .flat_map(|(path, item)| {
                members(item).filter(|(method, _)| METHODS.contains(method)).map(move |(method, value)| Operation {
                    id: value["operationId"].as_str().unwrap_or_default(),
                    method,
                    path,
                    value,
                })
            })
            .collect();
        operations.sort_by_key(|operation| self.lines.get(&operation.pointer()));
        operations
    }

    /// Follows a `$ref`, if `value` is one.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        reference(value).and_then(|target| self.root.pointer(target)).unwrap_or(value)
    }
}

/// The members of an object; none if `value` is not an object.
pub fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// The JSON pointer that `value` refers to, if it is a reference.
pub fn reference(value: &Value) -> Option<&str> {
    value.get("$ref")?.as_str()?.strip_prefix('#')
}

/// Calls `change` on every object in `value`, innermost first.
pub fn for_each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(|value| for_each_object(value, change));
            change(object);
        }
        Value::Array(items) => items.iter_mut().for_each(|value| for_each_object(value, change)),
        _ => {}
    }
}

/// Rewrites an `anyOf` of one schema and null as that schema with `nullable`.
pub fn lower_nullable(object: &mut Map<String, Value>) {
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

/// Escapes a name for use in a JSON pointer.
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
