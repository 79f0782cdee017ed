use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::TryStreamExt as _;
use serde_json::{Value, json};

use super::*;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::session::context::{ContextLock, ContextStore, Identity};
use crate::types::ProvisionId;

const BASE_URL: &str = "https://partner-api.sandbox.bunq.com/v1";
const API_KEY: &str = "sandbox_planted-key";
const TOKEN: &str = "planted-user-token";
const CONTEXT: &str = r#"{"format": 1, "session": {"token": "planted-session-token"}}"#;
const NAMED: &str = r#"{"format": 1, "session": {"token": "planted-session-token", "user": {"kind": "ApiKey", "id": 21, "granted_by": 20}}}"#;
const PATIENCE: Duration = Duration::from_secs(60);

fn id(id: u64) -> ProvisionId {
    id.try_into().unwrap()
}

fn identity() -> Identity {
    Identity::new(Environment::Sandbox, BASE_URL, &API_KEY.into())
}

fn records(custody: &MemoryCustody) -> Records {
    Records::new(Arc::new(custody.clone()), identity(), PATIENCE)
}

fn token(token: &str) -> NewToken {
    NewToken {
        external_uuid: Some("5f3f2a4e-0b0e-4c39-8f5e-000000001015".parse().unwrap()),
        credential_id: Some(8_u64.try_into().unwrap()),
        token: token.into(),
        expiry: Some("2026-11-29 20:00:00".parse().unwrap()),
    }
}

/// A custody with the user of provision 7.
async fn with_user() -> (MemoryCustody, Kept) {
    let custody = MemoryCustody::new();
    let kept = records(&custody).of(id(7));
    kept.store(token(TOKEN)).await.unwrap();
    (custody, kept)
}

async fn stored(custody: &MemoryCustody) -> Value {
    serde_json::from_str(custody.load(id(7)).await.unwrap().unwrap().expose()).unwrap()
}

async fn put(custody: &MemoryCustody, text: &str) {
    let held = custody.lock(id(7)).await.unwrap();
    custody.save(&held, CustodyEntry::new(id(7)), text.into()).await.unwrap();
}

/// Saves under the lock of the store.
async fn save(store: &impl ContextStore, context: &str) -> Result<(), Error> {
    let held = store.lock().await?;
    store.save(&held, context.into()).await
}

/// What reading a record says that `edit` has changed. It must not be changed, and show no secret.
async fn refusal(edit: impl FnOnce(&mut Value)) -> String {
    let (custody, _) = with_user().await;
    let mut record = stored(&custody).await;
    edit(&mut record);
    refusal_of(&custody, &record.to_string()).await
}

async fn refusal_of(custody: &MemoryCustody, text: &str) -> String {
    put(custody, text).await;
    let kept = records(custody).of(id(7));
    let errors: [Error; 5] = [
        kept.record().await.unwrap_err(),
        kept.store(token("another-token")).await.unwrap_err(),
        kept.remove().await.unwrap_err(),
        ContextStore::load(&kept.context_of(TOKEN.into())).await.unwrap_err(),
        save(&kept.context_of(TOKEN.into()), CONTEXT).await.unwrap_err(),
    ];
    let [error, others @ ..] = errors;
    assert!(others.iter().all(|other| other.to_string() == error.to_string()), "{error} {others:?}");
    assert_eq!((error.kind(), custody.load(id(7)).await.unwrap()), (ErrorKind::Context, Some(text.into())));
    let shown = format!("{error} {error:?} {kept:?} {custody:?}");
    let fingerprint = identity();
    let planted = [API_KEY, TOKEN, "planted-session-token", "another-token", fingerprint.api_key_fingerprint()];
    assert!(planted.iter().all(|secret| !shown.contains(secret)), "{shown}");
    let error = error.to_string();
    error.strip_prefix("the custody in memory: the record of provision 7 ").unwrap_or(&error).to_owned()
}

