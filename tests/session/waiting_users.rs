//! What others do with a user whose session waits for its turn.

use std::sync::Arc;
use std::time::Duration;

use bunq_partner::{Client, Custody as _, MemoryCustody, Operation, ProvisionId, UserClient};
use bunq_partner_sandbox::Sandbox;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{at_once, calls, resealed, unsealed};

const MINUTE: Duration = Duration::from_secs(60);
/// A credential lives for twice as long.
const WINDOW: Duration = Duration::from_secs(30 * 60);

/// A client that opens one session in half an hour, and has just opened its own.
async fn limited(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    let builder = sandbox.client().retry(at_once()).rate_limit(&Operation::CREATE_SESSION, 1, WINDOW);
    let client = builder.custody(custody.clone()).build().unwrap();
    client.open_session().await.unwrap();
    client
}

/// Another with the same custody, whose own session is open.
async fn unlimited(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    let client = sandbox.client().retry(at_once()).custody(custody.clone()).build().unwrap();
    client.open_session().await.unwrap();
    client
}

/// Begins to activate a user, whose session waits for its turn then.
async fn waiting(sandbox: &Sandbox, client: &Client, id: ProvisionId) -> impl Future<Output = UserClient> + use<> {
    let is_prepared = Arc::new(Notify::new());
    let tell = Arc::clone(&is_prepared);
    sandbox.before_signing(move |call, _| {
        if call.operation == Some(&Operation::CREATE_DEVICE_SERVER) {
            tell.notify_one();
        }
    });
    let users = client.users();
    let mut activating = tokio::spawn(async move { users.activate(id).await });
    tokio::select! {
        () = is_prepared.notified() => {}
        ended = &mut activating => panic!("it has not waited: {ended:?}"),
    }
    sandbox.clear_edits();
    async move { activating.await.unwrap().unwrap() }
}

