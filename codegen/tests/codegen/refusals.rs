//! The build refuses a document from which no client can be generated, and names the place and what to do.

use bunq_partner_codegen::{Diagnostic, Document};

const DOCUMENT: &str = include_str!("../../../openapi/bunq-partner.yaml");

fn generate(text: &str) -> Result<(), Diagnostic> {
    let document = Document::parse(text)?;
    bunq_partner_codegen::generate(&document).map(drop)
}

/// The build's diagnostic after `from` is replaced by `to` in the document.
fn refusal(from: &str, to: &str) -> String {
    assert!(DOCUMENT.contains(from), "the document does not hold {from:?}");
    generate(&DOCUMENT.replacen(from, to, 1)).unwrap_err().to_string()
}

/// The line that the build's diagnostic names.
fn refused_line(from: &str, to: &str) -> String {
    let text = DOCUMENT.replacen(from, to, 1);
    let shown = generate(&text).unwrap_err().in_file("file", &text);
    let number = shown.split(':').nth(1).and_then(|number| number.parse().ok());
    let number: usize = number.unwrap_or_else(|| panic!("no line: {shown}"));
    text.lines().nth(number - 1).unwrap().trim().to_string()
}

#[test]
fn the_document_is_valid() {
    test_timeout::start();
    generate(DOCUMENT).unwrap_or_else(|diagnostic| panic!("{diagnostic}"));
}

#[test]
fn yaml() {
    test_timeout::start();
    let broken = refusal("openapi: 3.0.3", "openapi: [3.0.3");
    assert!(broken.starts_with("YAML: ") && broken.contains("line"), "{broken}");
    let twice = refusal("openapi: 3.0.3", "openapi: 3.0.3\nopenapi: 3.0.3");
    assert!(twice.starts_with("YAML: ") && twice.contains("duplicate") && twice.contains("line 4"), "{twice}");
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
    test_timeout::start();
    let refused = refusal("$ref: '#/components/schemas/ProvisionStatus'", "$ref: '#/components/schemas/Nowhere'");
    assert!(
        refused.starts_with("#/") && refused.contains("`$ref: #/components/schemas/Nowhere` leads nowhere: "),
        "{refused}"
    );
    let others = "$ref: '#/components/schemas/ProvisionStatus'";
    for (to, problem) in [
        ("$ref: 5", "`$ref: 5` leads nowhere: write it as `#/components/…`"),
        ("$ref: 'other.yaml#/Status'", "`$ref: other.yaml#/Status` leads nowhere: write it as `#/components/…`"),
    ] {
        let refused = refusal(others, to);
        assert!(refused.ends_with(problem), "{refused}");
    }
    // Each ended the generator without its place, or was taken.
    let shown = "                $ref: '#/components/examples/InstallationRequest'";
    for (from, to, place, kind) in [
        (others, "$ref: '#/components/schemas/Provision/properties/status'", "#/", "schemas"),
        (others, "$ref: '#/components/parameters/Region'", "#/", "schemas"),
        (
            "$ref: '#/components/responses/ServerError'",
            "$ref: '#/paths/~1installation/post/responses/5XX'",
            "#/paths/~1installation/post/responses/5XX: ",
            "responses",
        ),
        (
            "$ref: '#/components/responses/ServerError'",
            "$ref: '#/components/schemas/ErrorResponse'",
            "#/paths/~1installation/post/responses/5XX: ",
            "responses",
        ),
        (
            "      - $ref: '#/components/parameters/ProvisionId'",
            "      - $ref: '#/components/schemas/ProvisionId'",
            "#/paths/~1partner-user-provision~1{provision_id}/parameters/0: ",
            "parameters",
        ),
        (
            "          $ref: '#/components/headers/ServerSignature'",
            "          $ref: '#/components/schemas/Id'",
            "#/paths/~1installation/post/responses/200/headers/X-Bunq-Server-Signature: ",
            "headers",
        ),
        (
            shown,
            "                $ref: '#/components/schemas/Id'",
            "#/paths/~1installation/post/requestBody/content/application~1json/examples/public_key: ",
            "examples",
        ),
        (
            "      $ref: '#/components/links/EndSession'",
            "      $ref: '#/paths/~1session-server/post/responses/200/links/end_session'",
            "#/paths/~1session-server/post/responses/200/links/end_session: ",
            "links",
        ),
    ] {
        let refused = refusal(from, to);
        let said = format!(" is none of `#/components/{kind}`: write there what belongs here, and refer to it");
        assert!(refused.starts_with(place) && refused.ends_with(&said), "{to}: {refused}");
    }
    let path = "  /again:\n    $ref: '#/paths/~1again'\n  /session-server:\n";
    let refused = refusal("  /session-server:\n", path);
    assert_eq!(refused, "#/paths/~1again: a path has its operations itself: write them in place of `$ref`");
    let there_and_back =
        "    This: {$ref: '#/components/schemas/That'}\n    That: {$ref: '#/components/schemas/This'}\n";
    let refused = refusal("    LabelUserType:\n", &format!("{there_and_back}    LabelUserType:\n"));
    assert_eq!(refused, "#/components/schemas/That: it leads back to itself: correct its `$ref`");
    for circle in
        ["allOf: [{$ref: '#/components/schemas/Loop'}]", "oneOf: [{$ref: '#/components/schemas/Loop'}, {type: string}]"]
    {
        let refused = refusal("    LabelUserType:\n", &format!("    Loop:\n      {circle}\n    LabelUserType:\n"));
        assert_eq!(refused, "#/components/schemas/Loop: it leads back to itself: correct its `$ref`");
    }
}

