//! What becomes of sessions, locks and permits when the database fails while several machines use it.

use std::time::Duration;

use bunq_partner::{Client, ContextStore as _, ErrorKind, Operation, ProvisionId, RateLimit, Sent};
use bunq_partner_postgres::{Database, PostgresPermits, PostgresStore};
use bunq_partner_sandbox::Sandbox;
use tokio::time::{Instant, sleep};

use crate::common::proxy::Proxy;
use crate::common::server::Server;
use crate::common::{TestDatabase, is_left_out};
use crate::fleet::{Fleet, LEASE, Process};
use crate::permits::{TENTH, arrived, bank, have_arrived, reads};

/// Two hosts, of which the second is a standby.
struct Pair {
    test: TestDatabase,
    standby: Server,
}

impl Pair {
    async fn start() -> Option<Self> {
        let test = TestDatabase::migrated_alone().await?;
        let standby = test.server.standby();
        Some(Self { test, standby })
    }

    async fn connect(&self) -> Database {
        Database::connect(self.test.url_of(&[self.test.server.port(), self.standby.port()])).await.unwrap()
    }

    /// What the standby has heard until then is all that there is from then on.
    fn fail_over(&self) {
        self.test.server.stop();
        self.standby.promote();
    }
}

/// A machine: a client whose context and permits are in the database.
fn machine(sandbox: &Sandbox, database: &Database) -> Client {
    let permits = PostgresPermits::builder(database).lease(LEASE).build().unwrap();
    let client = sandbox.client().without_rate_limits().permits(permits);
    let client = client.rate_limit(&Operation::GET_PROVISION, TENTH.calls, TENTH.per);
    client.context_store(PostgresStore::new(database, "partner")).build().unwrap()
}

