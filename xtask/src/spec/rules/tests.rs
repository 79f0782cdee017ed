use serde_json::json;

use super::*;
use crate::spec::{DOCUMENT, text};
use bunq_partner_codegen::validate::diagnostics;

/// The findings of the rules after these edits of the document's text.
fn findings(edits: &[(&str, &str)]) -> Vec<String> {
    let mut text = text().unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "the document does not hold {from:?}");
        text = text.replacen(from, to, 1);
    }
    let document = Document::read(&text).unwrap();
    diagnostics(&document)
        .into_iter()
        .chain(check(&document))
        .map(|diagnostic| diagnostic.in_file(DOCUMENT, &text))
        .collect()
}

#[test]
fn the_document_keeps_the_rules() {
    test_timeout::start();
    assert_eq!(findings(&[]), [""; 0]);
}

#[test]
fn each_finding_has_its_line() {
    test_timeout::start();
    for (from, to, expected) in [
        ("x-bunq-auth: none", "x-bunq-auth: any", "operation `create_installation`: set x-bunq-auth to "),
        (
            "      x-bunq-idempotent: false\n      x-bunq-look: get_provision\n",
            "      x-bunq-look: get_provision\n",
            "operation `update_provision`: set x-bunq-idempotent to ",
        ),
        (
            "      x-bunq-look: get_provision\n",
            "",
            "operation `update_provision`: it is not idempotent: set x-bunq-look to the operation with which a repetition begins",
        ),
        (
            "x-bunq-look: get_provision\n",
            "x-bunq-look: update_provision\n",
            "operation `update_provision`: its x-bunq-look `update_provision` is no operation that reads: correct it",
        ),
        (
            "call `list_credential_ips`, for a while",
            "look, for a while",
            "operation `create_credential_ip`: say in its description that a repetition begins with `list_credential_ips`",
        ),
        (
            "x-bunq-idempotent: true\n",
            "x-bunq-idempotent: true\n      x-bunq-look: none\n",
            "operation `create_installation`: it may be repeated without a look: remove x-bunq-look",
        ),
        (
            "            examples:\n              public_key:\n                $ref: '#/components/examples/InstallationRequest'\n",
            "",
            "operation `create_installation`: give its request content with `examples`",
        ),
        ("        5XX:", "        503:", "operation `create_installation`: describe its 5XX response"),
        (
            "      description: A point in time in UTC",
            "      title: A point in time in UTC",
            "schema `Timestamp`: describe it",
        ),
        (
            "          description: The token itself. It is a secret.\n",
            "",
            "schema `Token`, property `token`: describe it",
        ),
        (
            "          format: password\n          description: The token itself",
            "          description: The token itself",
            "schema `Token`, property `token`: it is a secret",
        ),
        (
            "          nullable: true\n          format: int64\n          description: The id of the token.",
            "          format: int64\n          description: The id of the token.",
            "schema `Token`, property `id`: a response may have null in its place",
        ),
        (
            "            - $ref: '#/components/schemas/Token'\n            - {type: object, nullable: true, enum: [null]}\n",
            "            - $ref: '#/components/schemas/Token'\n",
            "schema `InstallationItem`, property `Token`: a response may have null in its place",
        ),
        (
            "          type: string\n          format: password\n          description: The token itself",
            "          allOf: [{$ref: '#/components/schemas/UserName'}]\n          description: The token itself",
            "schema `Token`, property `token`: it is a secret",
        ),
        (
            "      parameters:\n",
            "      parameters:\n        - {name: access-token, in: query, schema: {type: string}}\n",
            "operation `create_installation`, parameter `access-token`: it is a secret",
        ),
        (
            "    parameters:\n      - $ref: '#/components/parameters/ProvisionId'\n",
            "    parameters:\n      - {name: kind, in: query, schema: {type: string, x-extensible-enum: [A], x-enum-descriptions: {A: One.}}}\n",
            "path `/partner-user-provision/{provision_id}`, parameter `kind`: a request has it",
        ),
        (
            "x-extensible-enum: [PERSON, COMPANY]",
            "title: T",
            "schema `LabelUserType`: it has x-enum-descriptions and no",
        ),
        (
            "x-extensible-enum: [NONE, USER, SYSTEM]",
            "enum: [NONE, USER, SYSTEM]",
            "schema `ActionRequired`: a response",
        ),
        ("enum: [EMAIL, PHONE_NUMBER]", "x-extensible-enum: [EMAIL, PHONE_NUMBER]", "schema `PointerType`: a request"),
        (
            "        FAILED: Provision failed during processing.\n",
            "",
            "schema `ProvisionStatus`: describe the value `FAILED`",
        ),
        (
            "x-extensible-enum: [PERSON, COMPANY]",
            "x-extensible-enum: [PERSON]",
            "schema `LabelUserType`: x-enum-descriptions has `COMPANY`",
        ),
        (
            "                FAILED: Provisions whose processing failed.\n",
            "",
            "operation `list_provisions`, parameter `status`, items: describe the value `FAILED`",
        ),
        (
            "      operationId: delete_session\n      description: Ends",
            "      operationId: end_session\n      description: Ends",
            "link `EndSession`: its operationId `end_session` is that of no operation",
        ),
        (
            "          links:\n",
            "          links:\n            Inline: {operationId: nowhere}\n",
            "link `Inline`: its operationId `nowhere` is that of no operation",
        ),
        (
            "    Token:\n      type: object\n",
            "    Token:\n      type: object\n      additionalProperties: false\n",
            "schema `Token`: a response has it, and bunq may add a member",
        ),
        (
            "            $ref: '#/components/schemas/DeviceServerId'\n          example",
            "            {type: integer, format: int64, minimum: 1}\n          example",
            "operation `get_device_server`: its parameter `device_server_id`: it may be an id of any kind",
        ),
        (
            "Needed for `PARTNER_USER_COMPANY`.\n          allOf:\n            - $ref: '#/components/schemas/ProvisionId'\n",
            "Needed for `PARTNER_USER_COMPANY`.\n          allOf:\n            - {type: integer, format: int64}\n",
            "schema `NewProvision`, property `director_relation_provision_id`: it may be an id of any kind",
        ),
        (
            "        - name: device_server_id\n          in: path\n",
            "        - name: user_id\n          in: path\n",
            "operation `get_device_server`: its parameter `user_id` is one that every caller gives",
        ),
        (
            "      x-bunq-user: either\n",
            "",
            "operation `get_installation`: say whose session it takes: set x-bunq-user to ",
        ),
        (
            "operationId: get_device_server\n",
            "operationId: device_server\n",
            "operation `device_server`: name it by a verb and a noun: `get_…`",
        ),
        (
            "operationId: get_device_server\n",
            "operationId: list_device_server\n",
            "operation `list_device_server`: name it by a verb and a noun: `get_…`",
        ),
        (
            "operationId: list_credentials\n",
            "operationId: get_credentials\n",
            "operation `get_credentials`: name it by a verb and a noun: `list_…`",
        ),
        (
            "operationId: list_credentials\n",
            "operationId: list_credential\n",
            "operation `list_credential`: it lists many: name it in the plural, as in `list_credentials`",
        ),
        (
            "operationId: create_provision\n",
            "operationId: new_provision\n",
            "operation `new_provision`: name it by a verb and a noun: `create_…` or ",
        ),
        ("        en_US: English.\n", "", "schema `Language`: describe the value `en_US`"),
        (
            "      x-bunq-known-from: partner-documents\n",
            "",
            "operation `create_installation`: say where it is known from: set x-bunq-known-from to partner-documents or public-api or wild",
        ),
        (
            "x-bunq-known-from: partner-documents",
            "x-bunq-known-from: hearsay",
            "operation `create_installation`: say where it is known from: ",
        ),
        (
            "{item: Id, of: InstallationId}\n      x-bunq-known-from: partner-documents",
            "{item: Id, of: InstallationId}\n      x-bunq-known-from: wild",
            "operation `get_installation`: it is not in bunq's partner documents: write what bunq has to answer under x-bunq-questions",
        ),
        (
            "Does the list have pages?",
            "The list has pages.",
            "operation `list_device_servers`: \"The list has pages.\" under x-bunq-questions is no question: write it in one line",
        ),
        (
            "        - Does the list have pages?",
            "        - |\n          Is it a list?\n          Does it have pages?",
            "operation `list_device_servers`: \"Is it a list?\\nDoes it have pages?\\n\" under x-bunq-questions is no question",
        ),
        (
            "      x-bunq-questions:\n        - Does the list have pages?\n",
            "      x-bunq-questions: Does the list have pages?\n",
            "operation `list_device_servers`: x-bunq-questions is a list of texts: write a question an item, or remove it",
        ),
        ("    - Which refusals are signed?", "    - 1", "info: 1 under x-bunq-questions is no question"),
        (
            "                CREATED: Provisions that are still being set up.\n",
            "",
            "operation `list_provisions`, parameter `status`",
        ),
    ] {
        let found = findings(&[(from, to)]);
        let place = found.first().and_then(|finding| finding.split_once(": ")).map(|(_, rest)| rest);
        assert!(found.len() == 1 && place.is_some_and(|place| place.starts_with(expected)), "{expected}: {found:?}");
        assert!(found[0].starts_with("openapi/bunq-partner.yaml:"), "{found:?}");
    }
}

