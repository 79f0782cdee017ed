//! bunq has a new key, or has forgotten the installation: one client that reinstalls repairs all clients that share its
//! store.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bunq_partner::wire::SigningKey;
use bunq_partner::{
    Acceptance, BoxFuture, Client, ContextLock, ContextStore, Environment, Error, ErrorKind, FileStore, MemoryCustody,
    Operation, Secret,
};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::future::{FutureExt as _, join_all};
use tokio::sync::Notify;

use crate::common::{Folder, Log, MemoryStore, at_once, calls, once, person, ready};

/// Environment variables that tell another process of this test which sandbox and file to use.
const BASE_URL: &str = "BUNQ_PARTNER_TEST_BASE_URL";
const CONTEXT: &str = "BUNQ_PARTNER_TEST_CONTEXT";
const API_KEY: &str = "sandbox_of_the_test";

/// Precedes each answer of another process of this test.
const TOLD: &str = "told: ";

fn installations(sandbox: &Sandbox) -> usize {
    calls(sandbox, "POST", "/installation").len()
}

async fn call(client: &Client) -> Result<(), Error> {
    client.provisions().list().page().await.map(drop)
}

/// Another process with a client on the same file.
struct Neighbour {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Neighbour {
    fn start(sandbox: &Sandbox, file: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["another_key::a_neighbour", "--exact", "--ignored", "--nocapture"])
            .env(BASE_URL, sandbox.base_url())
            .env(CONTEXT, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn tell(&mut self, order: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    /// The outcome of a command: `ok`, or the kind of the failure.
    fn told(&mut self) -> String {
        let told = |line: String| line.split_once(TOLD).map(|(_, told)| told.to_owned());
        self.lines.by_ref().find_map(|line| told(line.unwrap())).unwrap()
    }

    fn asked(&mut self, order: &str) -> String {
        self.tell(order);
        self.told()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // The process ends at the end of its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The body of the other process: it executes commands.
#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn a_neighbour() {
    test_timeout::start();
    let (base_url, context) = (std::env::var(BASE_URL).unwrap(), std::env::var(CONTEXT).unwrap());
    let builder = Client::builder(Environment::Sandbox).api_key(API_KEY).base_url(base_url).without_rate_limits();
    let client = builder.context_store(FileStore::new(context)).retry(at_once()).build().unwrap();
    for order in std::io::stdin().lines() {
        let outcome = match order.unwrap().as_str() {
            "call" => call(&client).await,
            _ => client.reinstall().await,
        };
        println!("\n{TOLD}{}", outcome.map_or_else(|error| error.kind().as_str(), |()| "ok"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_goes_on_when_its_neighbour_has_reinstalled() {
    test_timeout::start();
    for (is_forgotten, are_signed, expected) in [
        (true, true, "Unauthorized"),
        (true, false, "Unauthorized"),
        (false, true, "Signature"),
        (false, false, "Signature"),
    ] {
        let builder = Sandbox::builder().api_key(API_KEY.into()).signed_refusals(are_signed);
        let (sandbox, folder) = (builder.start().await.unwrap(), Folder::new());
        let file = folder.path("context.json");
        let client = sandbox.client().retry(at_once()).context_store(FileStore::new(&file)).build().unwrap();
        call(&client).await.unwrap();
        let mut neighbours: Vec<_> = (0..3).map(|_| Neighbour::start(&sandbox, &file)).collect();
        assert!(neighbours.iter_mut().all(|neighbour| neighbour.asked("call") == "ok"));

        if is_forgotten {
            sandbox.forget_installations();
        }
        sandbox.change_key().await.unwrap();
        for neighbour in &mut neighbours {
            assert_eq!(neighbour.asked("call"), expected, "{is_forgotten} {are_signed}");
        }
        assert_eq!(installations(&sandbox), 1);
        client.reinstall().await.unwrap();
        for neighbour in &mut neighbours {
            assert_eq!(neighbour.asked("call"), "ok", "{is_forgotten} {are_signed}");
        }
        assert_eq!(installations(&sandbox), 2);

        // All of them reinstall at once.
        sandbox.forget_installations();
        sandbox.change_key().await.unwrap();
        neighbours.iter_mut().for_each(|neighbour| neighbour.tell("reinstall"));
        assert!(neighbours.iter_mut().all(|neighbour| neighbour.told() == "ok"));
        assert_eq!(installations(&sandbox), 3);
        assert!(neighbours.iter_mut().all(|neighbour| neighbour.asked("call") == "ok"));
        call(&client).await.unwrap();
        assert_eq!(installations(&sandbox), 3);
    }
}

/// A store that counts how often it is read.
#[derive(Clone, Debug, Default)]
struct Counting {
    store: MemoryStore,
    loads: Arc<AtomicUsize>,
}

impl ContextStore for Counting {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.store.load()
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        self.store.save(lock, context)
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.store.lock()
    }
}

#[tokio::test]
async fn a_failed_call_reads_the_store_once() {
    test_timeout::start();
    let sandbox = Sandbox::builder().signed_refusals(true).start().await.unwrap();
    let store = Counting::default();
    let client = sandbox.client().context_store(store.clone()).retry(at_once()).build().unwrap();
    call(&client).await.unwrap();
    sandbox.change_key().await.unwrap();
    for is_forgotten in [false, true] {
        if is_forgotten {
            sandbox.forget_installations();
        }
        for _ in 0..3 {
            store.loads.store(0, Ordering::Relaxed);
            sandbox.take_call_log();
            call(&client).await.unwrap_err();
            assert_eq!(store.loads.load(Ordering::Relaxed), 1);
            // If the store has no other installation, the call is not tried again.
            assert_eq!(sandbox.take_call_log().len(), if is_forgotten { 4 } else { 2 });
        }
    }
    // A store that cannot be read does not invalidate what the client knows.
    store.store.replace("{");
    let error = call(&client).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Unauthorized, Some(401)), "{error}");
}

#[tokio::test]
async fn a_request_whose_success_cannot_be_verified_is_not_repeated() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let store = MemoryStore::default();
    let [one, other] = [(); 2].map(|()| sandbox.client().context_store(store.clone()).retry(once()).build().unwrap());
    for client in [&one, &other] {
        call(client).await.unwrap();
    }
    sandbox.change_key().await.unwrap();
    one.reinstall().await.unwrap();
    let error = other.api().create_provision(&person().into()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_doubtful()), (ErrorKind::Signature, true), "{error}");
    call(&other).await.unwrap();

    // `create` checks the outcome with the new key.
    sandbox.change_key().await.unwrap();
    one.reinstall().await.unwrap();
    let created = other.provisions().create(person()).await.unwrap();
    assert_eq!(created.acceptance(), Acceptance::Found);
    assert_eq!(sandbox.provision_ids().len(), 2);
}

/// No session can be opened for a while, because one has just been refused.
#[tokio::test]
async fn a_refused_session_that_cannot_be_renewed_is_read_from_the_store() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let (store, hour) = (MemoryStore::default(), Duration::from_secs(3600));
    let [one, other] = [(); 2].map(|()| {
        let builder = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 3, hour).retry(once());
        builder.context_store(store.clone()).build().unwrap()
    });
    call(&one).await.unwrap();
    call(&other).await.unwrap();
    sandbox.end_sessions();
    call(&other).await.unwrap();
    sandbox.forget_installations();
    assert_eq!(call(&other).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    one.reinstall().await.unwrap();
    call(&other).await.unwrap();
    assert_eq!(installations(&sandbox), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_who_reinstall_at_once_share_one_installation() {
    test_timeout::start();
    let key = SigningKey::generate().unwrap();
    for has_store in [false, true] {
        for is_cold in [false, true] {
            let sandbox = Sandbox::start().await.unwrap();
            let gate = Arc::new(tokio::sync::Mutex::new(()));
            let (passed, key) = (Arc::clone(&gate), key.clone());
            let builder = sandbox.client().signing_keys(move || {
                drop(passed.blocking_lock());
                Ok(key.clone())
            });
            let builder = if has_store { builder.context_store(MemoryStore::default()) } else { builder };
            let client = builder.build().unwrap();
            if !is_cold {
                call(&client).await.unwrap();
            }
            sandbox.take_call_log();
            let reinstall = |client: Client| async move { client.reinstall().await };
            let mut all: Vec<_> = (0..3).map(|_| Box::pin(reinstall(client.clone()))).collect();
            // All of them have begun before there is a key for an installation.
            let shut = gate.lock().await;
            assert!(all.iter_mut().all(|one| one.now_or_never().is_none()));
            drop(shut);
            let all = all.into_iter().map(tokio::spawn);
            // Other calls go on meanwhile.
            let (all, reads) = tokio::join!(join_all(all), join_all((0..10).map(|_| call(&client))));
            assert!(all.into_iter().all(|outcome| outcome.unwrap().is_ok()) && reads.iter().all(Result::is_ok));
            assert_eq!(installations(&sandbox), 1, "{has_store} {is_cold}");
            // A later reinstallation makes another one.
            client.reinstall().await.unwrap();
            assert_eq!(installations(&sandbox), 2, "{has_store} {is_cold}");
        }
    }
}

/// A store whose first reader waits.
#[derive(Clone, Debug, Default)]
struct SlowForTheFirst {
    store: MemoryStore,
    loads: Arc<AtomicUsize>,
    has_begun: Arc<Notify>,
    goes_on: Arc<Notify>,
}

impl ContextStore for SlowForTheFirst {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async {
            if self.loads.fetch_add(1, Ordering::Relaxed) == 0 {
                self.has_begun.notify_one();
                self.goes_on.notified().await;
            }
            self.store.load().await
        })
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        self.store.save(lock, context)
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.store.lock()
    }
}

/// A call of the same client makes the first installation while `reinstall` looks for one to replace.
#[tokio::test]
async fn an_installation_that_the_client_has_just_made_is_not_replaced() {
    test_timeout::start();
    let (sandbox, store) = (Sandbox::start().await.unwrap(), SlowForTheFirst::default());
    let client = sandbox.client().context_store(store.clone()).build().unwrap();
    let others = async {
        store.has_begun.notified().await;
        call(&client).await.unwrap();
        store.goes_on.notify_one();
    };
    let (reinstalled, ()) = tokio::join!(client.reinstall(), others);
    reinstalled.unwrap();
    assert_eq!(installations(&sandbox), 1);
    client.reinstall().await.unwrap();
    assert_eq!(installations(&sandbox), 2);
}

#[tokio::test]
async fn those_who_reinstall_at_once_share_a_failure_too() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(once()).context_store(MemoryStore::default()).build().unwrap();
    sandbox.inject(Injection::new(Fault::Status(405)).on(&Operation::CREATE_DEVICE_SERVER));
    for outcome in join_all((0..3).map(|_| client.reinstall())).await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Rejected);
    }
    assert_eq!(calls(&sandbox, "POST", "/device-server").len(), 1);
    client.reinstall().await.unwrap();
}

