//! Filters are added to those of others and removed from among them.

use std::time::Duration;

use bunq_partner::types::{NotificationCategory, NotificationFilter, NotificationTarget};
use bunq_partner::{Acceptance, Client, Environment, Error, ErrorKind, Notifications, Operation, Sent};
use bunq_partner_sandbox::{CallLogEntry, Fault, FilterResponse, Injection, Profile, Sandbox};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::common::{at_once, user_of};

const REPLACE: &Operation = &Operation::REPLACE_NOTIFICATION_FILTERS;
const PROVISIONS: NotificationCategory = NotificationCategory::PartnerUserProvision;
const TARGET: &str = "https://partner.example.com/bunq/planted";
const SECOND: Duration = Duration::from_secs(1);

fn url(url: &str) -> NotificationTarget {
    url.parse().unwrap()
}

/// A category that the document does not know.
fn other(name: &str) -> NotificationCategory {
    NotificationCategory::Unknown(name.to_owned())
}

fn client(sandbox: &Sandbox) -> Client {
    sandbox.client().retry(at_once()).poll_interval(2 * SECOND).late_arrival(10 * SECOND).build().unwrap()
}

async fn start(response: FilterResponse, shown_after: Duration) -> (Sandbox, Client) {
    let mut profile = Profile::default();
    (profile.filter_response, profile.filters_shown_after) = (response, shown_after);
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let client = client(&sandbox);
    client.open_session().await.unwrap();
    (sandbox, client)
}

/// Replaces all filters, as somebody else does who knows nothing of the others.
async fn replace(client: &Client, filters: Value) {
    let body = json!({ "notification_filters": filters });
    client.api().call(REPLACE, &[], Some(&body)).await.unwrap();
}

/// The categories and targets of filters.
fn named(filters: &[NotificationFilter]) -> Vec<(&str, &str)> {
    filters.iter().map(|filter| (filter.category.as_str(), filter.notification_target.as_str())).collect()
}

/// The replacements in which there is this text.
fn writes(calls: &[CallLogEntry], text: &str) -> usize {
    calls.iter().filter(|call| call.operation == Some(REPLACE) && call.body.contains(text)).count()
}

