//! Random values of a JSON Schema, for those parts of JSON Schema that the document and `schemars` use.
//!
//! It panics at a keyword, format or pattern that it does not know, because ignoring one would test nothing.

use serde_json::{Map, Value, json};

/// The keywords that do not restrict the value.
const REMARKS: [&str; 17] = [
    "$schema",
    "$defs",
    "components",
    "title",
    "description",
    "default",
    "example",
    "x-bunq-files",
    "x-bunq-first-bytes",
    "x-bunq-id",
    "x-bunq-keep-unknown",
    "x-bunq-lenient",
    "x-bunq-personal",
    "x-bunq-rule",
    "x-bunq-secret-path",
    "x-bunq-visible",
    "x-enum-descriptions",
];

const TEXTS: [&str; 6] = ["", "a", "two words", "Bäckerei Zürich €5 🥑", "\"quoted\"\\\n\t\u{0}", "null"];
const NAMES: [&str; 4] = ["a", "two words", "Bäckerei Zürich €5 🥑", "null"];
const EMAILS: [&str; 4] = ["a@b.nl", "user+tag@mail.example.com", "x_1@example.org", "jan@müller.example"];
const PHONE_NUMBERS: [&str; 3] = ["+1234567", "+31600000000", "+123456789012345"];
const DESCRIPTIONS: [&str; 3] = ["a", "Passport, page 1", "~!"];
const COUNTRIES: [&str; 3] = ["NL", "AA", "ZZ"];
const DOCUMENT_TYPES: [&str; 2] = ["CRYPTO_KYC_QUESTIONNAIRE", "P1"];
const CALLBACK_URLS: [&str; 3] =
    ["https://a", "https://partner.example.com/callback", "https://192.0.2.1:8443/a?b=%20&c"];
const PERMITTED_IPS: [&str; 4] = ["*", "0.0.0.0", "192.0.2.1", "255.255.255.255"];
const ADDRESSES: [&str; 3] = ["0.0.0.0", "192.0.2.1", "255.255.255.255"];
const UUIDS: [&str; 2] = ["550e8400-e29b-41d4-a716-446655440000", "00000000-0000-0000-0000-000000000000"];
const DATES: [&str; 4] = ["1990-01-31", "2024-02-29", "0001-01-01", "9999-12-31"];
const TARGETS: [&str; 2] = ["https://a.example", "https://b.example:8443/bunq?token=x"];
const LISTED_IDS: [&str; 3] = ["1", "9001,9002", "9223372036854775807,1,1"];
const CERTIFICATES: [&str; 1] = ["-----BEGIN CERTIFICATE-----\r\nAa+/\n0==\n-----END CERTIFICATE-----\n"];
/// Texts that almost match one of the other kinds.
const SLIPS: [&str; 31] = [
    "a@b@c",
    "a @b.nl",
    "@b.nl",
    "a@",
    "a..b@c.nl",
    "\"a b\"@c.nl",
    "a@b\u{85}",
    "\u{feff}a@b",
    "a\u{0}@b",
    "a\u{7f}@b",
    "\u{200b}a@b",
    "a\u{202e}@b",
    "two\u{2028}lines",
    "a\u{1b}[31mb",
    "31600000000",
    "+0123456789",
    "+310612345678",
    "a@b..nl",
    "a@-b.nl",
    "+123456",
    "nl",
    "NLD",
    "256.0.0.1",
    "1.2.3",
    "01.2.3.4",
    "http://a.example",
    "HTTPS://a.example",
    "https://a b.example",
    "1,",
    "01,2",
    "-----BEGIN CERTIFICATE-----Aa-----END CERTIFICATE-----",
];
const TIMESTAMPS: [&str; 5] = [
    "2025-08-13 14:45:18.621550",
    "2024-02-29 23:59:59.999999",
    "1970-01-01 00:00:00.000000",
    "0000-01-01 00:00:00.000001",
    "9999-12-31 23:59:59.999999",
];

