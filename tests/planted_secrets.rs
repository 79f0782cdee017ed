//! bunq's documented bodies with planted secrets and texts about a person, and everything that a user may see of them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/planted.rs"]
mod planted;
#[cfg(feature = "webhook")]
#[path = "planted_secrets/received.rs"]
mod received;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use bunq_partner::types::{self, NotificationUrlCall};
use bunq_partner::webhook::Notification;
use bunq_partner::{
    Auth, Client, ClientBuilder, Error, FileCustody, FulfillmentAnswer, MemoryCustody, NewAttachment, Operation,
    ProvisionId, ReceiptFile, RequestBody, RequestedStatuses, Response, Secret, SessionOf, UserClient,
};
use bunq_partner_sandbox::{Fault, Injection, Profile, Sandbox, SeedInquiry};
use common::{Folder, Log, once, person};
use futures_util::{FutureExt as _, StreamExt as _};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use planted::{
    BIRTH, Documented, PERSONAL, PLANTED, SHAPES, called_back, documented, id_in, personal_request, respond,
    secret_members,
};
use serde::Serialize;
use serde_json::{Value, json};
use tracing_opentelemetry::MetricsLayer;
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

include!(concat!(env!("OUT_DIR"), "/calls.rs"));

async fn shown<T: Debug>(call: impl Future<Output = Result<Response<T>, Error>>) -> Result<String, Error> {
    call.await.map(|response| format!("{response:?}"))
}

/// What this process logs, at the finest level, and what it measures.
struct Watched {
    log: Log,
    metrics: InMemoryMetricExporter,
    provider: SdkMeterProvider,
}

impl Watched {
    /// What was logged since the last call.
    fn logged(&self) -> String {
        self.log.take()
    }

    /// All metrics, with their attributes.
    fn measured(&self) -> String {
        self.provider.force_flush().unwrap();
        format!("{:?}", self.metrics.get_finished_metrics().unwrap())
    }
}

fn watched() -> &'static Watched {
    static WATCHED: LazyLock<Watched> = LazyLock::new(|| {
        let (log, metrics) = (Log::default(), InMemoryMetricExporter::default());
        let provider = SdkMeterProvider::builder().with_periodic_exporter(metrics.clone()).build();
        let writer = log.clone();
        let lines =
            tracing_subscriber::fmt::layer().with_span_events(FmtSpan::FULL).with_writer(move || writer.clone());
        Registry::default().with(lines).with(MetricsLayer::new(provider.clone())).init();
        Watched { log, metrics, provider }
    });
    &WATCHED
}

/// Checks that none of these texts has one of these secrets.
fn shows_none(texts: &[(&str, &str)], secrets: &[&str]) {
    for (what, text) in texts {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is {what}: {text}");
        }
    }
}

/// What a user might print of the outcome of a call.
fn outcome<T: Debug>(result: &Result<T, Error>, as_json: impl Fn(&T) -> String) -> String {
    let (debug, json) = match result {
        Ok(value) => (format!("{value:?}\n{value:#?}\n"), as_json(value)),
        Err(error) => (format!("{error}\n{error:?}\n{error:#?}\n{:?}\n", error.bunq_messages()), String::new()),
    };
    // The JSON is what somebody has asked for.
    assert!(!debug.contains(PERSONAL) && !debug.contains(BIRTH), "{debug}");
    debug + &json
}

