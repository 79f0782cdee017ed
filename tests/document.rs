//! A document that no client can be made of stops the build, with the place and what to do.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../build"]
mod build {
    pub(crate) mod by_hand;
    pub(crate) mod client;
    pub(crate) mod document;
    pub(crate) mod enums;
    pub(crate) mod examples;
    pub(crate) mod faults;
    pub(crate) mod lines;
    pub(crate) mod operations;
    pub(crate) mod policy;
}

use build::document::{Document, Fault};

const DOCUMENT: &str = include_str!("../openapi/bunq-partner.yaml");

fn generate(text: &str) -> Result<(), Fault> {
    let document = Document::parse(text)?;
    build::operations::generate(&document)?;
    build::examples::generate(&document)?;
    build::client::generate(&document).map(drop)
}

/// What the build says of the document once `from` has become `to` in it.
fn refusal(from: &str, to: &str) -> String {
    assert!(DOCUMENT.contains(from), "the document does not hold {from:?}");
    generate(&DOCUMENT.replacen(from, to, 1)).unwrap_err().to_string()
}

/// The line of the document that the build points at.
fn refused_line(from: &str, to: &str) -> String {
    let text = DOCUMENT.replacen(from, to, 1);
    let shown = generate(&text).unwrap_err().in_file("file", &text);
    let number = shown.split(':').nth(1).and_then(|number| number.parse().ok());
    let number: usize = number.unwrap_or_else(|| panic!("no line: {shown}"));
    text.lines().nth(number - 1).unwrap().trim().to_string()
}

