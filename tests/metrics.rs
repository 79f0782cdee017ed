//! The metrics for operators, as an OpenTelemetry exporter receives them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use bunq_partner::{ContextStore as _, Operation};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use common::{MemoryStore, at_once};
use futures_util::future::join_all;
use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use tracing_opentelemetry::MetricsLayer;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The sums of the metrics by operation.
fn sums(exporter: &InMemoryMetricExporter) -> BTreeMap<String, f64> {
    let operation = |attributes: Vec<&KeyValue>| {
        attributes.iter().map(|attribute| format!(" {}", attribute.value.as_str())).collect::<String>()
    };
    let mut sums = BTreeMap::new();
    for metric in exporter.get_finished_metrics().unwrap().last().unwrap().scope_metrics().flat_map(|all| all.metrics())
    {
        let name = metric.name();
        match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => sum.data_points().for_each(|point| {
                sums.insert(format!("{name}{}", operation(point.attributes().collect())), point.value() as f64);
            }),
            AggregatedMetrics::I64(MetricData::Sum(sum)) => sum.data_points().for_each(|point| {
                sums.insert(format!("{name}{}", operation(point.attributes().collect())), point.value() as f64);
            }),
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram.data_points().for_each(|point| {
                sums.insert(format!("{name}{}", operation(point.attributes().collect())), point.sum());
            }),
            other => panic!("{name}: {other:?}"),
        }
    }
    sums
}

// This is the only test in the file, because a process has one subscriber.
#[tokio::test(start_paused = true)]
async fn metrics_as_an_exporter_sees_them() {
    test_timeout::start();
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    Registry::default().with(MetricsLayer::new(provider.clone())).init();
    let now = || {
        provider.force_flush().unwrap();
        sums(&exporter)
    };
    let sandbox = Sandbox::builder().rate_limits(true).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).build().unwrap();
    client.open_session().await.unwrap();
    let ids = sandbox.populate(8);
    assert_eq!(client.expected_wait(&Operation::UPDATE_PROVISION), Duration::ZERO);

    let closing = {
        let provisions = client.provisions();
        join_all(ids.clone().into_iter().map(move |id| {
            let provisions = provisions.clone();
            async move { drop(provisions.close(id).await.unwrap()) }
        }))
    };
    let closing = tokio::spawn(closing);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sums = now();
    assert_eq!(sums["bunq.client.sessions_opened"], 1.0);
    assert_eq!(sums["bunq.client.permit.waiting update_provision"], 6.0, "{sums:?}");
    // The waiting calls fill three windows, and another call would be the first of the fourth.
    let wait = client.expected_wait(&Operation::UPDATE_PROVISION).as_secs_f64();
    assert!((10.0..12.0).contains(&wait), "{wait}");
    closing.await.unwrap();
    let sums = now();
    assert_eq!(sums["bunq.client.permit.waiting update_provision"], 0.0, "{sums:?}");
    // Two calls each have waited for 3, 6 and 9 seconds.
    let waited = sums["bunq.client.permit.wait update_provision"];
    assert!((36.0..38.0).contains(&waited), "{waited}");

    sandbox.inject(Injection::new(Fault::RateLimited).on(&Operation::GET_PROVISION).times(2));
    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_PROVISION));
    client.provisions().get(ids[0]).await.unwrap();
    let sums = now();
    assert_eq!(sums["bunq.client.throttled get_provision"], 2.0);
    assert_eq!(sums["bunq.client.retries get_provision"], 3.0);
    // A call that gives up does not count as waiting any more.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (api, first) = (client.api(), ids[0]);
    let mut given_up = Box::pin(join_all((0..5).map(|_| api.get_provision(first))));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut given_up).await.is_err());
    assert_eq!(now()["bunq.client.permit.waiting get_provision"], 2.0);
    drop(given_up);
    assert_eq!(now()["bunq.client.permit.waiting get_provision"], 0.0);

    // A session that waits for the lock of the context that it is kept in.
    let store = MemoryStore::default();
    let lock = store.lock().await.unwrap();
    let opening = sandbox.client().context_store(store).build().unwrap();
    let opening = tokio::spawn(async move { opening.open_session().await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(lock);
    opening.await.unwrap().unwrap();
    let waited = now()["bunq.client.lock.wait context"];
    assert!((5.0..6.0).contains(&waited), "{waited}");

    #[cfg(feature = "webhook")]
    {
        for path in ["/another", "/planted-segment-0123456789", "/another"] {
            called(path).await;
        }
        let sums = now();
        assert_eq!(sums["bunq.client.webhook.calls wrong_path"], 2.0, "{sums:?}");
        assert_eq!(sums["bunq.client.webhook.calls wrong_method"], 1.0, "{sums:?}");
        ignored(&client).await;
        let sums = now();
        assert_eq!(sums["bunq.client.webhook.changes ignored"], 2.0, "{sums:?}");
        assert!(!format!("{sums:?}").contains("planted"), "{sums:?}");
    }
}

/// Calls a receiver, as bunq never does.
#[cfg(feature = "webhook")]
async fn called(path: &str) {
    use bunq_partner::Environment;
    use bunq_partner::webhook::{HintJournalBounds, MemoryHintJournal, Receiver};
    use tower_service::Service as _;

    let journal = MemoryHintJournal::new(HintJournalBounds::default()).unwrap();
    let receiver = Receiver::builder(Environment::Sandbox, "planted-segment-0123456789").build(journal);
    receiver.unwrap().call(http::Request::get(path).body(String::new()).unwrap()).await.unwrap();
}

/// Calls about what nothing reads, twice, and returns when that is counted.
#[cfg(feature = "webhook")]
async fn ignored(client: &bunq_partner::Client) {
    use bunq_partner::Environment;
    use bunq_partner::webhook::{HintJournalBounds, MemoryHintJournal, Receiver};
    use tower_service::Service as _;

    let journal = MemoryHintJournal::new(HintJournalBounds::default()).unwrap();
    let mut receiver = Receiver::builder(Environment::Sandbox, "planted-segment-0123456789").build(journal).unwrap();
    let changes = client.changes(&receiver).start().unwrap();
    for _ in 0..2 {
        let call = http::Request::post("/planted-segment-0123456789").header("content-type", "application/json");
        let body =
            r#"{"NotificationUrl": {"category": "PAYMENT", "object": {"Payment": {"id": 1, "planted": "planted"}}}}"#;
        receiver.call(call.body(body.to_owned()).unwrap()).await.unwrap();
    }
    while changes.numbers().ignored < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(changes);
}
