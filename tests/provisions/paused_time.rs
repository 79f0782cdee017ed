//! Waits, limits and the ends of connections, with paused time: it advances only when every task is idle.

use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner_sandbox::{Pace, Sandbox};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::common::person;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_life_of_minutes_is_followed() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Every(MINUTE)).rate_limits(true).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let start = Instant::now();
    let ready = client.provisions().create(person()).await.unwrap().await.unwrap();
    assert!(ready.fresh_credential().is_some());
    assert!(start.elapsed() >= 3 * MINUTE && start.elapsed() < 5 * MINUTE, "{:?}", start.elapsed());

    let error = client.provisions().wait_until_closed(ready.id).timeout(10 * MINUTE).wait().await.unwrap_err();
    assert_eq!(error.kind(), bunq_partner::ErrorKind::WaitTimeout);
    assert!(client.provisions().close(ready.id).await.unwrap().await.unwrap().is_closed());
}

#[tokio::test(start_paused = true)]
async fn bunqs_rate_limits_are_kept() {
    test_timeout::start();
    let sandbox = Sandbox::builder().rate_limits(true).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    client.open_session().await.unwrap();
    let start = Instant::now();
    let closing = sandbox.populate(20).into_iter().map(|id| {
        let provisions = client.provisions();
        async move { provisions.close(id).await?.await }
    });
    assert!(client.expected_wait(&Operation::UPDATE_PROVISION).is_zero());
    try_join_all(closing).await.unwrap();
    // Two calls in three seconds.
    assert!(start.elapsed() >= Duration::from_secs(27), "{:?}", start.elapsed());
    assert!(sandbox.call_log().iter().all(|call| call.status == 200));
}

#[tokio::test(start_paused = true)]
async fn a_half_open_connection_ends() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let address = sandbox.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    for beginning in ["", "POST /v1/installation HT", "POST /v1/installation HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"] {
        let start = Instant::now();
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.is_empty() || response.contains("The body was cut off"), "{response}");
        assert!(start.elapsed() < 4 * MINUTE, "{beginning}: {:?}", start.elapsed());
    }
}
