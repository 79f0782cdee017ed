//! What only this crate sees of users: which user an id is of, the session that is open, the feeds that all share, and who goes last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner_sandbox::Sandbox;
use futures_util::future::join;
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use super::*;
use crate::client::Client;
use crate::custody::{Custody, MemoryCustody};
use crate::operation::Operation;
use crate::retry::RetryPolicy;
use crate::session::UserInstallation;
use crate::session::context::ContextLock;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;
use crate::transport::signature::SigningKey;
use crate::types::{Secret, UserId, UserInformationInquiryId};

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

    fn save<'a>(
        &'a self,
        lock: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.custody.save(lock, entry, text)
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

    /// Users that another process has activated, and whose sessions have ended.
    async fn without_sessions<const N: usize>(&self) -> (Client, [ProvisionId; N]) {
        let (client, users) = self.users(N).await;
        for user in &users {
            user.end_session().await.unwrap();
        }
        let ids: Vec<_> = users.iter().map(UserClient::provision_id).collect();
        (client, ids.try_into().unwrap())
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

/// Who is named by a call that arrives now.
async fn granted(users: &Users, id: UserId) -> Granted {
    users.provisions_of(id, Instant::now()).await.unwrap()
}

#[tokio::test]
async fn a_user_is_known_by_both_its_ids() {
    test_timeout::start();
    let bank = Bank::new().await;
    let (client, users) = bank.users(2).await;
    let named = [ids(&users[0]).await, ids(&users[1]).await];
    let (nobody, began) = (UserId::try_from(i64::MAX).unwrap(), Instant::now());
    bank.called();
    // The second has just been started.
    for process in [&client, &bank.client()] {
        for (user, named) in users.iter().zip(named) {
            for id in named {
                assert_eq!(granted(&process.users(), id).await, Granted::To(vec![user.provision_id()]));
            }
        }
        assert_eq!(process.users().provisions_of(nobody, began).await.unwrap(), Granted::Nobody);
    }
    assert_eq!((bank.called(), bank.custody.listings()), (Vec::new(), 2));

    // What the process itself changes it knows at once.
    client.users().0.room.kept(users[0].provision_id()).unwrap().remove().await.unwrap();
    assert_eq!(client.users().provisions_of(named[0][1], began).await.unwrap(), Granted::Nobody);
    let id = bank.sandbox.populate(1)[0].get().try_into().unwrap();
    let third = client.users().activate(id).await.unwrap();
    for named in ids(&third).await {
        assert_eq!(granted(&client.users(), named).await, Granted::To(vec![id]));
    }
    assert_eq!(bank.custody.listings(), 2);
    // Without a custody there are no users.
    let without = Client::builder(Environment::Sandbox).api_key("sandbox_key").build().unwrap();
    assert_eq!(granted(&without.users(), nobody).await, Granted::Nobody);
}

#[tokio::test]
async fn all_provisions_of_a_person_are_known() {
    test_timeout::start();
    let custody = MemoryCustody::new();
    let person = UserId::try_from(7_u64).unwrap();
    let ids: Vec<ProvisionId> = (1..=3_u64).map(|id| id.try_into().unwrap()).collect();
    for id in &ids {
        let granted_by = Some(person).filter(|_| *id != ids[1]);
        let held = custody.lock(*id).await.unwrap();
        custody.save(&held, CustodyEntry { granted_by, ..CustodyEntry::new(*id) }, "text".into()).await.unwrap();
    }
    let client = Client::builder(Environment::Sandbox).api_key("sandbox_key").custody(custody).build().unwrap();
    assert_eq!(granted(&client.users(), person).await, Granted::To(vec![ids[2], ids[0]]));
}

#[tokio::test(start_paused = true)]
async fn users_of_another_process_are_found_within_a_minute() {
    test_timeout::start();
    let bank = Bank::new().await;
    let users = bank.client().users();
    let nobody = UserId::try_from(i64::MAX).unwrap();
    assert_eq!(granted(&users, nobody).await, Granted::Nobody);
    let listed = Instant::now();
    let (_other, added) = bank.users(1).await;
    let named = ids(&added[0]).await;
    // A call of before the listing is about nobody; of a later one that is not known yet.
    assert_eq!(users.provisions_of(nobody, listed - MINUTE).await.unwrap(), Granted::Nobody);
    advance(Duration::from_secs(1)).await;
    for id in (1..=1_000_u64).map(|id| UserId::try_from(i64::MAX as u64 - id).unwrap()).chain(named) {
        let Granted::NotYet { look_again } = granted(&users, id).await else { panic!("{id} is not known") };
        assert!(look_again <= listed + MINUTE && look_again > Instant::now());
    }
    assert_eq!(bank.custody.listings(), 1, "made-up ids cost nothing");

    advance(MINUTE).await;
    let since = Instant::now();
    let held = bank.custody.gate.lock().await;
    let (users_of, misses) = (users.clone(), users.clone());
    let missed = async move { join(misses.provisions_of(nobody, since), misses.provisions_of(named[1], since)).await };
    let missed = tokio::spawn(missed);
    while bank.custody.listings() == 1 {
        yield_now().await;
    }
    // Its own are known: they wait for no listing.
    let own = bank.sandbox.populate(1)[0].get().try_into().unwrap();
    let own = users_of.activate(own).await.unwrap();
    assert_eq!(granted(&users_of, ids(&own).await[0]).await, Granted::To(vec![own.provision_id()]));
    // What began before a call says nothing of it.
    let (misses, late) = (users.clone(), since + Duration::from_millis(1));
    advance(2 * Duration::from_millis(1)).await;
    let late = tokio::spawn(async move { misses.provisions_of(nobody, late).await.unwrap() });
    drop(held);
    let (nobody, found) = missed.await.unwrap();
    assert_eq!((nobody.unwrap(), found.unwrap()), (Granted::Nobody, Granted::To(vec![added[0].provision_id()])));
    assert!(matches!(late.await.unwrap(), Granted::NotYet { .. }));
    // What was changed during the listing stays.
    assert_eq!(granted(&users, ids(&own).await[1]).await, Granted::To(vec![own.provision_id()]));
    assert_eq!(bank.custody.listings(), 2);
}

#[tokio::test]
async fn a_session_is_used_if_it_is_open_and_never_opened() {
    test_timeout::start();
    let bank = Bank::new().await;
    let (first, users) = bank.users(1).await;
    let id = users[0].provision_id();
    let nobody = first.users().of(id.get().checked_add(1_000).unwrap().try_into().unwrap());
    bank.called();
    assert!(nobody.if_open().await.unwrap().is_none());

    // In memory, and in the custody, as after a restart.
    let restarted = bank.client();
    for client in [&first, &restarted] {
        let open = client.users().of(id).if_open().await.unwrap().unwrap();
        assert_eq!(bank.called(), [""; 0]);
        open.open_session().await.unwrap();
        assert_eq!(open.user().await.unwrap(), users[0].user().await.unwrap());
        open.api().list_credentials().await.unwrap();
        open.onboarding().find().await.unwrap();
        let called = bank.called();
        assert!(called.len() == 2 && called.iter().all(|call| call.starts_with("GET")), "{called:?}");
    }

    // A refusal ends it. The same client, another and a feed open none either, also while others poll.
    let open = restarted.users().of(id).if_open().await.unwrap().unwrap();
    bank.sandbox.end_sessions();
    let refused = open.api().list_credentials().await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_from_bunq()), (ErrorKind::Unauthorized, true), "{refused}");
    assert_eq!(bank.called().len(), 1);
    let (feed, inquiry) = (open.inquiries_feed(), UserInformationInquiryId::try_from(1_u64).unwrap());
    for error in [
        open.api().list_credentials().await.map(drop).unwrap_err(),
        open.inquiries().list().page().await.map(drop).unwrap_err(),
        open.open_session().await.unwrap_err(),
        open.user().await.map(drop).unwrap_err(),
        restarted.users().of(id).inquiries_feed().nudge(inquiry).await.map(drop).unwrap_err(),
        feed.nudge(inquiry).await.map(drop).unwrap_err(),
    ] {
        let (kind, sent) = (error.kind(), error.sent());
        assert_eq!((kind, sent), (ErrorKind::Unauthorized, Sent::No), "{error}");
        assert!(error.to_string().contains(&format!("no session of provision {id} is open")), "{error}");
    }
    assert!(restarted.users().of(id).if_open().await.unwrap().is_none());
    assert_eq!(bank.called(), [""; 0]);
    // Others open it as ever.
    restarted.users().of(id).api().list_credentials().await.unwrap();
    assert!(restarted.users().of(id).if_open().await.unwrap().is_some());
    open.api().list_credentials().await.unwrap();
}

