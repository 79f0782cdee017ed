//! What only this crate sees of users.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bunq_partner_sandbox::Sandbox;
use futures_util::future::join;
use tokio::task::yield_now;
use tokio::time::advance;

use super::*;
use crate::client::Client;
use crate::custody::{Custody, MemoryCustody};
use crate::retry::RetryPolicy;
use crate::session::context::ContextLock;
use crate::transport::credentials::BoxFuture;
use crate::transport::signature::SigningKey;
use crate::types::{Secret, UserId};

const MINUTE: Duration = Duration::from_secs(60);

/// A custody whose listings are counted, and held up while `gate` is locked.
#[derive(Debug, Clone, Default)]
struct Counted {
    custody: MemoryCustody,
    listings: Arc<AtomicUsize>,
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Counted {
    fn listings(&self) -> usize {
        self.listings.load(Ordering::Relaxed)
    }
}

impl Custody for Counted {
    fn name(&self) -> String {
        self.custody.name()
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        self.custody.load(id)
    }

    fn save(&self, entry: CustodyEntry, text: Secret) -> BoxFuture<'_, Result<(), Error>> {
        self.custody.save(entry, text)
    }

    fn remove(&self, id: ProvisionId) -> BoxFuture<'_, Result<(), Error>> {
        self.custody.remove(id)
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.custody.lock(id)
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        Box::pin(async move {
            if (filter, after) == (CustodyFilter::All, None) {
                self.listings.fetch_add(1, Ordering::Relaxed);
                drop(self.gate.lock().await);
            }
            self.custody.list(filter, after).await
        })
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        self.custody.entry(id)
    }
}

struct Bank {
    sandbox: Sandbox,
    custody: Counted,
    key: Secret,
}

impl Bank {
    async fn new() -> Self {
        let (sandbox, key) = (Sandbox::start().await.unwrap(), SigningKey::generate().unwrap().to_pkcs8().unwrap());
        Self { sandbox, custody: Counted::default(), key }
    }

    /// A process that uses the custody.
    fn builder(&self) -> crate::builder::ClientBuilder {
        let builder = Client::builder(Environment::Sandbox).base_url(self.sandbox.base_url());
        let builder = builder.api_key(self.sandbox.api_key().expose()).retry(RetryPolicy::default().max_attempts(1));
        let key = self.key.clone();
        builder.signing_keys(move || SigningKey::from_pkcs8(&key)).custody(self.custody.clone())
    }

    fn client(&self) -> Client {
        self.builder().without_rate_limits().build().unwrap()
    }

    /// Users that another process has activated, which goes on.
    async fn users(&self, count: usize) -> (Client, Vec<UserClient>) {
        let (client, mut users) = (self.client(), Vec::new());
        for id in self.sandbox.populate(count) {
            users.push(client.users().activate(id.get().try_into().unwrap()).await.unwrap());
        }
        (client, users)
    }

    /// The paths that were called since the last look.
    fn called(&self) -> Vec<String> {
        self.sandbox.take_call_log().into_iter().map(|call| format!("{} {}", call.method, call.path)).collect()
    }
}

async fn ids(user: &UserClient) -> [UserId; 2] {
    let user = user.user().await.unwrap();
    [user.id, user.granted_by.unwrap()]
}

#[tokio::test]
async fn a_user_is_known_by_both_its_ids() {
    test_timeout::start();
    let bank = Bank::new().await;
    let (client, users) = bank.users(2).await;
    let named = [ids(&users[0]).await, ids(&users[1]).await];
    let nobody = UserId::try_from(i64::MAX).unwrap();
    bank.called();
    // The second has just been started.
    for process in [&client, &bank.client()] {
        for (user, named) in users.iter().zip(named) {
            for id in named {
                assert_eq!(process.users().provision_of(id).await.unwrap(), Some(user.provision_id()));
            }
        }
        assert_eq!(process.users().provision_of(nobody).await.unwrap(), None);
    }
    assert_eq!((bank.called(), bank.custody.listings()), (Vec::new(), 2));

    // What the process itself changes it knows at once.
    client.users().0.room.kept(users[0].provision_id()).unwrap().remove().await.unwrap();
    assert_eq!(client.users().provision_of(named[0][1]).await.unwrap(), None);
    let id = bank.sandbox.populate(1)[0].get().try_into().unwrap();
    let third = client.users().activate(id).await.unwrap();
    for named in ids(&third).await {
        assert_eq!(client.users().provision_of(named).await.unwrap(), Some(id));
    }
    assert_eq!(bank.custody.listings(), 2);
    // Without a custody there are no users.
    let without = Client::builder(Environment::Sandbox).api_key("sandbox_key").build().unwrap();
    assert_eq!(without.users().provision_of(nobody).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn users_of_another_process_are_found_within_a_minute() {
    test_timeout::start();
    let bank = Bank::new().await;
    let users = bank.client().users();
    let nobody = UserId::try_from(i64::MAX).unwrap();
    assert_eq!(users.provision_of(nobody).await.unwrap(), None);
    let (_other, added) = bank.users(1).await;
    let named = ids(&added[0]).await;
    for id in (1..=1_000_u64).map(|id| UserId::try_from(i64::MAX as u64 - id).unwrap()).chain(named) {
        assert_eq!(users.provision_of(id).await.unwrap(), None);
    }
    assert_eq!(bank.custody.listings(), 1, "made-up ids cost nothing");

    advance(MINUTE).await;
    let held = bank.custody.gate.lock().await;
    let (users_of, misses) = (users.clone(), users.clone());
    let missed = tokio::spawn(async move { join(misses.provision_of(nobody), misses.provision_of(named[1])).await });
    while bank.custody.listings() == 1 {
        yield_now().await;
    }
    // Its own are known: they wait for no listing.
    let own = bank.sandbox.populate(1)[0].get().try_into().unwrap();
    let own = users_of.activate(own).await.unwrap();
    assert_eq!(users_of.provision_of(ids(&own).await[0]).await.unwrap(), Some(own.provision_id()));
    drop(held);
    let (nobody, found) = missed.await.unwrap();
    assert_eq!((nobody.unwrap(), found.unwrap()), (None, Some(added[0].provision_id())));
    // What was changed during the listing stays.
    assert_eq!(users.provision_of(ids(&own).await[1]).await.unwrap(), Some(own.provision_id()));
    assert_eq!(bank.custody.listings(), 2);
}
