//! Compares the headers and queries that the crate sends with the document, from which the headers are not generated.

use std::collections::BTreeSet;

use bunq_partner::types::AttachmentContentType;
use bunq_partner::{Cursor, MemoryCustody, Operation, PageSize, ProvisionStatus, SessionOf, Uuid};
use bunq_partner_sandbox::{CallLogEntry, Sandbox};
use reqwest::Url;
use serde_json::{Value, json};

use crate::common::{id, quick, ready};
use crate::document::document;

fn resolve<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    part["$ref"].as_str().map_or(part, |target| document.pointer(target.trim_start_matches('#')).unwrap())
}

/// The operation of a call.
fn operation(call: &CallLogEntry) -> &'static Operation {
    let path: Vec<_> = call.path.trim_start_matches("/v1").split('/').collect();
    let is_it = |operation: &&Operation| {
        let template: Vec<_> = operation.path.split('/').collect();
        operation.method == call.method
            && template.len() == path.len()
            && template.iter().zip(&path).all(|(part, actual)| part.starts_with('{') || part == actual)
    };
    Operation::ALL.iter().find(is_it).unwrap_or_else(|| panic!("{} {} is not documented", call.method, call.path))
}

/// Compares the values sent in `place` with the parameters that the document has there.
fn check(document: &Value, call: &CallLogEntry, place: &str, sent: &[(String, String)]) {
    let operation = operation(call);
    let item = &document["paths"][operation.path];
    let lists = [&item["parameters"], &item[operation.method.to_lowercase()]["parameters"]];
    let parameters = lists.into_iter().filter_map(Value::as_array).flatten().map(|part| resolve(document, part));
    let parameters: Vec<_> = parameters.filter(|parameter| parameter["in"] == place).collect();
    for (name, text) in sent {
        let parameter =
            parameters.iter().find(|parameter| parameter["name"].as_str().unwrap().eq_ignore_ascii_case(name));
        let parameter = parameter.unwrap_or_else(|| panic!("{}: {name} is not documented", operation.id));
        let mut schema = parameter["schema"].clone();
        let value = match resolve(document, &schema)["type"].as_str() {
            Some("integer") => json!(text.parse::<u64>().unwrap()),
            Some("array") => text.split(',').collect(),
            _ => json!(text),
        };
        schema["components"] = document["components"].clone();
        let refusal = jsonschema::validate(&schema, &value).err();
        assert!(refusal.is_none(), "{}: {name} may not be {text:?}: {}", operation.id, refusal.unwrap());
    }
    for required in parameters.iter().filter(|parameter| parameter["required"] == true) {
        let name = required["name"].as_str().unwrap();
        assert!(sent.iter().any(|(sent, _)| sent.eq_ignore_ascii_case(name)), "{}: {name} is missing", operation.id);
    }
}

#[tokio::test]
async fn headers_and_query_are_as_the_document_says() {
    test_timeout::start();
    let document = document();
    let statuses = document["components"]["schemas"]["ProvisionStatus"]["x-extensible-enum"].as_array().unwrap();
    let statuses: Vec<ProvisionStatus> =
        statuses.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect();

    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
    let user = client.users().activate(sandbox.populate(1)[0]).await.unwrap();
    let provisions = client.provisions();
    let ready = ready(&client).await;
    let list = provisions.list().status(statuses).count(PageSize::MAX).external_uuid(Uuid::new_v4());
    list.page().await.unwrap();
    list.page_at(Cursor::older_than(ready)).await.unwrap();
    list.page_at(Cursor::newer_than(id(1))).await.unwrap();
    quick(provisions.close(ready).await.unwrap()).wait().await.unwrap();
    let api = client.api();
    let id = 2_u64.try_into().unwrap();
    let description = "Passport, page 1".parse().unwrap();
    // Whatever comes of them, they are sent.
    let _ = api.create_attachment(AttachmentContentType::ImageGif, &b"GIF89a"[..], Some(&description)).await;
    let _ = api.get_attachment(id).await;
    let _ = api.get_attachment_content(id).await;
    for operation in Operation::ALL.iter().filter(|operation| !operation.managed) {
        let parameters: Vec<_> = operation.path_parameters().map(|name| (name, "7")).collect();
        let body = operation.has_body.then(|| json!({}));
        let api = if operation.session_of == Some(SessionOf::User) { user.api() } else { client.api() };
        // Also a refusal shows what was sent.
        let _ = api.call(operation, &parameters, body.as_ref()).await;
    }
    client.end_session().await.unwrap();

    let token = document["components"]["securitySchemes"]["sessionToken"]["name"].as_str().unwrap();
    let mut seen = BTreeSet::new();
    for call in sandbox.call_log() {
        seen.insert(operation(&call).id);
        let is_bunqs = |name: &str| name.starts_with("x-bunq-") && !name.eq_ignore_ascii_case(token);
        let is_checked = |name: &str| is_bunqs(name) || ["cache-control", "user-agent"].contains(&name);
        let headers: Vec<_> = call.headers.iter().filter(|(name, _)| is_checked(name)).cloned().collect();
        check(&document, &call, "header", &headers);
        let url = Url::parse(&format!("http://bunq/?{}", call.query.as_deref().unwrap_or_default())).unwrap();
        check(&document, &call, "query", &url.query_pairs().into_owned().collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), Operation::ALL.len(), "only {seen:?} were called");
}

#[test]
fn the_largest_page_is_the_documents() {
    test_timeout::start();
    assert_eq!(document()["components"]["schemas"]["PageSize"]["maximum"], PageSize::MAX.get());
}
