//! bunq's documented bodies, with a secret planted in every text that can hold one, and whatever a user may see of them.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fmt::Debug;
use std::time::Duration;

use bunq_partner::sandbox::{JournalEntry, Sandbox};
use bunq_partner::{Auth, Client, Error, Operation, ProvisionId, ReceiptFile};
use common::{Folder, Log, once, person};
use serde::Serialize;
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// What all planted secrets begin with.
const PLANTED: &str = "qzx-planted-";

/// A response of bunq's.
#[derive(Clone, Debug)]
struct Documented {
    operation: &'static Operation,
    status: u16,
    body: Value,
}

/// The examples of the document and the vectors, without those that are alike.
fn documented() -> Vec<Documented> {
    let document: Value = serde_saphyr::from_str(include_str!("../openapi/bunq-partner.yaml")).unwrap();
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
    let vectors: Value = serde_json::from_str(include_str!("../openapi/vectors/decoding.json")).unwrap();
    all.extend(vectors["cases"].as_array().unwrap().iter().map(|case| Documented {
        operation: Operation::by_id(case["operation"].as_str().unwrap()).unwrap(),
        status: case["status"].as_u64().unwrap().try_into().unwrap(),
        body: case["body"].clone(),
    }));
    all
}

/// The members that the document calls secret.
fn secret_members() -> Vec<String> {
    let document: Value = serde_saphyr::from_str(include_str!("../openapi/bunq-partner.yaml")).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap().values();
    let members = schemas.filter_map(|schema| schema["properties"].as_object()).flatten();
    let mut secret: Vec<_> =
        members.filter(|(_, schema)| schema["format"] == "password").map(|(name, _)| name.clone()).collect();
    secret.sort();
    secret.dedup();
    assert_eq!(secret, ["authorization_code", "redirect_url", "secret", "token", "token_value"]);
    secret
}

/// The shapes in which a secret may come: as documented, and not.
const SHAPES: [fn(&str) -> Value; 3] = [|text| json!(text), |text| json!({ "value": text }), |text| json!([text])];

/// Plants in every member that is secret, adds such members to each object, and the caller's own secrets to the texts of an error.
fn plant(value: &mut Value, secret: &[String], shape: fn(&str) -> Value, own: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let is_text_of_an_error = name.starts_with("error_description");
                match member {
                    _ if secret.contains(name) => *member = shape(&format!("{PLANTED}{name}")),
                    Value::String(text) if is_text_of_an_error => text.push_str(own),
                    member => plant(member, secret, shape, own),
                }
            }
            // What an example need not show of a credential, of an OAuth request and of an error, and what bunq may add.
            if ["expiry_time", "scope", "error_description"].iter().any(|name| members.contains_key(*name)) {
                for name in secret {
                    members.entry(name.clone()).or_insert_with(|| shape(&format!("{PLANTED}added-{name}")));
                }
                for open in ["permitted_device", "oauth_client_id", "error_additional_parameter"] {
                    members.insert(open.into(), json!([{ "token_value": format!("{PLANTED}{open}") }]));
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| plant(item, secret, shape, own)),
        _ => {}
    }
}

/// A body in which secrets are planted, and an item that nobody knows.
fn planted(documented: &Documented, secret: &[String], shape: fn(&str) -> Value, own: &str) -> Value {
    let mut body = documented.body.clone();
    plant(&mut body, secret, shape, own);
    if let Some(items) = body.get_mut("Response").and_then(Value::as_array_mut) {
        let members = secret.iter().map(|name| (name.clone(), shape(&format!("{PLANTED}unknown-{name}"))));
        items.push(json!({ "Note": Value::Object(members.collect()) }));
    }
    body
}

fn is_of(operation: &Operation, call: &JournalEntry) -> bool {
    let path = call.path.strip_prefix("/v1").unwrap();
    let template = operation.path.split_once('{');
    let matches = template.map_or(path == operation.path, |(start, _)| path.starts_with(start) && path != start);
    call.method == operation.method && matches
}

