//! The stored context: a client continues its session after a restart, and processes share it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::{
    BoxFuture, Client, ContextLock, ContextStore, Environment, Error, ErrorKind, FileStore, Operation, Secret, Sent,
};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::future::join_all;

use crate::common::{Folder, Log, MemoryStore, at_once, calls, id, ready, resealed, unsealed};

/// Environment variables that tell another process of this test which sandbox and file to use.
const BASE_URL: &str = "BUNQ_PARTNER_TEST_BASE_URL";
const CONTEXT: &str = "BUNQ_PARTNER_TEST_CONTEXT";
const API_KEY: &str = "sandbox_of_the_test";

/// A context file for one test, in a folder that is removed with it.
struct ContextFile(PathBuf, #[allow(dead_code, reason = "it is there to be dropped")] Folder);

impl ContextFile {
    fn new() -> Self {
        let folder = Folder::new();
        Self(folder.path("context.json"), folder)
    }

    fn client(&self, sandbox: &Sandbox) -> Client {
        sandbox.client().retry(at_once()).context_store(FileStore::new(&self.0)).build().unwrap()
    }
}

async fn start() -> Sandbox {
    Sandbox::builder().api_key(API_KEY.into()).start().await.unwrap()
}

fn handshakes(sandbox: &Sandbox) -> [usize; 3] {
    ["/installation", "/device-server", "/session-server"].map(|path| calls(sandbox, "POST", path).len())
}

#[tokio::test]
async fn a_restart_makes_no_authentication_call() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    let id = ready(&file.client(&sandbox)).await;
    let before = sandbox.call_log().len();
    file.client(&sandbox).provisions().get(id).await.unwrap();
    assert_eq!(sandbox.call_log().len(), before + 1);
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
}

#[tokio::test]
async fn a_restart_with_a_dead_session_opens_only_a_session() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    let id = ready(&file.client(&sandbox)).await;
    sandbox.end_sessions();
    let first = file.client(&sandbox);
    let second = file.client(&sandbox);
    first.provisions().get(id).await.unwrap();
    // The second client has the dead session too, and loads the new one from the store.
    second.provisions().get(id).await.unwrap();
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

