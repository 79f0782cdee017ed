//! What is kept is sealed, and sealed anew when the API key changes.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bunq_partner::{
    ApiKeySealer, BoxFuture, Client, ClientBuilder, ContextLock, ContextStore, Custody as _, CustodyFilter,
    Environment, Error, ErrorKind, FileCustody, FileStore, KeySealer, MemoryCustody, ProvisionId, Rekeyed, Secret,
    Sent,
};
use bunq_partner_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::common::secrets::secret_in;
use crate::common::{EndingCustody, Folder, MemoryStore, at_once, calls, unsealed, with_key};

const NEW_KEY: &str = "sandbox_the-new-key";

/// What is kept of a partner and its users.
#[derive(Clone, Default)]
struct Kept {
    store: MemoryStore,
    custody: MemoryCustody,
}

impl Kept {
    fn of(&self, builder: ClientBuilder) -> ClientBuilder {
        builder.retry(at_once()).context_store(self.store.clone()).custody(self.custody.clone())
    }

    fn client(&self, sandbox: &Sandbox) -> Client {
        self.of(sandbox.client()).build().unwrap()
    }

    /// The texts of all: the context first.
    async fn texts(&self) -> Vec<String> {
        let entries = self.custody.list(CustodyFilter::All, None).await.unwrap();
        let mut texts = vec![self.store.stored().unwrap().expose().to_owned()];
        for entry in entries {
            texts.push(self.custody.load(entry.provision_id).await.unwrap().unwrap().expose().to_owned());
        }
        texts
    }

    /// Puts in the place of each text that of the version before, which is readable.
    async fn make_readable(&self, api_key: &Secret, fingerprint: &str) {
        self.store.replace(&unsealed(self.store.stored().unwrap().expose(), api_key).to_string());
        for entry in self.custody.list(CustodyFilter::All, None).await.unwrap() {
            let text = self.custody.load(entry.provision_id).await.unwrap().unwrap();
            let mut record = unsealed(text.expose(), api_key);
            record["bunq_partner_user"] = json!(1);
            record["api_key_fingerprint"] = json!(fingerprint);
            let lock = self.custody.lock(entry.provision_id).await.unwrap();
            self.custody.save(&lock, entry, record.to_string().into()).await.unwrap();
        }
    }
}

/// A bank and three users, for whom a client has acted.
async fn in_use() -> (Sandbox, Kept, Vec<ProvisionId>) {
    let (sandbox, kept) = (Sandbox::start().await.unwrap(), Kept::default());
    let ids = sandbox.populate(3);
    let users = kept.client(&sandbox).users();
    for id in &ids {
        users.activate(*id).await.unwrap();
    }
    (sandbox, kept, ids)
}

/// The calls that open sessions.
fn handshakes(sandbox: &Sandbox) -> [usize; 3] {
    ["/installation", "/device-server", "/session-server"].map(|path| calls(sandbox, "POST", path).len())
}

fn counts(rekeyed: &Rekeyed) -> (u64, u64, usize) {
    (rekeyed.resealed, rekeyed.unchanged, rekeyed.refused.len())
}

fn is_sealed(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|text| text["sealed"].is_string())
}

/// The bytes of all files in a folder and below.
fn bytes_in(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { bytes_in(&path) } else { fs::read(&path).unwrap() }).collect()
}

