//! API keys: whose they are, and the addresses that they may be used from.

use std::net::{IpAddr, Ipv4Addr};

use bunq_partner::{Client, ErrorKind, HttpConfig, Operation, PermittedIps, UserClient};
use bunq_partner_sandbox::Sandbox;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::common::user_of;

fn from(sandbox: &Sandbox, last: u8, permitted_ips: PermittedIps) -> Client {
    let http = HttpConfig::default().local_address(IpAddr::from([127, 0, 0, last]));
    sandbox.client().http(http).permitted_ips(permitted_ips).build().unwrap()
}

async fn is_refused(client: &Client, operation: &'static Operation) {
    let error = client.open_session().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unauthorized, Some(operation)));
    assert_eq!(error.bunq_messages(), ["User credentials are incorrect. Incorrect API key or IP address."]);
}

#[tokio::test]
async fn a_key_is_bound_to_the_addresses_of_its_first_device() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let others = PermittedIps::Only(vec![Ipv4Addr::new(127, 0, 0, 2)]);
    is_refused(&from(&sandbox, 1, others), &Operation::CREATE_DEVICE_SERVER).await;

    let listed = PermittedIps::Only(vec![Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)]);
    from(&sandbox, 1, listed).open_session().await.unwrap();
    from(&sandbox, 2, PermittedIps::Caller).open_session().await.expect("it is listed");
    is_refused(&from(&sandbox, 3, PermittedIps::Caller), &Operation::CREATE_DEVICE_SERVER).await;
    is_refused(&from(&sandbox, 3, PermittedIps::Any), &Operation::CREATE_DEVICE_SERVER).await;

    // The bindings are part of the state.
    let saved = sandbox.saved_state().unwrap();
    let again = Sandbox::builder().saved_state(saved).start().await.unwrap();
    from(&again, 2, PermittedIps::Caller).open_session().await.unwrap();
    is_refused(&from(&again, 3, PermittedIps::Caller), &Operation::CREATE_DEVICE_SERVER).await;
    from(&again, 1, PermittedIps::Any).open_session().await.unwrap();
    from(&again, 3, PermittedIps::Caller).open_session().await.expect("the key may be used from everywhere now");
}

/// The ids of the user and of the person, from the last session that was opened.
async fn ids(client: &UserClient, sandbox: &Sandbox) -> [u64; 2] {
    let (send, receive) = std::sync::mpsc::channel();
    sandbox.before_signing(move |call, response| {
        if call.path.ends_with("/session-server") {
            let _ = send.send(serde_json::from_slice::<Value>(&response.body).unwrap());
        }
    });
    client.end_session().await.unwrap();
    client.open_session().await.unwrap();
    let response = receive.try_recv().unwrap();
    let places = ["/Response/2/UserApiKey/id", "/Response/2/UserApiKey/granted_by_user/UserPerson/id"];
    places.map(|place| response.pointer(place).unwrap().as_u64().unwrap())
}

#[tokio::test]
async fn a_user_has_the_same_id_in_every_session() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let [id, other] = sandbox.populate(2).try_into().unwrap();
    let client = user_of(&sandbox, id).await;
    let first = ids(&client, &sandbox).await;
    assert_eq!(ids(&client, &sandbox).await, first);

    sandbox.client().build().unwrap().provisions().reset_token(id).await.unwrap().await.unwrap();
    assert_eq!(ids(&user_of(&sandbox, id).await, &sandbox).await, first);
    let others = ids(&user_of(&sandbox, other).await, &sandbox).await;
    let all = [first[0], first[1], others[0], others[1], id.get(), other.get()];
    let distinct: std::collections::HashSet<_> = all.into_iter().collect();
    assert_eq!(distinct.len(), all.len(), "no id is taken for another: {all:?}");
}

const PATH: &str = "/credential-password-ip";

