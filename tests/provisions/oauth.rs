//! The OAuth client and its callback URL, which are found, or created where they lack.

use std::time::Duration;

use bunq_partner::types::OauthClient;
use bunq_partner::{Acceptance, CallbackUrl, Client, ErrorKind, OauthSetup, Operation, Shutdown};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::common::{at_once, calls, once, person, quick};

const URL: &str = "https://partner.example.com/callback";

fn url() -> CallbackUrl {
    URL.parse().unwrap()
}

/// A bunq that takes any number of OAuth clients, and begins without one.
async fn without_client() -> (Sandbox, Client) {
    let sandbox = Sandbox::builder().without_oauth_client().one_oauth_client(false).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).build().unwrap();
    (sandbox, client)
}

/// A client with the times of a client of bunq: a request may arrive 10 seconds late, in which about 5 reads are made.
fn patient(sandbox: &Sandbox) -> Client {
    let builder = sandbox.client().poll_interval(Duration::from_secs(2)).late_arrival(Duration::from_secs(10));
    builder.build().unwrap()
}

/// The statuses of the OAuth clients, each with its callback URLs.
fn there(sandbox: &Sandbox) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |client: Value| {
        let urls = client["callback_url"].as_array().unwrap().iter().map(|known| text(&known["url"])).collect();
        (text(&client["status"]), urls)
    };
    sandbox.oauth_clients().into_iter().map(of).collect()
}

fn one() -> Vec<(String, Vec<String>)> {
    vec![("ACTIVE".to_owned(), vec![URL.to_owned()])]
}

/// How the client and its callback URL came to be there.
fn acceptances(setup: &OauthSetup) -> [Acceptance; 2] {
    [setup.client_acceptance, setup.callback_url_acceptance]
}

fn posts(sandbox: &Sandbox) -> usize {
    sandbox.call_log().iter().filter(|call| call.method == "POST" && call.path.contains("/oauth-client")).count()
}

#[tokio::test(start_paused = true)]
async fn what_lacks_is_created_and_what_is_there_adopted() {
    test_timeout::start();
    let (sandbox, client) = without_client().await;
    let oauth = client.oauth();
    assert!(oauth.find().await.unwrap().is_none());
    let refused = client.provisions().create(person()).await.unwrap_err();
    assert!(refused.to_string().contains("There is no active OAuth client with a callback URL"), "{refused}");

    let created = oauth.ensure(url()).await.unwrap();
    assert_eq!(acceptances(&created), [Acceptance::Accepted; 2]);
    assert_eq!(there(&sandbox), one());
    let shown = sandbox.oauth_clients().remove(0);
    assert_eq!(shown["id"], created.client.get());
    assert_eq!(shown["secret"], created.secret.as_ref().unwrap().expose());
    assert_eq!(shown["client_id"], created.client_id.as_ref().unwrap().expose());
    assert_eq!(shown["callback_url"][0]["id"], created.callback_url.unwrap().get());
    let debug = format!("{created:?}");
    assert!(!debug.contains(created.secret.as_ref().unwrap().expose()), "{debug}");
    quick(client.provisions().create(person()).await.unwrap()).wait().await.unwrap();

    let made = posts(&sandbox);
    let adopted = oauth.ensure(url()).await.unwrap();
    assert_eq!(acceptances(&adopted), [Acceptance::Already; 2]);
    assert_eq!((adopted.client, adopted.callback_url), (created.client, created.callback_url));
    assert_eq!(adopted.secret, created.secret);
    assert_eq!(posts(&sandbox), made);

    // Another URL is registered beside it.
    let other = oauth.ensure("https://partner.example.com/other".parse().unwrap()).await.unwrap();
    assert_eq!(acceptances(&other), [Acceptance::Already, Acceptance::Accepted]);
    assert_eq!(other.client, created.client);
    assert_eq!(there(&sandbox)[0].1, [URL, "https://partner.example.com/other"]);

    // A client that was cancelled does not hide the active one.
    sandbox.cancel_oauth_clients();
    sandbox.add_oauth_client();
    let after = oauth.ensure(url()).await.unwrap();
    assert_eq!(acceptances(&after), [Acceptance::Already, Acceptance::Accepted]);
    assert_eq!(oauth.find().await.unwrap().map(|found| found.id), Some(after.client));
}