fn handshakes(sandbox: &Sandbox) -> [usize; 3] {
    ["/installation", "/device-server", "/session-server"].map(|path| calls(sandbox, "POST", path).len())
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_user_can_be_changed_while_its_session_waits() {
    test_timeout::start();
    let (sandbox, custody, began) = (Sandbox::start().await.unwrap(), MemoryCustody::new(), Instant::now());
    let id = sandbox.populate(1)[0];
    let client = limited(&sandbox, &custody).await;
    let waiting = waiting(&sandbox, &client, id).await;
    let lock = timeout(MINUTE, custody.lock(id)).await.unwrap().unwrap();
    let sealed = async || custody.load(id).await.unwrap().unwrap();
    let kept = async || unsealed(sealed().await.expose(), &sandbox.api_key());
    let mut record = kept().await;
    assert!(record["context"]["device_registered"] == true && record["context"]["session"].is_null());
    let step = json!({"operation": "create_oauth_client", "request": "A", "at": "2026-11-29 16:00:00.000000", "id": 9});
    record["steps"] = json!([step]);
    let entry = custody.entry(id).await.unwrap().unwrap();
    let changed = resealed(sealed().await.expose(), &record, &sandbox.api_key());
    custody.save(&lock, entry, changed.into()).await.unwrap();
    drop(lock);
    waiting.await;
    assert!(began.elapsed() >= WINDOW);
    let record = kept().await;
    assert!(!record["context"]["session"].is_null() && record["steps"] == json!([step]), "{}", record["steps"]);
    assert_eq!(handshakes(&sandbox), [2, 2, 2]);
}

/// The turn is given back: another user has it.
#[tokio::test(start_paused = true)]
async fn a_session_that_another_client_has_opened_meanwhile_is_taken_over_and_takes_no_turn() {
    test_timeout::start();
    let (sandbox, custody, began) = (Sandbox::start().await.unwrap(), MemoryCustody::new(), Instant::now());
    let [id, next]: [ProvisionId; 2] = sandbox.populate(2).try_into().unwrap();
    let [client, other] = [limited(&sandbox, &custody).await, unlimited(&sandbox, &custody).await];
    let waiting = waiting(&sandbox, &client, id).await;
    other.users().activate(id).await.unwrap();
    assert!(began.elapsed() < MINUTE);
    assert_eq!(handshakes(&sandbox), [3, 3, 3]);
    let user = waiting.await;
    user.api().list_credentials().await.unwrap();
    client.users().activate(next).await.unwrap();
    assert!((WINDOW..WINDOW + MINUTE).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(handshakes(&sandbox), [4, 4, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_user_is_reset_while_its_session_waits() {
    test_timeout::start();
    let (sandbox, custody, began) = (Sandbox::start().await.unwrap(), MemoryCustody::new(), Instant::now());
    let id = sandbox.populate(1)[0];
    let [client, other] = [limited(&sandbox, &custody).await, unlimited(&sandbox, &custody).await];
    let waiting = waiting(&sandbox, &client, id).await;
    // It is in use, and reset after that.
    other.users().activate(id).await.unwrap();
    let token = |user: &serde_json::Value| user["token"].clone();
    let kept = async || unsealed(custody.load(id).await.unwrap().unwrap().expose(), &sandbox.api_key());
    let before = token(&kept().await);
    other.users().reset(id).await.unwrap().api().list_credentials().await.unwrap();
    assert!(began.elapsed() < WINDOW && token(&kept().await) != before);
    let sessions = handshakes(&sandbox)[2];
    waiting.await.api().list_credentials().await.unwrap();
    assert_eq!(handshakes(&sandbox)[2], sessions);
}

/// It waits until somebody else releases its lock, and others go meanwhile.
#[tokio::test(start_paused = true)]
async fn a_user_that_is_locked_holds_no_other_up() {
    test_timeout::start();
    let (sandbox, custody, began) = (Sandbox::start().await.unwrap(), MemoryCustody::new(), Instant::now());
    let [id, next]: [ProvisionId; 2] = sandbox.populate(2).try_into().unwrap();
    let builder = sandbox.client().retry(at_once()).rate_limit(&Operation::CREATE_SESSION, 1, MINUTE);
    let client = builder.custody(custody.clone()).build().unwrap();
    client.open_session().await.unwrap();
    let waiting = waiting(&sandbox, &client, id).await;
    let lock = timeout(MINUTE, custody.lock(id)).await.unwrap().unwrap();
    client.users().activate(next).await.unwrap();
    assert!(began.elapsed() < MINUTE + MINUTE / 4, "{:?}", began.elapsed());
    // Longer than a call may take.
    sleep(10 * MINUTE).await;
    drop(lock);
    waiting.await.api().list_credentials().await.unwrap();
    assert_eq!(handshakes(&sandbox), [3, 3, 3]);
}

/// Whoever is later goes on with what the first has made.
#[tokio::test(start_paused = true)]
async fn clients_that_open_the_session_of_a_user_together_make_one_of_each() {
    test_timeout::start();
    for waits in [true, false] {
        let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
        let id = sandbox.populate(1)[0];
        let client = async || match waits {
            true => limited(&sandbox, &custody).await,
            false => unlimited(&sandbox, &custody).await,
        };
        let clients = [client().await, client().await];
        let activate = clients.iter().map(|client| async move { client.users().activate(id).await.unwrap() });
        for user in join_all(activate).await {
            user.api().list_credentials().await.unwrap();
        }
        assert_eq!(handshakes(&sandbox), [3, 3, 3]);
    }
}

/// All of them know that it is dead.
#[tokio::test(start_paused = true)]
async fn a_dead_session_of_a_user_is_replaced_once_by_all_clients_together() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    let mut users = Vec::new();
    for _ in 0..3 {
        users.push(unlimited(&sandbox, &custody).await.users().activate(id).await.unwrap());
    }
    for user in &users {
        user.api().list_credentials().await.unwrap();
    }
    assert_eq!(sandbox.end_sessions_of(id), 1);
    let before = handshakes(&sandbox);
    let called = join_all(users.iter().map(async |user| user.api().list_credentials().await)).await;
    assert!(called.iter().all(Result::is_ok), "{called:?}");
    assert_eq!(handshakes(&sandbox)[2], before[2] + 1);
    assert_eq!(calls(&sandbox, "GET", "/credential-password-ip").len(), 3 + 3 + 3);
}
