use serde_json::{Value, json};

use super::*;

/// A document in which `In` is sent to bunq and `Out` is received from it.
fn document() -> Value {
    json!({
        "info": {"title": "T", "version": "0.1.0"},
        "servers": [{"url": "https://a.example"}],
        "paths": {"/things/{id}": {"post": {
            "operationId": "do_it",
            "summary": "Do it",
            "x-bunq-auth": "session", "x-bunq-user": "partner", "x-bunq-idempotent": true, "x-bunq-rate-limit": {"calls": 3, "seconds": 3},
            "parameters": [
                {"$ref": "#/components/parameters/Id"},
                {"name": "count", "in": "query", "schema": {"type": "integer", "maximum": 200}},
                {"name": "X-Note", "in": "header", "schema": {"type": "string"}},
                {"name": "X-Bunq-Region", "in": "header", "schema": {"type": "string"}}
            ],
            "requestBody": {"required": true, "content": {"application/json": {
                "schema": {"$ref": "#/components/schemas/In"}, "examples": {"one": {"value": {"a": "x"}}}
            }}},
            "responses": {"200": {
                "headers": {"X-Id": {"schema": {"type": "string"}}},
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Out"}}}
            }, "4XX": {"description": "No."}, "5XX": {"description": "Oh."}}
        }}},
        "components": {
            "links": {"Next": {"operationId": "do_it"}},
            "parameters": {"Id": {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}},
            "schemas": {
                "In": {"type": "object", "required": ["a"], "properties": {
                    "a": {"type": "string", "minLength": 3},
                    "b": {"allOf": [{"$ref": "#/components/schemas/Closed"}]},
                    "which": {"oneOf": [{"$ref": "#/components/schemas/Closed"}]},
                    "either": {"oneOf": [{"$ref": "#/components/schemas/Closed"}, {"type": "string"}]},
                    "two": {"type": "array", "minItems": 2, "items": {"type": "string"}}
                }},
                "Out": {"type": "object", "required": ["a", "n"], "properties": {
                    "a": {"type": "string", "description": "An a."},
                    "b": {"allOf": [{"$ref": "#/components/schemas/Open"}]},
                    "n": {"type": "string", "nullable": true},
                    "list": {"type": "array", "items": {"type": "string"}},
                    "plain": {"type": "string"}
                }},
                "Closed": {"type": "string", "enum": ["A", "B"]},
                "Open": {"type": "string", "x-extensible-enum": ["A", "B"], "x-enum-descriptions": {"A": "a"}},
                "Unused": {"type": "object", "properties": {"a": {"type": "string"}}},
                "Empty": {"type": "object"}
            }
        }
    })
}

/// The changes after the value at the pointer is replaced. Null removes it.
fn changes(pointer: &str, value: Value) -> Vec<String> {
    let mut new = document();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = &name.replace("~1", "/");
    match new.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
        Value::Object(object) if value.is_null() => drop(object.remove(name)),
        Value::Object(object) => drop(object.insert(name.clone(), value)),
        Value::Array(items) if value.is_null() => drop(items.remove(name.parse().unwrap())),
        Value::Array(items) => match name.parse::<usize>() {
            Ok(index) if index < items.len() => items[index] = value,
            _ => items.push(value),
        },
        _ => panic!("{parent} has no members"),
    }
    let changes = parts::compare(&Document::from(document()), &Document::from(new));
    changes.iter().map(|change| format!("{} {} {}: {}", change.wire, change.rust, change.place, change.what)).collect()
}

const OPERATION: &str = "/paths/~1things~1{id}/post";
const IN: &str = "/components/schemas/In";
const OUT: &str = "/components/schemas/Out";

#[test]
fn equal_documents_have_no_differences() {
    test_timeout::start();
    assert_eq!(changes("/info/title", json!("T")), [""; 0]);
}

