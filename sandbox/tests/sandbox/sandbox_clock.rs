//! The bank's clock, which a test can move.

use std::time::Duration;

use bunq_partner::{Operation, ProvisionStatus};
use bunq_partner_sandbox::{Pace, Sandbox};
use serde_json::Value;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How many sessions were opened.
fn openings(sandbox: &Sandbox) -> usize {
    sandbox.call_log().iter().filter(|call| call.operation == Some(&Operation::CREATE_SESSION)).count()
}

fn credential_status(sandbox: &Sandbox, provision: bunq_partner::ProvisionId) -> Value {
    sandbox.provision(provision).unwrap()["credential"]["status"].clone()
}

#[tokio::test]
async fn sessions_end_and_credentials_expire_by_the_banks_clock() {
    test_timeout::start();
    let sandbox = Sandbox::builder().session_timeout(2 * HOUR).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let id = sandbox.populate(1)[0];
    client.provisions().get(id).await.unwrap();
    assert_eq!(credential_status(&sandbox, id), "PENDING_FIRST_USE");
    sandbox.advance_clock(HOUR);
    client.provisions().get(id).await.unwrap();
    assert_eq!((openings(&sandbox), credential_status(&sandbox, id)), (1, "EXPIRED".into()));
    sandbox.advance_clock(HOUR);
    client.provisions().get(id).await.unwrap();
    assert_eq!(openings(&sandbox), 2);
}

#[tokio::test]
async fn what_takes_time_at_the_bank_takes_that_of_its_clock() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Every(HOUR)).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let id = sandbox.populate(1)[0];
    drop(client.provisions().close(id).await.unwrap());
    let before = client.provisions().get(id).await.unwrap();
    assert_eq!(before.status, ProvisionStatus::Cancelled);
    sandbox.advance_clock(HOUR);
    let after = client.provisions().get(id).await.unwrap();
    assert_eq!(after.status, ProvisionStatus::Closed);
    let [before, after] = [before, after].map(|provision| provision.updated.unwrap().as_jiff());
    assert_eq!(after.duration_since(before).unsigned_abs(), HOUR);
}

#[tokio::test]
async fn the_clock_goes_on_from_a_saved_state() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let id = sandbox.populate(1)[0];
    sandbox.advance_clock(HOUR);
    let saved = sandbox.saved_state().unwrap();
    let again = Sandbox::builder().saved_state(saved).start().await.unwrap();
    assert_eq!(credential_status(&again, id), "EXPIRED");
}

#[tokio::test]
async fn rate_limits_are_not_by_the_banks_clock() {
    test_timeout::start();
    let sandbox = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, 1, HOUR).start().await.unwrap();
    assert_eq!(sandbox.call_as_neighbour(&Operation::GET_PROVISION, 2), 1);
    sandbox.advance_clock(HOUR);
    assert_eq!(sandbox.call_as_neighbour(&Operation::GET_PROVISION, 1), 0);
}