/// In real time, with several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_tasks_at_once_create_one() {
    test_timeout::start();
    for _ in 0..20 {
        let (sandbox, client) = without_client().await;
        client.open_session().await.unwrap();
        let tasks = (0..16).map(|_| {
            let oauth = client.oauth();
            tokio::spawn(async move { oauth.ensure(url()).await.unwrap() })
        });
        let done: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        assert!(done.iter().all(|setup| setup.client == done[0].client && setup.callback_url == done[0].callback_url));
        assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_with_two_urls_create_one_client() {
    test_timeout::start();
    let (sandbox, client) = without_client().await;
    let calls = (0..16).map(|number| {
        let oauth = client.oauth();
        let path = if number % 2 == 0 { "even" } else { "odd" };
        async move { oauth.ensure(format!("https://partner.example.com/{path}").parse().unwrap()).await.unwrap() }
    });
    let done = join_all(calls).await;
    assert!(done.iter().all(|setup| setup.client == done[0].client));
    let there = there(&sandbox);
    assert_eq!((there.len(), there[0].1.len(), posts(&sandbox)), (1, 2, 3));
}

/// The response is lost, or the request arrives after the check.
#[tokio::test(start_paused = true)]
async fn a_creation_in_doubt_is_found_before_it_is_sent_again() {
    test_timeout::start();
    let late = Fault::LateArrival(Duration::from_millis(150));
    for fault in [Fault::Drop, late, Fault::Relabelled(500), Fault::Relabelled(401), Fault::Relabelled(429)] {
        for operation in [&Operation::CREATE_OAUTH_CLIENT, &Operation::CREATE_OAUTH_CALLBACK_URL] {
            let (sandbox, client) = without_client().await;
            client.open_session().await.unwrap();
            sandbox.inject(Injection::new(fault).on(operation));
            let setup = client.oauth().ensure(url()).await.unwrap();
            let is_found = |acceptance| acceptance != Acceptance::Accepted;
            let [of_client, of_url] = acceptances(&setup);
            let of_faulty = if *operation == Operation::CREATE_OAUTH_CLIENT { of_client } else { of_url };
            assert!(is_found(of_faulty), "{fault:?} {}: {of_faulty:?}", operation.id);
            assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2), "{fault:?} {}", operation.id);
        }
    }
}

/// The process ends between a request and its response. Another one goes on.
#[tokio::test(start_paused = true)]
async fn after_a_crash_between_request_and_response_there_is_one() {
    test_timeout::start();
    for operation in [&Operation::CREATE_OAUTH_CLIENT, &Operation::CREATE_OAUTH_CALLBACK_URL] {
        let (sandbox, client) = without_client().await;
        // Nothing that comes after the request succeeds.
        sandbox.inject(Injection::new(Fault::Drop).on(operation));
        let reads = if *operation == Operation::CREATE_OAUTH_CLIENT { 1 } else { 2 };
        sandbox.inject(Injection::new(Fault::Status(503)).on(&Operation::LIST_OAUTH_CLIENTS).after(reads).always());
        let lost = client.oauth().operation_timeout(Duration::from_secs(5)).ensure(url()).await.unwrap_err();
        assert!(lost.is_doubtful(), "{lost}");
        sandbox.clear_injections();
        drop(client);

        let next = sandbox.client().build().unwrap();
        next.oauth().ensure(url()).await.unwrap();
        assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2), "{}", operation.id);
    }
}

/// What an earlier call has left in doubt arrives before the next call of the same client creates.
#[tokio::test(start_paused = true)]
async fn the_next_call_waits_for_what_may_still_arrive() {
    test_timeout::start();
    let (sandbox, _) = without_client().await;
    let client = sandbox.client().retry(once()).build().unwrap();
    client.open_session().await.unwrap();
    let late = Fault::LateArrival(Duration::from_millis(150));
    sandbox.inject(Injection::new(late).on(&Operation::CREATE_OAUTH_CLIENT));
    sandbox.inject(Injection::new(Fault::Status(503)).on(&Operation::LIST_OAUTH_CLIENTS).after(1));
    let oauth = client.oauth();
    assert!(oauth.ensure(url()).await.unwrap_err().is_doubtful());
    assert!(there(&sandbox).is_empty());
    let setup = oauth.ensure(url()).await.unwrap();
    assert_eq!(setup.client_acceptance, Acceptance::Already);
    assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2));
}

