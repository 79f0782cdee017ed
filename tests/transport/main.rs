//! Single calls: what is sent, what is accepted, and when.

#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/document.rs"]
mod document;
#[path = "../common/recorded.rs"]
mod recorded;
#[path = "../common/tls.rs"]
mod tls;

mod api;
mod bad_responses;
mod both_ways;
mod callbacks;
mod deadlines;
mod files;
mod limits;
#[cfg(feature = "reqwest-builder")]
mod network;
mod parameters;
mod permits;
mod receipts;
mod shutdown;
mod trust;
mod vectors;
mod whose_session;
mod wire;

use bunq_partner::types;
