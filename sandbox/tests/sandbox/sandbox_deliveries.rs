//! What the sandbox sends to targets of notification filters: to a real server on loopback, over TLS.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::types::{InquiryEntryType, ListNotificationFilterFailuresQuery, NotificationCategory};
use bunq_partner::{Api, Client, Operation, ProvisionId, Secret};
use bunq_partner_sandbox::{
    DeliveryFault, DeliveryInjection, NotificationBody, NotificationOutcome, Pace, Profile, Review, Sandbox,
    SandboxBuilder, SeedInquiry, SentNotification,
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ALL_VERSIONS, ServerConfig};

use crate::caller::Caller;
use crate::common::user_of;
use crate::tls::Authority;

const MINUTE: Duration = Duration::from_secs(60);
const PROVISION: NotificationCategory = NotificationCategory::PartnerUserProvision;
const ONBOARDING: NotificationCategory = NotificationCategory::UserOnboarding;
const INQUIRY: NotificationCategory = NotificationCategory::UserInformationInquiry;

/// What came in at a receiver.
#[derive(Clone, Default)]
struct Received {
    path: String,
    content_type: String,
    /// `None`: it did not come whole.
    body: Option<Value>,
    has_certificate: bool,
}

/// A server that bunq calls.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    received: Arc<Mutex<Vec<Received>>>,
}

/// A server's side of TLS, and its certificate in PEM form.
fn self_signed() -> (TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

impl Receiver {
    async fn start() -> Self {
        Self::with(self_signed().0).await
    }

    async fn with(acceptor: TlsAcceptor) -> Self {
        Self::serve(Some(acceptor)).await
    }

    /// Serves without TLS if there is no acceptor.
    async fn serve(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/bunq/secret-segment", listener.local_addr().unwrap());
        let (status, received) = (Arc::new(AtomicU16::new(200)), Arc::new(Mutex::new(Vec::new())));
        let receiver = Self { url, status: Arc::clone(&status), received: Arc::clone(&received) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, status, received) = (acceptor.clone(), Arc::clone(&status), Arc::clone(&received));
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else { return answer(stream, false, status, received).await };
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let has_certificate = stream.get_ref().1.peer_certificates().is_some();
                    answer(stream, has_certificate, status, received).await;
                });
            }
        });
        receiver
    }

    fn respond(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    /// The events that came whole, without what is around them.
    fn events(&self) -> Vec<Value> {
        self.take().into_iter().filter_map(|one| Some(one.body?["NotificationUrl"].clone())).collect()
    }

    /// The ids of the provisions that came whole.
    fn provisions(&self) -> Vec<u64> {
        let id = |event: &Value| event["object"]["PartnerUserProvision"]["id"].as_u64().unwrap();
        self.events().iter().map(id).collect()
    }
}

