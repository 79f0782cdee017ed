//! An unusable response becomes an error with the operation, the status, bunq's description and both ids.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bunq_partner::{Client, Environment, Error, ErrorKind, Operation, ProvisionId, Sent};
use bunq_partner_sandbox::{Fault, Injection, RawResponse, Sandbox};
use insta::assert_snapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::{at_once, id, once, ready, start, start_without_retries};

/// The operation timeout, far shorter than the delay of a fault.
const TIME: Duration = Duration::from_secs(1);

/// An error as one line, without the parts that differ from run to run.
fn told(error: &Error, provision: ProvisionId) -> String {
    assert!(!error.to_string().contains('\n'));
    let ids = [error.request_id().unwrap(), error.response_id().unwrap_or("-")];
    let line = error.to_string().replace(ids[0], "[request id]").replace(ids[1], "[response id]");
    format!("{:?}, {:?}: {}", error.kind(), error.sent(), line.replace(&provision.to_string(), "[provision]"))
}

/// Reads and closes a provision while every response is edited. Returns the two errors.
async fn edited(edit: impl FnMut(&mut RawResponse) + Send + Clone + 'static) -> String {
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    let mut before = edit.clone();
    sandbox.before_signing(move |_, response| before(response));
    let read = client.provisions().get(id).await.unwrap_err();
    let closed = client.provisions().close(id).await.map(drop).unwrap_err();
    format!("{}\n{}", told(&read, id), told(&closed, id))
}

fn error_body(description: &str) -> Vec<u8> {
    serde_json::json!({"Error": [{"error_description": description, "error_description_translated": "x"}]})
        .to_string()
        .into_bytes()
}

#[tokio::test(start_paused = true)]
async fn http_statuses() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    let mut lines = Vec::new();
    // A call waits after a 429 as long as it has time.
    let soon = client.provisions().operation_timeout(Duration::from_millis(500));
    for status in [304, 399, 400, 401, 403, 404, 405, 429, 466, 490, 491, 500, 503] {
        sandbox.before_signing(move |call, response| {
            if call.method == "GET" {
                // The pause after this 429 is longer than the call may take.
                let text = format!("This is a {status}. There is a maximum of 1 calls per 3600 seconds.");
                (response.status, response.body) = (status, error_body(&text));
            }
        });
        lines.push(told(&soon.get(id).await.unwrap_err(), id));
    }
    assert_snapshot!("error_statuses", lines.join("\n"));
}

#[tokio::test]
async fn what_bunq_adds_to_a_refusal_is_kept_up_to_a_bound() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = |most: Option<usize>| {
        let builder = sandbox.client().retry(once());
        most.map_or(builder.clone(), |most| builder.max_refusal_details(most)).build().unwrap()
    };
    for (bytes, most, is_kept) in [
        (20, None, true),
        (256 * 1024, None, true),
        (256 * 1024 + 1, None, false),
        (256 * 1024 + 1, Some(256 * 1024 + 1), true),
        (20, Some(19), false),
    ] {
        let text = "x".repeat(bytes - r#"[[{"a":""}]]"#.len());
        let body = format!(
            r#"{{"Error": [{{"error_description": "No.", "error_additional_parameter": [{{"a":"{text}"}}]}}]}}"#
        );
        let client = client(most);
        client.open_session().await.unwrap();
        sandbox.before_signing(move |_, response| (response.status, response.body) = (466, body.clone().into()));
        let error = client.provisions().get(id(1)).await.unwrap_err();
        sandbox.clear_edits();
        assert!(error.is_from_bunq() && !format!("{error} {error:?}").contains(&text), "{bytes}");
        assert_eq!(error.additional_parameter().map(str::len), is_kept.then_some(bytes));
        match error.details::<HashMap<String, String>>() {
            Ok(details) => assert!(is_kept && details[0]["a"] == text, "{bytes} {most:?}"),
            Err(cut) => assert!(!is_kept && cut.to_string().contains("max_refusal_details"), "{cut}"),
        }
    }
}