#[test]
fn names() {
    test_timeout::start();
    let refused = refusal("operationId: get_provision", "operationId: get-provision");
    assert_eq!(refused, "operation `get-provision`: name it in snake_case, as in `get_provision`");
    for name in ["match", "gen", "get__provision", "provision_"] {
        let refused = refusal("operationId: get_provision", &format!("operationId: {name}"));
        assert_eq!(refused, format!("operation `{name}`: name it in snake_case, as in `get_provision`"));
    }
    let refused = refusal("operationId: get_provision", "operationId: all");
    assert_eq!(refused, "operation `all`: rename it: `all` stands for all operations");
    let refused = refusal("    LabelUserType:\n", "    Label.Type: {type: string}\n    LabelUserType:\n");
    assert_eq!(refused, "schema `Label.Type`: name it in PascalCase, as in `ProvisionStatus` or `ApiKey`");
}

#[test]
fn extensions() {
    test_timeout::start();
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
        let refused = refusal(from, to);
        assert!(
            refused.starts_with("#/") && refused.ends_with(&format!("{problem}: remove or rename it")),
            "{refused}"
        );
    }
}

/// Mistakes that progenitor turns into Rust that does not compile.
#[test]
fn mistakes_that_generators_ignore() {
    test_timeout::start();
    let schema = |schema: &str| format!("    Extra:\n      {schema}\n    LabelUserType:\n");
    for (from, to, problem) in [
        ("      in: path\n      required: true\n", "      in: path\n".to_string(), "set `required: true`"),
        ("    LabelUserType:\n", schema("{type: array, items: [{type: string}]}"), "write it as a mapping"),
        ("    LabelUserType:\n", schema("{type: object, properties: {a: {type: number}}}"), "for amounts"),
        ("    LabelUserType:\n", schema("{type: string, pattern: a}"), "for errors, under x-bunq-rule"),
        (
            "    LabelUserType:\n",
            schema("{type: string, pattern: '^[$', x-bunq-rule: a}"),
            "that is not closed, at `[$`",
        ),
        (
            "    LabelUserType:\n",
            schema("{type: object, properties: {a: {type: string, pattern: a}}}"),
            "write a schema of its own, and refer to it",
        ),
        (
            "    LabelUserType:\n",
            schema("{type: object, properties: {a: {type: string, format: date}}}"),
            "refer to the schema `Date` for a date, or to `Timestamp`",
        ),
        (
            "    LabelUserType:\n",
            schema("{type: object, properties: {display-name: {}, displayName: {}}}"),
            "its properties `display-name` and `displayName` have one name in Rust: rename one",
        ),
        (
            "          application/json:\n",
            "          aplication/json:\n".into(),
            "write `application/json`, or `application/octet-stream` for bytes",
        ),
        (
            "              $ref: '#/components/schemas/InstallationRequest'\n",
            "              type: object\n".into(),
            "put its schemas under components/schemas, and refer to them",
        ),
        ("    LabelUserType:\n", "    HTTPError: {type: string}\n    LabelUserType:\n".into(), "or `ApiKey`"),
        ("    LabelUserType:\n", "    Secret: {type: object}\n    LabelUserType:\n".into(), "have this name in Rust"),
        (
            "enum: [EMAIL, PHONE_NUMBER]",
            "enum: [EMAIL, SELF]".into(),
            "be `Self` in Rust, which stands for something else",
        ),
        ("enum: [EMAIL, PHONE_NUMBER]", "enum: [EMAIL, null]".into(), "the value null is not a string"),
    ] {
        let refused = refusal(from, &to);
        assert!(refused.ends_with(problem), "{refused}");
    }
}

