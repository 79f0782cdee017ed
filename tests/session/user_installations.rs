//! Under which installation the sessions of users are opened: one of their own, or the partner's.

use std::sync::{Arc, Mutex};
use std::thread;

use bunq_partner::wire::SigningKey;
use bunq_partner::{Client, Custody as _, ErrorKind, MemoryCustody, Operation, Remedy, UserClient, UserInstallation};
use bunq_partner_sandbox::{AcceptedInstallation, CallLogEntry, Fault, Injection, Profile, Sandbox};

use crate::common::{MemoryStore, at_once, calls, unsealed};

const WAYS: [UserInstallation; 2] = [UserInstallation::Own, UserInstallation::Partner];

async fn bank(accepted: AcceptedInstallation) -> Sandbox {
    let mut profile = Profile::default();
    profile.user_installation = accepted;
    Sandbox::builder().profile(profile).start().await.unwrap()
}

/// What the processes of a partner share.
#[derive(Clone, Default)]
struct Kept {
    custody: MemoryCustody,
    store: MemoryStore,
}

/// Another process of the partner.
fn client(sandbox: &Sandbox, kept: &Kept, way: UserInstallation) -> Client {
    let builder = sandbox.client().retry(at_once()).user_installation(way);
    builder.custody(kept.custody.clone()).context_store(kept.store.clone()).build().unwrap()
}

/// What was called since this was asked last: installations, devices, and sessions.
fn handshakes(sandbox: &Sandbox) -> [usize; 3] {
    let counts = ["/installation", "/device-server", "/session-server"].map(|path| calls(sandbox, "POST", path).len());
    sandbox.take_call_log();
    counts
}

async fn use_it(user: &UserClient) {
    user.api().list_credentials().await.unwrap();
}

/// The token of the installation under which the last session was opened.
fn last_installation(sandbox: &Sandbox) -> String {
    let opened = calls(sandbox, "POST", "/session-server");
    header(opened.last().unwrap(), "x-bunq-client-authentication")
}

fn header(call: &CallLogEntry, name: &str) -> String {
    call.header(name).unwrap().to_owned()
}

/// A bank that wants the other kind says no more than of a wrong key, so the error names the setting; with the other one the
/// same custody goes on, and no token is reset.
#[tokio::test]
async fn each_bank_has_the_installation_that_it_takes() {
    test_timeout::start();
    for (accepted, taken) in [
        (AcceptedInstallation::Own, [true, false]),
        (AcceptedInstallation::Partner, [false, true]),
        (AcceptedInstallation::Both, [true, true]),
    ] {
        for (way, is_taken) in WAYS.into_iter().zip(taken) {
            let sandbox = bank(accepted).await;
            let (kept, id) = (Kept::default(), sandbox.populate(1)[0]);
            let partner = client(&sandbox, &kept, way);
            partner.open_session().await.unwrap();
            assert_eq!(handshakes(&sandbox), [1, 1, 1]);
            let activated = partner.users().activate(id).await;
            if is_taken {
                use_it(&activated.unwrap()).await;
                let expected = if way == UserInstallation::Own { [1, 1, 1] } else { [0, 0, 1] };
                assert_eq!(handshakes(&sandbox), expected, "{accepted:?} {way:?}");
                continue;
            }
            let error = activated.unwrap_err();
            assert_eq!(
                (error.kind(), error.remedy()),
                (ErrorKind::Unauthorized, Some(Remedy::ResetTokenOrSetInstallation))
            );
            let used = if way == UserInstallation::Own {
                "an installation of its own"
            } else {
                "the installation of the partner"
            };
            let advice = format!("bunq takes no user with {used}: get another with `users().reset(id)`, or, ");
            assert!(error.to_string().contains(&advice), "{error}");
            let other = WAYS.into_iter().find(|other| *other != way).unwrap();
            use_it(&client(&sandbox, &kept, other).users().activate(id).await.unwrap()).await;
            assert!(calls(&sandbox, "PUT", "").is_empty());
        }
    }
}

/// The sandbox's client has the setting that its bank takes.
#[tokio::test]
async fn a_client_of_the_sandbox_has_what_its_bank_takes() {
    test_timeout::start();
    for accepted in [AcceptedInstallation::Own, AcceptedInstallation::Partner, AcceptedInstallation::Both] {
        let sandbox = bank(accepted).await;
        let partner = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
        use_it(&partner.users().activate(sandbox.populate(1)[0]).await.unwrap()).await;
    }
}

