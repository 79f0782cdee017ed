//! The project's own rules, which clients in every language depend on and no linter has.

use std::collections::BTreeSet;

use serde_json::Value;

use bunq_partner_codegen::callbacks::callbacks;
use bunq_partner_codegen::direction::{Direction, Directions};
use bunq_partner_codegen::document::{Diagnostic, Document, Operation, escaped, members, reference};
use bunq_partner_codegen::provenance;
use bunq_partner_codegen::validate::{circles, for_each_part};

/// The endings of the names of secret strings.
const SECRETS: [&str; 7] =
    ["secret", "token", "token_value", "authorization_code", "password", "private_key", "api_key"];

/// What is wrong with a number that is sent as an id: two of them could be swapped.
const OF_ANY_KIND: &str = "it may be an id of any kind: refer to a schema with x-bunq-id, which names the kind";

pub(super) fn check(document: &Document) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    // Following the references would never end.
    if !circles(&document.root).is_empty() {
        return findings;
    }
    for operation in document.operations() {
        check_id(&operation, &mut findings);
        check_examples(document, &operation, &mut findings);
        check_ids_in_path(document, &operation, &mut findings);
        check_look(document, &operation, &mut findings);
    }
    for callback in callbacks(&document.root) {
        if callback.body().is_some_and(|body| !has_examples(document, body)) {
            let place = format!("callback `{}`", callback.name);
            findings.push(Diagnostic::at(&callback.pointer, place, "give its request content with `examples`"));
        }
    }
    findings.extend(provenance::problems(document));
    check_links(document, &mut findings);
    check_secrets_inside_texts(document, &mut findings);
    let directions = Directions::of(&document.root);
    for (name, schema) in document.schemas() {
        let mut walk = Walk { document, used: directions.of_component("schemas", name), findings: &mut findings };
        let location = Location { pointer: format!("/components/schemas/{name}"), words: format!("schema `{name}`") };
        walk.described(&location, schema);
        walk.schema(&location, schema);
    }
    for kind in ["parameters", "headers", "responses", "requestBodies"] {
        for (name, part) in members(&document.root["components"][kind]) {
            let words = format!("{} `{name}`", kind.trim_end_matches('s'));
            let mut walk = Walk { document, used: directions.of_component(kind, name), findings: &mut findings };
            walk.inline(&Location { pointer: format!("/components/{kind}/{name}"), words }, part);
        }
    }
    for (path, item) in members(&document.root["paths"]) {
        let location = Location { pointer: format!("/paths/{}", escaped(path)), words: format!("path `{path}`") };
        Walk { document, used: Direction::REQUEST, findings: &mut findings }.parameters(&location, &item["parameters"]);
    }
    for operation in document.operations() {
        let location = Location { pointer: operation.pointer(), words: format!("operation `{}`", operation.id) };
        Walk { document, used: Direction::REQUEST, findings: &mut findings }.inline(&location, operation.value);
    }
    findings
}

/// Checks that an id is a verb of the method and a noun, as in `get_provision` and `list_provisions`.
fn check_id(operation: &Operation<'_>, findings: &mut Vec<Diagnostic>) {
    let result = &operation.value["x-bunq-result"];
    let is_list = result.get("list").or(result.get("page")).is_some();
    let verbs: &[&str] = match operation.method {
        "get" if is_list => &["list"],
        "get" => &["get"],
        "post" => &["create", "answer", "replace", "retry"],
        "put" => &["update", "answer", "replace"],
        "delete" => &["delete"],
        method => {
            findings.push(operation.diagnostic(format_args!("bunq has no {method}: correct its method")));
            return;
        }
    };
    let (verb, noun) = operation.id.split_once('_').unwrap_or((operation.id, ""));
    if !verbs.contains(&verb) || noun.is_empty() {
        let forms: Vec<_> = verbs.iter().map(|verb| format!("`{verb}_…`")).collect();
        findings.push(operation.diagnostic(format_args!("name it by a verb and a noun: {}", forms.join(" or "))));
    } else if is_list && !noun.ends_with('s') {
        findings.push(
            operation.diagnostic(format_args!("it lists many: name it in the plural, as in `{}s`", operation.id)),
        );
    }
}

