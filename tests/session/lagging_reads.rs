//! bunq may show for a while what was before a reset, or before the first session. What is kept of a user does not go for that.

use bunq_partner::{Client, Custody as _, ErrorKind, MemoryCustody, Operation, ProvisionId};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use serde_json::{Value, json};

use crate::common::{at_once, calls, unsealed};

fn client(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    sandbox.client().retry(at_once()).custody(custody.clone()).build().unwrap()
}

/// A bank that shows a credential as unused that was used since, or another that was replaced by it. Its user is in custody.
async fn bank(is_other: bool) -> (Sandbox, MemoryCustody, ProvisionId) {
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    let mut before = sandbox.provision(id).unwrap()["credential"].clone();
    assert_eq!(before["status"], "PENDING_FIRST_USE");
    if is_other {
        let replaced = json!({ "id": 7, "token_value": "replaced-token", "expiry_time": "2026-11-01 12:00:00.000000" });
        before.as_object_mut().unwrap().extend(replaced.as_object().unwrap().clone());
    }
    client(&sandbox, &custody).users().activate(id).await.unwrap();
    sandbox.before_signing(move |call, response| {
        let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return };
        let Some(items) = body["Response"].as_array_mut().filter(|_| call.method == "GET") else { return };
        for item in items {
            if item["PartnerUserProvision"]["credential"].is_object() {
                item["PartnerUserProvision"]["credential"] = before.clone();
            }
        }
        response.body = body.to_string().into();
    });
    sandbox.take_call_log();
    (sandbox, custody, id)
}

#[tokio::test]
async fn what_bunq_still_takes_is_not_replaced() {
    test_timeout::start();
    for is_other in [true, false] {
        for has_session in [true, false] {
            let (sandbox, custody, id) = bank(is_other).await;
            if !has_session {
                client(&sandbox, &custody).users().of(id).end_session().await.unwrap();
            }
            let kept = async || unsealed(custody.load(id).await.unwrap().unwrap().expose(), &sandbox.api_key());
            let before = kept().await;
            let user = client(&sandbox, &custody).users().activate(id).await.unwrap();
            user.api().list_credentials().await.unwrap();
            let now = kept().await;
            let of = |kept: &Value| (kept["token"].clone(), kept["context"]["installation"].clone());
            assert_eq!(of(&now), of(&before), "{is_other} {has_session}");
            // The partner's own are among them.
            let opened = calls(&sandbox, "POST", "/session-server").len();
            assert_eq!(opened, 1 + usize::from(!has_session), "{is_other} {has_session}");
        }
    }
}

/// Whether bunq takes it cannot be found out.
#[tokio::test]
async fn what_bunq_may_still_take_is_not_replaced() {
    test_timeout::start();
    for is_other in [true, false] {
        let (sandbox, custody, id) = bank(is_other).await;
        let before = custody.load(id).await.unwrap();
        sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_INSTALLATION).always());
        let error = client(&sandbox, &custody).users().activate(id).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Server, true), "{error}");
        assert_eq!(custody.load(id).await.unwrap(), before);
    }
}
