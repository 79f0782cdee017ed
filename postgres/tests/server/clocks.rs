//! Machines whose clocks are wrong.

use std::process::Command;
use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner_sandbox::Sandbox;

use crate::common::{TestDatabase, or_left_out};
use crate::fleet::{Fleet, Process};
use crate::outages::sessions;
use crate::permits::{TENTH, arrived, have_arrived, reads};

/// Machines whose clocks are an hour apart, ahead of and behind the bank's, share a session of so long a life. Returns how many were
/// opened, at the start and after it has ended.
async fn sessions_of_machines_an_hour_apart(life: Duration) -> Option<[usize; 2]> {
    let test = TestDatabase::migrated().await?;
    let is_there = Command::new("faketime").arg("--version").output().is_ok();
    or_left_out(is_there.then_some(()).ok_or("faketime is not installed: apt-get install faketime".to_owned()))?;
    let sandbox = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, TENTH.calls, TENTH.per);
    let sandbox = sandbox.session_timeout(life).start().await.unwrap();
    let fleet = Fleet { is_hardy: true, ..Fleet::new(&sandbox, test.url(), TENTH) };
    let mut processes = Vec::new();
    for offset in ["+0", "+1h", "-1h"] {
        let mut process = Process::start_at(offset, &fleet, 2);
        process.is_ready();
        processes.push(process);
    }
    processes.iter_mut().for_each(Process::go);
    let more = async |count| have_arrived(&sandbox, arrived(&sandbox) + count).await;
    more(12).await;
    let at_start = sessions(&sandbox);
    sandbox.end_sessions();
    more(12).await;
    more(12).await;
    let made: Vec<_> = processes.into_iter().map(Process::stop).collect();
    assert!(made.iter().flatten().all(|made| *made > 1), "{made:?}");
    assert_eq!(reads(&sandbox).1, 0);
    Some([at_start, sessions(&sandbox) - at_start])
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_an_hour_apart_share_a_session_and_windows() {
    test_timeout::start();
    let Some(opened) = sessions_of_machines_an_hour_apart(Duration::from_secs(7 * 24 * 3600)).await else { return };
    assert_eq!(opened, [1, 1]);
}

/// A machine whose clock is further ahead than a session lives opens one of its own, which the others take over.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_seem_to_be_over_are_replaced_once() {
    test_timeout::start();
    let Some(opened) = sessions_of_machines_an_hour_apart(Duration::from_secs(1800)).await else { return };
    println!("{opened:?}");
    assert!(opened.iter().all(|opened| *opened <= 2), "{opened:?}");
}
