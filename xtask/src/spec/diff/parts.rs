//! Compares documents: operations, their parts, and the components.
//!
//! The parts in `components` are compared once, under their own names; where both documents refer to the same name,
//! there is nothing more to compare. The Rust API has the data types, and one method per operation with its path and
//! query parameters, and the headers that a caller gives; the client sets the others.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::change::Change;
use super::change::Impact::{self, Additive, Breaking, Editorial};
use bunq_partner_codegen::callbacks::callbacks;
use bunq_partner_codegen::direction::{Direction, Directions};
use bunq_partner_codegen::document::{
    Document, METHODS, Operation, for_each_object, lower_nullable, members, reference,
};
use bunq_partner_codegen::headers::is_of_transport;

/// Members that decide about types and arguments in Rust, and do not show on the wire.
const OF_TYPES: [&str; 3] = ["x-bunq-default", "x-bunq-id", "x-bunq-value"];

/// Members that are only for readers.
pub(super) const TEXTS: [&str; 22] = [
    "description",
    "summary",
    "title",
    "version",
    "license",
    "contact",
    "example",
    "examples",
    "externalDocs",
    "links",
    "tags",
    "deprecated",
    "openapi",
    "x-bunq-enum",
    "x-bunq-files",
    "x-bunq-known-from",
    "x-bunq-look",
    "x-bunq-personal",
    "x-bunq-questions",
    "x-bunq-rule",
    "x-bunq-secret-path",
    "x-enum-descriptions",
];

/// Everything that changed, the worst first.
pub(super) fn compare(old: &Document, new: &Document) -> Vec<Change> {
    let [old, new] = [old, new].map(|document| {
        let mut root = document.root.clone();
        for_each_object(&mut root, &mut lower_nullable);
        Document::from(root)
    });
    let mut comparison = Comparison { old: &old, new: &new, changes: Vec::new() };
    comparison.others("document", &old.root, &new.root, &["info", "servers", "paths", "components", "security"]);
    comparison.others("info", &old.root["info"], &new.root["info"], &[]);
    comparison.servers();
    comparison.paths();
    comparison.operations();
    comparison.callbacks();
    comparison.components();
    let mut changes = comparison.changes;
    changes.sort_by_key(|change| std::cmp::Reverse((change.wire.max(change.rust), change.wire)));
    changes
}

pub(super) struct Comparison<'a> {
    pub(super) old: &'a Document,
    pub(super) new: &'a Document,
    changes: Vec<Change>,
}

/// The members of two objects, by name.
pub(super) fn pairs<'a>(old: &'a Value, new: &'a Value) -> Vec<(&'a str, Option<&'a Value>, Option<&'a Value>)> {
    let both: BTreeMap<_, _> = members(old).chain(members(new)).collect();
    both.into_keys().map(|name| (name, old.get(name), new.get(name))).collect()
}

impl<'a> Comparison<'a> {
    pub(super) fn add(&mut self, place: &str, what: impl fmt::Display, wire: Impact, rust: Impact) {
        self.changes.push(Change { place: place.to_string(), what: what.to_string(), wire, rust });
    }

    /// Compares the members that nothing else compares: texts, and unknown members.
    pub(super) fn others(&mut self, place: &str, old: &Value, new: &Value, compared: &[&str]) {
        for (name, was, is) in pairs(old, new) {
            if was != is && !compared.contains(&name) {
                let rust = if TEXTS.contains(&name) { Editorial } else { Breaking };
                let wire = if OF_TYPES.contains(&name) { Editorial } else { rust };
                self.add(place, format_args!("{name} changed"), wire, rust);
            }
        }
    }

    /// Compares parts that the crate's API does not show.
    fn unseen(&mut self, compare: impl FnOnce(&mut Self)) {
        let seen = self.changes.len();
        compare(self);
        self.changes[seen..].iter_mut().for_each(|change| change.rust = Editorial);
    }

    /// The contents of two parts, unless both refer to the same component.
    fn both(&self, old: &'a Value, new: &'a Value) -> Option<(&'a Value, &'a Value)> {
        let same = reference(old).is_some() && reference(old) == reference(new);
        (!same).then(|| (self.old.resolve(old), self.new.resolve(new)))
    }