/// Checks that each change of a part, made on its own, is reported once, with this text after the name of the part.
fn table<const N: usize>(part: &str, name: &str, cases: [(&str, Value, &str); N]) {
    for (path, value, expected) in cases {
        let found: Vec<_> =
            changes(&format!("{part}{path}"), value).iter().map(|change| change.replacen(name, "", 1)).collect();
        assert_eq!(found, [expected], "{part}{path}");
    }
}

#[test]
fn what_a_refusal_adds() {
    test_timeout::start();
    let refusal = |name: &str| {
        let mut root = document();
        let reference = json!({"$ref": format!("#/components/schemas/{name}")});
        root.pointer_mut(OPERATION).unwrap()["x-bunq-refusal"] = reference;
        Document::from(root)
    };
    let none = || Document::from(document());
    for (was, is, expected) in [
        (none(), refusal("Out"), Impact::Additive),
        (refusal("Out"), none(), Impact::Breaking),
        (refusal("Out"), refusal("Item"), Impact::Breaking),
    ] {
        let changes = parts::compare(&was, &is);
        let change = changes.iter().find(|change| change.what == "x-bunq-refusal changed").unwrap();
        assert_eq!((change.wire, change.rust), (Impact::Editorial, expected));
    }
}

#[test]
fn callbacks() {
    test_timeout::start();
    let with = |schema: &str| {
        let mut root = document();
        let content = json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
        root.pointer_mut(OPERATION).unwrap()["callbacks"] =
            json!({"called": {"{$url}": {"post": {"requestBody": {"content": content}}}}});
        Document::from(root)
    };
    let none = || Document::from(document());
    for (was, is, expected) in [
        (none(), with("Empty"), "additive editorial callback `called`: was added"),
        (with("Empty"), none(), "breaking editorial callback `called`: was removed"),
        (with("Empty"), with("Out"), "breaking breaking callback `called`: is `Out` now, was `Empty`"),
    ] {
        let changes = parts::compare(&was, &is);
        let found: Vec<_> =
            changes.iter().map(|one| format!("{} {} {}: {}", one.wire, one.rust, one.place, one.what)).collect();
        assert_eq!(found, [expected]);
    }
}

#[test]
fn operations() {
    test_timeout::start();
    let cases = [
        ("/operationId", json!("do_that"), "editorial breaking: is called `do_that` now"),
        ("/summary", json!("Do!"), "editorial editorial: summary changed"),
        ("/x-bunq-auth", json!("none"), "breaking editorial: x-bunq-auth is \"none\" now, was \"session\""),
        ("/x-bunq-user", json!("either"), "additive editorial: x-bunq-user is \"either\" now, was \"partner\""),
        ("/x-bunq-user", json!("user"), "breaking editorial: x-bunq-user is \"user\" now, was \"partner\""),
        ("/x-bunq-idempotent", json!(false), "breaking editorial: x-bunq-idempotent is false now, was true"),
        (
            "/x-bunq-rate-limit",
            json!({"calls": 2, "seconds": 3}),
            "breaking editorial: x-bunq-rate-limit is {\"calls\":2,\"seconds\":3} now, \
                 was {\"calls\":3,\"seconds\":3}",
        ),
        (
            "/x-bunq-rate-limit/calls",
            json!(4),
            "additive editorial: x-bunq-rate-limit is {\"calls\":4,\"seconds\":3} now, was {\"calls\":3,\"seconds\":3}",
        ),
        ("/security", json!([{}]), "breaking editorial: security is [{}] now, was null"),
        ("/requestBody", Value::Null, "breaking breaking: takes no body any more"),
        ("/requestBody/required", json!(false), "additive breaking, request: is now optional"),
        (
            "/requestBody/content/application~1json/examples",
            json!({}),
            "editorial editorial, request: examples changed",
        ),
        ("/responses/4XX", Value::Null, "breaking breaking, 4XX response: was removed"),
        ("/responses/409", json!({}), "additive additive, 409 response: was added"),
        ("/responses/200/headers/X-Id", Value::Null, "breaking editorial, 200 response, header `X-Id`: was removed"),
        (
            "/responses/200/content/application~1json/schema/$ref",
            json!("#/components/schemas/In"),
            "breaking breaking, 200 response: is `In` now, was `Out`",
        ),
    ];
    table(OPERATION, " operation `do_it`", cases);
    let cases = [
        ("/~1things~1{id}/description", json!("Do."), "editorial editorial path `/things/{id}`: description changed"),
        ("/~1things~1{id}/servers", json!([]), "breaking breaking path `/things/{id}`: servers changed"),
        ("/~1things~1{id}", Value::Null, "breaking breaking operation `do_it`: was removed"),
        ("/~1more", json!({"get": {"operationId": "more"}}), "additive additive operation `more`: was added"),
    ];
    table("/paths", "", cases);
}

