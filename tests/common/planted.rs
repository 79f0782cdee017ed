//! bunq's documented bodies, with a secret planted in every text that can contain one, and a text about a person in every member that
//! the document says has one, or a URL with a secret path.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

#[path = "document.rs"]
mod document;

use std::sync::LazyLock;

use bunq_partner::types::UserId;
use bunq_partner::{Operation, SessionOf};
use bunq_partner_sandbox::Sandbox;
use document::document;
use serde_json::{Value, json};

/// The beginning of all planted secrets.
pub const PLANTED: &str = "qzx-planted-";

/// The beginning of all planted texts about a person.
pub const PERSONAL: &str = "qzx-personal-";

/// The planted date of birth.
pub const BIRTH: &str = "1903-07-19";

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// A response of bunq's.
#[derive(Clone, Debug)]
pub struct Documented {
    pub operation: &'static Operation,
    pub status: u16,
    pub body: Value,
    /// Where it has what is about a person, or a URL with a secret path, as JSON pointers.
    pub personal: Vec<String>,
}

impl Documented {
    fn new(operation: &'static Operation, status: u16, body: Value) -> Self {
        let responses = &method(operation)["responses"];
        let response = [status.to_string(), format!("{}XX", status / 100)].map(|status| &responses[status]);
        let response = response.into_iter().find(|response| !response.is_null());
        let schema =
            response.map_or(&Value::Null, |response| &resolved(response)["content"]["application/json"]["schema"]);
        let personal = personal_in(schema, &body);
        Self { operation, status, body, personal }
    }
}

fn method(operation: &Operation) -> &'static Value {
    &DOCUMENT["paths"][operation.path][operation.method.to_ascii_lowercase()]
}

fn resolved(part: &'static Value) -> &'static Value {
    part["$ref"].as_str().map_or(part, |target| DOCUMENT.pointer(target.trim_start_matches('#')).unwrap())
}

/// Where a value has what its schema says is about a person, or may have a URL with a secret path.
fn personal_in(schema: &'static Value, value: &Value) -> Vec<String> {
    let (schema, mut found) = (resolved(schema), Vec::new());
    if ["x-bunq-personal", "x-bunq-secret-path"].iter().any(|mark| schema[mark] == true) {
        return vec![String::new()];
    }
    for part in ["allOf", "anyOf"].iter().filter_map(|of| schema[of].as_array()).flatten() {
        found.extend(personal_in(part, value));
    }
    let mut inside = |name: &str, schema: &'static Value, member: &Value| {
        found.extend(personal_in(schema, member).into_iter().map(|rest| format!("/{name}{rest}")));
    };
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| inside(name, &schema["properties"][name], member));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| inside(&index.to_string(), &schema["items"], item));
        }
        _ => {}
    }
    found
}

/// What is planted in place of a text: a text about a person, or a URL with such a path.
fn hidden_text(text: &str, what: &str) -> String {
    let origin = if text.starts_with("https://") { "https://partner.example.com/" } else { "" };
    format!("{origin}{PERSONAL}{what}")
}

/// Replaces the texts of a value.
fn replace_texts(value: &mut Value, by: &impl Fn(&str) -> Value) {
    match value {
        Value::String(text) => *value = by(text),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_texts(item, by)),
        Value::Object(members) => members.values_mut().for_each(|member| replace_texts(member, by)),
        _ => {}
    }
}

/// The example of the body of a request, with planted texts about a person that it may have; `None` if it has none. Countries and
/// values of enums stay.
pub fn personal_request(operation: &Operation) -> Option<Value> {
    let content = &method(operation)["requestBody"]["content"]["application/json"];
    let (_, example) = content["examples"].as_object()?.iter().next()?;
    let mut body = resolved(example)["value"].clone();
    let planted = |text: &str| match text.parse::<bunq_partner::jiff::civil::Date>() {
        Ok(_) => json!(BIRTH),
        Err(_) if text.bytes().all(|byte| byte.is_ascii_uppercase()) => json!(text),
        Err(_) => json!(hidden_text(text, "sent")),
    };
    for place in personal_in(&content["schema"], &body) {
        replace_texts(body.pointer_mut(&place).unwrap(), &planted);
    }
    let text = body.to_string();
    (text.contains(PERSONAL) || text.contains(BIRTH)).then_some(body)
}

