//! Shared parts of the tests: a bunq on loopback, a client for it, and a store.

#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sealed;
pub mod secrets;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::{
    BoxFuture, Client, ContextLock, ContextStore, Custody, CustodyEntry, CustodyFilter, Error, MemoryCustody,
    NewProvision, ProvisionId, RetryPolicy, Secret, UserClient, Uuid, Waiter,
};
use bunq_partner_sandbox::{CallLogEntry, Sandbox};

pub use self::sealed::{resealed, unsealed};

pub async fn start() -> (Sandbox, Client) {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(at_once()).build().unwrap();
    (sandbox, client)
}

/// A policy of one attempt.
pub fn once() -> RetryPolicy {
    at_once().max_attempts(1)
}

pub async fn start_without_retries() -> (Sandbox, Client) {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(once()).build().unwrap();
    (sandbox, client)
}

/// The default number of attempts, without pauses.
pub fn at_once() -> RetryPolicy {
    RetryPolicy::default().initial_backoff(Duration::ZERO)
}

pub fn person() -> NewProvision {
    let email = "user@example.com".parse().unwrap();
    NewProvision::person(Uuid::new_v4(), email, "+31600000000".parse().unwrap())
}

pub fn id(id: u64) -> ProvisionId {
    id.try_into().unwrap()
}

/// Polls without a pause: the sandbox advances with each read.
pub fn quick(waiter: Waiter) -> Waiter {
    waiter.poll_interval(Duration::from_millis(1))
}

/// A provision that is ready.
pub async fn ready(client: &Client) -> ProvisionId {
    quick(client.provisions().create(person()).await.unwrap()).wait().await.unwrap().id
}

/// The client of a user, whose credential it uses.
pub async fn user_of(sandbox: &Sandbox, id: ProvisionId) -> UserClient {
    let client = sandbox.client().retry(at_once()).custody(MemoryCustody::new()).build().unwrap();
    client.users().activate(id).await.unwrap()
}

/// Uses the credential of a provision, whose token is lost then.
pub async fn use_elsewhere(sandbox: &Sandbox, id: ProvisionId) {
    user_of(sandbox, id).await;
}

/// The same bank, at the same address, which has replaced the partner's API key.
pub async fn with_key(sandbox: Sandbox, api_key: &str) -> Sandbox {
    let mut state: serde_json::Value = serde_json::from_str(sandbox.saved_state().unwrap().expose()).unwrap();
    let port = sandbox.base_url().rsplit(':').next().unwrap().trim_end_matches("/v1").parse().unwrap();
    state["api_key"] = api_key.into();
    drop(sandbox);
    loop {
        match Sandbox::builder().saved_state(state.to_string().into()).port(port).start().await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
            started => return started.unwrap(),
        }
    }
}

/// The calls of `method` on a path that ends in `path`.
pub fn calls(sandbox: &Sandbox, method: &str, path: &str) -> Vec<CallLogEntry> {
    sandbox.call_log().into_iter().filter(|call| call.method == method && call.path.ends_with(path)).collect()
}

/// A folder for one test, which is removed at its end. No context and no record of a user in it may have a secret that can be read.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("bunq-partner-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a file with this text that only its owner can read and write, and returns its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// Makes a folder in it that only its owner can use, unless it is there, and returns its path.
    pub fn own_folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let found = kept_readable(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
        assert!(std::thread::panicking() || found.is_none(), "a secret can be read: {found:?}");
    }
}

/// A context or a record of a user below a folder in which a secret can be read, and that.
fn kept_readable(folder: &Path) -> Option<(PathBuf, String)> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().find_map(|entry| {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return kept_readable(&path);
        }
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let bytes = is_file.then(|| std::fs::read(&path).ok()).flatten()?;
        let text = String::from_utf8_lossy(&bytes);
        let is_kept = [r#""environment":"#, r#""base_url":"#].iter().all(|member| text.contains(member));
        is_kept.then(|| secrets::secret_in(&bytes)).flatten().map(|secret| (path, secret))
    })
}

/// A store in memory that the clients of a test can share.
#[derive(Clone, Default)]
pub struct MemoryStore {
    stored: Arc<Mutex<Option<Secret>>>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl MemoryStore {
    pub fn stored(&self) -> Option<Secret> {
        self.stored.lock().unwrap().clone()
    }

    pub fn replace(&self, text: &str) {
        *self.stored.lock().unwrap() = Some(text.into());
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl ContextStore for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async { Ok(self.stored()) })
    }

    fn save<'a>(&'a self, _lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            assert_eq!(secrets::secret_in(context.expose().as_bytes()), None, "it can be read");
            *self.stored.lock().unwrap() = Some(context);
            Ok(())
        })
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async { Ok(ContextLock::new(Arc::clone(&self.lock).lock_owned().await)) })
    }
}

/// A public key from the vectors.
pub fn vector_key(name: &str) -> String {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../openapi/vectors/keys.json")).unwrap();
    let case = vectors["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap().clone();
    case["public_key_pem"].as_str().unwrap().to_owned()
}

/// The same public RSA key in PKCS#1.
pub fn in_pkcs1(pem: &str) -> String {
    let key = aws_lc_rs::rsa::PublicKey::from_der(pem::parse(pem).unwrap().contents()).unwrap();
    pem::encode(&pem::Pem::new("RSA PUBLIC KEY", key.as_ref()))
}

/// Collects all log lines.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Returns what was logged since the last call. No field of this crate has the `Debug` of an `Option`; those of the crates
    /// below it may.
    pub fn take(&self) -> String {
        let logged = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let is_foreign = |line: &str| [": hyper", ": reqwest", ": rustls"].iter().any(|target| line.contains(target));
        let debugged =
            logged.lines().find(|line| !is_foreign(line) && (line.contains("=Some(") || line.contains("=None")));
        assert_eq!(debugged, None);
        logged
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The custody of a process that may end: this is called before each of its writes.
pub struct EndingCustody<C> {
    pub custody: C,
    pub before_write: Box<dyn Fn() -> Result<(), Error> + Send + Sync>,
}

impl<C: Custody> EndingCustody<C> {
    pub fn new(custody: C, before_write: impl Fn() -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self { custody, before_write: Box::new(before_write) }
    }
}

impl<C: Custody> std::fmt::Debug for EndingCustody<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.custody.fmt(f)
    }
}

impl<C: Custody> Custody for EndingCustody<C> {
    fn name(&self) -> String {
        self.custody.name()
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        self.custody.load(id)
    }

    fn save<'a>(
        &'a self,
        lock: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            (self.before_write)()?;
            assert_eq!(secrets::secret_in(text.expose().as_bytes()), None, "it can be read");
            self.custody.save(lock, entry, text).await
        })
    }

    fn remove<'a>(&'a self, lock: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            (self.before_write)()?;
            self.custody.remove(lock, id).await
        })
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.custody.lock(id)
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        self.custody.list(filter, after)
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        self.custody.entry(id)
    }
}
