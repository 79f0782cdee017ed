//! The onboarding of a user, with faults: one is started, what is missing is told, and no answer undoes another.

use std::time::Duration;

use bunq_partner::types::{
    Address, CountryCode, Fulfillment, ListUserOnboardingsQuery, RequestedUserStatus, RequestedUserVerificationStatus,
    UpdateUserOnboardingRequest, UpdateUserPersonRequest, UserOnboarding, UserOnboardingId, UserOnboardingStatus,
};
use bunq_partner::{
    Acceptance, Client, ErrorKind, FulfillmentAnswer, MemoryCustody, Onboarding, OnboardingOutcome, Operation,
    ProvisionId, RequestedStatuses, Sent, UserClient, Waiter, WaitingFor,
};
use bunq_partner_sandbox::{Fault, Injection, Profile, RawResponse, Sandbox};
use futures_util::future::join_all;
use futures_util::stream::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

const CHECK: Duration = Duration::from_secs(60);
const LATE_ARRIVAL: Duration = Duration::from_secs(10);

/// A bank with a user, for whom the verbs act.
struct User {
    sandbox: Sandbox,
    id: ProvisionId,
    custody: MemoryCustody,
    client: UserClient,
}

impl User {
    async fn new(fulfillments: &[&str]) -> Self {
        let mut profile = Profile::default();
        profile.fulfillments = fulfillments.iter().map(|&kind| kind.to_owned()).collect();
        profile.onboarding_check = CHECK;
        Self::with(profile).await
    }

    async fn with(profile: Profile) -> Self {
        let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
        let (id, custody) = (sandbox.populate(1)[0], MemoryCustody::new());
        let client = partner(&sandbox, &custody).users().activate(id).await.unwrap();
        sandbox.take_call_log();
        Self { sandbox, id, custody, client }
    }

    fn onboarding(&self) -> Onboarding {
        self.client.onboarding()
    }

    /// The verbs of another process with the same custody.
    fn after_a_crash(&self) -> Onboarding {
        partner(&self.sandbox, &self.custody).users().of(self.id).onboarding()
    }

    /// Plays a fault at the next call of an operation.
    fn plays(&self, injection: impl Into<Injection>, operation: &Operation) {
        let injection: Injection = injection.into();
        self.sandbox.inject(injection.on(operation));
    }

    /// How often an operation was called since this was asked.
    fn calls(&self, operation: &Operation) -> usize {
        self.sandbox.take_call_log().iter().filter(|call| call.operation == Some(operation)).count()
    }

    async fn onboardings(&self) -> usize {
        let query = ListUserOnboardingsQuery::default();
        self.client.api().list_user_onboardings(query).await.unwrap().items.len()
    }

    async fn missing(&self, id: UserOnboardingId) -> Vec<Fulfillment> {
        match self.onboarding().request(id, &statuses()).await.unwrap() {
            RequestedStatuses::Missing(missing) => missing,
            RequestedStatuses::Accepted(waiter) => panic!("nothing is missing: {waiter:?}"),
        }
    }

    async fn accepted(&self, id: UserOnboardingId) -> Waiter<UserOnboarding> {
        match self.onboarding().request(id, &statuses()).await.unwrap() {
            RequestedStatuses::Accepted(waiter) => waiter,
            RequestedStatuses::Missing(missing) => panic!("{missing:?}"),
        }
    }

    /// Edits the next refusals of the statuses, before they are signed.
    fn refuses_with(&self, edit: impl Fn(&mut Value) + Send + 'static) {
        self.sandbox.before_signing(move |call, response: &mut RawResponse| {
            if call.operation == Some(&Operation::UPDATE_USER_ONBOARDING) && response.status != 200 {
                let mut body = serde_json::from_slice(&response.body).unwrap();
                edit(&mut body);
                response.body = body.to_string().into_bytes();
            }
        });
    }
}

fn partner(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    sandbox.client().late_arrival(LATE_ARRIVAL).custody(custody.clone()).build().unwrap()
}