/// Calls of bunq's name users as often as they like. Those whom calls are made for must not go for that.
#[tokio::test]
async fn a_look_for_a_session_has_no_user_remembered_until_it_is_refused() {
    test_timeout::start();
    let bank = Bank::new().await;
    let (_other, users) = bank.users(1).await;
    let (client, id) = (bank.client(), users[0].provision_id());
    let open = client.users().of(id).if_open().await.unwrap().unwrap();
    open.api().list_credentials().await.unwrap();
    drop(open);
    assert!(client.users().known(id).is_none());

    let open = client.users().of(id).if_open().await.unwrap().unwrap();
    bank.sandbox.end_sessions();
    open.api().list_credentials().await.unwrap_err();
    drop(open);
    bank.called();
    // The custody still has the session, and it is not tried again.
    assert!(client.users().of(id).if_open().await.unwrap().is_none());
    assert_eq!(bank.called(), [""; 0]);
}

/// Neither the partner's session nor a key is made, without which a session under its installation cannot be used.
#[tokio::test]
async fn a_look_for_a_session_opens_none_of_the_partner() {
    test_timeout::start();
    let bank = Bank::new().await;
    let client = || bank.builder().without_rate_limits().user_installation(UserInstallation::Partner).build().unwrap();
    let id = bank.sandbox.populate(1)[0].get().try_into().unwrap();
    let first = client();
    first.users().activate(id).await.unwrap();
    bank.called();
    assert!(first.users().of(id).if_open().await.unwrap().is_some());
    assert!(client().users().of(id).if_open().await.unwrap().is_none());
    // In custody, and not activated.
    let other = bank.sandbox.populate(1)[0].get().try_into().unwrap();
    let new =
        crate::custody::NewToken { external_uuid: None, credential_id: None, token: "token".into(), expiry: None };
    first.users().0.room.kept(other).unwrap().store(new).await.unwrap();
    assert!(first.users().of(other).if_open().await.unwrap().is_none());
    assert_eq!(bank.called(), [""; 0]);
}