/// Lets the sandbox respond to an operation with a body in which secrets are planted.
fn respond(sandbox: &Sandbox, documented: &Documented, secret: &[String], shape: fn(&str) -> Value) {
    let (documented, secret) = (documented.clone(), secret.to_vec());
    let key = sandbox.api_key().expose().to_owned();
    sandbox.before_signing(move |call, response| {
        if is_of(documented.operation, call) {
            // A refusal and a warning may repeat what bunq was told.
            let token = call.header("x-bunq-client-authentication");
            let own = token.map(|token| format!(" {key} {token}")).unwrap_or_default();
            response.status = documented.status;
            let told = if documented.status == 200 { "" } else { &own };
            response.body = planted(&documented, &secret, shape, told).to_string().into_bytes();
            response.headers.push(("X-Bunq-Warning".into(), own));
        }
    });
}

/// The id of the provision or device that a body is about.
fn id_in(body: &Value) -> u64 {
    let ids = ["PartnerUserProvision", "DeviceServer"]
        .map(|name| body.pointer(&format!("/Response/0/{name}/id")).and_then(Value::as_u64));
    ids.into_iter().flatten().next().filter(|id| *id > 0 && i64::try_from(*id).is_ok()).unwrap_or(1)
}

/// What a user may print of the outcome of a call.
fn shown<T: Debug>(result: &Result<T, Error>, as_json: impl Fn(&T) -> String) -> String {
    match result {
        Ok(value) => format!("{value:?}\n{value:#?}\n{}\n", as_json(value)),
        Err(error) => format!("{error}\n{error:?}\n{error:#?}\n{:?}\n", error.bunq_messages()),
    }
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

/// Calls an operation in each way that there is.
async fn call(client: &Client, documented: &Documented) -> String {
    let (api, provisions) = (client.api(), client.provisions());
    let number = id_in(&documented.body);
    let id: ProvisionId = number.try_into().unwrap();
    let parameter = number.to_string();
    let by_name = async |parameters: &[(&str, &str)], body: Option<Value>| {
        let result = api.call(documented.operation, parameters, body.as_ref()).await;
        shown(&result, |response| response.redacted().map(|body| body.to_string()).unwrap_or_default())
    };
    match documented.operation.id {
        "get_provision" => {
            shown(&provisions.get(id).await, to_json) + &by_name(&[("provision_id", &parameter)], None).await
        }
        "list_provisions" => {
            let page = provisions.list().page().await;
            shown(&page, |page| to_json(&page.items)) + &by_name(&[], None).await
        }
        "create_provision" => {
            let new = person();
            let body = serde_json::to_value(&new).unwrap();
            let created = provisions.create(new).await;
            shown(&created, |_| String::new()) + &by_name(&[], Some(body)).await
        }
        "update_provision" => {
            let closing = provisions.close(id).await;
            let reset = provisions.reset_token(id).await;
            let body = json!({ "status": "CANCELLED" });
            shown(&closing, |_| String::new())
                + &shown(&reset, |_| String::new())
                + &by_name(&[("provision_id", &parameter)], Some(body)).await
        }
        "list_device_servers" => {
            let devices = api.list_device_servers().await;
            shown(&devices, |devices| to_json(&**devices)) + &by_name(&[], None).await
        }
        "get_device_server" => {
            let device = api.get_device_server(number.try_into().unwrap()).await;
            shown(&device, |device| to_json(&**device)) + &by_name(&[("device_server_id", &parameter)], None).await
        }
        "get_installation" => {
            let installation = api.get_installation().await;
            shown(&installation, |installation| to_json(&**installation)) + &by_name(&[], None).await
        }
        "delete_session" => {
            client.open_session().await.unwrap();
            shown(&client.end_session().await, |()| String::new())
        }
        "create_installation" | "create_device_server" | "create_session" => {
            let opened = shown(&client.open_session().await, |()| String::new());
            opened + &shown(&client.user().await, to_json)
        }
        other => panic!("{other} is not called"),
    }
}

#[tokio::test(start_paused = true)]
async fn no_secret_of_bunqs_documented_bodies_is_shown() {
    test_timeout::start();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .init();
    let (secret, folder) = (secret_members(), Folder::new());
    let receipts = ReceiptFile::open(folder.path("receipts")).await.unwrap();
    let sandbox = Sandbox::start().await.unwrap();
    let new_client = || {
        let builder = sandbox.client().retry(once()).operation_timeout(Duration::from_secs(5));
        builder.late_arrival(Duration::ZERO).observer(receipts.clone()).build().unwrap()
    };
    let (client, key) = (new_client(), sandbox.api_key());
    let (mut count, mut successes) = (0, 0);
    for documented in documented() {
        // What is secret in a refusal comes from the call.
        for shape in SHAPES.into_iter().take(if documented.status == 200 { SHAPES.len() } else { 1 }) {
            respond(&sandbox, &documented, &secret, shape);
            let is_of_a_session =
                documented.operation.auth == Auth::Session && documented.operation.id != "delete_session";
            let client = if is_of_a_session { client.clone() } else { new_client() };
            sandbox.take_journal();
            let shown = call(&client, &documented).await;
            let journal = sandbox.take_journal();
            assert!(journal.iter().any(|call| is_of(documented.operation, call)), "{documented:?}: nothing was called");
            sandbox.clear_edits();
            let tokens = journal.iter().filter_map(|call| call.header("x-bunq-client-authentication"));
            let own: Vec<_> = tokens.chain([key.expose(), PLANTED]).collect();
            for (text, what) in [(shown, "shown"), (log.take(), "logged")] {
                let found = own.iter().find(|secret| text.contains(**secret));
                assert_eq!(found, None, "it is {what}: {documented:?}\n{text}");
                successes += usize::from(text.contains("Provision {"));
            }
            count += 1;
        }
    }
    assert!(count > 500 && successes > 100, "{count} bodies, {successes} with provisions");
    let kept = std::fs::read_to_string(folder.path("receipts")).unwrap();
    assert!(!kept.is_empty() && !kept.contains(PLANTED), "{kept}");
}

/// What the program writes of the same bodies, without `--show-secrets`.
#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread")]
async fn the_program_shows_no_secret_of_bunqs_documented_bodies() {
    test_timeout::start();
    use common::{program_for, ran};

    let secret = secret_members();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let mut count = 0;
    // What is attempted again, or looked after, takes time, and shows no more.
    let is_quick = |documented: &Documented| {
        let is_read =
            ["get_provision", "list_provisions", "list_device_servers", "get_device_server", "get_installation"];
        is_read.contains(&documented.operation.id) && [200, 400, 404, 466, 490].contains(&documented.status)
            || documented.operation.id == "create_provision" && documented.status == 200
    };
    for documented in documented().into_iter().filter(is_quick) {
        respond(&sandbox, &documented, &secret, SHAPES[count % SHAPES.len()]);
        count += 1;
        let id = id_in(&documented.body).to_string();
        let parameter = documented.operation.path.split_once(['{', '}']).map(|(_, rest)| rest.trim_end_matches('}'));
        let parameter = parameter.map(|name| format!("{name}={id}"));
        let by_name: Vec<_> = ["api", documented.operation.id].into_iter().chain(parameter.as_deref()).collect();
        let new = ["create", "--email", "user@example.com", "--phone-number", "+31600000000"];
        let command = match documented.operation.id {
            "get_provision" => &["get", &id][..],
            "list_provisions" => &["list"],
            "create_provision" => &new,
            _ => &by_name,
        };
        let is_by_name = command[0] == "api";
        let runs = [
            (command, "json", true),
            (command, ["table", "csv"][count % 2], !is_by_name),
            // A creation by name takes a body.
            (&by_name, "jsonl", !is_by_name && documented.operation.id != "create_provision"),
        ];
        for (command, format, _) in runs.into_iter().filter(|(_, _, is_run)| *is_run) {
            let (out, err, _) = ran(program_for(&folder, &sandbox).args(command).args(["--output", format]));
            let shown = out + &err;
            for secret in [sandbox.api_key().expose(), PLANTED] {
                assert!(!shown.contains(secret), "{command:?} {format} {documented:?}: {shown}");
            }
        }
    }
    assert!(count > 30, "only {count} bodies");
}
