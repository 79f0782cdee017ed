//! What can be done for a user.

#![allow(clippy::panic, clippy::unwrap_used)]

mod onboarding;
