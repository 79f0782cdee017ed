//! What bunq asks of users, and their answers.

use std::time::Duration;

use bunq_partner::types::{
    InquiryEntryStatus, InquiryEntryType, InquiryPurpose, InquiryStatus, InquiryType,
    ListUserInformationInquiriesQuery, UpdateUserInformationInquiryEntryRequest, UserInformationInquiry,
    UserInformationInquiryEntry, UserInformationInquiryId,
};
use bunq_partner::{ErrorKind, PageSize, ProvisionId, UserClient};
use bunq_partner_sandbox::{Pace, Profile, RejectedEntry, Review, Sandbox, SeedInquiry};
use futures_util::TryStreamExt as _;
use reqwest::Method;

use crate::caller::Caller;
use crate::common::{Folder, ready, user_of};

const FUNDS: InquiryEntryType = InquiryEntryType::UserPersonSourceOfFund;
const POLITICS: InquiryEntryType = InquiryEntryType::UserPersonInvolvementInPolitics;

/// A client of a new user.
async fn user(sandbox: &Sandbox) -> (ProvisionId, UserClient) {
    let id = ready(&sandbox.client().build().unwrap()).await;
    (id, user_of(sandbox, id).await)
}

async fn read(client: &UserClient, id: UserInformationInquiryId) -> UserInformationInquiry {
    client.api().get_user_information_inquiry(id).await.unwrap().into_inner()
}

fn entries(inquiry: &UserInformationInquiry) -> Vec<&UserInformationInquiryEntry> {
    inquiry.all_entry.iter().filter_map(|item| item.user_information_inquiry_entry.as_ref()).collect()
}

fn statuses(inquiry: &UserInformationInquiry) -> (InquiryStatus, Vec<InquiryEntryStatus>) {
    (inquiry.status.clone().unwrap(), entries(inquiry).into_iter().map(|entry| entry.status.clone()).collect())
}

fn text(answer: &str) -> UpdateUserInformationInquiryEntryRequest {
    let mut request = UpdateUserInformationInquiryEntryRequest::new();
    request.answer = Some(answer.parse().unwrap());
    request
}

/// Each answer is shown as waiting before it is reviewed; a rejected one is asked for again.
#[tokio::test]
async fn an_answer_is_reviewed_and_an_inquiry_ends() {
    test_timeout::start();
    use InquiryEntryStatus::{Approved, Pending, WaitingForReview};
    let sandbox = Sandbox::start().await.unwrap();
    let (provision, client) = user(&sandbox).await;
    let mut asked = SeedInquiry::new([FUNDS, POLITICS]);
    asked.entries[0].reviews = vec![Review::Rejected];
    let id = sandbox.inquire(provision, asked).unwrap();
    let inquiry = read(&client, id).await;
    assert_eq!(statuses(&inquiry), (InquiryStatus::ExpectingReplyFromUser, vec![Pending, Pending]));
    let [funds, politics] = entries(&inquiry)[..] else { panic!("{inquiry:?}") };
    let (funds, politics) = (funds.id, politics.id);
    let answer = async |entry, answer: &str| {
        client.api().update_user_information_inquiry_entry(id, entry, &text(answer)).await.map(drop)
    };

    answer(funds, "No.").await.unwrap();
    let waiting = read(&client, id).await;
    assert_eq!(statuses(&waiting), (InquiryStatus::ExpectingReplyFromUser, vec![WaitingForReview, Pending]));
    let submitted = serde_json::to_value(&entries(&waiting)[0].all_data_submitted).unwrap();
    assert_eq!(submitted, serde_json::json!([{ "type": "FREE_TEXT", "value": "No." }]));
    let rejected = read(&client, id).await;
    assert_eq!(statuses(&rejected).1, [Pending, Pending]);
    assert!(entries(&rejected)[0].reject_reason.is_some());

    answer(funds, "From my work.").await.unwrap();
    answer(politics, "No.").await.unwrap();
    let waiting = read(&client, id).await;
    assert_eq!(statuses(&waiting), (InquiryStatus::ExpectingReplyFromBunq, vec![WaitingForReview, WaitingForReview]));
    assert_eq!(statuses(&read(&client, id).await), (InquiryStatus::Finalized, vec![Approved, Approved]));
    let refused = answer(funds, "Again.").await.unwrap_err();
    assert_eq!((refused.kind(), refused.status()), (ErrorKind::Rejected, Some(400)));
}

