//! One context for all machines, and its lock.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bunq_partner::{Client, ContextStore, Environment, ErrorKind, RetryPolicy};
use bunq_partner_postgres::{Database, PostgresStore};
use bunq_partner_sandbox::Sandbox;

use crate::common::proxy::Proxy;
use crate::common::server::Server;
use crate::common::{TestDatabase, or_left_out, own_database};

/// Environment variables that tell another process of this test which sandbox and database to use.
const BASE_URL: &str = "BUNQ_PARTNER_TEST_BASE_URL";
const DATABASE: &str = "BUNQ_PARTNER_TEST_DATABASE";
const API_KEY: &str = "sandbox_of_the_test";

/// Those of the test's database: other tests have theirs.
const ADVISORY_LOCKS: &str = "FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE datname = current_database() AND locktype = 'advisory'";

async fn start() -> Sandbox {
    Sandbox::builder().api_key(API_KEY.into()).start().await.unwrap()
}

/// The store as another machine has it, with connections of its own.
async fn machine(test: &TestDatabase) -> PostgresStore {
    PostgresStore::new(&test.connect().await, "partner")
}

fn client(sandbox: &Sandbox, store: &PostgresStore) -> Client {
    let retry = RetryPolicy::default().initial_backoff(Duration::ZERO);
    sandbox.client().retry(retry).context_store(store.clone()).build().unwrap()
}

fn handshakes(sandbox: &Sandbox) -> [usize; 3] {
    let calls =
        |path| sandbox.call_log().iter().filter(|call| call.method == "POST" && call.path.ends_with(path)).count();
    ["/installation", "/device-server", "/session-server"].map(calls)
}