/// Texts of all kinds, and texts whose length is just within or just outside the limits.
pub(crate) fn texts() -> impl Iterator<Item = String> {
    let kinds = [
        &TEXTS[..],
        &EMAILS,
        &PHONE_NUMBERS,
        &COUNTRIES,
        &CALLBACK_URLS,
        &PERMITTED_IPS,
        &UUIDS,
        &DATES,
        &TIMESTAMPS,
        &TARGETS,
        &LISTED_IDS,
        &CERTIFICATES,
        &SLIPS,
    ];
    let lengths = (0..5).chain(245..260);
    let long = lengths.flat_map(|length| {
        // No label of a host name is longer than 63.
        let host: String = (0..length).map(|index| if index % 50 == 40 { '.' } else { 'x' }).collect();
        [
            "x".repeat(length),
            format!("a@{host}"),
            format!("{}@b", "ü".repeat(length)),
            format!("+{}", "1".repeat(length)),
        ]
    });
    kinds.into_iter().flatten().map(|text| text.to_string()).chain(long)
}

/// Makes values of schemas under `root`, where their references are resolved.
pub(crate) struct Random<'a> {
    root: &'a Value,
    rng: fastrand::Rng,
}

impl<'a> Random<'a> {
    pub(crate) fn new(seed: u64, root: &'a Value) -> Self {
        Self { root, rng: fastrand::Rng::with_seed(seed) }
    }

    /// A value of the root itself.
    pub(crate) fn value(&mut self) -> Value {
        self.of(self.root)
    }

