//! Answers to inquiries, over the sandbox: each is sent once.

use std::pin::pin;
use std::time::Duration;

use bunq_partner_sandbox::{Fault, Injection, Pace, Review, Sandbox, SandboxBuilder, SeedInquiry};
use futures_util::future::join_all;
use futures_util::stream::TryStreamExt as _;
use serde_json::{Value, json};

use bunq_partner::types::{
    AttachmentContentType, AttachmentId, InquiryAnswer, InquiryEntryStatus, InquiryEntryType, InquiryPurpose,
    InquiryStatus, UpdateUserInformationInquiryEntryRequest, UserInformationInquiry, UserInformationInquiryEntryId,
    UserInformationInquiryId,
};
use bunq_partner::{
    Acceptance, Custody as _, Error, ErrorKind, Inquiries, InquiryReview, MemoryCustody, Operation, ProvisionId, Sent,
    UserClient, Users, WaitingFor,
};

use crate::common::unsealed;

const ANSWER: &Operation = &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY;
const FUNDS: InquiryEntryType = InquiryEntryType::UserPersonSourceOfFund;
const TEXT: &str = "planted: my income comes from employment";

/// A bank with a user, whose token is in custody.
struct User {
    sandbox: Sandbox,
    id: ProvisionId,
    custody: MemoryCustody,
    client: UserClient,
}

impl User {
    async fn new(builder: SandboxBuilder) -> Self {
        let sandbox = builder.start().await.unwrap();
        let (id, custody) = (sandbox.populate(1)[0], MemoryCustody::default());
        let client = users(&sandbox, &custody).activate(id).await.unwrap();
        sandbox.take_call_log();
        Self { sandbox, id, custody, client }
    }

    /// The verbs in another process of the partner, such as one after a crash.
    fn another_process(&self) -> Inquiries {
        users(&self.sandbox, &self.custody).of(self.id).inquiries()
    }

    async fn asked(&self, inquiry: SeedInquiry) -> (UserInformationInquiryId, UserInformationInquiryEntryId) {
        let id = self.sandbox.inquire(self.id, inquiry).unwrap();
        let inquiry = self.client.inquiries().get(id).await.unwrap();
        (id, inquiry.entries().next().unwrap().id)
    }

    async fn upload(&self) -> AttachmentId {
        let gif = AttachmentContentType::ImageGif;
        self.client.api().create_attachment(gif, &b"GIF89a"[..], None).await.unwrap().into_inner()
    }

    fn play(&self, fault: Fault, carried_out: bool) {
        self.sandbox.inject(Injection::new(fault).on(ANSWER).carried_out(carried_out));
    }

    /// Whether the custody has an answer of which it does not know what came.
    async fn keeps_answer_as_begun(&self) -> bool {
        let record = self.custody.load(self.id).await.unwrap().unwrap();
        let record = unsealed(record.expose(), &self.sandbox.api_key());
        let mut steps = record["steps"].as_array().unwrap().iter();
        steps.any(|step| step["operation"] == ANSWER.id && step["id"].is_null())
    }

    /// Edits the first entry of each inquiry that is read.
    fn edits_reads(&self, mut edit: impl FnMut(&mut Value) + Send + 'static) {
        self.sandbox.before_signing(move |call, response| {
            if call.operation == Some(&Operation::GET_USER_INFORMATION_INQUIRY) {
                let mut body: Value = serde_json::from_slice(&response.body).unwrap();
                let entry = "/Response/0/UserInformationInquiry/all_entry/0/UserInformationInquiryEntry";
                edit(body.pointer_mut(entry).unwrap());
                response.body = body.to_string().into();
            }
        });
    }

    /// How many answers were sent, and how many bunq has taken, since this was asked.
    fn sent_and_taken(&self) -> (usize, usize) {
        let calls = self.sandbox.take_call_log();
        let answers: Vec<_> = calls.iter().filter(|call| call.operation == Some(ANSWER)).collect();
        (answers.len(), answers.iter().filter(|call| call.carried_out).count())
    }
}

fn users(sandbox: &Sandbox, custody: &MemoryCustody) -> Users {
    let (poll, late_arrival) = (Duration::from_secs(2), Duration::from_secs(10));
    let partner = sandbox.client().poll_interval(poll).late_arrival(late_arrival).custody(custody.clone());
    partner.build().unwrap().users()
}

