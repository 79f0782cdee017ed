//! What cannot be used in custody is an error that names the remedy, before anything is sent.

use std::fs;
use std::path::{Path, PathBuf};

use bunq_partner::jiff::{Span, Timestamp};
use bunq_partner::{
    Client, Custody as _, Error, ErrorKind, FileCustody, Operation, ProvisionId, Remedy, Sent, UserEvent,
};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::common::{Folder, at_once, resealed, unsealed};

fn client(sandbox: &Sandbox, folder: &Path) -> Client {
    sandbox.client().retry(at_once()).custody(FileCustody::new(folder)).build().unwrap()
}

/// A time in bunq's form, so many hours from now.
fn in_hours(hours: i64) -> Value {
    let time = Timestamp::now() + Span::new().hours(hours);
    json!(time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string())
}

/// What becomes of a user whose record was edited so, and how many calls were made meanwhile.
async fn refused(is_used: bool, edit: impl Fn(&Path, &str, &mut Value) -> Option<String>) -> (Vec<Error>, usize) {
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.path("users");
    own_folder(&users);
    let id = sandbox.populate(1)[0];
    client(&sandbox, &users).users().activate(id).await.unwrap();
    let (file, head, sealed) = stored(&users, id);
    let mut record = unsealed(&sealed, &sandbox.api_key());
    if !is_used {
        (record["is_activated"], record["context"]) = (json!(false), Value::Null);
    }
    let text = edit(&file, &sealed, &mut record).unwrap_or_else(|| resealed(&sealed, &record, &sandbox.api_key()));
    let text = format!("{head}\n{text}");
    fs::write(&file, &text).unwrap();
    sandbox.take_call_log();
    let users = client(&sandbox, &users).users();
    let user = users.of(id);
    let mut errors =
        vec![user.open_session().await.unwrap_err(), user.api().list_credentials().await.map(drop).unwrap_err()];
    // Of a credential that may have expired, bunq is asked.
    if errors[0].kind() == ErrorKind::Context {
        errors.extend([users.activate(id).await.unwrap_err(), users.reset(id).await.unwrap_err()]);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text, "it is left as it was");
    (errors, sandbox.call_log().len())
}

/// The file of a user, the first line in it, and the sealed record below that.
fn stored(users: &Path, id: ProvisionId) -> (PathBuf, String, String) {
    let file = users.join(format!("{id}.json"));
    let text = fs::read_to_string(&file).unwrap();
    let (head, record) = text.split_once('\n').unwrap();
    (file, head.to_owned(), record.to_owned())
}

/// Changes the record of a user.
fn change(sandbox: &Sandbox, users: &Path, id: ProvisionId, change: impl FnOnce(&mut Value)) {
    let (file, head, sealed) = stored(users, id);
    let mut record = unsealed(&sealed, &sandbox.api_key());
    change(&mut record);
    fs::write(file, format!("{head}\n{}", resealed(&sealed, &record, &sandbox.api_key()))).unwrap();
}

/// A text with another value of one member.
fn with(text: &str, member: &str, value: Value) -> Option<String> {
    let mut text: Value = serde_json::from_str(text).unwrap();
    text[member] = value;
    Some(text.to_string())
}

fn own_folder(path: &Path) {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).unwrap();
}

#[tokio::test]
async fn nothing_is_sent_with_what_cannot_be_used() {
    test_timeout::start();
    type Edit = fn(&Path, &str, &mut Value) -> Option<String>;
    let cases: [(bool, Edit, ErrorKind, &str); 7] = [
        (true, |_, sealed, _| Some(sealed[..40].to_owned()), ErrorKind::Context, "is damaged (line 1, column"),
        (true, |_, _, _| Some(String::new()), ErrorKind::Context, "put back a copy that fits"),
        (
            true,
            |_, sealed, _| with(sealed, "bunq_partner_user", json!(99)),
            ErrorKind::Context,
            "knows formats up to 2; it was left as it is: use that version or a later one",
        ),
        (
            true,
            |_, sealed, _| with(sealed, "provision_id", json!(999_999)),
            ErrorKind::Context,
            "is that of provision 999999, in the wrong place",
        ),
        (
            true,
            |_, sealed, _| with(sealed, "sealer", json!("api-key:another")),
            ErrorKind::Context,
            "use a custody for each API key",
        ),
        (true, |_, sealed, _| with(sealed, "version", json!("0.0.9")), ErrorKind::Context, "is damaged (the seal)"),
        // The clock was set back by an hour.
        (
            false,
            |_, _, record| {
                (record["stored_at"], record["expiry"]) = (in_hours(1), in_hours(2));
                None
            },
            ErrorKind::Context,
            "set the clock right, or take the record out of the custody and reset the user",
        ),
    ];
    for (is_used, edit, kind, expected) in cases {
        let (errors, calls) = refused(is_used, edit).await;
        for error in errors {
            assert_eq!((error.kind(), error.sent()), (kind, Sent::No), "{expected}: {error}");
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert_eq!(error.remedy(), (kind == ErrorKind::CredentialSpent).then_some(Remedy::ResetToken), "{error}");
        }
        assert_eq!(calls, 0, "{expected}");
    }
}