#[test]
fn parameters() {
    test_timeout::start();
    let new = |required: bool| json!({"name": "new", "in": "query", "required": required, "schema": {}});
    let cases = [
        ("/1", Value::Null, "breaking breaking, parameter `count`: was removed"),
        ("/2", Value::Null, "breaking breaking, parameter `X-Note`: was removed"),
        ("/3", Value::Null, "breaking editorial, parameter `X-Bunq-Region`: was removed"),
        ("/-", new(true), "breaking breaking, parameter `new`: was added"),
        ("/-", new(false), "additive additive, parameter `new`: was added"),
        ("/2/required", json!(true), "breaking breaking, parameter `X-Note`: is now required"),
        ("/3/required", json!(true), "breaking editorial, parameter `X-Bunq-Region`: is now required"),
        ("/1/schema/maximum", json!(100), "breaking breaking, parameter `count`: maximum is 100 now, was 200"),
        ("/1/explode", json!(false), "breaking breaking, parameter `count`: explode changed"),
    ];
    table(&format!("{OPERATION}/parameters"), " operation `do_it`", cases);
    let cases = [
        ("/schema/type", json!("string"), "breaking breaking: is string now, was integer"),
        ("/schema/x-bunq-id", json!(true), "editorial breaking: x-bunq-id changed"),
        ("/x-bunq-value", json!("session"), "editorial breaking: x-bunq-value changed"),
    ];
    table("/components/parameters/Id", " parameter `Id`", cases);
}

#[test]
fn a_number_that_becomes_a_kind_of_id_is_the_same_on_the_wire() {
    test_timeout::start();
    for old in [
        json!({"type": "integer"}),
        json!({"type": "integer", "minimum": 1}),
        json!({"type": "integer", "nullable": true, "description": "An id."}),
    ] {
        let kind = json!({"type": "integer", "minimum": 1, "x-bunq-id": true, "description": "The id of a thing."});
        let mut new = json!({"allOf": [{"$ref": "#/components/schemas/ThingId"}]});
        if old["nullable"] == true {
            new["nullable"] = true.into();
        }
        let with = |id: Value| {
            let mut root = document();
            root["components"]["schemas"]["ThingId"] = kind.clone();
            root["components"]["schemas"]["Out"]["properties"]["id"] = id;
            Document::from(root)
        };
        let changes = parts::compare(&with(old), &with(new));
        let found: Vec<_> =
            changes.iter().map(|one| format!("{} {} {}: {}", one.wire, one.rust, one.place, one.what)).collect();
        assert_eq!(found, ["editorial breaking schema `Out`, property `id`: is `ThingId` now, was integer"]);
    }
}