/// A client of a user asks where its partner's does.
#[tokio::test]
async fn each_installation_asks_for_its_key() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let keys = [(); 3].map(|()| SigningKey::generate().unwrap());
    let (asked, given) = (AtomicUsize::new(0), keys.clone());
    let next = move || Ok(given[asked.fetch_add(1, Ordering::Relaxed)].clone());
    let client = sandbox.client().signing_keys(next).custody(MemoryCustody::new()).build().unwrap();
    let id = ready(&client).await;
    client.reinstall().await.unwrap();
    client.users().activate(id).await.unwrap();
    let sent = calls(&sandbox, "POST", "/installation").into_iter().map(|call| {
        let body: serde_json::Value = serde_json::from_str(&call.body).unwrap();
        body["client_public_key"].as_str().unwrap().to_owned()
    });
    assert!(sent.eq(keys.map(|key| key.public_key_pem().unwrap())));

    let client = sandbox.client().signing_keys(|| SigningKey::from_pkcs8(&"!".into())).build().unwrap();
    sandbox.take_call_log();
    let error = client.open_session().await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Internal, "the private key is not base64"));
    assert!(sandbox.call_log().is_empty());
}

/// bunq may have forgotten the installation that others have stored too.
#[tokio::test]
async fn an_installation_that_is_of_no_use_is_not_taken_over() {
    test_timeout::start();
    let (sandbox, store) = (Sandbox::start().await.unwrap(), MemoryStore::default());
    let [one, other] = [(); 2].map(|()| sandbox.client().context_store(store.clone()).retry(once()).build().unwrap());
    call(&one).await.unwrap();
    call(&other).await.unwrap();
    one.reinstall().await.unwrap();
    sandbox.forget_installations();
    other.reinstall().await.unwrap();
    call(&other).await.unwrap();
    assert_eq!(installations(&sandbox), 3);
}

/// A store on a full disk.
#[derive(Debug)]
struct Full;

impl ContextStore for Full {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async { Ok(None) })
    }

    fn save<'a>(&'a self, _lock: &'a ContextLock, _context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Err(Error::context("Full: there is no space left")) })
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async { Ok(ContextLock::new(())) })
    }
}

#[tokio::test]
async fn a_context_that_cannot_be_saved_is_logged() {
    test_timeout::start();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().context_store(Full).build().unwrap();
    assert_eq!(client.open_session().await.unwrap_err().kind(), ErrorKind::Context);
    let logged = log.take();
    assert!(logged.contains(" WARN ") && logged.contains("the context is not kept"), "{logged}");
    assert!(logged.contains("Full: there is no space left"), "{logged}");
}