#[tokio::test]
async fn unusable_bodies() {
    test_timeout::start();
    const CASES: [(&str, &[u8]); 8] = [
        ("empty", b""),
        ("HTML", b"<html><body>It works!</body></html>"),
        ("cut off", b"{\"Response\": [{\"Id\": {\"id\": 1"),
        ("another shape", b"[1, 2, 3]"),
        ("no Response", b"{}"),
        ("an empty Response", b"{\"Response\": []}"),
        ("unknown items", b"{\"Response\": [{\"Novelty\": {}}]}"),
        ("a value of another type", b"{\"Response\": [{\"Id\": {\"id\": \"the-secret\"}}]}"),
    ];
    let mut told = Vec::new();
    for (what, body) in CASES {
        told.push(format!("{what}:\n{}", edited(move |response| response.body = body.to_vec()).await));
    }
    assert_snapshot!("bad_bodies", told.join("\n"));
}

#[tokio::test]
async fn a_response_about_another_provision_is_an_error() {
    test_timeout::start();
    let responses: [&[u8]; 2] = [
        br#"{"Response": [{"Id": {"id": 4711}}]}"#,
        br#"{"Response": [{"PartnerUserProvision": {"id": 4711, "status": "CLOSED"}}]}"#,
    ];
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    for response in responses {
        sandbox.before_signing(|_, sent| (sent.status, sent.body) = (200, response.to_vec()));
        for error in [
            client.provisions().close(id).await.map(drop).unwrap_err(),
            client.provisions().wait_until_closed(id).wait().await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
        }
    }
}

#[tokio::test]
async fn a_proxys_502_in_html() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    sandbox.after_signing(|_, response| {
        response.status = 502;
        response.headers.clear();
        response.body = b"<html><h1>502 Bad Gateway</h1></html>".to_vec();
    });
    let error = client.provisions().close(id).await.map(drop).unwrap_err();
    assert_eq!(error.status(), Some(502));
    assert_eq!(error.operation().unwrap().id, "update_provision");
    assert_eq!(error.response_id(), None);
    assert_snapshot!("proxy_502", told(&error, id));
}

#[tokio::test]
async fn an_error_says_whose_word_it_is() {
    test_timeout::start();
    let sandbox = Sandbox::builder().signed_refusals(true).start().await.unwrap();
    let client = sandbox.client().retry(once()).build().unwrap();
    let id = ready(&client).await;
    let mut lines = Vec::new();
    for status in [302, 401, 403, 404, 429, 491, 503] {
        sandbox.inject(Injection::new(Fault::UnsignedStatus(status)).on(&Operation::GET_PROVISION));
        let error = client.provisions().get(id).await.unwrap_err();
        assert!(!error.is_from_bunq() && error.is_retryable() && error.bunq_messages().is_empty(), "{error}");
        lines.push(told(&error, id));
    }
    // Refusals in bunq's form that are not bunq's: the signature is invalid, or the response belongs to another
    // request.
    let edits: [fn(&mut RawResponse); 2] = [
        |response| response.body.push(b' '),
        |response| response.headers.retain(|(name, _)| name != "X-Bunq-Client-Request-Id"),
    ];
    for edit in edits {
        for status in [403, 404] {
            sandbox.inject(Injection::new(Fault::Status(status)).on(&Operation::GET_PROVISION));
            sandbox.after_signing(move |_, response| edit(response));
            let error = client.provisions().get(id).await.unwrap_err();
            sandbox.clear_edits();
            assert!(!error.is_from_bunq() && error.is_retryable() && error.bunq_messages().len() == 1, "{error}");
            lines.push(told(&error, id));
        }
    }
    assert!(lines.iter().all(|line| !line.contains("bunq says") && !line.contains("bunq has no such object")));
    assert_snapshot!("whose_word", lines.join("\n"));
    let error = client.provisions().get(crate::common::id(999_999)).await.unwrap_err();
    assert!(error.is_from_bunq() && error.to_string().contains("bunq has no such object; bunq says: "), "{error}");
}

