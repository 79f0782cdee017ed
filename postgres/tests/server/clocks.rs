//! Machines and servers whose clocks are wrong.

use std::time::Duration;

use bunq_partner::{ContextStore as _, Operation};
use bunq_partner_postgres::PostgresStore;
use bunq_partner_sandbox::Sandbox;

use crate::common::server::{Server, faketime};
use crate::common::{TestDatabase, or_left_out};
use crate::fleet::{Fleet, Process};
use crate::outages::sessions;
use crate::permits::{TENTH, bank, have_arrived, reads};

/// Machines whose clocks are right, an hour ahead and an hour behind share a session that lives for `life`. Returns how many were opened.
async fn sessions_of_machines_an_hour_apart(life: Duration, is_ended: bool) -> Option<usize> {
    let test = TestDatabase::migrated().await?;
    let library = or_left_out(faketime("libfaketimeMT.so.1"))?;
    let sandbox = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, TENTH.calls, TENTH.per);
    let sandbox = sandbox.session_timeout(life).start().await.unwrap();
    let fleet = Fleet { is_hardy: true, ..Fleet::new(&sandbox, test.url(), TENTH) };
    let mut processes = Vec::new();
    for offset in ["+0", "+1h", "-1h"] {
        let mut process = Process::start_at(&library, offset, &fleet, 2);
        process.is_ready();
        processes.push(process);
    }
    processes.iter_mut().for_each(Process::go);
    have_arrived(&sandbox, 12).await;
    if is_ended {
        sandbox.end_sessions();
    }
    have_arrived(&sandbox, 36).await;
    let made: Vec<_> = processes.into_iter().map(Process::stop).collect();
    assert!(made.iter().flatten().all(|made| *made > 1), "{made:?}");
    assert_eq!(reads(&sandbox).1, 0);
    Some(sessions(&sandbox))
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_an_hour_apart_share_a_session_and_windows() {
    test_timeout::start();
    let week = Duration::from_secs(7 * 24 * 3600);
    let Some(opened) = sessions_of_machines_an_hour_apart(week, true).await else { return };
    assert_eq!(opened, 2);
}

/// A machine whose clock is further ahead than a session lives opens one of its own, which the next ones take over.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_seems_to_be_over_is_replaced_once() {
    test_timeout::start();
    let Some(opened) = sessions_of_machines_an_hour_apart(Duration::from_secs(1800), false).await else { return };
    assert_eq!(opened, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_the_server_may_be_set_back() {
    test_timeout::start();
    let Some(server) = or_left_out(Server::with_clock()) else { return };
    let test = TestDatabase::migrated_in(server).await;
    let sandbox = bank(TENTH).await;
    let fleet = Fleet { is_hardy: true, ..Fleet::new(&sandbox, test.url(), TENTH) };
    let clients = [fleet.client().await, fleet.client().await];
    let read = async |count| {
        for client in clients.iter().cycle().take(count) {
            client.provisions().get(fleet.provision).await.unwrap();
        }
    };
    read(6).await;
    let [store, other] = [test.connect().await, test.connect().await].map(|of| PostgresStore::new(&of, "lock"));
    let lock = store.lock().await.unwrap();
    let time = test.sql("SELECT now()");
    test.server.set_clock("-1h");
    assert_eq!(test.sql(&format!("SELECT now() < '{time}'")), "t");
    read(12).await;
    store.save(&lock, "saved".into()).await.unwrap();
    drop(lock);
    drop(other.lock().await.unwrap());
    assert_eq!((sessions(&sandbox), reads(&sandbox).1), (1, 0));
}
