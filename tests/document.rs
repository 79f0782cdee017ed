//! A document that no client can be made of stops the build, with the place and what to do.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../build"]
mod build {
    pub(crate) mod client;
    pub(crate) mod document;
    pub(crate) mod enums;
    pub(crate) mod examples;
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
    assert_eq!(generate("{}").unwrap_err().to_string(), "paths: there is no operation");
}

#[test]
fn references() {
    let fault = refusal("$ref: '#/components/schemas/ProvisionStatus'", "$ref: '#/components/schemas/Nowhere'");
    assert!(
        fault.starts_with("#/") && fault.contains("`$ref: #/components/schemas/Nowhere` leads nowhere: "),
        "{fault}"
    );
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
            "x-bunq-auth: none",
            "x-bunq-auth: none\n      x-bunq-retries: 3".into(),
            "`x-bunq-retries` means nothing here: remove or rename it",
        ),
    ] {
        let fault = refusal(from, &to);
        assert!(fault.ends_with(problem), "{fault}");
    }
    let limit = refusal("x-bunq-rate-limit:", "x-bunq-rate-limits:");
    assert!(limit.ends_with("set x-bunq-rate-limit to {calls, seconds}, both positive integers"), "{limit}");
    let answers = refusal("        4XX:", "        default:");
    assert!(answers.starts_with("operation `") && answers.ends_with("describe its 4XX answer"), "{answers}");
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
}
