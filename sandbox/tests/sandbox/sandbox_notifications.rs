//! Notification filters, failed deliveries and pinned certificates: what was made is listed, and what was deleted is gone.

use bunq_partner::types::{
    CreatePinnedCertificateRequest, ListNotificationFilterFailuresQuery, NotificationCategory, NotificationFilter,
    PinnedCertificate, ReplaceNotificationFiltersRequest, RetryNotificationFilterFailuresRequest,
};
use bunq_partner::{Api, Client, Error, ErrorKind, Operation, PageSize};
use bunq_partner_sandbox::{FailureRetryResponse, FilterResponse, Profile, Sandbox};
use futures_util::TryStreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;

const TARGET: &str = "https://partner.example.com/bunq";

async fn start() -> (Sandbox, Client) {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    (sandbox, client)
}

fn filter(category: NotificationCategory, target: &str) -> NotificationFilter {
    NotificationFilter::new(category, target.parse().unwrap())
}

async fn replace(api: &Api, filters: Vec<NotificationFilter>) -> Result<Vec<NotificationFilter>, Error> {
    let request = ReplaceNotificationFiltersRequest::new(filters);
    Ok(api.replace_notification_filters(&request).await?.into_inner())
}

/// Replaces filters as a client of another kind does.
async fn replace_by_name(api: &Api, filters: Value) -> Result<(), Error> {
    let body = json!({ "notification_filters": filters });
    api.call(&Operation::REPLACE_NOTIFICATION_FILTERS, &[], Some(&body)).await.map(drop)
}

#[tokio::test]
async fn filters_are_replaced_as_a_whole_and_keep_what_others_have_set() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let api = client.api();
    assert!(api.list_notification_filters().await.unwrap().is_empty());

    // Somebody else has set something of which the document knows nothing.
    let others = json!([{ "category": "PAYMENT", "notification_target": TARGET, "since": 1.5, "all_user_id": [1] }]);
    replace_by_name(&api, others).await.unwrap();
    let mut filters = api.list_notification_filters().await.unwrap().into_inner();
    filters.push(filter(NotificationCategory::PartnerUserProvision, TARGET));
    let replaced = replace(&api, filters).await.unwrap();
    let listed = api.list_notification_filters().await.unwrap().into_inner();
    assert_eq!(replaced, listed);
    let shown = serde_json::to_value(&listed).unwrap();
    assert_eq!((listed.len(), &shown[0]["since"], &shown[0]["all_user_id"]), (2, &json!(1.5), &json!([1])));
    assert!(shown[1]["all_user_id"].is_null());

    // They are part of the state.
    let saved = sandbox.saved_state().unwrap();
    let again = Sandbox::builder().saved_state(saved).start().await.unwrap();
    let of_again = again.client().build().unwrap().api();
    assert_eq!(of_again.list_notification_filters().await.unwrap().into_inner(), listed);

    assert_eq!(replace(&api, Vec::new()).await.unwrap(), []);
    assert!(api.list_notification_filters().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_bunq_does_not_take_changes_nothing() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let api = client.api();
    let one = filter(NotificationCategory::Support, TARGET);
    replace(&api, vec![one]).await.unwrap();

    let three = ["https://a.example", "https://b.example", "https://c.example"];
    let three = three.map(|target| filter(NotificationCategory::UserOnboarding, target));
    let error = replace(&api, three[..2].to_vec()).await.map(|filters| filters.len());
    assert_eq!(error.unwrap(), 2);
    let error = replace(&api, three.to_vec()).await.unwrap_err();
    assert_eq!(error.bunq_messages(), ["The category \"USER_ONBOARDING\" has more than 2 targets."]);
    let plain = json!([{ "category": "SUPPORT", "notification_target": "http://a.example" }]);
    let error = replace_by_name(&api, plain).await.unwrap_err();
    assert!(error.bunq_messages()[0].contains("a URL that begins with https://"), "{error}");
    assert_eq!(api.list_notification_filters().await.unwrap().len(), 2);
}