#[tokio::test]
async fn the_format_is_stable() {
    test_timeout::start();
    let (custody, kept) = with_user().await;
    let session = |record: &mut Value| record["context"].take();
    kept.update(|record| {
        record.stored_at = "2026-11-29 16:00:00".parse().unwrap();
        record.take_context(NAMED.into());
        Ok(())
    })
    .await
    .unwrap();
    Steps::new(kept).done(&Operation::CREATE_OAUTH_CLIENT, &"planted request", 9).await.unwrap();
    let mut record = stored(&custody).await;
    assert!(record["steps"][0]["at"].take().is_string());
    assert_eq!(session(&mut record), serde_json::from_str::<Value>(NAMED).unwrap());
    let expected = json!({
        "bunq_partner_user": 2,
        "environment": "sandbox",
        "base_url": BASE_URL,
        "provision_id": 7,
        "external_uuid": "5f3f2a4e-0b0e-4c39-8f5e-000000001015",
        "credential_id": 8,
        "token": TOKEN,
        "expiry": "2026-11-29 20:00:00.000000",
        "stored_at": "2026-11-29 16:00:00.000000",
        "is_activated": true,
        "user_id": 21,
        "granted_by": 20,
        "context": null,
        // printf 'bunq-partner step\n"planted request"' | openssl dgst -sha256 -binary | base64
        "steps": [{
            "operation": "create_oauth_client", "request": "hTqr0z/0bKLuZutNHHJ82agiTFmTp56zV9qQB/4QUik=", "at": null, "id": 9,
        }],
    });
    assert_eq!(record, expected);
}