#[test]
fn operations() {
    test_timeout::start();
    for (from, to, diagnostic) in [
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
            "x-bunq-idempotent: true",
            "x-bunq-idempotent: perhaps",
            "operation `create_installation`: set x-bunq-idempotent to true or false",
        ),
    ] {
        assert_eq!(refusal(from, to), diagnostic);
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
        let refused = refusal(from, &to);
        assert!(refused.ends_with(problem), "{refused}");
    }
    for (from, to) in
        [("{calls: 3, seconds: 3}", "3"), ("{calls: 3,", "{calls: 0,"), ("{calls: 3,", "{per: minute, calls: 3,")]
    {
        let limit = refusal(from, to);
        let problem = "set x-bunq-rate-limit to {calls, seconds}, both positive integers, and nothing else";
        assert!(limit.ends_with(problem), "{limit}");
    }
    let responses = refusal("        4XX:", "        default:");
    assert!(responses.starts_with("operation `") && responses.ends_with("describe its 4XX response"), "{responses}");
    let second = refusal("        4XX:", "        '202':\n          description: Later.\n        4XX:");
    assert!(second.contains("a `202` response beside 200 breaks the generator: "), "{second}");
}

#[test]
fn results() {
    test_timeout::start();
    let repeated = "x-bunq-result says that `id` repeats `provision`: name a member of the item, and a path parameter or a \
                    member of every body";
    let of_a_kind = "say beside `item` or `first_of` what kind of id its `Id` holds, and only there, as in `{item: Id, of: ProvisionId}`: \
                     a schema with x-bunq-id";
    for (from, to, problem) in [
        (
            "x-bunq-result: {page: PartnerUserProvision}",
            "x-bunq-result: {pages: PartnerUserProvision}",
            "set x-bunq-result to {item}, {first_of}, {all, any}, {list}, {page}, nothing or bytes",
        ),
        (
            "x-bunq-result: {page: PartnerUserProvision}",
            "x-bunq-result: {page: Provision}",
            "x-bunq-result names the item `Provision`, which its 200 response does not have",
        ),
        (
            "x-bunq-result: {item: PartnerUserProvision,",
            "x-bunq-result: {page: PartnerUserProvision,",
            "a page is found by its cursor: give it the parameters older_id and newer_id",
        ),
        (
            "x-bunq-result: nothing",
            "x-bunq-result: bytes\n      x-bunq-content-type: {$ref: '#/components/schemas/AttachmentContentType'}",
            "describe its 200 response as `application/octet-stream`, and as nothing else",
        ),
        ("repeats: {id: provision_id}", "repeats: {id: provision}", repeated),
        ("{item: Id, of: InstallationId}", "{item: Id}", of_a_kind),
        ("{item: Id, of: InstallationId}", "{item: Id, of: Token}", of_a_kind),
        ("{item: Id, of: InstallationId}", "{list: Id, of: InstallationId}", of_a_kind),
        ("{list: DeviceServer}", "{list: DeviceServer, of: DeviceServerId}", of_a_kind),
        ("x-bunq-managed: true", "x-bunq-managed: false", "set x-bunq-managed to true, or remove it"),
        ("      x-bunq-managed: true\n", "", "so only the client itself can call it: set x-bunq-managed to true"),
    ] {
        let refused = refusal(from, to);
        assert!(refused.starts_with("operation `") && refused.ends_with(problem), "{refused}");
    }
}

#[test]
fn kinds_of_ids() {
    test_timeout::start();
    let id =
        "      minimum: 1\n      x-bunq-id: true\n      description: The id that bunq gives to a request for access.\n";
    let bounds = "an id is positive and has no other bound: write `type: integer`, `format: int64` and `minimum: 1`";
    for (to, problem) in [
        (id.replace("      minimum: 1\n", ""), bounds),
        (id.replace("minimum: 1", "minimum: 0"), bounds),
        (id.replace("minimum: 1", "minimum: 1\n      maximum: 9"), bounds),
        (id.replace("true", "1"), "set x-bunq-id to true, or remove it"),
        (
            id.replace("The id that bunq gives to a request for access.", "''"),
            "say of what it is the id, as its description",
        ),
    ] {
        assert_eq!(refusal(id, &to), format!("schema `OauthRequestId`: {problem}"));
    }
    for (from, to) in [
        ("            minimum: 0\n", "            minimum: 0\n            x-bunq-id: true\n"),
        ("    LabelUserType:\n      type: string\n", "    LabelUserType:\n      x-bunq-id: true\n      type: string\n"),
    ] {
        let refused = refusal(from, to);
        assert!(refused.ends_with("`x-bunq-id` means nothing here: remove or rename it"), "{refused}");
    }
}