/// Notes the request of a connection, and responds with this status.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    has_certificate: bool,
    status: Arc<AtomicU16>,
    received: Arc<Mutex<Vec<Received>>>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (status, received) = (Arc::clone(&status), Arc::clone(&received));
        async move {
            assert_eq!(request.method(), "POST");
            let header = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
            let content_type = header("content-type").to_owned();
            let path = request.uri().to_string();
            let place = {
                let mut received = received.lock().unwrap();
                received.push(Received { path, content_type, body: None, has_certificate });
                received.len() - 1
            };
            if let Ok(body) = request.into_body().collect().await {
                let body = serde_json::from_slice(&body.to_bytes()).unwrap();
                received.lock().unwrap()[place].body = Some(body);
            }
            let response = Response::builder().status(status.load(Ordering::SeqCst));
            Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn filter(category: &NotificationCategory, target: &str) -> Value {
    json!({ "category": category, "notification_target": target })
}

async fn set_filters(api: &Api, filters: Vec<Value>) {
    let body = json!({ "notification_filters": filters });
    api.call(&Operation::REPLACE_NOTIFICATION_FILTERS, &[], Some(&body)).await.unwrap();
}

/// A sandbox that tells a receiver of provisions.
async fn told(builder: SandboxBuilder) -> (Sandbox, Client, Receiver) {
    let sandbox = builder.start().await.unwrap();
    let (client, receiver) = (sandbox.client().build().unwrap(), Receiver::start().await);
    set_filters(&client.api(), vec![filter(&PROVISION, &receiver.url)]).await;
    (sandbox, client, receiver)
}

fn outcomes(sandbox: &Sandbox) -> Vec<NotificationOutcome> {
    sandbox.take_sent_notifications().into_iter().map(|sent| sent.outcome).collect()
}

fn statuses(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["object"]["PartnerUserProvision"]["status"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_step_of_a_provision_is_told_as_documented_with_its_live_token() {
    test_timeout::start();
    let (sandbox, client, receiver) = told(Sandbox::builder()).await;
    let id = sandbox.populate(1)[0];
    client.provisions().get(id).await.unwrap();
    sandbox.notifications_settled().await;
    assert!(receiver.take().is_empty(), "nothing has changed");

    let closing = client.provisions().close(id).await.unwrap();
    sandbox.notifications_settled().await;
    let came = receiver.take();
    assert_eq!((came.len(), came[0].path.as_str()), (1, "/bunq/secret-segment"));
    assert_eq!((came[0].content_type.as_str(), came[0].has_certificate), ("application/json", false));
    let event = &came[0].body.as_ref().unwrap()["NotificationUrl"];
    let names = ["target_url", "category", "event_type"].map(|name| event[name].as_str().unwrap());
    assert_eq!(names, [&receiver.url, "PARTNER_USER_PROVISION", "PARTNER_USER_PROVISION_PROCESS_UPDATED"]);
    let shown = sandbox.provision(id).unwrap();
    assert_eq!(event["object"], json!({ "PartnerUserProvision": shown }));
    let token = event["object"]["PartnerUserProvision"]["credential"]["token_value"].as_str().unwrap();

    let sent = sandbox.sent_notifications();
    assert_eq!((sent[0].attempt, &sent[0].outcome), (1, &NotificationOutcome::Responded(200)));
    assert!(sent[0].outcome.is_taken() && std::str::from_utf8(&sent[0].body).unwrap().contains(token));
    let debug = format!("{sent:?} {sandbox:?}");
    assert!(!debug.contains(token) && !debug.contains("secret-segment"), "{debug}");

    closing.await.unwrap();
    sandbox.notifications_settled().await;
    assert_eq!(statuses(&receiver.events()), ["CLOSED"]);
}

#[tokio::test]
async fn a_sandbox_without_filters_sends_nothing_and_later_filters_hear_of_nothing_old() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let (client, receiver) = (sandbox.client().build().unwrap(), Receiver::start().await);
    let ids = sandbox.populate(2);
    client.provisions().close(ids[0]).await.unwrap().await.unwrap();
    assert!(sandbox.fail(ids[1]));
    assert_eq!(sandbox.trigger_notification(&PROVISION, ids[0]), 0);
    set_filters(&client.api(), vec![filter(&PROVISION, &receiver.url), filter(&ONBOARDING, &receiver.url)]).await;
    sandbox.notifications_settled().await;
    assert!(sandbox.sent_notifications().is_empty());

    // A state that is saved goes on with its filters, and tells nothing a second time.
    let saved = sandbox.saved_state().unwrap();
    let again = Sandbox::builder().saved_state(saved).start().await.unwrap();
    again.notifications_settled().await;
    assert!(again.sent_notifications().is_empty());
    assert!(again.fail(again.populate(1)[0]));
    again.notifications_settled().await;
    assert_eq!(statuses(&receiver.events()), ["FAILED"]);
}

#[tokio::test]
async fn onboardings_and_inquiries_are_told_to_the_users_own_targets() {
    test_timeout::start();
    let mut profile = Profile::default();
    (profile.onboarding_check, profile.fulfillments) = (MINUTE, Vec::new());
    let sandbox = Sandbox::builder().profile(profile).pace(Pace::Manual).start().await.unwrap();
    let receiver = Receiver::start().await;
    let ids = sandbox.populate(2);
    let client = user_of(&sandbox, ids[0]).await;
    let caller = Caller::of_user(&sandbox, &client).await;
    set_filters(&client.api(), vec![filter(&ONBOARDING, &receiver.url), filter(&INQUIRY, &receiver.url)]).await;

    let onboarding = caller.change(Method::POST, "/user-onboarding", r#"{"type": "PARTNER_USER"}"#).await;
    let wished = r#"{"user_status_desired": "ACTIVE", "user_verification_status_desired": "VERIFIED"}"#;
    caller.change(Method::PUT, &format!("/user-onboarding/{onboarding}"), wished).await;
    sandbox.notifications_settled().await;
    let told = |events: &[Value]| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let state = |event: &Value| match &event["object"]["UserOnboarding"] {
            Value::Null => text(&event["object"]["UserInformationInquiry"]["status"]),
            onboarding => text(&onboarding["action_required"]),
        };
        events.iter().map(|event| (text(&event["event_type"]), state(event))).collect()
    };
    let expected = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(event, state)| ((*event).to_owned(), (*state).to_owned())).collect()
    };
    assert_eq!(told(&receiver.events()), expected(&[("USER_ONBOARDING_UPDATED", "SYSTEM")]));

    // Nobody reads: the check ends by the bank's clock, and then an inquiry opens by itself.
    sandbox.advance_clock(MINUTE);
    sandbox.notifications_settled().await;
    let mut events = told(&receiver.events());
    events.sort();
    let asked = ("USER_INFORMATION_INQUIRY_EXPECTING_REPLY_FROM_USER", "EXPECTING_REPLY_FROM_USER");
    assert_eq!(events, expected(&[asked, ("USER_ONBOARDING_UPDATED", "NONE")]));

    // Of another user nothing is told here.
    let inquiry = SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]);
    sandbox.inquire(ids[1], inquiry.clone()).unwrap();
    let id = sandbox.inquire(ids[0], inquiry).unwrap();
    let path = format!("/user-information-inquiry/{id}");
    let entry = &caller.read(&path, "UserInformationInquiry").await[0]["all_entry"][0]["UserInformationInquiryEntry"];
    let entry = entry["id"].as_u64().unwrap();
    caller
        .change(
            Method::PUT,
            &format!("{path}/partner-user-information-inquiry-entry/{entry}"),
            r#"{"answer": "salary"}"#,
        )
        .await;
    sandbox.review(entry.to_string().parse().unwrap(), Review::Approved);
    sandbox.notifications_settled().await;
    let waits = ("USER_INFORMATION_INQUIRY_EXPECTING_REPLY_FROM_BUNQ", "EXPECTING_REPLY_FROM_BUNQ");
    let over = ("USER_INFORMATION_INQUIRY_FINALIZED", "FINALIZED");
    assert_eq!(told(&receiver.events()), expected(&[asked, waits, over]));

    // What need not have changed can be sent too, to the user's targets alone.
    assert_eq!([&ONBOARDING, &INQUIRY].map(|category| sandbox.trigger_notification(category, ids[0])), [1, 1]);
    assert_eq!(sandbox.trigger_notification(&NotificationCategory::Support, ids[0]), 0);
    assert_eq!(sandbox.trigger_notification(&INQUIRY, ids[1]), 0);
    sandbox.notifications_settled().await;
    assert_eq!(receiver.take().len(), 2);
}

