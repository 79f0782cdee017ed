//! Against a real PostgreSQL server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod connecting;
mod contexts;
mod custody;
mod migrating;
mod tls;
