//! The span and the events of a call.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner::sandbox::{Fault, Injection};
use common::{Log, ready, start};

// One test, because a process has one log.
#[tokio::test]
async fn spans_and_events_of_a_call() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    let provisions = client.provisions();
    assert!(log.take().contains("a session is open"));

    provisions.get(id).await.unwrap();
    let told = log.take();
    for field in [
        "otel.name=GET /partner-user-provision/{provision_id} ",
        "otel.kind=\"client\"",
        "bunq.operation=\"get_provision\"",
        "http.request.method=\"GET\"",
        "url.template=\"/partner-user-provision/{provision_id}\"",
        "server.address=\"127.0.0.1\"",
        "http.response.status_code=200",
        "http.request.resend_count=0",
    ] {
        assert!(told.contains(field), "no {field} in {told}");
    }
    assert!(!told.contains("error.type"), "{told}");

    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_PROVISION).times(2));
    provisions.get(id).await.unwrap();
    let told = log.take();
    assert_eq!(told.matches("the call is retried").count(), 2, "{told}");
    assert!(told.contains("http.request.resend_count=2"), "{told}");

    sandbox.end_sessions();
    provisions.get(id).await.unwrap();
    assert!(log.take().contains("bunq does not accept the session any more: it is renewed"));

    let error = provisions.get(common::id(999_999)).await.unwrap_err();
    let told = log.take();
    assert!(told.contains("error.type=NotFound") && told.contains("http.response.status_code=404"), "{error} {told}");

    // An unknown value is logged once, however often it comes.
    sandbox.inject(Injection::new(Fault::UnknownStatus).on(&Operation::GET_PROVISION).times(3));
    for _ in 0..3 {
        provisions.get(id).await.unwrap();
    }
    let told = log.take();
    assert_eq!(told.matches("bunq sent a value that this version does not know").count(), 1, "{told}");
    assert!(told.contains("schema=\"ProvisionStatus\""), "{told}");

    // So is an odd value of a member that nobody decides by.
    sandbox.before_signing(|_, response| {
        let body = String::from_utf8(response.body.clone()).unwrap();
        response.body = body.replace("\"style\":\"", "\"style\":7,\"_\":\"").into();
    });
    provisions.get(id).await.unwrap();
    let told = log.take();
    assert!(told.contains("schema=\"Avatar.style\""), "{told}");
    sandbox.clear_edits();

    let limited =
        sandbox.client().rate_limit(&Operation::LIST_PROVISIONS, 1, Duration::from_millis(50)).build().unwrap();
    for _ in 0..2 {
        limited.provisions().list().page().await.unwrap();
    }
    assert!(log.take().contains("the call waits for a permit within bunq's rate limit"));
}
