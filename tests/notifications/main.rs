//! Notification filters, failed deliveries and pinned certificates: those of others stay, and what is said to be done was seen.

#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod certificates;
mod failures;
mod filters;
mod two_processes;