#[test]
fn a_secret_inside_a_text_is_found_in_each_example() {
    test_timeout::start();
    let (from, to) = (
        "          format: password\n          description: |\n            Where",
        "          description: |\n            Where",
    );
    let found = findings(&[(from, to)]);
    let problem = "`redirect_url` has the `authorization_code` inside, so it is a secret too: set `format: password`";
    assert_eq!(found.len(), 2, "{found:?}");
    for example in ["NotifiedProvision", "ProvisionReady"] {
        let expected = format!(": example `{example}`: {problem}");
        assert!(found.iter().any(|finding| finding.ends_with(&expected)), "{found:?}");
    }
}

#[test]
fn all_findings_come_at_once() {
    test_timeout::start();
    let found = findings(&[
        ("x-bunq-auth: none", "x-bunq-auth: any"),
        ("$ref: '#/components/parameters/UserAgent'", "$ref: '#/nowhere'"),
        ("enum: [EMAIL, PHONE_NUMBER]", "x-extensible-enum: [EMAIL, PHONE_NUMBER]"),
        ("          description: The token itself. It is a secret.\n", ""),
    ]);
    assert_eq!(found.len(), 4, "{found:#?}");
}

#[test]
fn a_circle_is_found_and_not_followed() {
    test_timeout::start();
    let circle = "\n    Loop:\n      oneOf: [{$ref: '#/components/schemas/Loop'}]\n    Token:\n";
    let found = findings(&[
        ("\n    Token:\n", circle),
        (
            "type: string\n          format: password\n          description: The token itself",
            "$ref: '#/components/schemas/Loop'\n          description: It",
        ),
    ]);
    assert!(found.iter().any(|finding| finding.contains("/Loop: it leads back to itself")), "{found:?}");
}

