//! What the machines of a partner agree on, in PostgreSQL.

mod connection;
mod custody;
mod database;
mod lock;
mod migrations;
mod store;
mod tls;
mod trouble;
mod url;

pub use custody::PostgresCustody;
pub use database::Database;
pub use store::PostgresStore;
