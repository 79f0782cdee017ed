//! What is checked when a database is connected to, and what errors say.

use std::task::{Context, Poll, Waker};

use bunq_partner::{ContextStore as _, ErrorKind};
use bunq_partner_postgres::{Database, PostgresStore};

use crate::common::proxy::Proxy;
use crate::common::{PASSWORD, TestDatabase, or_left_out};

/// What connecting with a URL says. It must not tell the password.
async fn refusal(url: &str) -> String {
    let error = Database::connect(url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Context);
    assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_service_with_the_least_rights_connects() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let database = test.connect().await;
    let shown = format!("{database:?}");
    assert_eq!(shown, format!("Database(\"the database {} at 127.0.0.1:{}\")", test.name, test.server.port()));
    assert!(!shown.contains(PASSWORD));
}

#[tokio::test]
async fn errors_name_the_cause_and_the_remedy() {
    test_timeout::start();
    let Some(test) = TestDatabase::empty() else { return };
    let (name, port) = (&test.name, test.server.port());
    let place = format!("the database {name} at 127.0.0.1:{port}");
    let expected = [
        (test.url(), format!("{place} has no schema bunq_partner: migrate it")),
        (
            test.url().replace("%40password", "%40other"),
            format!(
                "{place} refuses this (password authentication failed for user \"{name}\", SQLSTATE 28P01): check the user, its password and the server's pg_hba.conf"
            ),
        ),
        (
            test.url().replace(&format!("{port}/{name}"), &format!("{port}/missing")),
            format!(
                "the database missing at 127.0.0.1:{port} refuses this (database \"missing\" does not exist, SQLSTATE 3D000): create it, or name another"
            ),
        ),
        (
            test.url().replace(":planted%40password", ""),
            format!(
                "{place} cannot be reached (invalid configuration: password missing): write it in the URL, as in postgres://USER:PASSWORD@HOST/DATABASE"
            ),
        ),
        (
            format!("{}?sslmode=verify-full", test.url()),
            format!(
                "{place} cannot be reached (error performing TLS handshake: server does not support TLS): see whether it is PostgreSQL, and give it a certificate: ssl = on"
            ),
        ),
    ];
    for (url, expected) in expected {
        assert_eq!(refusal(&url).await, expected);
    }
    Database::migrate(test.owner_url()).await.unwrap();
    assert_eq!(
        refusal(&test.url()).await,
        format!(
            "{place} refuses this (permission denied for schema bunq_partner, SQLSTATE 42501): grant its role the rights in role.sql of bunq-partner-postgres"
        )
    );
    test.grant();
    test.sql(
        "REVOKE DELETE ON bunq_partner.lock, bunq_partner.context FROM bunq_partner_service;
        REVOKE EXECUTE ON FUNCTION bunq_partner.take_lock FROM PUBLIC, bunq_partner_service",
    );
    assert_eq!(
        refusal(&test.url()).await,
        format!(
            "{place} does not grant the role DELETE on bunq_partner.context, DELETE on bunq_partner.lock, EXECUTE on bunq_partner.take_lock: run role.sql of bunq-partner-postgres"
        )
    );
    test.grant();
    test.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    assert_eq!(
        refusal(&test.url()).await,
        format!(
            "{place} cannot be reached (error connecting to server: database does not allow writes): it is read-only, as a standby is: connect to the primary"
        )
    );
}

#[tokio::test]
async fn a_pooler_that_shares_connections_is_refused() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let url = |port| format!("postgres://postgres@127.0.0.1:{port}/{}", test.name);
    let Some(sharing) = or_left_out(test.server.pooler("transaction")) else { return };
    let error = refusal(&url(sharing.port)).await;
    assert_eq!(
        error,
        format!(
            "the database {} at 127.0.0.1:{} is behind a pooler that shares connections, which frees locks that are held: connect to the server itself, or have the pooler in session mode",
            test.name, sharing.port
        )
    );
    // Others that use its connections have their own settings still.
    let settings = "SELECT current_setting('search_path'), current_setting('statement_timeout')";
    assert_eq!(test.server.sql_at(&url(sharing.port), settings).unwrap(), "\"$user\", public|0");
    let apart = test.server.pooler("session").unwrap();
    Database::connect(url(apart.port)).await.unwrap();
}

/// A runtime that is not run, with as many statements as run at a time, and none at all.
#[test]
fn each_runtime_has_its_own_statements() {
    test_timeout::start();
    let Some(test) = TestDatabase::empty() else { return };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (idle, busy) = (runtime(), runtime());
    let database = idle.block_on(async {
        Database::migrate(test.owner_url()).await.unwrap();
        test.grant();
        let database = test.connect().await;
        for _ in 0..4 {
            let store = PostgresStore::new(&database, "partner");
            tokio::spawn(async move { store.load().await });
        }
        // They begin, and no answer can be there before the runtime looks for it.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        database
    });
    let store = PostgresStore::new(&database, "partner");
    assert_eq!(busy.block_on(store.load()).unwrap(), None);
    let Poll::Ready(Err(error)) = store.load().as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("there is no runtime")
    };
    assert!(error.to_string().ends_with("cannot be used here: there is no Tokio runtime with I/O and time"), "{error}");
}

#[tokio::test]
async fn a_host_that_is_gone_is_not_asked_again_and_again() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let gone = Proxy::start(&test).await;
    gone.set_away(true);
    let database = Database::connect(test.url_of(&[gone.port(), test.server.port()])).await.unwrap();
    // Each lock has a connection of its own.
    let stores: Vec<_> = (0..5).map(|name: u8| PostgresStore::new(&database, name.to_string())).collect();
    let mut locks = Vec::new();
    for store in &stores {
        locks.push(store.lock().await.unwrap());
    }
    assert_eq!(gone.made(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_each_host_is_told() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let gone = Proxy::start(&test).await;
    gone.set_away(true);
    test.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", test.name));
    let (gone, server) = (gone.port(), test.server.port());
    let error = refusal(&test.url_of(&[gone, server])).await;
    let name = &test.name;
    let of_first = format!("the database {name} at 127.0.0.1:{gone} cannot be reached (");
    let of_second = format!(
        "right; the database {name} at 127.0.0.1:{server} cannot be reached (error connecting to server: database does not allow writes): \
         it is read-only, as a standby is: connect to the primary"
    );
    assert!(error.starts_with(&of_first) && error.ends_with(&of_second), "{error}");
}
