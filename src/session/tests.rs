//! Users of one partner, whose calls go over the same connections.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bunq_partner_sandbox::Sandbox;

use super::context::Identity;
use super::handshake::{Device, SigningKeys, UserInstallation};
use super::turns::Turns;
use super::*;
use crate::api::Api;
use crate::client::Client;
use crate::environment::Environment;
use crate::retry::RetryPolicy;
use crate::transport::signature::SigningKey;
use crate::types::{CredentialPasswordIp, PermittedIps, ProvisionId};

struct User {
    session: Session,
    api: Api,
}

impl User {
    /// The ids of the user's credentials, which no other user has.
    async fn seen(&self) -> Result<Vec<u64>, Error> {
        Ok(ids(self.api.list_credentials().await?.into_inner()))
    }
}

fn ids(credentials: Vec<CredentialPasswordIp>) -> Vec<u64> {
    credentials.iter().map(|credential| credential.id.get()).collect()
}

async fn two_users() -> (Sandbox, Client, [User; 2]) {
    let sandbox = Sandbox::start().await.unwrap();
    let key = SigningKey::generate().unwrap().to_pkcs8().unwrap();
    let builder = Client::builder(Environment::Sandbox).without_rate_limits().base_url(sandbox.base_url());
    let builder = builder.retry(RetryPolicy::default().max_attempts(1)).api_key(sandbox.api_key().expose());
    let partner = builder.signing_keys(move || SigningKey::from_pkcs8(&key)).build().unwrap();
    let [first, second] = sandbox.populate(2).try_into().unwrap();
    let users = [user(&partner, first.get()).await, user(&partner, second.get()).await];
    (sandbox, partner, users)
}

async fn user(partner: &Client, provision: u64) -> User {
    user_with(partner, provision, |turns, _| Owner::Partner(turns)).await
}

async fn user_with(partner: &Client, provision: u64, owner: impl FnOnce(Turns, ProvisionId) -> Owner) -> User {
    user_storing(partner, provision, owner, None).await
}

async fn user_storing(
    partner: &Client,
    provision: u64,
    owner: impl FnOnce(Turns, ProvisionId) -> Owner,
    store: Option<Arc<dyn ContextStore>>,
) -> User {
    let id = ProvisionId::try_from(provision).unwrap();
    let provision = partner.provisions().get(id).await.unwrap();
    let token = provision.credential.unwrap().token_value.unwrap();
    let identity = Identity::new(Environment::Sandbox, partner.base_url(), &token);
    let transport = Arc::new(partner.api().transport().for_user(id));
    let key = SigningKey::generate().unwrap().to_pkcs8().unwrap();
    let device = Device {
        api_key: token,
        user_installation: Some(UserInstallation::Own),
        description: "user".parse().unwrap(),
        permitted_ips: PermittedIps::default(),
        signing_keys: SigningKeys(Arc::new(move || SigningKey::from_pkcs8(&key))),
    };
    let turns = Turns::new(Arc::clone(transport.limits()), transport.caller(), Duration::from_secs(60));
    let session = Session::new(Arc::clone(&transport), device, identity, store, owner(turns, id), None);
    User { api: Api::new(transport, Arc::new(session.clone())), session }
}

/// How a hostile line crosses responses: with the id of the request that each belongs to, or without any.
const HAS_ECHO: [bool; 2] = [true, false];

const ECHO: &str = "X-Bunq-Client-Request-Id";

/// Each call gets the response to the one before it.
fn cross(sandbox: &Sandbox, has_echo: bool) {
    let mut last = None;
    sandbox.after_signing(move |_, response| {
        let own = response.clone();
        if let Some(last) = last.replace(own) {
            *response = last;
        }
        if !has_echo {
            response.headers.retain(|(name, _)| name != ECHO);
        }
    });
}

