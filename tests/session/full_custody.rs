//! What bunq has carried out counts, also if the custody cannot keep it any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bunq_partner::types::{
    AttachmentContentType, CreateDocumentIdentificationRequest, DocumentIdentificationId,
    IdentityVerificationSessionId, InquiryEntryType, UpdateUserInformationInquiryEntryRequest,
};
use bunq_partner::{Acceptance, Error, ErrorKind, MemoryCustody, Operation, UserClient};
use bunq_partner_sandbox::{Sandbox, SeedInquiry};

use crate::common::EndingCustody;

/// A user whose custody is full from the first response to the operation on, until that is unset.
async fn user(operation: &'static Operation) -> (Sandbox, UserClient, Arc<AtomicBool>) {
    let sandbox = Sandbox::start().await.unwrap();
    let (id, is_full) = (sandbox.populate(1)[0], Arc::new(AtomicBool::new(false)));
    let (fills, fails) = (Arc::clone(&is_full), Arc::clone(&is_full));
    sandbox.before_signing(move |call, _| _ = fills.fetch_or(call.operation == Some(operation), Ordering::Relaxed));
    let keeps = move || if fails.load(Ordering::Relaxed) { Err(Error::context("it is full")) } else { Ok(()) };
    let client = sandbox.client().late_arrival(Duration::from_secs(10));
    let client = client.custody(EndingCustody::new(MemoryCustody::new(), keeps)).build().unwrap();
    (sandbox, client.users().activate(id).await.unwrap(), is_full)
}

/// A session that could not be kept is used, and is kept as soon as that is possible.
#[tokio::test]
async fn the_session_of_a_user_is_kept_later() {
    test_timeout::start();
    for by_activating in [true, false] {
        let sandbox = Sandbox::start().await.unwrap();
        let (id, is_full) = (sandbox.populate(1)[0], Arc::new(AtomicBool::new(false)));
        let (fills, fails) = (Arc::clone(&is_full), Arc::clone(&is_full));
        let keeps = move || if fails.load(Ordering::Relaxed) { Err(Error::context("it is full")) } else { Ok(()) };
        let custody = MemoryCustody::new();
        let client = sandbox.client().custody(EndingCustody::new(custody.clone(), keeps)).build().unwrap();
        client.open_session().await.unwrap();
        let open = &Operation::CREATE_SESSION;
        sandbox.before_signing(move |call, _| _ = fills.fetch_or(call.operation == Some(open), Ordering::Relaxed));
        assert_eq!(client.users().activate(id).await.unwrap_err().kind(), ErrorKind::Context);
        let is_activated = async || client.users().get(id).await.unwrap().unwrap().is_activated;
        let user = client.users().of(id);
        user.api().list_credentials().await.unwrap();
        assert!(!is_activated().await);

        is_full.store(false, Ordering::Relaxed);
        sandbox.take_call_log();
        match by_activating {
            true => _ = client.users().activate(id).await.unwrap(),
            false => _ = user.api().list_credentials().await.unwrap(),
        }
        assert!(is_activated().await);
        let next = sandbox.client().custody(custody).build().unwrap();
        next.users().of(id).api().list_credentials().await.unwrap();
        assert_eq!(sandbox.call_log().iter().filter(|call| call.operation == Some(open)).count(), 0);
    }
}

/// Does it with a custody that becomes full, and again with one that is not full any more. bunq carries it out once.
async fn twice(operation: &'static Operation, act: impl AsyncFn(&Sandbox, &UserClient) -> Acceptance) {
    let (sandbox, user, is_full) = user(operation).await;
    assert_eq!(act(&sandbox, &user).await, Acceptance::Accepted, "{}", operation.id);
    assert!(is_full.swap(false, Ordering::Relaxed));
    sandbox.clear_edits();
    assert_ne!(act(&sandbox, &user).await, Acceptance::Accepted, "{}", operation.id);
    let sent = sandbox.call_log().into_iter().filter(|call| call.operation == Some(operation)).count();
    assert_eq!(sent, 1, "{}", operation.id);
}

#[tokio::test(start_paused = true)]
async fn what_bunq_shows_has_succeeded() {
    test_timeout::start();
    twice(&Operation::CREATE_USER_ONBOARDING, async |_, user| user.onboarding().start().await.unwrap().acceptance)
        .await;
    twice(&Operation::UPDATE_IDENTITY_VERIFICATION_SESSION, async |_, user| {
        let started = user.identity().start().await.unwrap();
        user.identity().submit(started.id()).await.unwrap().acceptance()
    })
    .await;
    let inquiry = OnceLock::new();
    twice(&Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY, async |sandbox, user| {
        let inquiries = user.inquiries();
        let funds = || SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]);
        let id = *inquiry.get_or_init(|| sandbox.inquire(user.provision_id(), funds()).unwrap());
        let entry = inquiries.get(id).await.unwrap().entries().next().unwrap().id;
        let mut answer = UpdateUserInformationInquiryEntryRequest::new();
        answer.answer = Some("my income comes from employment".parse().unwrap());
        inquiries.answer(id, entry, &answer).await.unwrap().acceptance()
    })
    .await;
}

/// Nobody else knows what was made, and the error has it.
#[tokio::test]
async fn what_bunq_does_not_show_is_in_doubt() {
    test_timeout::start();
    let check = |error: &Error, operation: &Operation| {
        assert!(error.kind() == ErrorKind::Context && error.is_doubtful(), "{error}");
        assert_eq!(error.operation(), Some(operation));
        assert!(error.to_string().contains("bunq has carried the request out"), "{error}");
    };
    let (_sandbox, user, _) = self::user(&Operation::CREATE_IDENTITY_VERIFICATION_SESSION).await;
    let error = user.identity().start().await.unwrap_err();
    check(&error, &Operation::CREATE_IDENTITY_VERIFICATION_SESSION);
    let id = *error.last_seen::<IdentityVerificationSessionId>().unwrap();
    assert_eq!(user.api().get_identity_verification_session(id).await.unwrap().id, id);

    let (_sandbox, user, _) = self::user(&Operation::CREATE_DOCUMENT_IDENTIFICATION).await;
    let gif = AttachmentContentType::ImageGif;
    let file = user.api().create_attachment(gif, &b"GIF89a"[..], None).await.unwrap().into_inner();
    let document = CreateDocumentIdentificationRequest::new(
        file,
        "NL".parse().unwrap(),
        "CRYPTO_KYC_QUESTIONNAIRE".parse().unwrap(),
    );
    let error = user.documents().link(&document).await.unwrap_err();
    check(&error, &Operation::CREATE_DOCUMENT_IDENTIFICATION);
    assert!(error.last_seen::<DocumentIdentificationId>().is_some());
}
