use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::{join_all, poll_immediate};
use serde_json::{Value, json};

use super::text::Kind;
use super::*;
use crate::custody::UserRecord;
use crate::environment::Environment;
use crate::error::ErrorKind;
use crate::session::context::under;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;
use crate::types::ProvisionId;

const BASE_URL: &str = "https://partner-api.sandbox.bunq.com/v1";
const API_KEY: &str = "sandbox_planted-key";
const OTHER_KEY: &str = "sandbox_planted-other-key";

/// What the version before has kept of a user, and of a partner, for these keys.
const READABLE_USER: &str = include_str!("tests/user_1.json");
const READABLE_CONTEXT: &str = include_str!("tests/context_1.json");

fn identity(api_key: &str) -> Identity {
    Identity::new(Environment::Sandbox, BASE_URL, &api_key.into())
}

fn sealing(api_key: &str) -> Sealing {
    Sealing::new(Arc::new(ApiKeySealer::new(api_key)), identity(api_key)).unwrap()
}

fn id(id: u64) -> ProvisionId {
    id.try_into().unwrap()
}

fn user(number: u64) -> Place {
    Place { kind: Kind::User(id(number)), name: format!("the record of provision {number}"), may_be_readable: true }
}

fn context() -> Place {
    Place { kind: Kind::Context, name: "the store".to_owned(), may_be_readable: true }
}

/// What opening a text says against it.
async fn refusal(sealing: &Sealing, place: &Place, text: impl Into<Secret>) -> String {
    let error = sealing.opened(place, text.into()).await.unwrap_err();
    let shown = format!("{error} {error:?} {sealing:?}");
    let fingerprints = [API_KEY, OTHER_KEY].map(|key| identity(key).api_key_fingerprint().to_owned());
    for secret in [API_KEY, OTHER_KEY, "planted text", &fingerprints[0], &fingerprints[1]] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(error.kind(), ErrorKind::Context);
    error.to_string()
}

/// A key that counts what it is asked, and may be away.
#[derive(Debug, Clone, Default)]
struct Vault(Arc<VaultState>);

#[derive(Debug, Default)]
struct VaultState {
    asked: AtomicUsize,
    is_away: AtomicBool,
    /// It does not answer while this is held.
    door: tokio::sync::Mutex<()>,
    data_keys: Mutex<Vec<Secret>>,
}

impl KeySealer for Vault {
    fn id(&self) -> String {
        "vault:key\n1".to_owned()
    }

    fn seal<'a>(&'a self, data_key: &'a Secret) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async {
            let mut data_keys = lock(&self.0.data_keys);
            data_keys.push(data_key.clone());
            Ok(vec![u8::try_from(data_keys.len()).unwrap()])
        })
    }

    fn open<'a>(&'a self, sealed: &'a [u8]) -> BoxFuture<'a, Result<Option<Secret>, Error>> {
        Box::pin(async {
            let _open = self.0.door.lock().await;
            self.0.asked.fetch_add(1, Ordering::Relaxed);
            if self.0.is_away.load(Ordering::Relaxed) {
                return Err(Error::context("the vault is away"));
            }
            Ok(lock(&self.0.data_keys).get(usize::from(sealed[0]) - 1).cloned())
        })
    }
}

fn in_vault(vault: &Vault) -> Sealing {
    Sealing::new(Arc::new(vault.clone()), identity(API_KEY)).unwrap()
}

#[tokio::test]
async fn what_is_sealed_is_opened_by_the_same_key() {
    test_timeout::start();
    let ours = sealing(API_KEY);
    let texts = [ours.seal(&user(7), &"planted text".into()).await, ours.seal(&user(7), &"planted text".into()).await];
    let texts = texts.map(Result::unwrap);
    assert_ne!(texts[0], texts[1]);
    assert!(texts.iter().all(|text| !text.expose().contains("planted")));
    for text in texts {
        assert_eq!(sealing(API_KEY).opened(&user(7), text).await.unwrap().expose(), "planted text");
    }
    let empty = ours.seal(&context(), &"".into()).await.unwrap();
    assert_eq!(ours.opened(&context(), empty).await.unwrap().expose(), "");
}