/// After each request whose path ends so, bunq shows the clients as they were before for so many reads.
fn shows_late(sandbox: &Sandbox, ends: &'static [&str], reads: u32) {
    let (mut shown, mut left) = (None, 0);
    sandbox.before_signing(move |call, response| match &*call.method {
        "POST" if ends.iter().any(|end| call.path.ends_with(end)) => left = reads,
        "GET" if call.path.ends_with("/oauth-client") && left > 0 => {
            left -= 1;
            response.body = Vec::clone(shown.as_ref().unwrap());
        }
        "GET" if call.path.ends_with("/oauth-client") => shown = Some(response.body.clone()),
        _ => {}
    });
}

#[tokio::test(start_paused = true)]
async fn what_bunq_shows_a_moment_later_is_awaited() {
    test_timeout::start();
    for reads in [1, 4] {
        let (sandbox, client) = without_client().await;
        shows_late(&sandbox, &["/oauth-client", "/callback-url"], reads);
        let created = client.oauth().ensure(url()).await.unwrap();
        let bank = sandbox.oauth_clients().remove(0);
        assert_eq!(acceptances(&created), [Acceptance::Accepted; 2]);
        assert_eq!(bank["id"], created.client.get());
        assert_eq!(bank["callback_url"][0]["id"], created.callback_url.unwrap().get());
        assert_eq!(created.secret.unwrap().expose(), bank["secret"]);
        // Another process sees it at once.
        let other = sandbox.client().build().unwrap();
        assert_eq!(acceptances(&other.oauth().ensure(url()).await.unwrap()), [Acceptance::Already; 2]);
        sandbox.clear_edits();
        assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2));
    }
}

#[tokio::test(start_paused = true)]
async fn what_bunq_does_not_show_in_time_is_named_and_not_created_again() {
    test_timeout::start();
    for (ends, posts_made) in [(&["/oauth-client"], 2), (&["/callback-url"], 1)] {
        let (sandbox, _) = without_client().await;
        let client = patient(&sandbox);
        if posts_made == 1 {
            sandbox.add_oauth_client();
        }
        shows_late(&sandbox, ends, 7);
        let error = client.oauth().ensure(url()).await.unwrap_err();
        let id = sandbox.oauth_clients()[0]["id"].to_string();
        assert_eq!(error.kind(), ErrorKind::Unattainable);
        assert!(error.to_string().contains("does not show it") && error.to_string().contains(&id), "{error}");
        assert!(!error.is_doubtful());
        let setup = client.oauth().ensure(url()).await.unwrap();
        sandbox.clear_edits();
        assert_eq!(setup.client.to_string(), id);
        assert_eq!((there(&sandbox), posts(&sandbox)), (one(), posts_made), "{ends:?}");
    }
}

/// The next call goes on with the client that is there.
#[tokio::test(start_paused = true)]
async fn an_error_after_the_client_has_the_client() {
    test_timeout::start();
    for fault in [Fault::Status(400), Fault::Forbidden, Fault::Status(503)] {
        let (sandbox, client) = without_client().await;
        sandbox.inject(Injection::new(fault).on(&Operation::CREATE_OAUTH_CALLBACK_URL).always());
        let error = client.oauth().ensure(url()).await.unwrap_err();
        let seen = error.last_seen::<OauthClient>().unwrap().id;
        assert_eq!(sandbox.oauth_clients()[0]["id"], seen.get());
        sandbox.clear_injections();
        let setup = client.oauth().ensure(url()).await.unwrap();
        assert_eq!((setup.client, acceptances(&setup)), (seen, [Acceptance::Already, Acceptance::Accepted]));
        assert_eq!(there(&sandbox), one());
    }
    // Before there is one, there is none to name.
    let (sandbox, client) = without_client().await;
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_OAUTH_CLIENT));
    assert!(client.oauth().ensure(url()).await.unwrap_err().last_seen::<OauthClient>().is_none());
}