/// Checks that each number in the path is the id of one kind, so that two of them cannot be swapped, and that the user is that of the
/// session. The session is ended by a client alone, by the number 0.
fn check_ids_in_path(document: &Document, operation: &Operation<'_>, findings: &mut Vec<Diagnostic>) {
    let shared = &document.root["paths"][operation.path]["parameters"];
    let parameters = [shared, &operation.value["parameters"]].into_iter().filter_map(Value::as_array).flatten();
    let in_path = parameters.map(|parameter| document.resolve(parameter)).filter(|parameter| parameter["in"] == "path");
    for parameter in in_path.filter(|_| operation.value["x-bunq-managed"] != true) {
        let schema = document.resolve(&parameter["schema"]);
        let is_of_session = ["x-bunq-value", "x-bunq-default"].iter().any(|name| parameter.get(*name).is_some());
        if parameter["name"] == "user_id" && !is_of_session {
            findings.push(operation.diagnostic(
                "its parameter `user_id` is one that every caller gives: refer to `SessionUser`, or to `ChosenUser`",
            ));
        } else if schema["type"] == "integer" && schema["x-bunq-id"] != true {
            let name = parameter["name"].as_str().unwrap_or_default();
            findings.push(operation.diagnostic(format_args!("its parameter `{name}`: {OF_ANY_KIND}")));
        }
    }
}

/// Checks that what must not run twice says what a repetition begins with, and its description too, for people.
fn check_look(document: &Document, operation: &Operation<'_>, findings: &mut Vec<Diagnostic>) {
    let Some(is_idempotent) = operation.value["x-bunq-idempotent"].as_bool() else { return };
    let description = operation.value["description"].as_str().unwrap_or_default();
    let reads = |look: &str| document.operations().iter().any(|read| read.id == look && read.method == "get");
    let problem = match operation.value["x-bunq-look"].as_str() {
        _ if is_idempotent && operation.value.get("x-bunq-look").is_none() => return,
        _ if is_idempotent => "it may be repeated without a look: remove x-bunq-look".to_owned(),
        None => "it is not idempotent: set x-bunq-look to the operation with which a repetition begins, or to none if nothing \
                 shows whether it was carried out"
            .to_owned(),
        Some("none") => return,
        Some(look) if !reads(look) => format!("its x-bunq-look `{look}` is no operation that reads: correct it"),
        Some(look) if !description.contains(&format!("`{look}`")) => {
            format!("say in its description that a repetition begins with `{look}`")
        }
        Some(_) => return,
    };
    findings.push(operation.diagnostic(problem));
}

/// Checks that each request with a body, and each response, has an example.
fn check_examples(document: &Document, operation: &Operation<'_>, findings: &mut Vec<Diagnostic>) {
    let body = operation.value.get("requestBody").map(|body| ("request".to_string(), body));
    let responses =
        members(&operation.value["responses"]).map(|(status, response)| (format!("{status} response"), response));
    for (which, _) in body.into_iter().chain(responses).filter(|(_, part)| !has_examples(document, part)) {
        findings.push(operation.diagnostic(format_args!("give its {which} content with `examples`")));
    }
}

/// Whether the content of a body has examples.
fn has_examples(document: &Document, body: &Value) -> bool {
    let content = &document.resolve(body)["content"];
    // Of bytes, the content types have an example file each.
    let shown = |(name, media): (&str, &Value)| {
        name == "application/octet-stream" || media["examples"].as_object().is_some_and(|examples| !examples.is_empty())
    };
    members(content).next().is_some() && members(content).all(shown)
}

/// Checks that each link leads to an operation.
fn check_links(document: &Document, findings: &mut Vec<Diagnostic>) {
    for_each_part(&document.root, &mut |pointer, part| {
        for (name, link) in
            part.get("links").into_iter().flat_map(members).filter(|(_, link)| reference(link).is_none())
        {
            let target = link["operationId"].as_str().unwrap_or_default();
            if document.operations().iter().all(|operation| operation.id != target) {
                let problem = format!("its operationId `{target}` is that of no operation: correct it");
                let pointer = format!("{pointer}/links/{}", escaped(name));
                findings.push(Diagnostic::at(pointer, format_args!("link `{name}`"), problem));
            }
        }
    });
}

