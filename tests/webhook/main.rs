//! What bunq sends to the targets of filters, and whatever else arrives there.

#![allow(clippy::panic, clippy::unwrap_used)]

#[cfg(all(unix, feature = "webhook"))]
mod bank;
#[cfg(feature = "webhook")]
mod changes;
#[cfg(feature = "webhook")]
#[path = "../common/mod.rs"]
mod common;
#[cfg(all(unix, feature = "webhook"))]
mod failed_calls;
#[cfg(all(unix, feature = "webhook"))]
mod faulty_calls;
mod fuzz;
#[cfg(feature = "webhook")]
mod journal;
#[cfg(feature = "webhook")]
mod killed;
#[cfg(feature = "webhook")]
mod killed_changes;
#[cfg(feature = "webhook")]
mod late_entry;
#[cfg(all(unix, feature = "webhook"))]
mod many_calls;
#[cfg(feature = "webhook")]
mod memory_journal;
mod message;
#[cfg(feature = "webhook")]
mod peer;
#[cfg(feature = "webhook")]
mod receiver;
#[cfg(all(unix, feature = "webhook"))]
mod refusals;
#[cfg(all(unix, feature = "webhook"))]
#[path = "../../sandbox/examples/webhooks/serve.rs"]
mod serve;
#[cfg(all(unix, feature = "webhook"))]
mod server;
#[cfg(feature = "webhook")]
mod service_fuzz;
#[cfg(all(unix, feature = "webhook"))]
mod takeovers;
#[cfg(all(unix, feature = "webhook"))]
#[path = "../common/tls.rs"]
mod tls;
