//! What bunq sends to the targets of filters, and whatever else arrives there.

#![allow(clippy::panic, clippy::unwrap_used)]

mod fuzz;
mod message;
