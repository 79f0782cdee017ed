//! Compares schemas.
//!
//! The Rust side follows the generator: an optional or nullable member is an `Option`, but a list never is; a struct of
//! such members is `Default`; structs and enums are `#[non_exhaustive]`; a bound of an inline number or string can
//! change its type. The exact types are in the snapshot of the generated API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::change::DirectionImpact as _;
use super::change::Impact::{Additive, Breaking, Editorial};
use super::parts::{Comparison, TEXTS, pairs};
use bunq_partner_codegen::direction::Direction;
use bunq_partner_codegen::document::{Document, members, reference};

/// Marks a kind of id.
const ID: &str = "x-bunq-id";

const LOWER: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];
const UPPER: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];
const COMPARED: [&str; 13] = [
    "title",
    "$ref",
    "type",
    "allOf",
    "oneOf",
    "anyOf",
    "format",
    "nullable",
    "enum",
    "x-extensible-enum",
    "properties",
    "required",
    "items",
];

impl Comparison<'_> {
    /// Compares the schemas of a member. `required` says whether it was and whether it is required.
    pub(super) fn member(&mut self, place: &str, old: &Value, new: &Value, required: [bool; 2], used: Direction) {
        let [was_required, is_required] = required;
        let [was_null, is_null] = [old, new].map(|schema| schema["nullable"] == true);
        let is_list = [old, new].iter().all(|schema| schema["type"] == "array");
        let same_option = (!was_required || was_null) == (!is_required || is_null);
        let rust = if is_list || same_option { Editorial } else { Breaking };
        match (was_required, is_required) {
            (true, false) => self.add(place, "is now optional", used.looser(), rust),
            (false, true) => self.add(place, "is now required", used.tighter(), rust),
            _ => {}
        }
        match (was_null, is_null) {
            // The document says that a null optional member equals an absent one.
            (false, true) if !was_required && !used.request => {
                self.add(place, "may now be null", used.added(), rust);
            }
            (false, true) => self.add(place, "may now be null", used.looser(), rust),
            (true, false) => self.add(place, "may no longer be null", used.tighter(), rust),
            _ => {}
        }
        self.schema(place, old, new, used);
    }

    fn schema(&mut self, place: &str, old: &Value, new: &Value, used: Direction) {
        let [was, is] = [old, new].map(kind);
        if was != is {
            let wire = if self.is_same_on_wire(old, new) { Editorial } else { used.changed() };
            self.add(place, format_args!("is {is} now, was {was}"), wire, Breaking);
            return;
        }
        self.format(place, old, new, used);
        self.values(place, old, new, used);
        self.bounds(place, old, new, used);
        self.properties(place, old, new, used);
        self.variants(place, old, new, used);
        if let (Some(old), Some(new)) = (old.get("items"), new.get("items")) {
            self.member(&format!("{place}, items"), old, new, [true, true], used);
        }
        if old["title"] != new["title"] {
            // The title names the type of a schema that has no name of its own.
            let rust = if place.contains(", ") { Breaking } else { Editorial };
            self.add(place, "title changed", Editorial, rust);
        }
        let compared = [&COMPARED[..], &LOWER, &UPPER, &["pattern"]].concat();
        self.others(place, old, new, &compared);
    }

    /// Whether two schemas are equal apart from their places and names.
    fn is_same_on_wire(&self, old: &Value, new: &Value) -> bool {
        fn content<'a>(document: &'a Document, schema: &'a Value) -> BTreeMap<&'a str, &'a Value> {
            let only = schema["allOf"].as_array().filter(|parts| parts.len() == 1).and_then(|parts| parts.first());
            let target = document.resolve(only.unwrap_or(schema));
            // Members beside the reference add to it. Null has already been compared.
            let all = members(target).chain(members(schema));
            all.filter(|(name, _)| !["$ref", "allOf", "nullable"].contains(name) && !TEXTS.contains(name)).collect()
        }
        let (mut old, mut new) = (content(self.old, old), content(self.new, new));
        if [old.remove(ID), new.remove(ID)].contains(&Some(&Value::Bool(true))) {
            // A kind of id is a number that has a name: no id was less than 1 before.
            old.remove("minimum");
            new.remove("minimum");
        }
        old == new
    }

    fn format(&mut self, place: &str, old: &Value, new: &Value, used: Direction) {
        let [was, is] = [old, new].map(|schema| schema["format"].as_str().unwrap_or("none"));
        if was != is {
            // On the wire, a secret looks like any other string.
            let marks = [was, is].iter().all(|format| ["password", "none"].contains(format));
            let wire = if marks { Editorial } else { used.changed() };
            self.add(place, format_args!("has the format {is} now, had {was}"), wire, Breaking);
        }
    }

    fn values(&mut self, place: &str, old: &Value, new: &Value, used: Direction) {
        let values = |schema: &Value| -> Option<(Vec<Value>, bool)> {
            let open = schema["x-extensible-enum"].as_array().map(|values| (values.clone(), true));
            open.or_else(|| schema["enum"].as_array().map(|values| (values.clone(), false)))
        };
        match (values(old), values(new)) {
            (None, None) => {}
            (None, Some((_, open))) => {
                let wire = if open { Editorial } else { used.tighter() };
                self.add(place, "is an enum now", wire, Breaking);
            }
            (Some((_, open)), None) => {
                let wire = if open { Editorial } else { used.looser() };
                self.add(place, "is no enum any more", wire, Breaking);
            }
            (Some((old, was_open)), Some((new, is_open))) => {
                match (was_open, is_open) {
                    (false, true) => self.add(place, "is an open enum now", used.looser(), Breaking),
                    (true, false) => self.add(place, "is a closed enum now", used.tighter(), Breaking),
                    _ => {}
                }
                for value in old.iter().filter(|value| !new.contains(value)) {
                    self.add(place, format_args!("the value {value} was removed"), used.changed(), Breaking);
                }
                if old != new && is_reordered(&old, &new) {
                    self.add(place, "its values are in another order", Editorial, Editorial);
                }
                for value in new.iter().filter(|value| !old.contains(value)) {
                    let wire = if was_open { used.added() } else { used.looser() };
                    self.add(place, format_args!("the value {value} was added"), wire, Additive);
                }
            }
        }
    }

    fn bounds(&mut self, place: &str, old: &Value, new: &Value, used: Direction) {
        for keyword in LOWER.into_iter().chain(UPPER).chain(["pattern"]) {
            let (was, is) = (&old[keyword], &new[keyword]);
            if was == is {
                continue;
            }
            let wire = match (was.as_f64(), is.as_f64()) {
                _ if was.is_null() => used.tighter(),
                _ if is.is_null() => used.looser(),
                (Some(was), Some(is)) if (is > was) == LOWER.contains(&keyword) => used.tighter(),
                (Some(_), Some(_)) => used.looser(),
                _ => used.changed(),
            };
            let makes_a_type = match keyword {
                "minimum" | "maximum" => true,
                "minLength" | "maxLength" | "pattern" => was.is_null() || is.is_null(),
                "minItems" | "maxItems" => has_fixed_length(old) || has_fixed_length(new),
                _ => false,
            };
            let what = format!("{keyword} is {is} now, was {was}").replace("null", "none");
            self.add(place, what, wire, if makes_a_type { Breaking } else { Editorial });
        }
    }

    fn properties(&mut self, place: &str, old: &Value, new: &Value, used: Direction) {
        let requires = |schema: &Value, name: &str| {
            schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
        };
        let is_named = |schema: &Value| members(&schema["properties"]).next().is_some();
        if kind(old) == "object" && !is_named(old) && is_named(new) {
            self.add(place, "has named properties now", Editorial, Breaking);
        }
        let can_be_empty = |schema: &Value| schema["required"].as_array().is_none_or(Vec::is_empty);
        if kind(old) == "object" && can_be_empty(old) && !can_be_empty(new) {
            self.add(place, "is no `Default` in Rust any more, for something is required", Editorial, Breaking);
        }
        for (name, was, is) in pairs(&old["properties"], &new["properties"]) {
            let place = format!("{place}, property `{name}`");
            match (was, is) {
                (Some(_), None) => self.add(&place, "was removed", used.changed(), Breaking),
                (None, Some(_)) if requires(new, name) && used.request => {
                    self.add(&place, "was added, and a request must have it", Breaking, Breaking);
                }
                (None, Some(_)) => self.add(&place, "was added", used.added(), Additive),
                (Some(was), Some(is)) => {
                    self.member(&place, was, is, [requires(old, name), requires(new, name)], used);
                }
                (None, None) => {}
            }
        }
    }

    /// All variants together determine their Rust names, and which is tried first.
    fn variants(&mut self, place: &str, old: &Value, new: &Value, used: Direction) {
        for keyword in ["oneOf", "anyOf"] {
            let [old, new] = [old, new].map(|schema| schema[keyword].as_array().map(Vec::as_slice).unwrap_or_default());
            for variant in old.iter().filter(|variant| !new.contains(variant)) {
                self.add(place, format_args!("the variant {} was removed", kind(variant)), used.tighter(), Breaking);
            }
            for variant in new.iter().filter(|variant| !old.contains(variant)) {
                self.add(place, format_args!("the variant {} was added", kind(variant)), used.looser(), Breaking);
            }
            if old != new && is_reordered(old, new) {
                self.add(place, "its variants are in another order", Editorial, Breaking);
            }
        }
    }
}

fn is_reordered(old: &[Value], new: &[Value]) -> bool {
    old.len() == new.len() && old.iter().all(|value| new.contains(value))
}

/// Whether a list becomes an array in Rust.
fn has_fixed_length(schema: &Value) -> bool {
    !schema["minItems"].is_null() && schema["minItems"] == schema["maxItems"]
}

/// A one-word description of a schema: the name of another, or a JSON type.
fn kind(schema: &Value) -> String {
    let name = |schema: &Value| reference(schema)?.rsplit('/').next().map(|name| format!("`{name}`"));
    if let Some(name) = name(schema) {
        return name;
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let parts: Vec<_> = parts.iter().map(|part| name(part).unwrap_or_else(|| part.to_string())).collect();
        return parts.join(" and ");
    }
    for keyword in ["oneOf", "anyOf"] {
        if schema.get(keyword).is_some() {
            return keyword.to_string();
        }
    }
    schema["type"].as_str().unwrap_or(if schema.get("properties").is_some() { "object" } else { "any value" }).into()
}