    fn servers(&mut self) {
        let urls = |document: &'a Document| -> Vec<&'a str> {
            let servers = document.root["servers"].as_array().into_iter().flatten();
            servers.filter_map(|server| server["url"].as_str()).collect()
        };
        let (old, new) = (urls(self.old), urls(self.new));
        for url in old.iter().filter(|url| !new.contains(url)) {
            self.add("servers", format_args!("{url} was removed"), Breaking, Editorial);
        }
        for url in new.iter().filter(|url| !old.contains(url)) {
            self.add("servers", format_args!("{url} was added"), Additive, Editorial);
        }
        if let (Some(was), Some(is)) = (old.first(), new.first())
            && was != is
            && new.contains(was)
        {
            self.add(
                "servers",
                format_args!("{is} is the first now, which clients take by default"),
                Breaking,
                Editorial,
            );
        }
        if old == new && self.old.root["servers"] != self.new.root["servers"] {
            self.add("servers", "changed in something else than the URLs", Editorial, Editorial);
        }
    }

    /// Compares the members of paths other than operations and their parameters.
    fn paths(&mut self) {
        for (path, was, is) in pairs(&self.old.root["paths"], &self.new.root["paths"]) {
            if let (Some(was), Some(is)) = (was, is) {
                let compared = [METHODS.as_slice(), &["parameters"]].concat();
                self.others(&format!("path `{path}`"), was, is, &compared);
            }
        }
    }

