//! Reads the document and refuses what the generator would misunderstand.
//!
//! The generator's own complaints seldom name a place, and some mistakes it does not notice at all; what is
//! found here names the schema, operation or line. Style is not judged here.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value, json};

use super::lines::line_of;
use super::policy::Policy;

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

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

impl Document {
    /// Reads a document that a client can be made of; else says the first thing that stands in the way.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let document = Self::read(text)?;
        document.faults().into_iter().next().map_or(Ok(document), Err)
    }

    /// Reads YAML, whatever it says.
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let root = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let spot = error.location().map_or(Spot::Anywhere, |location| Spot::Line(location.line()));
            Fault { spot, ..Fault::new("YAML", error) }
        })?;
        Ok(Self { root })
    }

    /// Everything that stands between the document and a client, as far as it can be seen here.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check_references(&self.root, &self.root, "", &mut faults);
        self.check_operations(&mut faults);
        faults
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

    fn check_operations(&self, faults: &mut Vec<Fault>) {
        let mut seen = HashMap::new();
        for operation in self.operations() {
            let here = format!("{} {}", operation.method.to_uppercase(), operation.path);
            if operation.id.is_empty() {
                faults.push(Fault::at(operation.pointer(), here, "give it an operationId"));
                continue;
            }
            if let Some(there) = seen.insert(operation.id, here.clone()) {
                faults.push(operation.fault(format_args!("names both {there} and {here}: rename one")));
            }
            let answers = &operation.value["responses"];
            for status in ["200", "4XX", "5XX"] {
                if answers.get(status).is_none() {
                    faults.push(operation.fault(format_args!("describe its {status} answer")));
                }
            }
            if answers.get("default").is_some() {
                faults.push(operation.fault("a `default` answer beside 200 breaks the generator: use 4XX and 5XX"));
            }
            faults.extend(Policy::read(&operation).err());
        }
        if seen.is_empty() {
            faults.push(Fault::new("paths", "there is no operation"));
        }
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
    if let Some([schema, null]) = object.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
        && null["enum"] == json!([null])
    {
        let schema = schema.clone();
        object.remove("anyOf");
        object.insert("nullable".into(), json!(true));
        object.insert("allOf".into(), json!([schema]));
    }
}

/// A name as a part of a JSON pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn check_references(root: &Value, value: &Value, pointer: &str, faults: &mut Vec<Fault>) {
    match value {
        Value::Object(object) => {
            if let Some(target) = object.get("$ref").and_then(Value::as_str)
                && target.strip_prefix('#').and_then(|target| root.pointer(target)).is_none()
            {
                let problem = format!("`$ref: {target}` leads nowhere: correct it, or write what it should lead to");
                faults.push(Fault::at(pointer, format_args!("#{pointer}"), problem));
            }
            for (name, value) in object {
                check_references(root, value, &format!("{pointer}/{}", escaped(name)), faults);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                check_references(root, value, &format!("{pointer}/{index}"), faults);
            }
        }
        _ => {}
    }
}
