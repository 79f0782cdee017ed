//! The onboarding of a user: what is missing is listed until it is given and checked, and then bunq checks the user.

use std::time::Duration;

use bunq_partner::types::AttachmentContentType;
use bunq_partner::{ProvisionId, UserClient};
use bunq_partner_sandbox::{Profile, Sandbox, SeedProvision};
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::common::user_of;

const CHECK: Duration = Duration::from_secs(60);
const STATUSES: &str = r#"{"user_status_desired": "ACTIVE", "user_verification_status_desired": "VERIFIED"}"#;
const START: &str = r#"{"type": "PARTNER_USER"}"#;

async fn start(profile: Profile) -> (Sandbox, ProvisionId, UserClient, Caller) {
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let id = sandbox.populate(1)[0];
    let client = user_of(&sandbox, id).await;
    let caller = Caller::of_user(&sandbox, &client).await;
    (sandbox, id, client, caller)
}

fn slow() -> Profile {
    let mut profile = Profile::default();
    (profile.onboarding_check, profile.identity_check) = (CHECK, CHECK);
    profile
}

/// The fulfilments that are missing, with their statuses; the other way round, the refusal's own words.
async fn missing(caller: &Caller, onboarding: u64) -> Result<Vec<(String, Value)>, (u16, Value)> {
    let (status, body) = caller.call(Method::PUT, &format!("/user-onboarding/{onboarding}"), STATUSES).await;
    let error = &body["Error"][0];
    let listed = &error["error_additional_parameter"][0]["AdditionalFulfillmentParameter"]["all_fulfillment"];
    let Some(listed) = listed.as_array() else { return Err((status, error["error_description"].clone())) };
    assert_eq!(status, 400, "{body}");
    let kind = |one: &Value| (one["type"].as_str().unwrap().to_owned(), one["status"].clone());
    Ok(listed.iter().map(kind).collect())
}

fn kinds(missing: Result<Vec<(String, Value)>, (u16, Value)>) -> Vec<String> {
    missing.unwrap().into_iter().map(|(kind, _)| kind).collect()
}

async fn shown(caller: &Caller, onboarding: u64) -> Vec<Value> {
    let onboarding = &caller.read(&format!("/user-onboarding/{onboarding}"), "UserOnboarding").await[0];
    ["action_required", "status", "waiting_type", "user_status_desired"].map(|name| onboarding[name].clone()).into()
}

#[tokio::test]
async fn each_step_of_the_check_has_its_time() {
    test_timeout::start();
    let mut profile = slow();
    profile.fulfillments = Vec::new();
    let (sandbox, _, _, caller) = start(profile).await;
    let onboarding = caller.change(Method::POST, "/user-onboarding", START).await;
    let path = format!("/user-onboarding/{onboarding}");
    caller.change(Method::PUT, &path, STATUSES).await;
    let mut times = Vec::new();
    for _ in 0..4 {
        times.push(caller.read(&path, "UserOnboarding").await[0]["updated"].as_str().unwrap().to_owned());
        sandbox.advance_clock(CHECK / 2);
    }
    assert!(times[0] < times[1] && times[1] < times[2] && times[2] == times[3], "{times:?}");
}

/// bunq asks by itself, and later: nothing shows the inquiry while the user is checked.
#[tokio::test]
async fn an_inquiry_comes_when_the_onboarding_is_over() {
    test_timeout::start();
    for is_asked in [true, false] {
        let mut profile = slow();
        profile.fulfillments = Vec::new();
        if !is_asked {
            profile.inquiry_after_onboarding = Vec::new();
        }
        let (sandbox, _, _, caller) = start(profile).await;
        let onboarding = caller.change(Method::POST, "/user-onboarding", START).await;
        let inquiries = async || caller.read("/user-information-inquiry", "UserInformationInquiry").await;
        assert_eq!(inquiries().await, Vec::<Value>::new());
        caller.change(Method::PUT, &format!("/user-onboarding/{onboarding}"), STATUSES).await;
        assert_eq!(inquiries().await, Vec::<Value>::new());
        sandbox.advance_clock(CHECK);
        assert_eq!(shown(&caller, onboarding).await[1], "VERIFIED");
        let asked: Vec<_> = inquiries().await.iter().map(|inquiry| inquiry["all_entry"][0].clone()).collect();
        let kinds: Vec<_> = asked.iter().map(|entry| entry["UserInformationInquiryEntry"]["type"].clone()).collect();
        assert_eq!(kinds, ["USER_PERSON_SOURCE_OF_INCOME"][..usize::from(is_asked)]);
        // It is asked once.
        assert_eq!(caller.call(Method::PUT, &format!("/user-onboarding/{onboarding}"), STATUSES).await.0, 490);
        assert_eq!(inquiries().await.len(), usize::from(is_asked));
    }
}