#[tokio::test]
async fn steps_that_time_takes_are_told_without_a_read() {
    test_timeout::start();
    let (sandbox, client, receiver) = told(Sandbox::builder().pace(Pace::Every(MINUTE))).await;
    let id = sandbox.populate(1)[0];
    drop(client.provisions().close(id).await.unwrap());
    sandbox.advance_clock(MINUTE);
    sandbox.notifications_settled().await;
    let events = receiver.events();
    assert_eq!(statuses(&events), ["CANCELLED", "CLOSED"]);
    sandbox.advance_clock(10 * MINUTE);
    sandbox.notifications_settled().await;
    assert!(receiver.take().is_empty());
}

async fn failures(client: &Client) -> Vec<Value> {
    let query = ListNotificationFilterFailuresQuery::default();
    let page = client.api().list_notification_filter_failures(None, query).await.unwrap();
    page.items.iter().map(|failure| serde_json::to_value(failure).unwrap()).collect()
}

#[tokio::test]
async fn six_tries_a_minute_apart_end_in_a_failure_that_is_retried_anew() {
    test_timeout::start();
    let (sandbox, client, receiver) = told(Sandbox::builder().pace(Pace::Manual)).await;
    let id = sandbox.populate(1)[0];
    receiver.respond(503);
    drop(client.provisions().close(id).await.unwrap());
    for tries in 1..=6 {
        assert!(failures(&client).await.is_empty());
        sandbox.notifications_settled().await;
        assert_eq!(sandbox.sent_notifications().len(), tries);
        sandbox.advance_clock(MINUTE - Duration::from_secs(1));
        sandbox.notifications_settled().await;
        assert_eq!(sandbox.sent_notifications().len(), tries, "the next one is due later");
        sandbox.advance_clock(Duration::from_secs(1));
    }
    sandbox.notifications_settled().await;
    let attempts: Vec<_> = sandbox.take_sent_notifications().iter().map(|sent| sent.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6]);
    let first = receiver.take();
    assert!(first.iter().all(|one| one.body == first[0].body));

    let failed = failures(&client).await;
    assert_eq!((failed.len(), &failed[0]["response_code"]), (1, &json!(503)));
    assert_eq!(failed[0]["notification_target"], receiver.url);
    let retry = json!({ "notification_filter_failed_ids": failed[0]["id"].to_string() });
    let retry = || async {
        let operation = &Operation::RETRY_NOTIFICATION_FILTER_FAILURES;
        client.api().call(operation, &[], Some(&retry)).await.unwrap();
    };
    // What is told is what is so now.
    assert!(sandbox.fail(id));
    sandbox.notifications_settled().await;
    receiver.respond(200);
    receiver.take();
    retry().await;
    sandbox.notifications_settled().await;
    assert_eq!(statuses(&receiver.events()), ["FAILED"]);
    assert!(failures(&client).await.is_empty());
}

