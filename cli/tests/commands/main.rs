//! The commands of the program, as a user runs them.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../tests/common/planted.rs"]
mod planted;
#[path = "../../../tests/common/tls.rs"]
mod tls;
#[cfg(feature = "postgres")]
#[path = "../../../postgres/tests/common/mod.rs"]
mod with_postgres;

#[cfg(unix)]
mod cli_attachment;
#[cfg(unix)]
mod cli_bytes;
mod cli_certificates;
#[cfg(unix)]
mod cli_completions;
#[cfg(unix)]
mod cli_confirmation;
mod cli_doctor;
mod cli_dry_run;
mod cli_exit_codes;
#[cfg(unix)]
mod cli_files;
mod cli_hints;
#[cfg(unix)]
mod cli_inquiries;
#[cfg(unix)]
mod cli_listen;
mod cli_looking_inside;
#[cfg(target_os = "linux")]
mod cli_mounts;
mod cli_oauth;
#[cfg(unix)]
mod cli_onboard;
#[cfg(unix)]
mod cli_onboard_interrupted;
mod cli_operations;
mod cli_options;
mod cli_output;
mod cli_planted_secrets;
#[cfg(unix)]
mod cli_postgres;
#[cfg(all(unix, feature = "postgres"))]
mod cli_previous;
mod cli_probe;
mod cli_probe_broken;
#[cfg(unix)]
mod cli_profiles;
#[cfg(unix)]
mod cli_read_once;
mod cli_receipts;
#[cfg(unix)]
mod cli_rekey;
#[cfg(unix)]
mod cli_release;
mod cli_sample_user;
mod cli_sandbox;
#[cfg(unix)]
mod cli_sandbox_service;
#[cfg(unix)]
mod cli_sandbox_state;
#[cfg(unix)]
mod cli_terminal;
#[cfg(unix)]
mod cli_texts;
#[cfg(unix)]
mod cli_user_faults;
#[cfg(unix)]
mod cli_users;
#[cfg(unix)]
mod cli_watch;
mod cli_webhooks;
