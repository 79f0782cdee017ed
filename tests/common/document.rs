//! The document as JSON, as the generator reads it.

#![allow(clippy::unwrap_used)]

#[path = "../../codegen/src/yaml.rs"]
mod yaml;

use serde_json::Value;

pub(crate) fn document() -> Value {
    yaml::read(include_str!("../../openapi/bunq-partner.yaml")).unwrap()
}
