//! What clients make is in the state file when they are told of it, whenever the process ends.

use std::path::Path;

use bunq_partner::Uuid;
use bunq_partner::types::AttachmentContentType;
use bunq_partner_sandbox::Sandbox;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::common::Folder;

const READS: [&str; 8] = [
    "/notification-filter-url",
    "/notification-filter-failure",
    "/certificate-pinned",
    "/oauth-client",
    "/oauth-client/901",
    "/oauth-client/901/callback-url",
    "/credential-password-ip",
    "/credential-password-ip/1000/ip",
];

/// All that the user of the session can list.
async fn listed(caller: &Caller) -> Vec<Value> {
    let mut all = Vec::new();
    for path in READS {
        let (status, body) = caller.call(Method::GET, path, "").await;
        assert_eq!(status, 200, "{path}: {body}");
        all.push(body);
    }
    all
}

/// A sandbox that goes on from what a state file has, as after the end of the process.
async fn restarted(folder: &Folder, state: &str) -> Sandbox {
    let copy = folder.file(&Uuid::new_v4().to_string(), state);
    Sandbox::builder().state_file(copy).start().await.unwrap()
}

fn kept(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

#[tokio::test]
async fn every_change_is_kept_at_once() {
    test_timeout::start();
    let folder = Folder::new();
    let file = folder.path("state");
    let sandbox = Sandbox::builder().state_file(&file).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let caller = Caller::of(&sandbox, &client).await;
    let provision = sandbox.populate(1)[0];
    let pem = "-----BEGIN CERTIFICATE-----\nTm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n";
    let filter =
        json!({ "category": "PARTNER_USER_PROVISION", "notification_target": "https://a.example", "n": [1.50] });
    let chain = json!({ "certificate_chain": [{ "certificate": pem }] });
    let (post, put) = (Method::POST, Method::PUT);
    let mut made = Vec::new();
    let mut before = listed(&caller).await;
    for (method, path, body) in [
        (&post, "/notification-filter-url", json!({ "notification_filters": [filter] })),
        (&post, "/notification-filter-failure", json!("the last failure")),
        (&post, "/notification-filter-url", json!({ "notification_filters": [] })),
        (&post, "/certificate-pinned", chain.clone()),
        (&post, "/certificate-pinned", chain.clone()),
        (&Method::DELETE, "/certificate-pinned/{last}", json!("")),
        (&post, "/oauth-client/901/callback-url", json!({ "url": "https://a.example" })),
        (&put, "/oauth-client/901/callback-url/{last}", json!({ "url": "https://b.example" })),
        (&Method::DELETE, "/oauth-client/901/callback-url/{last}", json!("")),
        (&put, "/oauth-client/901", json!({ "status": "CANCELLED" })),
        (&post, "/oauth-client", json!({})),
        (&post, "/credential-password-ip/1000/ip", json!({ "ip": "192.0.2.7" })),
        (&put, "/credential-password-ip/1000/ip/{last}", json!({ "status": "INACTIVE" })),
    ] {
        let path = path.replace("{last}", &made.last().map(ToString::to_string).unwrap_or_default());
        let body = match body.as_str() {
            None => body.to_string(),
            Some("") => String::new(),
            Some(_) => {
                assert_eq!([1, 1].map(|_| sandbox.fail_notification(provision)), [1, 1]);
                let failures = caller.read(&path, "NotificationFilterFailure").await;
                json!({ "notification_filter_failed_ids": failures[0]["id"].to_string() }).to_string()
            }
        };
        let (status, response) = caller.call(method.clone(), &path, &body).await;
        assert_eq!(status, 200, "{method} {path}: {response}");
        made.extend(response["Response"][0]["Id"]["id"].as_u64());
        let now = listed(&caller).await;
        assert_ne!(now, before, "{method} {path} has changed nothing");
        let again = restarted(&folder, &kept(&file)).await;
        assert_eq!(listed(&caller.at(&again)).await, now, "{method} {path} is lost");
        before = now;
    }
    // The ids of what was deleted are not given again.
    let again = restarted(&folder, &kept(&file)).await;
    let later = caller.at(&again).change(post, "/certificate-pinned", &chain.to_string()).await;
    assert!(made.iter().all(|id| *id < later), "{later} {made:?}");

    let png = b"\x89PNG\r\n\x1a\n\x00".to_vec();
    let id =
        client.api().create_attachment(AttachmentContentType::ImagePng, png.clone(), None).await.unwrap().into_inner();
    let again = restarted(&folder, &kept(&file)).await;
    let content = again.client().build().unwrap().api().get_attachment_content(id).await.unwrap();
    assert_eq!(content.as_ref(), png);

    // A line that the process could not write to its end.
    let written = kept(&file);
    let cut = restarted(&folder, &written[..written.len() - 2]).await;
    assert_eq!(listed(&caller.at(&cut)).await, before);
    assert_eq!(caller.at(&cut).call(Method::GET, &format!("/attachment/{id}"), "").await.0, 404);
}