async fn call_from_each(clients: &[Client]) {
    let calls: Vec<_> = clients
        .iter()
        .map(|client| {
            let provisions = client.provisions();
            tokio::spawn(async move { provisions.list().page().await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn machines_share_one_session() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (sandbox, first, second) = (start().await, machine(&test).await, machine(&test).await);
    let clients: Vec<_> = (0..8).map(|index| client(&sandbox, [&first, &second][index % 2])).collect();
    call_from_each(&clients).await;
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
    sandbox.end_sessions();
    call_from_each(&clients).await;
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
    assert_eq!(test.sql("SELECT name, convert_from(text, 'UTF8') LIKE '{%' FROM bunq_partner.context"), "partner|t");
}

#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn another_process() {
    test_timeout::start();
    let store = PostgresStore::new(&Database::connect(std::env::var(DATABASE).unwrap()).await.unwrap(), "partner");
    let client = |_| {
        let builder = Client::builder(Environment::Sandbox).api_key(API_KEY).base_url(std::env::var(BASE_URL).unwrap());
        builder.without_rate_limits().context_store(store.clone()).build().unwrap()
    };
    call_from_each(&(0..4).map(client).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_one_session() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = start().await;
    let run_eight = || {
        let spawn = |_| {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["contexts::another_process", "--exact", "--ignored"]).stdout(Stdio::null());
            child.env(BASE_URL, sandbox.base_url()).env(DATABASE, test.url()).spawn().unwrap()
        };
        let children: Vec<_> = (0..8).map(spawn).collect();
        children.into_iter().all(|mut child| child.wait().unwrap().success())
    };
    assert!(run_eight());
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
    sandbox.end_sessions();
    for _ in 0..2 {
        assert!(run_eight());
        assert_eq!(handshakes(&sandbox), [1, 1, 2]);
    }
}

#[tokio::test]
async fn one_at_a_time_changes_what_is_stored() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    // Whatever the database is set to, who has waited sees what came before.
    test.sql(&format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", test.name));
    let machines = [machine(&test).await, machine(&test).await, machine(&test).await];
    let add = async |store: PostgresStore| {
        let lock = store.lock().await.unwrap();
        let stored = store.load().await.unwrap().map_or(0, |text| text.expose().parse::<u32>().unwrap());
        store.save(&lock, (stored + 1).to_string().into()).await.unwrap();
    };
    let tasks: Vec<_> = (0..30).map(|index| tokio::spawn(add(machines[index % 3].clone()))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(machines[0].load().await.unwrap(), Some("30".into()));
}

/// Asks the database until it says so.
async fn until(test: &TestDatabase, condition: &str) {
    while test.sql(&format!("SELECT {condition}")) != "t" {
        tokio::task::yield_now().await;
    }
}

/// Another process that has the lock.
struct Holder {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(url: String) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["contexts::holder", "--exact", "--ignored", "--nocapture"]).env(DATABASE, url);
        let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut holder = Self { process, input, output };
        holder.wait_for("held");
        holder
    }

    /// Reads until a line begins with `word`, and returns the rest of that.
    fn wait_for(&mut self, word: &str) -> String {
        let lines = self.output.by_ref().lines().map(Result::unwrap);
        let mut found = lines.filter_map(|line| line.strip_prefix(word).map(str::to_owned));
        found.next().expect("the holder has ended")
    }

    fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        assert!(kill.args(["-s", signal, &self.process.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test as a process of its own"]
async fn holder() {
    test_timeout::start();
    let store = PostgresStore::new(&Database::connect(std::env::var(DATABASE).unwrap()).await.unwrap(), "partner");
    let lock = store.lock().await.unwrap();
    println!("\nheld");
    // Until the test asks it to save.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let error = store.save(&lock, "of the holder".into()).await.unwrap_err();
    println!("\nrefused {error}");
}

#[tokio::test]
async fn the_lock_of_a_process_that_was_killed_is_free() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let mut holder = Holder::start(test.url());
    until(&test, &format!("count(*) = 1 {ADVISORY_LOCKS} AND granted")).await;
    holder.process.kill().unwrap();
    // Nobody waits, who could take it over.
    until(&test, &format!("count(*) = 0 {ADVISORY_LOCKS}")).await;
    machine(&test).await.lock().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stood_still_cannot_save_over_what_came_after() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let mut holder = Holder::start(test.url());
    holder.signal("STOP");
    let store = machine(&test).await;
    let lock = store.lock().await.unwrap();
    store.save(&lock, "of the next".into()).await.unwrap();
    drop(lock);
    holder.signal("CONT");
    writeln!(holder.input, "save").unwrap();
    let refused = holder.wait_for("refused");
    assert!(refused.contains("no longer holds the lock `context partner` for this process"), "{refused}");
    assert_eq!(store.load().await.unwrap(), Some("of the next".into()));
}

/// The end of a lease is counted from its last renewal: who waits for a short time only takes the lock over too.
#[tokio::test]
async fn a_lease_is_over_however_often_its_lock_is_asked_for() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    // Whoever counts from when it asks waits for an hour.
    let take = "SELECT bunq_partner.take_lock('context partner', 'another', '1 hour') IS NOT NULL";
    let renewed =
        |ago| test.sql(&format!("UPDATE bunq_partner.lock SET renewed_at = clock_timestamp() - interval '{ago}'"));
    for (ago, answers) in [("2 hours", &["t"][..]), ("3599 s", &["f", "t"])] {
        let holder = Holder::start(test.url());
        holder.signal("STOP");
        renewed(ago);
        let locks = test.connect().await.status().await.unwrap().locks;
        assert_eq!(locks.len(), 1, "a lock that blocks is seen: {locks:?}");
        assert!(answers.iter().all(|answer| test.sql(take) == *answer), "{ago}");
        renewed("1 day");
    }
}

#[tokio::test]
async fn a_holder_of_another_role_is_named() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let holder = Holder::start(test.owner_url());
    holder.signal("STOP");
    test.sql("UPDATE bunq_partner.lock SET renewed_at = clock_timestamp() - interval '1 hour'");
    let error = machine(&test).await.lock().await.unwrap_err();
    let process = holder.process.id();
    let backend = test.sql("SELECT backend FROM bunq_partner.lock");
    let expected = format!(
        "refuses this (the lock \"context partner\" is held by another role: bunq-partner, process {process}, backend {backend}, \
         SQLSTATE 55006): end it there with pg_terminate_backend, and have all processes connect as one user"
    );
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_no_lock_that_is_held() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let proxy = Proxy::start(&test).await;
    let store = PostgresStore::new(&Database::connect(proxy.url(&test)).await.unwrap(), "partner");
    proxy.stall();
    let error = store.lock().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Context, true));
    assert!(error.to_string().contains("has not answered within 4s"), "{error}");
}

/// The backend of the lock has the advisory lock, and is another than this.
fn held_by_another(backend: &str) -> String {
    format!(
        "count(*) = 1 FROM bunq_partner.lock JOIN pg_locks ON pid = backend AND locktype = 'advisory' AND granted
         WHERE backend <> {backend}"
    )
}

#[tokio::test]
async fn a_lock_outlives_its_connection() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let store = machine(&test).await;
    let lock = store.lock().await.unwrap();
    let backend = test.sql("SELECT backend FROM bunq_partner.lock");
    test.sql(&format!("SELECT pg_terminate_backend({backend})"));
    // Whether the connection was replaced by then or not.
    store.save(&lock, "saved".into()).await.unwrap();
    until(&test, &held_by_another(&backend)).await;
    store.save(&lock, "saved again".into()).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Some("saved again".into()));
    drop(lock);
    machine(&test).await.lock().await.unwrap();
    until(&test, &format!("count(*) = 0 {ADVISORY_LOCKS}")).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_not_asked_without_pause() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let proxy = Proxy::start(&test).await;
    let store = PostgresStore::new(&Database::connect(proxy.url(&test)).await.unwrap(), "partner");
    let lock = store.lock().await.unwrap();
    proxy.set_away(true);
    let (start, made) = (Instant::now(), proxy.made());
    proxy.has_made(made + 6).await;
    // There are five pauses between six tries.
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    proxy.set_away(false);
    store.save(&lock, "saved".into()).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_was_lost_saves_nothing() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let store = machine(&test).await;
    let lock = store.lock().await.unwrap();
    test.sql("UPDATE bunq_partner.lock SET fence = gen_random_uuid()");
    let error = store.save(&lock, "lost".into()).await.unwrap_err();
    let place = format!("the database {} at 127.0.0.1:{}", test.name, test.server.port());
    let expected = format!(
        "{place} no longer holds the lock `context partner` for this process, which stood still or was cut off, or it was lost in a \
         failover: another may have it by now"
    );
    assert_eq!((error.kind(), error.to_string(), error.is_retryable()), (ErrorKind::Context, expected, false));
    assert_eq!(store.load().await.unwrap(), None);
    drop(lock);

    let other = PostgresStore::new(&test.connect().await, "other");
    let lock = other.lock().await.unwrap();
    let error = store.save(&lock, "lost".into()).await.unwrap_err().to_string();
    assert_eq!(error, "the lock that was given is not the lock `context partner`: take that");
    other.save(&lock, "saved".into()).await.unwrap();
}

