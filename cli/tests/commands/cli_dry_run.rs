//! `--dry-run` shows what is sent without it.

use bunq_partner_sandbox::Sandbox;
use serde_json::Value;

use crate::common::{Folder, program_for, ran, use_elsewhere};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_what_is_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let ids: Vec<_> = sandbox.populate(4).iter().map(ToString::to_string).collect();
    use_elsewhere(&sandbox, ids[2].parse().unwrap()).await;
    let users = folder.own_folder("users").display().to_string();
    let new = ["create", "--email", "user@example.com", "--phone-number", "+31600000000", "--external-uuid"];
    let new = [&new[..], &["11111111-1111-4111-8111-111111111111"]].concat();
    let body = ["api", "update_provision", "--body", "{\"status\": \"CANCELLED\"}", "--param"];
    let id = format!("provision_id={}", ids[3]);
    for command in [
        vec!["close", &ids[0], &ids[1]],
        new,
        vec!["users", "reset", &ids[2], "--custody", &users],
        [&body[..], &[&id]].concat(),
        vec!["api", "list_provisions", "--param", "count=2"],
        vec!["session", "end"],
    ] {
        let arguments = [&command[..], &["--output", "json"]].concat();
        let (shown, err, code) = ran(program_for(&folder, &sandbox).args(&arguments).arg("--dry-run"));
        assert_eq!((err.as_str(), code), ("", 0), "{command:?}");
        let shown: Vec<Value> = serde_json::from_str(&shown).unwrap();

        let opened = ran(program_for(&folder, &sandbox).arg("whoami"));
        assert_eq!(opened.2, 0, "{opened:?}");
        sandbox.take_call_log();
        let (_, err, code) = ran(program_for(&folder, &sandbox).args(&arguments));
        assert_eq!(code, 0, "{command:?}: {err}");
        let root = sandbox.base_url().trim_end_matches("/v1");
        let sent = sandbox.take_call_log().into_iter().map(|call| {
            let query = call.query.map(|query| format!("?{query}")).unwrap_or_default();
            let body: Value = serde_json::from_str(&call.body).unwrap_or_default();
            let url = format!("{root}{}{query}", call.path);
            let none = serde_json::json!({});
            serde_json::json!({ "method": call.method, "url": url, "headers": none, "body": body, "upload": null })
        });
        let (mut shown, mut sent) = (shown, sent.collect::<Vec<_>>());
        if command[0] == "users" {
            // The provision is read again until it is reset, and then the user's session is opened.
            sent.retain(|request| request["method"] == "PUT");
            shown.retain(|request| request["method"] == "PUT");
        }
        // Several closings are in no order.
        shown.sort_by_key(Value::to_string);
        sent.sort_by_key(Value::to_string);
        assert_eq!(shown, sent, "{command:?}");
    }
}
