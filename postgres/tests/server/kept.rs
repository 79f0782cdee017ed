//! What is kept in the database: nothing of it can be read, changed or exchanged without the key.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bunq_partner::{Client, ContextStore as _, Custody as _, Environment, Error, ErrorKind, ProvisionId, Secret, Sent};
use bunq_partner_postgres::{Database, PostgresCustody, PostgresStore};
use bunq_partner_sandbox::Sandbox;
use tokio_postgres::NoTls;

use crate::common::secrets::TOKEN_LEN;
use crate::common::{PASSWORD, TestDatabase};

/// How many bytes are left out between two that are changed. Those of a text are all changed where it is sealed, in the library.
const STEP: usize = 23;

/// A bank, and a client whose context and users are in a database.
async fn in_use(test: &TestDatabase, users: usize) -> (Sandbox, Vec<ProvisionId>) {
    let sandbox = Sandbox::start().await.unwrap();
    let ids = sandbox.populate(users);
    let client = client(&test.connect().await, sandbox.base_url(), sandbox.api_key());
    client.open_session().await.unwrap();
    for id in &ids {
        client.users().activate(*id).await.unwrap();
    }
    sandbox.take_call_log();
    (sandbox, ids)
}

/// A client as another machine has it.
fn client(database: &Database, base_url: &str, api_key: impl Into<Secret>) -> Client {
    let (store, custody) = (PostgresStore::new(database, "partner"), PostgresCustody::new(database, "partner"));
    let builder = Client::builder(Environment::Sandbox).base_url(base_url).api_key(api_key).without_rate_limits();
    builder.context_store(store).custody(custody).build().unwrap()
}

/// Checks that a client has refused what is kept before it has sent anything, and returns what it says.
fn refused(outcome: Result<(), Error>) -> String {
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No), "{error}");
    error.to_string()
}

/// The end of each test looks for secrets in what was written. Here it finds one: in the database, or in what was replaced there.
#[tokio::test]
async fn a_secret_that_can_be_read_is_found() {
    test_timeout::start();
    let token = "0a".repeat(TOKEN_LEN / 2);
    for (secret, is_replaced) in [(&*token, false), ("sandbox_the-key", true), (PASSWORD, false)] {
        let Some(test) = TestDatabase::migrated().await else { return };
        let superuser = superuser(&test).await;
        let keep = "INSERT INTO bunq_partner.context VALUES ('partner', $1) ON CONFLICT (name) DO UPDATE SET text = $1";
        superuser.execute(keep, &[&format!("{{\"token\": \"{secret}\"}}").as_bytes()]).await.unwrap();
        if is_replaced {
            superuser.execute(keep, &[&&b"sealed"[..]]).await.unwrap();
        }
        let found = catch_unwind(AssertUnwindSafe(|| drop(test))).unwrap_err();
        let found = found.downcast_ref::<String>().unwrap();
        assert!(found.contains("was kept readable: Some("), "{found}");
    }
}

async fn superuser(test: &TestDatabase) -> tokio_postgres::Client {
    let (superuser, connection) = tokio_postgres::connect(&test.owner_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    superuser
}

#[tokio::test]
async fn one_changed_byte_is_refused() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (sandbox, ids) = in_use(&test, 1).await;
    let (superuser, database) = (superuser(&test).await, test.connect().await);
    let client = client(&database, sandbox.base_url(), sandbox.api_key());
    for table in ["context", "custody_record"] {
        let length = test.sql(&format!("SELECT length(text) FROM bunq_partner.{table}")).parse().unwrap();
        assert!(length > 2000, "{length}");
        let change = format!("UPDATE bunq_partner.{table} SET text = set_byte(text, $1, get_byte(text, $1) # $2)");
        for at in (0..length).step_by(STEP) {
            // Each of the eight bits in turn: the highest makes it no text.
            let bit = 1_i32 << (at % 8);
            superuser.execute(&change, &[&at, &bit]).await.unwrap();
            let error = refused(match table {
                "context" => client.open_session().await,
                _ => client.users().of(ids[0]).open_session().await,
            });
            let is_told = ["is damaged", "has format", "wrong place", "belongs to", "is sealed under"];
            assert!(is_told.iter().any(|words| error.contains(words)), "{table} {at}: {error}");
            superuser.execute(&change, &[&at, &bit]).await.unwrap();
        }
    }
    assert!(sandbox.take_call_log().is_empty());
    // What was not changed is used.
    client.users().of(ids[0]).api().list_credentials().await.unwrap();
    client.provisions().get(ids[0]).await.unwrap();
    assert!(sandbox.call_log().iter().all(|call| call.method == "GET"));
}

