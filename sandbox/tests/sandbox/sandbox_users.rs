//! What a user's token opens, where, and until when.

use std::sync::LazyLock;
use std::time::Duration;

use bunq_partner::wire::SigningKey;
use bunq_partner::{MemoryCustody, Operation, ProvisionId, Uuid};
use bunq_partner_sandbox::{
    AcceptedInstallation, DeadToken, Fault, Injection, LimitScope, Profile, Sandbox, SandboxBuilder,
};
use reqwest::Method;
use serde_json::{Value, json};

const INCORRECT: &str = "User credentials are incorrect. Incorrect API key or IP address.";

static KEY: LazyLock<String> = LazyLock::new(|| SigningKey::generate().unwrap().public_key_pem().unwrap());

/// A bank that opens sessions without a signature, so that a test can call it without a client.
fn bank(accepted: AcceptedInstallation) -> SandboxBuilder {
    let mut profile = Profile::default();
    (profile.unsigned_session, profile.user_installation) = (None, accepted);
    profile.dead_token = DeadToken::InsufficientAuthentication;
    Sandbox::builder().profile(profile)
}

/// A call with a token; returns the status, and the items or the message of the refusal.
async fn call(sandbox: &Sandbox, token: &str, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, format!("{}{path}", sandbox.base_url()));
    let request = request.header("Cache-Control", "no-cache").header("User-Agent", "sandbox");
    let request = request.header("X-Bunq-Client-Request-Id", Uuid::new_v4().to_string());
    let request = request.header("X-Bunq-Client-Authentication", token);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let response = request.body(body).send().await.unwrap();
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    let body: Value = serde_json::from_str(&text).unwrap();
    let told = if status == 200 { &body["Response"] } else { &body["Error"][0]["error_description"] };
    (status, told.clone())
}

async fn install(sandbox: &Sandbox) -> String {
    let body = json!({ "client_public_key": *KEY });
    let (status, items) = call(sandbox, "", Method::POST, "/installation", &body).await;
    assert_eq!(status, 200, "{items}");
    items[1]["Token"]["token"].as_str().unwrap().to_owned()
}

async fn register(sandbox: &Sandbox, installation: &str, secret: &str) -> (u16, Value) {
    let body = json!({ "description": "test", "secret": secret, "permitted_ips": [] });
    call(sandbox, installation, Method::POST, "/device-server", &body).await
}

async fn open(sandbox: &Sandbox, installation: &str, secret: &str) -> (u16, Value) {
    call(sandbox, installation, Method::POST, "/session-server", &json!({ "secret": secret })).await
}

/// The token of the session, and the id of its user.
async fn opened(sandbox: &Sandbox, installation: &str, secret: &str) -> (String, u64) {
    let (status, items) = open(sandbox, installation, secret).await;
    assert_eq!(status, 200, "{items}");
    let user = items[2].as_object().unwrap().values().next().unwrap()["id"].as_u64().unwrap();
    (items[1]["Token"]["token"].as_str().unwrap().to_owned(), user)
}

/// An installation with a device of this key.
async fn installed(sandbox: &Sandbox, secret: &str) -> String {
    let installation = install(sandbox).await;
    assert_eq!(register(sandbox, &installation, secret).await.0, 200);
    installation
}

fn token(sandbox: &Sandbox, id: ProvisionId) -> String {
    sandbox.provision(id).unwrap()["credential"]["token_value"].as_str().unwrap().to_owned()
}

/// Whether a session is alive.
async fn is_alive(sandbox: &Sandbox, session: &str) -> bool {
    match call(sandbox, session, Method::GET, "/installation", &Value::Null).await {
        (200, _) => true,
        (403, message) if message == "Insufficient authentication." => false,
        other => panic!("{other:?}"),
    }
}

async fn partners(sandbox: &Sandbox) -> (String, String, u64) {
    let installation = installed(sandbox, sandbox.api_key().expose()).await;
    let (session, company) = opened(sandbox, &installation, sandbox.api_key().expose()).await;
    (installation, session, company)
}

