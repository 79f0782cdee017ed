//! One task opens the session for all calls, and a dead session is replaced without a new installation.

use std::time::Duration;

use bunq_partner::{Client, Error, ErrorKind, MemoryCustody, Operation};
use bunq_partner_sandbox::{DeadToken, Fault, Injection, Sandbox};
use futures_util::future::join_all;

use crate::common::{at_once, calls, id, once, ready, start, start_without_retries};

const HANDSHAKE: [&str; 3] = ["/installation", "/device-server", "/session-server"];

fn handshakes(sandbox: &Sandbox) -> [usize; 3] {
    HANDSHAKE.map(|path| calls(sandbox, "POST", path).len())
}

/// Reads the same provision in many tasks at once.
async fn read_at_once(client: &Client, tasks: usize) -> Vec<Result<(), Error>> {
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let provisions = client.provisions();
            tokio::spawn(async move { provisions.list().page().await.map(drop) })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_tasks_on_a_cold_client_open_one_session() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    assert!(read_at_once(&client, 100).await.iter().all(Result::is_ok));
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_session_is_replaced_once_without_a_new_installation() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    ready(&client).await;
    for round in 2..5 {
        sandbox.end_sessions();
        assert!(read_at_once(&client, 100).await.iter().all(Result::is_ok));
        assert_eq!(handshakes(&sandbox), [1, 1, round]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiting_tasks_share_a_failed_opening() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    ready(&client).await;
    sandbox.end_sessions();
    sandbox.after_signing(|call, response| {
        if call.path.ends_with("/session-server") {
            response.status = 491;
        }
    });
    let failures = read_at_once(&client, 100).await;
    assert!(failures.iter().all(|result| result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Maintenance)));
    let tries = handshakes(&sandbox)[2] - 1;
    assert!(tries < 100, "each of the tasks has tried on its own: {tries}");

    sandbox.clear_edits();
    assert!(client.provisions().list().page().await.is_ok());
}

#[tokio::test]
async fn a_token_that_stays_refused_is_renewed_once() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    sandbox.after_signing(|call, response| {
        if call.method == "GET" {
            (response.status, response.body) = (401, br#"{"Error":[{"error_description":"No."}]}"#.to_vec());
            response.headers.retain(|(name, _)| name != "X-Bunq-Server-Signature");
        }
    });
    let before = sandbox.call_log().len();
    let error = client.provisions().get(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let tries: Vec<_> = sandbox.call_log()[before..].iter().map(|call| call.path.clone()).collect();
    let read = format!("/v1/partner-user-provision/{id}");
    assert_eq!(tries, [read.clone(), "/v1/session-server".into(), read]);
}

#[tokio::test]
async fn a_session_is_renewed_before_it_runs_out() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    // bunq says that the session lasts 0 s, so each call opens a new one before it can get a 401.
    sandbox.before_signing(|_, response| {
        let body = String::from_utf8(response.body.clone()).unwrap();
        response.body = body.replace("\"session_timeout\":604800", "\"session_timeout\":0").into();
    });
    for _ in 0..3 {
        let _ = client.provisions().get(id(1)).await;
    }
    assert_eq!(handshakes(&sandbox), [1, 1, 3]);
}

#[tokio::test]
async fn an_ended_session_is_not_sent_again() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    client.end_session().await.unwrap();
    assert!(sandbox.call_log().is_empty(), "there was no session to end");

    ready(&client).await;
    client.end_session().await.unwrap();
    client.end_session().await.unwrap();
    assert_eq!(calls(&sandbox, "DELETE", "/session/0").len(), 1);

    ready(&client).await;
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);

    sandbox.end_sessions();
    client.end_session().await.expect("a session that bunq has forgotten is ended");
}