#[tokio::test]
async fn all_handles_of_a_user_share_what_any_of_them_reads() {
    test_timeout::start();
    let bank = Bank::new().await;
    let (client, mut activated) = bank.users(1).await;
    let (users, user) = (client.users(), activated.remove(0));
    let id = user.provision_id();
    // It is in review when it is read first, and is over when it is read again.
    let in_review = r#"{"entries": [{"type": "USER_PERSON_SOURCE_OF_INCOME", "status": "WAITING_FOR_REVIEW"}]}"#;
    let inquiry = bank.sandbox.inquire(bank.sandbox.provision_ids()[0], serde_json::from_str(in_review).unwrap());
    let inquiry = UserInformationInquiryId::try_from(inquiry.unwrap().get()).unwrap();
    let waiter = user.inquiries().wait_until_reviewed(inquiry).poll_interval(60 * MINUTE).timeout(60 * MINUTE);
    let seen = Arc::new(Mutex::new(0));
    let changes = waiter.changes();
    let counted = Arc::clone(&seen);
    let waits = tokio::spawn(changes.for_each(move |change| {
        change.unwrap();
        *lock(&counted) += 1;
        std::future::ready(())
    }));
    drop(user);
    while *lock(&seen) == 0 {
        yield_now().await;
    }
    bank.called();
    users.of(id).if_open().await.unwrap().unwrap().inquiries_feed().nudge(inquiry).await.unwrap();
    waits.await.unwrap();
    assert_eq!((*lock(&seen), bank.called().len()), (2, 1));

    // The feeds of a user that nobody acts for go with it.
    drop((client, users));
    let users = bank.client().users();
    let feeds = (users.of(id).onboardings_feed(), users.of(id).inquiries_feed());
    let user = Arc::downgrade(users.of(id).shared());
    assert!(user.upgrade().is_some());
    drop(feeds);
    assert!(user.upgrade().is_none());
}