/// An error does not show the path of a target, which may be what a receiver knows bunq by.
fn problem(error: &Error) -> String {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("planted"), "{shown}");
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_filter_is_added_to_those_of_others_and_removed_from_among_them() {
    test_timeout::start();
    for (response, shown_after) in [
        (FilterResponse::Filters, Duration::ZERO),
        (FilterResponse::Id, Duration::ZERO),
        (FilterResponse::Filters, 7 * SECOND),
        (FilterResponse::Id, 7 * SECOND),
    ] {
        let (sandbox, client) = start(response, shown_after).await;
        let others = json!([
            { "category": "PAYMENT", "notification_target": TARGET, "since": 1.5, "all_user_id": [7] },
            { "category": "CARD", "notification_target": TARGET, "all_verification_type": ["BUNQ_CERTIFICATE", "NEW"] },
        ]);
        replace(&client, others).await;
        tokio::time::sleep(shown_after).await;
        let of_others = client.notifications().list().await.unwrap();
        sandbox.take_call_log();

        let ensured = client.notifications().ensure(PROVISIONS, url(TARGET)).await.unwrap();
        assert_eq!((ensured.acceptance, ensured.is_confirmable), (Acceptance::Accepted, true));
        assert_eq!(named(&[ensured.filter]), [("PARTNER_USER_PROVISION", TARGET)]);
        let all = client.notifications().list().await.unwrap();
        assert_eq!((&all[..2], all.len()), (&of_others[..], 3));
        let shown = serde_json::to_value(&all[..2]).unwrap();
        assert_eq!((&shown[0]["since"], &shown[0]["all_user_id"]), (&json!(1.5), &json!([7])));

        // The same URL in another spelling is there.
        let spelled = url("https://Partner.Example.com:443/bunq/planted");
        let again = client.notifications().ensure(PROVISIONS, spelled.clone()).await.unwrap();
        assert_eq!(again.acceptance, Acceptance::Already);
        assert_eq!(writes(&sandbox.take_call_log(), TARGET), 1);

        let remove = async |url: &NotificationTarget| client.notifications().remove(PROVISIONS, url.clone()).await;
        assert_eq!(remove(&spelled).await.unwrap(), Acceptance::Accepted);
        assert_eq!(client.notifications().list().await.unwrap(), of_others);
        assert_eq!(remove(&spelled).await.unwrap(), Acceptance::Already);
        assert_eq!(sandbox.take_call_log().iter().filter(|call| call.operation == Some(REPLACE)).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_writes_in_between_is_merged() {
    test_timeout::start();
    for response in [FilterResponse::Filters, FilterResponse::Id] {
        let (sandbox, client) = start(response, Duration::ZERO).await;
        let ensuring = tokio::spawn({
            let notifications = client.notifications();
            async move { notifications.ensure(PROVISIONS, url(TARGET)).await }
        });
        tokio::time::sleep(SECOND).await;
        assert_eq!(named(&client.notifications().list().await.unwrap()), [("PARTNER_USER_PROVISION", TARGET)]);
        replace(&client, json!([{ "category": "PAYMENT", "notification_target": TARGET }])).await;
        assert_eq!(ensuring.await.unwrap().unwrap().acceptance, Acceptance::Accepted);
        let all = client.notifications().list().await.unwrap();
        assert_eq!(named(&all), [("PAYMENT", TARGET), ("PARTNER_USER_PROVISION", TARGET)]);
        assert_eq!(writes(&sandbox.take_call_log(), "PARTNER_USER_PROVISION"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn after_three_rounds_it_says_what_it_has_found() {
    test_timeout::start();
    let (sandbox, client) = start(FilterResponse::Filters, Duration::ZERO).await;
    let adversary = client.clone();
    tokio::spawn(async move {
        for number in 0.. {
            tokio::time::sleep(SECOND).await;
            replace(&adversary, json!([{ "category": format!("OTHER_{number}"), "notification_target": TARGET }]))
                .await;
        }
    });
    let error = client.notifications().ensure(PROVISIONS, url(TARGET)).await.unwrap_err();
    let problem = problem(&error);
    assert_eq!(error.kind(), ErrorKind::Unattainable, "{problem}");
    assert!(
        problem.contains("the filter of PARTNER_USER_PROVISION to https://partner.example.com/\u{2026} 3 times"),
        "{problem}"
    );
    let found = error.last_seen::<Vec<NotificationFilter>>().unwrap();
    let shown = format!("each time: {} to https://partner.example.com/", found[0].category);
    assert!(found.len() == 1 && problem.contains(&shown), "{problem}");
    assert_eq!(writes(&sandbox.take_call_log(), "PARTNER_USER_PROVISION"), 3);
}

/// bunq answers without a filter that it does not want.
#[tokio::test(start_paused = true)]
async fn what_bunq_drops_is_not_said_to_be_done() {
    test_timeout::start();
    let (sandbox, client) = start(FilterResponse::Filters, Duration::ZERO).await;
    sandbox.before_signing(|call, response| {
        if call.path.ends_with("/notification-filter-url") {
            response.body = json!({ "Response": [{ "NotificationFilterUrl": {
                "category": "PAYMENT", "notification_target": TARGET } }] })
            .to_string()
            .into();
        }
    });
    let start = tokio::time::Instant::now();
    let error = client.notifications().ensure(PROVISIONS, url(TARGET)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable, "{error}");
    // The response says that it is not there: nobody waits until it is shown.
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
}

/// A request in doubt, which would undo what was written after it, is sent again only after a look.
#[tokio::test(start_paused = true)]
async fn a_write_in_doubt_reads_first() {
    test_timeout::start();
    for (fault, carried_out, acceptance, sent) in [
        (Fault::Drop, true, Acceptance::Found, 1),
        (Fault::Drop, false, Acceptance::Accepted, 2),
        (Fault::Status(500), true, Acceptance::Found, 1),
        (Fault::Truncated, false, Acceptance::Accepted, 2),
        (Fault::LateArrival(SECOND), true, Acceptance::Found, 1),
        (Fault::UnsignedStatus(429), false, Acceptance::Accepted, 2),
    ] {
        let (sandbox, client) = start(FilterResponse::Filters, Duration::ZERO).await;
        sandbox.inject(Injection::new(fault).on(REPLACE).carried_out(carried_out));
        let ensuring = tokio::spawn({
            let notifications = client.notifications();
            async move { notifications.ensure(PROVISIONS, url(TARGET)).await }
        });
        tokio::time::sleep(3 * SECOND).await;
        let mut all = client.notifications().list().await.unwrap();
        all.push(NotificationFilter::new(other("PAYMENT"), url(TARGET)));
        replace(&client, serde_json::to_value(&all).unwrap()).await;
        assert_eq!(ensuring.await.unwrap().unwrap().acceptance, acceptance, "{fault:?}");
        let mut names: Vec<_> = client.notifications().list().await.unwrap();
        names.sort_by(|one, another| one.category.as_str().cmp(another.category.as_str()));
        assert_eq!(named(&names), [("PARTNER_USER_PROVISION", TARGET), ("PAYMENT", TARGET)], "{fault:?}");
        let calls = sandbox.take_call_log();
        let own = calls.iter().filter(|call| call.operation == Some(REPLACE) && call.body.ends_with("]}"));
        assert_eq!(own.count() - 1, sent, "{fault:?}");
    }
}

/// A call that is dropped may still write: the next one waits until its request cannot arrive any more.
#[tokio::test(start_paused = true)]
async fn the_request_of_a_call_that_was_dropped_is_waited_for() {
    test_timeout::start();
    let (sandbox, client) = start(FilterResponse::Id, Duration::ZERO).await;
    sandbox.inject(Injection::new(Fault::LateArrival(5 * SECOND)).on(REPLACE));
    let removing = client.notifications();
    assert!(tokio::time::timeout(SECOND, removing.ensure(PROVISIONS, url(TARGET))).await.is_err());
    let removed = client.notifications().remove(PROVISIONS, url(TARGET)).await.unwrap();
    assert_eq!(removed, Acceptance::Accepted);
    tokio::time::sleep(20 * SECOND).await;
    assert!(client.notifications().list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn sixteen_tasks_with_different_categories_get_all() {
    test_timeout::start();
    for shown_after in [Duration::ZERO, 3 * SECOND] {
        let (sandbox, client) = start(FilterResponse::Id, shown_after).await;
        let tasks = (0..16).map(|number| {
            let client = client.clone();
            tokio::spawn(
                async move { client.notifications().ensure(other(&format!("KIND_{number}")), url(TARGET)).await },
            )
        });
        for ensured in join_all(tasks).await {
            let ensured = ensured.unwrap().unwrap();
            assert_eq!((ensured.acceptance, ensured.is_confirmable), (Acceptance::Accepted, false));
        }
        let mut all: Vec<_> = client.notifications().list().await.unwrap();
        all.sort_by_key(|filter| filter.category.as_str()[5..].parse::<u32>().unwrap());
        let expected: Vec<_> = (0..16).map(|number| format!("KIND_{number}")).collect();
        assert_eq!(all.iter().map(|filter| filter.category.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(writes(&sandbox.take_call_log(), TARGET), 16);
    }
}

#[tokio::test(start_paused = true)]
async fn the_filters_of_a_user_are_its_own() {
    test_timeout::start();
    let (sandbox, client) = start(FilterResponse::Filters, Duration::ZERO).await;
    let user = user_of(&sandbox, sandbox.populate(1)[0]).await;
    let ensured = user.notifications().ensure(NotificationCategory::UserOnboarding, url(TARGET)).await.unwrap();
    assert!(ensured.acceptance == Acceptance::Accepted && ensured.is_confirmable);
    assert_eq!(named(&user.notifications().list().await.unwrap()), [("USER_ONBOARDING", TARGET)]);
    assert!(client.notifications().list().await.unwrap().is_empty());
    sandbox.take_call_log();
    let error = user.notifications().ensure(PROVISIONS, url(TARGET)).await.unwrap_err();
    assert_eq!(error.field(), Some("category"));
    assert!(problem(&error).contains("set it with the partner's session") && sandbox.take_call_log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_bunq_does_not_take_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let (sandbox, client) = start(FilterResponse::Filters, Duration::ZERO).await;
    sandbox.take_call_log();
    let refused = async |notifications: &Notifications, category, target: &str| {
        let error = match target.parse() {
            Ok(url) => notifications.ensure(category, url).await.unwrap_err(),
            Err(invalid) => Error::from(invalid),
        };
        assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidInput, Sent::No), "{error}");
        problem(&error)
    };
    let in_sandbox = client.notifications();
    for (category, target, says) in [
        (
            PROVISIONS,
            "http://partner.example.com/planted",
            "begins with https:// (http:// only for a loopback address)",
        ),
        (PROVISIONS, "ftp://partner.example.com/planted", "begins with https://"),
        (PROVISIONS, "https://name:planted@partner.example.com/", "url: it has credentials"),
        (PROVISIONS, "https://planted@partner.example.com/", "url: it has credentials"),
        (PROVISIONS, "https://partner.example.com:99999/planted", "url: it is no URL"),
        (PROVISIONS, "http://127.0.0.999/planted", "url: it is no URL"),
        (NotificationCategory::UserOnboarding, TARGET, "category: it is a user's"),
        (NotificationCategory::UserInformationInquiry, TARGET, "category: it is a user's"),
        (NotificationCategory::Support, TARGET, "category: it is a user's"),
        (other("payment"), TARGET, "category: the name of a category has capital letters"),
        (other("USER_ONBOARDING"), TARGET, "category: it is a user's"),
        (other(""), TARGET, "category: the name of a category has capital letters"),
        (other("PAY MENT"), TARGET, "category: the name of a category has capital letters"),
        (other(&"A".repeat(101)), TARGET, "category: the name of a category has capital letters"),
    ] {
        let problem = refused(&in_sandbox, category, target).await;
        assert!(problem.contains(says), "{target}: {problem}");
    }
    let production = Client::builder(Environment::Production).base_url(sandbox.base_url()).api_key("planted");
    let production = production.build().unwrap().notifications();
    let problem = refused(&production, PROVISIONS, "http://127.0.0.1:8080/planted").await;
    assert!(problem.contains("plain HTTP to this machine is for a client of the sandbox environment"), "{problem}");
    assert!(sandbox.take_call_log().is_empty());

    let ensured = in_sandbox.ensure(PROVISIONS, url("http://127.0.0.1:8080/planted")).await.unwrap();
    assert_eq!(ensured.acceptance, Acceptance::Accepted);
    in_sandbox.ensure(PROVISIONS, url("https://b.example")).await.unwrap();
    sandbox.take_call_log();
    let error = in_sandbox.ensure(PROVISIONS, url(TARGET)).await.unwrap_err();
    let shown = error.to_string();
    assert!(!shown.contains("planted"), "{shown}");
    assert_eq!((error.kind(), error.field(), error.sent()), (ErrorKind::InvalidInput, Some("url"), Sent::No));
    let two = "PARTNER_USER_PROVISION has 2 targets, http://127.0.0.1:8080/\u{2026} and https://b.example, and bunq takes no more";
    assert!(shown.contains(two), "{shown}");
    assert_eq!(error.last_seen::<Vec<NotificationFilter>>().unwrap().len(), 2);
    assert_eq!(writes(&sandbox.take_call_log(), ""), 0);
}
