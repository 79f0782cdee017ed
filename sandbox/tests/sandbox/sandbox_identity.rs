//! Sessions in which users prove who they are, and documents that they give.

use std::time::Duration;

use bunq_partner::types::{
    AttachmentContentType, AttachmentId, CreateDocumentIdentificationRequest, CreateIdentityVerificationSessionRequest,
    IdentityVerificationProvider, IdentityVerificationSessionId, IdentityVerificationSessionStatus,
    RequestedIdentityVerificationPurpose, RequestedIdentityVerificationSessionStatus,
    UpdateIdentityVerificationSessionRequest,
};
use bunq_partner::{Error, UserClient};
use bunq_partner_sandbox::{Profile, Sandbox};
use reqwest::Method;
use serde_json::json;
use tokio::time::advance;

use crate::caller::Caller;
use crate::common::{ready, user_of};

const SESSION: &str = "IdentityVerificationSessionIncode";

/// A client that acts for a new user.
async fn user(sandbox: &Sandbox) -> UserClient {
    user_of(sandbox, ready(&sandbox.client().build().unwrap()).await).await
}

async fn start(client: &UserClient) -> Result<IdentityVerificationSessionId, Error> {
    let new = CreateIdentityVerificationSessionRequest::new(
        IdentityVerificationProvider::Incode,
        RequestedIdentityVerificationPurpose::Verification,
    );
    Ok(client.api().create_identity_verification_session(&new).await?.into_inner())
}

async fn submit(client: &UserClient, id: IdentityVerificationSessionId) -> Result<(), Error> {
    let submitted =
        UpdateIdentityVerificationSessionRequest::new(RequestedIdentityVerificationSessionStatus::Submitted);
    client.api().update_identity_verification_session(id, &submitted).await.map(drop)
}

async fn link(client: &UserClient, front: AttachmentId, back: Option<AttachmentId>) -> Result<(), Error> {
    let (country, kind) = ("NL".parse().unwrap(), "CRYPTO_KYC_QUESTIONNAIRE".parse().unwrap());
    let mut document = CreateDocumentIdentificationRequest::new(front, country, kind);
    document.document_back_attachment_id = back;
    client.api().create_document_identification(&document).await.map(drop)
}

async fn upload(client: &UserClient) -> AttachmentId {
    client.api().create_attachment(AttachmentContentType::ImageGif, &b"GIF89a"[..], None).await.unwrap().into_inner()
}

fn is_refused(result: Result<impl Sized, Error>, status: u16, says: &str) {
    let error = result.err().unwrap();
    let told = error.bunq_messages().iter().any(|message| message.contains(says));
    assert!(error.status() == Some(status) && told, "{error}");
}