/// Not on the only thread of the runtime, and none under the partner's.
#[tokio::test]
async fn keys_are_made_off_the_threads_of_the_runtime() {
    test_timeout::start();
    for way in WAYS {
        let sandbox = bank(AcceptedInstallation::Both).await;
        let key = SigningKey::generate().unwrap().to_pkcs8().unwrap();
        let threads = Arc::new(Mutex::new(Vec::new()));
        let made = Arc::clone(&threads);
        let builder = sandbox.client().user_installation(way).custody(MemoryCustody::new());
        let builder = builder.signing_keys(move || {
            made.lock().unwrap().push(thread::current().id());
            SigningKey::from_pkcs8(&key)
        });
        builder.build().unwrap().users().activate(sandbox.populate(1)[0]).await.unwrap();
        let threads = threads.lock().unwrap();
        assert_eq!(threads.len(), if way == UserInstallation::Own { 2 } else { 1 });
        assert!(!threads.contains(&thread::current().id()));
    }
}

#[tokio::test]
async fn a_restart_under_the_partners_installation_makes_no_call() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Partner).await;
    let (kept, id) = (Kept::default(), sandbox.populate(1)[0]);
    let partner = client(&sandbox, &kept, UserInstallation::Partner);
    use_it(&partner.users().activate(id).await.unwrap()).await;
    // The partner's key and its token stay where they are.
    let record = kept.custody.load(id).await.unwrap().unwrap();
    let record = unsealed(record.expose(), &sandbox.api_key()).to_string();
    let installation = last_installation(&sandbox);
    assert!(!record.contains("signing_key") && !record.contains(&installation), "{record}");
    let context = unsealed(kept.store.stored().unwrap().expose(), &sandbox.api_key()).to_string();
    assert!(context.contains(&installation));

    sandbox.take_call_log();
    use_it(&client(&sandbox, &kept, UserInstallation::Partner).users().of(id)).await;
    let log = sandbox.take_call_log();
    assert_eq!(log.iter().map(|call| call.method.as_str()).collect::<Vec<_>>(), ["GET"], "{log:?}");

    // Also if the partner's own session has ended meanwhile.
    let partner = client(&sandbox, &kept, UserInstallation::Partner);
    partner.end_session().await.unwrap();
    sandbox.take_call_log();
    use_it(&client(&sandbox, &kept, UserInstallation::Partner).users().of(id)).await;
    assert_eq!(handshakes(&sandbox), [0, 0, 0]);

    // A partner without a store has another installation, and each user another session.
    let kept = Kept { custody: kept.custody, store: MemoryStore::default() };
    use_it(&client(&sandbox, &kept, UserInstallation::Partner).users().of(id)).await;
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

#[tokio::test]
async fn the_next_session_is_under_the_new_installation_of_the_partner() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Partner).await;
    let (kept, ids) = (Kept::default(), sandbox.populate(2));
    let partner = client(&sandbox, &kept, UserInstallation::Partner);
    let mut users = Vec::new();
    for id in &ids {
        users.push(partner.users().activate(*id).await.unwrap());
    }
    let before = last_installation(&sandbox);
    partner.reinstall().await.unwrap();
    let now = last_installation(&sandbox);
    assert_ne!(before, now);
    sandbox.take_call_log();
    // What is open goes on.
    use_it(&users[0]).await;
    assert_eq!(handshakes(&sandbox), [0, 0, 0]);
    assert_eq!(sandbox.end_sessions_of(ids[0]), 1);
    use_it(&users[0]).await;
    assert_eq!((last_installation(&sandbox), handshakes(&sandbox)), (now.clone(), [0, 0, 1]));
    // The key of the one before is gone after a restart.
    let again = client(&sandbox, &kept, UserInstallation::Partner);
    use_it(&again.users().of(ids[1])).await;
    assert_eq!((last_installation(&sandbox), handshakes(&sandbox)), (now, [0, 0, 1]));
}

/// One process reinstalls, and another goes on for a user of the same partner.
#[tokio::test]
async fn an_installation_of_another_process_is_taken_over_for_users() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Partner).await;
    let (kept, id) = (Kept::default(), sandbox.populate(1)[0]);
    let [first, second] = [(); 2].map(|()| client(&sandbox, &kept, UserInstallation::Partner));
    let user = first.users().activate(id).await.unwrap();
    use_it(&user).await;
    second.open_session().await.unwrap();
    sandbox.forget_installations();
    second.reinstall().await.unwrap();
    let now = last_installation(&sandbox);
    use_it(&user).await;
    assert_eq!(last_installation(&sandbox), now);
}

/// bunq's key is that of the partner's store, which may be corrected meanwhile.
#[tokio::test]
async fn a_key_that_is_corrected_in_the_partners_store_is_taken_over_for_users() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Partner).await;
    let (kept, id) = (Kept::default(), sandbox.populate(1)[0]);
    client(&sandbox, &kept, UserInstallation::Partner).users().activate(id).await.unwrap();
    let right = kept.store.stored().unwrap();
    let mut wrong = unsealed(right.expose(), &sandbox.api_key());
    wrong["installation"]["server_public_key"] = SigningKey::generate().unwrap().public_key_pem().unwrap().into();
    kept.store.replace(&wrong.to_string());
    let user = client(&sandbox, &kept, UserInstallation::Partner).users().of(id);
    assert_eq!(user.api().list_credentials().await.unwrap_err().kind(), ErrorKind::Signature);
    kept.store.replace(right.expose());
    use_it(&user).await;
}