/// The shortest text of a secret that is searched for inside other texts.
const MIN_SECRET_LEN: usize = 8;

/// Checks that no example has the text of a secret inside a text that is no secret, such as a URL that ends with a code.
fn check_secrets_inside_texts(document: &Document, findings: &mut Vec<Diagnostic>) {
    let properties = document.schemas().flat_map(|(_, schema)| members(&schema["properties"]));
    let secret: BTreeSet<_> =
        properties.filter(|(_, property)| property["format"] == "password").map(|(name, _)| name).collect();
    for_each_part(&document.root, &mut |pointer, part| {
        let examples = part.get("examples").into_iter().flat_map(members);
        for (name, example) in examples {
            let (mut secrets, mut others) = (BTreeSet::new(), Vec::new());
            collect_texts("", &example["value"], &mut |member, text| match secret.contains(member) {
                true if text.len() >= MIN_SECRET_LEN => {
                    secrets.insert((text, member));
                }
                true => {}
                false => others.push((member, text)),
            });
            for (member, text) in others {
                if let Some((_, inside)) = secrets.iter().find(|(secret, _)| text.contains(secret)) {
                    findings.push(Diagnostic::at(
                        format!("{pointer}/examples/{}", escaped(name)),
                        format_args!("example `{name}`"),
                        format_args!(
                            "`{member}` has the `{inside}` inside, so it is a secret too: set `format: password`"
                        ),
                    ));
                }
            }
        }
    });
}

/// Calls `visit` on every text of a value, with the name of the member that it is in.
fn collect_texts<'a>(member: &'a str, value: &'a Value, visit: &mut impl FnMut(&'a str, &'a str)) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| collect_texts(name, value, visit)),
        Value::Array(items) => items.iter().for_each(|value| collect_texts(member, value, visit)),
        Value::String(text) => visit(member, text),
        _ => {}
    }
}

/// The location of a finding: its JSON pointer, and its name for readers.
struct Location {
    pointer: String,
    words: String,
}

impl Location {
    fn down(&self, path: &str, words: &str) -> Self {
        let words = if words.is_empty() { self.words.clone() } else { format!("{}, {words}", self.words) };
        Self { pointer: format!("{}/{path}", self.pointer), words }
    }
}

struct Walk<'a> {
    document: &'a Document,
    used: Direction,
    findings: &'a mut Vec<Diagnostic>,
}