#[tokio::test(start_paused = true)]
async fn spellings_of_one_url_are_registered_once() {
    test_timeout::start();
    let (sandbox, client) = without_client().await;
    let calls = (0..16).map(|number| {
        let oauth = client.oauth();
        let spelling = if number % 2 == 0 { URL } else { "https://PARTNER.example.com:443/callback" };
        async move { oauth.ensure(spelling.parse().unwrap()).await.unwrap() }
    });
    let done = join_all(calls).await;
    assert!(done.iter().all(|setup| setup == &done[0]));
    assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2));

    sandbox.take_call_log();
    for invalid in ["https://partner.example.com:99999/callback", "https://1.2.3.4.5/callback"] {
        let error = client.oauth().ensure(invalid.parse().unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("callback_url")));
        assert!(error.to_string().contains(invalid), "{error}");
    }
    assert!(sandbox.take_call_log().is_empty());
}

/// However long what it shares or waits for takes.
#[tokio::test(start_paused = true)]
async fn a_call_takes_no_longer_than_it_may() {
    test_timeout::start();
    let (sandbox, _) = without_client().await;
    let client = patient(&sandbox);
    client.open_session().await.unwrap();
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(20))).on(&Operation::CREATE_OAUTH_CLIENT));
    let oauth = client.oauth();
    let first = tokio::spawn(async move { oauth.ensure(url()).await });
    while posts(&sandbox) == 0 {
        tokio::task::yield_now().await;
    }
    let (start, short) = (Instant::now(), client.oauth().operation_timeout(Duration::from_secs(3)));
    assert_eq!(short.ensure(url()).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(4) && !first.is_finished());
    first.await.unwrap().unwrap();
    assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2));

    // What is in doubt may still arrive.
    sandbox.inject(Injection::new(Fault::Status(503)).on(&Operation::CREATE_OAUTH_CALLBACK_URL).always());
    sandbox.inject(Injection::new(Fault::Status(503)).on(&Operation::LIST_OAUTH_CLIENTS).after(1).always());
    let other: CallbackUrl = "https://partner.example.com/other".parse().unwrap();
    assert!(short.ensure(other.clone()).await.unwrap_err().is_doubtful());
    sandbox.clear_injections();
    let start = Instant::now();
    let error = short.ensure(other.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_doubtful()), (ErrorKind::Timeout, false), "{error}");
    assert!(start.elapsed() < Duration::from_secs(4) && error.retry_after().is_some(), "{error}");
    assert!(error.to_string().contains("an earlier request may still arrive at bunq for"), "{error}");
    client.oauth().ensure(other).await.unwrap();
    assert_eq!(there(&sandbox)[0].1.len(), 2);
}

/// Whatever becomes of a request, the next call ends with one client that has the URL once.
#[tokio::test(start_paused = true)]
async fn no_fault_makes_a_second() {
    test_timeout::start();
    for fault in Fault::examples() {
        for operation in [&Operation::CREATE_OAUTH_CLIENT, &Operation::CREATE_OAUTH_CALLBACK_URL] {
            let (sandbox, client) = without_client().await;
            client.open_session().await.unwrap();
            sandbox.inject(Injection::new(fault).on(operation));
            let first = client.oauth().ensure(url()).await;
            sandbox.clear_injections();
            let next = client.oauth().ensure(url()).await.unwrap();
            assert!(next.callback_url.is_some(), "{fault:?} {}: {first:?}", operation.id);
            assert_eq!(there(&sandbox), one(), "{fault:?} {}: {first:?}", operation.id);
        }
    }
}

/// A list that does not say for certain what there is leads to no request.
#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_creates_nothing() {
    test_timeout::start();
    type Drift = fn(&mut Value);
    let many: Drift = |client| {
        let urls = (0..300).map(|number| json!({ "url": format!("https://partner.example.com/{number}") }));
        client["callback_url"] = urls.collect();
    };
    for (drift, kind) in [
        (many, ErrorKind::InvalidResponse),
        (|client| client["callback_url"] = json!([URL]), ErrorKind::InvalidResponse),
        (|client| client["callback_url"] = Value::Null, ErrorKind::InvalidResponse),
        (|client| _ = client.as_object_mut().unwrap().remove("callback_url"), ErrorKind::InvalidResponse),
        (|client| client["status"] = "A_NEW_ONE".into(), ErrorKind::Unattainable),
    ] {
        let (sandbox, client) = without_client().await;
        sandbox.add_oauth_client();
        sandbox.before_signing(move |call, response| {
            if call.method == "GET" && call.path.ends_with("/oauth-client") {
                let mut body: Value = serde_json::from_slice(&response.body).unwrap();
                drift(&mut body["Response"][0]["OauthClient"]);
                response.body = serde_json::to_vec(&body).unwrap();
            }
        });
        let error = client.oauth().ensure(url()).await.unwrap_err();
        sandbox.clear_edits();
        assert_eq!((error.kind(), error.is_doubtful(), posts(&sandbox)), (kind, false, 0), "{error}");
    }
}