#[test]
fn what_is_added_to_a_refusal() {
    test_timeout::start();
    let result = "      x-bunq-result: {page: PartnerUserProvision}\n";
    let named = |schema: &str| format!("{result}      x-bunq-refusal: {schema}\n");
    let object = "set x-bunq-refusal to the reference of an object, whose members are each a schema by reference";
    for (schema, problem) in [
        ("Provision", object),
        ("{type: object}", object),
        ("{$ref: '#/components/schemas/LabelUserType'}", object),
        ("{$ref: '#/components/schemas/Token'}", object),
        (
            "{$ref: '#/components/schemas/ProvisionItem'}",
            "what its x-bunq-refusal names is used elsewhere too: write two schemas",
        ),
        ("{$ref: '#/components/schemas/Nowhere'}", "correct it, or write what it should lead to"),
    ] {
        let refused = refusal(result, &named(schema));
        assert!(refused.ends_with(problem), "{schema}: {refused}");
    }
    let kind = "{allOf: [{$ref: '#/components/schemas/Token'}]}";
    for (kinds, both) in [("unknown", "`unknown` and `Unknown`"), ("Kind1, Kind_1", "`Kind1` and `Kind_1`")] {
        let properties: Vec<_> = kinds.split(", ").map(|name| format!("{name}: {kind}")).collect();
        let schema = format!("    Added: {{type: object, properties: {{{}}}}}\n", properties.join(", "));
        let text = DOCUMENT.replacen(result, &named("{$ref: '#/components/schemas/Added'}"), 1);
        let text = text.replacen("    LabelUserType:\n", &format!("{schema}    LabelUserType:\n"), 1);
        let refused = generate(&text).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("{both} have one name in Rust: name one of them")), "{refused}");
    }
    // One schema of refusals was dropped without a word, and two ended the generation.
    let problem = "operation `create_installation`: all its refusals are an `ErrorResponse`: name what stands in \
                   `error_additional_parameter` under x-bunq-refusal";
    let other =
        "description: No.\n          content: {application/json: {schema: {$ref: '#/components/schemas/ErrorItem'}}}";
    for shared in ["$ref: '#/components/responses/ClientError'", "$ref: '#/components/responses/ServerError'"] {
        assert_eq!(refusal(shared, other), problem);
    }
}

#[test]
fn values_that_are_shared_with_an_open_enum() {
    test_timeout::start();
    for (from, to) in [
        ("x-bunq-enum: ProvisionStatus", "x-bunq-enum: Status"),
        ("enum: [CREATED, ACTIVE, CANCELLED,", "enum: [ACTIVE, CREATED, CANCELLED,"),
    ] {
        let refused = refusal(from, to);
        assert!(refused.contains("name an open enum, and give both the same values in the same order"), "{refused}");
    }
}

#[test]
fn a_schema_with_a_secret_goes_in_one_direction() {
    test_timeout::start();
    let refused = refusal(
        "        pointer:\n          description: The e-mail",
        "        token: {allOf: [{$ref: '#/components/schemas/Token'}]}\n        pointer:\n          description: The e-mail",
    );
    assert!(refused.starts_with("schema `Token`: it has a secret, and is used in requests"), "{refused}");
}

#[test]
fn enums() {
    test_timeout::start();
    let undescribed = refusal("\n        FAILED: ", "\n        FAILURE: ");
    assert_eq!(undescribed, "schema `ProvisionStatus`: describe the value `FAILED` under x-enum-descriptions");
    let unnamed = refusal("enum: [EMAIL, PHONE_NUMBER]", "enum: [EMAIL, 'PHONE NUMBER']");
    assert_eq!(unnamed, "schema `PointerType`: the value `PHONE NUMBER` cannot be named in Rust");
    let twice = refusal("enum: [EMAIL, PHONE_NUMBER]", "enum: [EMAIL, email]");
    assert_eq!(twice, "schema `PointerType`: the values `EMAIL` and `email` have one name in Rust");
}

#[test]
fn errors_name_the_line() {
    test_timeout::start();
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
fn an_unsupported_schema_is_named() {
    test_timeout::start();
    let refused = refusal(
        "    LabelUserType:\n",
        "    Impossible:\n      allOf: [{type: string}, {type: integer}]\n      minimum: x\n    LabelUserType:\n",
    );
    assert!(refused.starts_with("schema `Impossible`: "), "{refused}");
    // If a path has several operations and parameters of its own, the diagnostic names the right one.
    let refused = refusal(
        "      operationId: update_provision\n",
        "      operationId: update_provision\n      deprecated: perhaps\n",
    );
    assert!(refused.starts_with("operation `update_provision`: "), "{refused}");
    let refused = refusal("openapi: 3.0.3", "openapi: 3.1.0");
    assert_eq!(refused, "openapi: set it to 3.0.3: the generator knows no other generation");
}