#[test]
fn requests() {
    test_timeout::start();
    let cases = [
        ("/properties/b", Value::Null, "breaking breaking, property `b`: was removed"),
        ("/properties/c", json!({"type": "string"}), "additive additive, property `c`: was added"),
        ("/required", json!([]), "additive breaking, property `a`: is now optional"),
        ("/required/-", json!("b"), "breaking breaking, property `b`: is now required"),
        ("/properties/a/type", json!("integer"), "breaking breaking, property `a`: is integer now, was string"),
        ("/properties/a/minLength", json!(4), "breaking editorial, property `a`: minLength is 4 now, was 3"),
        ("/properties/a/minLength", json!(2), "additive editorial, property `a`: minLength is 2 now, was 3"),
        ("/properties/a/minLength", Value::Null, "additive breaking, property `a`: minLength is none now, was 3"),
        (
            "/properties/a/format",
            json!("password"),
            "editorial breaking, property `a`: has the format password now, had none",
        ),
        (
            "/properties/which/oneOf/-",
            json!({"$ref": "#/components/schemas/Out"}),
            "additive breaking, property `which`: the variant `Out` was added",
        ),
        (
            "/properties/either/oneOf",
            json!([{"type": "string"}, {"$ref": "#/components/schemas/Closed"}]),
            "editorial breaking, property `either`: its variants are in another order",
        ),
        ("/properties/a/title", json!("A"), "editorial breaking, property `a`: title changed"),
        ("/properties/two/maxItems", json!(2), "breaking breaking, property `two`: maxItems is 2 now, was none"),
        ("/title", json!("A"), "editorial editorial: title changed"),
    ];
    table(IN, " schema `In`", cases);
    let required = json!({"type": "object", "required": ["a", "c"], "properties": {"c": {"type": "string"}}});
    let found = changes(IN, required);
    assert!(
        found.contains(
            &"breaking breaking schema `In`, property `c`: was added, and a request must have it".to_string()
        ),
        "{found:?}"
    );
}

#[test]
fn responses() {
    test_timeout::start();
    let cases = [
        ("/properties/plain", Value::Null, "breaking breaking, property `plain`: was removed"),
        ("/properties/c", json!({"type": "string"}), "additive additive, property `c`: was added"),
        ("/required", json!(["n"]), "breaking breaking, property `a`: is now optional"),
        // The member was already an `Option`, and may still be null.
        ("/required", json!(["a"]), "breaking editorial, property `n`: is now optional"),
        ("/required/-", json!("plain"), "additive breaking, property `plain`: is now required"),
        ("/required/-", json!("list"), "additive editorial, property `list`: is now required"),
        ("/properties/a/nullable", json!(true), "breaking breaking, property `a`: may now be null"),
        (
            "/properties/b",
            json!({"anyOf": [
                {"$ref": "#/components/schemas/Open"},
                {"type": "object", "nullable": true, "enum": [null]}
            ]}),
            "additive editorial, property `b`: may now be null",
        ),
        ("/properties/plain/nullable", json!(true), "additive editorial, property `plain`: may now be null"),
        ("/properties/n/nullable", json!(false), "additive breaking, property `n`: may no longer be null"),
        ("/properties/a/maxLength", json!(9), "additive breaking, property `a`: maxLength is 9 now, was none"),
        ("/properties/a/description", json!("The a."), "editorial editorial, property `a`: description changed"),
        ("/properties/a/novelty", json!(1), "breaking breaking, property `a`: novelty changed"),
        (
            "/properties/list/items/type",
            json!("integer"),
            "breaking breaking, property `list`, items: is integer now, was string",
        ),
    ];
    table(OUT, " schema `Out`", cases);
}

#[test]
fn enums() {
    test_timeout::start();
    let cases = [
        (
            "/Open/x-extensible-enum",
            json!(["B", "A"]),
            "editorial editorial schema `Open`: its values are in another order",
        ),
        ("/Open/x-extensible-enum/-", json!("C"), "additive additive schema `Open`: the value \"C\" was added"),
        ("/Open/x-extensible-enum/1", Value::Null, "breaking breaking schema `Open`: the value \"B\" was removed"),
        ("/Open/x-enum-descriptions/A", json!("b"), "editorial editorial schema `Open`: x-enum-descriptions changed"),
        ("/Closed/enum/-", json!("C"), "additive additive schema `Closed`: the value \"C\" was added"),
        ("/Closed/enum/1", Value::Null, "breaking breaking schema `Closed`: the value \"B\" was removed"),
        (
            "/Closed",
            json!({"type": "string", "x-extensible-enum": ["A", "B"]}),
            "additive breaking schema `Closed`: is an open enum now",
        ),
    ];
    table("/components/schemas", "", cases);
}

