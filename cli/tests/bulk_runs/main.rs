//! Runs of the program over many rows.

#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../tests/common/tls.rs"]
mod tls;

#[cfg(unix)]
mod cli_activate;
#[cfg(unix)]
mod cli_bulk;
#[cfg(unix)]
mod cli_csv_cells;
#[cfg(unix)]
mod cli_kept_users;
#[cfg(unix)]
mod cli_lost_journal;
#[cfg(unix)]
mod cli_new_input;
#[cfg(unix)]
mod cli_outage;
#[cfg(unix)]
mod cli_signals;
#[cfg(unix)]
mod cli_spreadsheets;
#[cfg(unix)]
mod cli_standard_input;
