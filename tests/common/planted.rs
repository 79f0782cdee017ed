//! bunq's documented bodies, with a secret planted in every text that can contain one.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "document.rs"]
mod document;

use bunq_partner::{Operation, SessionOf};
use bunq_partner_sandbox::Sandbox;
use document::document;
use serde_json::{Value, json};

/// The beginning of all planted secrets.
pub const PLANTED: &str = "qzx-planted-";

/// A response of bunq's.
#[derive(Clone, Debug)]
pub struct Documented {
    pub operation: &'static Operation,
    pub status: u16,
    pub body: Value,
}

/// The examples of the document and the vectors, without duplicates.
pub fn documented() -> Vec<Documented> {
    let document = document();
    let resolved = |value: &Value| match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => value.clone(),
    };
    let mut all: Vec<Documented> = Vec::new();
    for operation in Operation::ALL {
        let path = &document["paths"][operation.path];
        let method = &path[operation.method.to_ascii_lowercase()];
        for (status, response) in method["responses"].as_object().unwrap() {
            let examples = resolved(response)["content"]["application/json"]["examples"].clone();
            for example in examples.as_object().into_iter().flatten().map(|(_, example)| resolved(example)) {
                let status = status.replace("XX", "00").parse().unwrap_or(400);
                all.push(Documented { operation, status, body: example["value"].clone() });
            }
        }
    }
    let vectors: Value = serde_json::from_str(include_str!("../../openapi/vectors/decoding.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap().iter();
    all.extend(cases.filter(|case| case.get("bytes").is_none() && case["callback"].is_null()).map(|case| Documented {
        operation: Operation::by_id(case["operation"].as_str().unwrap()).unwrap(),
        status: case["status"].as_u64().unwrap().try_into().unwrap(),
        body: case["body"].clone(),
    }));
    all
}

/// The members that the document calls secret.
pub fn secret_members() -> Vec<String> {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap().values();
    let members = schemas.filter_map(|schema| schema["properties"].as_object()).flatten();
    let mut secret: Vec<_> =
        members.filter(|(_, schema)| schema["format"] == "password").map(|(name, _)| name.clone()).collect();
    secret.sort();
    secret.dedup();
    assert_eq!(secret, ["authorization_code", "client_id", "redirect_url", "secret", "token", "token_value"]);
    secret
}

/// The shapes in which a secret may come: the documented one, and others.
pub const SHAPES: [fn(&str) -> Value; 3] = [|text| json!(text), |text| json!({ "value": text }), |text| json!([text])];

/// Plants a secret in every secret member, and in every text that has the text of a secret member inside, as a URL has that ends
/// with a code. Adds such members to each object, and adds the caller's own secrets to the texts of an error.
fn plant(value: &mut Value, secret: &[String], inside: &[String], shape: fn(&str) -> Value, own: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let is_text_of_an_error = name.starts_with("error_description");
                match member {
                    _ if secret.contains(name) => *member = shape(&format!("{PLANTED}{name}")),
                    Value::String(text) if is_text_of_an_error => text.push_str(own),
                    member => plant(member, secret, inside, shape, own),
                }
            }
            // A credential, an OAuth request, an error and a filter also get members that an example may lack or bunq may add.
            if ["expiry_time", "scope", "error_description", "notification_target"]
                .iter()
                .any(|name| members.contains_key(*name))
            {
                for name in secret {
                    members.entry(name.clone()).or_insert_with(|| shape(&format!("{PLANTED}added-{name}")));
                }
                for open in ["permitted_device", "oauth_client_id", "error_additional_parameter"] {
                    members.insert(open.into(), json!([{ "token_value": format!("{PLANTED}{open}") }]));
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| plant(item, secret, inside, shape, own)),
        Value::String(text) => {
            for documented in inside {
                *text = text.replace(documented, &format!("{PLANTED}inside"));
            }
        }
        _ => {}
    }
}

/// The texts of the secret members.
fn texts_of(value: &Value, secret: &[String], texts: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if secret.contains(name) && text.len() >= 8 => texts.push(text.clone()),
                    member => texts_of(member, secret, texts),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, secret, texts)),
        _ => {}
    }
}

/// The body with planted secrets, and with an item of an unknown type.
fn planted(documented: &Value, secret: &[String], shape: fn(&str) -> Value, own: &str) -> Value {
    let (mut body, mut inside) = (documented.clone(), Vec::new());
    texts_of(&body, secret, &mut inside);
    plant(&mut body, secret, &inside, shape, own);
    if let Some(items) = body.get_mut("Response").and_then(Value::as_array_mut) {
        let members = secret.iter().map(|name| (name.clone(), shape(&format!("{PLANTED}unknown-{name}"))));
        items.push(json!({ "Note": Value::Object(members.collect()) }));
    }
    body
}

/// Makes the sandbox respond to an operation with a body that has planted secrets.
pub fn respond(sandbox: &Sandbox, documented: &Documented, secret: &[String], shape: fn(&str) -> Value) {
    let (documented, secret) = (documented.clone(), secret.to_vec());
    // A user's call knows nothing of the partner's key.
    let is_users = documented.operation.session_of == Some(SessionOf::User);
    let key = if is_users { String::new() } else { sandbox.api_key().expose().to_owned() };
    sandbox.before_signing(move |call, response| {
        if call.operation == Some(documented.operation) {
            // A refusal and a warning may repeat what the client sent.
            let token = call.header("x-bunq-client-authentication");
            let own = token.map(|token| format!(" {key} {token}")).unwrap_or_default();
            response.status = documented.status;
            let told = if documented.status == 200 { "" } else { &own };
            response.body = planted(&documented.body, &secret, shape, told).to_string().into_bytes();
            response.headers.push(("X-Bunq-Warning".into(), own));
        }
    });
}

/// What bunq sends by itself: the examples of callbacks and the vectors, with planted secrets.
pub fn called_back(secret: &[String], shape: fn(&str) -> Value) -> Vec<Value> {
    let document = document();
    let examples = document["components"]["examples"].as_object().unwrap().values().map(|example| &example["value"]);
    let vectors: Value = serde_json::from_str(include_str!("../../openapi/vectors/decoding.json")).unwrap();
    let vectors = vectors["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["callback"].is_string() && case["refuse"] != true);
    let bodies = examples.filter(|body| !body["NotificationUrl"].is_null()).chain(vectors.map(|case| &case["body"]));
    bodies.map(|body| planted(body, secret, shape, "")).collect()
}

/// The id of the object that a body is about.
pub fn id_in(body: &Value) -> u64 {
    let item = body.pointer("/Response/0").and_then(Value::as_object);
    let ids = item.into_iter().flatten().map(|(_, held)| held["id"].as_u64());
    ids.flatten().next().filter(|id| *id > 0 && i64::try_from(*id).is_ok()).unwrap_or(1)
}