/// By the clock it has expired: bunq is asked, and nothing else is sent.
#[tokio::test]
async fn nothing_is_opened_with_a_credential_that_has_expired() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let id = sandbox.populate(1)[0];
    unactivated(&sandbox, &users, id).await;
    change(&sandbox, &users, id, |record| {
        (record["stored_at"], record["expiry"]) = (in_hours(-2), in_hours(-1));
    });
    assert!(sandbox.expire_credential(id));
    let client = client(&sandbox, &users);
    client.open_session().await.unwrap();
    sandbox.take_call_log();
    let user = client.users().of(id);
    for error in [user.open_session().await.unwrap_err(), user.api().list_credentials().await.map(drop).unwrap_err()] {
        assert_eq!((error.kind(), error.remedy()), (ErrorKind::CredentialSpent, Some(Remedy::ResetToken)), "{error}");
        assert!(error.to_string().contains("has expired unused"), "{error}");
    }
    assert!(sandbox.take_call_log().iter().all(|call| call.method == "GET"));
}

/// Nobody would hear otherwise that its credential expires.
#[tokio::test]
async fn a_damaged_record_among_those_that_expire_is_told() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let id = sandbox.populate(1)[0];
    unactivated(&sandbox, &users, id).await;
    fs::write(stored(&users, id).0, "damaged").unwrap();
    let client = client(&sandbox, &users);
    let mut events = std::pin::pin!(client.users().events());
    let Some(UserEvent::Unusable(told, error)) = events.next().await else { panic!("another event") };
    assert_eq!((told, error.kind()), (id, ErrorKind::Context));
    assert!(error.to_string().contains("put back a copy that fits"), "{error}");
    assert_eq!(client.users().unactivated().await.unwrap().count, 1);
}

/// Stores the token of a user, whose session bunq refuses.
async fn unactivated(sandbox: &Sandbox, users: &Path, id: ProvisionId) {
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_DEVICE_SERVER).after(1).always());
    client(sandbox, users).users().activate(id).await.unwrap_err();
    sandbox.clear_injections();
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_sent_with_what_others_can_read() {
    test_timeout::start();
    let edit = |file: &Path, _: &str, _: &mut Value| {
        fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        None
    };
    let (errors, calls) = refused(true, edit).await;
    for error in errors {
        assert_eq!((error.kind(), error.sent(), calls), (ErrorKind::Context, Sent::No, 0), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

/// Whether or not the user is known to the first one.
#[tokio::test]
async fn nothing_is_sent_by_a_second_process_with_the_same_custody() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.path("users");
    own_folder(&users);
    let [id, unknown]: [ProvisionId; 2] = sandbox.populate(2).try_into().unwrap();
    let first = client(&sandbox, &users);
    first.users().activate(id).await.unwrap();
    let second = client(&sandbox, &users);
    let (user, users_of_second) = (second.users().of(id), second.users());
    sandbox.take_call_log();
    let (opened, activated, added, reset) = tokio::join!(
        user.open_session(),
        users_of_second.activate(id),
        users_of_second.activate(unknown),
        users_of_second.reset(id)
    );
    for outcome in [opened, activated.map(drop), added.map(drop), reset.map(drop)] {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No), "{error}");
        assert!(error.to_string().contains("another process uses it"), "{error}");
    }
    assert_eq!(sandbox.call_log().len(), 0);
    // What is there can be listed meanwhile.
    assert!(FileCustody::new(&users).entry(id).await.unwrap().is_some_and(|entry| entry.is_activated));
    drop(first);
}

/// A crash came between the first session and its being kept, and the process comes back after the credential would have expired.
#[tokio::test]
async fn a_token_that_was_used_before_a_crash_does_not_expire_unused() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.path("users");
    own_folder(&users);
    let id = sandbox.populate(1)[0];
    client(&sandbox, &users).users().activate(id).await.unwrap();
    change(&sandbox, &users, id, |record| {
        // Installation and device were kept.
        assert!(record["context"]["session"].take().is_object());
        record["is_activated"] = json!(false);
        (record["stored_at"], record["expiry"]) = (in_hours(-5), in_hours(-1));
    });
    let users = client(&sandbox, &users).users();
    let token = sandbox.provision(id).unwrap()["credential"]["id"].clone();
    users.activate(id).await.unwrap().api().list_credentials().await.unwrap();
    assert_eq!(sandbox.provision(id).unwrap()["credential"]["id"], token, "no other was requested");
    assert!(users.get(id).await.unwrap().unwrap().is_activated);
}

/// The clock goes back by an hour while the client runs: the same as if what it has stored was from an hour later.
#[tokio::test]
async fn nothing_is_sent_when_the_clock_jumps_back() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.path("users");
    own_folder(&users);
    let [used, unused]: [ProvisionId; 2] = sandbox.populate(2).try_into().unwrap();
    let client = client(&sandbox, &users);
    client.users().activate(used).await.unwrap();
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_DEVICE_SERVER).always());
    client.users().activate(unused).await.unwrap_err();
    sandbox.clear_injections();
    for id in [used, unused] {
        change(&sandbox, &users, id, |record| {
            (record["stored_at"], record["expiry"]) = (in_hours(1), in_hours(2));
        });
    }
    sandbox.take_call_log();
    let users = client.users();
    for error in [users.activate(unused).await.unwrap_err(), users.reset(unused).await.unwrap_err()] {
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No), "{error}");
        assert!(error.to_string().contains("set the clock right"), "{error}");
    }
    assert_eq!(sandbox.call_log().len(), 0);
    // One that is in use does not expire, and goes on.
    users.of(used).api().list_credentials().await.unwrap();
}