#[tokio::test]
async fn no_secret_is_in_what_is_kept() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let client = || {
        let builder = sandbox.client().retry(at_once()).context_store(FileStore::new(folder.path("context.json")));
        builder.custody(FileCustody::new(&users)).build().unwrap()
    };
    let ids = sandbox.populate(2);
    let mut secrets = BTreeSet::from([sandbox.api_key().expose().to_owned()]);
    for id in &ids {
        let token = sandbox.provision(*id).unwrap()["credential"]["token_value"].clone();
        secrets.insert(token.as_str().unwrap().to_owned());
        client().users().activate(*id).await.unwrap().api().list_credentials().await.unwrap();
    }
    sandbox.end_sessions();
    client().users().reset(ids[0]).await.unwrap().api().list_credentials().await.unwrap();
    client().users().of(ids[1]).api().list_credentials().await.unwrap();
    let token = sandbox.provision(ids[0]).unwrap()["credential"]["token_value"].clone();
    secrets.extend(token.as_str().map(str::to_owned));
    // All tokens of installations and sessions.
    for call in sandbox.call_log() {
        secrets.extend(call.header("x-bunq-client-authentication").map(str::to_owned));
    }
    assert!(secrets.len() > 10, "{}", secrets.len());
    // What a folder is searched for at its end, in each test.
    let context = unsealed(&fs::read_to_string(folder.path("context.json")).unwrap(), &sandbox.api_key());
    let installation = context["installation"].as_object().unwrap();
    secrets.extend(["signing_key", "token"].map(|name| installation[name].as_str().unwrap().to_owned()));
    secrets.extend(["{\"key\":\"-----BEGIN PRIVATE KEY-----\\n\"}".to_owned()]);
    assert!(secrets.iter().all(|secret| secret_in(secret.as_bytes()).is_some()), "{secrets:?}");

    secrets.extend(["token", "signing_key"].map(str::to_owned));
    let kept = bytes_in(&folder.0);
    assert!(kept.len() > 5000, "{}", kept.len());
    for secret in secrets {
        assert!(!kept.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret} is kept readable");
    }

    let readable = Folder::new();
    readable.file("context.json", &context.to_string());
    let found = catch_unwind(AssertUnwindSafe(|| drop(readable))).unwrap_err();
    assert!(found.downcast_ref::<String>().unwrap().contains("a secret can be read"), "{found:?}");
}

#[tokio::test]
async fn what_an_earlier_version_has_kept_is_used_and_then_sealed() {
    test_timeout::start();
    let (sandbox, kept, ids) = in_use().await;
    let fingerprint = kept.client(&sandbox).api_key_fingerprint().to_owned();
    kept.make_readable(&sandbox.api_key(), &fingerprint).await;
    assert!(!kept.texts().await.iter().any(|text| is_sealed(text)));
    sandbox.take_call_log();
    let client = kept.client(&sandbox);
    client.user().await.unwrap();
    for id in &ids {
        client.users().of(*id).api().list_credentials().await.unwrap();
    }
    assert_eq!(handshakes(&sandbox), [0; 3]);

    sandbox.end_sessions();
    client.provisions().list().page().await.unwrap();
    for id in &ids {
        client.users().of(*id).api().list_credentials().await.unwrap();
    }
    assert_eq!(handshakes(&sandbox), [0, 0, 4]);
    assert!(kept.texts().await.iter().all(|text| is_sealed(text)), "{:?}", kept.texts().await);

    // Those of another key are refused, as by that version.
    kept.make_readable(&sandbox.api_key(), "another").await;
    let error = kept.client(&sandbox).users().of(ids[0]).api().list_credentials().await.unwrap_err();
    assert!(error.to_string().contains("belongs to another API key and was left as it is"), "{error}");
}