#[tokio::test]
async fn an_end_may_be_answered_with_nothing_at_all_if_that_is_signed() {
    test_timeout::start();
    for (body, is_signed, expected) in [
        (r#"{"Response": []}"#, true, None),
        ("", true, None),
        ("", false, Some(ErrorKind::Signature)),
        (" ", true, Some(ErrorKind::InvalidResponse)),
    ] {
        let (sandbox, client) = start_without_retries().await;
        ready(&client).await;
        sandbox.before_signing(|_, response| (response.status, response.body) = (200, body.into()));
        sandbox.after_signing(move |_, response| {
            response.headers.retain(|(name, _)| is_signed || name != "X-Bunq-Server-Signature");
        });
        let ended = client.end_session().await;
        assert_eq!(ended.err().map(|error| error.kind()), expected, "{body:?}, signed: {is_signed}");
        assert_eq!(calls(&sandbox, "DELETE", "/session/0").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_an_opening() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    sandbox.inject(Injection::new(Fault::Late(Duration::from_millis(200))).on(&Operation::CREATE_SESSION));
    let opening = tokio::spawn({
        let client = client.clone();
        async move { client.open_session().await }
    });
    while calls(&sandbox, "POST", "/session-server").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.end_session().await.unwrap();
    opening.await.unwrap().unwrap();
    assert_eq!(calls(&sandbox, "DELETE", "/session/0").len(), 1, "the session that was being opened lives on");
}

#[tokio::test(start_paused = true)]
async fn an_end_does_not_forget_a_session_that_was_opened_meanwhile() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    sandbox.inject(Injection::new(Fault::Late(Duration::from_millis(200))).on(&Operation::DELETE_SESSION));
    let ending = tokio::spawn({
        let client = client.clone();
        async move { client.end_session().await }
    });
    while calls(&sandbox, "DELETE", "/session/0").is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The session has ended at bunq, so this call opens another one.
    client.provisions().get(id).await.unwrap();
    ending.await.unwrap().unwrap();
    client.provisions().get(id).await.unwrap();
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

#[tokio::test]
async fn a_dropped_call_does_not_cancel_the_opening() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    {
        let provisions = client.provisions();
        let mut call = Box::pin(provisions.get(id(1)));
        // One poll starts the opening. Then the call is dropped.
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    assert_eq!(client.provisions().get(id(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
}

#[tokio::test]
async fn a_stale_failure_is_not_returned_to_a_new_call() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    sandbox.inject(Injection::new(Fault::Status(491)).on(&Operation::CREATE_SESSION));
    {
        let provisions = client.provisions();
        let mut call = Box::pin(provisions.get(id(1)));
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    // The opening fails, as the sandbox's journal shows.
    while sandbox.call_log().iter().all(|call| call.fault.is_none()) {
        tokio::task::yield_now().await;
    }
    let error = client.provisions().get(id(1)).await.unwrap_err();
    // The next call may still share the failing opening, but no call after it does.
    assert!([ErrorKind::NotFound, ErrorKind::Maintenance].contains(&error.kind()), "{error}");
    assert_eq!(client.provisions().get(id(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_wrong_api_key_is_an_error_with_advice() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().api_key("sandbox_of_somebody_else").build().unwrap();
    let error = client.provisions().get(id(1)).await.unwrap_err();
    insta::with_settings!({ filters => vec![("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[uuid]")] }, {
        insta::assert_snapshot!("wrong_key", error);
    });
}

#[tokio::test]
async fn clients_built_apart_have_separate_sessions() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let builder = sandbox.client().retry(once());
    builder.clone().build().unwrap().open_session().await.unwrap();
    let error = builder.api_key("sandbox_another").build().unwrap().open_session().await.unwrap_err();
    // bunq refuses the key. The session of the other client is not used.
    assert_eq!(error.status(), Some(400), "{error}");
}

/// Every way in which bunq refuses a dead token.
const MANNERS: [DeadToken; 3] =
    [DeadToken::Unauthorized, DeadToken::InsufficientAuthentication, DeadToken::InsufficientAuthorisation];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_session_is_replaced_however_bunq_says_it() {
    test_timeout::start();
    for manner in MANNERS {
        let sandbox = Sandbox::builder().dead_token(manner).start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        ready(&client).await;
        for round in 2..5 {
            sandbox.end_sessions();
            assert!(read_at_once(&client, 100).await.iter().all(Result::is_ok), "{manner:?}");
            assert_eq!(handshakes(&sandbox), [1, 1, round], "{manner:?}");
        }
    }
}

#[tokio::test]
async fn a_real_403_leads_to_one_session_at_most() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    sandbox.inject(Injection::new(Fault::Forbidden).on(&Operation::GET_PROVISION).always());
    for _ in 0..5 {
        let error = client.provisions().get(id).await.unwrap_err();
        assert_eq!((error.kind(), error.is_from_bunq()), (ErrorKind::Forbidden, true), "{error}");
        assert!(
            !error.is_retryable() && error.to_string().contains("so key, environment and address are right"),
            "{error}"
        );
    }
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
    // It is unknown whether the session is alive.
    sandbox.inject(Injection::new(Fault::UnsignedStatus(502)).on(&Operation::GET_INSTALLATION).times(4));
    assert_eq!(client.provisions().get(id).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
    // A session that dies meanwhile is still replaced.
    sandbox.clear_injections();
    let sandbox_403 = Sandbox::builder().dead_token(DeadToken::InsufficientAuthorisation).start().await.unwrap();
    let client = sandbox_403.client().build().unwrap();
    sandbox_403.inject(Injection::new(Fault::Forbidden).on(&Operation::LIST_PROVISIONS).times(2));
    assert_eq!(client.provisions().list().page().await.unwrap_err().kind(), ErrorKind::Forbidden);
    sandbox_403.end_sessions();
    client.provisions().list().page().await.unwrap();

    // A 403 with another text does not cost a session.
    let before = handshakes(&sandbox_403);
    sandbox_403.inject(Injection::new(Fault::Status(403)).on(&Operation::LIST_PROVISIONS));
    assert_eq!(client.provisions().list().page().await.unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(handshakes(&sandbox_403), before);
}

#[tokio::test]
async fn endless_refusals_open_one_session_in_each_window() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let hour = Duration::from_secs(3600);
    let builder = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 2, hour);
    let client = builder.build().unwrap();
    let id = ready(&client).await;
    for operation in [&Operation::GET_PROVISION, &Operation::LIST_PROVISIONS, &Operation::UPDATE_PROVISION] {
        sandbox.inject(Injection::new(Fault::Status(401)).on(operation).always());
    }
    for _ in 0..5 {
        assert_eq!(client.provisions().get(id).await.unwrap_err().kind(), ErrorKind::Unauthorized);
        assert_eq!(client.provisions().list().page().await.unwrap_err().kind(), ErrorKind::Unauthorized);
        assert_eq!(client.provisions().close(id).await.map(drop).unwrap_err().kind(), ErrorKind::Unauthorized);
    }
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);
}

#[tokio::test]
async fn an_end_does_not_believe_a_forged_refusal() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    ready(&client).await;
    sandbox.inject(Injection::new(Fault::Status(401)).on(&Operation::DELETE_SESSION));
    assert_eq!(client.end_session().await.unwrap_err().kind(), ErrorKind::Unauthorized);
    // The token is still valid, so the session can be ended.
    client.end_session().await.unwrap();
    assert_eq!(calls(&sandbox, "DELETE", "/session/0").iter().filter(|call| call.carried_out).count(), 1);
    assert_eq!(handshakes(&sandbox), [1, 1, 1]);
}

#[tokio::test]
async fn a_forgotten_installation_in_memory_is_replaced() {
    test_timeout::start();
    for manner in MANNERS {
        let sandbox = Sandbox::builder().dead_token(manner).start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        ready(&client).await;
        sandbox.forget_installations();
        assert!(read_at_once(&client, 20).await.iter().all(Result::is_ok), "{manner:?}");
        assert_eq!(handshakes(&sandbox), [2, 2, 3], "{manner:?}");
    }
}

#[tokio::test]
async fn an_installation_is_replaced_once_per_window_and_only_after_a_clear_refusal() {
    test_timeout::start();
    let hour = Duration::from_secs(3600);
    for (fault, installations) in [
        (Fault::Status(401), 2),
        (Fault::Forbidden, 2),
        (Fault::Status(400), 1),
        (Fault::Status(403), 1),
        (Fault::UnsignedStatus(401), 1),
        (Fault::MissingSignature, 1),
        (Fault::ForeignSignature, 1),
    ] {
        let sandbox = Sandbox::start().await.unwrap();
        let builder = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1000, hour * 1000);
        let client = builder.retry(once()).build().unwrap();
        ready(&client).await;
        sandbox.end_sessions();
        sandbox.inject(Injection::new(fault).on(&Operation::CREATE_SESSION).always());
        for _ in 0..3 {
            client.provisions().list().page().await.unwrap_err();
        }
        assert_eq!(handshakes(&sandbox)[0], installations, "{fault:?}");
    }
}

/// A bank, or what stands in its place, may say the key in its refusal of any call.
#[tokio::test]
async fn a_key_that_is_repeated_while_the_session_opens_is_not_shown() {
    test_timeout::start();
    for path in HANDSHAKE {
        let (sandbox, client) = start_without_retries().await;
        let key = sandbox.api_key();
        sandbox.before_signing(move |call, response| {
            if call.path.ends_with(path) {
                let said = serde_json::json!({"Error": [{"error_description": format!("your key {}", key.expose())}]});
                (response.status, response.body) = (401, said.to_string().into());
            }
        });
        let error = client.open_session().await.unwrap_err();
        assert!(error.to_string().contains("your key [redacted]"), "{path}: {error}");
        assert!(!format!("{error:?}").contains(sandbox.api_key().expose()), "{path}");
    }
}

/// A warning is kept up to 500 characters: a secret at the cut leaves nothing of itself.
#[tokio::test]
async fn a_token_that_a_long_warning_repeats_is_not_kept() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = sandbox.populate(1)[0];
    sandbox.before_signing(|call, response| {
        let token = call.header("x-bunq-client-authentication").unwrap_or_default();
        response.headers.push(("X-Bunq-Warning".into(), "x".repeat(490) + token));
    });
    let seen = client.api().get_provision(id).await.unwrap();
    assert_eq!(seen.warning(), Some(&*("x".repeat(490) + "[redacted]")));
}

/// bunq refuses with a text for this case, or with the text for a dead token.
#[tokio::test(start_paused = true)]
async fn what_a_partner_may_not_do_is_forbidden() {
    test_timeout::start();
    const PLAIN: &str = "You are not allowed to use partner users.";
    for words in [PLAIN, "Insufficient authorisation.", "Insufficient authentication."] {
        let (sandbox, client) = start().await;
        let known = ready(&client).await;
        let store = crate::common::MemoryStore::default();
        let caller = || sandbox.client().retry(at_once()).context_store(store.clone()).build().unwrap();
        caller().open_session().await.unwrap();
        sandbox.before_signing(move |call, response| {
            if call.path.contains("/partner-user-provision") {
                response.status = 403;
                response.body = serde_json::json!({ "Error": [{ "error_description": words }] }).to_string().into();
            }
        });
        for verb in ["create", "close", "reset_token", "get", "list", "ensure", "wait"] {
            let caller = caller();
            sandbox.take_call_log();
            for _ in 0..2 {
                let provisions = caller.provisions();
                let began = tokio::time::Instant::now();
                let outcome = match verb {
                    "create" => provisions.create(crate::common::person()).await.map(drop),
                    "ensure" => provisions.ensure(crate::common::person()).await.map(drop),
                    "close" => provisions.close(known).await.map(drop),
                    "reset_token" => provisions.reset_token(known).await.map(drop),
                    "get" => provisions.get(known).await.map(drop),
                    "wait" => provisions.wait_until_closed(known).wait().await.map(drop),
                    _ => provisions.list().page().await.map(drop),
                };
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Forbidden, "{verb} {words}: {error}");
                assert!(error.is_from_bunq() && !error.is_retryable(), "{verb}: {error}");
                // No check has shown that the unsigned refusal is final.
                assert_eq!(error.is_doubtful(), ["create", "close"].contains(&verb), "{verb}: {error}");
                assert!(error.to_string().contains("bunq does not allow the caller to do this"), "{verb}: {error}");
                assert!(!error.to_string().contains("check the API key"), "{verb}: {error}");
                assert!(began.elapsed() < Duration::from_secs(10), "{verb} {words}: it took {:?}", began.elapsed());
            }
            let sessions = calls(&sandbox, "POST", "/session-server").len();
            assert_eq!(sessions, usize::from(words != PLAIN), "{verb} {words}");
        }
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_whatever_its_status() {
    test_timeout::start();
    for status in [400, 401, 403] {
        let sandbox = Sandbox::builder().wrong_key_status(status).start().await.unwrap();
        let client = sandbox.client().api_key("sandbox_of_somebody_else").build().unwrap();
        let error = client.open_session().await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Unauthorized, Some(status)), "{error}");
        for reason in ["may be wrong", "of the other environment", "an IP address that the key is not bound to"] {
            assert!(error.to_string().contains(reason), "{error}");
        }

        // A user's credential that has expired at the bank, and not by this machine's clock.
        let client = sandbox.client().retry(at_once()).custody(MemoryCustody::new()).build().unwrap();
        let id = ready(&client).await;
        sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::CREATE_SESSION).always());
        client.users().activate(id).await.unwrap_err();
        sandbox.clear_injections();
        assert!(sandbox.expire_credential(id));
        let error = client.users().of(id).open_session().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(
            error.to_string().contains("may have expired")
                && error.to_string().contains("get another with `users().reset(id)`"),
            "{error}"
        );
    }
}

/// bunq may leave the user out of the answer to one session. Another is opened once, for the calls that need the user.
#[tokio::test(start_paused = true)]
async fn a_session_whose_user_is_not_named_is_replaced_once() {
    test_timeout::start();
    let nameless = || Injection::new(Fault::MissingOptionalFields).on(&Operation::CREATE_SESSION);
    let (sandbox, client) = start().await;
    sandbox.inject(nameless());
    client.open_session().await.unwrap();
    assert!(join_all((0..10).map(|_| client.user())).await.iter().all(Result::is_ok));
    assert_eq!(handshakes(&sandbox), [1, 1, 2]);

    // bunq names no user any more.
    sandbox.inject(nameless().always());
    client.end_session().await.unwrap();
    for _ in 0..2 {
        let error = client.user().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
    }
    assert_eq!(handshakes(&sandbox), [1, 1, 4]);
}
