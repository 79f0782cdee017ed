//! The sandbox's faults, rate limits and bulk data, over plain HTTP.

use std::time::Duration;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bunq_partner::{Operation, ProvisionId, Uuid};
use bunq_partner_sandbox::{CallLogEntry, DeadToken, Fault, Injection, Sandbox, SandboxBuilder, SignatureForm};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const SOON: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_secs(3600);

/// A partner with a session, and the key that verifies responses.
struct Partner {
    sandbox: Sandbox,
    http: reqwest::Client,
    token: String,
    key: ParsedPublicKey,
}

/// A response that was received completely.
struct Received {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
    is_signed: bool,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn provision(&self) -> Value {
        self.json()["Response"][0]["PartnerUserProvision"].clone()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Partner {
    async fn start() -> Self {
        Self::of(Sandbox::builder()).await
    }

    async fn of(builder: SandboxBuilder) -> Self {
        let sandbox = builder.start().await.unwrap();
        let token = session(&sandbox).await;
        let http = reqwest::Client::new();

        // Repeats the client's own request, because its response contains bunq's key.
        let body = sandbox.call_log().into_iter().find(|call| call.path.ends_with("/installation")).unwrap().body;
        let installed = request(&http, Method::POST, format!("{}/installation", sandbox.base_url())).body(body);
        let installed: Value = serde_json::from_str(&installed.send().await.unwrap().text().await.unwrap()).unwrap();
        let key = installed["Response"][2]["ServerPublicKey"]["server_public_key"].as_str().unwrap();
        let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pem::parse(key).unwrap().contents()).unwrap();
        sandbox.take_call_log();
        Self { sandbox, http, token, key }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/partner-user-provision{path}", self.sandbox.base_url());
        request(&self.http, method, url).header("X-Bunq-Client-Authentication", &self.token)
    }

    async fn receive(&self, request: RequestBuilder) -> reqwest::Result<Received> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?.to_vec();
        let is_signed = headers.get("x-bunq-server-signature").is_some_and(|signature| {
            BASE64.decode(signature).is_ok_and(|signature| self.key.verify_sig(&body, &signature).is_ok())
        });
        Ok(Received { status, headers, body, is_signed })
    }

    async fn get(&self, path: &str) -> Received {
        self.receive(self.request(Method::GET, path)).await.unwrap()
    }

    async fn read(&self, id: ProvisionId) -> Received {
        self.get(&format!("/{id}")).await
    }