#[tokio::test]
async fn failed_deliveries_are_listed_by_the_company_and_by_the_user_until_they_are_delivered() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let api = client.api();
    let provisions = sandbox.populate(2);
    assert_eq!(sandbox.fail_notification(provisions[0]), 0, "nobody has asked to be told");
    replace(&api, vec![filter(NotificationCategory::PartnerUserProvision, TARGET)]).await.unwrap();
    let failed: usize = [0, 1, 0].into_iter().map(|index| sandbox.fail_notification(provisions[index])).sum();
    assert_eq!(failed, 3);

    let query = || ListNotificationFilterFailuresQuery::default().count(PageSize::new(2).unwrap());
    let all: Vec<_> = api.list_notification_filter_failures_stream(None, query()).try_collect().await.unwrap();
    let about: Vec<_> = all.iter().map(|failure| failure.object_id).collect();
    assert_eq!(about, [0, 1, 0].map(|index: usize| Some(provisions[index].get().cast_signed())));
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id));

    // Of one user.
    let of = all[0].user_id.unwrap();
    let page = api.list_notification_filter_failures(Some(of), query()).await.unwrap();
    assert_eq!(page.items.iter().map(|failure| failure.id).collect::<Vec<_>>(), [all[0].id, all[2].id]);

    let ids = format!("{},{}", all[0].id, all[1].id);
    let retry = RetryNotificationFilterFailuresRequest::new(ids.parse().unwrap());
    api.retry_notification_filter_failures(None, &retry).await.unwrap();
    let page = api.list_notification_filter_failures(None, query()).await.unwrap();
    assert_eq!(page.items.iter().map(|failure| failure.id).collect::<Vec<_>>(), [all[2].id]);
    let error = api.retry_notification_filter_failures(None, &retry).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn pinned_certificates_are_listed_until_they_are_removed() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let api = client.api();
    let pem = "-----BEGIN CERTIFICATE-----\nTm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n";
    let one = || PinnedCertificate::new(pem.parse().unwrap());
    let request = CreatePinnedCertificateRequest::new(vec![one(), one()]);
    let id = api.create_pinned_certificate(&request).await.unwrap().into_inner();
    let pinned = api.get_pinned_certificate(id).await.unwrap().into_inner();
    assert_eq!(pinned.certificate_chain.as_deref(), Some(&*format!("{pem}{}", pem.trim_end())));

    let saved = sandbox.saved_state().unwrap();
    let again = Sandbox::builder().saved_state(saved).start().await.unwrap();
    let of_again = again.client().build().unwrap().api();
    assert_eq!(of_again.list_pinned_certificates().await.unwrap().into_inner(), [pinned]);

    api.delete_pinned_certificate(id).await.unwrap();
    assert!(api.list_pinned_certificates().await.unwrap().is_empty());
    for error in
        [api.get_pinned_certificate(id).await.unwrap_err(), api.delete_pinned_certificate(id).await.unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let none = CreatePinnedCertificateRequest::new(Vec::new());
    // The client does not send what the document does not allow.
    assert_eq!(api.create_pinned_certificate(&none).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// bunq's sources differ on what these calls are answered with.
#[tokio::test]
async fn every_documented_response_is_taken() {
    test_timeout::start();
    for (filter_response, retry_response, listed) in [
        (FilterResponse::Filters, FailureRetryResponse::Ids, 1),
        (FilterResponse::Id, FailureRetryResponse::Id, 0),
        (FilterResponse::Id, FailureRetryResponse::Nothing, 0),
    ] {
        let mut profile = Profile::default();
        (profile.filter_response, profile.failure_retry_response) = (filter_response, retry_response);
        let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        let api = client.api();
        let set = replace(&api, vec![filter(NotificationCategory::PartnerUserProvision, TARGET)]).await.unwrap();
        assert_eq!(set.len(), listed);
        assert_eq!(api.list_notification_filters().await.unwrap().len(), 1);

        let provision = sandbox.populate(1)[0];
        assert_eq!(sandbox.fail_notification(provision) + sandbox.fail_notification(provision), 2);
        let query = ListNotificationFilterFailuresQuery::default;
        let failed = api.list_notification_filter_failures(None, query()).await.unwrap();
        let ids: Vec<_> = failed.items.iter().map(|failure| failure.id.to_string()).collect();
        let retry = RetryNotificationFilterFailuresRequest::new(ids.join(",").parse().unwrap());
        api.retry_notification_filter_failures(None, &retry).await.unwrap();
        assert!(api.list_notification_filter_failures(None, query()).await.unwrap().items.is_empty());
    }
}

#[tokio::test]
async fn what_is_not_as_documented_is_refused() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let caller = Caller::of(&sandbox, &client).await;
    let pem = "-----BEGIN CERTIFICATE-----\nTm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n";
    let good = json!({ "category": "SUPPORT", "notification_target": TARGET });
    let filter = |name: &str, value: Value| {
        let mut filter = good.clone();
        filter[name] = value;
        json!({ "notification_filters": [filter] })
    };
    let chain = |certificate: Value, count: usize| json!({ "certificate_chain": vec![certificate; count] });
    let failures = |ids: Value| json!({ "notification_filter_failed_ids": ids });
    let one = json!({ "certificate": pem });
    for (path, body, says) in [
        ("notification-filter-url", json!({}), "missing field `notification_filters`"),
        ("notification-filter-url", json!([[]]), "it is a list"),
        ("notification-filter-url", json!({ "notification_filters": null }), "a list of at most 400 items"),
        ("notification-filter-url", json!({ "notification_filters": vec![&good; 401] }), "more than 400 items"),
        ("notification-filter-url", json!({ "notification_filters": [["SUPPORT", TARGET]] }), "expected an object"),
        ("notification-filter-url", json!({ "notification_filters": [{ "category": "SUPPORT" }] }), "missing field"),
        ("notification-filter-url", filter("category", json!(7)), "invalid type: integer"),
        ("notification-filter-url", filter("notification_target", json!("https://")), "begins with https://"),
        ("notification-filter-url", filter("notification_target", json!("HTTPS://a.example")), "begins with https://"),
        ("notification-filter-url", filter("notification_target", json!("http://127.0.0.1.example/")), "loopback"),
        ("notification-filter-url", filter("notification_target", json!("http://localhost:1@a.example/")), "loopback"),
        ("notification-filter-url", filter("notification_target", json!("http://10.0.0.1/")), "loopback"),
        ("notification-filter-url", filter("notification_target", json!("https://a.example/ b")), "white space"),
        ("notification-filter-url", filter("notification_target", json!(null)), "invalid type: null"),
        ("notification-filter-url", filter("all_verification_type", json!("BUNQ_CERTIFICATE")), "invalid type: string"),
        ("notification-filter-url", filter("all_verification_type", json!(vec!["X"; 21])), "more than 20 items"),
        ("notification-filter-failure", failures(json!("")), "notification_filter_failed_ids"),
        ("notification-filter-failure", failures(json!("0")), "notification_filter_failed_ids"),
        ("notification-filter-failure", failures(json!("1, 2")), "notification_filter_failed_ids"),
        ("notification-filter-failure", failures(json!(vec!["1"; 101].join(","))), "notification_filter_failed_ids"),
        ("notification-filter-failure", failures(json!(1)), "invalid type: integer"),
        ("certificate-pinned", json!({ "certificate_chain": [] }), "has no certificate"),
        ("certificate-pinned", chain(one.clone(), 11), "more than 10 items"),
        ("certificate-pinned", chain(json!([pem]), 1), "expected an object"),
        ("certificate-pinned", chain(json!({ "certificate": "none" }), 1), "PEM form"),
        ("certificate-pinned", chain(json!({ "certificate": format!("{pem}{pem}") }), 1), "PEM form"),
        ("certificate-pinned", chain(json!({ "certificate": pem.replace("CERT", "PRIVATE CERT") }), 1), "PEM form"),
        ("certificate-pinned", json!({ "certificate_chain": one }), "a list of at most 10 items"),
    ] {
        let (status, refusal) = caller.call(Method::POST, &format!("/{path}"), &body.to_string()).await;
        let text = refusal["Error"][0]["error_description"].as_str().unwrap_or("taken");
        assert!(status == 400 && text.contains(says), "{path} {body}: {status} {text}");
    }
    for (query, says) in [
        ("count=0", "from 1 to 200"),
        ("count=201", "from 1 to 200"),
        ("count=", "from 1 to 200"),
        ("older_id=x", "an id"),
        ("older_id=-1", "an id"),
        ("older_id=9223372036854775808", "an id"),
        ("older_id=1&newer_id=2", "exclude each other"),
        ("status=ACTIVE", "knows no parameter"),
    ] {
        let (status, refusal) = caller.call(Method::GET, &format!("/notification-filter-failure?{query}"), "").await;
        let text = refusal["Error"][0]["error_description"].as_str().unwrap_or("taken");
        assert!(status == 400 && text.contains(says), "{query}: {status} {text}");
    }
    // Nothing of it has changed anything. The id of another kind of object is none.
    assert!(client.api().list_notification_filters().await.unwrap().is_empty());
    let pinned = caller.change(Method::POST, "/certificate-pinned", &chain(one, 10).to_string()).await;
    for path in [format!("/attachment/{pinned}"), format!("/oauth-client/{pinned}"), "/certificate-pinned/901".into()] {
        assert_eq!(caller.call(Method::GET, &path, "").await.0, 404, "{path}");
    }
}
