//! The operations of the document through `client.api()`: typed, and by name.

use std::time::Duration;

use bunq_partner::types::{
    AttachmentContentType, CreateNationalityRequest, CreateTaxResidentRequest, ListProvisionsQuery, RequestedStatus,
    UpdateProvisionRequest, UpdateUserInformationInquiryEntryRequest,
};
use bunq_partner::{ErrorKind, MemoryCustody, Operation, PageSize, Sent, UserKind};
use bunq_partner_sandbox::{Fault, Injection, ReceivedSignature, Sandbox};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use crate::common::{MemoryStore, calls, person, quick, ready, start, start_without_retries, unsealed, user_of};

#[tokio::test]
async fn a_response_has_bunqs_ids() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = sandbox.populate(1)[0];
    sandbox.before_signing(|_, response| {
        let name = |(name, _): &(String, String)| name == "X-Bunq-Client-Response-Id";
        let response_id = response.headers.iter_mut().find(|header| name(header)).unwrap();
        response_id.1 = "response-of-the-test".into();
        response.headers.push(("X-Bunq-Warning".into(), "This call is deprecated.".into()));
    });
    let provision = client.api().get_provision(id).await.unwrap();
    assert_eq!(provision.id, id, "it derefs to the provision");
    assert_eq!(provision.status(), 200);
    assert_eq!(provision.request_id(), sandbox.call_log().last().unwrap().header("x-bunq-client-request-id"));
    assert_eq!(provision.response_id(), Some("response-of-the-test"));
    assert_eq!(provision.warning(), Some("This call is deprecated."));
    assert_eq!(provision.attempts(), 1);
    let shown = format!("{provision:#?}");
    assert!(shown.contains(" operation: Operation(get_provision),\n") && !shown.contains("rate_limit"), "{shown}");

    // So does the request of a verb, unless there was nothing to do.
    let provisions = client.provisions();
    let closing = provisions.close(id).await.unwrap();
    assert_eq!(closing.response_id(), Some("response-of-the-test"));
    quick(closing).wait().await.unwrap();
    assert_eq!(provisions.close(id).await.unwrap().response_id(), None);
    assert_eq!(provisions.create(person()).await.unwrap().response_id(), Some("response-of-the-test"));
}

#[tokio::test]
async fn a_request_with_a_body_is_signed() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = sandbox.populate(1)[0];
    let request = UpdateProvisionRequest::new(RequestedStatus::Cancelled);
    let response = client.api().update_provision(id, &request).await.unwrap();
    assert_eq!(*response, id);
    let call = sandbox.call_log().pop().unwrap();
    assert_eq!((call.signature, call.body.as_str()), (ReceivedSignature::Valid, r#"{"status":"CANCELLED"}"#));
}

#[tokio::test]
async fn devices_and_installation_of_the_session() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let api = client.api();
    let devices = api.list_device_servers().await.unwrap();
    let device = api.get_device_server(devices[0].id).await.unwrap();
    assert_eq!(*device, devices[0]);
    assert_eq!(device.description.as_deref(), Some("bunq-partner"));
    assert!(api.get_installation().await.unwrap().get() > 0);
    assert_eq!(api.get_device_server(1_u64.try_into().unwrap()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), 1);
}

#[tokio::test]
async fn all_pages_are_a_stream() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let ids = sandbox.populate(25);
    let query = ListProvisionsQuery::default().count(PageSize::new(10).unwrap());
    let listed: Vec<_> = client.api().list_provisions_stream(query).try_collect().await.unwrap();
    assert!(listed.iter().map(|provision| provision.id).eq(ids.into_iter().rev()));
    assert_eq!(calls(&sandbox, "GET", "/partner-user-provision").len(), 3);
}

#[tokio::test]
async fn a_call_by_name_takes_json_and_returns_verified_bytes() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = sandbox.populate(3)[0].to_string();
    let api = client.api();

    let bytes = api.call(&Operation::GET_PROVISION, &[("provision_id", &id)], None).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(body["Response"][0]["PartnerUserProvision"]["id"].to_string(), id);
    assert!(bytes.response_id().is_some());
    let token = &body["Response"][0]["PartnerUserProvision"]["credential"]["token_value"];
    assert!(token.is_string() && !format!("{bytes:?}").contains(token.as_str().unwrap()));

    let query = [("count", "1"), ("status", "ACTIVE,CREATED")];
    api.call(&Operation::LIST_PROVISIONS, &query, None).await.unwrap();
    assert_eq!(sandbox.call_log().pop().unwrap().query.as_deref(), Some("count=1&status=ACTIVE%2CCREATED"));

    // An id is sent as it is shown.
    api.call(&Operation::GET_PROVISION, &[("provision_id", &format!("00{id}"))], None).await.unwrap();
    assert!(sandbox.call_log().pop().unwrap().path.ends_with(&format!("/partner-user-provision/{id}")));
    api.call(&Operation::LIST_PROVISIONS, &[("older_id", "07")], None).await.unwrap();
    assert_eq!(sandbox.call_log().pop().unwrap().query.as_deref(), Some("older_id=7"));

    let body = json!({"status": "CANCELLED"});
    api.call(&Operation::UPDATE_PROVISION, &[("provision_id", &id)], Some(&body)).await.unwrap();
    assert_eq!(sandbox.call_log().pop().unwrap().signature, ReceivedSignature::Valid);

    sandbox.after_signing(|_, response| response.body.push(b' '));
    let error = api.call(&Operation::GET_PROVISION, &[("provision_id", &id)], None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Signature);
}

