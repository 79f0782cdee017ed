//! Sessions of many users on a paused clock, over the sandbox: all that fit are in time, whatever happens meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bunq_partner::jiff::{SignedDuration, Timestamp};
use bunq_partner::wire::SigningKey;
use bunq_partner::{
    Client, Environment, Error, ErrorKind, MemoryCustody, Operation, ProvisionId, Remedy, Secret, Sent, UserClient,
    UserEvent, UserInstallation,
};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, Profile, Sandbox};
use futures_util::stream::StreamExt as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// So that no turn is at the very end of a life.
const INTERVAL: Duration = Duration::from_secs(29);

/// A bank that lets a session be opened in each interval, and enforces it, and a partner with a session.
struct Bank {
    sandbox: Sandbox,
    client: Client,
    began: Instant,
    life: Duration,
    /// Whose credential expires half an hour from now, as bunq shows it.
    urgent: Arc<AtomicU64>,
}

impl Bank {
    async fn new(environment: Environment, session_timeout: Duration) -> Self {
        let (life, key) = match environment {
            Environment::Production => (Duration::from_secs(4 * 3600), "0123456789"),
            _ => (Duration::from_secs(3600), "sandbox_0123456789"),
        };
        let mut profile = Profile::default();
        (profile.credential_lifetime, profile.session_timeout) = (life, session_timeout);
        let sandbox = Sandbox::builder().profile(profile).api_key(key.into());
        let sandbox = sandbox.rate_limit(&Operation::CREATE_SESSION, 1, INTERVAL).start().await.unwrap();
        // Then it is when it was stored that counts, by the paused clock. When bunq says it, it is by the time of day.
        let urgent = Arc::<AtomicU64>::default();
        let shown = Arc::clone(&urgent);
        sandbox.before_signing(move |call, response| {
            let Ok(mut body) = serde_json::from_slice::<serde_json::Value>(&response.body) else { return };
            let Some(items) = body["Response"].as_array_mut().filter(|_| call.method == "GET") else { return };
            for provision in items.iter_mut().map(|item| &mut item["PartnerUserProvision"]) {
                let is_urgent = provision["id"] == shown.load(Ordering::Relaxed);
                let expiry = is_urgent.then(|| Timestamp::now() + SignedDuration::from_mins(30));
                let expiry = expiry.map(|expiry| expiry.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string());
                if let Some(credential) = provision["credential"].as_object_mut() {
                    credential.insert("expiry_time".to_owned(), expiry.into());
                }
            }
            response.body = body.to_string().into();
        });
        let key = SigningKey::generate().unwrap().to_pkcs8().unwrap();
        let client = Client::builder(environment).base_url(sandbox.base_url()).api_key(sandbox.api_key());
        let client = client.signing_keys(move || SigningKey::from_pkcs8(&key)).custody(MemoryCustody::new());
        let client = client.without_rate_limits().rate_limit(&Operation::CREATE_SESSION, 1, INTERVAL);
        let client = client.user_installation(UserInstallation::Own).build().unwrap();
        client.open_session().await.unwrap();
        Self { sandbox, client, began: Instant::now(), life, urgent }
    }

    /// Makes so many users, and activates them; returns when all wait for their turn.
    async fn activate(&self, count: usize) -> Vec<(ProvisionId, Activation)> {
        let mut events = Box::pin(self.client.users().events());
        let begin = |id| {
            let users = self.client.users();
            let activation = async move {
                let outcome = users.activate(id).await;
                (outcome, Instant::now())
            };
            (id, tokio::spawn(activation))
        };
        let begun = self.sandbox.populate(count).into_iter().map(begin).collect();
        for _ in 0..count {
            while !matches!(events.next().await.unwrap(), UserEvent::Stored(_)) {}
        }
        self.reach(self.began.elapsed() + Duration::from_secs(1)).await;
        begun
    }

    /// Waits until so much time has passed since the beginning.
    async fn reach(&self, time: Duration) {
        sleep_until(self.began + time).await;
    }

    /// What has opened sessions, in that order: users, and `None` for the partner. No attempt was beyond the limit.
    fn opened(&self, tokens: &[(ProvisionId, Secret)]) -> Vec<Option<ProvisionId>> {
        let calls =
            self.sandbox.call_log().into_iter().filter(|call| call.operation == Some(&Operation::CREATE_SESSION));
        let opened = calls.filter(|call| {
            assert_ne!(call.status, 429, "{call:?}");
            call.carried_out
        });
        opened.map(|call| of(&call, tokens)).collect()
    }

    /// The tokens of users who wait.
    fn tokens(&self, users: &[(ProvisionId, Activation)]) -> Vec<(ProvisionId, Secret)> {
        let token = |id| {
            let provision = self.sandbox.provision(id).unwrap();
            provision["credential"]["token_value"].as_str().unwrap().into()
        };
        users.iter().map(|(id, _)| (*id, token(*id))).collect()
    }
}

/// What has become of a user, and when.
type Activation = JoinHandle<(Result<UserClient, Error>, Instant)>;

/// Whose token a call has in its body.
fn of(call: &CallLogEntry, tokens: &[(ProvisionId, Secret)]) -> Option<ProvisionId> {
    tokens.iter().find(|(_, token)| call.body.contains(token.expose())).map(|(id, _)| *id)
}

fn installations(calls: &[CallLogEntry]) -> usize {
    calls.iter().filter(|call| call.operation == Some(&Operation::CREATE_INSTALLATION)).count()
}

