//! A context in the database.

use std::fmt;

use bunq_partner::{BoxFuture, ContextLock, ContextStore, Error, Secret};
use tokio_postgres::types::Type;

use crate::database::{Database, select_text, value};
use crate::lock::{Lock, Locks};
use crate::trouble::Trouble;

/// Keeps the context of a partner in a database, so that all machines that use it share one installation, one device and one
/// session. Clones share it.
///
/// ```no_run
/// use bunq_partner::{Client, Environment};
/// use bunq_partner_postgres::{Database, PostgresStore};
///
/// # async fn connect() -> Result<(), bunq_partner::Error> {
/// let database = Database::connect("postgres://acme:PASSWORD@db.example.com/acme").await?;
/// let store = PostgresStore::new(&database, "production");
/// let client = Client::builder(Environment::Production).api_key("KEY").context_store(store).build()?;
/// # Ok(())
/// # }
/// ```
///
/// The lock is free within a second after its holder's process has ended. If the holder stands still or is cut off, whoever waits
/// takes the lock over after 15 seconds, and what the holder saves afterwards is refused.
#[derive(Clone)]
pub struct PostgresStore {
    database: Database,
    name: String,
    locks: Locks,
}

impl PostgresStore {
    /// Keeps the context `name` in `database`. A name is of one bank and one API key. Nothing is read or written yet.
    pub fn new(database: &Database, name: impl Into<String>) -> Self {
        Self { database: database.clone(), name: name.into(), locks: Locks::new(database.clone(), 1) }
    }

    fn lock_name(&self) -> String {
        format!("context {}", self.name)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStore").field(&ContextStore::name(self)).finish()
    }
}

impl ContextStore for PostgresStore {
    fn name(&self) -> String {
        format!("the context {} in {}", self.name, self.database.place())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        let load = select_text!("context WHERE name = $1");
        Box::pin(async move {
            let name = value(self.name.clone(), Type::TEXT);
            self.database.text(load, vec![name]).await.map_err(Trouble::context)
        })
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        let save = "
            INSERT INTO bunq_partner.context (name, text)
            SELECT $3, $4 FROM bunq_partner.hold_lock($1, $2)
            ON CONFLICT (name) DO UPDATE SET text = excluded.text, saved_at = now()
            RETURNING name";
        Box::pin(async move {
            let lock = Lock::of(lock, &self.lock_name())?;
            let text = context.expose().as_bytes();
            lock.change(save, &[(&self.name, Type::TEXT), (&text, Type::BYTEA)]).await.map_err(Trouble::context)
        })
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async move {
            let lock = self.locks.take(self.lock_name()).await.map_err(Trouble::context)?;
            Ok(ContextLock::new(lock))
        })
    }

    fn may_have_readable_texts(&self) -> bool {
        false
    }
}