#[tokio::test]
async fn another_api_key_loses_no_user() {
    test_timeout::start();
    let (sandbox, kept, ids) = in_use().await;
    let old_key = sandbox.api_key();
    let sandbox = with_key(sandbox, NEW_KEY).await;
    let before = kept.texts().await;

    // Nothing is sent, and nothing is replaced.
    let client = kept.client(&sandbox);
    let errors =
        [client.open_session().await.unwrap_err(), client.users().of(ids[0]).open_session().await.unwrap_err()];
    for error in errors {
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No));
        let error = error.to_string();
        assert!(error.contains("is sealed under another API key") && error.contains("`bunq-partner rekey`"), "{error}");
    }
    client.users().activate(ids[0]).await.unwrap_err();
    assert_eq!((kept.texts().await, sandbox.take_call_log().len()), (before, 0));

    let rekey = async |old: &Secret| kept.of(sandbox.client()).rekey(ApiKeySealer::new(old.clone())).await.unwrap();
    let wrong = rekey(&"sandbox_a-third-key".into()).await;
    assert_eq!(counts(&wrong), (0, 0, 4));
    assert!(wrong.refused.iter().all(|error| error.to_string().contains("is sealed under another API key")));
    assert_eq!(counts(&rekey(&old_key).await), (4, 0, 0));
    assert_eq!(counts(&rekey(&old_key).await), (0, 4, 0));
    assert_eq!(sandbox.call_log().len(), 0, "nothing is sent");

    // The users go on with their sessions. The partner keeps its installation, and nothing that was of the old key.
    let client = kept.client(&sandbox);
    for id in &ids {
        client.users().of(*id).api().list_credentials().await.unwrap();
    }
    assert_eq!(handshakes(&sandbox), [0; 3]);
    client.provisions().get(ids[0]).await.unwrap();
    assert_eq!(handshakes(&sandbox), [0, 1, 1]);
    for text in kept.texts().await {
        assert!(unsealed(&text, &NEW_KEY.into()).is_object());
    }
    // The old key alone opens none.
    let builder = Client::builder(Environment::Sandbox).api_key(old_key).base_url(sandbox.base_url());
    let old = kept.of(builder).build().unwrap();
    assert_eq!(old.open_session().await.unwrap_err().kind(), ErrorKind::Context);
    for id in ids {
        assert_eq!(old.users().of(id).open_session().await.unwrap_err().kind(), ErrorKind::Context);
    }
}

/// The process ends before a write: of the context, or of a user.
#[tokio::test]
async fn sealing_anew_may_end_at_each_write() {
    test_timeout::start();
    let (sandbox, kept, ids) = in_use().await;
    let old_key = sandbox.api_key();
    let fingerprint = kept.client(&sandbox).api_key_fingerprint().to_owned();
    let sandbox = with_key(sandbox, NEW_KEY).await;
    for is_readable in [false, true] {
        for ends_at in 0..=4 {
            let kept = copied(&kept).await;
            if is_readable {
                kept.make_readable(&old_key, &fingerprint).await;
            }
            let writes = Arc::new(AtomicUsize::new(0));
            let ending = || {
                let writes = Arc::clone(&writes);
                move || match writes.fetch_add(1, Ordering::Relaxed) {
                    before if before < ends_at => Ok(()),
                    _ => Err(Error::context("the process ends here")),
                }
            };
            let store = EndingStore { store: kept.store.clone(), before_write: Box::new(ending()) };
            let builder =
                sandbox.client().context_store(store).custody(EndingCustody::new(kept.custody.clone(), ending()));
            let ended = builder.rekey(ApiKeySealer::new(old_key.clone())).await;
            match ends_at {
                4 => assert_eq!(counts(&ended.unwrap()), (4, 0, 0)),
                _ => assert!(ended.unwrap_err().to_string().contains("the process ends here")),
            }
            let again = kept.of(sandbox.client()).rekey(ApiKeySealer::new(old_key.clone())).await.unwrap();
            let done = u64::try_from(ends_at).unwrap();
            assert_eq!(counts(&again), (4 - done, done, 0));
            let client = kept.client(&sandbox);
            sandbox.take_call_log();
            for id in &ids {
                client.users().of(*id).api().list_credentials().await.unwrap();
            }
            assert_eq!(handshakes(&sandbox), [0; 3], "{is_readable} {ends_at}");
        }
    }
}