#[tokio::test]
async fn crossed_responses_of_two_users_are_not_used() {
    test_timeout::start();
    let (sandbox, partner, users) = two_users().await;
    let mut own = Vec::new();
    for user in &users {
        own.push(user.seen().await.unwrap());
    }
    assert_ne!(own[0], own[1]);
    for has_echo in HAS_ECHO {
        cross(&sandbox, has_echo);
        for round in 0..6 {
            let mine = &own[round % 2];
            match users[round % 2].seen().await {
                Ok(seen) => assert_eq!(&seen, mine),
                Err(error) => assert!(error.to_string().contains(ECHO), "{error}"),
            }
        }
        // The partner's calls go over the same connections.
        if let Ok(page) = partner.api().list_credentials().await {
            let seen = ids(page.into_inner());
            assert!(!own.contains(&seen), "{seen:?}");
        }
        sandbox.clear_edits();
    }
    assert_eq!(users[1].seen().await.unwrap(), own[1]);
}

/// Whoever took another's session would act for another user.
#[tokio::test]
async fn no_user_takes_the_session_of_another() {
    test_timeout::start();
    for has_echo in HAS_ECHO {
        let (sandbox, partner, users) = two_users().await;
        cross(&sandbox, has_echo);
        for session in users.iter().map(|user| &user.session).cycle().take(6) {
            assert!(session.open().await.is_err());
        }
        sandbox.clear_edits();
        let ids = [users[0].session.user().await.unwrap().id, users[1].session.user().await.unwrap().id];
        assert_ne!(ids[0], ids[1]);
        assert!(!ids.contains(&partner.user().await.unwrap().id));
    }
}

/// A refusal may have what bunq knows of a person.
#[tokio::test]
async fn a_crossed_refusal_shows_nothing_of_another_user() {
    test_timeout::start();
    for has_echo in HAS_ECHO {
        let (sandbox, _partner, users) = two_users().await;
        for user in &users {
            user.session.open().await.unwrap();
        }
        sandbox.before_signing(|_, response| {
            response.status = 400;
            let item = r#"{"error_description":"planted","error_additional_parameter":["planted"]}"#;
            response.body = format!(r#"{{"Error":[{item}]}}"#).into_bytes();
        });
        cross(&sandbox, has_echo);
        users[0].seen().await.unwrap_err();
        let error = users[1].seen().await.unwrap_err();
        assert!(!error.is_from_bunq() && error.additional_parameter().is_none(), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
        assert!(!error.has_invalid_signature());
    }
}

/// A credential may be replaced while the session is prepared that is to be opened with it, before it waits for a turn.
#[tokio::test]
async fn a_withdrawal_holds_whatever_is_being_done() {
    test_timeout::start();
    for path in ["/installation", "/device-server"] {
        let (sandbox, partner, _) = two_users().await;
        let look = partner.api();
        let owner = |turns, id| Owner::User(Box::new(UsersTurn::new(turns, id, None, look, |_| ())));
        let user = user_with(&partner, sandbox.populate(1)[0].get(), owner).await;
        let (session, begun) = (user.session.clone(), AtomicBool::default());
        sandbox.before_signing(move |call, _| {
            if call.method == "POST" && call.path.ends_with(path) && !begun.swap(true, Ordering::Relaxed) {
                session.withdraw();
            }
        });
        sandbox.take_call_log();
        let error = user.session.open().await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::CredentialSpent, Sent::No), "{error}");
        assert!(sandbox.take_call_log().iter().all(|call| !call.path.ends_with("/session-server")), "{path}");
        assert_eq!(user.session.open().await.unwrap_err().kind(), ErrorKind::CredentialSpent);
    }
}

/// Whoever hears of it uses the session at once.
#[tokio::test]
async fn that_a_session_was_opened_is_told_when_it_is_known() {
    test_timeout::start();
    let (sandbox, partner, _) = two_users().await;
    let (session, told) = (Arc::new(OnceLock::<Session>::new()), Arc::new(Mutex::new(Vec::new())));
    let (known, heard, look) = (Arc::clone(&session), Arc::clone(&told), partner.api());
    let tell = move |outcome: Result<Activation, &Error>| {
        lock(&heard).push((outcome.unwrap(), known.get().unwrap().is_open()));
    };
    let expiry = Some(Instant::now() + Duration::from_secs(3600));
    let owner = |turns, id| Owner::User(Box::new(UsersTurn::new(turns, id, expiry, look, tell)));
    let user = user_with(&partner, sandbox.populate(1)[0].get(), owner).await;
    let session = session.get_or_init(|| user.session);
    session.open().await.unwrap();
    session.end().await.unwrap();
    session.open().await.unwrap();
    assert_eq!(*lock(&told), [(Activation::Now, true), (Activation::Before, true)]);
}