/// After the end of the client no request leaves, and another client goes on.
#[tokio::test(start_paused = true)]
async fn a_shutdown_in_between_ends_the_work() {
    test_timeout::start();
    let (sandbox, _) = without_client().await;
    let shutdown = Shutdown::default();
    let client = sandbox.client().shutdown(&shutdown).build().unwrap();
    let ending = shutdown.clone();
    sandbox.before_signing(move |call, _| {
        if call.method == "POST" && call.path.ends_with("/oauth-client") {
            ending.begin();
        }
    });
    let error = client.oauth().ensure(url()).await.unwrap_err();
    sandbox.clear_edits();
    assert_eq!((error.kind(), posts(&sandbox)), (ErrorKind::ShutDown, 1), "{error}");
    sandbox.client().build().unwrap().oauth().ensure(url()).await.unwrap();
    assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_for_this_call_to_choose_is_named() {
    test_timeout::start();
    let (sandbox, client) = without_client().await;
    sandbox.add_oauth_client();
    sandbox.cancel_oauth_clients();
    let cancelled = sandbox.oauth_clients()[0]["id"].as_u64().unwrap();
    let error = client.oauth().ensure(url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable);
    assert!(error.to_string().contains(&format!("there is {cancelled} (CANCELLED): activate one")), "{error}");
    assert!(client.oauth().find().await.unwrap().is_none());

    sandbox.add_oauth_client();
    sandbox.add_oauth_client();
    let ids: Vec<_> = sandbox.oauth_clients().iter().map(|client| client["id"].as_u64().unwrap()).collect();
    for error in [client.oauth().ensure(url()).await.map(drop), client.oauth().find().await.map(drop)] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Duplicate);
        assert!(error.to_string().contains(&format!("{} (ACTIVE), {} (ACTIVE)", ids[2], ids[1])), "{error}");
    }
    assert_eq!(posts(&sandbox), 0);
    assert!("http://partner.example.com/callback".parse::<CallbackUrl>().is_err());
}

/// Another process changes the clients after each read of the list.
#[tokio::test(start_paused = true)]
async fn a_list_that_changes_between_read_and_write_is_an_error_that_says_which() {
    test_timeout::start();
    type Change = fn(&Sandbox);
    let cancel: Change = Sandbox::cancel_oauth_clients;
    let add: Change = Sandbox::add_oauth_client;
    let replace: Change = |sandbox| {
        sandbox.cancel_oauth_clients();
        sandbox.add_oauth_client();
    };
    for (begins_with_one, after, change, kind, says) in [
        (true, 1, cancel, ErrorKind::Unattainable, "was active, and now there is"),
        (true, 1, replace, ErrorKind::Unattainable, "was active, and now there is"),
        // After the creation, and before the client is read.
        (false, 1, add, ErrorKind::Duplicate, "2 OAuth clients are active"),
    ] {
        let (sandbox, client) = without_client().await;
        if begins_with_one {
            sandbox.add_oauth_client();
        }
        client.open_session().await.unwrap();
        let (changing, mut reads) = (sandbox.clone(), 0);
        sandbox.before_signing(move |call, _| {
            reads += u32::from(call.method == "GET" && call.path.ends_with("/oauth-client"));
            if reads == after {
                reads += 1;
                change(&changing);
            }
        });
        let error = client.oauth().ensure(url()).await.unwrap_err();
        sandbox.clear_edits();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        let known = sandbox.oauth_clients().iter().all(|client| error.to_string().contains(&client["id"].to_string()));
        assert!(known, "{error}");
        assert!(there(&sandbox).iter().all(|(_, urls)| urls.is_empty()), "{:?}", there(&sandbox));
    }
}