/// The examples of the document and the vectors, without duplicates.
pub fn documented() -> Vec<Documented> {
    let mut all: Vec<Documented> = Vec::new();
    for operation in Operation::ALL {
        for (status, response) in method(operation)["responses"].as_object().unwrap() {
            let examples = &resolved(response)["content"]["application/json"]["examples"];
            for example in examples.as_object().into_iter().flatten().map(|(_, example)| resolved(example)) {
                let status = status.replace("XX", "00").parse().unwrap_or(400);
                all.push(Documented::new(operation, status, example["value"].clone()));
            }
        }
    }
    let vectors: Value = serde_json::from_str(include_str!("../../openapi/vectors/decoding.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap().iter();
    all.extend(cases.filter(|case| case.get("bytes").is_none() && case["callback"].is_null()).map(|case| {
        let operation = Operation::by_id(case["operation"].as_str().unwrap()).unwrap();
        Documented::new(operation, case["status"].as_u64().unwrap().try_into().unwrap(), case["body"].clone())
    }));
    all
}

/// The members that the document calls secret.
pub fn secret_members() -> Vec<String> {
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap().values();
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

/// The body with planted secrets and texts about a person, and with an item of an unknown type.
fn planted(documented: &Value, personal: &[String], secret: &[String], shape: fn(&str) -> Value, own: &str) -> Value {
    let (mut body, mut inside) = (documented.clone(), Vec::new());
    for place in personal {
        replace_texts(body.pointer_mut(place).unwrap(), &|text| shape(&hidden_text(text, "received")));
    }
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
            response.body =
                planted(&documented.body, &documented.personal, &secret, shape, told).to_string().into_bytes();
            response.headers.push(("X-Bunq-Warning".into(), own));
        }
    });
}

/// What bunq sends by itself: the examples of callbacks and the vectors, with planted secrets.
pub fn called_back(secret: &[String], shape: fn(&str) -> Value) -> Vec<Value> {
    let examples = DOCUMENT["components"]["examples"].as_object().unwrap().values().map(|example| &example["value"]);
    let vectors: Value = serde_json::from_str(include_str!("../../openapi/vectors/decoding.json")).unwrap();
    let vectors = vectors["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["callback"].is_string() && case["refuse"] != true);
    let bodies = examples.filter(|body| !body["NotificationUrl"].is_null()).chain(vectors.map(|case| &case["body"]));
    let schema = &DOCUMENT["components"]["schemas"]["NotificationUrlCall"];
    bodies.map(|body| planted(body, &personal_in(schema, body), secret, shape, "")).collect()
}

/// A call about the object of a response, which is of this user if it is not a provision.
pub fn called_about(documented: &Documented, user: UserId) -> Value {
    let (category, kind) = match documented.operation.id {
        "get_provision" => ("PARTNER_USER_PROVISION", "PartnerUserProvision"),
        "get_user_onboarding" => ("USER_ONBOARDING", "UserOnboarding"),
        "get_user_information_inquiry" => ("USER_INFORMATION_INQUIRY", "UserInformationInquiry"),
        other => panic!("no call is about what {other} reads"),
    };
    let object = json!({
        "id": id_in(&documented.body), "user_id": user,
        "credential": {"token_value": format!("{PLANTED}token")}, "title": format!("{PERSONAL}title"),
    });
    json!({"NotificationUrl": {"category": category, "object": {kind: object}}})
}

/// The id of the object that a body is about.
pub fn id_in(body: &Value) -> u64 {
    let item = body.pointer("/Response/0").and_then(Value::as_object);
    let ids = item.into_iter().flatten().map(|(_, held)| held["id"].as_u64());
    ids.flatten().next().filter(|id| *id > 0 && i64::try_from(*id).is_ok()).unwrap_or(1)
}
