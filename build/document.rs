//! Reads the document and refuses what the generator would misunderstand.
//!
//! The generator's own complaints seldom name a place, and some mistakes it does not notice at all; what is
//! found here names the schema, operation or line. Style is not judged here.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

/// What is wrong with the document, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    place: String,
    problem: String,
}

impl Fault {
    pub(crate) fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { place: place.to_string(), problem: problem.to_string() }
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
        Fault::new(format_args!("operation `{}`", self.id), problem)
    }
}

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

impl Document {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let root: Value =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| Fault::new("YAML", error))?;
        let document = Self { root };
        check_references(&document.root, &document.root, "#")?;
        document.check_operations()?;
        Ok(document)
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

    fn check_operations(&self) -> Result<(), Fault> {
        let mut seen = HashMap::new();
        for operation in self.operations() {
            let here = format!("{} {}", operation.method.to_uppercase(), operation.path);
            if operation.id.is_empty() {
                return Err(Fault::new(here, "give it an operationId"));
            }
            if let Some(there) = seen.insert(operation.id, here.clone()) {
                return Err(operation.fault(format_args!("names both {there} and {here}: rename one")));
            }
            let answers = &operation.value["responses"];
            for status in ["200", "4XX", "5XX"] {
                if answers.get(status).is_none() {
                    return Err(operation.fault(format_args!("describe its {status} answer")));
                }
            }
            if answers.get("default").is_some() {
                return Err(operation.fault("a `default` answer beside 200 breaks the generator: use 4XX and 5XX"));
            }
        }
        if seen.is_empty() {
            return Err(Fault::new("paths", "there is no operation"));
        }
        Ok(())
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

fn check_references(root: &Value, value: &Value, place: &str) -> Result<(), Fault> {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(object) => {
            if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                if found.is_none() {
                    return Err(Fault::new(place, format_args!("`$ref: {target}` leads nowhere")));
                }
            }
            object.iter().map(|(name, value)| (format!("{place}/{name}"), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (format!("{place}/{index}"), value)).collect()
        }
        _ => return Ok(()),
    };
    inside.into_iter().try_for_each(|(place, value)| check_references(root, value, &place))
}