/// Of the sessions that wait, the one that only a call of bunq's asks for is the last, until somebody else asks for it.
#[tokio::test(start_paused = true)]
async fn a_session_that_stands_last_is_opened_behind_all_others() {
    test_timeout::start();
    for is_asked_for in [false, true] {
        let bank = Bank::new().await;
        let (_elsewhere, [first, last, other]) = bank.without_sessions().await;
        let client = bank.builder().rate_limit(&Operation::CREATE_SESSION, 1, MINUTE / 2).build().unwrap();
        let users = client.users();
        let opened = Arc::new(Mutex::new(Vec::new()));
        let begin = |id: ProvisionId, is_last: bool| {
            let (user, users, opened) = (users.of(id), users.clone(), Arc::clone(&opened));
            tokio::spawn(async move {
                if is_last {
                    user.open_last().await.unwrap()
                } else {
                    users.open(user.shared()).await.unwrap()
                }
                lock(&opened).push(id);
            })
        };
        let turns = &users.0.room.turns;
        users.of(first).open_session().await.unwrap();
        let mut tasks = Vec::new();
        // The deadline of the other comes before that which the last one has for itself.
        for (id, is_last) in [(other, false), (last, true)] {
            advance(Duration::from_millis(1)).await;
            tasks.push(begin(id, is_last));
            while turns.waiting() < tasks.len() {
                yield_now().await;
            }
        }
        // What is kept of its user can be changed meanwhile.
        users.0.room.kept(last).unwrap().update(|_| Ok(())).await.unwrap();
        assert_eq!(turns.waiting(), 2);
        if is_asked_for {
            // A call has less time than the other has.
            let user = users.of(last);
            tasks.push(tokio::spawn(async move { user.open_session().await.unwrap() }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let expected = if is_asked_for { [last, other] } else { [other, last] };
        assert_eq!(*lock(&opened), expected);
    }
}

/// A session that stands last is no reason to wait for a turn that does not come in time.
#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_have_the_turn_of_the_last_fails_at_once() {
    test_timeout::start();
    let bank = Bank::new().await;
    let (_elsewhere, [first, last, other]) = bank.without_sessions().await;
    let builder = bank.builder().rate_limit(&Operation::CREATE_SESSION, 1, MINUTE / 2);
    let client = builder.operation_timeout(MINUTE * 3 / 4).build().unwrap();
    let (users, turns) = (client.users(), &client.users().0.room.turns);
    users.of(first).open_session().await.unwrap();
    let mut tasks = Vec::new();
    for id in [other, last] {
        let user = users.of(id);
        tasks.push(tokio::spawn(
            async move { if id == last { user.open_last().await } else { user.open_session().await } },
        ));
        while turns.waiting() < tasks.len() {
            yield_now().await;
        }
    }
    let (user, began) = (users.of(last), Instant::now());
    let error = user.open_session().await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::RateLimited, Sent::No), "{error}");
    assert!(
        error.to_string().contains("cannot be renewed in time: with those before it, it would take 1 min"),
        "{error}"
    );
    assert_eq!((began.elapsed(), turns.waiting()), (Duration::ZERO, 2));
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(user.if_open().await.unwrap().is_some());
}

/// An outsider who knows the users can name what he likes, of each.
#[tokio::test(start_paused = true)]
async fn the_nudges_of_a_partner_and_of_its_users_share_one_share() {
    test_timeout::start();
    let bank = Bank::new().await;
    let (_elsewhere, users) = bank.users(3).await;
    let client = bank.builder().build().unwrap();
    client.open_session().await.unwrap();
    let mut floods = tokio::task::JoinSet::new();
    for user in users {
        let user = client.users().of(user.provision_id()).if_open().await.unwrap().unwrap();
        let (onboardings, inquiries) = (user.onboardings_feed(), user.inquiries_feed());
        floods.spawn(async move { while onboardings.nudge(1_u64.try_into().unwrap()).await.is_err() {} });
        floods.spawn(async move { while inquiries.nudge(1_u64.try_into().unwrap()).await.is_err() {} });
    }
    let (feed, id) = (client.provisions().feed(), bank.sandbox.provision_ids()[0].get().try_into().unwrap());
    floods.spawn(async move { while feed.nudge(id).await.is_ok() {} });
    bank.called();
    tokio::time::sleep(MINUTE).await;
    let called = bank.called();
    assert!((28..=31).contains(&called.len()), "{called:?}");
    let of_partner = called.iter().filter(|path| path.contains("partner-user-provision")).count();
    assert!((13..=16).contains(&of_partner), "{called:?}");
    assert!(floods.try_join_next().is_none());
}