#[tokio::test]
async fn who_gives_up_waiting_keeps_nothing() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (first, second) = (machine(&test).await, machine(&test).await);
    let held = first.lock().await.unwrap();
    let waiting = format!("{ADVISORY_LOCKS} AND NOT granted");
    let mut backend = "0".to_owned();
    for _ in 0..3 {
        let other_waits = format!("bool_or(pid <> {backend}) {waiting}");
        tokio::select! {
            biased;
            _ = second.lock() => panic!("the lock is held"),
            () = until(&test, &other_waits) => {}
        }
        // The one before waits no more, which would be for the rest of the lease.
        backend = test.sql(&format!("SELECT string_agg(pid::text, ' and ') {waiting}"));
        assert!(backend.parse::<u32>().is_ok(), "{backend}");
    }
    drop(held);
    second.lock().await.unwrap();
    first.lock().await.unwrap();
}

#[tokio::test]
async fn busy_and_away_are_different_errors() {
    test_timeout::start();
    let Some(server) = or_left_out(Server::own()) else { return };
    let (sandbox, url) = (start().await, own_database(&server).await);
    let store = PostgresStore::new(&Database::connect(url).await.unwrap(), "partner");
    let builder = sandbox.client().context_store(store.clone()).operation_timeout(Duration::from_millis(500));
    let client = builder.build().unwrap();
    let held = store.lock().await.unwrap();
    assert_eq!(client.open_session().await.unwrap_err().kind(), ErrorKind::Busy);
    drop(held);

    let held = store.lock().await.unwrap();
    server.stop();
    for _ in 0..2 {
        let error = store.load().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Context);
        assert!(error.to_string().contains("cannot be reached") && error.is_retryable(), "{error}");
    }
    let error = store.save(&held, "away".into()).await.unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    server.start_again();
    assert_eq!(store.load().await.unwrap(), None);
    // Nobody has taken the lock since.
    store.save(&held, "saved".into()).await.unwrap();
    drop(held);
    let _held = store.lock().await.unwrap();
    assert_eq!(store.load().await.unwrap(), Some("saved".into()));
}

#[tokio::test]
async fn a_machine_that_has_missed_a_session_replaces_the_one_after_too() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (sandbox, first, second) = (start().await, machine(&test).await, machine(&test).await);
    let (idle, other) = (client(&sandbox, &first), client(&sandbox, &second));
    call_from_each(std::slice::from_ref(&idle)).await;
    sandbox.end_sessions();
    call_from_each(&[other]).await;
    sandbox.end_sessions();
    // A call replaces one session alone, and the next call does not wait for a window.
    let error = idle.provisions().list().page().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    call_from_each(&[idle]).await;
    assert_eq!(handshakes(&sandbox), [1, 1, 3]);
}
