//! What is logged, at all levels: no password, and nothing of what is kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bunq_partner::{ContextStore, Custody, CustodyEntry};
use bunq_partner_postgres::{Database, PostgresCustody, PostgresStore};
use tracing::level_filters::LevelFilter;

use crate::common::{PASSWORD, TestDatabase};

/// What is written, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let log = Log::default();
    let writer = log.clone();
    // It takes what is written with `log` too, as the driver does.
    tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone()).init();

    let database = test.connect().await;
    Database::connect(test.url().replace("%40password", "%40other")).await.unwrap_err();
    let (store, custody) = (PostgresStore::new(&database, "partner"), PostgresCustody::new(&database, "partner"));
    let id = 7_u64.try_into().unwrap();
    let (lock, user) = (store.lock().await.unwrap(), custody.lock(id).await.unwrap());
    store.save(&lock, "planted context".into()).await.unwrap();
    custody.save(&user, CustodyEntry::new(id), "planted token".into()).await.unwrap();
    store.load().await.unwrap();
    custody.load(id).await.unwrap();
    test.sql("ALTER TABLE bunq_partner.context ADD CHECK (length(text) > 100) NOT VALID");
    let error = store.save(&lock, "planted again".into()).await.unwrap_err();
    let shown = format!("{error} {error:?} {database:?} {store:?} {custody:?}");
    assert!(shown.contains("SQLSTATE 23514") && !shown.contains("planted"), "{shown}");

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("tokio_postgres"), "the driver has logged something");
    // As text, and as the debug form of bytes.
    let bytes = format!("{:?}", b"planted");
    let (bytes, _) = bytes.split_at(bytes.len() - 1);
    for secret in [PASSWORD, "planted", bytes] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{line:?}");
    }
}