/// The rows: what the bank takes, and whether a session is opened under an installation of the user's own, and under the partner's.
#[tokio::test]
async fn a_token_opens_sessions_under_the_installations_that_the_bank_takes() {
    test_timeout::start();
    for (accepted, own, partner) in [
        (AcceptedInstallation::Own, true, false),
        (AcceptedInstallation::Partner, false, true),
        (AcceptedInstallation::Both, true, true),
    ] {
        let sandbox = bank(accepted).start().await.unwrap();
        let (partners, ..) = partners(&sandbox).await;
        let users = sandbox.populate(2);
        let installation = install(&sandbox).await;
        let secret = token(&sandbox, users[0]);
        let (status, message) = open(&sandbox, &installation, &secret).await;
        assert_eq!((status, message), (400, INCORRECT.into()), "it has no device there");
        let registered = register(&sandbox, &installation, &secret).await;
        assert_eq!(registered.0 == 200, own, "{accepted:?}: {registered:?}");
        let answers =
            [open(&sandbox, &installation, &secret).await, open(&sandbox, &partners, &token(&sandbox, users[1])).await];
        for ((status, body), is_taken) in answers.into_iter().zip([own, partner]) {
            assert_eq!(status == 200, is_taken, "{accepted:?}: {body}");
            assert!(is_taken || (status, &body) == (400, &INCORRECT.into()), "{accepted:?}: {status} {body}");
        }
        assert_eq!(register(&sandbox, &partners, &token(&sandbox, sandbox.populate(1)[0])).await.0, 400);
    }
}

#[tokio::test]
async fn the_first_session_binds_a_token() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Both).start().await.unwrap();
    let (partner, ..) = partners(&sandbox).await;
    let [own, under_partner, elsewhere] = sandbox.populate(3).try_into().unwrap();
    let secret = token(&sandbox, own);
    let [first, second] = [installed(&sandbox, &secret).await, installed(&sandbox, &secret).await];
    let (_, user) = opened(&sandbox, &second, &secret).await;
    assert_eq!(opened(&sandbox, &second, &secret).await.1, user);
    for installation in [&first, &partner] {
        assert_eq!(open(&sandbox, installation, &secret).await, (400, INCORRECT.into()));
    }
    assert_eq!(register(&sandbox, &install(&sandbox).await, &secret).await.0, 400, "it is for one device");

    // The partner's installation may be another one by then.
    let secret = token(&sandbox, under_partner);
    let own = installed(&sandbox, &secret).await;
    let (session, user) = opened(&sandbox, &partner, &secret).await;
    let (other, ..) = partners(&sandbox).await;
    assert_eq!(opened(&sandbox, &other, &secret).await.1, user);
    assert_eq!(open(&sandbox, &own, &secret).await, (400, INCORRECT.into()));
    let (_, credentials) =
        call(&sandbox, &session, Method::GET, &format!("/user/{user}/credential-password-ip"), &Value::Null).await;
    let shown = &credentials[0]["CredentialPasswordIp"];
    assert_eq!((&shown["status"], &shown["permitted_device"]["description"]), (&json!("ACTIVE"), &json!("test")));
    let ips = format!("/user/{user}/credential-password-ip/{}/ip", shown["id"]);
    let (_, ips) = call(&sandbox, &session, Method::GET, &ips, &Value::Null).await;
    assert_eq!(ips[0]["PermittedIp"]["ip"], "127.0.0.1");

    // It survives a restart, as the whole binding does.
    let again = bank(AcceptedInstallation::Both).saved_state(sandbox.saved_state().unwrap()).start().await.unwrap();
    assert_eq!(open(&again, &own, &secret).await.0, 400);
    assert!(is_alive(&again, &session).await);

    sandbox.expire_credential(elsewhere);
    let expired = token(&sandbox, elsewhere);
    assert_eq!(open(&sandbox, &partner, &expired).await, (400, INCORRECT.into()));
    assert_eq!(register(&sandbox, &install(&sandbox).await, &expired).await.0, 400);
}

#[tokio::test]
async fn a_credential_waits_as_long_as_the_profile_says() {
    test_timeout::start();
    let mut profile = Profile::default();
    profile.credential_lifetime = Duration::from_secs(4 * 60 * 60);
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let id = sandbox.populate(1)[0];
    let status = || sandbox.provision(id).unwrap()["credential"]["status"].clone();
    sandbox.advance_clock(Duration::from_secs(4 * 60 * 60 - 60));
    assert_eq!(status(), "PENDING_FIRST_USE");
    sandbox.advance_clock(Duration::from_secs(60));
    assert_eq!(status(), "EXPIRED");
}

