//! The stores that machines share: context, custody and the permits of the rate limits.

use std::sync::Arc;

use bunq_partner::jiff::Timestamp;
use bunq_partner::{ClientBuilder, ContextStore, Custody, Secret};
use bunq_partner_postgres::{CountedBy, Database, PostgresCustody, PostgresPermits, PostgresStore};

use super::super::examination::step::Check;
use super::super::exit::Failure;
use super::super::output::Record;
use super::super::settings::{CountedByKind, PostgresSettings};
use super::status::{checks, lists};

/// What the machines of a partner keep of a bank.
pub(crate) struct SharedStores {
    database: Database,
    name: String,
    /// All clients of this process are one member.
    permits: PostgresPermits,
}

impl SharedStores {
    /// Connects to the database, and checks it. Returns a warning about the file of its URL, too.
    pub(crate) async fn connect(settings: &PostgresSettings) -> Result<(Self, Option<String>), Failure> {
        let (url, warning) = super::url(&settings.url.value).await?;
        let database = Database::connect(url).await?;
        let address = settings.address.clone();
        let counted_by = match settings.counted_by {
            CountedByKind::Address => CountedBy::Address(address),
            CountedByKind::Key => CountedBy::Key,
            CountedByKind::AddressAndKey => CountedBy::AddressAndKey(address),
        };
        let permits = PostgresPermits::builder(&database).counted_by(counted_by).build()?;
        Ok((Self { database, name: settings.name.clone(), permits }, warning))
    }

    pub(crate) fn context(&self) -> Arc<dyn ContextStore> {
        Arc::new(PostgresStore::new(&self.database, &self.name))
    }

    pub(crate) fn custody(&self) -> Arc<dyn Custody> {
        Arc::new(PostgresCustody::new(&self.database, &self.name))
    }

    /// The steps of `doctor` about the database.
    pub(crate) async fn examine(&self) -> Vec<Check> {
        let status = self.database.status().await;
        checks(status, Timestamp::now())
    }

    /// Has a client take its permits here.
    pub(crate) fn limit(&self, builder: ClientBuilder) -> ClientBuilder {
        builder.permits(self.permits.clone())
    }
}

/// Returns the version that the schema had, and the one that it has.
pub(super) async fn migrate(url: Secret) -> Result<(i32, i32), Failure> {
    let migrated = Database::migrate(url).await?;
    Ok((migrated.from, migrated.to))
}

/// Returns windows, locks, members and shares, with their names.
pub(super) async fn status(url: Secret) -> Result<[(&'static str, Vec<Record>); 4], Failure> {
    Ok(lists(Database::connect(url).await?.status().await?))
}

pub(super) async fn forget(url: Secret, name: &str) -> Result<(), Failure> {
    Ok(Database::connect(url).await?.forget_member(name).await?)
}