#[test]
fn an_open_enum_is_a_list_of_texts() {
    test_timeout::start();
    let found = findings(&[("x-extensible-enum: [PERSON, COMPANY]", "x-extensible-enum: PERSON")]);
    assert!(found[0].contains("schema `LabelUserType`: x-extensible-enum is a list of texts"), "{found:?}");
}

#[test]
fn an_enum_that_goes_both_ways_is_open() {
    test_timeout::start();
    let status =
        "          description: The change requested.\n          allOf:\n            - $ref: '#/components/schemas/";
    let (from, to) = (format!("{status}RequestedStatus'"), format!("{status}ProvisionStatus'"));
    assert_eq!(findings(&[(&from, &to)]), [""; 0]);
}

#[test]
fn a_callback_is_received_and_has_examples() {
    test_timeout::start();
    let schema = |reference: &str| {
        format!(
            "        called: {{'{{$url}}': {{post: {{requestBody: {{content: {{application/json: {{schema: {{$ref: '#/components/schemas/{reference}'}}}}}}}}, responses: {{'200': {{description: Taken.}}}}}}}}}}\n"
        )
    };
    let at = "      operationId: update_provision\n";
    let with = |reference: &str| format!("{at}      callbacks:\n{}", schema(reference));
    let found = findings(&[(at, &with("Provision"))]);
    assert!(
        found.len() == 1 && found[0].ends_with("callback `called`: give its request content with `examples`"),
        "{found:?}"
    );
    // What is only sent may be strict. What bunq sends may not.
    let found = findings(&[(at, &with("UpdateProvisionRequest"))]);
    let strict = "schema `RequestedStatus`: a response has it, and bunq may add a value";
    assert!(found.iter().any(|finding| finding.contains(strict)), "{found:?}");
    // An example of it is held against its schema.
    let example = with("Provision").replace("'}}}}, resp", "'}, examples: {one: {value: {id: 0}}}}}}, resp");
    let text = text().unwrap().replacen(at, &example, 1);
    let faults: Vec<_> =
        crate::spec::examples::check(&Document::read(&text).unwrap()).into_iter().filter_map(Result::err).collect();
    assert!(faults.len() == 1 && faults[0].to_string().contains("/callbacks/called/"), "{faults:?}");
}

#[test]
fn an_enum_within_a_response_counts() {
    test_timeout::start();
    let response = json!({"content": {"application/json": {"schema": {"type": "string", "enum": ["A"],
        "x-enum-descriptions": {"A": "The first."}}}}});
    let operation = json!({"operationId": "get", "responses": {"200": response}});
    let document = Document::from(json!({"paths": {"/": {"get": operation}}}));
    let found: Vec<_> = check(&document).iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|finding| finding.starts_with("operation `get`: a response has it")), "{found:?}");
}
