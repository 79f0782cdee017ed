//! What operators see of a call: its spans, as an OpenTelemetry exporter receives them, and its events.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bunq_partner::{Client, Operation, ProvisionId, RetryPolicy};
use bunq_partner_sandbox::{Fault, Injection, RawResponse, Sandbox};
use common::{Log, id, ready, start};
use insta::assert_snapshot;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Stores the exported spans.
#[derive(Default)]
struct Exporter(InMemorySpanExporter);

impl Exporter {
    /// Subscribes to the spans and events of this process, and logs the events.
    fn see_all(&self, log: Log) {
        let provider = SdkTracerProvider::builder().with_simple_exporter(self.0.clone()).build();
        let exported = OpenTelemetryLayer::new(provider.tracer("bunq-partner"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(LevelFilter::INFO);
        let logged = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || log.clone());
        Registry::default().with(exported).with(logged.with_filter(LevelFilter::DEBUG)).init();
    }

    /// Returns the spans since the last call, outer spans first.
    fn take(&self) -> String {
        let mut spans = self.0.get_finished_spans().unwrap();
        self.0.reset();
        spans.sort_by_key(|span| span.start_time);
        let known: HashMap<_, _> = spans.iter().map(|span| (span.span_context.span_id(), span.name.clone())).collect();
        let shown = |span: &SpanData| {
            let parent = known.get(&span.parent_span_id).map(|parent| format!(" under {parent}")).unwrap_or_default();
            let kind = format!("{:?}", span.span_kind).to_lowercase();
            let mut lines = vec![format!("{}{parent} ({kind}, {:?})", span.name, span.status)];
            lines.extend(attributes(&span.attributes));
            for event in &span.events.events {
                lines.push(format!("  event: {}", event.name));
                lines.extend(attributes(&event.attributes).map(|line| format!("  {line}")));
            }
            lines.join("\n")
        };
        spans.iter().map(shown).collect::<Vec<_>>().join("\n\n")
    }
}

fn attributes(attributes: &[KeyValue]) -> impl Iterator<Item = String> {
    let shown = |KeyValue { key, value, .. }: &KeyValue| {
        let value = match value {
            Value::String(text) => format!("{:?}", text.as_str()),
            other => format!("{} ({})", other.as_str(), if matches!(other, Value::I64(_)) { "i64" } else { "f64" }),
        };
        format!("  {key} = {value}")
    };
    attributes.iter().map(shown).collect::<BTreeSet<_>>().into_iter()
}

macro_rules! assert_spans {
    ($name:literal, $spans:expr) => {
        insta::with_settings!({filters => vec![
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[uuid]"),
            (r"127\.0\.0\.1:[0-9]+", "127.0.0.1:[port]"),
            (r"server\.port = [0-9]+ \(i64\)", "server.port = [port] (i64)"),
            (r"seconds = [0-9.e-]+ \(f64\)", "seconds = [seconds] (f64)"),
            (r"partner-user-provision/[0-9]+", "partner-user-provision/[id]"),
        ]}, { assert_snapshot!($name, $spans) });
    };
}

// This is one test, because a process has one subscriber.
#[tokio::test]
async fn spans_and_events_of_a_call() {
    test_timeout::start();
    let (exporter, log) = (Exporter::default(), Log::default());
    exporter.see_all(log.clone());
    let (sandbox, client) = start().await;
    let known = ready(&client).await;
    let told = log.take();
    let renewed_at = told.lines().find_map(|line| line.split_once("a session is open renew_at=")).unwrap().1;
    assert!(renewed_at.parse::<bunq_partner::jiff::Timestamp>().is_ok(), "{renewed_at}");
    exporter.take();
    spans_as_an_exporter_sees_them(&sandbox, &client, known, &exporter).await;
    waits_are_spans(&sandbox, known, &exporter).await;
    headers_are_events_for_whoever_wants_them(&sandbox, &client, known, &log).await;
    log.take();
    what_is_unknown_is_logged_once_each(&sandbox, &client, known, &log).await;
}

async fn spans_as_an_exporter_sees_them(sandbox: &Sandbox, client: &Client, known: ProvisionId, exporter: &Exporter) {
    let provisions = client.provisions();

    let seen = client.api().get_provision(known).await.unwrap();
    let spans = exporter.take();
    for id in [seen.request_id(), seen.response_id()] {
        assert_eq!(spans.matches(id.unwrap()).count(), 2, "{spans}");
    }
    assert_spans!("span_of_a_success", spans);

    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_PROVISION));
    provisions.get(known).await.unwrap();
    assert_spans!("spans_of_a_retried_success", exporter.take());

    provisions.get(id(999_999)).await.unwrap_err();
    assert_spans!("spans_of_a_failure", exporter.take());

    sandbox.inject(Injection::new(Fault::UnknownStatus).on(&Operation::GET_PROVISION));
    sandbox.before_signing(|_, response| response.headers.push(("X-Bunq-Warning".into(), "This is old.".into())));
    provisions.get(known).await.unwrap();
    assert_spans!("spans_of_a_drift", exporter.take());

    sandbox.end_sessions();
    sandbox.clear_edits();
    provisions.get(known).await.unwrap();
    let spans = exporter.take();
    assert!(spans.contains("create_session under get_provision (internal, Unset)"), "{spans}");
}

