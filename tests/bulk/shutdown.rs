//! The end of a run before it is done: what waits gives its turn back, and what is on the wire has five seconds.

use std::time::Duration;

use bunq_partner::{
    Client, ClientBuilder, Journal as _, MemoryJournal, NewProvision, Operation, ProvisionId, RowRecord, RowState,
    Shutdown,
};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::{TryStreamExt as _, stream};
use tokio::time::{Instant, sleep};

use crate::common::{calls, person};

const SECOND: Duration = Duration::from_secs(1);

fn close_all(client: &Client, ids: &[ProvisionId]) -> bunq_partner::Bulk {
    client.provisions().close_all(stream::iter(ids.to_vec()))
}

fn create_all(client: &Client, new: &[NewProvision]) -> bunq_partner::Bulk {
    client.provisions().create_all(stream::iter(new.to_vec()))
}

/// A client that keeps to bunq's limits of closings and creations.
fn limited(sandbox: &Sandbox) -> ClientBuilder {
    let limited = [&Operation::UPDATE_PROVISION, &Operation::CREATE_PROVISION].into_iter();
    limited.fold(sandbox.client(), |client, operation| {
        client.rate_limit(operation, operation.rate_limit.calls, operation.rate_limit.per)
    })
}

async fn outcomes(bulk: bunq_partner::Bulk) -> Vec<RowRecord> {
    bulk.stream().try_collect().await.unwrap()
}

/// Waits until so many requests have arrived.
async fn arrived(sandbox: &Sandbox, method: &str, path: &str, count: usize) {
    while calls(sandbox, method, path).len() < count {
        sleep(Duration::from_millis(1)).await;
    }
}

/// The rows that were stopped, and how many of them are in doubt.
fn stopped(rows: &[RowRecord]) -> (usize, usize) {
    let stopped = rows.iter().filter(|row| row.state == RowState::Unfinished && row.error.is_none());
    let is_in_doubt: Vec<_> = stopped.map(RowRecord::is_in_doubt).collect();
    (is_in_doubt.len(), is_in_doubt.iter().filter(|is_in_doubt| **is_in_doubt).count())
}

/// bunq lets two closings through in three seconds: the others of the sixteen wait.
#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_gives_it_back_at_once() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = limited(&sandbox).build().unwrap();
    let ids = sandbox.populate(40);
    let (journal, shutdown) = (MemoryJournal::new(), Shutdown::default());
    let bulk = close_all(&client, &ids).journal(journal.clone()).shutdown(&shutdown);
    let mut rows = std::pin::pin!(bulk.stream());
    for _ in 0..2 {
        assert_eq!(rows.try_next().await.unwrap().unwrap().state, RowState::Accepted);
    }
    shutdown.begin();
    let began = Instant::now();
    let rows: Vec<_> = rows.try_collect().await.unwrap();
    assert_eq!((began.elapsed(), stopped(&rows), rows.len()), (Duration::ZERO, (rows.len(), 0), rows.len()));
    assert!((14..=16).contains(&rows.len()), "{rows:?}");
    assert_eq!(calls(&sandbox, "PUT", "").len(), 2);
    for row in rows {
        let last = journal.last(row.row).await.unwrap().unwrap();
        assert_eq!((last.state, last.is_in_doubt()), (RowState::Unfinished, false));
    }
    let rows = outcomes(close_all(&client, &ids).journal(journal)).await;
    assert!(rows.len() == 40 && rows.iter().all(|row| row.state == RowState::Accepted), "{rows:?}");
    assert_eq!(calls(&sandbox, "PUT", "").len(), 40);
}

#[tokio::test(start_paused = true)]
async fn what_is_on_the_wire_has_five_seconds() {
    test_timeout::start();
    // Answered in time, and later.
    for (late, in_doubt, ends_after) in [(3, 0, 3), (600, 2, 5)] {
        let sandbox = Sandbox::start().await.unwrap();
        let client = limited(&sandbox).build().unwrap();
        let ids = sandbox.populate(40);
        sandbox.inject(Injection::new(Fault::Late(late * SECOND)).on(&Operation::UPDATE_PROVISION).times(2));
        let (journal, shutdown) = (MemoryJournal::new(), Shutdown::default());
        let run = tokio::spawn(outcomes(close_all(&client, &ids).journal(journal.clone()).shutdown(&shutdown)));
        arrived(&sandbox, "PUT", "", 2).await;
        shutdown.begin();
        let began = Instant::now();
        let rows = run.await.unwrap();
        assert!(began.elapsed() <= ends_after * SECOND, "{:?}", began.elapsed());
        assert_eq!((stopped(&rows), rows.len()), ((14 + in_doubt, in_doubt), 16));
        assert_eq!(calls(&sandbox, "PUT", "").len(), 2);
        // What is in doubt is looked for, and not requested again.
        let rows = outcomes(close_all(&client, &ids).journal(journal)).await;
        assert_eq!(rows.iter().filter(|row| row.state == RowState::Found).count(), in_doubt);
        assert!(rows.len() == 40 && rows.iter().all(|row| row.state.is_done()), "{rows:?}");
        assert_eq!(calls(&sandbox, "PUT", "").len(), 40);
    }
}

/// Users are read back by pages that several rows wait for together.
#[tokio::test(start_paused = true)]
async fn no_user_is_searched_for_or_read_after_a_shutdown() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let client = limited(&sandbox).rate_limit(&Operation::LIST_PROVISIONS, 1, 4 * SECOND).build().unwrap();
    let new: Vec<_> = (0..8).map(|_| person()).collect();
    let (journal, shutdown) = (MemoryJournal::new(), Shutdown::default());
    // The last of five holds up the end, so that the next page could be read.
    sandbox.inject(Injection::new(Fault::Late(600 * SECOND)).on(&Operation::CREATE_PROVISION).after(4));
    let run = tokio::spawn(outcomes(create_all(&client, &new).journal(journal.clone()).shutdown(&shutdown)));
    arrived(&sandbox, "POST", "/partner-user-provision", 5).await;
    // By then the others wait for a page.
    sleep(SECOND).await;
    shutdown.begin();
    let reads = calls(&sandbox, "GET", "").len();
    let rows = run.await.unwrap();
    assert_eq!((stopped(&rows), rows.len()), ((8, 5), 8));
    assert_eq!(
        (calls(&sandbox, "GET", "").len(), calls(&sandbox, "POST", "/partner-user-provision").len()),
        (reads, 5)
    );
    let rows = outcomes(create_all(&client, &new).journal(journal)).await;
    assert!(rows.len() == 8 && rows.iter().all(|row| row.state.is_done()), "{rows:?}");
    assert_eq!(sandbox.provision_ids().len(), 8);
}
