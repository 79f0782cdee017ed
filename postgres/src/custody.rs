//! Users in custody in the database.

use std::fmt;

use bunq_partner::{
    BoxFuture, ContextLock, Custody, CustodyEntry, CustodyFilter, Error, ProvisionId, Secret, UserId, Uuid,
};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connection::Values;
use crate::database::{Database, Value, select_text};
use crate::lock::{Lock, Locks};
use crate::trouble::Trouble;

/// How many locks a process holds at a time, each with a connection.
const MAX_LOCKS: usize = 4;

/// Keeps users in a database, for all machines that use it. Clones share it.
///
/// ```no_run
/// use bunq_partner::{Client, Environment};
/// use bunq_partner_postgres::{Database, PostgresCustody};
///
/// # async fn connect() -> Result<(), bunq_partner::Error> {
/// let database = Database::connect("postgres://acme:PASSWORD@db.example.com/acme").await?;
/// let custody = PostgresCustody::new(&database, "production");
/// let client = Client::builder(Environment::Production).api_key("KEY").custody(custody).build()?;
/// # Ok(())
/// # }
/// ```
///
/// Locks are those of [`PostgresStore`](crate::PostgresStore), one for each user.
#[derive(Clone)]
pub struct PostgresCustody {
    database: Database,
    name: String,
    locks: Locks,
}

impl PostgresCustody {
    /// Keeps users as the custody `name` of `database`. A name is of one bank and one API key. Nothing is read or written yet.
    pub fn new(database: &Database, name: impl Into<String>) -> Self {
        Self { database: database.clone(), name: name.into(), locks: Locks::new(database.clone(), MAX_LOCKS) }
    }

    fn lock_name(&self, id: ProvisionId) -> String {
        format!("user {id} of {}", self.name)
    }

    fn of_user(&self, id: ProvisionId) -> Vec<Value> {
        vec![(Box::new(self.name.clone()), Type::TEXT), (Box::new(i64::from(id)), Type::INT8)]
    }

    async fn entries(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<CustodyEntry>, Error> {
        let rows = self.database.query(sql, values).await.map_err(Trouble::context)?;
        rows.iter().map(|row| self.read(row)).collect()
    }

    /// Reads what the statements that list return.
    fn read(&self, row: &Row) -> Result<CustodyEntry, Error> {
        let id = |index| {
            let id = self.database.column::<Option<i64>>(row, index).map_err(Trouble::context)?;
            id.map(UserId::try_from).transpose().map_err(Error::from)
        };
        let provision_id: i64 = self.database.column(row, 0).map_err(Trouble::context)?;
        let expiry: Option<String> = self.database.column(row, 4).map_err(Trouble::context)?;
        let mut entry = CustodyEntry::new(ProvisionId::try_from(provision_id)?);
        entry.external_uuid = self.database.column::<Option<Uuid>>(row, 1).map_err(Trouble::context)?;
        entry.user_id = id(2)?;
        entry.granted_by = id(3)?;
        entry.expiry = expiry.map(|expiry| expiry.parse()).transpose()?;
        entry.is_activated = self.database.column(row, 5).map_err(Trouble::context)?;
        Ok(entry)
    }
}

impl fmt::Debug for PostgresCustody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresCustody").field(&Custody::name(self)).finish()
    }
}

/// The columns that [`PostgresCustody::read`] reads, for the rest of a statement.
macro_rules! select_entries {
    ($rest:literal) => {
        concat!(
            "SELECT provision_id, external_uuid, user_id, granted_by, to_char(expiry, 'YYYY-MM-DD HH24:MI:SS.US'), is_activated
             FROM bunq_partner.custody_record WHERE custody = $1 AND ",
            $rest
        )
    };
}

impl Custody for PostgresCustody {
    fn name(&self) -> String {
        format!("the custody {} in {}", self.name, self.database.place())
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        let load = select_text!("custody_record WHERE custody = $1 AND provision_id = $2");
        Box::pin(async move { self.database.text(load, self.of_user(id)).await.map_err(Trouble::context) })
    }

    fn save<'a>(
        &'a self,
        lock: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let save = "
            INSERT INTO bunq_partner.custody_record
                (custody, provision_id, external_uuid, user_id, granted_by, expiry, is_activated, text)
            SELECT $3, $4, $5, $6, $7, $8::timestamp, $9, $10 FROM bunq_partner.hold_lock($1, $2)
            ON CONFLICT (custody, provision_id) DO UPDATE SET
                external_uuid = excluded.external_uuid, user_id = excluded.user_id, granted_by = excluded.granted_by,
                expiry = excluded.expiry, is_activated = excluded.is_activated, text = excluded.text, saved_at = now()
            RETURNING provision_id";
        Box::pin(async move {
            let lock = Lock::of(lock, &self.lock_name(entry.provision_id))?;
            let values: Values<'_, 8> = [
                (&self.name, Type::TEXT),
                (&i64::from(entry.provision_id), Type::INT8),
                (&entry.external_uuid, Type::UUID),
                (&entry.user_id.map(i64::from), Type::INT8),
                (&entry.granted_by.map(i64::from), Type::INT8),
                (&entry.expiry.map(|expiry| expiry.to_string()), Type::TEXT),
                (&entry.is_activated, Type::BOOL),
                (&text.expose().as_bytes(), Type::BYTEA),
            ];
            lock.change(save, &values).await.map_err(Trouble::context)
        })
    }

    fn remove<'a>(&'a self, lock: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>> {
        let remove = "
            WITH held AS (SELECT FROM bunq_partner.hold_lock($1, $2)),
                removed AS (
                    DELETE FROM bunq_partner.custody_record
                    WHERE custody = $3 AND provision_id = $4 AND EXISTS (SELECT FROM held)
                )
            SELECT FROM held";
        Box::pin(async move {
            let lock = Lock::of(lock, &self.lock_name(id))?;
            let values: Values<'_, 2> = [(&self.name, Type::TEXT), (&i64::from(id), Type::INT8)];
            lock.change(remove, &values).await.map_err(Trouble::context)
        })
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async move {
            let lock = self.locks.take(self.lock_name(id)).await.map_err(Trouble::context)?;
            Ok(ContextLock::new(lock))
        })
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        let all = select_entries!("provision_id > $2 ORDER BY provision_id LIMIT 1000");
        let unactivated = select_entries!("provision_id > $2 AND NOT is_activated ORDER BY provision_id LIMIT 1000");
        Box::pin(async move {
            // Ids are greater than 0.
            let values: Vec<Value> =
                vec![(Box::new(self.name.clone()), Type::TEXT), (Box::new(after.map_or(0, i64::from)), Type::INT8)];
            let sql = match filter {
                CustodyFilter::Unactivated => unactivated,
                _ => all,
            };
            self.entries(sql, values).await
        })
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        let entry = select_entries!("provision_id = $2");
        Box::pin(async move { Ok(self.entries(entry, self.of_user(id)).await?.pop()) })
    }

    fn may_have_readable_texts(&self) -> bool {
        false
    }
}