/// Each wait of a call is a span with its reason, and with its expected time if that is known.
async fn waits_are_spans(sandbox: &Sandbox, known: ProvisionId, exporter: &Exporter) {
    let short = Duration::from_millis(100);
    let retry = RetryPolicy::default().initial_backoff(short);
    let client = sandbox.client().retry(retry).rate_limit(&Operation::GET_PROVISION, 1, short).build().unwrap();
    let waits = |spans: &str| {
        let waits = spans.split("\n\n").filter(|span| span.starts_with("bunq_wait")).map(|span| {
            // The time differs from run to run.
            span.lines().map(|line| line.split_once("seconds = ").map_or(line, |(before, _)| before).trim()).collect()
        });
        waits.collect::<Vec<Vec<_>>>().into_iter().map(|lines| lines.join(", ")).collect::<Vec<_>>()
    };
    client.provisions().list().page().await.unwrap();
    let session = "bunq_wait under list_provisions (internal, Unset), bunq.wait.reason = \"session\"";
    assert_eq!(waits(&exporter.take()), [session]);

    // Both ask for a permit before either has a response.
    let api = client.api();
    let (first, second) = tokio::join!(api.get_provision(known), api.get_provision(known));
    assert!(first.is_ok() && second.is_ok());
    let permit = "bunq_wait under get_provision (internal, Unset), bunq.operation = \"get_provision\", \
                  bunq.wait.reason = \"permit\", bunq.wait.";
    assert_eq!(waits(&exporter.take()), [permit]);

    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::LIST_PROVISIONS));
    client.provisions().list().page().await.unwrap();
    let retry = "bunq_wait under list_provisions (internal, Unset), bunq.operation = \"list_provisions\", \
                 bunq.wait.reason = \"retry\", bunq.wait., error.type = \"Server\"";
    assert_eq!(waits(&exporter.take()), [retry]);
}

async fn headers_are_events_for_whoever_wants_them(sandbox: &Sandbox, client: &Client, id: ProvisionId, log: &Log) {
    log.take();
    sandbox.take_call_log();
    client.provisions().get(id).await.unwrap();
    let told = log.take();
    assert!(told.contains("bunq_partner::headers: request=\"accept: application/json\\n"), "{told}");
    assert!(
        told.contains("bunq_partner::headers: response=\"") && told.contains("x-bunq-client-response-id: "),
        "{told}"
    );
    assert!(!told.contains("authentication") && !told.contains("signature"), "{told}");
    for call in sandbox.take_call_log() {
        assert!(!told.contains(call.header("x-bunq-client-authentication").unwrap()), "{told}");
    }
}

async fn what_is_unknown_is_logged_once_each(sandbox: &Sandbox, client: &Client, id: ProvisionId, log: &Log) {
    // Another client, which has not reported anything yet.
    let client = sandbox.client().base_url(client.base_url()).build().unwrap();
    sandbox.inject(Injection::new(Fault::UnknownStatus).on(&Operation::GET_PROVISION).times(3));
    for _ in 0..3 {
        client.provisions().get(id).await.unwrap();
    }
    let told = log.take();
    assert_eq!(told.matches("bunq sent a value that this version does not know").count(), 1, "{told}");
    assert!(told.contains("schema=\"ProvisionStatus\""), "{told}");

    // An odd value of a lenient member is reported too.
    sandbox.before_signing(|_, response: &mut RawResponse| {
        let body = String::from_utf8(response.body.clone()).unwrap();
        response.body = body.replace("\"style\":\"", "\"style\":7,\"_\":\"").into();
    });
    client.provisions().get(id).await.unwrap();
    let told = log.take();
    assert!(told.contains("schema=\"Avatar.style\""), "{told}");
    sandbox.clear_edits();

    sandbox.end_sessions();
    client.provisions().get(id).await.unwrap();
    assert!(log.take().contains("bunq does not accept the session any more: it is renewed"));
}
