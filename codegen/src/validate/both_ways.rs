//! Checks the schemas that say that their unknown members are kept.

use serde_json::Value;

use super::names::two_of_one_name;
use crate::both_ways::{EXTENSION, FIELD};
use crate::direction::Direction;
use crate::document::members;
use crate::names::rust_name;

/// What is wrong with a schema that keeps unknown members.
pub(super) fn problem(schema: &Value, direction: Direction) -> Option<String> {
    let said = schema.get(EXTENSION)?;
    if *said != true || schema["type"] != "object" || members(&schema["properties"]).next().is_none() {
        return Some(format!("set {EXTENSION} to true, on an object with properties, or remove it"));
    }
    if !direction.is_both() {
        return Some(format!(
            "{EXTENSION} is for what is read and sent again, and it goes in one direction: remove it"
        ));
    }
    let mut lenient = members(&schema["properties"]).filter(|(_, property)| property["x-bunq-lenient"] == true);
    if let Some((name, _)) = lenient.next() {
        return Some(format!(
            "an odd value of its lenient property `{name}` would be lost when it is sent again: remove x-bunq-lenient"
        ));
    }
    let names = members(&schema["properties"]).map(|(name, _)| name).chain([FIELD]);
    let (one, _) = two_of_one_name(names, rust_name)?;
    Some(format!("its property `{one}` has in Rust the name of the members that are kept: rename it"))
}