    fn of(&mut self, schema: &Value) -> Value {
        let Some(schema) = schema.as_object().filter(|schema| says_something(schema)) else { return self.anything() };
        if let Some(target) = self.target(schema) {
            return self.of(target);
        }
        if let Some(values) = schema.get("enum") {
            return self.one_of(values.as_array().unwrap()).clone();
        }
        if let Some(any) = schema.get("anyOf").or(schema.get("oneOf")) {
            let chosen = self.one_of(any.as_array().unwrap()).clone();
            return self.of(&chosen);
        }
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => self.one_of(kinds).as_str().unwrap(),
            Some(kind) => kind.as_str().unwrap(),
            None => "object",
        };
        if let (Some(all), false) = (schema.get("allOf"), kind == "null") {
            let [only] = &all.as_array().unwrap()[..] else { panic!("more than one schema at once is not known") };
            let typed = |schema: &Map<String, Value>| schema.contains_key("type");
            let target = only.as_object().and_then(|only| self.target(only)).and_then(Value::as_object).unwrap();
            assert!(typed(schema) || typed(target), "`type` is missing, so that text may stand here: {schema:?}");
            return self.of(only);
        }
        match kind {
            "null" => Value::Null,
            "boolean" => self.rng.bool().into(),
            "integer" => self.integer(schema),
            "string" => self.string(schema),
            "array" => self.array(schema),
            "object" => self.object(schema),
            other => panic!("the type {other} is not known"),
        }
    }

    /// The schema that a reference points to; `None` if this is not a reference.
    fn target(&self, schema: &Map<String, Value>) -> Option<&'a Value> {
        Some(self.root.pointer(schema.get("$ref")?.as_str()?.trim_start_matches('#')).unwrap())
    }

    fn integer(&mut self, schema: &Map<String, Value>) -> Value {
        known(schema, &["type", "format", "minimum", "maximum"]);
        let bound = |keyword: &str, or: i64| schema.get(keyword).map_or(or, |bound| bound.as_i64().unwrap());
        let (least, most) = (bound("minimum", i64::MIN), bound("maximum", i64::MAX));
        let near = least.max(0)..=most.min(1000);
        let choices = [least, most, self.rng.i64(near), self.rng.i64(least..=most)];
        (*self.one_of(&choices)).into()
    }

    fn string(&mut self, schema: &Map<String, Value>) -> Value {
        known(schema, &["type", "format", "pattern", "minLength", "maxLength", "x-extensible-enum"]);
        if let (Some(values), true) = (schema.get("x-extensible-enum"), self.rng.bool()) {
            return self.one_of(values.as_array().unwrap()).clone();
        }
        let text = |keyword: &str| schema.get(keyword).and_then(Value::as_str);
        let choices = match (text("format"), text("pattern")) {
            (None | Some("password"), None) => &TEXTS[..],
            (Some("uuid"), None) => &UUIDS,
            (Some("date"), None) => &DATES,
            (Some("ipv4"), None) => &ADDRESSES,
            (Some("bunq-timestamp"), Some(_)) => &TIMESTAMPS,
            (None, Some("^[A-Z]{2}$")) => &COUNTRIES,
            (None, Some("^[A-Z][A-Z0-9_]*$")) => &DOCUMENT_TYPES,
            (None, Some("^[1-9][0-9]*(?:,[1-9][0-9]*){0,99}$")) => &LISTED_IDS,
            (None, Some(pattern)) if pattern.starts_with("^-----BEGIN CERTIFICATE-----") => &CERTIFICATES,
            (None, Some(pattern)) if pattern.starts_with(r"^(\*|((25[0-5]|") => &PERMITTED_IPS,
            (None, Some(pattern)) if pattern.starts_with(r"^\+(?:(?:3[1-3]|") => &PHONE_NUMBERS,
            (None, Some(pattern)) if pattern.starts_with("^https://") => &CALLBACK_URLS,
            (None, Some(pattern)) if pattern.starts_with("^(?:https://") => &TARGETS,
            (None, Some(pattern)) if pattern.starts_with(r"^[^\x00-") => &NAMES,
            (None, Some(pattern)) if pattern.starts_with("^[!-~]") => &DESCRIPTIONS,
            (None, Some(pattern)) if pattern.starts_with("^[^@") => &EMAILS,
            (None, Some(pattern)) if pattern.starts_with("^(?:[^@") => *self.one_of(&[&EMAILS[..], &PHONE_NUMBERS]),
            other => panic!("the format and pattern {other:?} are not known"),
        };
        let length = |keyword: &str, or: u64| schema.get(keyword).map_or(or, |length| length.as_u64().unwrap());
        let lengths = length("minLength", 0)..=length("maxLength", u64::MAX);
        let fitting: Vec<_> = choices.iter().filter(|text| lengths.contains(&(text.chars().count() as u64))).collect();
        (**self.one_of(&fitting)).into()
    }

    fn array(&mut self, schema: &Map<String, Value>) -> Value {
        known(schema, &["type", "items", "minItems", "maxItems"]);
        let least = schema.get("minItems").map_or(0, |least| least.as_u64().unwrap());
        let length = least + self.rng.u64(0..3);
        (0..length).map(|_| self.of(&schema["items"])).collect()
    }

    fn object(&mut self, schema: &Map<String, Value>) -> Value {
        known(schema, &["type", "properties", "required", "additionalProperties", "minProperties"]);
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return json!({});
        };
        let required: Vec<&str> = schema
            .get("required")
            .into_iter()
            .flat_map(|names| names.as_array().unwrap())
            .filter_map(Value::as_str)
            .collect();
        let mut members = Map::new();
        for (name, property) in properties {
            if required.contains(&name.as_str()) || self.rng.bool() {
                members.insert(name.clone(), self.of(property));
            }
        }
        if members.is_empty() && schema.contains_key("minProperties") {
            members.extend(properties.iter().take(1).map(|(name, property)| (name.clone(), self.of(property))));
        }
        if schema.contains_key("additionalProperties") {
            members.insert("novelty".into(), self.anything());
        }
        Value::Object(members)
    }

    fn anything(&mut self) -> Value {
        let choices =
            [Value::Null, json!(true), json!(-1), json!(0.5), json!("text"), json!([1, []]), json!({"a": {}})];
        self.one_of(&choices).clone()
    }

    fn one_of<'b, T>(&mut self, choices: &'b [T]) -> &'b T {
        &choices[self.rng.usize(0..choices.len())]
    }
}

fn says_something(schema: &Map<String, Value>) -> bool {
    schema.keys().any(|keyword| !REMARKS.contains(&keyword.as_str()))
}

fn known(schema: &Map<String, Value>, keywords: &[&str]) {
    for keyword in schema.keys().map(String::as_str) {
        assert!(keywords.contains(&keyword) || REMARKS.contains(&keyword), "the keyword {keyword} is not known");
    }
}