/// As many as fit into the life of a credential, beside the session of the partner that is renewed meanwhile.
#[tokio::test(start_paused = true)]
async fn as_many_as_fit_are_in_time_and_one_more_is_refused_at_once() {
    test_timeout::start();
    let bank = Bank::new(Environment::Production, Duration::from_secs(9_000)).await;
    // One turn is for the renewal.
    let fit = usize::try_from(bank.life.as_secs() / INTERVAL.as_secs()).unwrap() - 1;
    let users = bank.activate(fit).await;
    let tokens = bank.tokens(&users);
    let one_more = bank.sandbox.populate(1)[0];
    let earlier = bank.sandbox.take_call_log();
    let error = bank.client.users().activate(one_more).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::RateLimited, Sent::No), "{error}");
    assert_eq!(error.remedy(), Some(Remedy::ResetToken));
    // By then its credential would have expired.
    let (needed, left) = (error.retry_after().unwrap(), bank.life - bank.began.elapsed());
    assert!((left..left + 2 * INTERVAL).contains(&needed), "{needed:?} {left:?}");
    let calls = bank.sandbox.take_call_log();
    assert!(calls.iter().all(|call| call.method == "GET"), "no more than the provision was read: {calls:?}");

    // The session of the partner has ended, which its next call finds out.
    bank.reach(Duration::from_secs(9_000)).await;
    bank.client.api().list_device_servers().await.unwrap();
    for (id, user) in users {
        let (outcome, _) = user.await.unwrap();
        outcome.unwrap_or_else(|error| panic!("{id}: {error}"));
    }
    assert!(bank.began.elapsed() <= bank.life);
    let opened = bank.opened(&tokens);
    assert_eq!(opened.len(), fit + 1);
    // It was renewed when it was due, and not at the end.
    let renewed = opened.iter().position(Option::is_none).unwrap();
    assert!((305..=315).contains(&renewed), "{renewed}");
    let made = installations(&earlier) + installations(&bank.sandbox.call_log());
    assert_eq!(made, 1 + fit, "the partner and each user have an installation, and the one that was refused has none");
}

/// An outage of 20 minutes costs its turns. Those that are lost by it are told, the others are saved, by their deadlines.
#[tokio::test(start_paused = true)]
async fn after_an_outage_those_that_can_be_saved_are() {
    test_timeout::start();
    let bank = Bank::new(Environment::Sandbox, Duration::from_secs(604_800)).await;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let first = bank.activate(60).await;
    let mut tokens = bank.tokens(&first);
    bank.reach(minutes(5)).await;
    // By the end of their lives there are 134 turns.
    let second = bank.activate(60).await;
    tokens.extend(bank.tokens(&second));
    bank.reach(minutes(15)).await;
    bank.sandbox.inject(Injection::new(Fault::Status(503)).always());
    bank.reach(minutes(35)).await;
    bank.sandbox.clear_injections();
    let (over, mut saved, mut lost) = (bank.began.elapsed(), Vec::new(), Vec::new());
    for (number, (id, user)) in first.into_iter().chain(second).enumerate() {
        let (outcome, at) = user.await.unwrap();
        match outcome {
            Ok(_) => saved.push(id),
            Err(error) => {
                assert_eq!(
                    (error.kind(), error.remedy()),
                    (ErrorKind::RateLimited, Some(Remedy::ResetToken)),
                    "{error}"
                );
                assert!(at - bank.began <= over + INTERVAL, "{id} was told late");
                lost.push(number);
            }
        }
    }
    // The turns of the outage, of those whose credentials expire last.
    assert!((25..=30).contains(&lost.len()) && lost.iter().all(|number| *number >= 60), "{lost:?}");
    let opened: Vec<_> = bank.opened(&tokens).into_iter().flatten().collect();
    let place = |id: &ProvisionId| saved.iter().position(|saved| saved == id).unwrap();
    let places: Vec<_> = opened.iter().map(place).collect();
    assert_eq!(places.len(), saved.len());
    assert!(places[..60].iter().all(|place| *place < 60), "the first go first: {places:?}");
}

/// Users wait for their turn when the session of the partner ends.
#[tokio::test(start_paused = true)]
async fn the_renewal_of_the_partner_goes_before_all_who_wait() {
    test_timeout::start();
    let bank = Bank::new(Environment::Sandbox, Duration::from_secs(604_800)).await;
    let users = bank.activate(3).await;
    let tokens = bank.tokens(&users);
    // Its session ends, and the call that makes the next one is answered when the turn of a user has come.
    bank.reach(INTERVAL - Duration::from_secs(5)).await;
    let late = Injection::new(Fault::Late(Duration::from_secs(20))).on(&Operation::CREATE_INSTALLATION);
    bank.sandbox.inject(late);
    bank.sandbox.take_call_log();
    bank.client.reinstall().await.unwrap();
    assert_eq!(bank.opened(&tokens), [None]);
    // None of them had its turn meanwhile, so that one who comes now can still go first.
    let urgent = bank.sandbox.populate(1)[0];
    bank.urgent.store(urgent.get(), Ordering::Relaxed);
    bank.client.users().activate(urgent).await.unwrap();
    for (_, user) in users {
        user.await.unwrap().0.unwrap();
    }
    let opened = bank.opened(&tokens);
    let first_of_users = opened.iter().position(Option::is_some);
    assert_eq!((opened.len(), first_of_users), (5, Some(2)), "those of the partner and of the urgent one: {opened:?}");
}