/// All of them know that it is dead, and one opens another.
#[tokio::test]
async fn a_dead_session_is_replaced_once_by_all_clients_of_a_store_together() {
    test_timeout::start();
    let (sandbox, store) = (start().await, MemoryStore::default());
    let client = || sandbox.client().retry(at_once()).context_store(store.clone()).build().unwrap();
    let clients = [client(), client(), client()];
    for client in &clients {
        client.open_session().await.unwrap();
    }
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
    sandbox.end_sessions();
    let called = join_all(clients.iter().map(async |client| client.api().get_installation().await)).await;
    assert!(called.iter().all(Result::is_ok), "{called:?}");
    assert_eq!(calls(&sandbox, "GET", "/installation").len(), 2 * clients.len());
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

#[tokio::test]
async fn an_interrupted_opening_is_resumed() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    sandbox.inject(Injection::new(Fault::Status(405)).on(&Operation::CREATE_SESSION));
    assert_eq!(file.client(&sandbox).provisions().get(id(1)).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(file.client(&sandbox).provisions().get(id(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

#[tokio::test]
async fn an_ended_session_is_not_used_again() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    let id = ready(&file.client(&sandbox)).await;
    // Another process may end the session that this one has stored.
    file.client(&sandbox).end_session().await.unwrap();
    file.client(&sandbox).end_session().await.unwrap();
    assert_eq!(calls(&sandbox, "DELETE", "/session/0").len(), 1);
    file.client(&sandbox).provisions().get(id).await.unwrap();
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

#[tokio::test]
async fn clients_of_one_process_can_share_a_context_too() {
    test_timeout::start();
    let (sandbox, store) = (start().await, MemoryStore::default());
    let client = || sandbox.client().context_store(store.clone()).build().unwrap();
    let id = ready(&client()).await;
    client().provisions().get(id).await.unwrap();
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_not_released_ends_the_call() {
    test_timeout::start();
    let (sandbox, store) = (start().await, MemoryStore::default());
    let held = store.lock().await.unwrap();
    let builder = sandbox.client().context_store(store.clone()).operation_timeout(Duration::from_millis(200));
    let client = builder.build().unwrap();
    let error = client.open_session().await.unwrap_err();
    assert_eq!((error.kind(), error.sent(), error.is_retryable()), (ErrorKind::Busy, Sent::No, true));
    let expected = "MemoryStore: its lock was not released within 200 ms: try again";
    assert_eq!(error.to_string(), expected);
    assert!(sandbox.call_log().is_empty());
    drop(held);
    client.open_session().await.unwrap();
    assert!(store.lock().await.is_ok(), "an opening releases the lock");
}

/// A store that never responds.
#[derive(Debug)]
struct Hanging;

impl ContextStore for Hanging {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(std::future::pending())
    }

    fn save<'a>(&'a self, _lock: &'a ContextLock, _context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::pending())
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_ends_the_call() {
    test_timeout::start();
    let sandbox = start().await;
    let builder = sandbox.client().context_store(Hanging).operation_timeout(Duration::from_millis(100));
    let client = builder.build().unwrap();
    let errors = [client.open_session().await.unwrap_err(), client.end_session().await.unwrap_err()];
    for (error, kind) in errors.into_iter().zip([ErrorKind::Context, ErrorKind::Busy]) {
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().starts_with("Hanging: its "), "{error}");
    }
}

#[tokio::test]
async fn a_session_that_was_stored_without_its_user_is_replaced_to_know_it() {
    test_timeout::start();
    let (sandbox, store) = (start().await, MemoryStore::default());
    let client = || sandbox.client().context_store(Arc::new(store.clone())).build().unwrap();
    client().open_session().await.unwrap();
    let mut stored = unsealed(store.stored().unwrap().expose(), &sandbox.api_key());
    stored["session"].as_object_mut().unwrap().remove("user");
    store.replace(&stored.to_string());
    let client = client();
    client.user().await.unwrap();
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

#[tokio::test]
async fn an_unusable_context_is_refused_and_left_as_it_is() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    ready(&file.client(&sandbox)).await;
    let before = (sandbox.call_log().len(), std::fs::read(&file.0).unwrap());

    let other_bank = Sandbox::builder().api_key(API_KEY.into()).start().await.unwrap();
    let other_key = sandbox.client().api_key("sandbox_of_somebody_else").context_store(FileStore::new(&file.0)).build();
    for (client, what) in [(other_key.unwrap(), "API key"), (file.client(&other_bank), "base URL")] {
        let error = client.provisions().get(id(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Context);
        assert!(error.to_string().contains(what), "{error}");
    }
    std::fs::write(&file.0, "{").unwrap();
    let error = file.client(&sandbox).provisions().get(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Context, "{error}");
    assert_eq!(std::fs::read(&file.0).unwrap(), b"{");

    std::fs::write(&file.0, &before.1).unwrap();
    assert_eq!((sandbox.call_log().len(), std::fs::read(&file.0).unwrap()), before);
    assert!(other_bank.call_log().is_empty());
}

#[tokio::test]
async fn the_file_holds_no_api_key_and_only_its_owner_can_read_it() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    ready(&file.client(&sandbox)).await;
    let text = std::fs::read_to_string(&file.0).unwrap();
    assert!(!text.contains(API_KEY));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// This happens with a volume that is given to a group each time it is mounted.
#[cfg(unix)]
#[tokio::test]
async fn the_group_of_the_file_cannot_use_it_any_more() {
    test_timeout::start();
    use std::os::unix::fs::PermissionsExt as _;

    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let (sandbox, file) = (start().await, ContextFile::new());
    let id = ready(&file.client(&sandbox)).await;
    std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o660)).unwrap();
    file.client(&sandbox).provisions().get(id).await.unwrap();
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
    assert_eq!(std::fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
    let said = log.take();
    let event = said.lines().find(|line| line.contains(&file.0.display().to_string())).unwrap();
    assert!(
        event.contains("the group of a file could use it: that is taken away") && event.contains("0660"),
        "{event}"
    );
}

/// The body of the other process: many tasks read a provision at once.
#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn another_process() {
    test_timeout::start();
    let (base_url, context) = (std::env::var(BASE_URL).unwrap(), std::env::var(CONTEXT).unwrap());
    let builder = Client::builder(Environment::Sandbox).api_key(API_KEY).base_url(base_url).without_rate_limits();
    let client = builder.context_store(FileStore::new(context)).build().unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let provisions = client.provisions();
            tokio::spawn(async move { provisions.list().page().await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_on_one_file_open_one_session() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    let spawn = |_| -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["kept_context::another_process", "--exact", "--ignored"])
            .env(BASE_URL, sandbox.base_url())
            .env(CONTEXT, &file.0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let wait = |children: Vec<Child>| children.into_iter().all(|mut child| child.wait().unwrap().success());
    assert!(wait((0..4).map(spawn).collect()));
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);

    sandbox.end_sessions();
    assert!(wait((0..4).map(spawn).collect()));
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

#[tokio::test]
async fn a_stored_installation_that_bunq_has_forgotten_is_replaced_only_on_request() {
    test_timeout::start();
    for remedy in ["reinstall", "remove the file"] {
        let (sandbox, file) = (start().await, ContextFile::new());
        let client = file.client(&sandbox);
        client.open_session().await.unwrap();
        sandbox.forget_installations();
        let stored = std::fs::read(&file.0).unwrap();
        let error = client.provisions().get(id(1)).await.unwrap_err();
        assert!(error.to_string().contains("make another installation with `Client::reinstall`"), "{error}");
        assert_eq!((handshakes(&sandbox), std::fs::read(&file.0).unwrap() == stored), ([1, 1, 2], true));
        if remedy == "reinstall" {
            client.reinstall().await.unwrap();
        } else {
            std::fs::remove_file(&file.0).unwrap();
        }
        assert_eq!(client.provisions().get(id(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(handshakes(&sandbox), [2, 2, 3]);
        file.client(&sandbox).open_session().await.unwrap();
        assert_eq!(handshakes(&sandbox), [2, 2, 3], "it is stored");
    }
}

#[tokio::test]
async fn the_context_of_another_key_is_not_replaced_on_request() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    file.client(&sandbox).open_session().await.unwrap();
    let stored = std::fs::read(&file.0).unwrap();
    let builder = sandbox.client().api_key("sandbox_another").context_store(FileStore::new(&file.0));
    let error = builder.build().unwrap().reinstall().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Context, "{error}");
    assert_eq!(std::fs::read(&file.0).unwrap(), stored);
}

/// Changes one value of the stored context.
fn damage(file: &ContextFile, pointer: &str, value: &str) {
    let text = std::fs::read_to_string(&file.0).unwrap();
    let mut stored = unsealed(&text, &API_KEY.into());
    *stored.pointer_mut(pointer).unwrap() = value.into();
    std::fs::write(&file.0, resealed(&text, &stored, &API_KEY.into())).unwrap();
}

#[tokio::test]
async fn a_damaged_session_token_is_replaced_by_a_new_session() {
    test_timeout::start();
    for damaged in ["with\na line break", "", "unknown to bunq"] {
        let (sandbox, file) = (start().await, ContextFile::new());
        file.client(&sandbox).open_session().await.unwrap();
        damage(&file, "/session/token", damaged);
        file.client(&sandbox).provisions().list().page().await.unwrap();
        assert_eq!(handshakes(&sandbox), [1, 1, 2], "{damaged:?}");
    }
}

#[tokio::test]
async fn a_damaged_key_is_an_error_that_says_what_to_do() {
    test_timeout::start();
    let (sandbox, file) = (start().await, ContextFile::new());
    file.client(&sandbox).open_session().await.unwrap();
    // A well-formed key of another client.
    let other = ContextFile::new();
    other.client(&start().await).open_session().await.unwrap();
    let other = unsealed(&std::fs::read_to_string(&other.0).unwrap(), &API_KEY.into());
    damage(&file, "/installation/server_public_key", other["installation"]["server_public_key"].as_str().unwrap());

    let client = file.client(&sandbox);
    let error = client.provisions().list().page().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Signature);
    assert!(error.to_string().contains("make another installation with `Client::reinstall`"), "{error}");
    assert_eq!(handshakes(&sandbox)[0], 1, "a signature that is not valid never leads to a new installation");
    client.reinstall().await.unwrap();
    client.provisions().list().page().await.unwrap();
}
