//! Notification filters, failed deliveries and pinned certificates: what was made is listed, and what was deleted is gone.

use bunq_partner::types::{
    CreatePinnedCertificateRequest, ListNotificationFilterFailuresQuery, NotificationCategory, NotificationFilter,
    PinnedCertificate, ReplaceNotificationFiltersRequest, RetryNotificationFilterFailuresRequest,
};
use bunq_partner::{Api, Client, Error, ErrorKind, Operation, PageSize};
use bunq_partner_sandbox::Sandbox;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

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
    let error = api.create_pinned_certificate(&none).await.unwrap_err();
    assert_eq!(error.bunq_messages(), ["The certificate_chain has no certificate."]);
}