#[tokio::test]
async fn tries_are_as_the_profile_says_and_all_that_is_due_is_made_at_once() {
    test_timeout::start();
    let mut profile = Profile::default();
    (profile.notification_tries, profile.notification_retry) = (3, 10 * MINUTE);
    let (sandbox, client, receiver) = told(Sandbox::builder().profile(profile)).await;
    receiver.respond(404);
    assert!(sandbox.fail(sandbox.populate(1)[0]));
    sandbox.notifications_settled().await;
    assert_eq!(receiver.take().len(), 1);
    sandbox.advance_clock(20 * MINUTE);
    sandbox.notifications_settled().await;
    assert_eq!(receiver.take().len(), 2);
    assert_eq!(failures(&client).await.len(), 1);
}

#[tokio::test]
async fn deliveries_are_late_doubled_reordered_lost_cut_and_slow() {
    test_timeout::start();
    let lost = DeliveryInjection::new(DeliveryFault::Lost).on(PROVISION).after(1);
    let (sandbox, _client, receiver) = told(Sandbox::builder().inject_delivery(lost)).await;
    let ids = sandbox.populate(3);
    let [a, b, c] = [ids[0], ids[1], ids[2]].map(ProvisionId::get);
    let send = async |index: usize| {
        assert_eq!(sandbox.trigger_notification(&PROVISION, ids[index]), 1);
        sandbox.notifications_settled().await;
    };
    send(0).await;
    send(1).await;
    send(2).await;
    assert_eq!(receiver.provisions(), [a, c]);
    let taken = NotificationOutcome::Responded(200);
    assert_eq!(outcomes(&sandbox), [taken.clone(), NotificationOutcome::Lost, taken.clone()]);

    sandbox.inject_delivery(DeliveryFault::Late(MINUTE));
    send(0).await;
    send(1).await;
    assert_eq!(receiver.provisions(), [b]);
    sandbox.advance_clock(MINUTE);
    sandbox.notifications_settled().await;
    assert_eq!(receiver.provisions(), [a]);

    sandbox.inject_delivery(DeliveryFault::Doubled);
    send(0).await;
    assert_eq!(receiver.provisions(), [a, a]);

    sandbox.inject_delivery(DeliveryInjection::new(DeliveryFault::Reordered).times(2));
    send(0).await;
    send(1).await;
    assert!(receiver.take().is_empty());
    send(2).await;
    let mut came = receiver.provisions();
    assert_eq!(came.remove(0), c);
    came.sort_unstable();
    assert_eq!(came, [a, b]);

    sandbox.take_sent_notifications();
    sandbox.inject_delivery(DeliveryFault::Cut);
    send(0).await;
    let came = receiver.take();
    assert!(came.len() == 1 && came[0].body.is_none(), "half of the body has come");
    sandbox.advance_clock(MINUTE);
    sandbox.notifications_settled().await;
    assert_eq!(receiver.provisions(), [a]);
    let sent = sandbox.take_sent_notifications();
    let faults: Vec<_> = sent.iter().map(|sent| (sent.attempt, sent.fault)).collect();
    assert_eq!(faults, [(1, Some(DeliveryFault::Cut)), (2, None)]);
    assert!(matches!(&sent[0].outcome, NotificationOutcome::Failed(_)) && sent[1].outcome == taken);

    sandbox.inject_delivery(DeliveryInjection::new(DeliveryFault::Slow(Duration::from_micros(10))).always());
    send(0).await;
    assert_eq!(receiver.provisions(), [a]);
    sandbox.clear_injections();
    send(0).await;
    assert_eq!(sandbox.take_sent_notifications().last().unwrap().fault, None);
}

