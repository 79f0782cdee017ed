//! The JSON that the commands write. `cli_output` holds their output against it.

use std::collections::HashSet;

use serde_json::Value;

pub(super) const SCHEMA: &str = include_str!("schema.json");

/// The names of what these lists have: their members in JSON, among which are their columns in CSV.
pub(super) fn members(items: &[&str]) -> HashSet<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    let of = |item: &&str| schema["$defs"][*item]["properties"].as_object().cloned().unwrap_or_default();
    items.iter().flat_map(of).map(|(name, _)| name).collect()
}