#[test]
fn the_document_itself_is_whole() {
    generate(DOCUMENT).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn yaml() {
    let broken = refusal("openapi: 3.0.3", "openapi: [3.0.3");
    assert!(broken.starts_with("YAML: ") && broken.contains("line"), "{broken}");
    let twice = refusal("openapi: 3.0.3", "openapi: 3.0.3\nopenapi: 3.0.3");
    assert!(twice.starts_with("YAML: ") && twice.contains("duplicate") && twice.contains("line 2"), "{twice}");
    assert!(!(broken.clone() + &twice).contains("Policy"), "the YAML library speaks to its user: {broken} {twice}");
    assert_eq!(generate("openapi: 3.0.3").unwrap_err().to_string(), "paths: there is no operation");
    for text in ["hello", "", "- openapi: 3.0.3"] {
        let shapeless = generate(text).unwrap_err().to_string();
        assert_eq!(shapeless, "document: it is no mapping: begin it with `openapi: 3.0.3`", "{text:?}");
    }
    let shapeless = refusal("  /installation:\n", "  /nothing:\n  /installation:\n");
    assert_eq!(shapeless, "#/paths/~1nothing: it must be a mapping: fill it in, or remove it");
    assert_eq!(
        generate("{openapi: 3.0.3, components: {schemas: []}, paths: {}}").unwrap_err().to_string(),
        "#/components/schemas: it must be a mapping: fill it in, or remove it"
    );
}

#[test]
fn references() {
    let fault = refusal("$ref: '#/components/schemas/ProvisionStatus'", "$ref: '#/components/schemas/Nowhere'");
    assert!(
        fault.starts_with("#/") && fault.contains("`$ref: #/components/schemas/Nowhere` leads nowhere: "),
        "{fault}"
    );
    let others = "$ref: '#/components/schemas/ProvisionStatus'";
    for (to, problem) in [
        ("$ref: 5", "`$ref: 5` leads nowhere: write it as `#/components/…`"),
        ("$ref: 'other.yaml#/Status'", "`$ref: other.yaml#/Status` leads nowhere: write it as `#/components/…`"),
    ] {
        let fault = refusal(others, to);
        assert!(fault.ends_with(problem), "{fault}");
    }
    let there_and_back =
        "    This: {$ref: '#/components/schemas/That'}\n    That: {$ref: '#/components/schemas/This'}\n";
    let fault = refusal("    LabelUserType:\n", &format!("{there_and_back}    LabelUserType:\n"));
    assert_eq!(fault, "#/components/schemas/That: it leads back to itself: correct its `$ref`");
    for circle in
        ["allOf: [{$ref: '#/components/schemas/Loop'}]", "oneOf: [{$ref: '#/components/schemas/Loop'}, {type: string}]"]
    {
        let fault = refusal("    LabelUserType:\n", &format!("    Loop:\n      {circle}\n    LabelUserType:\n"));
        assert_eq!(fault, "#/components/schemas/Loop: it leads back to itself: correct its `$ref`");
    }
}

#[test]
fn names() {
    let fault = refusal("operationId: get_provision", "operationId: get-provision");
    assert_eq!(fault, "operation `get-provision`: name it in snake_case, as in `get_provision`");
    let fault = refusal("operationId: get_provision", "operationId: all");
    assert_eq!(fault, "operation `all`: rename it: `all` stands for all operations");
    let fault = refusal("    LabelUserType:\n", "    Label.Type: {type: string}\n    LabelUserType:\n");
    assert_eq!(fault, "schema `Label.Type`: name it in PascalCase, as in `ProvisionStatus` or `ApiKey`");
}

#[test]
fn extensions() {
    for (from, to, problem) in [
        ("x-bunq-auth: none", "x-bunq-auth: none\n      x-bunq-retries: 3", "`x-bunq-retries` means nothing here"),
        ("x-extensible-enum:", "x-extensible-enums:", "`x-extensible-enums` means nothing here"),
        ("  /installation:\n", "  /installation:\n    x-bunq-auth: none\n", "`x-bunq-auth` means nothing here"),
        (
            "      - $ref: '#/components/parameters/ProvisionId'\n",
            "      - {name: x, in: query, x-extensible-enum: [A], schema: {type: string}}\n",
            "`x-extensible-enum` means nothing here",
        ),
    ] {
        let fault = refusal(from, to);
        assert!(fault.starts_with("#/") && fault.ends_with(&format!("{problem}: remove or rename it")), "{fault}");
    }
}

/// Mistakes of which the generator makes Rust that does not compile.
#[test]
fn what_the_generator_does_not_notice() {
    let schema = |schema: &str| format!("    Extra:\n      {schema}\n    LabelUserType:\n");
    for (from, to, problem) in [
        ("      in: path\n      required: true\n", "      in: path\n".to_string(), "set `required: true`"),
        ("    LabelUserType:\n", schema("{type: array, items: [{type: string}]}"), "write it as a mapping"),
        ("    LabelUserType:\n", schema("{type: object, properties: {a: {type: number}}}"), "for amounts"),
        ("    LabelUserType:\n", schema("{type: string, pattern: a}"), "written by hand (build/by_hand.rs)"),
        (
            "    LabelUserType:\n",
            schema("{type: object, properties: {a: {type: string, format: date}}}"),
            "written by hand (build/by_hand.rs)",
        ),
        (
            "    LabelUserType:\n",
            schema("{type: object, properties: {display-name: {}, displayName: {}}}"),
            "its properties `display-name` and `displayName` have one name in Rust: rename one",
        ),
        (
            "          application/json:\n",
            "          aplication/json:\n".into(),
            "write `application/json` for `aplication/json`",
        ),
        (
            "              $ref: '#/components/schemas/InstallationRequest'\n",
            "              type: object\n".into(),
            "put its schemas under components/schemas, and refer to them",
        ),
        ("    LabelUserType:\n", "    HTTPError: {type: string}\n    LabelUserType:\n".into(), "or `ApiKey`"),
        ("    LabelUserType:\n", "    Secret: {type: object}\n    LabelUserType:\n".into(), "have this name in Rust"),
        ("enum: [EMAIL, PHONE_NUMBER]", "enum: [EMAIL, SELF]".into(), "the value `SELF` has the Rust name of another"),
        ("enum: [EMAIL, PHONE_NUMBER]", "enum: [EMAIL, null]".into(), "the value null is not a string"),
    ] {
        let fault = refusal(from, &to);
        assert!(fault.ends_with(problem), "{fault}");
    }
}

#[test]
fn operations() {
    for (from, to, fault) in [
        (
            "operationId: get_provision",
            "operationId: list_provisions",
            "operation `list_provisions`: names both GET /partner-user-provision and \
             GET /partner-user-provision/{provision_id}: rename one",
        ),
        (
            "      operationId: get_provision\n",
            "",
            "GET /partner-user-provision/{provision_id}: give it an operationId",
        ),
        (
            "x-bunq-auth: none",
            "x-bunq-auth: sometimes",
            "operation `create_installation`: set x-bunq-auth to none, installation or session",
        ),
        (
            "x-bunq-idempotent: false",
            "x-bunq-idempotent: perhaps",
            "operation `create_installation`: set x-bunq-idempotent to true or false",
        ),
    ] {
        assert_eq!(refusal(from, to), fault);
    }
    let get = "x-bunq-idempotent: true\n      x-bunq-rate-limit: {calls: 3";
    for (from, to, problem) in [
        (get, get.replace("true", "false"), "a GET changes nothing: set x-bunq-idempotent to true"),
        ("security: []", "security: [{sessionToken: []}]".into(), "set security to [], as its x-bunq-auth says"),
        (
            "        - sessionToken: []",
            "        - {}\n        - sessionToken: []".into(),
            "set security to [{\"sessionToken\":[]}], as its x-bunq-auth says",
        ),
    ] {
        let fault = refusal(from, &to);
        assert!(fault.ends_with(problem), "{fault}");
    }
    for (from, to) in
        [("{calls: 3, seconds: 3}", "3"), ("{calls: 3,", "{calls: 0,"), ("{calls: 3,", "{per: minute, calls: 3,")]
    {
        let limit = refusal(from, to);
        let problem = "set x-bunq-rate-limit to {calls, seconds}, both positive integers, and nothing else";
        assert!(limit.ends_with(problem), "{limit}");
    }
    let answers = refusal("        4XX:", "        default:");
    assert!(answers.starts_with("operation `") && answers.ends_with("describe its 4XX answer"), "{answers}");
    let second = refusal("        4XX:", "        '202':\n          description: Later.\n        4XX:");
    assert!(second.contains("a `202` answer beside 200 breaks the generator: "), "{second}");
}

#[test]
fn enums() {
    let undescribed = refusal("\n        FAILED: ", "\n        FAILURE: ");
    assert_eq!(undescribed, "schema `ProvisionStatus`: describe the value `FAILED` under x-enum-descriptions");
    let unnamed = refusal("enum: [EMAIL, PHONE_NUMBER]", "enum: [EMAIL, 'PHONE NUMBER']");
    assert_eq!(unnamed, "schema `PointerType`: the value `PHONE NUMBER` cannot be named in Rust");
    let twice = refusal("enum: [EMAIL, PHONE_NUMBER]", "enum: [EMAIL, email]");
    assert_eq!(twice, "schema `PointerType`: the value `email` has the Rust name of another");
}

#[test]
fn the_line_is_named() {
    for (from, to, line) in [
        ("openapi: 3.0.3", "openapi: 3.0.3\nopenapi: 3.0.3", "openapi: 3.0.3"),
        ("$ref: '#/components/schemas/ProvisionStatus'", "$ref: '#/nowhere'", "- $ref: '#/nowhere'"),
        ("$ref: '#/components/parameters/UserAgent'", "$ref: '#/nowhere'", "- $ref: '#/nowhere'"),
        ("operationId: get_provision", "operationId: list_provisions", "get:"),
        ("x-bunq-auth: none", "x-bunq-auth: sometimes", "post:"),
        ("enum: [EMAIL, PHONE_NUMBER]", "enum: [EMAIL, 'PHONE NUMBER']", "PointerType:"),
    ] {
        assert_eq!(refused_line(from, to), line);
    }
}

#[test]
fn what_the_generator_cannot_do_is_traced_to_its_schema() {
    let fault = refusal(
        "    LabelUserType:\n",
        "    Impossible:\n      allOf: [{type: string}, {type: integer}]\n      minimum: x\n    LabelUserType:\n",
    );
    assert!(fault.starts_with("schema `Impossible`: "), "{fault}");
    // Of a path with several operations and parameters of its own, the one that is at fault.
    let fault = refusal(
        "      operationId: update_provision\n",
        "      operationId: update_provision\n      deprecated: perhaps\n",
    );
    assert!(fault.starts_with("operation `update_provision`: "), "{fault}");
    let fault = refusal("openapi: 3.0.3", "openapi: 3.1.0");
    assert_eq!(fault, "openapi: set it to 3.0.3: the generator knows no other generation");
}