fn no_json<T>(_: &T) -> String {
    String::new()
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

/// Calls an operation in every way that there is.
async fn call(client: &Client, user: &UserClient, documented: &Documented) -> String {
    let provisions = client.provisions();
    let is_users = documented.operation.session_of == Some(SessionOf::User);
    let api = if is_users { user.api() } else { client.api() };
    let number = id_in(&documented.body);
    let id: ProvisionId = number.try_into().unwrap();
    let parameter = number.to_string();
    let by_name = async |parameters: &[(&str, &str)], body: RequestBody<'_>| {
        let result = api.call(documented.operation, parameters, body).await;
        outcome(&result, |response| response.redacted().map(|body| body.to_string()).unwrap_or_default())
    };
    match documented.operation.id {
        "get_provision" => {
            outcome(&provisions.get(id).await, to_json) + &by_name(&[("provision_id", &parameter)], None.into()).await
        }
        "list_provisions" => {
            let page = provisions.list().page().await;
            outcome(&page, |page| to_json(&page.items)) + &by_name(&[], None.into()).await
        }
        "create_provision" => {
            let new = person();
            let body = serde_json::to_value(&new).unwrap();
            let created = provisions.create(new).await;
            outcome(&created, |_| String::new()) + &by_name(&[], (&body).into()).await
        }
        "update_provision" => {
            let closing = provisions.close(id).await;
            let reset = provisions.reset_token(id).await;
            let body = json!({ "status": "CANCELLED" });
            outcome(&closing, |_| String::new())
                + &outcome(&reset, |_| String::new())
                + &by_name(&[("provision_id", &parameter)], (&body).into()).await
        }
        "delete_session" => {
            client.open_session().await.unwrap();
            outcome(&client.end_session().await, |()| String::new())
        }
        "create_installation" | "create_device_server" | "create_session" => {
            let opened = outcome(&client.open_session().await, |()| String::new());
            opened + &outcome(&client.user().await, to_json)
        }
        _ => {
            let planted = personal_request(documented.operation);
            let given = |name: &str| match name {
                "body" => planted.as_ref().map(ToString::to_string),
                _ => Some(parameter.clone()),
            };
            let typed = call_with_examples(&api, documented.operation, given).await.unwrap();
            let parameters: Vec<_> = documented.operation.path_parameters().map(|name| (name, &*parameter)).collect();
            let json = planted.unwrap_or_else(|| json!({}));
            let body = match documented.operation.content_types.first() {
                Some(file) => RequestBody::bytes(file.name, [file.first_bytes[0], PERSONAL.as_bytes()].concat()),
                None => documented.operation.has_body.then_some(&json).into(),
            };
            let preview = api.preview(documented.operation, &parameters, body.clone());
            let typed = outcome(&typed, Clone::clone) + &outcome(&preview, no_json);
            typed + &by_name(&parameters, body).await + &verbs(user, documented.operation, number).await
        }
    }
}

/// Calls the verbs of a user that begin with an operation.
async fn verbs(user: &UserClient, operation: &Operation, number: u64) -> String {
    let (onboarding, identity) = (user.onboarding(), user.identity());
    match operation.id {
        "list_user_onboardings" => outcome(&onboarding.find().await, no_json),
        "create_user_onboarding" => outcome(&onboarding.start().await, no_json),
        "get_user_onboarding" => {
            outcome(&onboarding.wait_until_over(number.try_into().unwrap()).timeout(Duration::ZERO).await, no_json)
        }
        "update_user_onboarding" => {
            outcome(&onboarding.request(number.try_into().unwrap(), &statuses()).await, no_json)
        }
        "create_identity_verification_session" => outcome(&identity.start_another().await, no_json),
        "get_identity_verification_session" => outcome(&identity.adopt(number.try_into().unwrap()).await, no_json),
        "update_identity_verification_session" => outcome(&identity.submit(number.try_into().unwrap()).await, no_json),
        "list_user_information_inquiries" => outcome(&user.inquiries().list().page().await, no_json),
        "get_user_information_inquiry" => outcome(&user.inquiries().get(number.try_into().unwrap()).await, no_json),
        _ => String::new(),
    }
}

fn statuses() -> types::UpdateUserOnboardingRequest {
    let (status, verification) = (types::RequestedUserStatus::Active, types::RequestedUserVerificationStatus::Verified);
    types::UpdateUserOnboardingRequest::new(status, verification)
}