#[tokio::test]
async fn a_pinned_certificate_that_does_not_fit_stops_the_calls_silently() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let (acceptor, own) = self_signed();
    let receiver = Receiver::with(acceptor).await;
    let other = self_signed().1;
    set_filters(&client.api(), vec![filter(&PROVISION, &receiver.url)]).await;
    let pin = async |pem: &str| {
        let chain = json!({ "certificate_chain": [{ "certificate": pem }] });
        client.api().call(&Operation::CREATE_PINNED_CERTIFICATE, &[], Some(&chain)).await.unwrap();
    };
    let id = sandbox.populate(1)[0];
    let send = async || {
        assert_eq!(sandbox.trigger_notification(&PROVISION, id), 1);
        sandbox.notifications_settled().await;
        outcomes(&sandbox)
    };
    pin(&other).await;
    assert_eq!(send().await, [NotificationOutcome::PinMismatch]);
    sandbox.advance_clock(10 * MINUTE);
    sandbox.notifications_settled().await;
    assert!(receiver.take().is_empty() && outcomes(&sandbox).is_empty(), "no further try follows");
    assert!(failures(&client).await.is_empty());
    // Of several, one must fit.
    pin(&own).await;
    assert_eq!(send().await, [NotificationOutcome::Responded(200)]);
    assert_eq!(receiver.take().len(), 1);
}

