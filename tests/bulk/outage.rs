//! A bulk operation while the bank cannot be reached: it ends, or it waits and says for what.

use std::pin::pin;
use std::time::Duration;

use bunq_partner::{
    Bulk, Client, ClientBuilder, Environment, Error, ErrorKind, HttpConfig, MemoryJournal, RowRecord, RowState,
    Shutdown,
};
use bunq_partner_sandbox::Sandbox;
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::rustls::ALL_VERSIONS;

use crate::common::{once, person};
use crate::tls::{Authority, listener, terminate_each, terminate_tls};

/// Far longer than anything here takes. A run that waits for the certificate goes on for an hour.
const HANG: Duration = Duration::from_secs(60);

/// A name that does not resolve.
const BANK: &str = "bank.test";

fn client(base_url: impl Into<String>) -> ClientBuilder {
    let client = Client::builder(Environment::Sandbox).api_key("sandbox_0123456789").base_url(base_url);
    client.without_rate_limits().retry(once())
}

fn create(client: &Client, users: usize) -> Bulk {
    client.provisions().create_all(stream::iter((0..users).map(|_| person()).collect::<Vec<_>>()))
}

async fn outcomes(bulk: Bulk) -> Vec<Result<RowRecord, Error>> {
    bulk.stream().collect().await
}

/// A proxy that requires another password.
async fn refusing_proxy() -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // The head of the request fits into one read.
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(refusal).await.unwrap();
        }
    });
    format!("http://user:password@{address}")
}

#[tokio::test]
async fn what_was_never_right_ends_a_run_at_once() {
    test_timeout::start();
    let (sandbox, authority) = (Sandbox::start().await.unwrap(), Authority::new());
    let local = terminate_tls(&sandbox, authority.server(&["localhost"], false, ALL_VERSIONS)).await;
    let other = terminate_tls(&sandbox, authority.server(&[BANK], false, ALL_VERSIONS)).await;
    let trusting = || HttpConfig::default().root_certificates(authority.pem());
    for (base_url, http, problem) in [
        (format!("https://localhost:{}/v1", local.port()), HttpConfig::default(), "UnknownIssuer"),
        (format!("https://localhost:{}/v1", other.port()), trusting(), "not valid for name"),
        (format!("https://{BANK}/v1"), trusting().proxy(refusing_proxy().await), "proxy authorization required"),
    ] {
        // The search of a run with a journal begins after this time.
        let client = client(base_url).http(http).late_arrival(Duration::from_millis(10)).build().unwrap();
        let mut failures = pin!(client.failures());
        let journal = MemoryJournal::new();
        // With a journal, the run searches for existing users before the first row.
        for (bulk, rows) in [(create(&client, 20), 16), (create(&client, 20).journal(journal), 0)] {
            let outcomes = timeout(HANG, outcomes(bulk)).await.unwrap();
            let (last, others) = outcomes.split_last().unwrap();
            let failure = failures.next().await.unwrap();
            for error in [last.as_ref().unwrap_err(), &failure] {
                assert_eq!((error.kind(), error.is_misconfiguration()), (ErrorKind::Connect, true), "{error:?}");
                assert!(error.to_string().contains(problem), "{error}");
            }
            assert_eq!(others.len(), rows);
            assert!(others.iter().all(|row| row.as_ref().unwrap().state == RowState::Unfinished), "{others:?}");
        }
    }
    assert!(sandbox.call_log().is_empty());
}

/// An outage of some real seconds: TLS at both ends takes time that a paused clock does not wait for.
#[tokio::test]
async fn what_has_worked_is_waited_for() {
    test_timeout::start();
    let (sandbox, known, unknown) = (Sandbox::start().await.unwrap(), Authority::new(), Authority::new());
    let [known_server, unknown_server] = [&known, &unknown].map(|by| by.server(&["localhost"], false, ALL_VERSIONS));
    // The session is opened first. Then the server has another certificate for a while.
    let mut connections = 0;
    let server = terminate_each(&sandbox, move || {
        connections += 1;
        if (4..10).contains(&connections) { unknown_server.clone() } else { known_server.clone() }
    });
    let base_url = format!("https://localhost:{}/v1", server.await.port());
    // Each call has a connection of its own.
    let http = HttpConfig::default().root_certificates(known.pem()).idle_timeout(Duration::ZERO);
    let client = client(base_url).api_key(sandbox.api_key()).http(http).build().unwrap();
    let mut failures = pin!(client.failures());
    let rows = outcomes(create(&client, 3)).await;
    assert!(rows.iter().all(|row| row.as_ref().unwrap().state == RowState::Accepted), "{rows:?}");
    assert!(failures.next().await.unwrap().is_misconfiguration());
}

#[tokio::test(start_paused = true)]
async fn a_port_that_refuses_is_waited_for() {
    test_timeout::start();
    let (listener, address) = listener().await;
    drop(listener);
    let client = client(format!("http://{address}/v1")).build().unwrap();
    let mut failures = pin!(client.failures());
    let run = tokio::spawn(outcomes(create(&client, 20)));
    let failure = failures.next().await.unwrap();
    assert_eq!((failure.kind(), failure.is_misconfiguration()), (ErrorKind::Connect, false), "{failure:?}");
    assert!(failure.to_string().contains("refused"), "{failure}");
    let sandbox = Sandbox::builder().api_key("sandbox_0123456789".into()).port(address.port()).start().await.unwrap();
    let rows = run.await.unwrap();
    assert!(rows.iter().all(|row| row.as_ref().unwrap().state == RowState::Accepted), "{rows:?}");
    assert_eq!(sandbox.provision_ids().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_resolve_is_waited_for() {
    test_timeout::start();
    // A label of a host name has at most 63 characters, so no name server is asked for this one.
    let proxy = HttpConfig::default().proxy(format!("http://{}.invalid:3128", "x".repeat(64)));
    let client = client(format!("https://{BANK}/v1")).http(proxy).build().unwrap();
    let mut failures = pin!(client.failures());
    let shutdown = Shutdown::default();
    let run = tokio::spawn(outcomes(create(&client, 20).shutdown(&shutdown)));
    for _ in 0..3 {
        let failure = failures.next().await.unwrap();
        assert_eq!((failure.kind(), failure.is_misconfiguration()), (ErrorKind::Connect, false), "{failure:?}");
        assert!(failure.to_string().contains("lookup"), "{failure}");
    }
    shutdown.begin();
    let rows = run.await.unwrap();
    assert!(rows.iter().all(|row| row.as_ref().unwrap().state == RowState::Unfinished), "{rows:?}");
}
