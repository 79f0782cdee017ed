//! The versions of the schema, and how one becomes the next.

use tokio_postgres::types::Type;

use crate::connection::{Connection, Values, column};
use crate::trouble::Trouble;

/// What [`Database::migrate`](crate::Database::migrate) has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migrated {
    /// The version that the schema had; 0 if there was none.
    pub from: i32,
    /// The version that it has now.
    pub to: i32,
}

/// One step of the schema, which is never changed once it is released.
struct Migration {
    /// The version that it makes.
    version: i32,
    /// The oldest version of this crate's schema whose programs can use what it makes.
    oldest_reader: i32,
    sql: &'static str,
}

/// All steps. Each version is the one before and one more.
const MIGRATIONS: [Migration; 6] = [
    Migration { version: 1, oldest_reader: 1, sql: include_str!("../migrations/0001_begin.sql") },
    Migration { version: 2, oldest_reader: 1, sql: include_str!("../migrations/0002_permits.sql") },
    Migration { version: 3, oldest_reader: 1, sql: include_str!("../migrations/0003_session_queue.sql") },
    Migration { version: 4, oldest_reader: 1, sql: include_str!("../migrations/0004_locks.sql") },
    Migration { version: 5, oldest_reader: 1, sql: include_str!("../migrations/0005_permits.sql") },
    Migration { version: 6, oldest_reader: 1, sql: include_str!("../migrations/0006_shares.sql") },
];

/// The version that this crate needs.
const NEEDED: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// The schema as it is; `None` if there is none.
struct Found {
    version: i32,
    oldest_reader: i32,
}

impl Found {
    async fn read(connection: &Connection, place: &str) -> Result<Option<Self>, Trouble> {
        let exists = "SELECT FROM pg_catalog.pg_class WHERE oid = to_regclass('bunq_partner.schema_version')";
        if connection.query(exists, &[]).await?.is_empty() {
            return Ok(None);
        }
        let newest = "SELECT version, oldest_reader FROM bunq_partner.schema_version ORDER BY version DESC LIMIT 1";
        let rows = connection.query(newest, &[]).await?;
        let found = |row| Ok(Self { version: column(place, row, 0)?, oldest_reader: column(place, row, 1)? });
        rows.first().map(found).transpose()
    }

    /// Refuses a schema that is too new.
    fn check(&self, place: &str) -> Result<(), Trouble> {
        match self.oldest_reader <= NEEDED {
            true => Ok(()),
            false => {
                let problem = format!(
                    "has version {} of the schema, which needs a version of bunq-partner-postgres that knows version {}: this one knows {NEEDED}",
                    self.version, self.oldest_reader
                );
                Err(Trouble::new(place, problem))
            }
        }
    }
}

/// Checks that the schema is one that this crate can use.
pub(crate) async fn check(connection: &Connection, place: &str) -> Result<(), Trouble> {
    let Some(found) = Found::read(connection, place).await? else {
        return Err(Trouble::new(place, "has no schema bunq_partner: migrate it"));
    };
    if found.version < NEEDED {
        let problem = format!("has version {} of the schema, and {NEEDED} is needed: migrate it", found.version);
        return Err(Trouble::new(place, problem));
    }
    found.check(place)
}

/// The owner of the schema, and whether that is the role of the connection. Rights on what an owner makes are not those on what another
/// makes.
async fn owner(connection: &Connection, place: &str) -> Result<Option<(String, bool)>, Trouble> {
    let owner = "SELECT pg_catalog.pg_get_userbyid(nspowner)::text, pg_catalog.pg_get_userbyid(nspowner) = current_user
        FROM pg_catalog.pg_namespace WHERE nspname = 'bunq_partner'";
    let rows = connection.query(owner, &[]).await?;
    rows.first().map(|row| Ok((column(place, row, 0)?, column(place, row, 1)?))).transpose()
}

/// Brings the schema to the version that this crate needs.
pub(crate) async fn migrate(connection: &Connection, place: &str) -> Result<Migrated, Trouble> {
    connection.execute("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
    // One process at a time. The end of the transaction releases it, however it ends.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('bunq-partner migrate', 0))").await?;
    match owner(connection, place).await? {
        None => connection.execute("CREATE SCHEMA bunq_partner").await?,
        Some((_, true)) => {}
        Some((owner, false)) => {
            let problem = format!("has a schema bunq_partner that the role {owner} owns: migrate it as that role");
            return Err(Trouble::new(place, problem));
        }
    }
    let found = Found::read(connection, place).await?;
    found.as_ref().map_or(Ok(()), |found| found.check(place))?;
    let version = found.map_or(0, |found| found.version);
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > version) {
        connection.execute(migration.sql).await?;
        let applied =
            "INSERT INTO bunq_partner.schema_version (version, oldest_reader, applied_by) VALUES ($1, $2, $3)";
        let by = concat!("bunq-partner-postgres ", env!("CARGO_PKG_VERSION"));
        let values: Values<'_, 3> =
            [(&migration.version, Type::INT4), (&migration.oldest_reader, Type::INT4), (&by, Type::TEXT)];
        connection.query(applied, &values).await?;
    }
    connection.execute("COMMIT").await?;
    Ok(Migrated { from: version, to: version.max(NEEDED) })
}