/// A record that nobody can read is no reason to lose the others.
#[tokio::test]
async fn what_cannot_be_opened_is_named_and_left_as_it_is() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let old_key = sandbox.api_key();
    let ids = sandbox.populate(3);
    let client = sandbox.client().custody(FileCustody::new(&users)).build().unwrap();
    for id in &ids {
        client.users().activate(*id).await.unwrap();
    }
    let in_use = sandbox.client().api_key(NEW_KEY).custody(FileCustody::new(&users));
    let error = in_use.rekey(ApiKeySealer::new(old_key.clone())).await.unwrap_err().to_string();
    assert!(error.contains("another process uses it"), "{error}");
    drop(client);

    let file = users.join(format!("{}.json", ids[1]));
    let damaged = fs::read_to_string(&file).unwrap().replace("\"sealed\":\"", "\"sealed\":\"A");
    fs::write(&file, &damaged).unwrap();
    fs::write(users.join(format!("{}.json", ids[2])), "damaged").unwrap();
    let builder = sandbox.client().api_key(NEW_KEY).custody(FileCustody::new(&users));
    let rekeyed = builder.rekey(ApiKeySealer::new(old_key)).await.unwrap();
    assert_eq!(counts(&rekeyed), (1, 0, 2));
    for (error, id) in rekeyed.refused.iter().zip([ids[1], ids[2]]) {
        let error = error.to_string();
        assert!(error.contains(&format!("/{id}.json of provision {id}")) && error.contains("damaged"), "{error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
}

#[tokio::test]
async fn there_must_be_something_to_seal_anew() {
    test_timeout::start();
    let builder = || Client::builder(Environment::Sandbox).api_key("sandbox_0123456789");
    let error = builder().rekey(ApiKeySealer::new("sandbox_1")).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("custody")), "{error}");
    let empty = builder().custody(MemoryCustody::new()).context_store(MemoryStore::default());
    assert_eq!(counts(&empty.rekey(ApiKeySealer::new("sandbox_1")).await.unwrap()), (0, 0, 0));
}

/// With a key of the partner's own nothing of the users is bound to the API key.
#[tokio::test]
async fn with_a_key_of_ones_own_another_api_key_changes_nothing_for_users() {
    test_timeout::start();
    let (sandbox, kept, ids) = in_use().await;
    let old_key = sandbox.api_key();
    let into_vault = kept.of(sandbox.client()).key_sealer(Vault).rekey(ApiKeySealer::new(old_key)).await.unwrap();
    assert_eq!(counts(&into_vault), (4, 0, 0));
    let error = kept.client(&sandbox).users().of(ids[0]).open_session().await.unwrap_err().to_string();
    assert!(error.contains("is sealed under `vault`, and not under an API key"), "{error}");

    let sandbox = with_key(sandbox, NEW_KEY).await;
    let client = || kept.of(sandbox.client()).key_sealer(Vault);
    for id in &ids {
        client().build().unwrap().users().of(*id).api().list_credentials().await.unwrap();
    }
    assert_eq!(handshakes(&sandbox), [0; 3]);
    // The session of the partner was of the key before.
    let error = client().build().unwrap().open_session().await.unwrap_err().to_string();
    assert!(error.contains("belongs to another API key"), "{error}");
    assert_eq!(counts(&client().rekey(Vault).await.unwrap()), (1, 3, 0));
    client().build().unwrap().open_session().await.unwrap();
    assert_eq!(handshakes(&sandbox), [0, 1, 1]);
}

async fn copied(kept: &Kept) -> Kept {
    let copy = Kept::default();
    copy.store.replace(kept.store.stored().unwrap().expose());
    for entry in kept.custody.list(CustodyFilter::All, None).await.unwrap() {
        let text = kept.custody.load(entry.provision_id).await.unwrap().unwrap();
        let lock = copy.custody.lock(entry.provision_id).await.unwrap();
        copy.custody.save(&lock, entry, text).await.unwrap();
    }
    copy
}

/// The store of a process that may end: this is called before each of its writes.
struct EndingStore {
    store: MemoryStore,
    before_write: Box<dyn Fn() -> Result<(), Error> + Send + Sync>,
}

impl std::fmt::Debug for EndingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.store.fmt(f)
    }
}

impl ContextStore for EndingStore {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        self.store.load()
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            (self.before_write)()?;
            self.store.save(lock, context).await
        })
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.store.lock()
    }
}

/// A key in a vault, which turns texts around.
#[derive(Debug)]
struct Vault;

impl KeySealer for Vault {
    fn id(&self) -> String {
        "vault".to_owned()
    }

    fn seal<'a>(&'a self, data_key: &'a Secret) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async { Ok(data_key.expose().bytes().rev().collect()) })
    }

    fn open<'a>(&'a self, sealed: &'a [u8]) -> BoxFuture<'a, Result<Option<Secret>, Error>> {
        Box::pin(async { Ok(String::from_utf8(sealed.iter().rev().copied().collect()).ok().map(Secret::new)) })
    }
}