#[tokio::test]
async fn a_session_ends_with_its_credential_and_by_hand() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Partner).start().await.unwrap();
    let (partner, session, _) = partners(&sandbox).await;
    let [reset, closed, failed, ended, lost, other] = sandbox.populate(6).try_into().unwrap();
    let mut opened_for = Vec::new();
    for id in [reset, closed, failed, ended, lost, other] {
        let secret = token(&sandbox, id);
        opened_for.push((opened(&sandbox, &partner, &secret).await.0, secret));
    }
    let [(of_reset, old), (of_closed, gone), (of_failed, _), (of_ended, kept), (of_lost, _), (of_other, _)] =
        opened_for.try_into().unwrap();
    let change = async |id: ProvisionId, status: &str| {
        let path = format!("/partner-user-provision/{id}");
        let (status, body) = call(&sandbox, &session, Method::PUT, &path, &json!({ "status": status })).await;
        assert_eq!(status, 200, "{body}");
    };

    change(reset, "TOKEN_RESET_REQUESTED").await;
    assert!(is_alive(&sandbox, &of_reset).await);
    sandbox.advance(reset);
    assert!(!is_alive(&sandbox, &of_reset).await);
    assert_eq!(open(&sandbox, &partner, &old).await, (400, INCORRECT.into()));
    assert_eq!(sandbox.end_sessions_of(reset), 0);
    let (again, _) = opened(&sandbox, &partner, &token(&sandbox, reset)).await;
    assert!(is_alive(&sandbox, &again).await && !is_alive(&sandbox, &of_reset).await);

    change(closed, "CANCELLED").await;
    assert_eq!(open(&sandbox, &partner, &gone).await, (400, INCORRECT.into()));
    assert!(is_alive(&sandbox, &of_closed).await, "until it is closed");
    sandbox.advance(closed);
    assert!(!is_alive(&sandbox, &of_closed).await);
    sandbox.fail(failed);
    assert!(!is_alive(&sandbox, &of_failed).await);

    assert_eq!((sandbox.end_sessions_of(ended), sandbox.end_sessions_of(ended)), (1, 0));
    assert!(!is_alive(&sandbox, &of_ended).await);
    opened(&sandbox, &partner, &kept).await;
    sandbox.inject(Fault::OwnSessionLost);
    assert!(!is_alive(&sandbox, &of_lost).await);
    assert!(!is_alive(&sandbox, &of_lost).await, "it has ended for good");
    assert_eq!(call(&sandbox, &of_other, Method::DELETE, "/session/0", &Value::Null).await.0, 200);
    assert!(!is_alive(&sandbox, &of_other).await);
    assert!(is_alive(&sandbox, &session).await, "the partner's goes on");
}

#[tokio::test]
async fn a_limit_is_an_addresss_or_a_sessions() {
    test_timeout::start();
    for (scope, of_user) in [(LimitScope::Address, 429), (LimitScope::Session, 200)] {
        let mut profile = Profile::default();
        (profile.unsigned_session, profile.limits_are_per) = (None, scope);
        let hour = Duration::from_secs(60 * 60);
        let builder = Sandbox::builder().profile(profile).rate_limit(&Operation::GET_INSTALLATION, 1, hour);
        let sandbox = builder.rate_limit(&Operation::CREATE_SESSION, 3, hour).start().await.unwrap();
        let (installation, session, _) = partners(&sandbox).await;
        let user = opened(&sandbox, &installation, &token(&sandbox, sandbox.populate(1)[0])).await.0;
        let mut statuses = Vec::new();
        for token in [&session, &session, &user, &user] {
            statuses.push(call(&sandbox, token, Method::GET, "/installation", &Value::Null).await.0);
        }
        assert_eq!(statuses, [200, 429, of_user, 429], "{scope:?}");
        // There is no session yet that these could count by.
        let more = async || open(&sandbox, &installation, &token(&sandbox, sandbox.populate(1)[0])).await.0;
        assert_eq!([more().await, more().await], [200, 429], "{scope:?}");
    }
}

#[tokio::test]
async fn a_client_of_the_sandbox_counts_calls_as_the_sandbox_does() {
    test_timeout::start();
    for (scope, waits) in [(LimitScope::Address, true), (LimitScope::Session, false)] {
        let mut profile = Profile::default();
        profile.limits_are_per = scope;
        let hour = Duration::from_secs(60 * 60);
        let builder = Sandbox::builder().profile(profile).rate_limit(&Operation::GET_INSTALLATION, 1, hour);
        let sandbox = builder.start().await.unwrap();
        let partner = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
        let user = partner.users().activate(sandbox.populate(1)[0]).await.unwrap();
        user.api().get_installation().await.unwrap();
        assert_eq!(partner.expected_wait(&Operation::GET_INSTALLATION) > hour / 2, waits, "{scope:?}");
    }
}

