//! What bunq refuses, while the custody cannot be written: the refusal is what the caller hears.

use bunq_partner::types::{
    CreateDocumentIdentificationRequest, InquiryEntryType, UpdateUserInformationInquiryEntryRequest,
};
use bunq_partner::{Custody as _, CustodyEntry, Error, ErrorKind, MemoryCustody, Operation, UserClient};
use bunq_partner_sandbox::{Fault, Injection, Sandbox, SeedInquiry};
use futures_util::future::FutureExt as _;

const STEPS: [&Operation; 4] = [
    &Operation::CREATE_USER_ONBOARDING,
    &Operation::CREATE_IDENTITY_VERIFICATION_SESSION,
    &Operation::CREATE_DOCUMENT_IDENTIFICATION,
    &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY,
];

/// Makes the request of a step, with a verb, and returns why it was refused.
async fn refusal(operation: &Operation, user: &UserClient, sandbox: &Sandbox) -> Error {
    if operation == STEPS[0] {
        user.onboarding().start().await.unwrap_err()
    } else if operation == STEPS[1] {
        user.identity().start().await.unwrap_err()
    } else if operation == STEPS[2] {
        let document =
            r#"{"document_type": "PASSPORT", "document_country_of_issuance": "NL", "document_attachment_id": 1}"#;
        let document: CreateDocumentIdentificationRequest = serde_json::from_str(document).unwrap();
        user.documents().link(&document).await.unwrap_err()
    } else {
        let id = sandbox.inquire(user.provision_id(), SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]));
        let inquiry = user.inquiries().get(id.unwrap()).await.unwrap();
        let mut answer = UpdateUserInformationInquiryEntryRequest::new();
        answer.answer = Some("From my work.".parse().unwrap());
        let entry = inquiry.entries().next().unwrap().id;
        user.inquiries().answer(inquiry.id, entry, &answer).await.unwrap_err()
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_though_the_custody_fails() {
    test_timeout::start();
    for operation in STEPS {
        let sandbox = Sandbox::builder().start().await.unwrap();
        let (id, custody) = (sandbox.populate(1)[0], MemoryCustody::new());
        let client = sandbox.client().custody(custody.clone()).build().unwrap();
        let user = client.users().activate(id).await.unwrap();
        sandbox.inject(Injection::new(Fault::Status(400)).on(operation).times(1));
        let damaged = custody.clone();
        sandbox.before_signing(move |call, _| {
            if call.operation == Some(operation) {
                let lock = damaged.lock(id).now_or_never().unwrap().unwrap();
                let saved = damaged.save(&lock, CustodyEntry::new(id), "damaged".into()).now_or_never();
                saved.unwrap().unwrap();
            }
        });
        let error = refusal(operation, &user, &sandbox).await;
        let said = error.to_string();
        assert_eq!(
            (error.kind(), error.status(), error.is_doubtful()),
            (ErrorKind::Rejected, Some(400), false),
            "{said}"
        );
        assert!(
            said.contains("it is kept as begun, because") && said.contains("is damaged"),
            "{}: {said}",
            operation.id
        );
        sandbox.clear_edits();
    }
}
