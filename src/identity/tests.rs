//! Sessions in which users prove who they are, over the sandbox: nothing is started twice, and every result is an outcome.

use std::time::Duration;

use bunq_partner_sandbox::{Fault, Injection, Profile, Sandbox, SandboxBuilder};
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::*;
use crate::client::Client;
use crate::custody::MemoryCustody;
use crate::environment::Environment;
use crate::feed::Resource as _;
use crate::retry::RetryPolicy;
use crate::types::ProvisionId;
use crate::users::UserClient;

/// A user whose credential is activated, and whose record is in a custody.
pub(crate) struct User {
    pub(crate) sandbox: Sandbox,
    custody: MemoryCustody,
    provision: ProvisionId,
}

impl User {
    pub(crate) async fn new(bank: SandboxBuilder) -> Self {
        let sandbox = bank.start().await.unwrap();
        let provision = sandbox.populate(1)[0].get().try_into().unwrap();
        let user = Self { sandbox, custody: MemoryCustody::new(), provision };
        user.partner().users().activate(provision).await.unwrap();
        user.sandbox.take_call_log();
        user
    }

    /// Another client of the partner with the same custody, as after a crash.
    fn partner(&self) -> Client {
        let retry = RetryPolicy::default().initial_backoff(Duration::ZERO);
        let builder = Client::builder(Environment::Sandbox).api_key(self.sandbox.api_key().expose()).retry(retry);
        let builder = builder.base_url(self.sandbox.base_url()).attempt_timeout(Duration::from_secs(5));
        let builder = builder.operation_timeout(Duration::from_secs(60)).late_arrival(Duration::from_secs(10));
        builder.custody(self.custody.clone()).build().unwrap()
    }

    /// The client of the user, as after a crash.
    pub(crate) fn restarted(&self) -> UserClient {
        self.partner().users().of(self.provision)
    }

    fn identity(&self) -> Identity {
        self.restarted().identity()
    }

    /// Plays a fault once, at a call that is carried out or not.
    pub(crate) fn play(&self, fault: Fault, carried_out: bool, operation: &Operation) {
        // The sandbox is of another build of this crate.
        let injection: Injection = format!("{fault},on={}", operation.id).parse().unwrap();
        self.sandbox.inject(injection.carried_out(carried_out).times(1));
    }

    /// How often an operation was called, whether it got an answer or not.
    pub(crate) fn calls(&self, operation: &Operation) -> usize {
        called(&self.sandbox).iter().filter(|(id, _)| *id == operation.id).count()
    }

    /// How often it was carried out.
    pub(crate) fn carried_out(&self, operation: &Operation) -> usize {
        called(&self.sandbox).iter().filter(|(id, is_done)| *id == operation.id && *is_done).count()
    }
}

/// The operations that were called, and whether each was carried out.
fn called(sandbox: &Sandbox) -> Vec<(&'static str, bool)> {
    let calls = sandbox.call_log().into_iter();
    calls.filter_map(|call| Some((call.operation?.id, call.carried_out && call.status < 300))).collect()
}

const START: &Operation = &Operation::CREATE_IDENTITY_VERIFICATION_SESSION;
const SUBMIT: &Operation = &Operation::UPDATE_IDENTITY_VERIFICATION_SESSION;

