//! The sessions of users that several clients have waiting.

use std::time::Duration;

use bunq_partner::{Client, Custody, ErrorKind, MemoryCustody, Operation, ProvisionId, Remedy, Sent};
use bunq_partner_postgres::{Database, PostgresCustody, PostgresPermits, PostgresStore};
use bunq_partner_sandbox::Sandbox;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::common::TestDatabase;

/// In the hour that a credential of the sandbox lives, two users have a turn after the partner.
const INTERVAL: Duration = Duration::from_secs(20 * 60);

/// A client of those that share the session of the partner.
async fn client(test: &TestDatabase, sandbox: &Sandbox) -> Client {
    client_with(test, sandbox, |_| MemoryCustody::new()).await
}

async fn client_with<C: Custody>(
    test: &TestDatabase,
    sandbox: &Sandbox,
    custody: impl FnOnce(&Database) -> C,
) -> Client {
    let database: Database = test.connect().await;
    let permits = PostgresPermits::builder(&database).build().unwrap();
    let client = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, INTERVAL).permits(permits);
    let client = client.context_store(PostgresStore::new(&database, "partner"));
    let client = client.custody(custody(&database)).build().unwrap();
    client.open_session().await.unwrap();
    client
}

/// Waits until so many sessions are announced by all clients, and none may be added.
async fn wait(test: &TestDatabase, count: usize) {
    let waiting = "SELECT coalesce(sum(cardinality(deadlines)), 0), count(candidate) FROM bunq_partner.session_queue";
    shows(test, waiting, &format!("{count}|0")).await;
}

/// Waits until a query returns this.
async fn shows(test: &TestDatabase, query: &str, expected: &str) {
    while test.sql(query) != expected {
        sleep(Duration::from_millis(5)).await;
    }
}

fn activate(client: &Client, id: ProvisionId) -> JoinHandle<Result<(), bunq_partner::Error>> {
    let users = client.users();
    tokio::spawn(async move { users.activate(id).await.map(drop) })
}

#[tokio::test]
async fn what_cannot_be_in_time_beside_those_of_other_clients_is_refused_at_once() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = Sandbox::start().await.unwrap();
    let users = sandbox.populate(3);
    let (one, other) = (client(&test, &sandbox).await, client(&test, &sandbox).await);
    let _first = activate(&other, users[0]);
    wait(&test, 1).await;
    let second = activate(&one, users[1]);
    wait(&test, 2).await;
    let error = activate(&other, users[2]).await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.sent(), error.remedy()),
        (ErrorKind::RateLimited, Sent::No, Some(Remedy::ResetToken))
    );
    wait(&test, 2).await;
    // A client that ends leaves its place at once.
    second.abort();
    drop(one);
    wait(&test, 1).await;
    let _third = activate(&other, users[2]);
    wait(&test, 2).await;
}

/// It holds no lock meanwhile, and gives its place back when it is given up.
#[tokio::test]
async fn one_that_is_told_to_wait_keeps_its_place_without_a_lock() {
    test_timeout::start();
    const PLACES: &str =
        "SELECT count(*) FROM bunq_partner.permit_waiters WHERE deadline < 'infinity' AND ask_at > now()";
    const LOCKS: &str = "SELECT count(*) FROM pg_locks JOIN pg_database AS own ON own.oid = database
        WHERE locktype = 'advisory' AND datname = current_database()";
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = Sandbox::start().await.unwrap();
    // It has used the permit. The other client does not know when there is room before it asks.
    client(&test, &sandbox).await;
    test.sql(
        "ALTER FUNCTION bunq_partner.announce_sessions RENAME TO really_announce;
        CREATE FUNCTION bunq_partner.announce_sessions(
            uuid, text[], bigint, bigint, bigint[], bigint, bigint,
            OUT deadlines bigint[], OUT candidates bigint[], OUT not_before bigint
        ) LANGUAGE sql AS 'SELECT deadlines, candidates, 0 FROM bunq_partner.really_announce($1, $2, $3, $4, $5, $6, $7)'",
    );
    let client = client_with(&test, &sandbox, |database| PostgresCustody::new(database, "users")).await;
    let waiting = activate(&client, sandbox.populate(1)[0]);
    shows(&test, PLACES, "1").await;
    shows(&test, LOCKS, "0").await;
    // Another session that is admitted changes nothing.
    let second = activate(&client, sandbox.populate(1)[0]);
    wait(&test, 2).await;
    assert_eq!(test.sql(PLACES), "1");
    waiting.abort();
    second.abort();
    drop(client);
    shows(&test, PLACES, "0").await;
    assert!(sandbox.call_log().iter().all(|call| call.status != 429));
}

#[tokio::test]
async fn without_the_database_nothing_is_admitted() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = Sandbox::start().await.unwrap();
    let client = client(&test, &sandbox).await;
    test.sql("ALTER TABLE bunq_partner.session_queue RENAME TO hidden");
    let error = activate(&client, sandbox.populate(1)[0]).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Permits, Sent::No), "{error}");
}

/// What is announced counts until its lease ends, and an older announcement that comes late does not.
#[tokio::test]
async fn announcements_replace_each_other_and_end() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let announce = |client: u8, windows: &str, number: u8, deadlines: &str, candidate: &str| {
        test.sql(&format!(
            "SELECT ARRAY (SELECT ceil(time / 1e9) FROM unnest(deadlines) AS time ORDER BY 1),
                ARRAY (SELECT ceil(time / 1e9) FROM unnest(candidates) AS time ORDER BY 1), ceil(not_before / 6e7)
            FROM bunq_partner.announce_sessions('00000000-0000-0000-0000-{client:012}', '{windows}', 60000000, {number},
                ARRAY (SELECT 1000000 * unnest('{deadlines}'::bigint[])), {candidate}::bigint * 1000000, 600000000)"
        ))
    };
    assert_eq!(announce(1, "{a}", 2, "{3000,4000}", "NULL"), "{}|{}|0");
    assert_eq!(announce(1, "{a}", 1, "{}", "NULL"), "{}|{}|0");
    // Those in both windows count once, and those in each of them.
    assert_eq!(announce(2, "{a,b}", 1, "{5000}", "6000"), "{3,4}|{}|0");
    assert_eq!(announce(3, "{b}", 1, "{}", "7000"), "{5}|{6}|0");
    assert_eq!(announce(4, "{b,a}", 1, "{}", "NULL"), "{3,4,5}|{6,7}|0");
    test.sql("UPDATE bunq_partner.session_queue SET lease_until = now() WHERE client::text LIKE '%1'");
    assert_eq!(announce(4, "{b,a}", 2, "{}", "NULL"), "{5}|{6,7}|0");
    // One permit of two windows is taken.
    test.sql("SELECT bunq_partner.take_permit(gen_random_uuid(), '{b}', 1, 60000000, 600000000, 0, false, NULL)");
    assert_eq!(announce(4, "{b,a}", 3, "{}", "NULL"), "{5}|{6,7}|1");
}
