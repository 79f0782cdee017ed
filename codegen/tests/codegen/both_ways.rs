//! What the build makes of schemas that are both sent and received.

use bunq_partner_codegen::{Diagnostic, Document};

/// Rules are listed and replaced.
const DOCUMENT: &str = "\
openapi: 3.0.3
info: {title: Rules, version: 1.0.0}
paths:
  /rule:
    get:
      operationId: list_rules
      summary: List the rules
      description: Lists them.
      x-bunq-auth: session
      x-bunq-user: partner
      x-bunq-idempotent: true
      x-bunq-rate-limit: {calls: 3, seconds: 3}
      x-bunq-result: {list: Rule}
      security: [{sessionToken: []}]
      responses:
        '200':
          description: The rules.
          content: {application/json: {schema: {$ref: '#/components/schemas/RuleResponse'}}}
        4XX: {description: Refused.}
        5XX: {description: Failed.}
    put:
      operationId: replace_rules
      summary: Replace the rules
      description: Replaces them.
      x-bunq-auth: session
      x-bunq-user: partner
      x-bunq-idempotent: true
      x-bunq-rate-limit: {calls: 2, seconds: 3}
      x-bunq-result: nothing
      security: [{sessionToken: []}]
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/RuleRequest'}}}}
      responses:
        '200':
          description: The rules.
          content: {application/json: {schema: {$ref: '#/components/schemas/RuleResponse'}}}
        4XX: {description: Refused.}
        5XX: {description: Failed.}
components:
  schemas:
    RuleResponse:
      type: object
      required: [Response]
      properties:
        Response: {type: array, items: {$ref: '#/components/schemas/RuleItem'}}
    RuleItem:
      type: object
      properties:
        Rule: {allOf: [{$ref: '#/components/schemas/Rule'}]}
    RuleRequest:
      type: object
      description: Rules.
      required: [rules]
      properties:
        rules: {type: array, description: All., items: {$ref: '#/components/schemas/Rule'}}
        note: {description: A note., allOf: [{$ref: '#/components/schemas/Note'}]}
    Note: {type: string, pattern: '^a.*$', x-bunq-rule: a note begins with a, description: A text that is sent alone.}
    Target: {type: string, pattern: '^https:.*$', x-bunq-rule: a target is HTTPS, description: Where to.}
    Rule:
      type: object
      description: A rule.
      x-bunq-keep-unknown: true
      required: [target]
      properties:
        target: {description: Where to., allOf: [{$ref: '#/components/schemas/Target'}]}
        tags: {type: array, nullable: true, description: Some., items: {type: string}}
";

fn generate(text: &str, name: &str) -> Result<String, Diagnostic> {
    let files = bunq_partner_codegen::generate(&Document::parse(text)?)?;
    let file = files.iter().find(|file| file.name == name).unwrap();
    Ok(file.code.split_whitespace().collect())
}

#[test]
fn what_goes_both_ways_is_read_like_a_response_and_made_like_a_request() {
    test_timeout::start();
    // Whether unknown members are kept or not.
    for text in [DOCUMENT.to_owned(), DOCUMENT.replace("      x-bunq-keep-unknown: true\n", "")] {
        let types = generate(&text, "types.rs").unwrap();
        assert!(types.contains("list_or_null::<crate::types::Plain,_,_,1000>\")]pubtags:"), "{types}");
        assert!(
            types.contains("implRule{///Withthemembersthatitmusthave;theothersareabsent.pubfnnew(target:"),
            "{types}"
        );
    }
}

#[test]
fn a_text_that_goes_both_ways_is_checked_when_it_is_made() {
    test_timeout::start();
    let types = generate(DOCUMENT, "types.rs").unwrap();
    let reading = |name: &str| {
        let (_, reading) = types.split_once(&format!("::serde::Deserialize<'de>for{name}{{")).unwrap();
        reading.split_once("}}").unwrap().0.to_owned()
    };
    assert!(reading("Target").ends_with("String::deserialize(deserializer).map(Self)"), "{types}");
    assert!(reading("Note").ends_with("crate::types::checked_text(deserializer)"), "{types}");
    for name in ["Target", "Note"] {
        let making = format!("TryFrom<String>for{name}{{typeError=crate::types::InvalidValue;");
        assert!(types.contains(&making), "{types}");
    }
}