fn is_in_doubt(error: &Error) {
    assert!(error.kind() == ErrorKind::Unattainable && error.is_doubtful() && !error.is_retryable(), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("nothing was sent") && message.contains("`start_another`"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_an_outcome_and_another_session_is_asked_for() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let mut started = user.identity().start().await.unwrap();
    assert_eq!((started.acceptance(), started.session().status.as_str()), (Acceptance::Accepted, "CREATED"));
    let token = started.take_token().unwrap();
    assert!(started.take_token().is_none() && started.session().token.is_none());
    assert!(!format!("{started:?} {:?}", user.identity()).contains(token.expose()));

    // The same one, and bunq shows its token again.
    let mut adopted = user.identity().start().await.unwrap();
    assert_eq!((adopted.id(), adopted.acceptance()), (started.id(), Acceptance::Already));
    assert_eq!(adopted.take_token().unwrap().expose(), token.expose());
    assert_eq!(user.calls(START), 1);

    let waiter = user.identity().submit(started.id()).await.unwrap();
    assert_eq!(waiter.acceptance(), Acceptance::Accepted);
    let seen: Vec<_> = waiter.changes().try_collect().await.unwrap();
    assert_eq!(seen.iter().map(|seen| seen.status.as_str()).collect::<Vec<_>>(), ["SUBMITTED", "PROCESSED"]);
    let outcome = seen[1].outcome().unwrap();
    let reasons = vec!["DOCUMENT_EXPIRED".to_owned()];
    assert_eq!(outcome, IdentityOutcome::NotApproved { result: "REJECTED".into(), reasons });
    assert_eq!(format!("{outcome:?}"), "NotApproved(REJECTED, 1 reasons)");

    // It stays the one, until another is asked for.
    let mut adopted = user.identity().start().await.unwrap();
    assert_eq!((adopted.id(), adopted.take_token()), (started.id(), None));
    let another = user.identity().start_another().await.unwrap();
    assert_ne!(another.id(), started.id());
    assert_eq!(user.identity().start().await.unwrap().id(), another.id());
    let known = user.identity().submit(another.id()).await.unwrap().await.unwrap();
    assert_eq!(known.outcome(), Some(IdentityOutcome::Approved));
    assert_eq!(user.calls(START), 2);
}

/// bunq has no list of sessions: each is read by its id, also where several are waited for.
#[tokio::test(start_paused = true)]
async fn sessions_are_read_by_their_ids_alone() {
    test_timeout::start();
    let user = User::new(Sandbox::builder().one_identity_session(false)).await;
    let identity = user.identity();
    let (one, other) = (identity.start().await.unwrap().id(), identity.start_another().await.unwrap().id());
    drop((identity.submit(one).await.unwrap(), identity.submit(other).await.unwrap()));
    user.sandbox.take_call_log();
    let waits = [one, other, one].map(|id| identity.wait_until_processed(id).wait());
    let words: Vec<_> = join_all(waits).await.into_iter().map(|seen| seen.unwrap().progress()).collect();
    assert_eq!(words, ["PROCESSED with REJECTED", "PROCESSED with APPROVED", "PROCESSED with REJECTED"]);
    let calls = called(&user.sandbox);
    assert!(calls.iter().all(|(id, _)| *id == Operation::GET_IDENTITY_VERIFICATION_SESSION.id), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_never_started_twice_unnoticed() {
    test_timeout::start();
    // The response is lost, whether the session was started or not; or the request is late.
    let late = Fault::LateArrival(Duration::from_secs(3));
    for (fault, carried_out) in [(Fault::Drop, true), (Fault::Drop, false), (Fault::Status(500), true), (late, true)] {
        let user = User::new(Sandbox::builder()).await;
        user.play(fault, carried_out, START);
        let error = user.identity().start().await.unwrap_err();
        assert!(error.is_doubtful() && error.to_string().contains("`start_another`"), "{fault}: {error}");
        for _ in 0..2 {
            is_in_doubt(&user.identity().start().await.unwrap_err());
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(user.calls(START), 1, "{fault}");
        // A person decides.
        let another = user.identity().start_another().await.unwrap();
        assert_eq!(another.acceptance(), Acceptance::Accepted);
        assert_eq!(user.identity().start().await.unwrap().id(), another.id());
        assert_eq!(user.calls(START), 2, "{fault}");
    }
}

/// The process ends while the request is on its way.
#[tokio::test(start_paused = true)]
async fn a_crash_leaves_a_doubt_that_an_id_ends() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    user.play(Fault::Late(Duration::from_secs(3600)), true, START);
    let identity = user.identity();
    assert!(timeout(Duration::from_secs(1), identity.start()).await.is_err());
    is_in_doubt(&user.identity().start().await.unwrap_err());
    let shown: serde_json::Value = serde_json::from_str(user.sandbox.saved_state().unwrap().expose()).unwrap();
    let id = shown["objects"]["identity_sessions"]["kept"][0]["id"].as_u64().unwrap();
    let adopted = user.identity().adopt(id.try_into().unwrap()).await.unwrap();
    assert_eq!((adopted.id().get(), adopted.acceptance()), (id, Acceptance::Already));
    assert_eq!(user.identity().start().await.unwrap().id(), adopted.id());
    assert_eq!(user.calls(START), 1);
    // Only one that the user has.
    let error = user.identity().adopt(7_u64.try_into().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(user.identity().start().await.unwrap().id(), adopted.id());
}

#[tokio::test(start_paused = true)]
async fn what_was_surely_not_started_is_forgotten() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    user.play(Fault::Status(400), false, START);
    let error = user.identity().start().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Rejected && !error.is_doubtful(), "{error}");
    // A session that has ended is renewed, and the request is sent again.
    user.sandbox.end_sessions();
    let started = user.identity().start().await.unwrap();
    assert_eq!((started.acceptance(), user.carried_out(START)), (Acceptance::Accepted, 1));

    // bunq has started it, and it cannot be read: the error has its id.
    let user = User::new(Sandbox::builder()).await;
    let get = &Operation::GET_IDENTITY_VERIFICATION_SESSION;
    user.play(Fault::Status(400), false, get);
    let error = user.identity().start().await.unwrap_err();
    let id = *error.last_seen::<IdentityVerificationSessionId>().unwrap();
    assert_eq!(user.identity().start().await.unwrap().id(), id);
    assert_eq!(user.calls(START), 1);
}

/// Another one that was surely not started changes nothing of what is known of the one before.
#[tokio::test(start_paused = true)]
async fn another_that_is_refused_leaves_the_one_before() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let started = user.identity().start().await.unwrap();
    user.play(Fault::Status(400), false, START);
    assert_eq!(user.identity().start_another().await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(user.identity().start().await.unwrap().id(), started.id());

    let user = User::new(Sandbox::builder()).await;
    user.play(Fault::Drop, true, START);
    assert!(user.identity().start().await.unwrap_err().is_doubtful());
    user.play(Fault::Status(400), false, START);
    assert_eq!(user.identity().start_another().await.unwrap_err().kind(), ErrorKind::Rejected);
    is_in_doubt(&user.identity().start().await.unwrap_err());
    assert_eq!(user.carried_out(START), 1);
}

#[tokio::test(start_paused = true)]
async fn of_many_that_start_one_sends() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let identities: Vec<_> = (0..20).map(|_| user.identity()).collect();
    let outcomes = join_all(identities.iter().map(Identity::start)).await;
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        is_in_doubt(error);
    }
    assert!(outcomes.iter().any(Result::is_ok));
    assert_eq!(user.calls(START), 1);
}

#[tokio::test(start_paused = true)]
async fn a_submission_is_repeated_only_while_the_session_is_created() {
    test_timeout::start();
    let late = Fault::LateArrival(Duration::from_secs(3));
    for (fault, carried_out, acceptance, sent) in [
        (Fault::Drop, true, Acceptance::Found, 1),
        (Fault::Drop, false, Acceptance::Accepted, 2),
        (Fault::Status(500), true, Acceptance::Found, 1),
        (Fault::Status(400), true, Acceptance::Already, 1),
        (late, true, Acceptance::Found, 1),
    ] {
        let user = User::new(Sandbox::builder()).await;
        let id = user.identity().start().await.unwrap().id();
        user.play(fault, carried_out, SUBMIT);
        let waiter = user.identity().submit(id).await.unwrap();
        assert_eq!((waiter.acceptance(), user.calls(SUBMIT)), (acceptance, sent), "{fault} {carried_out}");
        waiter.await.unwrap();
        assert_eq!(user.carried_out(SUBMIT).max(1), 1, "{fault}");
    }
    let user = User::new(Sandbox::builder()).await;
    let id = user.identity().start().await.unwrap().id();
    for acceptance in [Acceptance::Accepted, Acceptance::Already] {
        assert_eq!(user.identity().submit(id).await.unwrap().acceptance(), acceptance);
    }
    assert_eq!(user.calls(SUBMIT), 1);
    let error = user.identity().submit(7_u64.try_into().unwrap()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && !error.is_doubtful(), "{error}");
    // A status of tomorrow.
    user.sandbox.before_signing(|call, response| {
        if call.method == "GET" {
            response.body = String::from_utf8(response.body.clone()).unwrap().replace("SUBMITTED", "EXPIRED").into();
        }
    });
    let error = user.identity().submit(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable, "{error}");
    assert!(error.to_string().contains(&format!("session {id} is EXPIRED")), "{error}");
}

/// A bank that looks at each submission from the start.
#[tokio::test(start_paused = true)]
async fn a_session_is_submitted_once_over_a_crash() {
    test_timeout::start();
    let late = Fault::LateArrival(Duration::from_secs(9));
    for (fault, carried_out, acceptance, sent) in [
        (late, true, Acceptance::Found, 1),
        (Fault::Late(Duration::from_secs(3600)), true, Acceptance::Found, 1),
        (Fault::Late(Duration::from_secs(3600)), false, Acceptance::Accepted, 2),
    ] {
        let mut profile = Profile::default();
        profile.second_submission = None;
        let user = User::new(Sandbox::builder().profile(profile)).await;
        let id = user.identity().start().await.unwrap().id();
        user.play(fault, carried_out, SUBMIT);
        // The process ends a second later.
        assert!(timeout(Duration::from_secs(1), user.identity().submit(id)).await.is_err());
        // The next one submits it too, with many tasks at once.
        let identity = user.identity();
        let submitted = join_all((0..20).map(|_| identity.submit(id))).await;
        assert!(submitted.iter().all(Result::is_ok), "{fault}");
        assert_eq!(submitted[0].as_ref().unwrap().acceptance(), acceptance, "{fault}");
        // And the one after that.
        assert_eq!(user.identity().submit(id).await.unwrap().acceptance(), Acceptance::Already);
        identity.wait_until_processed(id).await.unwrap();
        assert_eq!(user.identity().submit(id).await.unwrap().acceptance(), Acceptance::Already);
        assert_eq!((user.calls(SUBMIT), user.carried_out(SUBMIT)), (sent, 1), "{fault}");
    }
}

/// It was submitted by somebody who has another custody, and bunq shows that.
#[tokio::test(start_paused = true)]
async fn what_bunq_shows_as_submitted_is_not_submitted() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let id = user.identity().start().await.unwrap().id();
    let submitted = RequestedIdentityVerificationSessionStatus::Submitted;
    let request = UpdateIdentityVerificationSessionRequest::new(submitted);
    user.restarted().api().update_identity_verification_session(id, &request).await.unwrap();
    assert_eq!(user.identity().submit(id).await.unwrap().acceptance(), Acceptance::Already);
    // What cannot be read is not submitted, and leaves no doubt.
    let other = user.identity().start_another().await;
    assert!(other.is_err(), "the first one runs");
    user.identity().wait_until_processed(id).await.unwrap();
    let other = user.identity().start_another().await.unwrap().id();
    user.play(Fault::Status(400), false, &Operation::GET_IDENTITY_VERIFICATION_SESSION);
    let error = user.identity().submit(other).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Rejected && !error.is_doubtful(), "{error}");
    assert_eq!(user.calls(SUBMIT), 1);
    let submitting = timeout(Duration::from_secs(1), user.identity().submit(other)).await;
    assert_eq!(submitting.unwrap().unwrap().acceptance(), Acceptance::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_come_is_a_timeout() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let id = user.identity().start().await.unwrap().id();
    let waiter = user.identity().wait_until_processed(id).timeout(Duration::from_secs(30));
    let error = waiter.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout);
    let message = format!("identity verification session {id} is not processed after 30 s (last seen as CREATED)");
    assert_eq!(error.to_string(), message);
    assert_eq!(error.last_seen::<IdentityVerificationSession>().unwrap().token, None);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_gone_is_no_dead_end() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let first = user.identity().start().await.unwrap();
    let path = format!("identity-verification-session/{}", first.id());
    user.sandbox.before_signing(move |call, response| {
        if call.method == "GET" && call.path.ends_with(&path) {
            response.status = 404;
            response.body = br#"{"Error":[{"error_description":"No such session."}]}"#.to_vec();
        }
    });
    let error = user.identity().start().await.unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::NotFound, Some(Remedy::StartAnother)), "{error}");
    let other = user.identity().start_another().await.unwrap();
    assert_eq!((user.identity().start().await.unwrap().id(), user.calls(START)), (other.id(), 2));
}
