//! The bank refuses while calls come in: nothing is lost, nothing spins, and no older state follows a newer one.

use std::collections::HashMap;

use bunq_partner_sandbox::{Fault, Injection};
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use crate::bank::{Bank, MINUTE, SECOND, provision, still};

/// What is refused for how many minutes: each call, or every second one.
async fn refused(fault: Fault, minutes: u32, is_always: bool) {
    let bank = Bank::with(still().rate_limits(true), |client| client, Default::default()).await;
    let ids = bank.sandbox.populate(250);
    let mut changes = bank.changes().await;
    bank.sandbox.take_call_log();
    if is_always {
        bank.sandbox.inject(Injection::new(fault).always());
    } else {
        for number in 0..500 {
            bank.sandbox.inject(Injection::new(fault).after(2 * number));
        }
    }
    // All are called about again and again, and a third changes meanwhile.
    for minute in 0..minutes {
        for (number, id) in ids.iter().enumerate() {
            bank.call(id.get(), None).await;
            if minute > 0 && number % 3 == 0 {
                bank.sandbox.fail(*id);
            }
        }
        let told = timeout(MINUTE, changes.next()).await;
        assert!(!is_always || told.is_err(), "{told:?}");
    }
    let refused = bank.sandbox.take_call_log().len();
    // A page or a read each two seconds, and the looks.
    assert!(refused <= 40 * minutes as usize, "{refused} requests");
    bank.sandbox.clear_injections();
    let mut told: HashMap<u64, Vec<(_, String)>> = HashMap::new();
    while bank.pending().await > 0 {
        let Ok(change) = timeout(SECOND, changes.next()).await else { continue };
        let change = change.unwrap();
        let (state, id) = (provision(&change), provision(&change).id.get());
        told.entry(id).or_default().push((state.updated.unwrap(), state.status.as_str().to_owned()));
        change.done().await.unwrap();
    }
    sleep(SECOND).await;
    assert_eq!(told.len(), ids.len());
    for (number, id) in ids.iter().enumerate() {
        let states = &told[&id.get()];
        assert!(states.is_sorted_by_key(|(updated, _)| *updated), "{states:?}");
        let last = if number % 3 == 0 { "FAILED" } else { "ACTIVE" };
        assert_eq!(states.last().unwrap().1, last, "{states:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_maintenance_of_ten_minutes_loses_nothing() {
    test_timeout::start();
    refused(Fault::Status(491), 10, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_used_up_for_ten_minutes_loses_nothing() {
    test_timeout::start();
    refused(Fault::RateLimited, 10, true).await;
}

#[tokio::test(start_paused = true)]
async fn refusals_now_and_then_lose_nothing() {
    test_timeout::start();
    for fault in [Fault::Status(491), Fault::Truncated, Fault::WrongSignature] {
        refused(fault, 2, false).await;
    }
}