/// bunq does not say what a second submission does.
#[tokio::test(start_paused = true)]
async fn a_second_submission_may_begin_again() {
    test_timeout::start();
    let mut profile = Profile::default();
    profile.second_submission = None;
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let client = user(&sandbox).await;
    let id = start(&client).await.unwrap();
    for _ in 0..2 {
        submit(&client, id).await.unwrap();
        for (after, status) in [(0, "SUBMITTED"), (5, "PROCESSED")] {
            advance(Duration::from_secs(after)).await;
            let seen = client.api().get_identity_verification_session(id).await.unwrap();
            assert_eq!(seen.status.as_str(), status);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_session_is_rejected_and_each_result_is_late() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = user(&sandbox).await;
    let read = async |id| client.api().get_identity_verification_session(id).await.unwrap().into_inner();
    for (outcome, reasons) in [("REJECTED", 1), ("APPROVED", 0), ("APPROVED", 0)] {
        let id = start(&client).await.unwrap();
        let created = read(id).await;
        assert_eq!(created.status, IdentityVerificationSessionStatus::Created);
        assert!(created.token.is_some_and(|token| token.expose().len() > 20) && created.result.is_none());

        submit(&client, id).await.unwrap();
        let submitted = read(id).await;
        assert_eq!(submitted.status, IdentityVerificationSessionStatus::Submitted);
        assert!(submitted.token.is_none() && submitted.result.is_none());
        is_refused(submit(&client, id).await, 400, "has been submitted");
        is_refused(start(&client).await, 400, "has no result yet");

        advance(Duration::from_secs(5)).await;
        let processed = read(id).await;
        assert_eq!(processed.status, IdentityVerificationSessionStatus::Processed);
        let result = processed.result.unwrap();
        assert_eq!(result.result.as_str(), outcome);
        assert_eq!(result.all_fail_reason.len(), reasons);
        is_refused(submit(&client, id).await, 400, "has been submitted");
    }
    // After a restart too.
    let id = start(&client).await.unwrap();
    let shown = read(id).await.token;
    let caller = Caller::of_user(&sandbox, &client).await;
    let again = Sandbox::builder().saved_state(sandbox.saved_state().unwrap()).start().await.unwrap();
    let kept = caller.at(&again).read(&format!("/identity-verification-session/{id}"), SESSION).await;
    assert!(shown.is_some_and(|shown| kept[0]["token"] == shown.expose()));
}

#[tokio::test]
async fn a_session_is_its_users_alone_and_ends_as_the_profile_says() {
    test_timeout::start();
    let profile: Profile = serde_json::from_str(
        r#"{"identity_results": ["UNDER_REVIEW"], "identity_check": 0, "second_identity_session": null}"#,
    )
    .unwrap();
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let (client, other) = (user(&sandbox).await, user(&sandbox).await);
    let id = start(&client).await.unwrap();
    is_refused(
        other.api().get_identity_verification_session(id).await,
        404,
        "There is no identity verification session",
    );
    is_refused(submit(&other, id).await, 404, "There is no identity verification session");
    let second = start(&client).await.unwrap();
    assert_ne!(id, second);
    submit(&client, id).await.unwrap();
    let seen = client.api().get_identity_verification_session(id).await.unwrap().into_inner();
    assert_eq!(seen.result.unwrap().result.as_str(), "UNDER_REVIEW");
    // The partner has none. Its client would not even send this.
    let partner = Caller::of(&sandbox, &sandbox.client().build().unwrap()).await;
    let new = r#"{"purpose": "VERIFICATION", "provider": "INCODE"}"#;
    assert_eq!(partner.call(Method::POST, "/identity-verification-session", new).await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn a_seed_has_sessions_in_any_state() {
    test_timeout::start();
    let seed = |status: &str| {
        let sessions = json!([{"status": "PROCESSED", "result": "EXPIRED"}, {"status": status}]);
        serde_json::from_value(json!({"status": "ACTIVE", "user": {"identity_sessions": sessions}})).unwrap()
    };
    let sandbox = Sandbox::builder().seed([seed("SUBMITTED")]).start().await.unwrap();
    let client = user_of(&sandbox, sandbox.provision_ids()[0]).await;
    is_refused(start(&client).await, 400, "has no result yet");
    advance(Duration::from_secs(5)).await;
    start(&client).await.unwrap();
    let error = Sandbox::builder().seed([seed("GONE")]).start().await.unwrap_err().to_string();
    assert!(error.contains("user.identity_sessions[1]: there is no status GONE: give CREATED,"), "{error}");
}

#[tokio::test]
async fn a_document_takes_the_attachments_of_its_user() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let (client, other) = (user(&sandbox).await, user(&sandbox).await);
    let (front, back, others) = (upload(&client).await, upload(&client).await, upload(&other).await);
    link(&client, front, None).await.unwrap();
    link(&client, front, Some(back)).await.unwrap();
    for missing in [others, 9_999_999_u64.try_into().unwrap()] {
        is_refused(link(&client, missing, None).await, 400, &format!("There is no attachment {missing}."));
        is_refused(link(&client, front, Some(missing)).await, 400, &format!("There is no attachment {missing}."));
    }
}
