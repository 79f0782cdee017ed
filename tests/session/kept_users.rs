//! What is kept of users, what is told of it in time, and what the settings are that nobody has set.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bunq_partner::jiff::{SignedDuration, Timestamp};
use bunq_partner::{Client, Environment, MemoryCustody, Operation, ProvisionId, UserEvent};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::stream::{Stream, StreamExt as _, iter};

use crate::common::{at_once, calls, ready, use_elsewhere};

/// A bank at which no session of a user can be opened, and which says of all credentials that they expire at the time that is set.
async fn bank() -> (Sandbox, Client, MemoryCustody, Arc<Mutex<Timestamp>>) {
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let client = sandbox.client().retry(at_once()).custody(custody.clone()).build().unwrap();
    client.open_session().await.unwrap();
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_DEVICE_SERVER).always());
    let expiry = Arc::new(Mutex::new(Timestamp::now()));
    let shown = Arc::clone(&expiry);
    sandbox.before_signing(move |call, response| {
        let Ok(mut body) = serde_json::from_slice::<serde_json::Value>(&response.body) else { return };
        let Some(items) = body["Response"].as_array_mut().filter(|_| call.method == "GET") else { return };
        for item in items {
            if let Some(credential) = item["PartnerUserProvision"]["credential"].as_object_mut() {
                let expiry = shown.lock().unwrap().strftime("%Y-%m-%d %H:%M:%S.%6f").to_string();
                credential.insert("expiry_time".to_owned(), expiry.into());
            }
        }
        response.body = body.to_string().into();
    });
    (sandbox, client, custody, expiry)
}

/// Stores the token of a user, whose session is not opened.
async fn store(client: &Client, id: ProvisionId) {
    client.users().activate(id).await.unwrap_err();
    assert_eq!(client.users().get(id).await.unwrap().map(|entry| entry.is_activated), Some(false));
}

/// How often it is told that the credential of a user has expired, until an event comes.
async fn told_of(
    events: &mut (impl Stream<Item = UserEvent> + Unpin),
    expired: ProvisionId,
    until: impl Fn(&UserEvent) -> bool,
) -> usize {
    let mut told = 0;
    loop {
        let event = events.next().await.unwrap();
        told += usize::from(matches!(event, UserEvent::Expired(id) if id == expired));
        if until(&event) {
            return told;
        }
    }
}

/// The clock goes on, and nothing else happens.
#[tokio::test]
async fn a_credential_expires_soon_when_a_quarter_of_its_life_is_left() {
    test_timeout::start();
    let (sandbox, client, _, expiry) = bank().await;
    let id = sandbox.populate(1)[0];
    let mut events = Box::pin(client.users().events());
    let quarter = SignedDuration::from_mins(15);
    let at = Timestamp::now() + quarter + SignedDuration::from_secs(1);
    *expiry.lock().unwrap() = at;
    store(&client, id).await;
    while !matches!(events.next().await.unwrap(), UserEvent::Expiring(told) if told == id) {}
    let left = at.duration_since(Timestamp::now());
    assert!(left <= quarter, "{left:?}: it was told too early");
    assert!(left > SignedDuration::from_mins(14), "{left:?}: it was told too late");
}

#[tokio::test]
async fn a_credential_that_has_expired_unused_is_told_once() {
    test_timeout::start();
    let (sandbox, client, custody, expiry) = bank().await;
    let [id, other, last] = sandbox.populate(3).try_into().unwrap();
    let mut events = Box::pin(client.users().events());
    *expiry.lock().unwrap() = Timestamp::now() + SignedDuration::from_secs(1);
    store(&client, id).await;
    let is_expired = |event: &UserEvent| matches!(event, UserEvent::Expired(told) if *told == id);
    assert_eq!(told_of(&mut events, id, is_expired).await, 1);

    // All are looked at again when another is stored, and by another process. They are told in the order of their ids.
    *expiry.lock().unwrap() = Timestamp::now() + SignedDuration::from_mins(10);
    store(&client, other).await;
    let is_looked_at = |event: &UserEvent| matches!(event, UserEvent::Expiring(told) if *told == other);
    assert_eq!(told_of(&mut events, id, is_looked_at).await, 0);
    let unactivated = client.users().unactivated().await.unwrap();
    assert_eq!(unactivated.count, 2);
    *expiry.lock().unwrap() = Timestamp::now();
    store(&client, last).await;
    let is_last = |event: &UserEvent| matches!(event, UserEvent::Expired(told) if *told == last);
    assert_eq!(told_of(&mut events, id, is_last).await, 0);
    assert!(unactivated.next_expiry.is_some_and(|next| next.as_jiff() > Timestamp::now()), "{unactivated:?}");
    let another = sandbox.client().custody(custody).build().unwrap();
    let mut events = Box::pin(another.users().events());
    assert_eq!(told_of(&mut events, id, is_last).await, 1);
}