#[test]
fn unknown_members_are_sent_again_within_a_request_alone() {
    test_timeout::start();
    let sent = "serialize_with=\"crate::types::sent\"";
    let types = generate(DOCUMENT, "types.rs").unwrap();
    let request = types.split_once("pubstructRuleRequest{").unwrap().1.split_once('}').unwrap().0;
    assert!(request.contains(sent) && types.matches(sent).count() == 1, "{types}");
    assert!(types.contains("impl<'de>::serde::Deserialize<'de>forRule{"), "{types}");
    assert!(!generate(DOCUMENT, "client.rs").unwrap().contains("AsSent"));

    // The body itself.
    let body = "schema: {$ref: '#/components/schemas/RuleRequest'}";
    let text = DOCUMENT.replace(body, "schema: {$ref: '#/components/schemas/Rule'}");
    let client = generate(&text, "client.rs").unwrap();
    assert!(client.contains("set_json(&mutrequest,&crate::types::AsSent(body))?;"), "{client}");

    // What keeps none is written in one way.
    let plain = DOCUMENT.replace("      x-bunq-keep-unknown: true\n", "");
    assert!(!generate(&plain, "types.rs").unwrap().contains("crate::types::sent"));

    // What has a member that keeps them, and goes both ways.
    let outer = "    Outer: {type: object, description: More., properties: {one: {description: One., allOf: \
                 [{$ref: '#/components/schemas/Rule'}]}}}\n    Rule:\n";
    let text = DOCUMENT
        .replacen("    Rule:\n", outer, 1)
        .replace("/schemas/Rule'}]}\n    RuleR", "/schemas/Outer'}]}\n    RuleR");
    let text = text.replace(
        "items: {$ref: '#/components/schemas/Rule'}}\n        note",
        "items: {$ref: '#/components/schemas/Outer'}}\n        note",
    );
    let types = generate(&text, "types.rs").unwrap();
    assert!(types.contains("implcrate::types::SentforOuter{") && types.matches(sent).count() == 2, "{types}");
}

#[test]
fn a_schema_that_cannot_keep_unknown_members() {
    test_timeout::start();
    let keep = "x-bunq-keep-unknown: true";
    let alone = "    Alone:\n      type: object\n      description: It goes one way.\n      x-bunq-keep-unknown: true\n      \
                 properties: {a: {type: string, description: A.}}\n    Rule:\n";
    for (from, to, problem) in [
        (
            keep,
            "x-bunq-keep-unknown: yes",
            "set x-bunq-keep-unknown to true, on an object with properties, or remove it",
        ),
        (
            "    Rule:\n",
            alone,
            "x-bunq-keep-unknown is for what is read and sent again, and it goes in one direction: remove it",
        ),
        (
            "description: Some.,",
            "description: Some., x-bunq-lenient: true,",
            "an odd value of its lenient property `tags` would be lost when it is sent again: remove x-bunq-lenient",
        ),
        (
            "        tags: {",
            "        unknown: {",
            "its property `unknown` has in Rust the name of the members that are kept: rename it",
        ),
        (
            "x-bunq-rule: a note",
            "x-bunq-keep-unknown: true, x-bunq-rule: a note",
            "`x-bunq-keep-unknown` means nothing here: remove or rename it",
        ),
    ] {
        assert!(DOCUMENT.contains(from), "{from}");
        let refused = generate(&DOCUMENT.replacen(from, to, 1), "types.rs").unwrap_err().to_string();
        assert!(refused.ends_with(problem), "{refused}");
    }
}
