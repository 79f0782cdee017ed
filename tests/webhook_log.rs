//! What is logged of calls that are refused, and of entries that expire. It is the only test in the file, because a process has one
//! subscriber.

#![cfg(feature = "webhook")]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use bunq_partner::Environment;
use bunq_partner::webhook::{
    Appended, Hint, HintJournal as _, HintJournalBounds, MemoryHintJournal, Peer, Receiver, ReceiverBuilder,
};
use common::Log;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::time::advance;
use tower_service::Service as _;
use tracing_subscriber::filter::LevelFilter;

const SEGMENT: &str = "planted-segment-0123456789";

/// Calls twice on another path and twice on the right one. Returns what is logged.
async fn logged(log: &Log, builder: ReceiverBuilder, peer: Option<Peer>) -> String {
    let mut receiver = builder.build(MemoryHintJournal::new(HintJournalBounds::default()).unwrap()).unwrap();
    for path in ["/planted", "/planted", "/planted-segment-0123456789", "/planted-segment-0123456789"] {
        let request = Request::post(path).header("x-forwarded-for", "192.0.2.99");
        let mut request = request.body("planted".to_owned()).unwrap();
        if let Some(peer) = peer.clone() {
            request.extensions_mut().insert(peer);
        }
        assert_eq!(receiver.call(request).await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    assert_eq!((receiver.numbers().wrong_path, receiver.numbers().wrong_peer), (2, 2));
    log.take()
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_on_the_right_path_is_logged_once_and_entries_that_expire_once_a_minute() {
    test_timeout::start();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone()).init();
    refused_calls(&log).await;
    expired_entries(&log).await;
}

async fn refused_calls(log: &Log) {
    let production = || Receiver::builder(Environment::Production, SEGMENT);
    let certificate = [&[0x30, 0x82, 1, 0][..], &[1; 256]].concat();
    let (bunqs, proxy) = ("185.40.108.1".parse().unwrap(), "192.0.2.7".parse().unwrap());
    for (builder, peer, problem) in [
        (production(), None, "the server does not hand over who calls"),
        (production(), Some(Peer::new(proxy)), "its address is in none of the ranges that calls may come from"),
        (production().trusted_proxies(["192.0.2.7"]), Some(Peer::new(proxy)), "its address is in none of the ranges"),
        (production().certificate(certificate), Some(Peer::new(bunqs)), "it has shown none of the certificates"),
    ] {
        let logged = logged(log, builder, peer).await;
        let problem = format!(
            "ERROR bunq_partner::webhook::receiver::service: a call on the right path was answered with 404: {problem}"
        );
        assert!(logged.matches("ERROR").count() == 1 && logged.contains(&problem), "{logged}");
        assert!(!logged.contains("planted") && !logged.contains("192.0.2."), "{logged}");
    }
}

async fn expired_entries(log: &Log) {
    let journal = MemoryHintJournal::new(HintJournalBounds::default().max_age(Duration::from_secs(60))).unwrap();
    let hint = json!(["PARTNER_USER_PROVISION", null, "provision", 1, null, null, 0]);
    let hint: Hint = serde_json::from_value(hint).unwrap();
    for _ in 0..120 {
        assert!(matches!(journal.append(hint.clone()).await.unwrap(), Appended::Kept(_)));
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!((journal.pending(None).await.unwrap().len(), journal.expired()), (59, 61));
    let logged = log.take();
    let problem = "the journal of hints in memory has dropped entries that were not done, since they are older than it keeps them: ";
    let told: Vec<_> = logged.lines().filter_map(|line| line.split_once(problem)).collect();
    assert!(told.iter().all(|(before, _)| before.contains(" WARN ")), "{logged}");
    assert_eq!(told.iter().map(|(_, count)| *count).collect::<Vec<_>>(), ["1", "60"]);
}