#[tokio::test]
async fn an_installation_of_the_partners_that_bunq_has_forgotten_is_the_partners_to_replace() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Partner).await;
    let (kept, id) = (Kept::default(), sandbox.populate(1)[0]);
    let partner = client(&sandbox, &kept, UserInstallation::Partner);
    let user = partner.users().activate(id).await.unwrap();
    sandbox.forget_installations();
    let error = user.api().list_credentials().await.unwrap_err();
    assert_eq!(error.remedy(), Some(Remedy::Reinstall), "{error}");
    partner.reinstall().await.unwrap();
    use_it(&user).await;

    // Without a store the partner does it by itself.
    let id = sandbox.populate(1)[0];
    let builder = sandbox.client().retry(at_once()).user_installation(UserInstallation::Partner);
    let partner = builder.custody(kept.custody).build().unwrap();
    let user = partner.users().activate(id).await.unwrap();
    sandbox.forget_installations();
    use_it(&user).await;
}

#[tokio::test]
async fn an_activation_under_the_partners_goes_on_after_a_crash() {
    test_timeout::start();
    for fault in [Fault::Status(500), Fault::Drop] {
        let sandbox = bank(AcceptedInstallation::Partner).await;
        let (kept, id) = (Kept::default(), sandbox.populate(1)[0]);
        let partner = client(&sandbox, &kept, UserInstallation::Partner);
        partner.open_session().await.unwrap();
        sandbox.inject(Injection::new(fault).on(&Operation::CREATE_SESSION).always());
        sandbox.take_call_log();
        let users = partner.users();
        tokio::select! {
            outcome = users.activate(id) => drop(outcome.unwrap_err()),
            () = called(&sandbox) => {}
        }
        drop(partner);
        sandbox.clear_injections();
        let partner = client(&sandbox, &kept, UserInstallation::Partner);
        use_it(&partner.users().activate(id).await.unwrap()).await;
        assert!(calls(&sandbox, "PUT", "").is_empty() && calls(&sandbox, "POST", "/installation").is_empty());
    }
}

async fn called(sandbox: &Sandbox) {
    while calls(sandbox, "POST", "/session-server").is_empty() {
        tokio::task::yield_now().await;
    }
}

/// The bank binds tokens: what it refuses in the new way it takes in that of before, after a restart too.
#[tokio::test]
async fn users_in_use_stay_so_when_the_setting_changes() {
    test_timeout::start();
    for [before, after] in [WAYS, [WAYS[1], WAYS[0]]] {
        let sandbox = bank(AcceptedInstallation::Both).await;
        let (kept, id) = (Kept::default(), sandbox.populate(1)[0]);
        client(&sandbox, &kept, before).users().activate(id).await.unwrap();
        let bound_to = last_installation(&sandbox);
        let partner = client(&sandbox, &kept, after);
        let user = partner.users().of(id);
        sandbox.take_call_log();
        use_it(&user).await;
        assert_eq!(handshakes(&sandbox), [0, 0, 0], "its session goes on");
        for _ in 0..2 {
            assert_eq!(sandbox.end_sessions_of(id), 1);
            sandbox.take_call_log();
            use_it(&user).await;
            assert_eq!(last_installation(&sandbox), bound_to, "{before:?} {after:?}");
        }
        // An attempt in the new way that did not end leaves the way of before.
        assert_eq!(sandbox.end_sessions_of(id), 1);
        sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::CREATE_DEVICE_SERVER).always());
        sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::CREATE_SESSION).always());
        drop(user.api().list_credentials().await.unwrap_err());
        sandbox.clear_injections();
        drop((partner, user));
        let partner = client(&sandbox, &kept, after);
        use_it(&partner.users().of(id)).await;
        assert_eq!(last_installation(&sandbox), bound_to, "{before:?} {after:?}");

        // A token that was not used yet is used in the new way.
        sandbox.take_call_log();
        use_it(&partner.users().reset(id).await.unwrap()).await;
        let expected = if after == UserInstallation::Own { [1, 1, 1] } else { [0, 0, 1] };
        assert_eq!(handshakes(&sandbox), expected, "{before:?} {after:?}");
    }
}

/// One that was stored, and registered in the old way, but not used.
#[tokio::test]
async fn a_token_that_was_not_used_is_used_in_the_new_way() {
    test_timeout::start();
    let sandbox = bank(AcceptedInstallation::Both).await;
    let (kept, id) = (Kept::default(), sandbox.populate(1)[0]);
    let partner = client(&sandbox, &kept, UserInstallation::Own);
    partner.open_session().await.unwrap();
    let partners = last_installation(&sandbox);
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_SESSION));
    partner.users().activate(id).await.unwrap_err();
    let user = client(&sandbox, &kept, UserInstallation::Partner).users().activate(id).await.unwrap();
    use_it(&user).await;
    assert_eq!(last_installation(&sandbox), partners);
}
