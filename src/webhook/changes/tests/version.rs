//! Which states are the same.

use serde_json::json;

use crate::types::Provision;
use crate::webhook::changes::version::Digester;

#[test]
fn all_that_bunq_shows_is_in_the_digest_and_its_key_is_not_known() {
    test_timeout::start();
    let digest = |object: serde_json::Value| {
        let provision: Provision = serde_json::from_value(object).unwrap();
        Digester::new(&"key".into()).provision(&provision).unwrap().digest
    };
    let whole = json!({
        "id": 1, "status": "ACTIVE", "credential": {"id": 2, "token_value": "token"},
        "oauth_request": {"authorization_code": "code", "client_id": "client", "redirect_url": "https://a.example/?code=c"},
    });
    let mut digests = vec![digest(whole.clone())];
    assert_eq!(digests[0], digest(whole.clone()));
    for (pointer, other) in [
        ("/status", json!("CLOSED")),
        ("/credential/token_value", json!("other")),
        ("/credential/token_value", json!(null)),
        ("/oauth_request/authorization_code", json!("other")),
        ("/oauth_request/client_id", json!("other")),
        ("/oauth_request/redirect_url", json!("https://a.example/?code=d")),
    ] {
        let mut changed = whole.clone();
        *changed.pointer_mut(pointer).unwrap() = other;
        digests.push(digest(changed));
    }
    let provision: Provision = serde_json::from_value(whole).unwrap();
    digests.push(Digester::new(&"another key".into()).provision(&provision).unwrap().digest);
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}
