//! The shutdown of a client: no request begins after it.

use std::time::Duration;

use bunq_partner::{ErrorKind, MemoryCustody, MemoryJournal, Operation, RetryPolicy, Sent, Shutdown};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::future::{join, join4};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use crate::common::calls;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn no_request_begins_after_the_shutdown_of_a_client() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let id = sandbox.populate(1)[0];
    let shutdown = Shutdown::default();
    let retry = RetryPolicy::default().initial_backoff(HOUR).max_backoff(HOUR);
    let builder = sandbox.client().shutdown(&shutdown).operation_timeout(2 * HOUR).retry(retry);
    let client = builder.rate_limit(&Operation::GET_PROVISION, 1, HOUR).custody(MemoryCustody::new()).build().unwrap();
    client.provisions().get(id).await.unwrap();
    // One is on the wire, the others wait: for a turn, and for another attempt.
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(3))).on(&Operation::LIST_DEVICE_SERVERS));
    sandbox.inject(Injection::new(Fault::UnsignedStatus(503)).on(&Operation::GET_INSTALLATION));
    let before = sandbox.take_call_log().len();
    assert!(before > 0);
    let (api, provisions) = (client.api(), client.provisions());
    let in_progress = join4(
        api.list_device_servers(),
        provisions.get(id),
        api.get_installation(),
        provisions.wait_until_closed(id).wait(),
    );
    let begin = async {
        while calls(&sandbox, "GET", "").len() < 2 {
            sleep(Duration::from_millis(1)).await;
        }
        shutdown.begin();
        Instant::now()
    };
    let ((listed, waited_for_turn, waited_for_attempt, waiter), began) = join(in_progress, begin).await;
    assert!(listed.is_ok() && began.elapsed() <= Duration::from_secs(5), "{listed:?} {:?}", began.elapsed());
    let errors = [waited_for_turn.unwrap_err(), waited_for_attempt.unwrap_err(), waiter.unwrap_err()];
    let later = [provisions.close(id).await.unwrap_err(), client.users().activate(id).await.unwrap_err()];
    for error in errors.iter().chain(&later) {
        assert_eq!(
            (error.kind(), error.sent(), error.is_retryable()),
            (ErrorKind::ShutDown, Sent::No, false),
            "{error:?}"
        );
    }
    let bulk = provisions.close_all(stream::iter([id])).journal(MemoryJournal::new());
    let rows: Vec<_> = bulk.stream().collect().await;
    assert!(matches!(&rows[..], [Ok(row)] if !row.state.is_final() && !row.is_in_doubt()), "{rows:?}");
    assert_eq!(sandbox.call_log().len(), 2, "{:?}", sandbox.call_log());
}
