//! What the machines of a partner agree on, in PostgreSQL.
//!
//! On one machine nothing of this is needed: the context and the users in custody are kept in files. bunq counts calls by who makes
//! them, and opens one session in 30 seconds, so that several machines must share one. [`PostgresStore`] is the
//! [`ContextStore`](bunq_partner::ContextStore) for that, and [`PostgresCustody`] the [`Custody`](bunq_partner::Custody), in a
//! [`Database`] of PostgreSQL 13 or later.
//!
//! ```no_run
//! use bunq_partner::{Client, Environment};
//! use bunq_partner_postgres::{Database, PostgresCustody, PostgresStore};
//!
//! # async fn connect() -> Result<(), bunq_partner::Error> {
//! let url = "postgres://acme:PASSWORD@db.example.com/acme";
//! Database::migrate(url).await?;
//! let database = Database::connect(url).await?;
//! let client = Client::builder(Environment::Production)
//!     .api_key("KEY")
//!     .context_store(PostgresStore::new(&database, "production"))
//!     .custody(PostgresCustody::new(&database, "production"))
//!     .build()?;
//! # Ok(())
//! # }
//! ```

mod connection;
mod custody;
mod database;
mod lock;
mod migrations;
mod permits;
mod status;
mod store;
mod tls;
mod trouble;
mod url;

pub use custody::PostgresCustody;
pub use database::Database;
pub use migrations::Migrated;
pub use permits::{CountedBy, PostgresPermits, PostgresPermitsBuilder};
pub use status::{LockStatus, MemberStatus, ShareStatus, Status, WindowStatus};
pub use store::PostgresStore;
