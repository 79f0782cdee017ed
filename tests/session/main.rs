//! The client, its session and its context.

#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod acting_for_users;
mod another_key;
mod bad_custody;
mod building_a_client;
mod full_custody;
mod inquiries;
mod kept_context;
mod kept_users;
mod lagging_reads;
mod renewing_users;
mod resets;
mod resetting_users;
mod sealing;
mod session;
mod several_runtimes;
mod user_installations;
mod waiting_users;
mod without_a_runtime;
