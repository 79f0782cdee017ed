//! Processes that share windows: this program, executed again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bunq_partner::{Client, Environment, Error, ErrorKind, Operation, ProvisionId, RateLimit, Sent};
use bunq_partner_postgres::{CountedBy, Database, PostgresPermits, PostgresPermitsBuilder, PostgresStore};
use bunq_partner_sandbox::Sandbox;
use tokio::io::AsyncBufReadExt as _;
use tokio::time::sleep;

/// What a process of the fleet does, as the arguments of its line.
const TASK: &str = "BUNQ_PARTNER_FLEET";

/// After it a hardy member tries again.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) const LEASE: Duration = Duration::from_secs(13);

/// What all members do: they read a provision within a limit, with permits from the database.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) database: String,
    pub(crate) base_url: String,
    pub(crate) api_key: String,
    pub(crate) provision: ProvisionId,
    pub(crate) limit: RateLimit,
    /// Its members share a session too, and go on with their calls where permits fail.
    pub(crate) is_hardy: bool,
}

impl Fleet {
    pub(crate) fn new(sandbox: &Sandbox, database: String, limit: RateLimit) -> Self {
        let (base_url, api_key) = (sandbox.base_url().to_owned(), sandbox.api_key().expose().to_owned());
        Self { database, base_url, api_key, provision: sandbox.populate(1)[0], limit, is_hardy: false }
    }

    /// A client that is a member.
    pub(crate) async fn client(&self) -> Client {
        self.counted_by(None).await
    }

    /// A client whose calls count by something else.
    pub(crate) async fn counted_by(&self, counted_by: Option<CountedBy>) -> Client {
        let database = Database::connect(self.database.clone()).await.unwrap();
        let permits = PostgresPermits::builder(&database).lease(LEASE);
        let permits = counted_by.into_iter().fold(permits, PostgresPermitsBuilder::counted_by).build().unwrap();
        let client = Client::builder(Environment::Sandbox).base_url(&self.base_url).api_key(self.api_key.clone());
        let client = client.without_rate_limits().permits(permits);
        let client = client.rate_limit(&Operation::GET_PROVISION, self.limit.calls, self.limit.per);
        let client = match self.is_hardy {
            true => client.context_store(PostgresStore::new(&database, "partner")),
            false => client,
        };
        let client = client.operation_timeout(Duration::from_secs(600)).build().unwrap();
        client.open_session().await.unwrap();
        client
    }
}

/// A process of the fleet. It is killed with this.
pub(crate) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    words: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a process with so many clients, which wait for [`go`](Self::go).
    pub(crate) fn start(fleet: &Fleet, clients: usize) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), fleet, clients)
    }

    /// The same with the clock so far off, by a library of `faketime`: `+1h`.
    pub(crate) fn start_at(library: &Path, offset: &str, fleet: &Fleet, clients: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("LD_PRELOAD", library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Self::start_by(command, fleet, clients)
    }

    fn start_by(mut command: Command, fleet: &Fleet, clients: usize) -> Self {
        let Fleet { database, base_url, api_key, provision, limit: RateLimit { calls, per, .. }, is_hardy } = fleet;
        let per = per.as_millis();
        let task = format!("{database} {base_url} {api_key} {provision} {calls} {per} {is_hardy} {clients}");
        command.args(["--exact", "fleet::a_process_of_the_fleet", "--nocapture"]).env(TASK, task);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, words) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, orders, words }
    }

    /// Waits until its clients have sessions.
    pub(crate) fn is_ready(&mut self) {
        self.hear("fleet: ready");
    }

    pub(crate) fn go(&mut self) {
        writeln!(self.orders.as_mut().unwrap(), "go").unwrap();
    }

    /// Ends its calls, and returns how many each of its clients has made.
    pub(crate) fn stop(mut self) -> Vec<usize> {
        drop(self.orders.take());
        let counts = self.hear("fleet: made");
        self.child.wait().unwrap();
        counts.split_whitespace().map(|count| count.parse().unwrap()).collect()
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn hear(&mut self, words: &str) -> String {
        let mut line = String::new();
        while self.words.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.split_once(words) {
                return said.trim().to_owned();
            }
            line.clear();
        }
        panic!("a process of the fleet has ended without saying {words:?}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It is a test only in name: what the other processes run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_the_fleet() {
    test_timeout::start();
    let Ok(task) = std::env::var(TASK) else { return };
    let [database, base_url, api_key, provision, calls, per, is_hardy, clients] =
        task.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let fleet = Fleet {
        database: database.to_owned(),
        base_url: base_url.to_owned(),
        api_key: api_key.to_owned(),
        provision: provision.parse().unwrap(),
        limit: RateLimit::new(calls.parse().unwrap(), Duration::from_millis(per.parse().unwrap())),
        is_hardy: is_hardy.parse().unwrap(),
    };
    let client = fleet.client().await;
    println!("fleet: ready");
    let mut orders = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    orders.next_line().await.unwrap();
    let made = makes_calls(&client, fleet.provision, clients.parse().unwrap(), fleet.is_hardy, async {
        while orders.next_line().await.unwrap().is_some() {}
    });
    let made: Vec<_> = made.await.iter().map(ToString::to_string).collect();
    println!("fleet: made {}", made.join(" "));
}

/// Whether nothing was sent, because the database was away, and whether the error says so.
fn tells_of_an_outage(error: &Error) -> bool {
    let causes = ["cannot be reached", "has not answered within", "is starting or stopping"];
    let names_cause = causes.iter().any(|cause| error.to_string().contains(cause));
    error.kind() == ErrorKind::Permits && error.sent() == Sent::No && names_cause
}

/// Lets so many tasks make one call after the other until an event. Returns how many each has made.
pub(crate) async fn makes_calls(
    client: &Client,
    id: ProvisionId,
    tasks: usize,
    is_hardy: bool,
    until: impl Future<Output = ()>,
) -> Vec<usize> {
    let is_over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (client, made, is_over) = (client.clone(), Arc::new(AtomicUsize::new(0)), Arc::clone(&is_over));
            let count = Arc::clone(&made);
            let task = tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    match client.provisions().get(id).await {
                        Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
                        Err(error) if is_hardy && tells_of_an_outage(&error) => sleep(PAUSE).await,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            (task, made)
        })
        .collect();
    until.await;
    is_over.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for (task, made) in tasks {
        counts.push(made.load(Ordering::Relaxed));
        task.abort();
        assert!(task.await.map_or_else(|error| error.is_cancelled(), |()| true), "a call has failed");
    }
    counts
}