    fn operations(&mut self) {
        let (old, new) = (self.old.operations(), self.new.operations());
        let successor = |was: &Operation<'_>| {
            let by_id = new.iter().find(|is| is.id == was.id);
            by_id.or_else(|| new.iter().find(|is| route(is) == route(was) && old.iter().all(|was| was.id != is.id)))
        };
        for was in &old {
            match successor(was) {
                Some(is) => self.operation(was, is),
                None => self.add(&format!("operation `{}`", was.id), "was removed", Breaking, Breaking),
            }
        }
        let kept: Vec<_> = old.iter().filter_map(successor).map(|is| is.id).collect();
        for is in new.iter().filter(|is| !kept.contains(&is.id)) {
            self.add(&format!("operation `{}`", is.id), "was added", Additive, Additive);
        }
    }

    fn operation(&mut self, was: &Operation<'a>, is: &Operation<'a>) {
        let place = format!("operation `{}`", was.id);
        if was.id != is.id {
            self.add(&place, format_args!("is called `{}` now", is.id), Editorial, Breaking);
        }
        if route(was) != route(is) {
            self.add(&place, format_args!("is {} now, was {}", route(is), route(was)), Breaking, Editorial);
        }
        self.policy(&place, was.value, is.value);
        self.parameters(&place, was, is);
        let body = |operation: &Operation<'a>| operation.value.get("requestBody");
        match (body(was), body(is)) {
            (Some(was), Some(is)) => {
                if let Some((was, is)) = self.both(was, is) {
                    self.request_body(&format!("{place}, request"), was, is);
                }
            }
            (Some(_), None) => self.add(&place, "takes no body any more", Breaking, Breaking),
            (None, Some(_)) => self.add(&place, "takes a body now", Breaking, Breaking),
            (None, None) => {}
        }
        for (status, was, is) in pairs(&was.value["responses"], &is.value["responses"]) {
            let place = format!("{place}, {status} response");
            match (was, is) {
                (Some(was), Some(is)) => {
                    if let Some((was, is)) = self.both(was, is) {
                        self.response(&place, was, is);
                    }
                }
                (Some(_), None) => self.add(&place, "was removed", Breaking, Breaking),
                _ => self.add(&place, "was added", Additive, Additive),
            }
        }
        let compared = ["callbacks", "operationId", "parameters", "requestBody", "responses", "security"];
        // The result of a method, and whether the method is public, do not show on the wire.
        for name in ["x-bunq-managed", "x-bunq-result"].into_iter().filter(|name| was.value[name] != is.value[name]) {
            self.add(&place, format_args!("{name} changed"), Editorial, Breaking);
        }
        let policies =
            ["x-bunq-auth", "x-bunq-idempotent", "x-bunq-managed", "x-bunq-rate-limit", "x-bunq-result", "x-bunq-user"];
        let refusal = "x-bunq-refusal";
        if was.value[refusal] != is.value[refusal] {
            let rust = if was.value[refusal].is_null() { Additive } else { Breaking };
            self.add(&place, format_args!("{refusal} changed"), Editorial, rust);
        }
        self.others(&place, was.value, is.value, &[&compared[..], &policies, &[refusal]].concat());
    }

    /// Compares what bunq sends by itself.
    fn callbacks(&mut self) {
        let (old, new) = (callbacks(&self.old.root), callbacks(&self.new.root));
        for was in &old {
            let place = format!("callback `{}`", was.name);
            let Some(is) = new.iter().find(|is| is.name == was.name) else {
                self.add(&place, "was removed", Breaking, Editorial);
                continue;
            };
            if let (Some(was), Some(is)) = (was.body(), is.body()) {
                self.content(&place, was, is, Direction::RESPONSE);
            }
        }
        for is in new.iter().filter(|is| old.iter().all(|was| was.name != is.name)) {
            self.add(&format!("callback `{}`", is.name), "was added", Additive, Editorial);
        }
    }

    /// Compares the calling rules, which the crate follows by itself: its users have nothing to do.
    fn policy(&mut self, place: &str, was: &Value, is: &Value) {
        for (name, is_looser) in [
            ("x-bunq-auth", false),
            ("x-bunq-idempotent", is["x-bunq-idempotent"] == true),
            ("x-bunq-rate-limit", {
                let number = |operation: &Value, member: &str| operation["x-bunq-rate-limit"][member].as_u64();
                number(is, "calls") >= number(was, "calls") && number(is, "seconds") <= number(was, "seconds")
            }),
            ("x-bunq-user", was["x-bunq-user"].is_null() || is["x-bunq-user"] == "either"),
        ] {
            if was[name] != is[name] {
                let wire = if is_looser { Additive } else { Breaking };
                let what = format!("{name} is {} now, was {}", is[name], was[name]).replace("null", "none");
                self.add(place, what, wire, Editorial);
            }
        }
        if was["x-bunq-auth"] == is["x-bunq-auth"] && was["security"] != is["security"] {
            let (was, is) = (&was["security"], &is["security"]);
            self.add(place, format_args!("security is {is} now, was {was}"), Breaking, Editorial);
        }
    }

    fn parameters(&mut self, place: &str, was: &Operation<'a>, is: &Operation<'a>) {
        let (old, new) = (parameters(self.old, was), parameters(self.new, is));
        for (key, old) in &old {
            let name = self.old.resolve(old)["name"].as_str().unwrap_or_default();
            let place = format!("{place}, parameter `{name}`");
            match new.get(key) {
                Some(new) => {
                    if let Some((old, new)) = self.both(old, new) {
                        self.value(&place, old, new, Direction::REQUEST);
                    }
                }
                None => {
                    let rust = if is_unseen(self.old.resolve(old)) { Editorial } else { Breaking };
                    self.add(&place, "was removed", Breaking, rust);
                }
            }
        }
        for (_, new) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
            let new = self.new.resolve(new);
            let place = format!("{place}, parameter `{}`", new["name"].as_str().unwrap_or_default());
            let wire = if new["required"] == true { Breaking } else { Additive };
            let rust = match new["in"].as_str() {
                _ if is_unseen(new) => Editorial,
                // Another argument of the method.
                Some("header") => Breaking,
                _ => wire,
            };
            self.add(&place, "was added", wire, rust);
        }
    }

    /// Compares two parameters, or two headers of responses.
    fn value(&mut self, place: &str, old: &Value, new: &Value, used: Direction) {
        let required = [old, new].map(|part| part["required"] == true);
        let compare = |comparison: &mut Self| {
            comparison.member(place, &old["schema"], &new["schema"], required, used);
            comparison.others(place, old, new, &["schema", "required", "name"]);
        };
        if is_unseen(old) { self.unseen(compare) } else { compare(self) }
    }

    fn request_body(&mut self, place: &str, old: &Value, new: &Value) {
        match (old["required"] == true, new["required"] == true) {
            (false, true) => self.add(place, "is now required", Breaking, Breaking),
            (true, false) => self.add(place, "is now optional", Additive, Breaking),
            _ => {}
        }
        self.content(place, old, new, Direction::REQUEST);
        self.others(place, old, new, &["required", "content"]);
    }

    fn response(&mut self, place: &str, old: &'a Value, new: &'a Value) {
        for (name, was, is) in pairs(&old["headers"], &new["headers"]) {
            let place = format!("{place}, header `{name}`");
            match (was, is) {
                (Some(_), None) => self.add(&place, "was removed", Breaking, Editorial),
                (None, _) => self.add(&place, "was added", Additive, Editorial),
                (Some(was), Some(is)) => {
                    if let Some((was, is)) = self.both(was, is) {
                        self.value(&place, was, is, Direction::RESPONSE);
                    }
                }
            }
        }
        self.content(place, old, new, Direction::RESPONSE);
        self.others(place, old, new, &["headers", "content"]);
    }

    fn content(&mut self, place: &str, old: &Value, new: &Value, used: Direction) {
        for (media, was, is) in pairs(&old["content"], &new["content"]) {
            match (was, is) {
                (Some(was), Some(is)) => {
                    self.member(place, &was["schema"], &is["schema"], [true, true], used);
                    self.others(place, was, is, &["schema"]);
                }
                (Some(_), None) => self.add(place, format_args!("{media} was removed"), Breaking, Breaking),
                _ => self.add(place, format_args!("{media} was added"), Additive, Editorial),
            }
        }
    }

    fn components(&mut self) {
        let (old, new) = (&self.old.root["components"], &self.new.root["components"]);
        let directions = Directions::of(&self.old.root).and(Directions::of(&self.new.root));
        for (kind, old, new) in pairs(old, new) {
            let (old, new) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
            for (name, was, is) in pairs(old, new).into_iter().filter(|(_, was, is)| was != is) {
                let place = format!("{} `{name}`", kind.strip_suffix('s').unwrap_or(kind));
                let (Some(was), Some(is)) = (was, is) else {
                    let what = if was.is_some() { "was removed" } else { "was added" };
                    // On the wire, the change shows in the parts that refer to it.
                    let rust = match kind {
                        "schemas" if was.is_some() => Breaking,
                        "schemas" => Additive,
                        _ => Editorial,
                    };
                    self.add(&place, what, Editorial, rust);
                    continue;
                };
                match kind {
                    "schemas" => self.member(&place, was, is, [true, true], directions.of_component(kind, name)),
                    "parameters" => self.value(&place, was, is, Direction::REQUEST),
                    "headers" => self.value(&place, was, is, Direction::RESPONSE),
                    "requestBodies" => self.request_body(&place, was, is),
                    "responses" => self.response(&place, was, is),
                    "examples" | "links" => self.add(&place, "changed", Editorial, Editorial),
                    _ => self.unseen(|comparison| comparison.others(&place, was, is, &[])),
                }
            }
        }
    }
}