#[tokio::test]
async fn a_call_by_name_is_checked_before_anything_is_sent() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let api = client.api();
    let id = [("provision_id", "1")];
    let body = json!({});
    for (operation, parameters, body, problem) in [
        (&Operation::CREATE_SESSION, &[][..], Some(&body), "the client makes this call by itself"),
        (&Operation::DELETE_SESSION, &[("session_id", "0")], None, "the client makes this call by itself"),
        (&Operation::GET_PROVISION, &[], None, "the parameter `provision_id` is missing"),
        (
            &Operation::GET_PROVISION,
            &[("provision_id", "1"), ("count", "1")],
            None,
            "it has no parameter `count` (parameters: provision_id)",
        ),
        (&Operation::GET_INSTALLATION, &id, None, "it has no parameter `provision_id` (it takes none)"),
        (&Operation::LIST_PROVISIONS, &id, None, "(parameters: status, external_uuid, count, older_id, newer_id)"),
        (&Operation::GET_PROVISION, &[("provision_id", "1"), ("provision_id", "2")], None, "is given twice"),
        (&Operation::GET_PROVISION, &[("provision_id", "..")], None, "is not a positive integer"),
        (&Operation::GET_PROVISION, &[("provision_id", "")], None, "is not a positive integer"),
        (&Operation::GET_PROVISION, &[("provision_id", "1/../2?x=#")], None, "is not a positive integer"),
        (&Operation::GET_PROVISION, &[("provision_id", "0")], None, "is not a positive integer"),
        (&Operation::GET_PROVISION, &[("provision_id", ".\t.")], None, "is not a positive integer"),
        (&Operation::GET_PROVISION, &[("provision_id", "12\n3")], None, "is not a positive integer"),
        (&Operation::LIST_PROVISIONS, &[("newer_id", "-1")], None, "newer_id: `-1` is not a positive integer"),
        (
            &Operation::GET_ATTACHMENT,
            &[("user_id", "1"), ("attachment_id", "2")],
            None,
            "the client fills in `user_id`, the user of the session: leave it out",
        ),
        (&Operation::GET_PROVISION, &id, Some(&body), "it has no body"),
        (&Operation::UPDATE_PROVISION, &id, None, "it has a body, which is missing"),
    ] {
        let error = api.call(operation, parameters, body).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidInput, Sent::No));
        assert!(error.to_string().starts_with(operation.id) && error.to_string().contains(problem), "{error}");
    }
    assert!(sandbox.call_log().is_empty());
}

#[tokio::test]
async fn a_body_beyond_the_bounds_of_the_document_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
    let user = client.users().activate(sandbox.populate(1)[0]).await.unwrap();
    sandbox.take_call_log();
    let (api, inquiry, entry) = (user.api(), 1_u64.try_into().unwrap(), 2_u64.try_into().unwrap());
    let answers = async |files: u64| {
        let mut answer = UpdateUserInformationInquiryEntryRequest::new();
        answer.all_attachment_id = (1..=files).map(|id| id.try_into().unwrap()).collect();
        api.update_user_information_inquiry_entry(inquiry, entry, &answer).await.map(drop)
    };
    let nationalities = async |count| {
        let request = CreateNationalityRequest::new(vec!["NL".parse().unwrap(); count]);
        api.create_nationality(&request).await.map(drop)
    };
    let none = CreateTaxResidentRequest::new(Vec::new());
    let bounds = " values: give 1 at least";
    for (refused, problem) in [
        (answers(0).await, "the body is empty: give at least one of all_attachment_id, answer".to_owned()),
        (answers(101).await, "all_attachment_id has 101 values: give 100 at most".to_owned()),
        (nationalities(0).await, format!("all_nationality has 0{bounds}")),
        (nationalities(51).await, "all_nationality has 51 values: give 50 at most".to_owned()),
        (api.create_tax_resident(&none).await.map(drop), format!("tax_resident has 0{bounds}")),
    ] {
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidInput, Sent::No));
        assert!(error.to_string().contains(&problem), "{error}");
    }
    assert!(sandbox.call_log().is_empty());
    nationalities(50).await.unwrap();
    assert_eq!(answers(100).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn an_operation_timeout_for_a_single_call() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    let late = Injection::new(Fault::Late(Duration::from_secs(3600))).always();
    sandbox.inject(late);
    let before = calls(&sandbox, "GET", &id.to_string()).len();
    let soon = Duration::from_secs(1);
    let error = client.api().operation_timeout(soon).get_provision(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let error = client.provisions().operation_timeout(soon).get(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(calls(&sandbox, "GET", &id.to_string()).len(), before + 2, "both were sent, and then given up");

    let error = client.api().operation_timeout(Duration::ZERO).get_provision(id).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No));
    assert_eq!(calls(&sandbox, "GET", &id.to_string()).len(), before + 2, "nothing more was sent");
}