#[tokio::test]
async fn what_is_missing_is_listed_until_it_is_given_and_checked() {
    test_timeout::start();
    let (sandbox, id, client, caller) = start(slow()).await;
    let onboarding = caller.change(Method::POST, "/user-onboarding", START).await;
    assert_eq!(shown(&caller, onboarding).await, [json!("USER"), json!("ELECTRONIC_MONEY"), Value::Null, Value::Null]);
    let asked = missing(&caller, onboarding).await.unwrap();
    let names: Vec<_> = asked.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(names[..4], ["ADDRESS_MAIN", "ADDRESS_POSTAL", "DATE_OF_BIRTH", "EMAIL"]);
    assert!(names.contains(&"SANDBOX_DECLARATION"), "{names:?}");

    let address = json!({ "street": "A", "house_number": "1", "postal_code": "1000 AA", "city": "B", "country": "NL" });
    let user = format!("/user-person/{}", caller.user);
    for (method, path, body) in [
        (Method::POST, "/address-main", json!({ "address_main": address })),
        (Method::POST, "/address-postal", json!({ "address_postal": address })),
        (Method::PUT, user.as_str(), json!({ "date_of_birth": "1990-01-31" })),
    ] {
        let path = if path == user { user.clone() } else { format!("/user/{}{path}", caller.user) };
        let (status, body) = caller.call_at(method, &path, &body.to_string()).await;
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(sandbox.given(id).unwrap()["DATE_OF_BIRTH"], json!({ "date_of_birth": "1990-01-31" }));
    let still = missing(&caller, onboarding).await.unwrap();
    assert_eq!(still[0], ("DATE_OF_BIRTH".to_owned(), json!("IN_PROGRESS")), "{still:?}");

    sandbox.advance_clock(CHECK);
    let names = kinds(missing(&caller, onboarding).await);
    assert_eq!(names, ["IDENTITY_VERIFICATION", "DOCUMENT_IDENTIFICATION", "NATIONALITY", "TAX_RESIDENT"]);
    const SESSIONS: &str = "/identity-verification-session";
    for _ in 0..2 {
        let new = r#"{"purpose": "VERIFICATION", "provider": "INCODE"}"#;
        let session = caller.change(Method::POST, SESSIONS, new).await;
        // The first is rejected.
        assert_eq!(missing(&caller, onboarding).await.unwrap()[0].1, Value::Null);
        caller.change(Method::PUT, &format!("{SESSIONS}/{session}"), r#"{"status": "SUBMITTED"}"#).await;
        assert_eq!(missing(&caller, onboarding).await.unwrap()[0].1, "IN_PROGRESS");
        sandbox.advance_clock(CHECK);
    }
    assert_eq!(kinds(missing(&caller, onboarding).await), ["DOCUMENT_IDENTIFICATION", "NATIONALITY", "TAX_RESIDENT"]);
    let api = client.api();
    let file = api.create_attachment(AttachmentContentType::ImageGif, &b"GIF89a"[..], None).await.unwrap();
    let document = json!({
        "document_type": "CRYPTO_KYC_QUESTIONNAIRE",
        "document_country_of_issuance": "NL",
        "document_attachment_id": file.get(),
    });
    caller.change(Method::POST, "/document-identification", &document.to_string()).await;
    // Nationalities and tax residences are missing, and may be given later.
    let path = format!("/user-onboarding/{onboarding}");
    assert_eq!(caller.change(Method::PUT, &path, STATUSES).await, onboarding);
    assert_eq!(shown(&caller, onboarding).await[..3], [json!("SYSTEM"), json!("ELECTRONIC_MONEY"), json!("AUTOMATED")]);
    sandbox.advance_clock(CHECK / 2);
    assert_eq!(shown(&caller, onboarding).await[2], "MANUAL");
    let again = missing(&caller, onboarding).await.unwrap_err();
    assert_eq!(again.0, 490, "a refusal of another kind: {again:?}");
    sandbox.advance_clock(CHECK / 2);
    assert_eq!(shown(&caller, onboarding).await, [json!("NONE"), json!("VERIFIED"), Value::Null, json!("ACTIVE")]);
}

/// bunq does not say what a second request does.
#[tokio::test]
async fn a_second_request_for_the_statuses_may_begin_again() {
    test_timeout::start();
    let mut profile = slow();
    (profile.fulfillments, profile.second_statuses) = (Vec::new(), None);
    let (sandbox, _, _, caller) = start(profile).await;
    let onboarding = caller.change(Method::POST, "/user-onboarding", START).await;
    let path = format!("/user-onboarding/{onboarding}");
    for _ in 0..2 {
        assert_eq!(caller.change(Method::PUT, &path, STATUSES).await, onboarding);
        assert_eq!(shown(&caller, onboarding).await[2], "AUTOMATED");
        sandbox.advance_clock(CHECK);
        assert_eq!(shown(&caller, onboarding).await[1], "VERIFIED");
    }
}

#[tokio::test]
async fn what_is_due_later_becomes_mandatory() {
    test_timeout::start();
    let mut profile = slow();
    profile.fulfillments = ["TAX_RESIDENT", "NATIONALITY", "ADDRESS_MAIN"].map(str::to_owned).to_vec();
    profile.session_timeout = Duration::from_secs(100 * 24 * 3600);
    let (sandbox, _, _, caller) = start(profile).await;
    let onboarding = caller.change(Method::POST, "/user-onboarding", START).await;
    assert_eq!(kinds(missing(&caller, onboarding).await), ["TAX_RESIDENT", "NATIONALITY", "ADDRESS_MAIN"]);
    let address = json!({ "street": "A", "house_number": "1", "postal_code": "1000 AA", "city": "B", "country": "NL" });
    let address = json!({ "address_main": address }).to_string();
    assert_eq!(caller.call(Method::POST, "/address-main", &address).await.0, 200);
    sandbox.advance_clock(Duration::from_secs(90 * 24 * 3600));
    assert_eq!(kinds(missing(&caller, onboarding).await), ["TAX_RESIDENT", "NATIONALITY"]);
}

#[tokio::test]
async fn onboardings_are_their_users_and_part_of_the_state() {
    test_timeout::start();
    let (sandbox, id, _, caller) = start(Profile::default()).await;
    let first = caller.change(Method::POST, "/user-onboarding", START).await;
    let second = caller.change(Method::POST, "/user-onboarding", START).await;
    let listed = caller.read("/user-onboarding?count=1", "UserOnboarding").await;
    assert_eq!(listed.iter().map(|one| one["id"].as_u64().unwrap()).collect::<Vec<_>>(), [second]);
    let older = caller.read(&format!("/user-onboarding?older_id={second}"), "UserOnboarding").await;
    assert_eq!(older[0]["id"], first);
    assert_eq!(caller.call(Method::GET, "/user-onboarding?status=VERIFIED", "").await.0, 400);

    let nationality = r#"{"all_nationality": ["NL"]}"#;
    assert_eq!(caller.call(Method::POST, "/nationality", nationality).await.0, 200);
    let saved = sandbox.saved_state().unwrap();
    let again = Sandbox::builder().saved_state(saved).start().await.unwrap();
    assert_eq!(again.given(id).unwrap(), json!({ "NATIONALITY": { "all_nationality": ["NL"] } }));
    assert_eq!(caller.at(&again).read("/user-onboarding", "UserOnboarding").await.len(), 2);

    let other = sandbox.populate(1)[0];
    let others = Caller::of_user(&sandbox, &user_of(&sandbox, other).await).await;
    assert_eq!(others.call(Method::GET, &format!("/user-onboarding/{first}"), "").await.0, 404);
    assert_eq!(others.call(Method::PUT, &format!("/user-onboarding/{first}"), STATUSES).await.0, 404);
    let partner = Caller::of(&sandbox, &sandbox.client().build().unwrap()).await;
    assert_eq!(partner.call(Method::GET, "/user-onboarding", "").await.0, 403);
}

#[tokio::test]
async fn a_list_of_nothing_is_refused() {
    test_timeout::start();
    let (sandbox, id, _, caller) = start(Profile::default()).await;
    for (path, name) in [("nationality", "all_nationality"), ("tax-resident", "tax_resident")] {
        let (status, body) = caller.call(Method::POST, &format!("/{path}"), &json!({ name: [] }).to_string()).await;
        assert_eq!(status, 400);
        assert_eq!(body["Error"][0]["error_description"], format!("{name} is empty: name at least one."));
    }
    assert_eq!(sandbox.given(id), Some(json!({})));
}

#[tokio::test]
async fn a_seed_has_what_was_given() {
    test_timeout::start();
    let seed = |user: Value| serde_json::from_value(json!({ "status": "ACTIVE", "user": user })).unwrap();
    let all = [
        seed(json!({ "onboardings": [{ "given": ["ADDRESS_MAIN"] }] })),
        seed(json!({ "onboardings": [{ "is_taken": true }] })),
    ];
    let builder = Sandbox::builder().fulfillments(["ADDRESS_MAIN", "ADDRESS_POSTAL"]);
    let sandbox = builder.seed(all).start().await.unwrap();
    let ids = sandbox.provision_ids();
    let caller = Caller::of_user(&sandbox, &user_of(&sandbox, ids[0]).await).await;
    let onboarding = caller.read("/user-onboarding", "UserOnboarding").await[0]["id"].as_u64().unwrap();
    assert_eq!(kinds(missing(&caller, onboarding).await), ["ADDRESS_POSTAL"]);
    let caller = Caller::of_user(&sandbox, &user_of(&sandbox, ids[1]).await).await;
    assert_eq!(caller.read("/user-onboarding", "UserOnboarding").await[0]["action_required"], "SYSTEM");
    sandbox.advance_clock(CHECK);
    assert_eq!(caller.read("/user-onboarding", "UserOnboarding").await[0]["status"], "VERIFIED");
    for (kind, expected) in [
        ("TAXES", "bunq asks for no TAXES: give some of ADDRESS_MAIN, "),
        ("IDENTITY_VERIFICATION", "IDENTITY_VERIFICATION is given by the identity_sessions of the user: give those"),
    ] {
        let wrong = seed(json!({ "onboardings": [{ "given": [kind] }] }));
        let error = Sandbox::builder().seed([wrong]).start().await.unwrap_err().to_string();
        assert!(error.contains(&format!("user.onboardings[0]: {expected}")), "{error}");
    }
}

/// In one bank, each user is where the seed says.
#[tokio::test]
async fn a_seed_has_users_in_any_state() {
    test_timeout::start();
    let seed =
        |user: Value| -> SeedProvision { serde_json::from_value(json!({ "status": "ACTIVE", "user": user })).unwrap() };
    let kinds_of_all = ["ADDRESS_MAIN", "ADDRESS_POSTAL", "DATE_OF_BIRTH", "EMAIL", "NATIONALITY", "PHONE_NUMBER"];
    let document = json!({ "document_type": "CRYPTO_KYC_QUESTIONNAIRE", "country": "NL", "front": 0, "back": 1 });
    let attachments = json!([{ "content_type": "image/png" }, { "content_type": "image/gif" }]);
    let with_all = seed(json!({
        "attachments": attachments, "documents": [document],
        "identity_sessions": [{ "status": "PROCESSED", "result": "APPROVED" }],
        "onboardings": [{ "given": kinds_of_all.iter().chain(&["TAX_RESIDENT", "SANDBOX_DECLARATION"]).collect::<Vec<_>>() }],
    }));
    let ended = |result: &str| seed(json!({ "onboardings": [{ "is_over": true, "result": result }] }));
    let checked = seed(json!({ "onboardings": [{ "is_taken": true, "result": "DENIED" }] }));
    assert_eq!(serde_json::from_str::<SeedProvision>(&serde_json::to_string(&with_all).unwrap()).unwrap(), with_all);
    let all = [with_all, ended("DENIED"), ended("BLOCKED"), ended("VERIFIED"), checked];
    let sandbox = Sandbox::builder().seed(all).start().await.unwrap();
    let mut statuses = Vec::new();
    for (index, id) in sandbox.provision_ids().into_iter().enumerate() {
        let caller = Caller::of_user(&sandbox, &user_of(&sandbox, id).await).await;
        let onboarding = caller.read("/user-onboarding", "UserOnboarding").await[0].clone();
        if index == 0 {
            sandbox.advance_clock(CHECK);
            let path = format!("/user-onboarding/{}", onboarding["id"]);
            caller.change(Method::PUT, &path, STATUSES).await;
        }
        statuses.push(onboarding["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(statuses, ["ELECTRONIC_MONEY", "DENIED", "BLOCKED", "VERIFIED", "DENIED"]);
    let wrong =
        seed(json!({ "attachments": [], "documents": [{ "document_type": "X", "country": "NL", "front": 0 }] }));
    let error = Sandbox::builder().seed([wrong]).start().await.unwrap_err().to_string();
    assert!(error.contains("user.documents[0]: there is no attachment 0: the user has 0"), "{error}");
}