/// bunq refuses a second client: the one that another process has created is adopted.
#[tokio::test(start_paused = true)]
async fn a_client_that_another_process_has_created_meanwhile_is_adopted() {
    test_timeout::start();
    let sandbox = Sandbox::builder().without_oauth_client().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    client.open_session().await.unwrap();
    let (other, mut is_first) = (sandbox.clone(), true);
    sandbox.before_signing(move |call, _| {
        if call.path.ends_with("/oauth-client") && std::mem::take(&mut is_first) {
            other.add_oauth_client();
        }
    });
    let setup = client.oauth().ensure(url()).await.unwrap();
    sandbox.clear_edits();
    assert_eq!(acceptances(&setup), [Acceptance::Already, Acceptance::Accepted]);
    assert_eq!(there(&sandbox), one());
}

/// Whoever takes a part of the list for all of it creates a second client.
#[tokio::test(start_paused = true)]
async fn a_list_that_goes_on_at_another_page_is_no_reason_to_create() {
    test_timeout::start();
    for (older, creates) in [(r#""/v1/user/1/oauth-client?older_id=5""#, false), ("null", true)] {
        let (sandbox, client) = without_client().await;
        let pages = format!(r#"{{"future_url": null, "newer_url": null, "older_url": {older}}}"#);
        sandbox.before_signing(move |call, response| {
            if call.method == "GET" && call.path.ends_with("/oauth-client") {
                let body = String::from_utf8(std::mem::take(&mut response.body)).unwrap();
                let more = body.trim_end().strip_suffix('}').unwrap();
                response.body = format!(r#"{more},"Pagination":{pages}}}"#).into_bytes();
            }
        });
        let ensured = client.oauth().ensure(url()).await;
        sandbox.clear_edits();
        if creates {
            ensured.unwrap();
        } else {
            let error = ensured.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidResponse);
            assert!(error.to_string().contains("a part of the list"), "{error}");
        }
        assert_eq!(posts(&sandbox), if creates { 2 } else { 0 });
    }
}

/// The work goes on when the caller gives up, and a later call shares it.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_goes_on() {
    test_timeout::start();
    let (sandbox, client) = without_client().await;
    client.open_session().await.unwrap();
    let (arrived, mut told) = tokio::sync::mpsc::unbounded_channel();
    sandbox.before_signing(move |call, _| {
        if call.method == "POST" {
            let _ = arrived.send(());
        }
    });
    let oauth = client.oauth();
    tokio::select! {
        biased;
        arrived = told.recv() => arrived.unwrap(),
        done = oauth.ensure(url()) => panic!("{done:?}"),
    }
    let done = client.oauth().ensure(url()).await.unwrap();
    sandbox.clear_edits();
    let OauthClient { id, .. } = client.oauth().find().await.unwrap().unwrap();
    assert_eq!(done.client, id);
    assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2));
    assert_eq!(calls(&sandbox, "POST", "/oauth-client").len(), 1);
}

/// The runtime of a flight ends, or is not run: the call of another one goes on, or ends in time.
#[test]
fn the_runtime_of_a_flight_does_not_hold_up_another() {
    test_timeout::start();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sandbox, client) = servers.block_on(without_client());
    let (own, other) = (runtime(), runtime());
    let (arrived, told) = std::sync::mpsc::channel();
    sandbox.before_signing(move |call, _| {
        if call.method == "POST" && call.path.ends_with("/oauth-client") {
            let _ = arrived.send(());
        }
    });
    own.block_on(client.open_session()).unwrap();
    let oauth = client.oauth();
    // It is polled until the request is there, and no more.
    own.block_on(async {
        let ensuring = oauth.ensure(url());
        tokio::pin!(ensuring);
        while told.try_recv().is_err() {
            tokio::select! {
                biased;
                done = &mut ensuring => panic!("{done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    });
    let late = other.block_on(client.oauth().operation_timeout(Duration::from_millis(1)).ensure(url())).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout, "{late}");
    drop(own);
    let setup = other.block_on(client.oauth().ensure(url())).unwrap();
    sandbox.clear_edits();
    assert_eq!(setup.client_acceptance, Acceptance::Already);
    assert_eq!((there(&sandbox), posts(&sandbox)), (one(), 2));
}