#[tokio::test]
async fn the_session_knows_its_user() {
    test_timeout::start();
    let (sandbox, store) = (start().await.0, MemoryStore::default());
    let client = || sandbox.client().context_store(store.clone()).build().unwrap();
    let user = client().user().await.unwrap();
    assert_eq!((user.kind, user.display_name.as_deref()), (UserKind::Company, Some("Sandbox Partner")));
    let before = sandbox.call_log().len();
    assert_eq!(client().user().await.unwrap(), user, "a restart knows it from the store");
    assert_eq!(sandbox.call_log().len(), before);

    let provisioned = user_of(&sandbox, ready(&client()).await).await.user().await.unwrap();
    assert_eq!((provisioned.kind, provisioned.display_name.as_deref()), (UserKind::ApiKey, Some("user")));
    assert_ne!(provisioned.id, user.id);
}

#[tokio::test]
async fn the_user_of_the_session_is_filled_in_by_each_attempt() {
    test_timeout::start();
    let (sandbox, store) = (start().await.0, MemoryStore::default());
    let client = || sandbox.client().context_store(store.clone()).build().unwrap();
    let attachment = || 7_u64.try_into().unwrap();
    let paths = |sandbox: &Sandbox| -> Vec<_> {
        let calls = sandbox.take_call_log().into_iter().filter(|call| call.path.contains("/attachment/"));
        calls.map(|call| call.path).collect()
    };
    let partner = client();
    let user = partner.user().await.unwrap().id;
    let path = format!("/v1/user/{user}/attachment/7");
    let _ = partner.api().get_attachment(attachment()).await;
    assert_eq!(paths(&sandbox), std::slice::from_ref(&path));

    // Another client has the user from the store, and one whose session was stored without its user replaces the session.
    let _ = client().api().get_attachment(attachment()).await;
    let mut stored = unsealed(store.stored().unwrap().expose(), &sandbox.api_key());
    stored["session"].as_object_mut().unwrap().remove("user");
    store.replace(&stored.to_string());
    let other = client();
    let _ = other.api().call(&Operation::GET_ATTACHMENT, &[("attachment_id", "7")], None).await;
    assert_eq!(paths(&sandbox), [path.clone(), path.clone()]);

    // The attempt after a renewal has the user of the new session.
    sandbox.inject(Injection::new(Fault::SessionLost).on(&Operation::GET_ATTACHMENT).times(1));
    let error = other.api().get_attachment(attachment()).await.unwrap_err();
    assert_eq!((error.kind(), paths(&sandbox)), (ErrorKind::NotFound, vec![path.clone(), path]));

    // For a provisioned user it is the `UserApiKey`, also for the path of its own client.
    let provisioned = user_of(&sandbox, ready(&partner).await).await;
    sandbox.take_call_log();
    let _ = provisioned.api().get_attachment(attachment()).await;
    let own = provisioned.user().await.unwrap().id;
    assert_ne!(own, user);
    assert_eq!(paths(&sandbox), [format!("/v1/user/{own}/attachment/7")]);
}

/// As when another process stores the session of another user under the same key.
#[tokio::test]
async fn the_user_in_a_path_is_that_of_the_token_and_of_the_signature() {
    test_timeout::start();
    let sandbox = start().await.0;
    let stores = [(); 2].map(|()| MemoryStore::default());
    let [one, other] = stores.each_ref().map(|store| sandbox.client().context_store(store.clone()).build().unwrap());
    one.open_session().await.unwrap();
    other.open_session().await.unwrap();
    let mut stored = unsealed(stores[1].stored().unwrap().expose(), &sandbox.api_key());
    stored["session"]["user"]["id"] = json!(9999);
    stores[0].replace(&stored.to_string());
    // It ends both sessions, so the second attempt is refused too.
    sandbox.inject(Injection::new(Fault::SessionLost).on(&Operation::CREATE_ATTACHMENT).times(1));
    sandbox.take_call_log();

    let png = &b"\x89PNG\r\n\x1a\n"[..];
    one.api().create_attachment(AttachmentContentType::ImagePng, png, None).await.unwrap_err();
    let calls = calls(&sandbox, "POST", "/attachment");
    let users = calls.iter().map(|call| call.path.contains("/user/9999/"));
    assert_eq!(users.collect::<Vec<_>>(), [false, true]);
    assert!(calls.iter().all(|call| call.signature == ReceivedSignature::Valid));
    assert_eq!(calls[1].header("x-bunq-client-authentication"), stored["session"]["token"].as_str());
}