/// A renewal that may wait for long joins one that may not, and goes on when that ends.
#[tokio::test(start_paused = true)]
async fn whoever_may_wait_for_long_does_not_fail_with_whoever_may_not() {
    test_timeout::start();
    let hour = Duration::from_secs(3600);
    let sandbox = Sandbox::start().await.unwrap();
    let builder = Client::builder(Environment::Sandbox).base_url(sandbox.base_url());
    let builder = builder.api_key(sandbox.api_key().expose()).rate_limit(&Operation::CREATE_SESSION, 1, hour / 2);
    let partner = builder.build().unwrap();
    let look = partner.api();
    let owner = |turns, id| Owner::User(Box::new(UsersTurn::new(turns, id, None, look, |_| ())));
    let User { session, .. } = user_with(&partner, sandbox.populate(1)[0].get(), owner).await;
    let (call, activation) = tokio::join!(session.open(), session.open_by(Instant::now() + hour));
    assert_eq!(call.unwrap_err().kind(), ErrorKind::RateLimited);
    activation.unwrap();
    assert!(session.is_open());
}

/// A store that cannot be reached so many times.
#[derive(Debug)]
struct Away(AtomicU32);

impl ContextStore for Away {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        let is_away = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        Box::pin(async move { if is_away { Err(Error::unavailable("the store is away")) } else { Ok(None) } })
    }

    fn save<'a>(&'a self, _: &'a ContextLock, _: Secret) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async { Ok(ContextLock::new(())) })
    }
}

/// It is tried again, as long as there is time.
#[tokio::test(start_paused = true)]
async fn whoever_may_wait_for_long_does_not_fail_with_a_store_that_comes_back() {
    test_timeout::start();
    let (sandbox, partner, _) = two_users().await;
    for (times, is_opened) in [(3, true), (u32::MAX, false)] {
        let look = partner.api();
        let owner = |turns, id| Owner::User(Box::new(UsersTurn::new(turns, id, None, look, |_| ())));
        let store: Arc<dyn ContextStore> = Arc::new(Away(times.into()));
        let User { session, .. } = user_storing(&partner, sandbox.populate(1)[0].get(), owner, Some(store)).await;
        let (began, time) = (Instant::now(), Duration::from_secs(60));
        let opened = session.open_by(began + time).await;
        assert_eq!((opened.is_ok(), session.is_open()), (is_opened, is_opened), "{opened:?}");
        if let Err(error) = opened {
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Context, true), "{error}");
            assert!(began.elapsed() > time - STORE_PAUSE * 2 && began.elapsed() <= time, "{:?}", began.elapsed());
        }
    }
}

/// It has a connection of its own, so it is no user's.
#[tokio::test]
async fn a_refused_key_of_the_partner_is_told_without_the_echo() {
    test_timeout::start();
    let (sandbox, partner, users) = two_users().await;
    users[0].session.open().await.unwrap();
    partner.end_session().await.unwrap();
    sandbox.before_signing(|_, response| {
        response.status = 400;
        let item = r#"{"error_description":"User credentials are incorrect. Incorrect API key or IP address."}"#;
        response.body = format!(r#"{{"Error":[{item}]}}"#).into_bytes();
    });
    sandbox.after_signing(|_, response| response.headers.retain(|(name, _)| name != ECHO));
    let error = partner.open_session().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.to_string().contains("Incorrect API key") && !error.is_from_bunq(), "{error}");
    // A user's may be another user's.
    let error = users[1].session.open().await.unwrap_err();
    assert_eq!((error.kind(), error.bunq_messages().len()), (ErrorKind::Rejected, 0), "{error}");
}