#[tokio::test]
async fn a_users_client_goes_on_when_its_session_has_ended() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let partner = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
    let [id, other] = sandbox.populate(2).try_into().unwrap();
    let mut users = Vec::new();
    for id in [id, other] {
        users.push(partner.users().activate(id).await.unwrap());
    }
    let openings = || {
        let calls = sandbox.call_log();
        calls.iter().filter(|call| call.operation == Some(&Operation::CREATE_SESSION)).count()
    };
    assert_eq!(openings(), 3);
    sandbox.advance_clock(Duration::from_secs(8 * 24 * 60 * 60));
    users[0].api().list_credentials().await.unwrap();
    assert_eq!(sandbox.end_sessions_of(id), 1, "the one before has ended");
    users[0].api().list_credentials().await.unwrap();
    sandbox.inject(Injection::new(Fault::OwnSessionLost).on(&Operation::LIST_CREDENTIALS));
    users[0].api().list_credentials().await.unwrap();
    assert_eq!(openings(), 6);
    users[1].api().list_credentials().await.unwrap();
    assert_eq!(openings(), 7);
}

#[tokio::test]
async fn a_user_does_not_reach_what_is_another_users() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Own).start().await.unwrap();
    let (_, session, company) = partners(&sandbox).await;
    let mut users = Vec::new();
    for id in sandbox.populate(2) {
        let secret = token(&sandbox, id);
        let installation = installed(&sandbox, &secret).await;
        let (status, items) = open(&sandbox, &installation, &secret).await;
        assert_eq!(status, 200);
        users.push((items[1]["Token"]["token"].as_str().unwrap().to_owned(), items));
    }
    let ((first, own), (_, other)) = (&users[0], &users[1]);
    let id = |items: &Value| items[2]["UserApiKey"]["id"].as_u64().unwrap();
    for items in [own, other] {
        let user = &items[2]["UserApiKey"];
        assert_eq!(user["requested_by_user"]["UserCompany"]["id"], company);
        let person = user["granted_by_user"]["UserPerson"]["id"].as_u64().unwrap();
        assert!(person != id(items) && person != company);
    }
    for (token, path, expected) in [
        (first, format!("/user/{}/attachment/1", id(other)), 403),
        (first, format!("/user/{company}/attachment/1"), 403),
        (first, format!("/user/{}/attachment/1", own[2]["UserApiKey"]["granted_by_user"]["UserPerson"]["id"]), 403),
        (first, format!("/user/{}/attachment/1", id(own)), 404),
        (first, "/partner-user-provision".to_owned(), 403),
        (&session, format!("/user/{}/attachment/1", id(own)), 403),
    ] {
        assert_eq!(call(&sandbox, token, Method::GET, &path, &Value::Null).await.0, expected, "{path}");
    }
}

/// Under the partner's installation too, where the sessions are those of many.
#[tokio::test]
async fn a_session_is_ended_by_its_own_user_alone() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Partner).start().await.unwrap();
    let (partner, session, _) = partners(&sandbox).await;
    let mut all = vec![(session, 0)];
    for id in sandbox.populate(2) {
        let (status, items) = open(&sandbox, &partner, &token(&sandbox, id)).await;
        assert_eq!(status, 200, "{items}");
        let token = items[1]["Token"]["token"].as_str().unwrap().to_owned();
        all.push((token, items[0]["Id"]["id"].as_u64().unwrap()));
    }
    let end = async |token: &str, id: u64| {
        call(&sandbox, token, Method::DELETE, &format!("/session/{id}"), &Value::Null).await.0
    };
    let [(session, _), (first, own), (second, other)] = &all[..] else { panic!("{all:?}") };
    assert_eq!([end(first, *other).await, end(session, *other).await], [404, 404]);
    assert!(is_alive(&sandbox, second).await);
    assert_eq!([end(first, *own).await, end(second, 0).await], [200, 200]);
    for (token, alive) in [(first, false), (second, false), (session, true)] {
        assert_eq!(is_alive(&sandbox, token).await, alive);
    }
}