/// What bunq sends by itself has live keys.
#[test]
fn no_secret_of_what_bunq_sends_by_itself_is_shown() {
    test_timeout::start();
    let (mut count, secret) = (0, secret_members());
    for (index, shape) in SHAPES.into_iter().enumerate() {
        for body in called_back(&secret, shape) {
            let call = serde_json::from_str::<NotificationUrlCall>(&body.to_string());
            // A secret of another shape than the documented one may cost the whole.
            assert!(call.is_ok() || index > 0, "{call:?}: {body}");
            let text = format!("{call:?}\n{call:#?}\n{}", call.as_ref().map(to_json).unwrap_or_default());
            assert!(!text.contains(PLANTED), "{text}");
            assert!(!format!("{call:?}\n{call:#?}").contains(PERSONAL), "{call:#?}");
            is_hidden(&body);
            count += usize::from(text.contains("[redacted]"));
        }
    }
    assert!(count > 1, "{count} with secrets");
}

/// Checks what is shown of a message, of its hint, and of the error of a body that is not complete.
fn is_hidden(body: &Value) {
    let body = body.to_string();
    let notification = Notification::from_bytes(body.as_bytes()).unwrap();
    let hint = notification.hint("2026-08-13 14:45:20".parse().unwrap());
    let error = Notification::from_bytes(&body.as_bytes()[..body.len() - 1]).unwrap_err();
    let kept = format!("{hint:?}\n{}\n{error} {error:?}", to_json(&hint));
    let debug = format!("{notification:?}\n{notification:#?}\n{kept}");
    assert!(!debug.contains(PERSONAL) && !debug.contains("partner.example.com"), "{debug}");
    let text = debug + &to_json(&notification);
    assert!(!text.contains(PLANTED), "{text}");
}

#[tokio::test(start_paused = true)]
async fn no_secret_of_bunqs_documented_bodies_is_shown() {
    test_timeout::start();
    let watched = watched();
    let (secret, folder) = (secret_members(), Folder::new());
    let receipts = ReceiptFile::open(folder.path("receipts")).await.unwrap();
    let sandbox = Sandbox::start().await.unwrap();
    let built = |builder: ClientBuilder| {
        let builder = builder.retry(once()).operation_timeout(Duration::from_secs(5));
        builder.late_arrival(Duration::ZERO).observer(receipts.clone()).build().unwrap()
    };
    let new_client = || built(sandbox.client());
    let (client, key) = (new_client(), sandbox.api_key());
    let id = sandbox.populate(1)[0];
    let token = Secret::from(sandbox.provision(id).unwrap()["credential"]["token_value"].as_str().unwrap());
    let partner = built(sandbox.client().custody(MemoryCustody::new()));
    let user = partner.users().activate(id).await.unwrap();
    let (mut count, mut successes) = (0, 0);
    let mut personal = BTreeSet::new();
    for documented in documented() {
        // The secrets in a refusal come from the call.
        for shape in SHAPES.into_iter().take(if documented.status == 200 { SHAPES.len() } else { 1 }) {
            respond(&sandbox, &documented, &secret, shape);
            let is_of_a_session =
                documented.operation.auth == Auth::Session && documented.operation.id != "delete_session";
            let client = if is_of_a_session { client.clone() } else { new_client() };
            sandbox.take_call_log();
            let shown = call(&client, &user, &documented).await;
            let journal = sandbox.take_call_log();
            assert!(
                journal.iter().any(|call| call.operation == Some(documented.operation)),
                "{documented:?}: nothing was called"
            );
            sandbox.clear_edits();
            let tokens = journal.iter().filter_map(|call| call.header("x-bunq-client-authentication"));
            let own: Vec<_> = tokens.chain([key.expose(), token.expose(), PLANTED]).collect();
            let logged = watched.logged();
            assert!(!logged.contains(PERSONAL) && !logged.contains(BIRTH), "it is logged: {documented:?}\n{logged}");
            for (text, what) in [(shown, "shown"), (logged, "logged")] {
                let found = own.iter().find(|secret| text.contains(**secret));
                assert_eq!(found, None, "it is {what}: {documented:?}\n{text}");
                successes += usize::from(text.contains("Provision {"));
            }
            count += 1;
        }
        personal.extend(documented.personal.iter().filter_map(|place| place.rsplit('/').next()).map(str::to_owned));
    }
    let described = [
        "all_data_submitted all_fail_reason applicant_identifier_external assistant_conversation context country description",
        "display_name entry_description exception_message finn_conversation message notification_target",
        "public_nick_name reject_reason session_identifier_external subtitle title urls",
    ];
    assert_eq!(personal.into_iter().collect::<Vec<_>>(), described.join(" ").split(' ').collect::<Vec<_>>());
    assert!(count > 500 && successes > 100, "{count} bodies, {successes} with provisions");
    let kept = std::fs::read_to_string(folder.path("receipts")).unwrap();
    assert!(kept.contains("for_user") && !kept.contains(PLANTED), "{kept}");
    let is_users = |line: &&str| line.contains("for_user");
    assert!(!kept.lines().filter(is_users).any(|line| line.contains(PERSONAL) || line.contains(BIRTH)), "{kept}");
}

