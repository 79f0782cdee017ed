//! Failed deliveries are made again: in batches, those of one receiver, and in each documented shape of the response.

use std::time::Duration;

use bunq_partner::types::{NotificationFilterFailureId, NotificationTarget};
use bunq_partner::{Api, Client, ErrorKind, Operation, RetriedFailures};
use bunq_partner_sandbox::{FailureRetryResponse, Fault, Injection, Profile, Sandbox};
use futures_util::TryStreamExt as _;
use serde_json::json;

use crate::common::at_once;

const RETRY: &Operation = &Operation::RETRY_NOTIFICATION_FILTER_FAILURES;
const OURS: &str = "https://partner.example.com/bunq";
const THEIRS: &str = "https://other.example.com/bunq";
const SECOND: Duration = Duration::from_secs(1);

/// A bank with so many failed deliveries to two targets each.
async fn start(response: FailureRetryResponse, failures: usize) -> (Sandbox, Client) {
    let mut profile = Profile::default();
    profile.failure_retry_response = response;
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).poll_interval(2 * SECOND).late_arrival(10 * SECOND).build().unwrap();
    let filters = [OURS, THEIRS].map(|url| json!({ "category": "PARTNER_USER_PROVISION", "notification_target": url }));
    let body = json!({ "notification_filters": filters });
    client.api().call(&Operation::REPLACE_NOTIFICATION_FILTERS, &[], Some(&body)).await.unwrap();
    let provision = sandbox.populate(1)[0];
    assert_eq!((0..failures).map(|_| sandbox.fail_notification(provision)).sum::<usize>(), 2 * failures);
    sandbox.take_call_log();
    (sandbox, client)
}

async fn listed(client: &Client) -> Vec<(NotificationFilterFailureId, String)> {
    let all: Vec<_> = client.notifications().failures().try_collect().await.unwrap();
    all.into_iter().map(|failure| (failure.id, failure.notification_target.unwrap().into())).collect()
}

/// How many failures each request was for, and how many requests bunq has carried out.
fn requests(sandbox: &Sandbox) -> (Vec<usize>, usize) {
    let calls = sandbox.take_call_log();
    let retries: Vec<_> = calls.iter().filter(|call| call.operation == Some(RETRY)).collect();
    let ids = |body: &str| body.matches(',').count() + 1;
    (retries.iter().map(|call| ids(&call.body)).collect(), retries.iter().filter(|call| call.carried_out).count())
}

async fn deliver_elsewhere(api: &Api, ids: &[NotificationFilterFailureId]) {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let body = json!({ "notification_filter_failed_ids": ids.join(",") });
    api.call(RETRY, &[], Some(&body)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn those_of_one_receiver_are_retried_in_batches_and_others_are_left() {
    test_timeout::start();
    for response in [FailureRetryResponse::Ids, FailureRetryResponse::Id, FailureRetryResponse::Nothing] {
        let (sandbox, client) = start(response, 230).await;
        let all = listed(&client).await;
        assert!(all.len() == 460 && all.is_sorted_by(|newer, older| newer.0 > older.0));
        sandbox.take_call_log();
        let url: NotificationTarget = "https://Partner.example.com/bunq".parse().unwrap();
        let retried = client.notifications().retry_target(&url).await.unwrap();
        assert_eq!((retried.requested.len(), retried.gone.len()), (230, 0));
        assert_eq!(requests(&sandbox), (vec![100, 100, 30], 3));
        let left = listed(&client).await;
        assert!(left.len() == 230 && left.iter().all(|(_, target)| target == THEIRS));
        assert_eq!(client.notifications().retry_target(&url).await.unwrap(), RetriedFailures::default());

        // By their ids, those of others too.
        let ids: Vec<_> = left.iter().map(|(id, _)| *id).collect();
        let retried = client.notifications().retry(ids.iter().chain(&ids).copied()).await.unwrap();
        assert_eq!((retried.requested.len(), requests(&sandbox)), (230, (vec![100, 100, 30], 3)));
        assert!(listed(&client).await.is_empty());
        assert_eq!(client.notifications().retry([]).await.unwrap(), RetriedFailures::default());
        assert_eq!(requests(&sandbox), (vec![], 0));
    }
}

/// bunq refuses a whole request if one of its failures is gone.
#[tokio::test(start_paused = true)]
async fn what_is_gone_does_not_hold_up_the_others() {
    test_timeout::start();
    let (sandbox, client) = start(FailureRetryResponse::Ids, 2).await;
    let ids: Vec<_> = listed(&client).await.into_iter().map(|(id, _)| id).collect();
    deliver_elsewhere(&client.api(), &ids[1..2]).await;
    sandbox.take_call_log();
    let retried = client.notifications().retry(ids.clone()).await.unwrap();
    assert_eq!((retried.requested, retried.gone), (vec![ids[3], ids[2], ids[0]], vec![ids[1]]));
    assert_eq!(requests(&sandbox), (vec![4, 3], 1));
    let retried = client.notifications().retry(ids.clone()).await.unwrap();
    assert_eq!((retried.requested.len(), retried.gone.len()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_in_doubt_those_that_are_still_there_are_retried() {
    test_timeout::start();
    for (fault, carried_out, sent) in [
        (Fault::Drop, true, vec![4]),
        (Fault::Drop, false, vec![4, 3]),
        (Fault::Status(500), true, vec![4]),
        (Fault::LateArrival(3 * SECOND), true, vec![4]),
        (Fault::UnsignedStatus(429), false, vec![4, 3]),
    ] {
        let (sandbox, client) = start(FailureRetryResponse::Nothing, 2).await;
        let ids: Vec<_> = listed(&client).await.into_iter().map(|(id, _)| id).collect();
        sandbox.inject(Injection::new(fault).on(RETRY).carried_out(carried_out));
        let retrying = tokio::spawn({
            let (notifications, ids) = (client.notifications(), ids.clone());
            async move { notifications.retry(ids).await }
        });
        tokio::time::sleep(SECOND).await;
        // Meanwhile one is delivered in another way.
        let is_in_doubt = sent.len() == 2;
        if is_in_doubt {
            deliver_elsewhere(&client.api(), &ids[..1]).await;
        }
        let retried = retrying.await.unwrap().unwrap();
        assert_eq!(retried.requested.len(), 4, "{fault:?}");
        assert!(listed(&client).await.is_empty(), "{fault:?}");
        let (mut all, _) = requests(&sandbox);
        all.retain(|ids| *ids > 1);
        assert_eq!(all, sent, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_has_what_was_done_before_it() {
    test_timeout::start();
    let (sandbox, client) = start(FailureRetryResponse::Ids, 60).await;
    let ids: Vec<_> = listed(&client).await.into_iter().map(|(id, _)| id).collect();
    sandbox.inject(Injection::new(Fault::Status(400)).on(RETRY).after(1));
    let error = client.notifications().retry(ids).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert_eq!(error.last_seen::<RetriedFailures>().unwrap().requested.len(), 100);
    assert_eq!(listed(&client).await.len(), 20);
}
