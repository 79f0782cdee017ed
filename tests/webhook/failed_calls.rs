//! Calls that bunq could not deliver, and calls that nothing reads anything for: none is lost silently.

use bunq_partner::types::NotificationCategory;
use bunq_partner::webhook::{Change, ChangedObject, Changes, HintJournalBounds};
use bunq_partner::{MemoryCustody, Operation, ProvisionId};
use bunq_partner_sandbox::Sandbox;
use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::bank::{Bank, MINUTE, SECOND, next, nothing, still};

fn category(name: &str) -> NotificationCategory {
    serde_json::from_value(json!(name)).unwrap()
}

/// Has bunq list these failures, of which the last is the oldest, whose id is 1.
fn list_failures(sandbox: &Sandbox, mut failures: Vec<Value>) {
    let count = failures.len();
    for (number, failure) in failures.iter_mut().enumerate() {
        failure["id"] = json!(count - number);
    }
    let items: Vec<_> = failures.into_iter().map(|failure| json!({ "NotificationFilterFailure": failure })).collect();
    let page = json!({ "future_url": null, "newer_url": null, "older_url": null });
    let body = json!({ "Response": items, "Pagination": page }).to_string();
    sandbox.before_signing(move |call, response| {
        if call.operation == Some(&Operation::LIST_NOTIFICATION_FILTER_FAILURES) {
            response.body = body.clone().into();
        }
    });
}

/// What is told of a change that nobody has confirmed: the user, the category, the event, the kind and the id.
fn unconfirmed(change: &Change) -> (Option<ProvisionId>, Value) {
    match change.object() {
        ChangedObject::Unconfirmed { provision_id, hint } => {
            (*provision_id, json!(hint).as_array().unwrap()[..4].to_vec().into())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn failed_calls_that_nothing_reads_anything_for_are_handed_on_if_asked_for_and_counted_otherwise() {
    test_timeout::start();
    let custody = MemoryCustody::new();
    let bank = Bank::with(still(), |client| client.custody(custody), HintJournalBounds::default()).await;
    let id = bank.sandbox.populate(1)[0];
    let user = bank.client.users().activate(id).await.unwrap().user().await.unwrap().id;
    let text = "SUPPORT_MESSAGE_USER_TEXT_RECEIVED";
    list_failures(
        &bank.sandbox,
        vec![
            json!({"category": "SUPPORT", "event_type": text, "object_id": 9, "user_id": user}),
            json!({"category": "SUPPORT", "event_type": text, "object_id": 9, "user_id": 4_000_000}),
            json!({"category": "SUPPORT"}),
            // Older responses have no user, so nobody knows which onboarding it is.
            json!({"category": "USER_ONBOARDING", "object_id": 7}),
            json!({"category": "PAYMENT", "object_id": 9, "user_id": user}),
            json!({}),
        ],
    );
    let asked = ["SUPPORT", "USER_ONBOARDING"].map(category);
    let mut changes = bank.client.changes(&bank.receiver).unconfirmed(asked).start().unwrap();
    let mut told = Vec::new();
    for number in 0..4 {
        let change = next(&mut changes).await;
        told.push(unconfirmed(&change));
        match number {
            0 => drop(change),
            _ => change.done().await.unwrap(),
        }
    }
    let expected = [
        (None, json!(["USER_ONBOARDING", null, "onboarding", 7])),
        (None, json!(["SUPPORT", null, null, null])),
        (None, json!(["SUPPORT", text, null, 9])),
        (Some(id), json!(["SUPPORT", text, null, 9])),
    ];
    assert_eq!(told, expected);
    // What was dropped, and nothing of the looks that follow.
    let change = next(&mut changes).await;
    assert_eq!(unconfirmed(&change), expected[0]);
    change.done().await.unwrap();
    nothing(&mut changes, 11 * MINUTE).await;
    let numbers = changes.numbers();
    assert_eq!((numbers.found, numbers.ignored, numbers.unconfirmed, numbers.handed_on), (4, 2, 5, 4));
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_about_an_object_that_is_read_is_told_as_it_is_read() {
    test_timeout::start();
    let bank = Bank::new().await;
    let id = bank.sandbox.populate(1)[0];
    list_failures(&bank.sandbox, vec![json!({"category": "PARTNER_USER_PROVISION", "object_id": id})]);
    let asked = [NotificationCategory::PartnerUserProvision];
    let mut changes = bank.client.changes(&bank.receiver).unconfirmed(asked).start().unwrap();
    let change = next(&mut changes).await;
    assert!(matches!(change.object(), ChangedObject::Provision(provision) if provision.id == id), "{change:?}");
    change.done().await.unwrap();
}

/// Whose it is may be known when the custody is listed again.
#[tokio::test(start_paused = true)]
async fn a_call_about_a_user_who_is_perhaps_listed_later_is_put_off() {
    test_timeout::start();
    let bank = Bank::with(still(), |client| client.custody(MemoryCustody::new()), HintJournalBounds::default()).await;
    let asked = [NotificationCategory::UserOnboarding];
    let mut changes = bank.client.changes(&bank.receiver).unconfirmed(asked).start().unwrap();
    nothing(&mut changes, SECOND).await;
    let call = async |user: u64| bank.called("USER_ONBOARDING", json!({"UserOnboarding": {"user_id": user}})).await;
    assert_eq!(call(4_000_000).await, StatusCode::OK);
    next(&mut changes).await.done().await.unwrap();
    // The listing has begun before.
    sleep(SECOND).await;
    assert_eq!(call(4_000_001).await, StatusCode::OK);
    nothing(&mut changes, 30 * SECOND).await;
    let change = next(&mut changes).await;
    assert_eq!(unconfirmed(&change), (None, json!(["USER_ONBOARDING", null, null, null])));
    change.done().await.unwrap();
    assert_eq!((changes.numbers().foreign, bank.pending().await), (0, 0));
}

/// A call of a category that is asked for, with what bunq may leave out of it.
#[tokio::test(start_paused = true)]
async fn a_call_without_an_id_is_handed_on_if_its_category_is_asked_for_and_counted_otherwise() {
    test_timeout::start();
    let bank = Bank::new().await;
    let mut changes = bank.client.changes(&bank.receiver).unconfirmed([category("SUPPORT")]).start().unwrap();
    let take = async |changes: &mut Changes| timeout(SECOND, changes.next()).await.ok().flatten();
    assert!(take(&mut changes).await.is_none());
    for (name, object) in [
        ("SUPPORT", json!({})),
        ("SUPPORT", json!({"SupportMessage": {"text": "planted"}})),
        ("USER_ONBOARDING", json!({"UserOnboarding": {"id": 7}})),
        ("PAYMENT", json!({})),
    ] {
        assert_eq!(bank.called(name, object).await, StatusCode::OK);
        let change = take(&mut changes).await;
        assert_eq!(change.is_some(), name == "SUPPORT", "{change:?}");
        if let Some(change) = change {
            assert_eq!(unconfirmed(&change), (None, json!(["SUPPORT", null, null, null])));
            change.done().await.unwrap();
        }
    }
    assert_eq!((changes.numbers().ignored, changes.numbers().unconfirmed, bank.pending().await), (2, 2, 0));
}
