//! The price of each stage of a call, one by one.
//!
//! The rate window is the crate's own source. The other stages are not to be had from outside: they are the same calls
//! of the same libraries.

mod common;

/// What the source of the rate window asks of the operations.
mod operation {
    use std::time::Duration;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct RateLimit {
        pub(crate) calls: u32,
        pub(crate) per: Duration,
    }

    pub(crate) struct Operation {
        pub(crate) id: &'static str,
        pub(crate) rate_limit: RateLimit,
    }

    impl Operation {
        /// One whose window is never full.
        pub(crate) const CLOSE: Self =
            Self { id: "close", rate_limit: RateLimit { calls: 2, per: Duration::from_nanos(1) } };
        pub(crate) const ALL: &[Self] = &[Self::CLOSE];
    }
}
#[allow(dead_code)]
#[path = "../src/rate_limit.rs"]
mod rate_limit;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bunq_partner::Uuid;
use bunq_partner::sandbox::Sandbox;
use bunq_partner::types::{IdResponse, ProvisionListResponse, UpdateProvisionRequest};
use common::bare::{Keys, headers};
use common::{Result, Spread, cpu_time, role, runtime};
use futures_util::FutureExt;
use operation::Operation;
use rate_limit::RateLimits;
use serde_json::json;
use tokio::time::Instant;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Span, Subscriber, field, subscriber};

const ROUNDS: u32 = 21;
const ROUND: Duration = Duration::from_millis(20);

const REQUEST: &[u8] = br#"{"status":"CANCELLED"}"#;
const ANSWER: &[u8] = br#"{"Response":[{"Id":{"id":1000000}}]}"#;

fn main() -> Result<()> {
    if role().is_none() {
        return Ok(());
    }
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let keys = Keys::generate()?;
    let signature = keys.sign(REQUEST)?;
    let (token, page) = runtime.block_on(page())?;
    let limits = RateLimits::new(true, &HashMap::new());

    println!("CPU time of each, {ROUNDS} rounds\n\n{:36}median, µs       min       max", "");
    row("sign the request", || keys.sign(REQUEST).is_ok())?;
    row("verify the answer", || keys.verify(REQUEST, signature.as_bytes()).is_ok())?;
    row("headers, with a request id", || headers(&token, &signature).is_ok())?;
    let request: UpdateProvisionRequest = serde_json::from_slice(REQUEST)?;
    row("JSON of the request", || serde_json::to_vec(&request).is_ok())?;
    row("JSON of the answer", || serde_json::from_slice::<IdResponse>(ANSWER).is_ok())?;
    row(&format!("JSON of 200 provisions, {} KiB", page.len() / 1024), || {
        serde_json::from_slice::<ProvisionListResponse>(&page).is_ok()
    })?;
    row("place in the rate window", || {
        let deadline = Instant::now() + Duration::from_secs(120);
        matches!(limits.place(&Operation::CLOSE, deadline).now_or_never(), Some(Ok(Some(_))))
    })?;
    row("span, with nobody listening", || take_down(&span()))?;
    subscriber::with_default(Listener::default(), || row("span, with somebody listening", || take_down(&span())))
}

/// A token, and a full page of provisions as JSON.
async fn page() -> Result<(String, Vec<u8>)> {
    let sandbox = Sandbox::start().await?;
    let items = sandbox.populate(200).into_iter().filter_map(|id| sandbox.provision(id));
    let items: Vec<_> = items.map(|provision| json!({ "PartnerUserProvision": provision })).collect();
    Ok((Uuid::new_v4().to_string(), json!({ "Response": items }).to_string().into_bytes()))
}

/// A span like that of a call.
fn span() -> Span {
    let bunq_partner::Operation { id, method, path, .. } = bunq_partner::Operation::UPDATE_PROVISION;
    tracing::info_span!(
        "bunq_call",
        otel.name = format_args!("{method} {path}"),
        otel.kind = "client",
        bunq.operation = id,
        http.request.method = method,
        url.template = path,
        server.address = "https://api.bunq.com/v1",
        http.request.resend_count = field::Empty,
        http.response.status_code = field::Empty,
        error.type = field::Empty,
    )
}

fn take_down(span: &Span) -> bool {
    span.in_scope(|| {
        let span = Span::current();
        span.record("http.request.resend_count", 0);
        span.record("http.response.status_code", 200);
    });
    true
}

/// Wants everything and does nothing with it: the price of the spans themselves.
#[derive(Default)]
struct Listener(AtomicU64);

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Measures a stage and prints its row; the stage says whether it was done as it should.
fn row(name: &str, stage: impl Fn() -> bool) -> Result<()> {
    let run = |times: u32| -> Result<Duration> {
        let before = cpu_time()?;
        if (0..times).all(|_| black_box(stage())) { Ok(cpu_time()? - before) } else { Err(name.into()) }
    };
    let mut times = 1;
    while run(times)? < ROUND {
        times *= 2;
    }
    let figures = (0..ROUNDS).map(|_| Ok(run(times)?.as_secs_f64() * 1e6 / f64::from(times))).collect::<Result<_>>()?;
    let Spread { median, min, max } = Spread::of(figures)?;
    println!("{name:<36}{median:>10.3}{min:>10.3}{max:>10.3}");
    Ok(())
}
