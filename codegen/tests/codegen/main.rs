//! What is generated from the document, and what is refused.

#![allow(clippy::panic, clippy::unwrap_used)]

mod both_ways;
mod bounds;
mod bundle;
mod bytes;
mod callbacks;
mod names;
mod outline;
mod provenance;
mod refusals;
mod users;
mod yaml;
