//! What is read of a custody with many users, before the first call for one of them and with it.

use std::sync::{Arc, Mutex, OnceLock};

use bunq_partner::{
    BoxFuture, ContextLock, Custody, CustodyEntry, CustodyFilter, Error, MemoryCustody, ProvisionId, Secret, UserClient,
};
use bunq_partner_sandbox::Sandbox;
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::common::{calls, quick};

/// A custody that remembers what was read of it.
#[derive(Clone, Debug, Default)]
struct Watched {
    custody: MemoryCustody,
    loaded: Arc<Mutex<Vec<ProvisionId>>>,
    listed: Arc<Mutex<Vec<CustodyFilter>>>,
    /// The user who is asked for while a token is being stored.
    asked_for: Arc<OnceLock<UserClient>>,
    /// Told when a token is about to be stored first, which waits until it is told so.
    storing: Arc<Mutex<Option<Storing>>>,
}

/// It is told that a token is about to be stored, and that it may be.
type Storing = Arc<(Notify, Notify)>;

impl Custody for Watched {
    fn name(&self) -> String {
        self.custody.name()
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        self.loaded.lock().unwrap().push(id);
        self.custody.load(id)
    }

    fn save<'a>(
        &'a self,
        lock: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if let Some(user) = self.asked_for.get().filter(|_| !entry.is_activated) {
                user.context().await?;
            }
            let storing = self.storing.lock().unwrap().take();
            if let Some(storing) = storing {
                storing.0.notify_one();
                storing.1.notified().await;
            }
            self.custody.save(lock, entry, text).await
        })
    }

    fn remove<'a>(&'a self, lock: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>> {
        self.custody.remove(lock, id)
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.custody.lock(id)
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        self.listed.lock().unwrap().push(filter);
        self.custody.list(filter, after)
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        self.custody.entry(id)
    }
}

#[tokio::test]
async fn of_many_users_only_the_one_that_is_called_is_read() {
    test_timeout::start();
    let (sandbox, watched) = (Sandbox::start().await.unwrap(), Watched::default());
    let id = sandbox.populate(1)[0];
    sandbox.client().custody(watched.clone()).build().unwrap().users().activate(id).await.unwrap();
    // None of them has a record that could be read.
    for other in 1..=5_000_u64 {
        let mut entry = CustodyEntry::new((1_000_000 + other).try_into().unwrap());
        entry.is_activated = true;
        let lock = watched.custody.lock(entry.provision_id).await.unwrap();
        watched.custody.save(&lock, entry, "no record".into()).await.unwrap();
    }
    watched.loaded.lock().unwrap().clear();
    watched.listed.lock().unwrap().clear();

    let client = sandbox.client().custody(watched.clone()).build().unwrap();
    client.open_session().await.unwrap();
    assert!(watched.loaded.lock().unwrap().is_empty() && watched.listed.lock().unwrap().is_empty());
    client.users().of(id).api().list_credentials().await.unwrap();
    let loaded = watched.loaded.lock().unwrap().clone();
    assert!(!loaded.is_empty() && loaded.iter().all(|read| *read == id), "{loaded:?}");
    let listed = watched.listed.lock().unwrap().clone();
    assert!(listed.iter().all(|filter| *filter == CustodyFilter::Unactivated), "{listed:?}");
}

/// What is known of a user outlives a handle.
#[tokio::test]
async fn a_handle_for_each_call_reads_the_custody_once() {
    test_timeout::start();
    let (sandbox, watched) = (Sandbox::start().await.unwrap(), Watched::default());
    let id = sandbox.populate(1)[0];
    let users = sandbox.client().custody(watched.clone()).build().unwrap().users();
    users.activate(id).await.unwrap();
    watched.loaded.lock().unwrap().clear();
    for _ in 0..3 {
        users.of(id).api().list_credentials().await.unwrap();
    }
    assert_eq!(watched.loaded.lock().unwrap().len(), 0);
}

/// A call that reads the old token while another one is being stored does not keep it in use.
#[tokio::test]
async fn a_call_during_a_reset_does_not_bring_the_old_token_back() {
    test_timeout::start();
    let (sandbox, watched) = (Sandbox::start().await.unwrap(), Watched::default());
    let id = sandbox.populate(1)[0];
    let client = sandbox.client().custody(watched.clone()).build().unwrap();
    let user = client.users().activate(id).await.unwrap();
    watched.asked_for.set(user.clone()).unwrap();
    client.users().reset(id).await.unwrap();
    user.api().list_credentials().await.unwrap();
    assert_eq!(client.users().get(id).await.unwrap().map(|entry| entry.is_activated), Some(true));
}

/// The provision is closed while the token of its user is about to be stored.
#[tokio::test]
async fn nothing_is_stored_of_a_user_that_was_removed() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let storing = Arc::<(Notify, Notify)>::default();
    let watched = Watched::default();
    *watched.storing.lock().unwrap() = Some(Arc::clone(&storing));
    let id = sandbox.populate(1)[0];
    let client = sandbox.client().custody(watched).build().unwrap();
    let users = client.users();
    let activation = tokio::spawn(async move { users.activate(id).await.map(drop) });
    storing.0.notified().await;
    let elsewhere = sandbox.client().build().unwrap();
    quick(elsewhere.provisions().close(id).await.unwrap()).wait().await.unwrap();
    let reads = || calls(&sandbox, "GET", &format!("/{id}")).len();
    let (users, before) = (client.users(), reads());
    let removal = tokio::spawn(async move { users.remove(id).await });
    while reads() == before {
        yield_now().await;
    }
    // Time for a removal that does not wait.
    for _ in 0..1_000 {
        yield_now().await;
    }
    storing.1.notify_one();
    removal.await.unwrap().unwrap();
    activation.await.unwrap().unwrap_err();
    assert_eq!(client.users().get(id).await.unwrap(), None);
}
