//! What can be done for a user.

#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod connections;
mod crossed;
mod custody;
mod in_time;
mod late_arrivals;
mod onboarding;
mod refused;
mod whole_way;
