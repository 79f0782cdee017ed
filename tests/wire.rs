//! Every operation as it goes over the wire, and bunq's contract for closing a provision to the letter.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use bunq_partner::sandbox::{JournalEntry, ReceivedSignature, Sandbox};
use bunq_partner::{
    Client, NewProvision, NewProvisionByPointer, PageSize, PermittedIps, ProvisionStatus, Uuid, jiff::civil::date,
};
use common::{calls, id, quick, ready, start};
use insta::assert_snapshot;

const UUID: Uuid = Uuid::from_u128(0x550e8400_e29b_41d4_a716_446655440000);

/// A call as it came in: its line, its headers by name, its body. What differs from run to run is named, not shown.
fn shown(sandbox: &Sandbox, call: &JournalEntry) -> String {
    let mut headers: Vec<String> = call
        .headers
        .iter()
        .map(|(name, value)| match name.as_str() {
            "host" => "host: [loopback]".into(),
            "user-agent" => format!("user-agent: {}", value.replace(env!("CARGO_PKG_VERSION"), "[version]")),
            "x-bunq-client-request-id" => format!("{name}: [{} characters]", value.len()),
            "x-bunq-client-authentication" => format!("{name}: [token]"),
            "x-bunq-client-signature" => {
                assert_eq!(call.signature, ReceivedSignature::Valid);
                format!("{name}: [valid]")
            }
            _ => format!("{name}: {value}"),
        })
        .collect();
    headers.sort();
    let query = call.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let body = call.body.replace(sandbox.api_key().expose(), "[api key]");
    let body = match body.split_once("-----BEGIN PUBLIC KEY-----") {
        Some((before, _)) => format!("{before}[public key]\"}}"),
        None => body,
    };
    format!("{} {}{query}\n{}\n\n{body}", call.method, call.path, headers.join("\n"))
}

fn last(sandbox: &Sandbox) -> String {
    shown(sandbox, sandbox.journal().last().unwrap())
}

#[tokio::test]
async fn authentication() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().device_description("till 7").permitted_ips(PermittedIps::Any).build().unwrap();
    client.provisions().list().page().await.unwrap();
    client.end_session().await.unwrap();
    let journal = sandbox.journal();
    assert_snapshot!("create_installation", shown(&sandbox, &journal[0]));
    assert_snapshot!("create_device_server", shown(&sandbox, &journal[1]));
    assert_snapshot!("create_session", shown(&sandbox, &journal[2]));
    assert_snapshot!("delete_session", shown(&sandbox, &journal[4]));
    assert_eq!(journal.len(), 5);
}

#[tokio::test]
async fn provisions() {
    let (sandbox, client) = start().await;
    let provisions = client.provisions();
    let (email, phone) = ("user@example.com", "+31600000000");

    let person = NewProvision::person(UUID, email.parse().unwrap(), phone.parse().unwrap())
        .with_transaction_audit(date(1990, 1, 31), "NL".parse().unwrap());
    let person = provisions.create(person).await.unwrap();
    assert_snapshot!("create_provision_person", last(&sandbox));

    let company =
        NewProvision::company(Uuid::from_u128(1), email.parse().unwrap(), phone.parse().unwrap(), person.id());
    let _ = provisions.create(company).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&sandbox.journal().last().unwrap().body).unwrap();
    assert_eq!(body["director_relation_provision_id"], person.id().get());
    assert_snapshot!("create_provision_company", last(&sandbox).replace(&person.id().to_string(), "[person]"));

    let by_email =
        NewProvisionByPointer::email(Uuid::from_u128(2), email.parse().unwrap(), "Example Person".parse().unwrap());
    let _ = provisions.create(by_email).await.unwrap();
    assert_snapshot!("create_provision_by_email", last(&sandbox));

    let by_phone = NewProvisionByPointer::phone_number(
        Uuid::from_u128(3),
        phone.parse().unwrap(),
        "Example Person".parse().unwrap(),
    );
    let _ = provisions.create(by_phone).await.unwrap();
    assert_snapshot!("create_provision_by_phone_number", last(&sandbox));

    provisions.get(person.id()).await.unwrap();
    assert_snapshot!("get_provision", last(&sandbox).replace(&person.id().to_string(), "[person]"));

    let list = provisions.list().status([ProvisionStatus::Created, ProvisionStatus::Active]).external_uuid(UUID);
    list.count(PageSize::new(50).unwrap()).page().await.unwrap();
    assert_snapshot!("list_provisions", last(&sandbox));
    provisions.list().page_at("older_id=42".parse().unwrap()).await.unwrap();
    assert_snapshot!("list_provisions_older", last(&sandbox));
    provisions.list().page_at("newer_id=42".parse().unwrap()).await.unwrap();
    assert_snapshot!("list_provisions_newer", last(&sandbox));
}

#[tokio::test]
async fn resetting_a_token() {
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    let _ = client.provisions().reset_token(id).await.unwrap();
    assert_snapshot!("update_provision_reset_token", last(&sandbox).replace(&id.to_string(), "[provision]"));
}

/// The page that the project was created from: the call, and bunq's two answers to it.
#[tokio::test]
async fn closing_a_provision_holds_to_the_letter() {
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
    sandbox.before_signing(|call, answer| {
        if call.path == "/v1/partner-user-provision/123" {
            answer.status = 200;
            answer.body = if call.method == "PUT" { ACCEPTED.into() } else { CLOSED.into() };
        }
    });

    let closing = client.provisions().close(id(123)).await.unwrap();
    assert_snapshot!("update_provision_close", last(&sandbox));

    let closed = closing.wait().await.unwrap();
    assert_snapshot!("closed_provision", format!("{closed:#?}"));
    let answered: serde_json::Value = serde_json::from_str(CLOSED).unwrap();
    assert_eq!(serde_json::to_value(&closed).unwrap(), answered["Response"][0]["PartnerUserProvision"]);
}

#[tokio::test]
async fn every_try_has_a_request_id_of_its_own() {
    let (sandbox, client) = start().await;
    sandbox.end_sessions();
    let id = ready(&client).await;
    quick(client.provisions().close(id).await.unwrap()).wait().await.unwrap();
    let journal = sandbox.journal();
    let mut ids: Vec<_> = journal.iter().map(|call| call.header("x-bunq-client-request-id").unwrap()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[tokio::test]
async fn nothing_but_the_installation_leaves_unsigned() {
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    quick(client.provisions().reset_token(id).await.unwrap()).wait().await.unwrap();
    quick(client.provisions().close(id).await.unwrap()).wait().await.unwrap();
    let with_body: Vec<_> = sandbox.journal().into_iter().filter(|call| !call.body.is_empty()).collect();
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

/// The table that the document's `x-bunq-*` make. A change of it is a change of what the client does.
#[test]
fn the_operation_table() {
    let rows: Vec<_> = bunq_partner::Operation::ALL
        .iter()
        .map(|operation| {
            let bunq_partner::Operation { id, method, path, auth, idempotent, rate_limit, .. } = operation;
            let (calls, per) = (rate_limit.calls, rate_limit.per);
            format!("{id:<22}{method:<7}{path:<41}auth {auth:?}, idempotent {idempotent}, {calls} calls in {per:?}")
        })
        .collect();
    assert_snapshot!("operations", rows.join("\n"));
}

/// Nothing but the documented types, so that `Client` and what it hands out can be used across tasks.
#[test]
fn what_is_handed_out_can_cross_tasks() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<Client>();
    crosses::<bunq_partner::Waiter>();
    crosses::<bunq_partner::Error>();
    crosses::<Sandbox>();
}