/// Reads one after the other until the task is aborted. Nothing may fail but permits.
async fn reads_on(client: Client, id: ProvisionId) {
    loop {
        if let Err(error) = client.provisions().get(id).await {
            assert_eq!(error.kind(), ErrorKind::Permits, "{error}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_has_lost_the_last_second_takes_over() {
    test_timeout::start();
    let Some(pair) = Pair::start().await else { return };
    let sandbox = bank(TENTH).await;
    let id = sandbox.populate(1)[0];
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(machine(&sandbox, &pair.connect().await));
    }
    for client in &clients {
        client.provisions().get(id).await.unwrap();
    }
    let known = PostgresStore::new(&pair.connect().await, "known");
    let known_lock = known.lock().await.unwrap();
    pair.standby.catch_up(pair.test.server);
    pair.standby.cut_off();

    // The standby never hears of this: another session, permits, and another lock.
    sandbox.end_sessions();
    clients[0].provisions().get(id).await.unwrap();
    assert_eq!(sessions(&sandbox), 2);
    let lost = PostgresStore::new(&pair.connect().await, "lost");
    let lost_lock = lost.lock().await.unwrap();
    let reading: Vec<_> = clients.into_iter().map(|client| tokio::spawn(reads_on(client, id))).collect();
    have_arrived(&sandbox, 12).await;
    let taken_over = Instant::now();
    pair.fail_over();

    let error = lost.save(&lost_lock, "of who had the lock".into()).await.unwrap_err().to_string();
    assert!(error.contains("no longer holds the lock `context lost` for this process"), "{error}");
    drop(lost_lock);
    drop(lost.lock().await.unwrap());
    // Nobody else has asked for this one.
    known.save(&known_lock, "saved".into()).await.unwrap();

    let before = arrived(&sandbox);
    have_arrived(&sandbox, before + 1).await;
    println!("permits were given again {:?} after the failover", taken_over.elapsed());
    assert!(taken_over.elapsed() >= LEASE, "{:?}", taken_over.elapsed());
    assert_eq!(pair.standby.sql(&pair.test.name, &closed_for_no_longer()), "t");

    // The session that is stored has ended. Those that have the other one go on with it.
    have_arrived(&sandbox, before + 8).await;
    assert_eq!(sessions(&sandbox), 2);
    let new = [machine(&sandbox, &pair.connect().await), machine(&sandbox, &pair.connect().await)];
    let [one, other] = new.map(|client| tokio::spawn(async move { client.provisions().get(id).await.map(drop) }));
    one.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(sessions(&sandbox), 3);
    for task in reading {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert_eq!(reads(&sandbox).1, 0);
}

/// Whether the windows are closed for a lease, their length and the time for which permits are promised ahead, since the server runs.
fn closed_for_no_longer() -> String {
    let longest = (LEASE + 2 * TENTH.per).as_millis();
    format!(
        "SELECT max(closed_until - first_seen) <= interval '{longest} ms'
         FROM bunq_partner.permit_windows, bunq_partner.permit_servers WHERE started = pg_postmaster_start_time()"
    )
}

/// How many sessions were opened.
pub(crate) fn sessions(sandbox: &Sandbox) -> usize {
    sandbox.call_log().iter().filter(|call| call.operation == Some(&Operation::CREATE_SESSION)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_outlives_restarts_and_connections_that_are_cut_and_stalled() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated_alone().await else { return };
    let (sandbox, proxy) = (bank(TENTH).await, Proxy::start(&test).await);
    let near = Fleet { is_hardy: true, ..Fleet::new(&sandbox, test.url(), TENTH) };
    let far = Fleet { database: proxy.url(&test), ..near.clone() };
    let start = |fleet| [Process::start(fleet, 2), Process::start(fleet, 2)];
    let (mut near, mut far) = (start(&near), start(&far));
    near.iter_mut().chain(&mut far).for_each(Process::is_ready);
    near.iter_mut().chain(&mut far).for_each(Process::go);
    let more = async |count| have_arrived(&sandbox, arrived(&sandbox) + count).await;

    more(8).await;
    proxy.stall();
    more(8).await;
    proxy.set_away(true);
    more(8).await;
    proxy.set_away(false);
    for _ in 0..3 {
        more(8).await;
        test.server.stop();
        let restarted = Instant::now();
        test.server.start_again();
        more(1).await;
        println!("permits were given again {:?} after the restart", restarted.elapsed());
        assert!(restarted.elapsed() >= LEASE, "{:?}", restarted.elapsed());
        assert_eq!(test.sql(&closed_for_no_longer()), "t");
    }
    more(8).await;
    let made: Vec<usize> = near.into_iter().flat_map(Process::stop).collect();
    // The others go on too.
    more(4).await;
    println!("{made:?}, {:?}", far.map(Process::stop));
    assert_eq!((sessions(&sandbox), reads(&sandbox).1), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_is_named_and_nothing_is_sent() {
    test_timeout::start();
    let server = match Server::on_small_disk() {
        Ok(server) => server,
        // A container may not have the right to mount, also where the tests of the database must run.
        Err(problem) => return is_left_out(&problem),
    };
    let test = TestDatabase::migrated_in(server).await;
    let sandbox = Sandbox::start().await.unwrap();
    let fleet = Fleet::new(&sandbox, test.url(), RateLimit::new(100, TENTH.per));
    let (client, store) = (fleet.client().await, PostgresStore::new(&test.connect().await, "partner"));
    let lock = store.lock().await.unwrap();
    store.save(&lock, "saved".into()).await.unwrap();
    client.provisions().get(fleet.provision).await.unwrap();
    // As long as somebody sees what was there before, each change needs room.
    let (reader, connection) = tokio_postgres::connect(&test.owner_url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    // The log of changes has room for this test.
    test.sql("SELECT pg_switch_wal()");
    test.sql("CREATE TABLE filler AS SELECT 1");
    test.sql("COPY (SELECT 1) TO PROGRAM 'cat /dev/zero > ballast; true'");

    let error = store.save(&lock, "long ".repeat(100_000).into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Context);
    let mut made = 1;
    let refused = loop {
        match client.provisions().get(fleet.provision).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    println!("after {made} calls: {refused}");
    assert_eq!((refused.kind(), refused.sent()), (ErrorKind::Permits, Sent::No), "{refused}");
    for error in [error, refused] {
        let cause = "No space left on device, SQLSTATE 53100): its disk is full: make room there";
        assert!(error.to_string().ends_with(cause) && error.is_retryable(), "{error}");
    }
    assert_eq!(arrived(&sandbox), made);

    test.sql("COPY (SELECT 1) TO PROGRAM 'rm ballast'");
    client.provisions().get(fleet.provision).await.unwrap();
    store.save(&lock, "saved again".into()).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Some("saved again".into()));
}
