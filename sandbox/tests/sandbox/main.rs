//! The sandbox, as the client of a test sees it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../../../tests/common/tls.rs"]
mod tls;
#[path = "../../examples/webhooks/main.rs"]
#[expect(dead_code)]
mod webhooks;

mod caller;
mod sandbox_attachments;
mod sandbox_clock;
mod sandbox_credentials;
mod sandbox_deliveries;
mod sandbox_faults;
mod sandbox_identity;
mod sandbox_inquiries;
mod sandbox_notifications;
mod sandbox_oauth;
mod sandbox_onboarding;
mod sandbox_profile;
mod sandbox_state;
mod sandbox_users;
mod webhooks_example;
