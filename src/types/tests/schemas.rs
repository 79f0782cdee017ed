//! Compares three schemas of each type: the document's, and those that the type gives for what it reads and what it
//! writes.
//!
//! Random values of each of the three schemas go through the type. A null that the type reads as an absent member is
//! never written.

use jsonschema::{ValidationError, Validator};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::random::{Random, texts};
use super::{masked, round_trip, schema_of_type};
use crate::wire::SCHEMAS;

const SEED: u64 = 4;
const VALUES: usize = 200;

#[test]
fn types_match_the_document() {
    test_timeout::start();
    let schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap();
    assert!(schemas.len() > 40, "only {} schemas were found", schemas.len());
    let mut differences = Vec::new();
    for name in schemas.keys() {
        let of_type = |settings: SchemaSettings| schema_of_type(name, settings.into_generator()).unwrap().to_value();
        let document = of_document(&schemas, name);
        let read = of_type(SchemaSettings::draft2020_12().for_deserialize());
        let written = of_type(SchemaSettings::draft2020_12().for_serialize());
        let [by_document, by_reader, by_writer] = [&document, &read, &written].map(validator);

        for (source, schema) in [("document", &document), ("reader", &read), ("writer", &written)] {
            let mut random = Random::new(SEED, schema);
            for _ in 0..VALUES {
                let value = random.value();
                let readers: &[_] = if source == "document" { &[("reader", &by_reader)] } else { &[] };
                let writers = [("document", &by_document), ("writer", &by_writer)];
                if let Err(difference) = holds(readers, &value).and(through(name, &value, &writers)) {
                    differences.push(format!("{name}: {difference}, for this value of the {source}: {value}"));
                    break;
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// The keywords that restrict a text or a number itself.
const KEYWORDS: [&str; 8] = ["type", "format", "pattern", "enum", "minLength", "maxLength", "minimum", "maximum"];

/// Types that read more than the document allows. What they write is within the document's bounds.
const GENEROUS: [&str; 3] = ["Date", "NotificationTarget", "Timestamp"];

#[test]
fn texts_and_numbers_are_bounded_as_the_document_says() {
    test_timeout::start();
    let schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap();
    let is_open = |schema: &Value| schema.get("x-extensible-enum").is_some();
    let mut checked = 0;
    for (name, document) in schemas.iter().filter(|(_, schema)| schema["type"] != "object" && !is_open(schema)) {
        let said = |schema: &Value| KEYWORDS.map(|keyword| schema.get(keyword).cloned());
        for settings in
            [SchemaSettings::draft2020_12().for_deserialize(), SchemaSettings::draft2020_12().for_serialize()]
        {
            let of_type = schema_of_type(name, settings.into_generator()).unwrap().to_value();
            assert_eq!(said(&of_type), said(document), "{name}: type and document, {KEYWORDS:?}");
        }
        let is_text = document["type"] == "string" && !GENEROUS.contains(&name.as_str());
        let by_document = validator(&of_document(&schemas, name));
        for text in texts().filter(|_| is_text) {
            let is_taken = round_trip(name, &json!(text).to_string()).is_ok();
            assert_eq!(is_taken, by_document.is_valid(&json!(text)), "{name}: type and document of {text:?}");
            checked += 1;
        }
    }
    assert!(checked > 500, "only {checked} texts were held against type and document");
}

/// Sends a value through its type, and validates the result against schemas.
fn through(name: &str, value: &Value, schemas: &[(&str, &Validator)]) -> Result<(), String> {
    let encoded = round_trip(name, &value.to_string()).map_err(|error| error.to_string())?;
    holds(schemas, &encoded)?;
    // A request writes its secrets out.
    let is_written_out = ["DeviceServerRequest", "SessionServerRequest"].contains(&name);
    let expected = if is_written_out { value.clone() } else { masked(value.clone()) };
    if without_nothing(encoded.clone()) != without_nothing(expected) {
        return Err(format!("it becomes {encoded}"));
    }
    Ok(())
}

fn holds(schemas: &[(&str, &Validator)], value: &Value) -> Result<(), String> {
    schemas.iter().try_for_each(|(whose, schema)| {
        let refused = |error: ValidationError<'_>| format!("the {whose} says at `{}`: {error}", error.instance_path());
        schema.validate(value).map_err(refused)
    })
}

/// The document's schema of that name as JSON Schema, with the schemas that it refers to.
fn of_document(schemas: &Map<String, Value>, name: &str) -> Value {
    let mut schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": {"schemas": schemas}});
    say_nullable(&mut schema);
    schema
}

/// Translates OpenAPI's `nullable` into JSON Schema.
fn say_nullable(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.remove("nullable") == Some(json!(true)) {
                let kind = object.remove("type").expect("what is nullable has a type");
                object.insert("type".into(), json!([kind, "null"]));
            }
            object.values_mut().for_each(say_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(say_nullable),
        _ => {}
    }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

/// The value without null members and empty lists, which mean the same as absent members.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .filter(|(_, member)| !member.is_null() && *member != json!([]))
            .map(|(name, member)| (name, without_nothing(member)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nothing).collect(),
        other => other,
    }
}