#[tokio::test]
async fn what_is_no_answer_is_refused() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let provision = sandbox.populate(2);
    let (client, other) = (user_of(&sandbox, provision[0]).await, user_of(&sandbox, provision[1]).await);
    let [first, second] = [(); 2].map(|()| sandbox.inquire(provision[0], SeedInquiry::new([FUNDS])).unwrap());
    let entry = entries(&read(&client, first).await)[0].id;
    let (caller, others) = (Caller::of_user(&sandbox, &client).await, Caller::of_user(&sandbox, &other).await);
    let file = async |client: &UserClient| {
        let png = bunq_partner::types::AttachmentContentType::ImageGif;
        client.api().create_attachment(png, &b"GIF89a"[..], None).await.unwrap().into_inner()
    };
    let (own, foreign) = (file(&client).await, file(&other).await);
    let path = |inquiry| format!("/user-information-inquiry/{inquiry}/partner-user-information-inquiry-entry/{entry}");
    for (caller, path, body, status) in [
        (&caller, path(first), "{}".to_owned(), 400),
        (&caller, path(first), r#"{"all_attachment_id": []}"#.to_owned(), 400),
        (&caller, path(first), r#"{"answer": ""}"#.to_owned(), 400),
        (&caller, path(first), r#"{"answer": 7}"#.to_owned(), 400),
        (&caller, path(first), format!(r#"{{"all_attachment_id": [{own}, {foreign}]}}"#), 400),
        (&caller, path(second), r#"{"answer": "x"}"#.to_owned(), 404),
        (&others, path(first), r#"{"answer": "x"}"#.to_owned(), 404),
    ] {
        let (got, said) = caller.call(Method::PUT, &path, &body).await;
        assert_eq!(got, status, "{path} {body}: {said}");
    }
    assert_eq!(entries(&read(&client, first).await)[0].status, InquiryEntryStatus::Pending);
    assert_eq!(
        others.read("/user-information-inquiry", "UserInformationInquiry").await,
        Vec::<serde_json::Value>::new()
    );
    let body = format!(r#"{{"all_attachment_id": [{own}], "answer": "A file."}}"#);
    assert_eq!(caller.change(Method::PUT, &path(first), &body).await, entry.get());
    // A review that a test makes comes when it is made, and once.
    assert_eq!(entries(&read(&client, first).await)[0].status, InquiryEntryStatus::WaitingForReview);
    assert!(sandbox.review(entry, Review::AutoApproved) && !sandbox.review(entry, Review::Rejected));
    assert_eq!(entries(&read(&client, first).await)[0].status, InquiryEntryStatus::AutoApproved);
}

/// It comes later, and expires: what was answered in time is reviewed nevertheless.
#[tokio::test(start_paused = true)]
async fn an_inquiry_has_its_time() {
    test_timeout::start();
    use InquiryEntryStatus::{Cancelled, Pending, Rejected, WaitingForReview};
    let mut profile = Profile::default();
    profile.rejected_entry = RejectedEntry::Final;
    let (hour, pace) = (Duration::from_secs(3600), Pace::Every(Duration::from_secs(3 * 3600)));
    let sandbox = Sandbox::builder().profile(profile).pace(pace).start().await.unwrap();
    let provision = sandbox.populate(1)[0];
    let client = user_of(&sandbox, provision).await;
    let mut asked = SeedInquiry::new([FUNDS, POLITICS]).reviews([Review::Rejected]);
    (asked.opens_in_seconds, asked.expires_in_seconds) = (3600, Some(2 * 3600));
    let id = sandbox.inquire(provision, asked).unwrap();
    let gone = client.api().get_user_information_inquiry(id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    tokio::time::sleep(hour).await;
    let inquiry = read(&client, id).await;
    assert_eq!(statuses(&inquiry), (InquiryStatus::ExpectingReplyFromUser, vec![Pending, Pending]));
    assert!(inquiry.time_expiry.is_some());
    let entry = entries(&inquiry)[0].id;
    client.api().update_user_information_inquiry_entry(id, entry, &text("From my work.")).await.unwrap();
    tokio::time::sleep(2 * hour).await;
    let late = read(&client, id).await;
    assert_eq!(statuses(&late), (InquiryStatus::ExpectingReplyFromBunq, vec![WaitingForReview, Cancelled]));
    tokio::time::sleep(hour).await;
    assert_eq!(statuses(&read(&client, id).await), (InquiryStatus::Finalized, vec![Rejected, Cancelled]));
}

#[tokio::test]
async fn a_seed_has_inquiries() {
    test_timeout::start();
    let seed = |entries: &str| {
        let seed = format!(r#"{{"status": "ACTIVE", "user": {{"inquiries": [{{"entries": [{entries}]}}]}}}}"#);
        Sandbox::builder().seed([serde_json::from_str(&seed).unwrap()])
    };
    let waiting = r#"{"type": "USER_PERSON_SOURCE_OF_FUND", "status": "WAITING_FOR_REVIEW", "reviews": ["REJECTED"]}"#;
    let sandbox = seed(waiting).start().await.unwrap();
    let client = user_of(&sandbox, sandbox.provision_ids()[0]).await;
    let listed = client.api().list_user_information_inquiries(Default::default()).await.unwrap().into_inner().items;
    assert_eq!(statuses(&listed[0]).1, [InquiryEntryStatus::WaitingForReview]);
    assert_eq!(statuses(&read(&client, listed[0].id).await).1, [InquiryEntryStatus::Pending]);
    for (entries, problem) in [
        ("", "user.inquiries[0]: an inquiry has at least one entry"),
        (r#"{"type": "X", "status": "LOST"}"#, "user.inquiries[0]: an entry has no status LOST"),
    ] {
        let error = seed(entries).start().await.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn inquiries_are_listed_and_outlive_a_restart() {
    test_timeout::start();
    let folder = Folder::new();
    let file = folder.path("state");
    let (ids, provision);
    {
        let sandbox = Sandbox::builder().state_file(&file).pace(Pace::Manual).start().await.unwrap();
        provision = sandbox.populate(1)[0];
        let mut kinds = [SeedInquiry::new([FUNDS]), SeedInquiry::new([POLITICS]), SeedInquiry::new([FUNDS, POLITICS])];
        kinds[0].purpose = InquiryPurpose::ComplianceScreening;
        kinds[1].kind = InquiryType::UserCompany;
        ids = kinds.map(|asked| sandbox.inquire(provision, asked).unwrap());
        sandbox.save_state().unwrap();
    }
    let sandbox = Sandbox::builder().state_file(&file).start().await.unwrap();
    let client = user_of(&sandbox, provision).await;
    let entry = entries(&read(&client, ids[0]).await)[0].id;
    client.api().update_user_information_inquiry_entry(ids[0], entry, &text("x")).await.unwrap();
    let query = ListUserInformationInquiriesQuery::default;
    for (query, listed) in [
        (query(), vec![2, 1, 0]),
        (query().status([InquiryStatus::ExpectingReplyFromUser]), vec![2, 1]),
        (query().status([InquiryStatus::ExpectingReplyFromBunq, InquiryStatus::Finalized]), vec![0]),
        (query().type_([InquiryType::UserPerson, InquiryType::Unknown("USER_ROBOT".into())]), vec![2, 0]),
        (query().purpose([InquiryPurpose::ComplianceScreening]), vec![0]),
        (query().fulfillment_type([FUNDS]).type_([InquiryType::UserPerson]), vec![2, 0]),
        (query().fulfillment_type([POLITICS]).status([InquiryStatus::Finalized]), vec![]),
    ] {
        let query = query.count(PageSize::new(1).unwrap());
        let found: Vec<_> =
            client.api().list_user_information_inquiries_stream(query.clone()).try_collect().await.unwrap();
        let found: Vec<_> = found.iter().map(|inquiry| inquiry.id).collect();
        assert_eq!(found, listed.iter().map(|at| ids[*at]).collect::<Vec<_>>(), "{query:?}");
    }
    let caller = Caller::of_user(&sandbox, &client).await;
    let links = caller
        .call(
            Method::GET,
            "/user-information-inquiry?purpose=ONBOARDING&count=1&status=FINALIZED%2CEXPECTING_REPLY_FROM_USER",
            "",
        )
        .await
        .1;
    let (older, end) = (links["Pagination"]["older_url"].as_str().unwrap(), format!("count=1&older_id={}", ids[2]));
    let path = format!("/v1/user/{}/user-information-inquiry", caller.user);
    assert_eq!(older, format!("{path}?purpose=ONBOARDING&status=FINALIZED,EXPECTING_REPLY_FROM_USER&{end}"));
    for query in ["page=2", "status=FINALIZED&status=FINALIZED", "purpose=", "count=0", "older_id=1&newer_id=2"] {
        let (status, said) = caller.call(Method::GET, &format!("/user-information-inquiry?{query}"), "").await;
        assert_eq!(status, 400, "{query}: {said}");
    }
}
