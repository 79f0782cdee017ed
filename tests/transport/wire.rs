//! Each operation on the wire, bunq's contract for closing a provision byte by byte, and what holds for every request.

use std::fmt::Debug;

use bunq_partner::types::{
    AttachmentContentType, CreateProvisionRequest, Cursor, ListNotificationFilterFailuresQuery, ListProvisionsQuery,
    NewProvisionByPointer, NotificationCategory, NotificationFilter, NotificationVerificationType,
    ReplaceNotificationFiltersRequest, RequestedStatus, UpdateProvisionRequest,
};
use bunq_partner::{Api, Client, Error, NewProvision, Operation, PageSize, ProvisionStatus, Response, SessionOf, Uuid};
use bunq_partner_sandbox::{ReceivedSignature, Sandbox};
use insta::assert_snapshot;
use jiff::civil::date;
use serde_json::Value;

use crate::common::{calls, id, quick, ready, start, user_of};
use crate::document::document;
use crate::recorded::Wire;

/// That of the document's examples.
const UUID: Uuid = Uuid::from_u128(0x550e8400_e29b_41d4_a716_446655440000);

include!(concat!(env!("OUT_DIR"), "/calls.rs"));

async fn shown<T: Debug>(call: impl Future<Output = Result<Response<T>, Error>>) -> Result<String, Error> {
    call.await.map(|response| format!("{:#?}", response.into_inner()))
}

/// A snapshot for each operation that is called: with the first example of its body, and the longest of its responses. Those that the client calls by itself
/// are in src/api/tests.rs.
#[tokio::test]
async fn every_operation_both_ways() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    client.open_session().await.unwrap();
    let user = user_of(&sandbox, ready(&client).await).await;
    let (document, api) = (document(), client.api());
    let wire = Wire { sandbox };
    for operation in Operation::ALL.iter().filter(|operation| !operation.managed) {
        let method = &document["paths"][operation.path][operation.method.to_ascii_lowercase()];
        let examples = &method["responses"]["200"]["content"]["application/json"]["examples"];
        let body = match examples.as_object() {
            Some(examples) => {
                let texts = examples.values().map(|example| example_text(&document, example["$ref"].as_str().unwrap()));
                texts.max_by_key(Vec::len).unwrap()
            }
            None => b"%PDF-1.4\n\xff\n".to_vec(),
        };
        let caller = if operation.session_of == Some(SessionOf::User) { user.api() } else { api.clone() };
        let call = call_with_examples(&caller, operation, |_| None);
        wire.record(operation.id, body, async { call.await.unwrap().unwrap() }).await;
    }
    let example = |name: &str| example_text(&document, &format!("#/components/examples/{name}"));
    requests_of_other_shapes(&wire, &api, example).await;
    pages(&wire, &api, example).await;
}

/// An example of the document as text.
fn example_text(document: &Value, reference: &str) -> Vec<u8> {
    format!("{:#}", document.pointer(reference.trim_start_matches('#')).unwrap()["value"]).into_bytes()
}

async fn requests_of_other_shapes(wire: &Wire, api: &Api, example: impl Fn(&str) -> Vec<u8>) {
    let record = async |name, response, request: CreateProvisionRequest| {
        let call = async { shown(api.create_provision(&request)).await.unwrap() };
        wire.record(name, example(response), call).await;
    };
    let (email, phone) = (|| "user@example.com".parse().unwrap(), || "+31600000000".parse().unwrap());
    let (uuid, name) = (Uuid::from_u128, || "Example Person".parse().unwrap());
    let audited = NewProvision::person(UUID, email(), phone());
    let audited = audited.with_transaction_audit(date(1990, 1, 31), "NL".parse().unwrap());
    record("create_provision_audited", "ProvisionPendingUser", audited.into()).await;
    record("create_provision_company", "IdResponse", NewProvision::company(uuid(1), email(), phone(), id(123)).into())
        .await;
    record("create_provision_by_email", "IdResponse", NewProvisionByPointer::email(uuid(2), email(), name()).into())
        .await;
    let by_phone = NewProvisionByPointer::phone_number(uuid(3), phone(), name());
    record("create_provision_by_phone_number", "IdResponse", by_phone.into()).await;

    let reset = UpdateProvisionRequest::new(RequestedStatus::TokenResetRequested);
    let call = async { shown(api.update_provision(id(123), &reset)).await.unwrap() };
    wire.record("update_provision_reset_token", example("IdResponse"), call).await;

    let gif = AttachmentContentType::ImageGif;
    let call = async { shown(api.create_attachment(gif, &b"GIF89a"[..], None)).await.unwrap() };
    wire.record("create_attachment_without_description", example("AttachmentIdResponse"), call).await;

    let read: Value = serde_json::from_slice(&example("NotificationFiltersUnknown")).unwrap();
    let read: NotificationFilter =
        serde_json::from_value(read.pointer("/Response/0/NotificationFilterUrl").unwrap().clone()).unwrap();
    let target = "https://partner.example.com/bunq".parse().unwrap();
    let mut new = NotificationFilter::new(NotificationCategory::PartnerUserProvision, target);
    new.all_verification_type = vec![NotificationVerificationType::BunqCertificate];
    let request = ReplaceNotificationFiltersRequest::new(vec![read, new]);
    let call = async { shown(api.replace_notification_filters(&request)).await.unwrap() };
    wire.record("replace_notification_filters_of_others", example("NotificationFilters"), call).await;
}