/// Only bunq knows the key.
#[tokio::test]
async fn a_proxy_that_refuses_a_session_says_nothing_of_the_key() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    for operation in [&Operation::CREATE_DEVICE_SERVER, &Operation::CREATE_SESSION] {
        for status in [401, 403, 404] {
            sandbox.inject(Injection::new(Fault::UnsignedStatus(status)).on(operation));
            let error = client.open_session().await.unwrap_err();
            assert!(error.to_string().contains("something other than bunq has answered"), "{error}");
            assert!(!error.to_string().contains("key") && error.is_retryable(), "{error}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    test_timeout::start();
    let (other, _) = start().await;
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    let elsewhere = format!("{}/partner-user-provision/{id}", other.base_url());
    sandbox.after_signing(move |_, response| {
        response.status = 307;
        response.headers.push(("Location".into(), elsewhere.clone()));
    });
    assert_eq!(client.provisions().close(id).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert!(other.call_log().is_empty());
}

#[tokio::test]
async fn bunqs_description_is_one_line_of_bounded_length() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    sandbox.before_signing(|_, response| {
        let item = serde_json::json!({"error_description": format!("first\nsecond\u{1b}[31m{}", "x".repeat(1_000))});
        response.status = 400;
        response.body = serde_json::json!({"Error": vec![item; 50]}).to_string().into_bytes();
    });
    let error = client.provisions().get(id).await.unwrap_err();
    assert_eq!(error.bunq_messages().len(), 5);
    assert!(error.bunq_messages().iter().all(|message| message.starts_with("first second [31mx")));
    assert!(error.to_string().len() < 4000);
    assert!(!error.to_string().chars().any(char::is_control));
}

#[tokio::test]
async fn an_endless_response_is_cut_off() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    sandbox.after_signing(|_, response| response.body = vec![b' '; 5 * 1024 * 1024]);
    let error = client.provisions().get(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(error.to_string().contains("larger than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn a_link_without_a_cursor_is_an_error() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    ready(&client).await;
    for (link, other) in [("older_url", "newer_url"), ("newer_url", "older_url")] {
        let links = format!(r#"{{"future_url": null, "{link}": "/v1/elsewhere", "{other}": null}}"#);
        let body = format!(r#"{{"Response": [], "Pagination": {links}}}"#);
        sandbox.before_signing(move |_, response| response.body = body.clone().into());
        let error = client.provisions().list().page().await.unwrap_err();
        assert!(error.to_string().contains(&format!("the {link} of its Pagination holds no cursor")), "{error}");
    }
}

fn client_for(address: std::net::SocketAddr) -> Client {
    let builder = Client::builder(Environment::Sandbox).api_key("sandbox_key");
    builder.base_url(format!("http://{address}/v1")).retry(once()).build().unwrap()
}

#[tokio::test]
async fn a_refused_connection_was_not_sent() {
    test_timeout::start();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = client_for(address).provisions().get(id(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn a_closed_connection_leaves_the_outcome_unknown() {
    test_timeout::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client_for(listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 1024]).await;
        }
    });
    let error = client.provisions().get(id(1)).await.unwrap_err();
    // Opening the session failed, so the call itself was not sent.
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connection, Sent::No), "{error}");
    assert_eq!(error.operation().unwrap().id, "create_installation");
}

/// The operation timeout limits all attempts and the pauses between them. Here, even one attempt would take longer.
#[tokio::test(start_paused = true)]
async fn an_operation_timeout_ends_the_call() {
    test_timeout::start();
    let (sandbox, first) = start().await;
    let id = ready(&first).await;
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(3600))).always());
    let builder = sandbox.client().retry(at_once().max_attempts(1000));
    let client = builder.operation_timeout(TIME).attempt_timeout(2 * TIME).build().unwrap();
    let provisions = client.provisions();
    for error in [provisions.get(id).await.map(drop).unwrap_err(), provisions.close(id).await.map(drop).unwrap_err()] {
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No), "the way to a session: {error}");
    }

    // With an open session, the call itself hangs.
    sandbox.clear_injections();
    client.open_session().await.unwrap();
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(3600))).always());
    let error = client.provisions().close(id).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.sent(), error.is_doubtful()), (ErrorKind::Timeout, Sent::Maybe, true), "{error}");
}

