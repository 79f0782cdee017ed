//! What the machines of a partner agree on, in PostgreSQL.

#![expect(dead_code, reason = "the stores come next")]

mod connection;
mod database;
mod migrations;
mod tls;
mod trouble;
mod url;

pub use database::Database;
