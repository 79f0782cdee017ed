//! Validates every example and every default of the document against its schema.

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use bunq_partner_codegen::document::{Diagnostic, Document, escaped, for_each_object, members};
use bunq_partner_codegen::validate::for_each_part;

/// Returns one result for each example.
pub(super) fn check(document: &Document) -> Vec<Result<(), Diagnostic>> {
    let mut results = Vec::new();
    let lowered = lower(document.root.clone());
    let check = Check { document, lowered: &lowered };
    for_each_part(&document.root, &mut |pointer, part| {
        // Examples among the components are validated with the schemas of the parts that refer to them.
        if pointer != "/components" {
            check.part(pointer, part, &mut results);
        }
    });
    results
}

/// Translates OpenAPI's own keywords into JSON Schema.
fn lower(mut root: Value) -> Value {
    for_each_object(&mut root, &mut |object| {
        if object.get("format") == Some(&json!("int64")) {
            object.entry("minimum").or_insert_with(|| json!(i64::MIN));
            object.entry("maximum").or_insert_with(|| json!(i64::MAX));
        }
        if object.get("nullable") == Some(&json!(true))
            && let Some(kind) = object.get_mut("type")
        {
            *kind = json!([kind.take(), "null"]);
            if let Some(values) = object.get_mut("enum").and_then(Value::as_array_mut) {
                values.push(Value::Null);
            }
        }
    });
    root
}

struct Check<'a> {
    document: &'a Document,
    lowered: &'a Value,
}

impl Check<'_> {
    fn part(&self, pointer: &str, part: &Map<String, Value>, results: &mut Vec<Result<(), Diagnostic>>) {
        let default = part.get("default").map(|default| self.example(&format!("{pointer}/default"), pointer, default));
        results.extend(default);
        let schema = if part.contains_key("schema") { format!("{pointer}/schema") } else { pointer.to_string() };
        let one = part.get("example").map(|example| (format!("{pointer}/example"), example));
        let many = part.get("examples").into_iter().flat_map(members).map(|(name, example)| {
            (format!("{pointer}/examples/{}", escaped(name)), &self.document.resolve(example)["value"])
        });
        results.extend(one.into_iter().chain(many).map(|(place, example)| self.example(&place, &schema, example)));
    }

    fn example(&self, pointer: &str, schema: &str, example: &Value) -> Result<(), Diagnostic> {
        let fault = |problem: String| Diagnostic::of_part(pointer, problem);
        let validator = self.validator(schema).map_err(|error| fault(format!("its schema: {error}")))?;
        let problems: Vec<_> = validator
            .iter_errors(example)
            .map(|error| format!("at `{}`: {}", error.instance_path(), error.masked()))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(fault(problems.join("; "))) }
    }

    fn validator(&self, schema: &str) -> Result<Validator, String> {
        let Some(mut root @ Value::Object(_)) = self.lowered.pointer(schema).cloned() else {
            return Err("it must be a mapping".into());
        };
        root["components"] = self.lowered["components"].clone();
        // The newest draft knows the formats used here, such as `uuid`, and accepts those that it does not know.
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .build(&root)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(schema: &Value, example: &Value) -> Vec<String> {
        let parameter = json!({"schema": {"$ref": "#/components/schemas/S"}, "example": example});
        let root = json!({"components": {"parameters": {"P": parameter}, "schemas": {"S": schema}}});
        faults_of(root)
    }

    fn faults_of(root: Value) -> Vec<String> {
        check(&Document::from(root))
            .into_iter()
            .filter_map(Result::err)
            .map(|diagnostic| diagnostic.to_string())
            .collect()
    }

    #[test]
    fn examples_are_held_against_their_schemas() {
        test_timeout::start();
        let nullable = json!({"type": "string", "nullable": true});
        for (schema, good, bad) in [
            (json!({"type": "integer", "minimum": 1}), json!(1), json!(0)),
            (nullable.clone(), json!(null), json!(1)),
            (json!({"type": "string"}), json!(""), json!(null)),
            (json!({"type": "integer", "format": "int64"}), json!(i64::MAX), json!(1e20)),
            (json!({"type": "string", "format": "uuid"}), json!("550e8400-e29b-41d4-a716-446655440000"), json!("5")),
            (json!({"type": "object", "properties": {"example": nullable}}), json!({}), json!({"example": 1})),
        ] {
            assert_eq!(faults(&schema, &good), [""; 0], "{schema}");
            let faults = faults(&schema, &bad);
            assert!(
                faults.len() == 1 && faults[0].starts_with("#/components/parameters/P/example: at `"),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn a_default_is_one_of_the_values() {
        test_timeout::start();
        let schema = json!({"type": "integer", "maximum": 200, "default": 1000});
        let faults = faults(&schema, &json!(1));
        assert!(faults.len() == 1 && faults[0].starts_with("#/components/schemas/S/default: "), "{faults:?}");
    }

    #[test]
    fn an_invalid_schema_is_reported() {
        test_timeout::start();
        let parameter = json!({"schema": "integer", "example": 1});
        let faults = faults_of(json!({"components": {"parameters": {"P": parameter}}}));
        assert_eq!(faults, ["#/components/parameters/P/example: its schema: it must be a mapping"]);
    }

    #[test]
    fn an_example_of_a_schema_counts_too() {
        test_timeout::start();
        let faults = faults(&json!({"type": "string", "example": 1}), &json!("a"));
        assert!(faults.len() == 1 && faults[0].starts_with("#/components/schemas/S/example: "), "{faults:?}");
    }
}