/// An error must not contain the body of a response, which may contain tokens.
#[tokio::test]
async fn an_error_shows_nothing_of_a_body() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    sandbox.before_signing(|call, response| {
        if call.path.ends_with("/session-server") {
            let body = String::from_utf8(response.body.clone()).unwrap();
            response.body = body.replace("\"id\":", "\"id\":\"the-secret\",\"was\":").into();
        }
    });
    let error = client.provisions().get(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(!format!("{error} {error:?}").contains("the-secret"), "{error:?}");
}

#[tokio::test]
async fn a_list_that_is_too_long_is_not_read() {
    test_timeout::start();
    let items = |count: usize| format!(r#"{{"Response":[{}]}}"#, vec!["{}"; count].join(","));
    let (sandbox, client) = start_without_retries().await;
    client.open_session().await.unwrap();
    let too_long = "`Response`: a list has more than 20 items";
    for (count, problem) in [(20, "has no PartnerUserProvision"), (21, too_long), (25, too_long)] {
        sandbox.before_signing(move |_, response| (response.status, response.body) = (200, items(count).into_bytes()));
        let error = client.provisions().get(id(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse);
        assert!(error.to_string().contains(problem), "{error}");
    }
}

/// An odd picture or label must not make the provision unreadable.
#[tokio::test]
async fn an_odd_value_without_consequences_reads_as_absent() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    let edit = |pointer: &'static str| {
        sandbox.before_signing(move |_, response| {
            let mut body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            if let Some(member) = body.pointer_mut(&format!("/Response/0/PartnerUserProvision/{pointer}")) {
                *member = 7.into();
            }
            response.body = body.to_string().into();
        });
    };
    for lenient in ["label_user", "label_user/avatar/style", "oauth_request", "products", "created", "action_required"]
    {
        edit(lenient);
        assert_eq!(client.provisions().get(id).await.unwrap().id, id, "{lenient}");
        assert_eq!(client.provisions().list().page().await.unwrap().items.len(), 1, "{lenient}");
    }
    for strict in ["external_uuid", "status", "sub_status", "credential", "credential.token_value"] {
        edit(strict.replace('.', "/").leak());
        let error = client.provisions().get(id).await.unwrap_err();
        let place = format!("`Response[0].PartnerUserProvision.{strict}`");
        assert!(error.to_string().contains(&place), "{error}");
    }
}

/// The server does not speak TLS, and the one-line error says so.
#[tokio::test]
async fn the_cause_of_a_failed_connection_is_named() {
    test_timeout::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let builder = Client::builder(Environment::Sandbox).api_key("sandbox_1").base_url(base_url).retry(once());
    let error = builder.build().unwrap().open_session().await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No));
    assert!(error.to_string().starts_with("create_installation: no connection to bunq: "), "{error}");
    assert!(error.to_string().contains("corrupt message"), "{error}");
}

/// Dropping a response returns its connection to the pool, where the rest of another response may be waiting.
#[tokio::test]
async fn no_call_goes_over_a_connection_that_is_out_of_step() {
    test_timeout::start();
    // With users, the calls that open the partner's session have a connection each.
    for (echo, has_users, connections) in [("another", false, 2), ("", false, 1), ("", true, 2)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                        let echo = if echo.is_empty() {
                            String::new()
                        } else {
                            format!("X-Bunq-Client-Request-Id: {echo}\r\n")
                        };
                        let response = format!("HTTP/1.1 404 Not Found\r\n{echo}Content-Length: 2\r\n\r\n{{}}");
                        stream.write_all(response.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        let builder = Client::builder(Environment::Sandbox).api_key("sandbox_1").base_url(base_url).retry(once());
        let client = builder.build().unwrap();
        let _user = has_users.then(|| client.users().of(1_u64.try_into().unwrap()));
        for _ in 0..2 {
            let error = client.open_session().await.unwrap_err();
            let expected = if echo.is_empty() { ErrorKind::Rejected } else { ErrorKind::Connection };
            assert_eq!(error.kind(), expected, "{error}");
        }
        assert_eq!(accepted.load(Ordering::Relaxed), connections);
    }
}