impl Walk<'_> {
    fn find(&mut self, location: &Location, problem: impl std::fmt::Display) {
        self.findings.push(Diagnostic::at(&location.pointer, &location.words, problem));
    }

    /// Finds the schemas inside a part that is not a schema itself.
    fn inline(&mut self, location: &Location, value: &Value) {
        if let Some(name) = value["name"].as_str() {
            self.secret(location, name, &value["schema"]);
        }
        for (name, inside) in members(value) {
            match name {
                "schema" => self.schema(&location.down(name, ""), inside),
                "example" | "examples" => {}
                "responses" | "callbacks" => {
                    let used = self.used.reversed();
                    let mut walk = Walk { document: self.document, used, findings: self.findings };
                    walk.inline(&location.down(name, ""), inside);
                }
                "parameters" => self.parameters(location, inside),
                _ => self.inline(&location.down(&escaped(name), ""), inside),
            }
        }
    }

    fn parameters(&mut self, location: &Location, parameters: &Value) {
        for (index, parameter) in parameters.as_array().into_iter().flatten().enumerate() {
            let words = parameter["name"].as_str().map(|name| format!("parameter `{name}`"));
            let location = location.down(&format!("parameters/{index}"), &words.unwrap_or_default());
            self.inline(&location, parameter);
        }
    }

    fn schema(&mut self, location: &Location, schema: &Value) {
        self.check_enum(location, schema);
        if self.used.response && schema["additionalProperties"] == false {
            self.find(location, "a response has it, and bunq may add a member: remove `additionalProperties`");
        }
        for (name, property) in members(&schema["properties"]) {
            let location = location.down(&format!("properties/{}", escaped(name)), &format!("property `{name}`"));
            self.described(&location, property);
            let is_required = schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
            if self.used.response && !is_required && !is_nullable(property) {
                self.find(
                    &location,
                    "a response may have null in its place: set `nullable`, or write `anyOf` with null",
                );
            }
            self.secret(&location, name, property);
            if self.used.request && (name == "id" || name.ends_with("_id")) && self.is_number(property) {
                self.find(&location, OF_ANY_KIND);
            }
            self.schema(&location, property);
        }
        for name in ["items", "additionalProperties", "not"] {
            if let Some(inside) = schema.get(name) {
                self.schema(&location.down(name, name), inside);
            }
        }
        for name in ["allOf", "oneOf", "anyOf"] {
            for (index, part) in schema[name].as_array().into_iter().flatten().enumerate() {
                self.schema(&location.down(&format!("{name}/{index}"), name), part);
            }
        }
    }

    fn secret(&mut self, location: &Location, name: &str, schema: &Value) {
        let name = name.to_lowercase().replace('-', "_");
        if SECRETS.iter().any(|secret| name.ends_with(secret)) && self.is_plain_text(schema) {
            self.find(location, "it is a secret: set `format: password`");
        }
    }

    /// Whether a schema allows a string that is not marked as a secret.
    fn is_plain_text(&self, schema: &Value) -> bool {
        let schema = self.document.resolve(schema);
        let parts = ["allOf", "oneOf", "anyOf"].iter().filter_map(|keyword| schema[keyword].as_array()).flatten();
        (schema["type"] == "string" && schema["format"] != "password")
            || parts.into_iter().any(|part| self.is_plain_text(part))
    }

    /// Whether a schema allows a number that is no id of one kind.
    fn is_number(&self, schema: &Value) -> bool {
        let schema = self.document.resolve(schema);
        let parts = ["allOf", "oneOf", "anyOf"].iter().filter_map(|keyword| schema[keyword].as_array()).flatten();
        (schema["type"] == "integer" && schema["x-bunq-id"] != true)
            || parts.into_iter().any(|part| self.is_number(part))
    }

    fn described(&mut self, location: &Location, schema: &Value) {
        if schema["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
            self.find(location, "describe it (`$ref` takes no description: put it in `allOf`)");
        }
    }

    fn check_enum(&mut self, location: &Location, schema: &Value) {
        // OpenAPI 3.0 allows null by a schema of null only, to which no value will be added.
        let closed = schema["enum"].as_array().filter(|_| !is_null(schema));
        let open = schema["x-extensible-enum"].as_array().filter(|values| values.iter().any(Value::is_string));
        if schema.get("x-extensible-enum").is_some() && open.is_none() {
            self.find(location, "x-extensible-enum is a list of texts: write the values");
        }
        if closed.is_some() && self.used.response {
            self.find(location, "a response has it, and bunq may add a value: write `x-extensible-enum` for `enum`");
        }
        if open.is_some() && self.used == Direction::REQUEST {
            self.find(location, "a request has it, and takes known values only: write `enum` for `x-extensible-enum`");
        }
        let descriptions = &schema["x-enum-descriptions"];
        let Some(values) = closed.or(open) else {
            if !descriptions.is_null() {
                self.find(
                    location,
                    "it has x-enum-descriptions and no values: write them as `x-extensible-enum` or `enum`",
                );
            }
            return;
        };
        for value in values.iter().filter_map(Value::as_str).filter(|value| !descriptions[value].is_string()) {
            self.find(location, format_args!("describe the value `{value}` under x-enum-descriptions"));
        }
        for (value, _) in members(descriptions).filter(|(value, _)| !values.iter().any(|known| known == value)) {
            self.find(location, format_args!("x-enum-descriptions has `{value}`, which is no value of it: remove one"));
        }
    }
}

fn is_nullable(schema: &Value) -> bool {
    let is_any_value = ["type", "$ref", "allOf", "oneOf", "anyOf"].iter().all(|name| schema.get(name).is_none());
    let is_alternative = schema["anyOf"].as_array().is_some_and(|parts| parts.iter().any(is_null));
    schema["nullable"] == true || is_alternative || is_any_value
}

/// Whether a schema allows only null.
fn is_null(schema: &Value) -> bool {
    schema["enum"].as_array().is_some_and(|values| values.iter().all(Value::is_null))
}

#[cfg(test)]
mod tests;