#[test]
fn the_rest() {
    test_timeout::start();
    let cases = [
        ("/info/version", json!("0.2.0"), "editorial editorial info: version changed"),
        ("/servers/-", json!({"url": "https://b.example"}), "additive editorial servers: https://b.example was added"),
        ("/servers/0/description", json!("A."), "editorial editorial servers: changed in something else than the URLs"),
        ("/components/schemas/Unused", Value::Null, "editorial breaking schema `Unused`: was removed"),
        ("/components/links/Next", json!({}), "editorial editorial link `Next`: changed"),
        ("/components/schemas/New", json!({}), "editorial additive schema `New`: was added"),
        (
            "/components/schemas/Unused/properties/a",
            Value::Null,
            "editorial breaking schema `Unused`, property `a`: was removed",
        ),
    ];
    table("", "", cases);
}

#[test]
fn moved_and_renamed_schemas_are_the_same_on_the_wire() {
    test_timeout::start();
    let mut renamed = document();
    let closed = renamed["components"]["schemas"]["Closed"].clone();
    renamed["components"]["schemas"]["Shut"] = closed.clone();
    for same in [json!({"$ref": "#/components/schemas/Shut"}), closed] {
        renamed["components"]["schemas"]["In"]["properties"]["b"] = json!({"allOf": [same]});
        let found = parts::compare(&Document::from(document()), &Document::from(renamed.clone()));
        let impacts: Vec<_> = found.iter().map(|change| (change.wire, change.rust)).collect();
        assert_eq!(
            impacts,
            [(Impact::Editorial, Impact::Breaking), (Impact::Editorial, Impact::Additive)],
            "{found:?}"
        );
    }
}

#[test]
fn a_struct_gets_its_first_named_property() {
    test_timeout::start();
    let found = changes("/components/schemas/Empty/properties", json!({"a": {"type": "string"}}));
    assert!(found.contains(&"editorial breaking schema `Empty`: has named properties now".to_string()), "{found:?}");
}

#[test]
fn the_first_server_counts() {
    test_timeout::start();
    let found = changes("/servers", json!([{"url": "https://b.example"}, {"url": "https://a.example"}]));
    let expected = "breaking editorial servers: https://b.example is the first now, which clients take by default";
    assert!(found.contains(&expected.to_string()), "{found:?}");
}

#[test]
fn a_struct_with_something_required_has_no_default() {
    test_timeout::start();
    let required = |names: Value| {
        let mut root = document();
        root["components"]["schemas"]["Unused"]["required"] = names;
        Document::from(root)
    };
    for before in [json!([]), Value::Null] {
        let found = parts::compare(&required(before), &required(json!(["a"])));
        let rust: Vec<_> = found.iter().map(|change| (change.what.as_str(), change.rust)).collect();
        let expected = [
            ("is no `Default` in Rust any more, for something is required", Impact::Breaking),
            ("is now required", Impact::Breaking),
        ];
        assert_eq!(rust, expected);
    }
    assert!(!parts::compare(&required(json!(["a"])), &required(json!(["a"]))).iter().any(Change::is_breaking));
}

#[test]
fn a_breaking_change_is_announced_by_the_version() {
    test_timeout::start();
    let document = |version: &str| Document::from(json!({"info": {"version": version}}));
    for (old, new, announced) in
        [("0.1.0", "0.1.9", false), ("0.1.0", "0.2.0", true), ("1.1.0", "1.2.0", false), ("1.9.0", "2.0.0", true)]
    {
        let announces = compatible_with(&document(old)) != compatible_with(&document(new));
        assert_eq!(announces, announced, "{old} to {new}");
    }
}
