//! Provisions: creating, finding, following and closing them.

#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod already_there;
mod feed;
mod in_doubt;
mod life_cycle;
mod listing;
mod nudges;
mod oauth;
mod paused_time;
mod waiting;
