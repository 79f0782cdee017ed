//! What is read and sent again: nothing that others have set is lost, whatever it is, and nothing is sent that only stands for a secret.

use bunq_partner::types::{NotificationFilter, ReplaceNotificationFiltersRequest};
use bunq_partner::{Api, Error, ErrorKind, Operation};
use bunq_partner_sandbox::Sandbox;
use serde_json::json;

use crate::common::start;

/// A filter that bunq shows, with these members beside those that the document knows.
async fn read(sandbox: &Sandbox, api: &Api, members: &str) -> Result<NotificationFilter, Error> {
    let known = r#""notification_target": "http://a.example", "category": "NOVELTY", "all_verification_type": null"#;
    let body = format!("{{\"Response\": [{{\"NotificationFilterUrl\": {{{members}, {known}}}}}]}}");
    sandbox.before_signing(move |call, response| {
        if call.operation == Some(&Operation::LIST_NOTIFICATION_FILTERS) {
            response.body = body.clone().into();
        }
    });
    let filters = api.list_notification_filters().await.map(|filters| filters.into_inner());
    sandbox.clear_edits();
    filters.map(|mut filters| filters.remove(0))
}

/// The text of the filter in the request that replaces all filters.
async fn sent(sandbox: &Sandbox, api: &Api, filter: NotificationFilter) -> String {
    // What the sandbox says to it does not matter.
    let _ = api.replace_notification_filters(&ReplaceNotificationFiltersRequest::new(vec![filter])).await;
    let body = sandbox.call_log().pop().unwrap().body;
    body.strip_prefix("{\"notification_filters\":[").and_then(|body| body.strip_suffix("]}")).unwrap().to_owned()
}

#[tokio::test]
async fn what_others_have_set_is_sent_again_byte_for_byte() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let api = client.api();
    let deep = format!("{}1{}", "[".repeat(90), "]".repeat(90));
    for (name, value) in [
        ("all_user_id", "null"),
        ("all_user_id", "[]"),
        ("all_monetary_account_id", "[9007199254740993, 18446744073709551617, -0, 1.50, 1e400]"),
        ("text", r#""\u00e9\ud83d\ude00 \/ \u2028 \"quoted\"""#),
        ("nested", r#"{ "b": [ {"a": {"token": "planted"}} ], "a" : {} , "b": 2 }"#),
        ("secret", r#""planted""#),
        ("unknown", "true"),
        ("deep", deep.as_str()),
    ] {
        let filter = read(&sandbox, &api, &format!("\"{name}\": {value}")).await.unwrap();
        let debug = format!("{filter:?}");
        assert!(debug.contains(name) && !debug.contains("planted"), "{debug}");
        let known = r#""category":"NOVELTY","notification_target":"http://a.example""#;
        assert_eq!(sent(&sandbox, &api, filter).await, format!("{{{known},\"{name}\":{value}}}"));
    }
    let both = read(&sandbox, &api, r#""same": 1, "s\u0061me": 2"#).await.unwrap();
    assert!(sent(&sandbox, &api, both).await.ends_with(r#","same":1,"same":2}"#));
}

#[tokio::test]
async fn a_long_list_of_users_is_kept_and_one_that_is_too_long_costs_the_read() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let api = client.api();
    let users = |count: u64| format!("\"all_user_id\": {:?}", (0..count).map(|id| 1_000_000 + id).collect::<Vec<_>>());
    let filter = read(&sandbox, &api, &users(7000)).await.unwrap();
    assert!(sent(&sandbox, &api, filter).await.contains(", 1006999]"));
    let error = read(&sandbox, &api, &users(8000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(error.to_string().contains("`Response[0].NotificationFilterUrl.all_user_id`"), "{error}");
}

/// What was printed or stored has `[redacted]` in place of secrets.
#[tokio::test]
async fn what_stands_for_a_secret_is_not_sent() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let api = client.api();
    let filter = read(&sandbox, &api, r#""of": [{"token": "planted"}]"#).await.unwrap();
    let stored = serde_json::to_string(&filter).unwrap();
    assert!(stored.contains(r#"{"token":"[redacted]"}"#) && !stored.contains("planted"), "{stored}");
    let reread: NotificationFilter = serde_json::from_str(&stored).unwrap();
    let before = sandbox.call_log().len();

    let request = ReplaceNotificationFiltersRequest::new(vec![reread]);
    let body = json!({ "notification_filters": [serde_json::from_str::<serde_json::Value>(&stored).unwrap()] });
    let operation = &Operation::REPLACE_NOTIFICATION_FILTERS;
    for error in [
        api.replace_notification_filters(&request).await.unwrap_err(),
        api.call(operation, &[], Some(&body)).await.unwrap_err(),
        api.preview(operation, &[], Some(&body)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let problem = "replace_notification_filters: a text of the body is \"[redacted]\", which stands for a secret";
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert_eq!(sandbox.call_log().len(), before);
    assert!(sent(&sandbox, &api, filter).await.contains(r#""of":[{"token": "planted"}]"#));
}