async fn pages(wire: &Wire, api: &Api, example: impl Fn(&str) -> Vec<u8>) {
    let list = async |name, page, query| {
        let call = async { shown(api.list_provisions(query)).await.unwrap() };
        wire.record(name, example(page), call).await;
    };
    let query = ListProvisionsQuery::default()
        .status([ProvisionStatus::Created, ProvisionStatus::Active])
        .external_uuid(UUID)
        .count(PageSize::new(50).unwrap());
    list("list_provisions_filtered", "ProvisionListPage", query).await;
    let from = |cursor| ListProvisionsQuery::default().cursor(cursor);
    list("list_provisions_older", "ProvisionListLastPage", from(Cursor::OlderThan(42))).await;
    list("list_provisions_newer", "ProvisionListEmpty", from(Cursor::NewerThan(42))).await;

    let query = ListNotificationFilterFailuresQuery::default().count(PageSize::new(2).unwrap());
    let call = async { shown(api.list_notification_filter_failures(None, query)).await.unwrap() };
    wire.record("list_notification_filter_failures_counted", example("NotificationFilterFailures"), call).await;
}

/// bunq's description of the call, and both of its responses.
#[tokio::test]
async fn closing_a_provision_byte_by_byte() {
    test_timeout::start();
    const ACCEPTED: &str = r#"{"Response": [{"Id": {"id": 123}}]}"#;
    const CLOSED: &str = r#"{
        "Response": [
            {
                "PartnerUserProvision": {
                    "id": 123,
                    "external_uuid": "550e8400-e29b-41d4-a716-446655440000",
                    "status": "CLOSED",
                    "sub_status": "NONE",
                    "action_required": "NONE",
                    "products": ["USER_VERIFIED"],
                    "label_user": {"display_name": "Example Person", "country": "NL"},
                    "oauth_request": {"status": "ACTIVE"},
                    "credential": null
                }
            }
        ]
    }"#;
    let (sandbox, client) = start().await;
    sandbox.before_signing(|call, response| {
        if call.path == "/v1/partner-user-provision/123" {
            response.status = 200;
            response.body = if call.method == "PUT" { ACCEPTED.into() } else { CLOSED.into() };
        }
    });

    let closing = client.provisions().close(id(123)).await.unwrap();
    let sent = sandbox.call_log().pop().unwrap();
    assert_eq!((sent.method.as_str(), sent.body.as_str()), ("PUT", r#"{"status":"CANCELLED"}"#));

    let closed = closing.wait().await.unwrap();
    assert_snapshot!("closed_provision", format!("{closed:#?}"));
    let answered: serde_json::Value = serde_json::from_str(CLOSED).unwrap();
    assert_eq!(serde_json::to_value(&closed).unwrap(), answered["Response"][0]["PartnerUserProvision"]);
}

#[tokio::test]
async fn every_attempt_has_a_new_request_id() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    sandbox.end_sessions();
    let id = ready(&client).await;
    quick(client.provisions().close(id).await.unwrap()).wait().await.unwrap();
    let journal = sandbox.call_log();
    let mut ids: Vec<_> = journal.iter().map(|call| call.header("x-bunq-client-request-id").unwrap()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[tokio::test]
async fn nothing_but_the_installation_leaves_unsigned() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    quick(client.provisions().reset_token(id).await.unwrap()).wait().await.unwrap();
    quick(client.provisions().close(id).await.unwrap()).wait().await.unwrap();
    let with_body: Vec<_> = sandbox.call_log().into_iter().filter(|call| !call.body.is_empty()).collect();
    assert_eq!(with_body.len(), 6);
    for call in with_body {
        let expected = match call.path.as_str() {
            "/v1/installation" => ReceivedSignature::None,
            _ => ReceivedSignature::Valid,
        };
        assert_eq!(call.signature, expected, "{call:?}");
    }
    assert_eq!(calls(&sandbox, "POST", "/installation").len(), 1);
}

/// The table of operations from the document's `x-bunq-*` members. A change here changes how the client calls bunq.
#[test]
fn the_operation_table() {
    test_timeout::start();
    let rows: Vec<_> = bunq_partner::Operation::ALL
        .iter()
        .map(|operation| {
            let bunq_partner::Operation { id, method, path, auth, idempotent, managed, rate_limit, .. } = operation;
            let (calls, per) = (rate_limit.calls, rate_limit.per);
            let managed = if *managed { ", managed" } else { "" };
            format!(
                "{id:<34} {method:<6} {path:<73} auth {auth:?}, idempotent {idempotent}, {calls} calls in {per:?}{managed}"
            )
        })
        .collect();
    assert_snapshot!("operations", rows.join("\n"));
}

/// `Client` and the types that it returns can be used across tasks.
#[test]
fn public_types_are_send_and_sync() {
    test_timeout::start();
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<Client>();
    crosses::<bunq_partner::Waiter>();
    crosses::<bunq_partner::Error>();
    crosses::<Sandbox>();
}