/// All that a user has told, and all that bunq has given for it, on the way to a verified user: with each verb, at first refused, and
/// then taken.
#[tokio::test(start_paused = true)]
async fn nothing_about_a_person_is_shown_on_the_way_to_a_verified_user() {
    test_timeout::start();
    let (watched, folder) = (watched(), Folder::new());
    let kinds = ["ADDRESS_MAIN", "ADDRESS_POSTAL", "DATE_OF_BIRTH", "NATIONALITY", "TAX_RESIDENT"];
    let mut profile = Profile::default();
    profile.fulfillments = kinds.map(str::to_owned).to_vec();
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let kept = Folder::new();
    fs::set_permissions(&kept.0, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let custody = FileCustody::new(&kept.0);
    let receipts = ReceiptFile::open(folder.path("receipts")).await.unwrap();
    let builder = sandbox.client().retry(once()).late_arrival(Duration::ZERO).custody(custody);
    let client = builder.observer(receipts.clone()).build().unwrap();
    let id = sandbox.populate(1)[0];
    let token = Secret::from(sandbox.provision(id).unwrap()["credential"]["token_value"].as_str().unwrap());
    let users = client.users();
    let mut events = pin!(users.events());
    let refuse = || sandbox.inject(Injection::new(Fault::Status(400)).times(1));
    let mut shown = String::new();

    refuse();
    shown += &outcome(&users.activate(id).await, no_json);
    let user = users.activate(id).await.unwrap();
    let onboarding = user.onboarding();
    let started = onboarding.start().await.unwrap().id;
    let Ok(RequestedStatuses::Missing(missing)) = onboarding.request(started, &statuses()).await else { panic!() };
    let planted = |operation: &Operation| personal_request(operation).unwrap();
    let read = |operation: &Operation, member: &str| planted(operation)[member].take().to_string();
    let answers = [
        FulfillmentAnswer::AddressMain(from_json(&read(&Operation::CREATE_ADDRESS_MAIN, "address_main"))),
        FulfillmentAnswer::AddressPostal(from_json(&read(&Operation::CREATE_ADDRESS_POSTAL, "address_postal"))),
        FulfillmentAnswer::Person(from_json(&planted(&Operation::UPDATE_USER_PERSON).to_string())),
        FulfillmentAnswer::Nationality(vec!["NL".parse().unwrap()]),
        FulfillmentAnswer::TaxResident(from_json(&read(&Operation::CREATE_TAX_RESIDENT, "tax_resident"))),
    ];
    for (one, answer) in missing.iter().zip(&answers) {
        for is_refused in [true, false] {
            if is_refused {
                refuse();
            }
            let given = onboarding.answer(one, answer).await;
            assert_eq!(given.is_err(), is_refused, "{one:?} {given:?}");
            shown += &outcome(&given, no_json);
        }
        shown += &format!("{one:?} {answer:?}");
    }

    let mut session = user.identity().start().await.unwrap();
    let sdk = session.take_token().unwrap();
    shown += &format!("{session:?} {sdk:?}");
    let inquiry = sandbox.inquire(id, SeedInquiry::new([types::InquiryEntryType::UserPersonSourceOfFund])).unwrap();
    let asked = user.inquiries().get(inquiry).await.unwrap();
    let entry = asked.entries().next().unwrap().id;
    let file = [b"GIF89a", PERSONAL.as_bytes()].concat();
    let path = folder.path("scan.gif");
    fs::write(&path, &file).unwrap();
    let description = format!("{PERSONAL}description");
    let mut answer: types::UpdateUserInformationInquiryEntryRequest =
        from_json(&planted(&Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY).to_string());
    for is_refused in [true, false] {
        let play = || {
            if is_refused {
                refuse()
            }
        };
        let scan = NewAttachment::new(file.clone()).description(description.parse().unwrap());
        shown += &format!("{scan:?} {:?}", user.attachments().open(&path).await.unwrap());
        play();
        let uploaded = user.attachments().upload(scan).await;
        shown += &outcome(&uploaded, no_json);
        let uploaded = uploaded.unwrap_or_else(|_| 1_u64.try_into().unwrap());
        play();
        let downloaded = user.attachments().download(uploaded).await;
        assert_eq!(downloaded.is_err(), is_refused, "{downloaded:?}");
        shown += &outcome(&downloaded, no_json);
        let (country, kind) = ("NL".parse().unwrap(), "CRYPTO_KYC_QUESTIONNAIRE".parse().unwrap());
        let document = types::CreateDocumentIdentificationRequest::new(uploaded, country, kind);
        play();
        shown += &outcome(&user.documents().link(&document).await, no_json);
        answer.all_attachment_id = if is_refused { vec![] } else { vec![uploaded] };
        play();
        let answered = user.inquiries().answer(inquiry, entry, &answer).await;
        assert_eq!(answered.is_err(), is_refused, "{answered:?}");
        shown += &(outcome(&answered, no_json) + &format!("{answer:?}"));
    }
    shown += &outcome(&user.inquiries().get(inquiry).await, no_json);
    shown += &outcome(&user.inquiries().list().page().await, no_json);
    shown += &outcome(&user.identity().submit(session.id()).await, no_json);
    while let Some(event) = events.next().now_or_never() {
        shown += &format!("{event:?}");
    }
    shown += &format!("{client:?} {users:?} {user:?} {onboarding:?} {:?} {:?}", user.identity(), user.inquiries());

    assert_eq!(sandbox.given(id).unwrap()["ADDRESS_MAIN"]["address_main"]["city"], format!("{PERSONAL}sent"));
    let users = fs::read_dir(&kept.0).unwrap().map(|file| file.unwrap().path());
    let in_custody: String = users.filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(in_custody.contains("\"sealed\":\""), "{in_custody}");
    let kept = fs::read_to_string(folder.path("receipts")).unwrap();
    assert!(kept.contains("update_user_information_inquiry_entry") && receipts.failure().is_none(), "{kept}");
    let (logged, measured) = (watched.logged(), watched.measured());
    assert!(measured.contains("bunq.client."), "{measured}");
    let texts: [(&str, &str); 5] = [
        ("shown", &shown),
        ("logged", &logged),
        ("measured", &measured),
        ("in custody", &in_custody),
        ("in the receipts", &kept),
    ];
    shows_none(&texts, &[PERSONAL, BIRTH, sdk.expose(), token.expose()]);
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}