#[tokio::test]
async fn a_token_is_stored_once_and_its_context_beside_it() {
    test_timeout::start();
    let (custody, kept) = with_user().await;
    let record = kept.record().await.unwrap().unwrap();
    assert_eq!((record.token, record.is_activated), (TOKEN.into(), false));
    assert_eq!(ContextStore::load(&kept.context_of(TOKEN.into())).await.unwrap(), None);

    let entry = || async { kept.entry().await.unwrap().unwrap() };
    assert_eq!((entry().await.is_activated, entry().await.expiry), (false, token(TOKEN).expiry));
    // An installation alone activates nothing.
    save(&kept.context_of(TOKEN.into()), r#"{"format": 1, "session": null}"#).await.unwrap();
    assert!(!entry().await.is_activated);
    save(&kept.context_of(TOKEN.into()), CONTEXT).await.unwrap();
    assert!(entry().await.is_activated && kept.record().await.unwrap().unwrap().is_activated);
    // A session that was ended does not make the credential unused.
    save(&kept.context_of(TOKEN.into()), r#"{"format": 1, "session": null}"#).await.unwrap();
    assert!(entry().await.is_activated);

    // A session names the user. A later one that does not, and another credential, change nothing of that.
    let ids = || async { entry().await.user_ids().map(|id| id.map(|id| id.get())) };
    assert_eq!(ids().await, [None; 2]);
    for (context, expected) in [
        (r#"{"session": {"user": {"kind": "ApiKey", "id": 21}}}"#, [Some(21), None]),
        (NAMED, [Some(21), Some(20)]),
        (r#"{"session": {"user": {"kind": "Later", "id": 7}}}"#, [Some(21), Some(20)]),
        (r#"{"session": null}"#, [Some(21), Some(20)]),
        (r#"{"session": {"user": {"kind": "ApiKey", "id": 22}}}"#, [Some(22), Some(20)]),
    ] {
        save(&kept.context_of(TOKEN.into()), context).await.unwrap();
        assert_eq!(ids().await, expected, "{context}");
    }

    // The same token changes nothing; another one is another credential's.
    save(&kept.context_of(TOKEN.into()), CONTEXT).await.unwrap();
    let before = custody.load(id(7)).await.unwrap();
    kept.store(token(TOKEN)).await.unwrap();
    assert_eq!(custody.load(id(7)).await.unwrap(), before);
    assert_eq!(Steps::new(kept.clone()).begin(&Operation::CREATE_OAUTH_CLIENT, &1).await.unwrap(), Step::New);
    kept.store(token("another-token")).await.unwrap();
    let record = kept.record().await.unwrap().unwrap();
    assert_eq!((record.token, record.is_activated), ("another-token".into(), false));
    assert_eq!(ids().await, [Some(22), Some(20)]);
    let store = kept.context_of("another-token".into());
    assert_eq!(store.load().await.unwrap(), None);
    // The session with the token before it neither reads nor changes what is of the other.
    let before = custody.load(id(7)).await.unwrap();
    let old = kept.context_of(TOKEN.into());
    for error in [old.load().await.unwrap_err(), save(&old, CONTEXT).await.unwrap_err()] {
        assert!(error.to_string().contains("has another token by now"), "{error}");
    }
    assert_eq!(custody.load(id(7)).await.unwrap(), before);
    assert_ne!(Steps::new(kept.clone()).begin(&Operation::CREATE_OAUTH_CLIENT, &1).await.unwrap(), Step::New);

    kept.remove().await.unwrap();
    assert_eq!((kept.record().await.unwrap().is_none(), kept.entry().await.unwrap()), (true, None));
    let error = ContextStore::load(&kept.context_of(TOKEN.into())).await.unwrap_err().to_string();
    assert!(error.contains("is not there") && error.contains("activate the user"), "{error}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_left_as_it_is() {
    test_timeout::start();
    const REMEDY: &str = "put back a copy that fits, or take this one out of the custody and reset the user";
    let damaged = |what: &str| format!("is damaged ({what}) and was left as it is: {REMEDY}");
    let (custody, _) = with_user().await;
    let whole = stored(&custody).await.to_string();
    assert_eq!(refusal_of(&custody, "").await, damaged("line 1, column 0"));
    assert_eq!(
        refusal_of(&custody, &whole[..whole.len() - 2]).await,
        damaged(&format!("line 1, column {}", whole.len() - 2))
    );
    assert_eq!(refusal(|record| record["token"] = json!("planted-user-token\n")).await, damaged("the token"));
    assert_eq!(
        refusal(|record| record["provision_id"] = json!(8)).await,
        format!("is that of provision 8, in the wrong place, and was left as it is: {REMEDY}")
    );
    assert_eq!(
        refusal(|record| record["environment"] = json!("production")).await,
        "belongs to the environment `production`, not to `sandbox`, and was left as it is: use a custody for each environment"
    );
    assert_eq!(
        refusal(|record| record["base_url"] = json!("https://bunq.acme.test\n/v1")).await,
        "belongs to the base URL `https://bunq.acme.test\\n/v1`, not to `https://partner-api.sandbox.bunq.com/v1`, and was left \
         as it is: use a custody for each base URL"
    );
    assert_eq!(
        refusal(|record| record["api_key_fingerprint"] = json!("print")).await,
        "belongs to another API key and was left as it is: use a custody for each API key"
    );
    // Those of the version before are bound to the key, and no others are readable where they are kept.
    assert_eq!(
        refusal(|record| record["bunq_partner_user"] = json!(1)).await,
        damaged("the fingerprint of the API key")
    );
    assert_eq!(
        refusal_of(&custody, r#"{"bunq_partner_user": 3, "token": 7}"#).await,
        "has format 3, but this version of bunq-partner knows formats up to 2; it was left as it is: use the version that wrote it"
    );
    let long = " ".repeat(64 * 1024) + &whole;
    assert_eq!(
        refusal_of(&custody, &long).await,
        format!("has {} bytes, and at most 65536 are read: {REMEDY}", long.len())
    );
}

#[tokio::test]
async fn members_of_later_versions_are_ignored() {
    test_timeout::start();
    let (custody, kept) = with_user().await;
    let mut record = stored(&custody).await;
    record["added"] = json!("later");
    put(&custody, &record.to_string()).await;
    assert_eq!(kept.record().await.unwrap().unwrap().token, TOKEN.into());
}

#[tokio::test]
async fn an_unused_credential_of_the_future_is_refused_with_the_clock() {
    test_timeout::start();
    let (_, kept) = with_user().await;
    let stored = |seconds: i64| {
        kept.update(move |record| {
            record.stored_at = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).into();
            Ok(())
        })
    };
    stored(30).await.unwrap();
    assert!(kept.record().await.is_ok());
    stored(3600).await.unwrap();
    let error = kept.record().await.unwrap_err().to_string();
    assert!(
        error.contains("the record of provision 7 was stored at ") && error.contains("set the clock right"),
        "{error}"
    );
    // Another credential is stored by the time that the clock has now.
    kept.store(token("another-token")).await.unwrap();
    assert!(kept.record().await.is_ok());
    stored(3600).await.unwrap();
    save(&kept.context_of("another-token".into()), CONTEXT).await.unwrap();
    assert!(kept.record().await.is_ok(), "a credential in use does not expire");
}

#[tokio::test]
async fn a_step_begins_once() {
    test_timeout::start();
    const ONE: &Operation = &Operation::CREATE_OAUTH_CLIENT;
    const OTHER: &Operation = &Operation::CREATE_PROVISION;
    let (custody, kept) = with_user().await;
    let steps = Steps::new(kept);
    let begun = futures_util::future::join_all((0..20).map(|_| {
        let steps = steps.clone();
        tokio::spawn(async move { steps.begin(ONE, &"planted request").await.unwrap() })
    }));
    let begun: Vec<_> = begun.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(begun.iter().filter(|step| **step == Step::New).count(), 1, "{begun:?}");
    assert!(begun.iter().all(|step| matches!(step, Step::New | Step::InDoubt { .. })));

    // Another process knows it too, until something is said of it.
    let again = Steps::new(records(&custody).of(id(7)));
    assert!(matches!(again.begin(ONE, &"planted request").await.unwrap(), Step::InDoubt { .. }));
    assert_eq!(again.begin(OTHER, &"planted request").await.unwrap(), Step::New);
    assert_eq!(again.begin(ONE, &"another request").await.unwrap(), Step::New);
    again.not_sent(ONE, &"another request").await.unwrap();
    assert_eq!(again.begin(ONE, &"another request").await.unwrap(), Step::New);
    again.done(ONE, &"planted request", 9).await.unwrap();
    again.not_sent(ONE, &"planted request").await.unwrap();
    assert_eq!(steps.begin(ONE, &"planted request").await.unwrap(), Step::Done { id: 9 });
    assert!(!stored(&custody).await.to_string().contains("planted request"));

    assert_eq!(Steps::none().begin(ONE, &1).await.unwrap(), Step::New);
    let unknown = Steps::new(records(&custody).of(id(8))).begin(ONE, &1).await.unwrap_err();
    assert!(unknown.to_string().contains("the record of provision 8 is not there"), "{unknown}");
}

#[tokio::test]
async fn steps_are_bounded_and_those_in_doubt_stay() {
    test_timeout::start();
    const ANSWER: &Operation = &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY;
    let (custody, kept) = with_user().await;
    let steps = Steps::new(kept.clone());
    steps.begin(ANSWER, &0).await.unwrap();
    for number in 1..=250 {
        steps.done(ANSWER, &number, number).await.unwrap();
    }
    let list = stored(&custody).await["steps"].as_array().unwrap().len();
    assert_eq!(list, 200);
    assert!(matches!(steps.begin(ANSWER, &0).await.unwrap(), Step::InDoubt { .. }));
    assert_eq!(steps.begin(ANSWER, &250).await.unwrap(), Step::Done { id: 250 });
    // Those that are forgotten begin again, until all are in doubt.
    for number in 1..200 {
        assert_eq!(steps.begin(ANSWER, &number).await.unwrap(), Step::New, "{number}");
    }
    let error = steps.begin(ANSWER, &200).await.unwrap_err().to_string();
    assert!(
        error.contains("has 200 requests of which nothing else tells") && error.contains("look at bunq"),
        "{error}"
    );
    assert!(kept.record().await.is_ok(), "the fullest record is read");
}

/// bunq lists neither sessions nor documents: without the step, one would be made twice.
#[tokio::test]
async fn what_only_the_record_knows_is_never_forgotten() {
    test_timeout::start();
    const LINK: &Operation = &Operation::CREATE_DOCUMENT_IDENTIFICATION;
    const SESSION: &Operation = &Operation::CREATE_IDENTITY_VERIFICATION_SESSION;
    let (_custody, kept) = with_user().await;
    let steps = Steps::new(kept.clone());
    steps.done(SESSION, &0, 7).await.unwrap();
    for number in 1..200 {
        steps.done(LINK, &number, number).await.unwrap();
    }
    for refused in [steps.begin(LINK, &200).await, steps.begin_again(LINK, &200).await] {
        let error = refused.unwrap_err();
        assert!(error.kind() == ErrorKind::Context && error.to_string().contains("reset the user"), "{error}");
    }
    assert!(steps.done(&Operation::CREATE_ATTACHMENT, &0, 7).await.is_err());
    assert_eq!(steps.begin(SESSION, &0).await.unwrap(), Step::Done { id: 7 });
    assert_eq!(steps.begin_again(LINK, &1).await.unwrap(), Step::Done { id: 1 }, "one that is kept begins again");
}

#[tokio::test]
async fn what_bunq_shows_is_forgotten_first_and_then_what_may_run_twice() {
    test_timeout::start();
    const UPLOAD: &Operation = &Operation::CREATE_ATTACHMENT;
    const ANSWER: &Operation = &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY;
    let (_custody, kept) = with_user().await;
    let steps = Steps::new(kept.clone());
    steps.done(&Operation::CREATE_DOCUMENT_IDENTIFICATION, &0, 7).await.unwrap();
    steps.done(UPLOAD, &0, 7).await.unwrap();
    for number in 1..=250 {
        steps.done(ANSWER, &number, number).await.unwrap();
    }
    let made = async |operation, request| steps.made(operation, &request).await.unwrap();
    assert_eq!((made(UPLOAD, 0).await, made(ANSWER, 52).await, made(ANSWER, 53).await), (Some(7), None, Some(53)));
    for number in 1..=250 {
        steps.done(UPLOAD, &number, number).await.unwrap();
    }
    assert_eq!((made(UPLOAD, 51).await, made(UPLOAD, 52).await, made(ANSWER, 250).await), (None, Some(52), None));
    assert_eq!(made(&Operation::CREATE_DOCUMENT_IDENTIFICATION, 0).await, Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_made_though_its_caller_gives_up() {
    test_timeout::start();
    let (custody, kept) = with_user().await;
    let (begun, was_begun) = tokio::sync::oneshot::channel();
    let (may_end, go_on) = std::sync::mpsc::channel();
    let updating = kept.update(move |record| {
        let _ = begun.send(());
        let _ = go_on.recv();
        record.is_activated = true;
        Ok(())
    });
    tokio::select! {
        biased;
        _ = was_begun => {}
        _ = updating => {}
    }
    may_end.send(()).unwrap();
    let _lock = custody.lock(id(7)).await.unwrap();
    assert!(stored(&custody).await["is_activated"].as_bool().unwrap());
}

#[tokio::test]
async fn a_change_that_is_not_polled_holds_up_no_other() {
    test_timeout::start();
    let (custody, kept) = with_user().await;
    let lock = custody.lock(id(7)).await.unwrap();
    let change = |is_activated| {
        kept.update(move |record| {
            record.is_activated = is_activated;
            Ok(())
        })
    };
    let (mut unpolled, mut given_up) = (Box::pin(change(true)), Box::pin(change(true)));
    assert!(futures_util::poll!(&mut unpolled).is_pending() && futures_util::poll!(&mut given_up).is_pending());
    // Both wait for the lock by then.
    tokio::task::yield_now().await;
    drop(given_up);
    drop(lock);
    change(false).await.unwrap();
    assert_eq!(stored(&custody).await["is_activated"], false);
    unpolled.await.unwrap();
    assert_eq!(stored(&custody).await["is_activated"], false, "it was made before");
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_not_released_is_busy() {
    test_timeout::start();
    let (custody, kept) = with_user().await;
    let before = stored(&custody).await;
    let held = custody.lock(id(7)).await.unwrap();
    let locked = kept.lock().await.map(drop);
    for outcome in [locked, kept.remove().await.map(drop), kept.store(token("another-token")).await] {
        let error = outcome.unwrap_err();
        assert!(error.kind() == ErrorKind::Busy && error.is_retryable(), "{error:?}");
        let expected =
            "the custody in memory: the record of provision 7 was not unlocked by its holder within 1 min: try again";
        assert_eq!(error.to_string(), expected);
    }
    // What was given up is not done later.
    drop(held);
    drop(kept.lock().await.unwrap());
    assert_eq!(stored(&custody).await, before);
}

#[tokio::test]
async fn locks_that_nobody_has_take_no_memory() {
    test_timeout::start();
    let turns = turns::Turns::default();
    let first = turns.take(id(7)).await;
    let other = turns.take(id(8)).await;
    let mut waiting = Box::pin(turns.take(id(7)));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(first);
    let second = waiting.await;
    let mut given_up = Box::pin(turns.take(id(7)));
    assert!(futures_util::poll!(&mut given_up).is_pending());
    drop(second);
    drop(given_up);
    drop(other);
    assert_eq!(turns.count(), 0);
}

/// A lock of another user, of another custody, or of another kind.
#[tokio::test]
async fn a_user_is_changed_with_its_own_lock_alone() {
    test_timeout::start();
    let (custody, _) = with_user().await;
    let before = custody.load(id(7)).await.unwrap();
    for held in
        [custody.lock(id(8)).await.unwrap(), MemoryCustody::new().lock(id(7)).await.unwrap(), ContextLock::new(())]
    {
        let saved = custody.save(&held, CustodyEntry::new(id(7)), "text".into()).await;
        for error in [saved.unwrap_err(), custody.remove(&held, id(7)).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Context);
            let expected =
                "the custody in memory: the record of provision 7 is changed with its own lock alone: take that before";
            assert_eq!(error.to_string(), expected);
        }
    }
    assert_eq!(custody.load(id(7)).await.unwrap(), before);
}

#[tokio::test]
async fn pages_come_in_the_order_of_the_ids() {
    test_timeout::start();
    let custody = MemoryCustody::new();
    for number in (1..=2500_u64).rev() {
        let is_activated = number % 2 == 0;
        let (held, entry) = (custody.lock(id(number)).await.unwrap(), CustodyEntry::new(id(number)));
        custody.save(&held, CustodyEntry { is_activated, ..entry }, "text".into()).await.unwrap();
    }
    for (filter, expected) in [(CustodyFilter::All, 2500), (CustodyFilter::Unactivated, 1250)] {
        let listed: Vec<_> =
            records(&custody).entries(filter).map_ok(|entry| entry.provision_id).try_collect().await.unwrap();
        assert!(listed.len() == expected && listed.is_sorted());
    }
}