/// The version before refuses what it reads here: a format after 1.
#[tokio::test]
async fn the_format_is_stable() {
    test_timeout::start();
    let ours = sealing(API_KEY);
    for (place, format, id) in [(user(7), "bunq_partner_user", json!(7)), (context(), "format", Value::Null)] {
        let text = ours.seal(&place, &"planted text".into()).await.unwrap();
        let mut text: Value = serde_json::from_str(text.expose()).unwrap();
        assert_eq!(text["sealer"].take(), format!("api-key:{}", identity(API_KEY).api_key_fingerprint()));
        assert!(text["sealed"].take().is_string() && text["data_key"].take().is_string());
        let mut expected = json!({
            "version": env!("CARGO_PKG_VERSION"), "environment": "sandbox", "base_url": BASE_URL,
            "sealer": null, "data_key": null, "sealed": null,
        });
        expected[format] = json!(2);
        if !id.is_null() {
            expected["provision_id"] = id;
        }
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn a_text_with_one_byte_changed_is_refused() {
    test_timeout::start();
    let ours = sealing(API_KEY);
    for place in [user(7), context()] {
        let text = ours.seal(&place, &READABLE_USER.into()).await.unwrap();
        for at in 0..text.expose().len() {
            for change in [1, 2, 16, 32] {
                let mut bytes = text.expose().as_bytes().to_vec();
                bytes[at] ^= change;
                let changed = String::from_utf8(bytes).unwrap();
                let opened = ours.open(&place, changed.as_str().into()).await.unwrap();
                // What is taken for a text of an earlier version is none.
                let is_refused = match opened {
                    Err(_) => true,
                    Ok(Opened::Sealed(_)) => false,
                    Ok(Opened::Readable(text)) => {
                        UserRecord::decode(&text, &identity(API_KEY), id(7)).is_err()
                            && under(&text, &identity(API_KEY), None).is_err()
                    }
                };
                assert!(is_refused, "byte {at}: {changed}");
            }
        }
    }
}

#[tokio::test]
async fn a_text_in_another_place_is_refused() {
    test_timeout::start();
    let ours = sealing(API_KEY);
    let text = ours.seal(&user(7), &"planted text".into()).await.unwrap();
    let remedy = "put back a copy that fits, or take this one out of the custody and reset the user";
    assert_eq!(
        refusal(&ours, &user(8), text.clone()).await,
        format!(
            "the record of provision 8 is that of provision 7, in the wrong place, and was left as it is: {remedy}"
        )
    );
    let edited = |member: &str, value: Value| {
        let mut edited: Value = serde_json::from_str(text.expose()).unwrap();
        edited[member] = value;
        edited.to_string()
    };
    let damaged = |what: &str, number: u64| {
        format!("the record of provision {number} is damaged ({what}) and was left as it is: {remedy}")
    };
    assert_eq!(refusal(&ours, &user(8), edited("provision_id", json!(8))).await, damaged("the seal", 8));
    assert_eq!(refusal(&ours, &user(7), edited("data_key", json!(""))).await, damaged("the data key", 7));
    assert!(refusal(&ours, &user(7), edited("added", json!(1))).await.contains("is damaged (line 1, column"));

    let mut as_context: Value = serde_json::from_str(&edited("format", json!(2))).unwrap();
    let members = as_context.as_object_mut().unwrap();
    members.remove("bunq_partner_user");
    members.remove("provision_id");
    assert_eq!(
        refusal(&ours, &context(), as_context.to_string()).await,
        "the store: the stored context is damaged (the seal) and was left as it is: remove it, and the client makes a new one"
    );

    let gateway = Identity::new(Environment::Sandbox, "https://bunq.acme.test/v1", &API_KEY.into());
    let elsewhere = Sealing::new(Arc::new(ApiKeySealer::new(API_KEY)), gateway).unwrap();
    assert_eq!(
        refusal(&elsewhere, &user(7), text.clone()).await,
        format!(
            "the record of provision 7 belongs to the base URL `{BASE_URL}`, not to `https://bunq.acme.test/v1`, and was left as it \
             is: use a custody for each base URL"
        )
    );
    let moved = edited("base_url", json!("https://bunq.acme.test/v1"));
    assert_eq!(refusal(&elsewhere, &user(7), moved).await, damaged("the seal", 7));
}

#[tokio::test]
async fn a_text_of_another_key_or_version_is_named() {
    test_timeout::start();
    let ours = sealing(API_KEY);
    let text = ours.seal(&user(7), &"planted text".into()).await.unwrap();
    let rekey = "or have it sealed anew, as `bunq-partner rekey` does";
    assert_eq!(
        refusal(&sealing(OTHER_KEY), &user(7), text.clone()).await,
        format!(
            "the record of provision 7 is sealed under another API key and was left as it is: use a custody for each API key, {rekey}"
        )
    );
    assert_eq!(
        refusal(&in_vault(&Vault::default()), &user(7), text.clone()).await,
        format!(
            "the record of provision 7 is sealed under an API key, and not under `vault:key\\n1`, and was left as it is: use the key \
             that has sealed it, {rekey}"
        )
    );
    // As if a sealer lied about its name.
    let mut renamed: Value = serde_json::from_str(text.expose()).unwrap();
    renamed["sealer"] = format!("api-key:{}", identity(OTHER_KEY).api_key_fingerprint()).into();
    assert!(refusal(&sealing(OTHER_KEY), &user(7), renamed.to_string()).await.contains("is damaged (the data key)"));

    let known = format!("this version ({}) knows formats up to 2; it was left as it is", env!("CARGO_PKG_VERSION"));
    for (text, expected) in [
        (
            r#"{"bunq_partner_user": 3, "version": "7.8.9\n", "more": 1}"#,
            format!("has format 3 of version 7.8.9\\n of bunq-partner, but {known}: use that version or a later one"),
        ),
        (r#"{"bunq_partner_user": 99}"#, format!("has format 99, but {known}: use the version that wrote it")),
    ] {
        assert_eq!(refusal(&ours, &user(7), text).await, format!("the record of provision 7 {expected}"));
    }
}

#[tokio::test]
async fn a_readable_text_of_an_earlier_version_is_opened_as_it_is() {
    test_timeout::start();
    let ours = sealing(API_KEY);
    for (place, text) in [(user(7), READABLE_USER), (context(), READABLE_CONTEXT)] {
        assert_eq!(ours.opened(&place, text.into()).await.unwrap().expose(), text);
    }
    assert!(UserRecord::decode(&READABLE_USER.into(), &identity(API_KEY), id(7)).is_ok());
    assert!(crate::session::context::Stored::decode(&READABLE_CONTEXT.into(), &identity(API_KEY)).is_ok());
}

/// Whoever can write to a store has no key, and so can put nothing there that is used.
#[tokio::test]
async fn a_readable_text_is_one_of_format_1_where_there_may_be_one() {
    test_timeout::start();
    let ours = sealing(API_KEY);
    for (place, text, member) in
        [(user(7), READABLE_USER, "bunq_partner_user"), (context(), READABLE_CONTEXT, "format")]
    {
        let mut edited: Value = serde_json::from_str(text).unwrap();
        for (other, value) in [("version", json!(5)), ("format", json!("x")), ("bunq_partner_user", json!([]))] {
            let mut planted = edited.clone();
            planted[other] = value;
            planted[member] = json!(2);
            assert!(refusal(&ours, &place, planted.to_string()).await.contains("is damaged (line 1"), "{planted}");
        }
        edited[member] = json!(0);
        assert!(refusal(&ours, &place, edited.to_string()).await.contains("is damaged (format 0)"));
        let new = Place { may_be_readable: false, ..place };
        let refused = refusal(&ours, &new, text).await;
        assert!(refused.contains(" is not sealed, as all that is kept there, and was left as it is: "), "{refused}");
    }
}

#[tokio::test]
async fn a_vault_is_asked_once_for_each_data_key() {
    test_timeout::start();
    let vault = Vault::default();
    let mut texts = Vec::new();
    for number in 1..=3 {
        let process = in_vault(&vault);
        for user_id in [number, 10 + number] {
            texts.push((user(user_id), process.seal(&user(user_id), &"planted text".into()).await.unwrap()));
        }
    }
    assert_eq!((lock(&vault.0.data_keys).len(), vault.0.asked.load(Ordering::Relaxed)), (3, 0));

    let process = in_vault(&vault);
    vault.0.is_away.store(true, Ordering::Relaxed);
    let (place, text) = &texts[0];
    assert_eq!(process.opened(place, text.clone()).await.unwrap_err().to_string(), "the vault is away");
    vault.0.is_away.store(false, Ordering::Relaxed);
    vault.0.asked.store(0, Ordering::Relaxed);
    let all = texts.iter().cycle().take(60).map(|(place, text)| process.opened(place, text.clone()));
    assert!(join_all(all).await.into_iter().all(|opened| opened.is_ok()));
    assert_eq!(vault.0.asked.load(Ordering::Relaxed), 3);

    // It seals with one of those that it has opened.
    let text = process.seal(&user(20), &"planted text".into()).await.unwrap();
    assert!(in_vault(&vault).opened(&user(20), text).await.is_ok());
    assert_eq!(lock(&vault.0.data_keys).len(), 3);
}

/// One that is dropped, or not polled any more, while the vault is asked.
#[tokio::test]
async fn whoever_asks_the_vault_holds_up_nobody() {
    test_timeout::start();
    let vault = Vault::default();
    let text = in_vault(&vault).seal(&user(7), &"planted text".into()).await.unwrap();
    let process = in_vault(&vault);
    let closed = vault.0.door.lock().await;
    let (one, other) = (user(7), user(7));
    let mut unpolled = Box::pin(process.opened(&one, text.clone()));
    assert!(poll_immediate(&mut unpolled).await.is_none());
    let mut dropped = Box::pin(process.opened(&other, text.clone()));
    assert!(poll_immediate(&mut dropped).await.is_none());
    drop((dropped, closed));
    assert!(process.opened(&user(7), text).await.is_ok());
    assert!(unpolled.await.is_ok());
    assert_eq!(vault.0.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_key_has_a_name() {
    test_timeout::start();
    #[derive(Debug)]
    struct Named(usize);
    impl KeySealer for Named {
        fn id(&self) -> String {
            "n".repeat(self.0)
        }
        fn seal<'a>(&'a self, _: &'a Secret) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
            Box::pin(async { Ok(Vec::new()) })
        }
        fn open<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Option<Secret>, Error>> {
            Box::pin(async { Ok(None) })
        }
    }
    for (len, is_taken) in [(0, false), (1, true), (1024, true), (1025, false)] {
        let made = Sealing::new(Arc::new(Named(len)), identity(API_KEY));
        assert_eq!(made.is_ok(), is_taken);
        if let Err(error) = made {
            assert_eq!(
                error.to_string(),
                format!("key_sealer: its id has {len} bytes: give it one of 1 to 1024 bytes")
            );
        }
    }
}