fn statuses() -> UpdateUserOnboardingRequest {
    UpdateUserOnboardingRequest::new(RequestedUserStatus::Active, RequestedUserVerificationStatus::Verified)
}

fn address(city: &str) -> FulfillmentAnswer {
    let address = Address::new(
        city.parse().unwrap(),
        "NL".parse().unwrap(),
        "1a".parse().unwrap(),
        "1000 AA".parse().unwrap(),
        "Example Street".parse().unwrap(),
    );
    FulfillmentAnswer::AddressMain(address)
}

fn of_kind(kind: &str) -> Fulfillment {
    serde_json::from_value(json!({ "type": kind })).unwrap()
}

fn kinds(missing: &[Fulfillment]) -> Vec<&str> {
    missing.iter().map(|one| one.type_.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn from_the_start_to_a_verified_user() {
    test_timeout::start();
    let user = User::new(&["ADDRESS_MAIN", "DATE_OF_BIRTH", "EMAIL", "NATIONALITY", "SELFIE"]).await;
    assert!(user.onboarding().find().await.unwrap().is_none());
    let started = user.onboarding().start().await.unwrap();
    assert_eq!(started.acceptance, Acceptance::Accepted);
    let again = user.onboarding().start().await.unwrap();
    assert_eq!((again.id, again.acceptance), (started.id, Acceptance::Already));

    let missing = user.missing(started.id).await;
    assert_eq!(kinds(&missing), ["ADDRESS_MAIN", "DATE_OF_BIRTH", "EMAIL", "NATIONALITY", "SELFIE"]);
    assert_eq!(missing.iter().map(Fulfillment::is_answerable).collect::<Vec<_>>(), [true, true, false, true, false]);
    let due_later: Vec<_> = missing.iter().map(|one| one.time_mandatory.is_some()).collect();
    assert_eq!(due_later, [false, false, false, true, false]);
    assert!(missing.iter().all(|one| one.reason.is_some() && !one.all_status_allowed.is_empty()));

    user.onboarding().answer(&missing[0], &address("Exampleton")).await.unwrap();
    let mut person = UpdateUserPersonRequest::new();
    person.date_of_birth = Some("1990-01-31".parse().unwrap());
    user.onboarding().answer(&missing[1], &FulfillmentAnswer::Person(person)).await.unwrap();
    let error = user.onboarding().answer(&missing[2], &address("Exampleton")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("no call answers EMAIL"), "{error}");
    let missing = user.missing(started.id).await;
    assert_eq!(kinds(&missing), ["DATE_OF_BIRTH", "EMAIL", "NATIONALITY", "SELFIE"]);
    assert_eq!(missing[0].waiting_for(), WaitingFor::Bunq, "bunq checks it");

    user.sandbox.advance_clock(CHECK);
    let waiter = user.accepted(started.id).await;
    assert_eq!(waiter.acceptance(), Acceptance::Accepted);
    assert!(waiter.response_id().is_some());
    let seen: Vec<_> = waiter.changes().try_collect().await.unwrap();
    let turns: Vec<_> = seen.iter().map(UserOnboarding::waiting_for).collect();
    assert_eq!(turns, [WaitingFor::Bunq, WaitingFor::Bunq, WaitingFor::Nobody]);
    assert_eq!(seen[2].outcome(), Some(OnboardingOutcome::Reached));
    let over = user.onboarding().wait_until_over(started.id).await.unwrap();
    assert_eq!(over.outcome(), Some(OnboardingOutcome::Reached));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_denied_is_an_outcome() {
    test_timeout::start();
    let mut profile = Profile::default();
    (profile.fulfillments, profile.onboarding_result) = (Vec::new(), "DENIED".to_owned());
    let user = User::with(profile).await;
    let id = user.onboarding().start().await.unwrap().id;
    let over = user.accepted(id).await.await.unwrap();
    assert_eq!(over.outcome(), Some(OnboardingOutcome::Denied(UserOnboardingStatus::Denied)));
    // One that is over is adopted too: another would be another one.
    assert_eq!(user.onboarding().start().await.unwrap().id, id);
}

#[tokio::test(start_paused = true)]
async fn one_onboarding_is_started_whatever_happens() {
    test_timeout::start();
    let create = &Operation::CREATE_USER_ONBOARDING;
    let late = |seconds| Injection::new(Fault::LateArrival(Duration::from_secs(seconds)));
    for (injection, acceptance) in [
        (Injection::new(Fault::Drop).carried_out(true), Acceptance::Found),
        (Injection::new(Fault::Drop).carried_out(false), Acceptance::Accepted),
        (late(1), Acceptance::Found),
        (late(9), Acceptance::Found),
        (Injection::new(Fault::Status(500)).carried_out(true), Acceptance::Found),
        (Injection::new(Fault::Status(500)), Acceptance::Accepted),
        (Injection::new(Fault::Status(400)).carried_out(true), Acceptance::Already),
        (Injection::new(Fault::UnsignedStatus(403)).carried_out(true), Acceptance::Found),
        (Injection::new(Fault::NotJson), Acceptance::Found),
        (Injection::new(Fault::MissingSignature), Acceptance::Found),
    ] {
        let user = User::new(&[]).await;
        user.plays(injection.clone(), create);
        let started = user.onboarding().start().await.unwrap_or_else(|error| panic!("{injection:?}: {error}"));
        assert_eq!(started.acceptance, acceptance, "{injection:?}");
        assert_eq!(user.onboardings().await, 1, "{injection:?}");
    }
    let user = User::new(&[]).await;
    let started = join_all((0..20).map(async |_| user.onboarding().start().await)).await;
    let first = started[0].as_ref().unwrap().id;
    assert!(started.iter().all(|started| started.as_ref().unwrap().id == first));
    assert_eq!(user.calls(create), 1);
    // A refusal that is none of these is an error, and nothing was started.
    let user = User::new(&[]).await;
    user.plays(Fault::Status(400), create);
    let error = user.onboarding().start().await.unwrap_err();
    assert_eq!((error.kind(), error.is_doubtful(), user.onboardings().await), (ErrorKind::Rejected, false, 0));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_dropped_is_looked_for_before_the_next() {
    test_timeout::start();
    let user = User::new(&[]).await;
    user.plays(Fault::LateArrival(Duration::from_secs(5)), &Operation::CREATE_USER_ONBOARDING);
    // The response is lost, and the caller gives up before it knows.
    timeout(Duration::from_secs(1), user.onboarding().start()).await.unwrap_err();
    let started = user.onboarding().start().await.unwrap();
    assert_eq!((started.acceptance, user.onboardings().await), (Acceptance::Found, 1));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_a_crash_has_ended_is_looked_for_before_the_next() {
    test_timeout::start();
    let user = User::new(&[]).await;
    user.plays(Fault::LateArrival(Duration::from_secs(9)), &Operation::CREATE_USER_ONBOARDING);
    timeout(Duration::from_millis(500), user.onboarding().start()).await.unwrap_err();
    let started = user.after_a_crash().start().await.unwrap();
    assert_eq!((started.acceptance, user.onboardings().await), (Acceptance::Found, 1));
    assert_eq!(user.calls(&Operation::CREATE_USER_ONBOARDING), 1);

    // bunq does not list it for a while: no second one is started.
    user.sandbox.before_signing(|call, response| {
        if call.operation == Some(&Operation::LIST_USER_ONBOARDINGS) {
            let none = json!({ "future_url": null, "newer_url": null, "older_url": null });
            response.body = json!({ "Response": [], "Pagination": none }).to_string().into_bytes();
        }
    });
    let again = user.after_a_crash().start().await.unwrap();
    assert_eq!((again.id, again.acceptance), (started.id, Acceptance::Already));
    assert_eq!(user.calls(&Operation::CREATE_USER_ONBOARDING), 0);
}

/// bunq lists the newest first, and has pages.
#[tokio::test(start_paused = true)]
async fn an_onboarding_on_an_older_page_is_found() {
    test_timeout::start();
    let user = User::new(&[]).await;
    let started = user.onboarding().start().await.unwrap();
    user.sandbox.before_signing(|call, response| {
        let is_first_page = !call.query.as_deref().unwrap_or_default().contains("older_id");
        if call.operation == Some(&Operation::LIST_USER_ONBOARDINGS) && is_first_page {
            let mut page: Value = serde_json::from_slice(&response.body).unwrap();
            let newer = &mut page["Response"][0]["UserOnboarding"];
            (newer["id"], newer["status"]) = (json!(1_000_000), json!("DENIED"));
            page["Pagination"]["older_url"] = json!(format!("{}?count=200&older_id=1000000", call.path));
            response.body = page.to_string().into_bytes();
        }
    });
    let found = user.onboarding().find().await.unwrap().unwrap();
    assert_eq!((found.id, found.outcome()), (started.id, None));
}

#[tokio::test(start_paused = true)]
async fn an_onboarding_that_bunq_does_not_know_any_more_is_started_anew() {
    test_timeout::start();
    let (create, list) = (&Operation::CREATE_USER_ONBOARDING, &Operation::LIST_USER_ONBOARDINGS);
    for lists_it_late in [false, true] {
        let user = User::new(&[]).await;
        let first = user.onboarding().start().await.unwrap().id;
        user.sandbox.take_call_log();
        let (path, mut lists) = (format!("user-onboarding/{first}"), 0);
        user.sandbox.before_signing(move |call, response| {
            if call.operation == Some(list) {
                lists += 1;
                if !lists_it_late || lists == 1 {
                    let none = json!({ "future_url": null, "newer_url": null, "older_url": null });
                    response.body = json!({ "Response": [], "Pagination": none }).to_string().into_bytes();
                }
            } else if call.path.ends_with(&path) {
                response.status = 404;
                response.body = json!({ "Error": [{ "error_description": "No such onboarding." }] }).to_string().into();
            }
        });
        let began = Instant::now();
        let again = user.after_a_crash().start().await.unwrap();
        assert!(began.elapsed() >= LATE_ARRIVAL, "bunq gets time to show it");
        let expected = if lists_it_late { (Acceptance::Found, 0) } else { (Acceptance::Accepted, 1) };
        assert_eq!((again.acceptance, user.calls(create)), expected);
        assert_eq!(again.id == first, lists_it_late);
        // It is the one that is kept from now on, also where it is not listed.
        let kept = user.after_a_crash().start().await;
        assert_eq!((kept.unwrap().id, user.calls(create)), (again.id, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_another_reason_is_no_list() {
    test_timeout::start();
    let user = User::new(&["ADDRESS_MAIN"]).await;
    let id = user.onboarding().start().await.unwrap().id;
    let listed = "/Error/0/error_additional_parameter/0/AdditionalFulfillmentParameter/all_fulfillment";
    let edits: [fn(&mut Value, &str); 5] = [
        |body, _| body["Error"][0]["error_additional_parameter"] = Value::Null,
        |body, listed| *body.pointer_mut(listed).unwrap() = json!([]),
        |body, listed| *body.pointer_mut(listed).unwrap() = json!([{ "reason": "no type" }]),
        |body, listed| *body.pointer_mut(listed).unwrap() = json!("ADDRESS_MAIN"),
        |body, _| {
            let list = body["Error"][0]["error_additional_parameter"][0]["AdditionalFulfillmentParameter"].take();
            body["Error"][0]["error_additional_parameter"] = json!([{ "Novelty": list }]);
        },
    ];
    for (index, edit) in edits.into_iter().enumerate() {
        user.refuses_with(move |body| edit(body, listed));
        let error = user.onboarding().request(id, &statuses()).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Rejected, Some(400)), "{index}: {error}");
        assert_eq!(error.bunq_messages(), ["More is needed before the user can be verified."], "{index}");
    }
    // Beside a kind of parameter that nobody knows, the list is one.
    user.refuses_with(|body| {
        let list = body["Error"][0]["error_additional_parameter"][0].take();
        body["Error"][0]["error_additional_parameter"] = json!([{ "Novelty": 1 }, list]);
    });
    assert_eq!(kinds(&user.missing(id).await), ["ADDRESS_MAIN"]);
    // A message for each list.
    user.refuses_with(|body| {
        let mut second = body["Error"][0].clone();
        *second.pointer_mut(&listed["/Error/0".len()..]).unwrap() = json!([{ "type": "EMAIL" }]);
        body["Error"].as_array_mut().unwrap().push(second);
    });
    assert_eq!(kinds(&user.missing(id).await), ["ADDRESS_MAIN", "EMAIL"]);
    // A message beside the list is another reason, whatever is added to it.
    for added in [json!(null), json!([]), json!([{ "Novelty": 1 }])] {
        for is_first in [false, true] {
            let other = json!({ "error_description": "The user is blocked.", "error_additional_parameter": added });
            user.refuses_with(move |body| {
                body["Error"].as_array_mut().unwrap().insert(if is_first { 0 } else { 1 }, other.clone());
            });
            let error = user.onboarding().request(id, &statuses()).await.unwrap_err();
            let mut messages = ["More is needed before the user can be verified.", "The user is blocked."];
            if is_first {
                messages.reverse();
            }
            assert_eq!((error.kind(), error.bunq_messages()), (ErrorKind::Rejected, &messages.map(String::from)[..]));
        }
    }
    // A status that means something else is another reason too.
    user.sandbox.before_signing(|call, response| {
        if call.operation == Some(&Operation::UPDATE_USER_ONBOARDING) {
            response.status = 404;
        }
    });
    assert_eq!(user.onboarding().request(id, &statuses()).await.unwrap_err().kind(), ErrorKind::NotFound);
    user.sandbox.clear_edits();
    // A list that does not come from bunq is none: one that belongs to no request, and one whose signature is not bunq's.
    user.sandbox.after_signing(|call, response| {
        if call.operation == Some(&Operation::UPDATE_USER_ONBOARDING) {
            response.headers.retain(|(name, _)| name != "X-Bunq-Client-Request-Id");
        }
    });
    assert!(user.onboarding().request(id, &statuses()).await.is_err());
    user.sandbox.clear_edits();
    user.sandbox.after_signing(|call, response| {
        if call.operation == Some(&Operation::UPDATE_USER_ONBOARDING) {
            response.headers.retain(|(name, _)| name != "X-Bunq-Server-Signature");
            response.headers.push(("X-Bunq-Server-Signature".into(), "AAAA".into()));
        }
    });
    let error = user.onboarding().request(id, &statuses()).await.unwrap_err();
    assert!(error.additional_parameter().is_some() && !error.is_from_bunq(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_in_doubt_is_looked_up() {
    test_timeout::start();
    let update = &Operation::UPDATE_USER_ONBOARDING;
    for (injection, acceptance) in [
        (Injection::new(Fault::Drop).carried_out(true), Acceptance::Found),
        (Injection::new(Fault::Drop).carried_out(false), Acceptance::Accepted),
        (Injection::new(Fault::Status(500)).carried_out(true), Acceptance::Found),
        (Injection::new(Fault::Status(490)).carried_out(true), Acceptance::Already),
        (Injection::new(Fault::NotJson), Acceptance::Found),
    ] {
        let user = User::new(&[]).await;
        let id = user.onboarding().start().await.unwrap().id;
        user.plays(injection.clone(), update);
        assert_eq!(user.accepted(id).await.acceptance(), acceptance, "{injection:?}");
    }
    // What is missing is told after a doubt too.
    let user = User::new(&["ADDRESS_MAIN"]).await;
    let id = user.onboarding().start().await.unwrap().id;
    user.plays(Fault::Drop, update);
    assert_eq!(kinds(&user.missing(id).await), ["ADDRESS_MAIN"]);
}

/// A bank that takes the statuses each time, and checks the user from the start.
#[tokio::test(start_paused = true)]
async fn the_statuses_are_asked_for_once_over_a_crash() {
    test_timeout::start();
    let update = &Operation::UPDATE_USER_ONBOARDING;
    let hangs = Fault::Late(Duration::from_secs(3600));
    for (injection, sent) in [
        (Injection::new(Fault::LateArrival(Duration::from_secs(9))), 1),
        (Injection::new(hangs).carried_out(true), 1),
        (Injection::new(hangs).carried_out(false), 2),
    ] {
        let mut profile = Profile::default();
        (profile.fulfillments, profile.second_statuses) = (vec!["ADDRESS_MAIN".to_owned()], None);
        let user = User::with(profile).await;
        let id = user.onboarding().start().await.unwrap().id;
        // While something is missing, each request is sent.
        for _ in 0..2 {
            assert_eq!(kinds(&user.missing(id).await), ["ADDRESS_MAIN"]);
        }
        assert_eq!(user.calls(update), 2);
        user.onboarding().answer(&of_kind("ADDRESS_MAIN"), &address("A")).await.unwrap();
        user.sandbox.advance_clock(CHECK);
        user.plays(injection.clone(), update);
        // The process ends a second later.
        assert!(timeout(Duration::from_secs(1), user.onboarding().request(id, &statuses())).await.is_err());
        let again = user.after_a_crash();
        for acceptance in [if sent == 1 { Acceptance::Found } else { Acceptance::Accepted }, Acceptance::Already] {
            let RequestedStatuses::Accepted(waiter) = again.request(id, &statuses()).await.unwrap() else {
                panic!("{injection:?}: nothing is missing")
            };
            assert_eq!(waiter.acceptance(), acceptance, "{injection:?}");
        }
        user.sandbox.advance_clock(CHECK);
        again.wait_until_over(id).await.unwrap();
        let _waiter = user.after_a_crash().request(id, &statuses()).await.unwrap();
        assert_eq!(user.calls(update), sent, "{injection:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_doubt_undoes_none_that_follows() {
    test_timeout::start();
    let give = &Operation::CREATE_ADDRESS_MAIN;
    let one = of_kind("ADDRESS_MAIN");
    let city = |user: &User| user.sandbox.given(user.id).unwrap()["ADDRESS_MAIN"]["address_main"]["city"].clone();
    for injection in [
        Injection::new(Fault::Drop).carried_out(true),
        Injection::new(Fault::Drop).carried_out(false),
        Injection::new(Fault::LateArrival(Duration::from_secs(9))),
        Injection::new(Fault::Status(500)).carried_out(true),
    ] {
        let user = User::new(&[]).await;
        user.plays(injection.clone(), give);
        let (began, answered) = (Instant::now(), user.onboarding().answer(&one, &address("First")).await);
        answered.unwrap_or_else(|error| panic!("{injection:?}: {error}"));
        assert!(
            began.elapsed() >= LATE_ARRIVAL,
            "{injection:?}: it is sent again when the first cannot arrive any more"
        );
        assert_eq!((city(&user), user.calls(give)), (json!("First"), 2), "{injection:?}");
    }
    // The caller gives up, and gives another answer: the first one arrives before it.
    let user = User::new(&[]).await;
    user.plays(Fault::LateArrival(Duration::from_secs(9)), give);
    timeout(Duration::from_secs(1), user.onboarding().answer(&one, &address("First"))).await.unwrap_err();
    user.onboarding().answer(&one, &address("Second")).await.unwrap();
    sleep(CHECK).await;
    assert_eq!((city(&user), user.calls(give)), (json!("Second"), 2));
    // A refusal is final.
    user.plays(Fault::Status(400), give);
    let error = user.onboarding().answer(&one, &address("Third")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_doubtful(), user.calls(give)), (ErrorKind::Rejected, false, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_of_an_answer_that_cannot_be() {
    test_timeout::start();
    let user = User::new(&[]).await;
    let nobody = FulfillmentAnswer::Nationality(Vec::<CountryCode>::new());
    for (kind, answer) in [("NATIONALITY", nobody), ("EMAIL", address("A")), ("SELFIE", address("A"))] {
        let error = user.onboarding().answer(&of_kind(kind), &answer).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidInput, Sent::No), "{error}");
    }
    assert!(user.sandbox.take_call_log().is_empty());
}