#[tokio::test]
async fn a_filter_that_asks_for_a_client_certificate_gets_one() {
    test_timeout::start();
    let authority = Authority::new();
    let receiver = Receiver::with(authority.server(&["localhost"], true, ALL_VERSIONS)).await;
    let mut filter = filter(&PROVISION, &receiver.url);
    let start = async |builder: SandboxBuilder, filter: &Value| {
        let sandbox = builder.start().await.unwrap();
        set_filters(&sandbox.client().build().unwrap().api(), vec![filter.clone()]).await;
        assert!(sandbox.fail(sandbox.populate(1)[0]));
        sandbox.notifications_settled().await;
        outcomes(&sandbox)
    };
    let with_certificate = || Sandbox::builder().client_certificate(Secret::new(authority.client_pem()));
    assert!(matches!(start(with_certificate(), &filter).await[..], [NotificationOutcome::Failed(_)]));
    filter["all_verification_type"] = json!(["BUNQ_CERTIFICATE"]);
    assert_eq!(start(Sandbox::builder(), &filter).await, [NotificationOutcome::NoClientCertificate]);
    assert!(receiver.take().is_empty());
    assert_eq!(start(with_certificate(), &filter).await, [NotificationOutcome::Responded(200)]);
    assert!(receiver.take()[0].has_certificate);

    for (pem, problem) in [(authority.pem(), "it has no private key in PEM form"), (String::new(), "private key")] {
        let error = Sandbox::builder().client_certificate(Secret::new(pem)).start().await.unwrap_err().to_string();
        assert!(error.starts_with("the client certificate cannot be used: ") && error.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn plain_http_shows_no_certificate_to_either_side() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let receiver = Receiver::serve(None).await;
    let mut filter = filter(&PROVISION, &receiver.url);
    let id = sandbox.populate(1)[0];
    let send = async |filter: &Value| {
        set_filters(&client.api(), vec![filter.clone()]).await;
        assert_eq!(sandbox.trigger_notification(&PROVISION, id), 1);
        sandbox.notifications_settled().await;
        outcomes(&sandbox)
    };
    assert_eq!(send(&filter).await, [NotificationOutcome::Responded(200)]);
    assert_eq!(receiver.provisions(), [id.get()]);
    let chain = json!({ "certificate_chain": [{ "certificate": self_signed().1 }] });
    client.api().call(&Operation::CREATE_PINNED_CERTIFICATE, &[], Some(&chain)).await.unwrap();
    assert_eq!(send(&filter).await, [NotificationOutcome::PinMismatch]);
    filter["all_verification_type"] = json!(["BUNQ_CERTIFICATE"]);
    assert_eq!(send(&filter).await, [NotificationOutcome::NoClientCertificate]);
    assert!(receiver.take().is_empty());
}

#[tokio::test]
async fn what_is_not_on_loopback_is_never_called_and_said() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let receiver = Receiver::start().await;
    let far = "https://127.0.0.1.partner.example.com/bunq";
    set_filters(&client.api(), vec![filter(&PROVISION, far), filter(&PROVISION, &receiver.url)]).await;
    assert!(sandbox.fail(sandbox.populate(1)[0]));
    sandbox.notifications_settled().await;
    let sent = sandbox.take_sent_notifications();
    let said: Vec<_> = sent.iter().map(|SentNotification { target, outcome, .. }| (target.as_str(), outcome)).collect();
    let taken = NotificationOutcome::Responded(200);
    assert_eq!(said, [(far, &NotificationOutcome::NotLoopback), (receiver.url.as_str(), &taken)]);
    assert!(failures(&client).await.is_empty());
}

#[tokio::test]
async fn a_target_that_nobody_serves_costs_the_tries_of_its_own_calls_alone() {
    test_timeout::start();
    let (sandbox, client, receiver) = told(Sandbox::builder()).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let gone = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    drop(listener);
    set_filters(&client.api(), vec![filter(&PROVISION, &gone), filter(&PROVISION, &receiver.url)]).await;
    let ids = sandbox.populate(100);
    ids.iter().for_each(|id| assert!(sandbox.fail(*id)));
    sandbox.notifications_settled().await;
    let mut came = receiver.provisions();
    came.sort_unstable();
    assert_eq!(came, ids.iter().map(|id| id.get()).collect::<Vec<_>>());
    sandbox.advance_clock(5 * MINUTE);
    sandbox.notifications_settled().await;
    assert!(receiver.take().is_empty());
    let failed = failures(&client).await;
    assert!(failed.iter().all(|failure| failure["response_code"].is_null() && failure["exception_message"] != ""));
    assert_eq!(sandbox.sent_notifications().iter().filter(|sent| sent.target == gone).count(), 600);
}

#[tokio::test]
async fn the_thinner_bodies_of_one_source_can_be_had() {
    test_timeout::start();
    let mut profile = Profile::default();
    profile.notification_body = NotificationBody::Thin;
    let (sandbox, _client, receiver) = told(Sandbox::builder().profile(profile)).await;
    let id = sandbox.populate(1)[0];
    let user = user_of(&sandbox, id).await;
    set_filters(&user.api(), vec![filter(&INQUIRY, &receiver.url)]).await;
    sandbox.inquire(id, SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund])).unwrap();
    sandbox.notifications_settled().await;
    let events = receiver.events();
    let members = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let inquiry = &events[0]["object"]["UserInformationInquiry"];
    assert_eq!(members(inquiry), ["id", "inquiry_type", "message", "status", "user_id"]);
    assert_eq!(inquiry["status"], "PENDING_USER_REPLY");
    sandbox.trigger_notification(&PROVISION, id);
    sandbox.notifications_settled().await;
    let events = receiver.events();
    let provision = &events[0]["object"]["PartnerUserProvision"];
    assert_eq!(members(provision), ["action_required", "external_uuid", "id", "status", "sub_status"]);
}