    fn closing(&self, id: ProvisionId) -> RequestBuilder {
        self.request(Method::PUT, &format!("/{id}")).body(r#"{"status":"CANCELLED"}"#)
    }

    async fn create(&self, external_uuid: Uuid) -> Received {
        let body = json!({
            "external_uuid": external_uuid,
            "user_verified_type": "PARTNER_USER_PERSON",
            "email": "user@example.com",
            "phone_number": "+31600000000",
            "products": ["USER_VERIFIED"],
        });
        self.receive(self.request(Method::POST, "").body(body.to_string())).await.unwrap()
    }

    fn is_closing(&self, id: ProvisionId) -> bool {
        self.sandbox.provision(id).unwrap()["status"] == "CANCELLED"
    }

    /// The response to a read with this fault.
    async fn spoiled(&self, fault: Fault) -> Received {
        let id = self.sandbox.populate(1)[0];
        self.sandbox.inject(fault);
        self.read(id).await
    }

    fn last_call(&self) -> CallLogEntry {
        self.sandbox.take_call_log().pop().unwrap()
    }
}

fn request(http: &reqwest::Client, method: Method, url: String) -> RequestBuilder {
    http.request(method, url)
        .header("Cache-Control", "no-cache")
        .header("User-Agent", "sandbox_faults")
        .header("X-Bunq-Client-Request-Id", Uuid::new_v4().to_string())
}

/// The token of a new session, which the crate's client opens.
async fn session(sandbox: &Sandbox) -> String {
    let id = sandbox.populate(1)[0];
    sandbox.client().build().unwrap().provisions().get(id).await.unwrap();
    sandbox.call_log().pop().unwrap().header("X-Bunq-Client-Authentication").unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn each_fault_has_an_outcome_that_an_injection_can_override() {
    test_timeout::start();
    let mut partner = Partner::start().await;
    for fault in Fault::examples() {
        let at_first = !matches!(
            fault,
            Fault::Status(_)
                | Fault::UnsignedStatus(_)
                | Fault::RateLimited
                | Fault::RetryAfter(_)
                | Fault::SessionLost
                | Fault::OwnSessionLost
                | Fault::Forbidden
                | Fault::RequestIdRefused
        );
        for (injection, carried_out) in [
            (Injection::new(fault), at_first),
            (Injection::new(fault).carried_out(true), true),
            (Injection::new(fault).carried_out(false), false),
        ] {
            let id = partner.sandbox.populate(1)[0];
            partner.sandbox.inject(injection.on(&Operation::UPDATE_PROVISION));
            let sent = partner.closing(id).timeout(Duration::from_millis(500));
            let _ = partner.receive(sent).await;
            let call = partner.last_call();
            assert_eq!((call.fault, call.carried_out), (Some(fault), carried_out), "{call:?}");
            if let Fault::LateArrival(delay) = fault {
                tokio::time::sleep(delay * 10).await;
            }
            assert_eq!(partner.is_closing(id), carried_out, "{call:?}");
            if [Fault::SessionLost, Fault::OwnSessionLost].contains(&fault) {
                assert_eq!(partner.read(id).await.status, 401);
                partner.token = session(&partner.sandbox).await;
            }
            assert_eq!(partner.read(id).await.status, 200, "{call:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_request_is_not_carried_out_under_a_fault() {
    test_timeout::start();
    let partner = Partner::start().await;
    partner.sandbox.inject(Fault::MissingSignature);
    let response = partner.get("/1").await;
    assert_eq!((response.status, response.is_signed, partner.last_call().carried_out), (404, false, false));
}

#[tokio::test]
async fn refusals_are_signed_if_that_is_set() {
    test_timeout::start();
    for signed in [false, true] {
        http_statuses(Partner::of(Sandbox::builder().signed_refusals(signed)).await, signed).await;
    }
}

async fn http_statuses(mut partner: Partner, signed: bool) {
    for status in [400, 401, 403, 404, 405, 429, 466, 490, 491, 500, 503] {
        let response = partner.spoiled(Fault::Status(status)).await;
        assert_eq!((response.status, response.is_signed), (status, signed));
        assert!(response.json()["Error"][0]["error_description"].is_string());
        assert!(response.header("X-Bunq-Client-Request-Id").is_some());
        assert_eq!(partner.last_call().status, status);
    }

    let response = partner.spoiled(Fault::UnsignedStatus(502)).await;
    assert_eq!((response.status, response.is_signed, response.header("content-type")), (502, false, Some("text/html")));
    assert!(!response.headers.keys().any(|name| name.as_str().starts_with("x-bunq-")));

    let response = partner.spoiled(Fault::RateLimited).await;
    assert_eq!((response.status, response.is_signed, response.header("Retry-After")), (429, signed, None));
    assert!(response.text().contains("a maximum of 3 calls per 3 seconds "));
    let response = partner.spoiled(Fault::RetryAfter(Duration::from_millis(1500))).await;
    assert_eq!((response.status, response.is_signed, response.header("Retry-After")), (429, signed, Some("2")));

    let response = partner.spoiled(Fault::RequestIdRefused).await;
    assert_eq!((response.status, response.is_signed), (400, signed));
    assert!(response.text().contains(response.header("X-Bunq-Client-Request-Id").unwrap()));
    assert!(response.text().contains("used before"));

    let response = partner.spoiled(Fault::SessionLost).await;
    assert_eq!((response.status, response.is_signed), (401, signed));
    assert_eq!(partner.get("").await.status, 401, "the session is lost for good");
    partner.token = session(&partner.sandbox).await;
    assert_eq!(partner.get("").await.status, 200);
}

#[tokio::test]
async fn a_dead_token_is_refused_in_bunqs_manners() {
    test_timeout::start();
    for (manner, status, text) in [
        (DeadToken::Unauthorized, 401, "The session is over, or the token is unknown."),
        (DeadToken::InsufficientAuthentication, 403, "Insufficient authentication."),
        (DeadToken::InsufficientAuthorisation, 403, "Insufficient authorisation."),
    ] {
        let mut partner = Partner::of(Sandbox::builder().dead_token(manner)).await;
        let said = |response: &Received| response.json()["Error"][0]["error_description"].clone();
        let response = partner.spoiled(Fault::SessionLost).await;
        assert_eq!((response.status, said(&response)), (status, text.into()));
        let response = partner.get("").await;
        assert_eq!((response.status, said(&response)), (status, text.into()));
        partner.token = "unknown".into();
        assert_eq!(partner.get("").await.status, status);

        partner.token = session(&partner.sandbox).await;
        let response = partner.spoiled(Fault::Forbidden).await;
        assert_eq!((response.status, said(&response)), (403, "Insufficient authorisation.".into()));
        assert_eq!(partner.get("").await.status, 200, "the session lives on");
        partner.sandbox.forget_installations();
        assert_eq!(partner.get("").await.status, status);
    }
}

#[tokio::test]
async fn a_strict_bank_refuses_every_body_that_is_not_signed() {
    test_timeout::start();
    let partner = Partner::of(Sandbox::builder().require_signatures(true)).await;
    let refused = partner.create(Uuid::new_v4()).await;
    assert_eq!((refused.status, partner.last_call().carried_out), (466, false));
    assert_eq!(partner.get("").await.status, 200, "there is nothing to sign");
    let client = partner.sandbox.client().build().unwrap();
    let id = partner.sandbox.populate(1)[0];
    assert!(client.provisions().close(id).await.unwrap().wait().await.unwrap().is_closed());
}

/// bunq documents one form for a client's key.
#[tokio::test]
async fn an_installation_accepts_only_the_documented_form_of_a_key() {
    test_timeout::start();
    let partner = Partner::start().await;
    let key = crate::common::vector_key("2048 bits");
    for (key, status) in
        [(crate::common::in_pkcs1(&key), 400), (crate::common::vector_key("1024 bits"), 400), (key, 200)]
    {
        let url = format!("{}/installation", partner.sandbox.base_url());
        let body = json!({ "client_public_key": key }).to_string();
        let response = partner.receive(request(&partner.http, Method::POST, url).body(body)).await.unwrap();
        assert_eq!(response.status, status, "{}", response.text());
    }
}

#[tokio::test]
async fn a_wrong_key_has_the_status_that_is_set() {
    test_timeout::start();
    for status in [400, 401, 403] {
        let sandbox = Sandbox::builder().wrong_key_status(status).start().await.unwrap();
        let client = sandbox.client().api_key("sandbox_of_somebody_else").build().unwrap();
        assert_eq!(client.open_session().await.unwrap_err().status(), Some(status));
    }
}

#[tokio::test]
async fn responses_go_astray() {
    test_timeout::start();
    let partner = Partner::start().await;
    let [first, second] = partner.sandbox.populate(2)[..] else { panic!() };
    let read = partner.read(first).await;
    let echo = |response: &Received| response.header("X-Bunq-Client-Request-Id").map(str::to_owned);
    partner.sandbox.inject(Fault::Crossed);
    let crossed = partner.read(second).await;
    assert_eq!((&crossed.body, echo(&crossed), crossed.is_signed), (&read.body, echo(&read), true));
    partner.sandbox.inject(Fault::Replayed);
    let replayed = partner.read(second).await;
    assert_eq!((&replayed.body, echo(&replayed), replayed.is_signed), (&read.body, None, true));
    partner.sandbox.inject(Fault::Relabelled(401));
    let relabelled = partner.read(second).await;
    assert_eq!((relabelled.status, relabelled.is_signed), (401, true));
    assert_eq!(relabelled.provision()["id"], second.get());
}

#[tokio::test(start_paused = true)]
async fn a_request_arrives_late() {
    test_timeout::start();
    let partner = Partner::start().await;
    let id = partner.sandbox.populate(1)[0];
    partner.sandbox.inject(Fault::LateArrival(SOON * 10));
    assert!(partner.receive(partner.closing(id)).await.is_err());
    assert!(partner.last_call().carried_out && !partner.is_closing(id));
    while !partner.is_closing(id) {
        tokio::time::sleep(SOON).await;
    }
}

#[tokio::test]
async fn a_neighbour_takes_places_of_the_address() {
    test_timeout::start();
    for refused_count in [false, true] {
        let builder = Sandbox::builder().rate_limit(&Operation::LIST_PROVISIONS, 3, NEVER);
        let partner = Partner::of(builder.refused_calls_count(refused_count)).await;
        assert_eq!(partner.sandbox.call_as_neighbour(&Operation::LIST_PROVISIONS, 2), 2);
        assert_eq!(partner.get("").await.status, 200);
        assert_eq!(partner.get("").await.status, 429);
        assert_eq!(partner.sandbox.call_as_neighbour(&Operation::LIST_PROVISIONS, 2), 0);
    }
}

#[tokio::test]
async fn a_connection_is_closed_without_a_response() {
    test_timeout::start();
    let partner = Partner::start().await;
    partner.sandbox.inject(Fault::Drop);
    let error = partner.receive(partner.request(Method::GET, "")).await.err().unwrap();
    assert!(error.is_request() && !error.is_timeout() && !error.is_connect(), "{error:?}");
    assert_eq!(partner.last_call().fault, Some(Fault::Drop));
    assert_eq!(partner.get("").await.status, 200);
}

#[tokio::test]
async fn a_response_breaks_off() {
    test_timeout::start();
    let partner = Partner::start().await;
    let whole = partner.get("").await.body;
    partner.sandbox.inject(Injection::new(Fault::Truncated).times(2));
    let mut response = partner.request(Method::GET, "").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.content_length()), (200, Some(whole.len() as u64)));
    assert_eq!(response.chunk().await.unwrap().unwrap(), whole[..whole.len() / 2]);
    let error = response.chunk().await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    // Even an empty body is incomplete.
    partner.sandbox.before_signing(|_, response| response.body.clear());
    assert!(partner.receive(partner.request(Method::GET, "")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_response_never_ends() {
    test_timeout::start();
    let partner = Partner::start().await;
    let whole = partner.get("").await.body;
    partner.sandbox.inject(Fault::SlowDrip(Duration::from_micros(1)));
    let mut response = partner.request(Method::GET, "").send().await.unwrap();
    let mut received = Vec::new();
    while received.len() < whole.len() + 100 {
        received.extend(response.chunk().await.unwrap().unwrap());
    }
    let (body, rest) = received.split_at(whole.len());
    assert_eq!(body, whole);
    assert!(rest.iter().all(|byte| *byte == b' '));

    partner.sandbox.inject(Fault::SlowDrip(NEVER));
    let error = partner.receive(partner.request(Method::GET, "").timeout(SOON * 20)).await.err().unwrap();
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_response_is_late() {
    test_timeout::start();
    let partner = Partner::start().await;
    let start = Instant::now();
    let response = partner.spoiled(Fault::Late(SOON)).await;
    assert!(start.elapsed() >= SOON);
    assert!(response.is_signed && response.provision()["status"] == "ACTIVE");
}

#[tokio::test]
async fn unusable_bodies() {
    test_timeout::start();
    let partner = Partner::start().await;
    let response = partner.spoiled(Fault::EmptyBody).await;
    assert_eq!((response.status, response.is_signed, response.text()), (200, true, ""));
    let response = partner.spoiled(Fault::EmptyResponse).await;
    assert_eq!((response.status, response.is_signed, response.text()), (200, true, r#"{"Response":[]}"#));
    let response = partner.spoiled(Fault::NotJson).await;
    assert_eq!((response.status, response.is_signed, response.text().starts_with("<html>")), (200, true, true));
    let response = partner.spoiled(Fault::Oversized(100_000)).await;
    assert_eq!((response.status, response.is_signed, response.body.len()), (200, true, 100_000));
    assert_eq!(response.provision()["status"], "ACTIVE");
    let response = partner.spoiled(Fault::Oversized(0)).await;
    assert_eq!((response.is_signed, &response.provision()["status"]), (true, &json!("ACTIVE")));
}

#[tokio::test]
async fn signatures() {
    test_timeout::start();
    let partner = Partner::start().await;
    for (fault, is_there) in
        [(Fault::MissingSignature, false), (Fault::WrongSignature, true), (Fault::ForeignSignature, true)]
    {
        let response = partner.spoiled(fault).await;
        assert_eq!((response.status, response.is_signed), (200, false), "{fault:?}");
        let signature = response.header("X-Bunq-Server-Signature");
        assert_eq!(signature.is_some(), is_there, "{fault:?}");
        assert!(signature.is_none_or(|signature| BASE64.decode(signature).unwrap().len() == 256), "{fault:?}");
        assert_eq!(response.provision()["status"], "ACTIVE", "{fault:?}");
    }
}

#[tokio::test]
async fn drift_is_signed() {
    test_timeout::start();
    let partner = Partner::start().await;
    let drifted = async |fault| {
        let response = partner.spoiled(fault).await;
        assert_eq!((response.status, response.is_signed), (200, true), "{fault:?}");
        response
    };
    let provision = drifted(Fault::UnknownStatus).await.provision();
    assert_eq!((&provision["status"], &provision["sub_status"]), (&json!("NOVELTY"), &json!("NONE")));
    let provision = drifted(Fault::UnknownSubStatus).await.provision();
    assert_eq!((&provision["status"], &provision["sub_status"]), (&json!("ACTIVE"), &json!("NOVELTY")));
    let provision = drifted(Fault::UnknownValues).await.provision();
    for value in [&provision["action_required"], &provision["products"][1], &provision["credential"]["status"]] {
        assert_eq!(value, "NOVELTY");
    }
    let response = drifted(Fault::UnknownField).await;
    for object in [&response.json(), &response.provision(), &response.provision()["credential"]] {
        assert!(object["novelty"].is_object());
    }
    assert_eq!(response.json()["Response"][0].as_object().unwrap().len(), 1, "an item is of one kind");
    let items = drifted(Fault::UnknownItem).await.json()["Response"].clone();
    assert!(items[0]["Novelty"].is_object() && items[1]["PartnerUserProvision"].is_object());
    let items = drifted(Fault::RepeatedItems).await.json()["Response"].clone();
    assert_eq!((items.as_array().unwrap().len(), &items[0]), (2, &items[1]));
    let provision = drifted(Fault::MissingOptionalFields).await.provision();
    assert!(provision["id"].is_u64() && provision["credential"]["token_value"].is_string());
    assert!(provision.get("sub_status").is_none() && provision["credential"].get("created").is_none());
    let provision = drifted(Fault::NullFields).await.provision();
    assert!(provision["status"].is_string() && provision.get("sub_status").is_some_and(Value::is_null));
    assert_eq!(drifted(Fault::UnknownHeader).await.header("X-Bunq-Novelty"), Some("yes"));
}

/// Both forms of signature cover responses with drift.
#[tokio::test]
async fn the_client_accepts_drift() {
    test_timeout::start();
    for form in [SignatureForm::Body, SignatureForm::WithHeaders] {
        let sandbox = Sandbox::builder().signature_form(form).start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        let id = sandbox.populate(1)[0];
        for fault in Fault::examples().into_iter().skip_while(|fault| *fault != Fault::UnknownStatus) {
            sandbox.inject(Injection::new(fault).on(&Operation::GET_PROVISION));
            assert_eq!(client.provisions().get(id).await.unwrap().id, id, "{fault:?}");
            assert_eq!(sandbox.take_call_log().pop().unwrap().fault, Some(fault));
        }
    }
}

#[tokio::test]
async fn injections_are_played_in_order_and_can_be_removed() {
    test_timeout::start();
    let unavailable = Injection::new(Fault::Status(503)).on(&Operation::LIST_PROVISIONS).after(1).times(2);
    let partner = Partner::of(Sandbox::builder().inject(unavailable)).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(partner.get("").await.status);
    }
    assert_eq!(statuses, [200, 503, 503, 200]);

    partner.sandbox.inject(Injection::new(Fault::Status(500)).always());
    partner.sandbox.inject(Fault::Status(503));
    assert_eq!((partner.get("").await.status, partner.get("/no/operation").await.status), (500, 500));
    partner.sandbox.clear_injections();
    assert_eq!(partner.get("").await.status, 200);
    let played: Vec<_> = partner.sandbox.call_log().iter().map(|call| call.fault.is_some()).collect();
    assert_eq!(played, [false, true, true, false, true, true, false]);
}

#[tokio::test]
async fn bunqs_rate_limits_are_enforced_by_operation() {
    test_timeout::start();
    let partner =
        Partner::of(Sandbox::builder().rate_limits(true).rate_limit(&Operation::GET_PROVISION, 2, NEVER).rate_limit(
            &Operation::LIST_PROVISIONS,
            1,
            Duration::ZERO,
        ))
        .await;
    let id = partner.sandbox.populate(1)[0];
    // The session was opened with one read.
    assert_eq!(partner.read(id).await.status, 200);
    partner.sandbox.inject(Injection::new(Fault::Status(503)).on(&Operation::GET_PROVISION));
    let refused = partner.read(id).await;
    assert_eq!((refused.status, refused.is_signed, refused.header("Retry-After")), (429, false, None));
    assert!(refused.text().contains("a maximum of 2 calls per 3600 seconds "), "{}", refused.text());
    let call = partner.last_call();
    assert_eq!((call.status, call.fault, call.carried_out), (429, None, false), "no fault is used up on it");

    for _ in 0..5 {
        assert_eq!(partner.get("").await.status, 200, "a window without length holds nothing");
    }
    let session = request(&partner.http, Method::POST, format!("{}/session-server", partner.sandbox.base_url()));
    let refused = partner.receive(session).await.unwrap();
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("a maximum of 1 calls per 30 seconds "), "{}", refused.text());
}

#[tokio::test(start_paused = true)]
async fn windows_roll_with_the_calls() {
    test_timeout::start();
    let window = Duration::from_millis(200);
    let partner = Partner::of(Sandbox::builder().rate_limit(&Operation::LIST_PROVISIONS, 2, window)).await;
    // No window may have three accepted calls.
    let mut taken = Vec::new();
    while taken.len() < 6 {
        let sent = Instant::now();
        if partner.get("").await.status == 200 {
            taken.push((sent, Instant::now()));
        } else {
            tokio::time::sleep(SOON).await;
        }
    }
    assert!(taken.windows(3).all(|three| three[2].1 - three[0].0 >= window), "{taken:?}");
}

#[tokio::test]
async fn a_hundred_thousand_provisions_are_listed_page_by_page() {
    test_timeout::start();
    let partner = Partner::start().await;
    let ids = partner.sandbox.populate(100_000);
    assert_eq!(ids.len(), 100_000);
    let mut path = "?count=200".to_owned();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let page = partner.get(&path).await.json();
        let items = page["Response"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["PartnerUserProvision"]["id"].as_u64().unwrap()));
        let older = page["Pagination"]["older_url"].as_str().unwrap();
        path = older.replace("/v1/partner-user-provision", "");
    }
    assert!(seen.into_iter().eq(ids.iter().rev().take(1000).map(|id| id.get())));

    let one = partner.read(ids[500]).await.provision();
    assert_eq!((&one["status"], &one["credential"]["status"]), (&json!("ACTIVE"), &json!("PENDING_FIRST_USE")));
    let found = partner.get(&format!("?external_uuid={}", one["external_uuid"].as_str().unwrap())).await;
    assert_eq!(found.provision(), one);
    let _ = partner.receive(partner.closing(ids[500])).await.unwrap();
    assert_eq!(partner.get("?status=CANCELLED").await.provision()["id"], ids[500].get());
}

#[tokio::test]
async fn an_external_uuid_may_be_taken_twice_if_asked_for() {
    test_timeout::start();
    let uuid = Uuid::new_v4();
    for (deduplicate, status, there) in [(true, 400, 1), (false, 200, 2)] {
        let partner = Partner::of(Sandbox::builder().deduplicate(deduplicate)).await;
        assert_eq!(partner.create(uuid).await.status, 200);
        assert_eq!(partner.create(uuid).await.status, status);
        let found = partner.get(&format!("?external_uuid={uuid}")).await.json();
        assert_eq!(found["Response"].as_array().unwrap().len(), there);
    }
}

#[tokio::test]
async fn taking_the_journal_empties_it() {
    test_timeout::start();
    let partner = Partner::start().await;
    partner.get("").await;
    assert_eq!(partner.sandbox.take_call_log().len(), 1);
    assert!(partner.sandbox.call_log().is_empty());
}

/// A complete request that closes a provision, as bytes.
fn closing_in_bytes(partner: &Partner, id: ProvisionId) -> String {
    let body = r#"{"status":"CANCELLED"}"#;
    format!(
        "PUT /v1/partner-user-provision/{id} HTTP/1.1\r\nHost: localhost\r\nCache-Control: no-cache\r\n\
         User-Agent: sandbox_faults\r\nX-Bunq-Client-Request-Id: {}\r\nX-Bunq-Client-Authentication: {}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        Uuid::new_v4(),
        partner.token,
        body.len()
    )
}

async fn connect(partner: &Partner) -> TcpStream {
    let address = partner.sandbox.base_url().trim_start_matches("http://").trim_end_matches("/v1");
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn a_request_is_carried_out_though_the_caller_hangs_up() {
    test_timeout::start();
    let partner = Partner::start().await;
    for _ in 0..50 {
        let id = partner.sandbox.populate(1)[0];
        let mut connection = connect(&partner).await;
        connection.write_all(closing_in_bytes(&partner, id).as_bytes()).await.unwrap();
        drop(connection);
        let is_closing = async {
            while !partner.is_closing(id) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), is_closing).await.unwrap();
        assert!(partner.last_call().carried_out);
    }
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connections() {
    test_timeout::start();
    let partner = Partner::start().await;
    let id = partner.sandbox.populate(1)[0];
    let mut connection = connect(&partner).await;
    let request = closing_in_bytes(&partner, id);
    for _ in 0..2 {
        connection.write_all(request.as_bytes()).await.unwrap();
        assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0, "the connection is kept");
    }
    partner.sandbox.inject(Fault::Late(NEVER));
    connection.write_all(request.as_bytes()).await.unwrap();
    let address = connection.peer_addr().unwrap();
    drop(partner);
    let end = tokio::time::timeout(Duration::from_secs(10), connection.read(&mut [0; 4096])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(TcpStream::connect(address).await.is_err());
}
