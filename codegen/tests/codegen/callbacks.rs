//! What bunq sends by itself counts as received.

use bunq_partner_codegen::{Diagnostic, Document};

/// A document of one operation with a callback, and a schema that is in the body of both.
const DOCUMENT: &str = "\
openapi: 3.0.3
info: {title: Hooks, version: 1.0.0}
paths:
  /hook:
    post:
      operationId: replace_hooks
      summary: Replace the hooks
      description: Replaces them.
      x-bunq-auth: session
      x-bunq-user: partner
      x-bunq-idempotent: true
      x-bunq-rate-limit: {calls: 5, seconds: 3}
      x-bunq-result: nothing
      security: [{sessionToken: []}]
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/HookRequest'}}}}
      responses:
        '200':
          description: The hooks.
          content: {application/json: {schema: {$ref: '#/components/schemas/HookResponse'}}}
        4XX: {description: Refused.}
        5XX: {description: Failed.}
      callbacks:
        hook_called:
          '{$request.body#/target}':
            post:
              requestBody:
                content:
                  application/json:
                    schema: {$ref: '#/components/schemas/HookCall'}
                    examples: {one: {value: {key: a-key, event: {kind: A}}}}
              responses:
                '200': {description: It is taken.}
components:
  schemas:
    HookRequest: {type: object, description: A hook., properties: {target: {type: string, description: Where to.}}}
    HookResponse:
      type: object
      required: [Response]
      properties:
        Response: {type: array, items: {$ref: '#/components/schemas/HookItem'}}
    HookItem: {type: object, description: Nothing is known of it.}
    HookCall:
      type: object
      description: What bunq sends.
      properties:
        key: {type: string, nullable: true, format: password, description: A key.}
        event:
          description: What happened.
          anyOf:
            - $ref: '#/components/schemas/HookEvent'
            - {type: object, nullable: true, enum: [null]}
    HookEvent:
      type: object
      description: What happened.
      required: [kind]
      properties:
        kind: {description: Its kind., allOf: [{$ref: '#/components/schemas/HookKind'}]}
    HookKind:
      type: string
      description: A kind of events.
      x-extensible-enum: [A]
      x-enum-descriptions: {A: The first.}
";

fn generate(text: &str, name: &str) -> Result<String, Diagnostic> {
    let files = bunq_partner_codegen::generate(&Document::parse(text)?)?;
    let file = files.iter().find(|file| file.name == name).unwrap();
    Ok(file.code.split_whitespace().collect())
}

#[test]
fn the_body_of_a_callback_is_public_and_redacts() {
    test_timeout::start();
    let types = generate(DOCUMENT, "types.rs").unwrap();
    assert!(types.contains("pubkey:::std::option::Option<crate::types::Secret>"), "{types}");
    for public in ["pubstructHookCall{", "pubstructHookEvent{", "pubenumHookKind{"] {
        assert!(types.contains(public), "{public}: {types}");
    }
    assert!(!types.contains("implHookCall{///Withthemembersthatitmusthave"), "{types}");
    // The tests of the crate hold it against the type.
    let examples = generate(DOCUMENT, "examples.rs").unwrap();
    assert!(examples.contains("(\"hook_calledcallbackone\",\"HookCall\","), "{examples}");
}

#[test]
fn what_a_request_and_a_callback_share_goes_both_ways() {
    test_timeout::start();
    let shared = DOCUMENT.replacen(
        "target: {type: string, description: Where to.}",
        "event: {description: One., allOf: [{$ref: '#/components/schemas/HookEvent'}]}",
        1,
    );
    let types = generate(&shared, "types.rs").unwrap();
    assert!(types.contains("implHookEvent{///Withthemembersthatitmusthave"), "{types}");

    let refused =
        generate(&shared.replace("/schemas/HookEvent'}]}}}", "/schemas/HookCall'}]}}}"), "types.rs").unwrap_err();
    let problem = "schema `HookCall`: it has a secret, and is used in requests, which send it, and in responses, which redact it: write \
                   two schemas";
    assert_eq!(refused.to_string(), problem);
}

#[test]
fn a_callback_that_cannot_be_received_is_refused_with_its_place() {
    test_timeout::start();
    let body = "describe its requestBody as `application/json`, with a schema by reference, and as nothing else";
    let one = "it is one call of bunq's: give it one URL, and under it one `post`";
    for (from, to, line, problem) in [
        (
            "/schemas/HookCall'}\n",
            "/schemas/Nobody'}\n",
            "schema: {$ref: '#/components/schemas/Nobody'}",
            "`$ref: #/components/schemas/Nobody` leads nowhere: correct it, or write what it should lead to",
        ),
        ("{$ref: '#/components/schemas/HookCall'}", "{type: object}", "hook_called:", body),
        (
            "                  application/json:\n",
            "                  application/octet-stream:\n",
            "hook_called:",
            body,
        ),
        ("            post:\n              r", "            put:\n              r", "hook_called:", one),
        (
            "'{$request.body#/target}':\n            post:",
            "'{$request.body#/target}':\n            x:",
            "hook_called:",
            one,
        ),
        (
            "        hook_called:\n",
            "        hookCalled:\n",
            "hookCalled:",
            "name it in snake_case, as in `notification_url`",
        ),
        (
            "'200': {description: It is taken.}",
            "'201': {description: It is taken.}",
            "hook_called:",
            "describe the 200 response that bunq expects",
        ),
    ] {
        assert!(DOCUMENT.contains(from), "{from}");
        let text = DOCUMENT.replacen(from, to, 1);
        let refused = generate(&text, "types.rs").unwrap_err();
        assert!(refused.to_string().ends_with(problem), "{refused}");
        let shown = refused.in_file("file", &text);
        let number: usize =
            shown.split(':').nth(1).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{shown}"));
        assert_eq!(text.lines().nth(number - 1).unwrap().trim(), line, "{shown}");
    }
    let elsewhere = "        hook_called: {$ref: '#/components/callbacks/HookCalled'}\ncomponents:\n  callbacks: {HookCalled: {}}\n";
    let (head, _) = DOCUMENT.split_once("        hook_called:\n").unwrap();
    let (_, tail) = DOCUMENT.split_once("components:\n").unwrap();
    let refused = generate(&[head, elsewhere, tail].concat(), "types.rs").unwrap_err().to_string();
    assert_eq!(refused, "callback `hook_called`: write it at its operation, not as a reference");

    let (_, callbacks) = head.split_once("  /hook:\n").unwrap();
    let other = callbacks.replace("replace_hooks", "create_hook");
    let (_, callback) = DOCUMENT.split_once("        hook_called:\n").unwrap();
    let (callback, _) = callback.split_once("components:\n").unwrap();
    let twice = [
        head,
        "        hook_called:\n",
        callback,
        "  /other:\n",
        &other,
        "        hook_called:\n",
        callback,
        "components:\n",
        tail,
    ];
    let refused = generate(&twice.concat(), "types.rs").unwrap_err().to_string();
    assert_eq!(refused, "callback `hook_called`: another callback has the name: rename one");
}