/// As `bunq-partner webhooks trigger` does. It is no operation of bunq's, and no one's but whose key it is.
#[tokio::test]
async fn another_process_has_a_notification_sent() {
    test_timeout::start();
    let (sandbox, _client, receiver) = told(Sandbox::builder()).await;
    let id = sandbox.populate(1)[0];
    sandbox.notifications_settled().await;
    receiver.take();
    sandbox.take_call_log();
    let root = sandbox.base_url().trim_end_matches("/v1");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let key = sandbox.api_key();
    let ask = async |method: Method, key: &str, body: Value| {
        let request = http.request(method, format!("{root}/sandbox/notification")).bearer_auth(key);
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    let body = |category: &str, id: u64| json!({ "category": category, "provision_id": id });
    for (category, id, targets) in
        [("PARTNER_USER_PROVISION", id.get(), 1), ("PARTNER_USER_PROVISION", 7, 0), ("CARD", id.get(), 0)]
    {
        let (status, answer) = ask(Method::POST, key.expose(), body(category, id)).await;
        assert_eq!(
            (status, &answer["Response"][0]["Notification"]["targets"]),
            (200, &targets.into()),
            "{category} {id}"
        );
    }
    sandbox.notifications_settled().await;
    assert_eq!(receiver.take().len(), 1);
    for (method, key, body, refusal) in [
        (Method::POST, "sandbox_another", body("PARTNER_USER_PROVISION", id.get()), 401),
        (Method::GET, key.expose(), body("PARTNER_USER_PROVISION", id.get()), 405),
        (Method::POST, key.expose(), json!({ "category": "PARTNER_USER_PROVISION" }), 400),
        (Method::POST, key.expose(), json!({ "category": "CARD", "provision_id": 7, "other": 1 }), 400),
    ] {
        assert_eq!(ask(method, key, body).await.0, refusal);
    }
    sandbox.notifications_settled().await;
    assert!(receiver.take().is_empty());
    assert!(sandbox.call_log().iter().all(|call| call.operation.is_none()));
}
