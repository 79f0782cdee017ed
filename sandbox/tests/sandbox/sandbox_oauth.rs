//! OAuth clients and their callback URLs.

use bunq_partner::types::{
    CreateOauthCallbackUrlRequest, CreateOauthClientRequest, OauthClientStatus, RequestedOauthClientStatus,
    UpdateOauthCallbackUrlRequest, UpdateOauthClientRequest,
};
use bunq_partner::{Error, Operation};
use bunq_partner_sandbox::Sandbox;
use serde_json::json;

use crate::common::{Folder, person};

fn is_refused<T>(result: Result<T, Error>, status: u16, says: &str) {
    let error = result.err().expect("it is refused");
    assert!(error.status() == Some(status) && error.bunq_messages()[0].contains(says), "{error}");
}

#[tokio::test]
async fn clients_and_callback_urls_are_kept_over_a_restart() {
    test_timeout::start();
    let folder = Folder::new();
    let file = folder.path("state");
    let sandbox = Sandbox::builder().without_oauth_client().state_file(&file).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let api = client.api();
    let new_url = |url: &str| CreateOauthCallbackUrlRequest::new(url.parse().unwrap());
    assert!(api.list_oauth_clients().await.unwrap().is_empty());
    is_refused(api.create_provision(&person().into()).await, 400, "no active OAuth client with a callback URL");

    let new = CreateOauthClientRequest::new();
    let first = api.create_oauth_client(&new).await.unwrap().into_inner();
    is_refused(api.create_oauth_client(&new).await, 400, "is active: there can be one");
    is_refused(api.create_provision(&person().into()).await, 400, "no active OAuth client with a callback URL");
    let url = new_url("https://partner.example.com/callback");
    let kept = api.create_oauth_callback_url(first, &url).await.unwrap().into_inner();
    api.create_provision(&person().into()).await.unwrap();

    let gone = api.create_oauth_callback_url(first, &new_url("https://gone.example.com")).await.unwrap().into_inner();
    let other = UpdateOauthCallbackUrlRequest::new("https://partner.example.com/v2".parse().unwrap());
    assert_eq!(*api.update_oauth_callback_url(first, kept, &other).await.unwrap(), kept);
    api.delete_oauth_callback_url(first, gone).await.unwrap();
    is_refused(api.get_oauth_callback_url(first, gone).await, 404, "There is no callback URL");
    is_refused(api.delete_oauth_callback_url(first, gone).await, 404, "There is no callback URL");

    // One that is cancelled stays, and makes room for another.
    let cancel = UpdateOauthClientRequest::new(RequestedOauthClientStatus::Cancelled);
    let activate = UpdateOauthClientRequest::new(RequestedOauthClientStatus::Active);
    api.update_oauth_client(first, &cancel).await.unwrap();
    is_refused(api.create_oauth_callback_url(first, &url).await, 400, "is cancelled");
    is_refused(api.create_provision(&person().into()).await, 400, "no active OAuth client with a callback URL");
    let second = api.create_oauth_client(&new).await.unwrap().into_inner();
    is_refused(api.update_oauth_client(first, &activate).await, 400, "is active: there can be one");
    is_refused(api.get_oauth_callback_url(second, kept).await, 404, "of the OAuth client");
    let before = sandbox.oauth_clients();
    drop((api, client, sandbox));

    let sandbox = Sandbox::builder().state_file(&file).start().await.unwrap();
    assert_eq!(sandbox.oauth_clients(), before);
    let client = sandbox.client().build().unwrap();
    let api = client.api();
    let listed = api.list_oauth_clients().await.unwrap().into_inner();
    let listed: Vec<_> = listed.into_iter().map(|client| (client.id, client.status)).collect();
    assert_eq!(listed, [(second, OauthClientStatus::Active), (first, OauthClientStatus::Cancelled)]);
    let urls = api.list_oauth_callback_urls(first).await.unwrap().into_inner();
    let urls: Vec<_> = urls.iter().map(|known| (known.id, known.url.as_str())).collect();
    assert_eq!(urls, [(Some(kept), "https://partner.example.com/v2")]);
}

#[tokio::test]
async fn what_bunq_would_refuse_is_refused() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let api = client.api();
    let active = client.oauth().find().await.unwrap().expect("a sandbox begins with one");
    let id = active.id.to_string();
    let parameters = [("oauth_client_id", id.as_str())];
    let plain = json!({ "url": "http://partner.example.com/callback" });
    is_refused(api.call(&Operation::CREATE_OAUTH_CALLBACK_URL, &parameters, Some(&plain)).await, 400, "`https://`");
    let list = json!([{ "status": "ACTIVE" }]);
    is_refused(api.call(&Operation::CREATE_OAUTH_CLIENT, &[], Some(&list)).await, 400, "not as documented");
    is_refused(api.get_oauth_client(7_u64.try_into().unwrap()).await, 404, "There is no OAuth client 7");
}