#[tokio::test]
async fn addresses_are_added_permitted_and_forbidden_and_stay_so() {
    test_timeout::start();
    let folder = crate::common::Folder::new();
    let start = || Sandbox::builder().state_file(folder.path("state")).start();
    let sandbox = start().await.unwrap();
    let caller = Caller::of(&sandbox, &from(&sandbox, 1, PermittedIps::Caller)).await;
    let credentials = caller.read(PATH, "CredentialPasswordIp").await;
    let [credential] = credentials.as_slice() else { panic!("{credentials:?}") };
    assert_eq!((credential["status"].as_str(), &credential["token_value"]), (Some("ACTIVE"), &Value::Null));
    assert_eq!(credential["permitted_device"]["ip"], "127.0.0.1");
    let of_credential = format!("{PATH}/{}", credential["id"]);
    assert_eq!(caller.read(&of_credential, "CredentialPasswordIp").await, credentials);

    let ips = format!("{of_credential}/ip");
    let shown = async |caller: &Caller| {
        let read = caller.read(&ips, "PermittedIp").await;
        let text = |address: &Value, name: &str| address[name].as_str().unwrap().to_owned();
        read.iter().map(|address| text(address, "ip") + " " + &text(address, "status")).collect::<Vec<_>>()
    };
    assert_eq!(shown(&caller).await, ["127.0.0.1 ACTIVE"]);
    for (body, problem) in [
        (r#"{"ip": "*"}"#, "The body is not as documented"),
        (r#"{"ip": "::1"}"#, "The body is not as documented"),
        (r#"{"ip": "127.0.0.2", "status": "PAUSED"}"#, "The body is not as documented"),
    ] {
        let (status, refusal) = caller.call(Method::POST, &ips, body).await;
        assert_eq!(status, 400);
        assert!(refusal["Error"][0]["error_description"].as_str().unwrap().starts_with(problem), "{refusal}");
    }
    is_refused(&from(&sandbox, 2, PermittedIps::Caller), &Operation::CREATE_DEVICE_SERVER).await;
    let second = caller.change(Method::POST, &ips, r#"{"ip": "127.0.0.2"}"#).await;
    caller.change(Method::POST, &ips, r#"{"ip": "127.0.0.3", "status": "INACTIVE"}"#).await;
    assert_eq!(shown(&caller).await, ["127.0.0.3 INACTIVE", "127.0.0.2 ACTIVE", "127.0.0.1 ACTIVE"]);
    assert_eq!(caller.change(Method::POST, &ips, r#"{"ip": "127.0.0.2"}"#).await, second, "there is one of each");
    from(&sandbox, 2, PermittedIps::Caller).open_session().await.unwrap();
    is_refused(&from(&sandbox, 3, PermittedIps::Caller), &Operation::CREATE_DEVICE_SERVER).await;

    let of_ip = format!("{ips}/{second}");
    assert_eq!(caller.read(&of_ip, "PermittedIp").await[0]["ip"], "127.0.0.2");
    let (status, _) = caller.call(Method::PUT, &of_ip, r#"{"ip": "127.0.0.4"}"#).await;
    assert_eq!(status, 400, "an address cannot be edited");
    assert_eq!(caller.change(Method::PUT, &of_ip, r#"{"status": "INACTIVE"}"#).await, second);
    let before = shown(&caller).await;
    assert_eq!(before, ["127.0.0.3 INACTIVE", "127.0.0.2 INACTIVE", "127.0.0.1 ACTIVE"]);
    is_refused(&from(&sandbox, 2, PermittedIps::Any), &Operation::CREATE_DEVICE_SERVER).await;

    drop(sandbox);
    let sandbox = start().await.unwrap();
    let caller = Caller::of(&sandbox, &from(&sandbox, 1, PermittedIps::Caller)).await;
    assert_eq!(shown(&caller).await, before);
    is_refused(&from(&sandbox, 2, PermittedIps::Caller), &Operation::CREATE_DEVICE_SERVER).await;
}

#[tokio::test]
async fn who_forbids_the_own_address_is_locked_out() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = from(&sandbox, 1, PermittedIps::Any);
    let caller = Caller::of(&sandbox, &client).await;
    let credential = caller.read(PATH, "CredentialPasswordIp").await[0]["id"].clone();
    let ips = format!("{PATH}/{credential}/ip");
    let own = caller.read(&ips, "PermittedIp").await[0]["id"].clone();
    caller.change(Method::PUT, &format!("{ips}/{own}"), r#"{"status": "INACTIVE"}"#).await;
    let (status, refusal) = caller.call(Method::POST, &ips, r#"{"ip": "127.0.0.2"}"#).await;
    assert_eq!(status, 403, "the session goes on, but adds no address: {refusal}");
    client.end_session().await.unwrap();
    is_refused(&client, &Operation::CREATE_SESSION).await;
}

#[tokio::test]
async fn a_credential_is_seen_by_its_holder_alone() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let id = sandbox.populate(1)[0];
    let partner = sandbox.client().build().unwrap();
    let company = Caller::of(&sandbox, &partner).await;
    let credential = async || sandbox.provision(id).unwrap()["credential"].clone();
    let user = Caller::of_user(&sandbox, &user_of(&sandbox, id).await).await;

    let users = user.read(PATH, "CredentialPasswordIp").await;
    let companys = company.read(PATH, "CredentialPasswordIp").await;
    assert_eq!((users.len(), &users[0]["id"]), (1, &credential().await["id"]));
    assert_eq!((&users[0]["status"], &users[0]["token_value"]), (&json!("ACTIVE"), &Value::Null));
    assert_eq!(users[0]["expiry_time"], Value::Null);
    let companys_ip = company.read(&format!("{PATH}/{}/ip", companys[0]["id"]), "PermittedIp").await[0]["id"].clone();
    for path in [
        format!("{PATH}/{}", companys[0]["id"]),
        format!("{PATH}/{}/ip", companys[0]["id"]),
        format!("{PATH}/{}/ip/{companys_ip}", companys[0]["id"]),
        format!("{PATH}/{}/ip/{companys_ip}", users[0]["id"]),
    ] {
        assert_eq!(user.call(Method::GET, &path, "").await.0, 404, "{path}");
    }
    for (caller, other) in [(&company, &user), (&user, &company)] {
        let path = format!("/user/{}{PATH}", other.user);
        assert_eq!(caller.call_at(Method::GET, &path, "").await.0, 403);
    }
    assert_eq!(company.call_at(Method::GET, &format!("/user/1{PATH}"), "").await.0, 403);
    assert_eq!(user.call_at(Method::GET, "/partner-user-provision", "").await.0, 403, "it takes the partner's session");

    // The session ends with its credential, and the next one sees the new one.
    partner.provisions().reset_token(id).await.unwrap().await.unwrap();
    assert_eq!(user.call(Method::GET, PATH, "").await.0, 401);
    let user = Caller::of_user(&sandbox, &user_of(&sandbox, id).await).await;
    let used = user.read(PATH, "CredentialPasswordIp").await;
    assert_eq!((used.len(), &used[0]["id"]), (1, &credential().await["id"]));
    assert_eq!((&used[0]["status"], &used[0]["token_value"]), (&json!("ACTIVE"), &Value::Null));
    assert_eq!(user.call(Method::GET, &format!("{PATH}/{}", users[0]["id"]), "").await.0, 404);
    let closing = partner.provisions().close(id).await.unwrap();
    assert!(user.read(PATH, "CredentialPasswordIp").await.is_empty());
    closing.await.unwrap();
    assert_eq!(user.call(Method::GET, PATH, "").await.0, 401);
}

#[tokio::test]
async fn an_installation_is_told_from_another_and_tells_its_key() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    sandbox.before_signing(move |call, response| {
        if call.method == "POST" && call.path.ends_with("/installation") {
            let _ = send.send(serde_json::from_slice::<Value>(&response.body).unwrap());
        }
    });
    let caller = Caller::of(&sandbox, &sandbox.client().build().unwrap()).await;
    let installed = receive.try_recv().unwrap()["Response"].clone();
    let path = format!("/installation/{}", installed[0]["Id"]["id"]);
    assert_eq!(caller.call_at(Method::GET, &path, "").await, (200, json!({ "Response": [installed[0]] })));
    let path = format!("{path}/server-public-key");
    assert_eq!(caller.call_at(Method::GET, &path, "").await, (200, json!({ "Response": [installed[2]] })));
    for path in ["/installation/1", "/installation/1/server-public-key"] {
        assert_eq!(caller.call_at(Method::GET, path, "").await.0, 404);
    }
}