/// Whether the crate does not show a parameter: a header that the client sets, or one of a response, which has no `in`.
fn is_unseen(part: &Value) -> bool {
    let is_clients = || part["name"].as_str().is_some_and(is_of_transport);
    part.get("in").is_none_or(|place| place == "header" && is_clients())
}

/// Method and path, whatever the names of the parameters.
fn route(operation: &Operation<'_>) -> String {
    let segments = operation.path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    format!("{} {}", operation.method.to_uppercase(), segments.collect::<Vec<_>>().join("/"))
}

/// The parameters of an operation by location and name; path parameters by their position.
fn parameters<'a>(document: &'a Document, operation: &Operation<'a>) -> BTreeMap<(&'a str, String), &'a Value> {
    let of_path = &document.root["paths"][operation.path]["parameters"];
    let all = [of_path, &operation.value["parameters"]];
    let all = all.into_iter().filter_map(Value::as_array).flatten();
    all.map(|parameter| {
        let resolved = document.resolve(parameter);
        let (place, name) =
            (resolved["in"].as_str().unwrap_or_default(), resolved["name"].as_str().unwrap_or_default());
        let segment = operation.path.split('/').position(|segment| segment == format!("{{{name}}}"));
        ((place, segment.map_or(name.to_string(), |segment| segment.to_string())), parameter)
    })
    .collect()
}