/// A session was opened with a credential, and that could not be kept.
#[tokio::test]
async fn what_bunq_shows_as_used_has_not_expired_unused() {
    test_timeout::start();
    let (sandbox, client, custody, _) = bank().await;
    let [used, unused] = sandbox.populate(2).try_into().unwrap();
    for id in [used, unused] {
        store(&client, id).await;
    }
    sandbox.clear_injections();
    use_elsewhere(&sandbox, used).await;
    let next = sandbox.client().custody(custody).build().unwrap();
    let mut events = Box::pin(next.users().events());
    let is_unused = |event: &UserEvent| matches!(event, UserEvent::Expired(told) if *told == unused);
    assert_eq!(told_of(&mut events, used, is_unused).await, 0);
}

#[tokio::test]
async fn what_bunq_calls_a_user_is_kept() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
    let id = ready(&client).await;
    let known = client.provisions().get(id).await.unwrap().external_uuid;
    assert!(known.is_some());
    client.users().activate(id).await.unwrap();
    assert_eq!(client.users().get(id).await.unwrap().unwrap().external_uuid, known);
}

#[tokio::test]
async fn no_more_users_are_begun_than_can_be_in_time() {
    test_timeout::start();
    for (environment, key, capacity) in
        [(Environment::Production, "0123456789", 480), (Environment::Sandbox, "sandbox_0123456789", 120)]
    {
        let client = Client::builder(environment).api_key(key).build().unwrap();
        assert_eq!(client.users().capacity(), capacity, "{environment:?}");
    }
    // Three within an hour.
    let sandbox = Sandbox::start().await.unwrap();
    let limited = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, std::time::Duration::from_secs(1200));
    let client = limited.custody(MemoryCustody::new()).build().unwrap();
    let (ids, taken) = (sandbox.populate(10), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&taken);
    let ids = iter(ids).inspect(move |_| _ = counted.fetch_add(1, Ordering::Relaxed));
    let mut activated = std::pin::pin!(client.users().activate_all(ids));
    assert!(futures_util::poll!(activated.next()).is_pending());
    assert_eq!((taken.load(Ordering::Relaxed), client.users().capacity()), (3, 3));
}

/// If no second session could be opened while a credential lives, one user is activated after the other.
#[tokio::test]
async fn where_none_fits_one_is_activated() {
    test_timeout::start();
    let (sandbox, day) = (Sandbox::start().await.unwrap(), std::time::Duration::from_secs(24 * 3600));
    let limited = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, day).custody(MemoryCustody::new());
    let client = limited.build().unwrap();
    let (ids, places) = (sandbox.populate(2), client.users().places(0));
    assert_eq!((client.users().capacity(), places.capacity()), (0, 1));
    let mut gated = std::pin::pin!(places.gate(iter(ids.clone())));
    assert_eq!(gated.next().await, Some(ids[0]));
    let activated: Vec<_> = client.users().activate_all(iter(ids.clone())).collect().await;
    assert_eq!(activated.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn the_installation_of_a_user_is_its_own_unless_that_is_set() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let key = bunq_partner::wire::SigningKey::generate().unwrap().to_pkcs8().unwrap();
    let client = Client::builder(Environment::Sandbox).base_url(sandbox.base_url()).api_key(sandbox.api_key());
    let client = client.signing_keys(move || bunq_partner::wire::SigningKey::from_pkcs8(&key));
    let client = client.without_rate_limits().custody(MemoryCustody::new()).build().unwrap();
    client.users().activate(sandbox.populate(1)[0]).await.unwrap();
    assert_eq!(calls(&sandbox, "POST", "/installation").len(), 2);
}
