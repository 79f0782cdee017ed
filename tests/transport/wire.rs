//! bunq's contract for closing a provision byte by byte, and what holds for every request. The snapshots of all
//! operations are in src/api/tests.rs.

use bunq_partner::Client;
use bunq_partner_sandbox::{ReceivedSignature, Sandbox};
use insta::assert_snapshot;

use crate::common::{calls, id, quick, ready, start};

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