#[tokio::test]
async fn exchanged_records_are_refused() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (sandbox, ids) = in_use(&test, 2).await;
    let client = client(&test.connect().await, sandbox.base_url(), sandbox.api_key());
    let exchange = "UPDATE bunq_partner.custody_record AS one SET text = other.text
        FROM bunq_partner.custody_record AS other WHERE one.provision_id <> other.provision_id";
    test.sql(exchange);
    for (id, other) in [(ids[0], ids[1]), (ids[1], ids[0])] {
        let error = refused(client.users().of(id).open_session().await);
        assert!(error.contains(&format!("is that of provision {other}, in the wrong place")), "{error}");
    }
    test.sql(exchange);
    test.sql("CREATE TABLE public.kept AS SELECT text FROM bunq_partner.context");
    test.sql("UPDATE bunq_partner.context SET text = (SELECT text FROM bunq_partner.custody_record LIMIT 1)");
    refused(client.open_session().await);
    test.sql("UPDATE bunq_partner.custody_record SET text = (SELECT text FROM public.kept)");
    refused(client.users().of(ids[0]).open_session().await);
    assert!(sandbox.take_call_log().is_empty());
}

/// Two partners, or two banks, that were given one name in one schema.
#[tokio::test]
async fn what_is_of_another_key_or_bank_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (sandbox, ids) = in_use(&test, 1).await;
    let another = Sandbox::builder().api_key(sandbox.api_key()).start().await.unwrap();
    let new = sandbox.populate(1)[0];
    let database = test.connect().await;
    let before = test.sql("SELECT md5(string_agg(text::text, '')) FROM bunq_partner.custody_record");
    for (base_url, api_key, problem, remedy) in [
        (
            sandbox.base_url(),
            "sandbox_of-another-partner".into(),
            "is sealed under another API key",
            "for each API key, or have it sealed anew, as `bunq-partner rekey` does",
        ),
        (another.base_url(), sandbox.api_key(), "belongs to the base URL", "for each base URL"),
    ] {
        let client = client(&database, base_url, api_key);
        let user = client.users().of(ids[0]);
        for (outcome, place) in [
            (client.open_session().await, "store"),
            (user.open_session().await, "custody"),
            (client.users().activate(new).await.map(drop), "store"),
            (client.users().activate(ids[0]).await.map(drop), "custody"),
        ] {
            let error = refused(outcome);
            let remedy = format!("use a {place} {remedy}");
            assert!(error.contains(problem) && error.contains(&remedy), "{error}");
            assert!(
                error.contains(&format!("of provision {}", ids[0])) || error.contains("the context partner in"),
                "{error}"
            );
        }
    }
    assert_eq!(test.sql("SELECT md5(string_agg(text::text, '')) FROM bunq_partner.custody_record"), before);
    assert!(sandbox.take_call_log().is_empty() && another.take_call_log().is_empty());
    // Another name is another partner's.
    let other = PostgresStore::new(&database, "other");
    assert_eq!(other.load().await.unwrap(), None);
    assert_eq!(PostgresCustody::new(&database, "other").load(ids[0]).await.unwrap(), None);
}