fn text(text: &str) -> UpdateUserInformationInquiryEntryRequest {
    let mut request = UpdateUserInformationInquiryEntryRequest::new();
    request.answer = Some(text.parse().unwrap());
    request
}

fn file(id: AttachmentId) -> UpdateUserInformationInquiryEntryRequest {
    let mut request = UpdateUserInformationInquiryEntryRequest::new();
    request.all_attachment_id = vec![id];
    request
}

fn files(count: u64) -> UpdateUserInformationInquiryEntryRequest {
    let mut request = UpdateUserInformationInquiryEntryRequest::new();
    request.all_attachment_id = (1..=count).map(|id| id.try_into().unwrap()).collect();
    request
}

/// An error of an answer says nothing of it.
fn problem(error: &Error) -> String {
    let shown = format!("{error} {error:?} {error:#?}");
    assert!(!shown.contains("planted"), "{shown}");
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_followed_until_bunq_has_looked() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let inquiries = user.client.inquiries();
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS]).reviews([Review::Rejected, Review::AutoApproved])).await;
    let open = inquiries.list().status([InquiryStatus::ExpectingReplyFromUser]).asks_for([FUNDS]);
    let open: Vec<_> = open.stream().try_collect().await.unwrap();
    assert_eq!(
        open.iter().map(|inquiry| (inquiry.id, inquiry.waiting_for())).collect::<Vec<_>>(),
        [(id, WaitingFor::User)]
    );

    let reviewing = inquiries.answer(id, entry, &text(TEXT)).await.unwrap();
    assert!(reviewing.acceptance() == Acceptance::Accepted && reviewing.response_id().is_some());
    let mut turns = Vec::new();
    let mut changes = pin!(reviewing.changes());
    while let Some(seen) = changes.try_next().await.unwrap() {
        let entry = seen.entry(entry).unwrap().clone();
        turns.push((seen.waiting_for(), entry.waiting_for(), entry.review(), entry.reject_reason.is_some()));
    }
    let (users, bunqs) = (WaitingFor::User, WaitingFor::Bunq);
    assert_eq!(turns, [(bunqs, bunqs, None, false), (users, users, Some(InquiryReview::AskedAgain), true)]);

    let seen = inquiries.answer(id, entry, &text("From my work.")).await.unwrap().await.unwrap();
    assert_eq!(seen.entry(entry).unwrap().review(), Some(InquiryReview::AutoApproved));
    assert_eq!((seen.waiting_for(), user.sent_and_taken()), (WaitingFor::Nobody, (2, 2)));
    let over = inquiries.wait_until_reviewed(id).await.unwrap();
    assert_eq!(over.status, Some(InquiryStatus::Finalized));
    let shown = format!("{over:?} {:?} {:?}", text(TEXT), inquiries.answer(id, entry, &text(TEXT)).await);
    assert!(!shown.contains("planted") && !shown.contains("From my work"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_wait_gets_no_answer() {
    test_timeout::start();
    let user = User::new(Sandbox::builder().pace(Pace::Manual)).await;
    let inquiries = user.client.inquiries();
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    let (other, others) = user.asked(SeedInquiry::new([FUNDS])).await;
    let refused = async |inquiry, entry, answer| inquiries.answer(inquiry, entry, &answer).await.unwrap_err();
    for (inquiry, entry, answer, kind, says) in [
        (
            id,
            entry,
            UpdateUserInformationInquiryEntryRequest::new(),
            ErrorKind::InvalidInput,
            "the body is empty: give at least one of all_attachment_id, answer",
        ),
        (id, entry, files(101), ErrorKind::InvalidInput, "all_attachment_id has 101 values: give 100 at most"),
        (id, others, text(TEXT), ErrorKind::InvalidInput, "has no entry"),
        (9_999_u64.try_into().unwrap(), entry, text(TEXT), ErrorKind::NotFound, "no inquiry"),
    ] {
        let error = refused(inquiry, entry, answer).await;
        assert!(problem(&error).contains(says) && error.kind() == kind && error.sent() == Sent::No, "{error}");
    }
    for says in ["", " "] {
        assert!(says.parse::<InquiryAnswer>().is_err());
    }
    for (edited, by, says) in [
        (r#""time_expiry":null"#, r#""time_expiry":"2020-01-01 00:00:00.000000""#, "has expired at 2020-01-01"),
        (r#""status":"EXPECTING_REPLY_FROM_USER""#, r#""status":"FINALIZED""#, "is over"),
        (r#""status":"PENDING""#, r#""status":"LOST""#, "is LOST, and only one that is PENDING"),
        (r#""all_entry""#, r#""novelty""#, "it shows none"),
    ] {
        user.sandbox.before_signing(move |_, response| {
            let body = String::from_utf8(response.body.clone()).unwrap();
            response.body = body.replace(edited, by).into();
        });
        let error = refused(id, entry, text(TEXT)).await;
        assert!(problem(&error).contains(says) && error.sent() == Sent::No, "{error}");
        assert_eq!(error.last_seen::<UserInformationInquiry>().unwrap().id, id);
    }
    user.sandbox.clear_edits();
    assert_eq!(user.sent_and_taken(), (0, 0));
    // Nothing is kept of what was not sent.
    let _ = inquiries.answer(id, entry, &text(TEXT)).await.unwrap();
    let error = refused(id, entry, text("Another.")).await;
    assert!(error.kind() == ErrorKind::Unattainable && problem(&error).contains("is WAITING_FOR_REVIEW"), "{error}");
    // bunq itself refuses the file of another.
    let error = refused(other, others, file(9_999_u64.try_into().unwrap())).await;
    assert!(error.kind() == ErrorKind::Rejected && !error.is_doubtful(), "{error}");
    let _ = inquiries.answer(other, others, &text(TEXT)).await.unwrap();
    assert_eq!(user.sent_and_taken(), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_taken_once_whatever_is_lost() {
    test_timeout::start();
    for (fault, carried_out) in [
        (Fault::Drop, true),
        (Fault::Drop, false),
        (Fault::Status(500), true),
        (Fault::UnsignedStatus(502), true),
        (Fault::Status(503), false),
        (Fault::Relabelled(429), true),
        (Fault::Truncated, true),
        (Fault::LateArrival(Duration::from_secs(3)), true),
    ] {
        for with_file in [false, true] {
            let user = User::new(Sandbox::builder().pace(Pace::Manual)).await;
            let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
            let answer = if with_file { file(user.upload().await) } else { text(TEXT) };
            user.play(fault, carried_out);
            let inquiries = user.client.inquiries();
            match inquiries.answer(id, entry, &answer).await {
                Ok(waiter) => assert_ne!(waiter.acceptance(), Acceptance::NotRequested, "{fault}"),
                Err(error) => assert!(error.is_doubtful(), "{fault}: {}", problem(&error)),
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
            let seen = inquiries.get(id).await.unwrap();
            assert_eq!(
                seen.entry(entry).unwrap().status,
                InquiryEntryStatus::WaitingForReview,
                "{fault} {carried_out}"
            );
            // The same again is known, also to another process.
            for inquiries in [inquiries, user.another_process()] {
                let again = inquiries.answer(id, entry, &answer).await.unwrap();
                assert_eq!(again.acceptance(), Acceptance::Already, "{fault}");
            }
            let changed = user.sandbox.take_call_log();
            let taken =
                changed.iter().filter(|call| call.operation == Some(ANSWER) && call.carried_out && call.status == 200);
            assert!(taken.count() <= 1, "{fault} {carried_out}");
            assert!(user.sandbox.review(entry, Review::Approved), "{fault}");
        }
    }
}

/// It is rejected at once, and the entry waits again: a second answer would be taken too.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_rejected_at_once_is_not_sent_again() {
    test_timeout::start();
    let user = User::new(Sandbox::builder().pace(Pace::Every(Duration::ZERO))).await;
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS]).reviews([Review::AutoRejected])).await;
    user.play(Fault::Drop, true);
    let waiter = user.client.inquiries().answer(id, entry, &text(TEXT)).await.unwrap();
    assert_eq!((waiter.acceptance(), user.sent_and_taken()), (Acceptance::Found, (1, 1)));
    let seen = waiter.await.unwrap();
    assert_eq!(seen.entry(entry).unwrap().review(), Some(InquiryReview::AskedAgain));
}

#[tokio::test]
async fn of_concurrent_answers_one_is_sent() {
    test_timeout::start();
    let user = User::new(Sandbox::builder().pace(Pace::Manual)).await;
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    // Each task asks for the verbs itself.
    let (inquiries, same) = ([(); 8].map(|()| user.client.inquiries()), text(TEXT));
    let same = join_all(inquiries.iter().map(|inquiries| inquiries.answer(id, entry, &same))).await;
    let accepted = same.iter().filter(|waiter| waiter.as_ref().unwrap().acceptance() == Acceptance::Accepted);
    assert_eq!((accepted.count(), user.sent_and_taken()), (1, (1, 1)));

    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    let answers: Vec<_> = (0..8).map(|number| text(&format!("planted {number}"))).collect();
    let answers = inquiries.iter().zip(&answers);
    let outcomes = join_all(answers.map(|(inquiries, answer)| inquiries.answer(id, entry, answer))).await;
    let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::Unattainable), "{refused:?}");
    refused.iter().for_each(|error| drop(problem(error)));
    assert_eq!((refused.len(), user.sent_and_taken()), (7, (1, 1)));
}

/// Another process answers while this one does not know what has become of its answer.
#[tokio::test(start_paused = true)]
async fn the_answer_of_another_is_not_taken_for_ours() {
    test_timeout::start();
    let user = User::new(Sandbox::builder().pace(Pace::Manual)).await;
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    user.play(Fault::Drop, false);
    let (inquiries, other, ours) = (user.client.inquiries(), user.another_process(), text(TEXT));
    let theirs = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        other.answer(id, entry, &text("Another.")).await
    };
    let ours = inquiries.answer(id, entry, &ours);
    let (ours, theirs) = futures_util::future::join(ours, theirs).await;
    assert_eq!(theirs.unwrap().acceptance(), Acceptance::Accepted);
    let error = ours.unwrap_err();
    assert!(error.is_doubtful(), "{}", problem(&error));
    assert_eq!(user.sent_and_taken(), (2, 1));
}

/// bunq has the answer with another file, or another answer: neither is this one.
#[tokio::test(start_paused = true)]
async fn an_answer_with_other_files_is_another() {
    test_timeout::start();
    let user = User::new(Sandbox::builder().pace(Pace::Manual)).await;
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    let inquiries = user.client.inquiries();
    let with = |id| {
        let mut request = file(id);
        request.answer = text(TEXT).answer;
        request
    };
    let (first, second) = (user.upload().await, user.upload().await);
    let _reviewing = inquiries.answer(id, entry, &with(first)).await.unwrap();
    let error = inquiries.answer(id, entry, &with(second)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable, "{}", problem(&error));
    let again = inquiries.answer(id, entry, &with(first)).await.unwrap();
    assert_eq!((again.acceptance(), user.sent_and_taken()), (Acceptance::Already, (1, 1)));

    // An answer that never arrived, and another one that did.
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    user.play(Fault::Drop, false);
    let ours = text(TEXT);
    tokio::time::timeout(Duration::from_secs(2), inquiries.answer(id, entry, &ours)).await.unwrap_err();
    let _reviewing = user.another_process().answer(id, entry, &text("Another.")).await.unwrap();
    let error = inquiries.answer(id, entry, &text(TEXT)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable, "{}", problem(&error));
}

/// What a crash leaves in doubt may still arrive: it is waited for before anything is sent.
#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_crash_may_still_arrive() {
    test_timeout::start();
    let user = User::new(Sandbox::builder().pace(Pace::Manual)).await;
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    let answer = file(user.upload().await);
    user.play(Fault::LateArrival(Duration::from_secs(4)), true);
    let inquiries = user.client.inquiries();
    tokio::time::timeout(Duration::from_secs(2), inquiries.answer(id, entry, &answer)).await.unwrap_err();
    let again = user.another_process().answer(id, entry, &answer).await.unwrap();
    assert_eq!((again.acceptance(), user.sent_and_taken()), (Acceptance::Already, (1, 1)));
}

/// bunq touches the entry while an answer is in doubt: that is no answer, and the doubt stays.
#[tokio::test(start_paused = true)]
async fn an_entry_that_was_only_touched_has_no_answer() {
    test_timeout::start();
    let user = User::new(Sandbox::builder().pace(Pace::Manual)).await;
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    let mut reads = 0;
    user.edits_reads(move |entry| {
        reads += 1;
        if reads > 1 && entry["status"] == "PENDING" {
            entry["updated"] = json!("2030-01-01 00:00:00.000000");
        }
    });
    user.play(Fault::Drop, false);
    let inquiries = user.client.inquiries();
    let error = inquiries.answer(id, entry, &text(TEXT)).await.unwrap_err();
    assert!(error.is_doubtful(), "{}", problem(&error));
    assert_eq!(user.sent_and_taken(), (1, 0));
    let again = inquiries.answer(id, entry, &text(TEXT)).await.unwrap();
    assert_eq!((again.acceptance(), user.sent_and_taken()), (Acceptance::Accepted, (1, 1)));
}

/// A user who has answered an entry, with a file or in words.
async fn answered(
    with_file: bool,
) -> (User, (UserInformationInquiryId, UserInformationInquiryEntryId), UpdateUserInformationInquiryEntryRequest) {
    let user = User::new(Sandbox::builder().pace(Pace::Manual)).await;
    let (id, entry) = user.asked(SeedInquiry::new([FUNDS])).await;
    let answer = if with_file { file(user.upload().await) } else { text(TEXT) };
    let _reviewing = user.client.inquiries().answer(id, entry, &answer).await.unwrap();
    (user, (id, entry), answer)
}

/// bunq shows an entry as it was for a while after it has got the answer.
#[tokio::test(start_paused = true)]
async fn an_entry_that_is_shown_as_it_was_gets_no_second_answer() {
    test_timeout::start();
    for with_file in [false, true] {
        let (user, (id, entry), answer) = answered(with_file).await;
        let inquiries = user.client.inquiries();
        let mut reads = 0;
        user.edits_reads(move |entry| {
            reads += 1;
            if reads == 1 {
                (entry["status"], entry["all_data_submitted"]) = (json!("PENDING"), json!([]));
            }
        });
        let again = inquiries.answer(id, entry, &answer).await.unwrap();
        assert_eq!((again.acceptance(), user.sent_and_taken()), (Acceptance::Already, (1, 1)), "{with_file}");
    }
}

/// bunq asks again, and the same answer is given again: it is another one, which may be in doubt as the first one could.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_given_again_may_still_arrive_too() {
    test_timeout::start();
    for with_file in [false, true] {
        let (user, (id, entry), answer) = answered(with_file).await;
        let inquiries = user.client.inquiries();
        assert!(user.sandbox.review(entry, Review::AutoRejected));
        assert_eq!(inquiries.get(id).await.unwrap().entry(entry).unwrap().review(), Some(InquiryReview::AskedAgain));
        // A refusal leaves it as it was: nothing is in doubt.
        user.play(Fault::Status(400), false);
        assert!(!inquiries.answer(id, entry, &answer).await.unwrap_err().is_doubtful());
        assert_eq!((user.sent_and_taken(), user.keeps_answer_as_begun().await), ((2, 1), false));

        // It is sent when bunq has had the time to show the first one.
        user.play(Fault::LateArrival(Duration::from_secs(4)), true);
        tokio::time::timeout(Duration::from_secs(12), inquiries.answer(id, entry, &answer)).await.unwrap_err();
        assert!(user.keeps_answer_as_begun().await, "{with_file}");
        let again = user.another_process().answer(id, entry, &answer).await.unwrap();
        assert_eq!((again.acceptance(), user.sent_and_taken()), (Acceptance::Already, (1, 1)), "{with_file}");
    }
}

/// One filter alone tells two inquiries apart.
#[tokio::test]
async fn inquiries_are_listed_by_their_purpose() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let mut renewal = SeedInquiry::new([FUNDS]);
    renewal.purpose = InquiryPurpose::DocumentExpiryRenewal;
    let (first, _) = user.asked(SeedInquiry::new([FUNDS])).await;
    let (second, _) = user.asked(renewal).await;
    use InquiryPurpose::{ComplianceScreening, DocumentExpiryRenewal, Onboarding};
    for (purposes, expected) in [
        (vec![Onboarding], vec![first]),
        (vec![DocumentExpiryRenewal], vec![second]),
        (vec![DocumentExpiryRenewal, Onboarding], vec![second, first]),
        (vec![ComplianceScreening], vec![]),
    ] {
        let listed = user.client.inquiries().list().purpose(purposes.clone()).stream();
        let listed: Vec<_> = listed.map_ok(|inquiry| inquiry.id).try_collect().await.unwrap();
        assert_eq!(listed, expected, "{purposes:?}");
    }
}
