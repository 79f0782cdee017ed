//! Against a real PostgreSQL server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod clocks;
mod connecting;
mod contexts;
mod custody;
mod fleet;
mod kept;
mod metrics;
mod migrating;
mod outages;
mod permits;
mod rekeying;
mod session_queue;
mod shares;
mod status;
mod tls;
