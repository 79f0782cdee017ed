//! The sessions of users that are to be opened again: those of others, those that bunq still accepts, and those that it refuses.

use std::time::Duration;

use bunq_partner::{Client, MemoryCustody, Operation, ProvisionId};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use tokio::time::advance;

use crate::common::{at_once, calls};

const MINUTE: Duration = Duration::from_secs(60);

/// A client whose own session is open.
async fn client(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    let client = sandbox.client().retry(at_once()).custody(custody.clone()).build().unwrap();
    client.open_session().await.unwrap();
    client
}

async fn start() -> (Sandbox, MemoryCustody, ProvisionId) {
    let sandbox = Sandbox::start().await.unwrap();
    let id = sandbox.populate(1)[0];
    (sandbox, MemoryCustody::new(), id)
}

fn sessions(sandbox: &Sandbox) -> usize {
    calls(sandbox, "POST", "/session-server").len()
}

/// A client that has read the custody before another client has activated the user.
#[tokio::test(start_paused = true)]
async fn a_session_that_was_taken_over_is_renewed_when_the_credential_would_have_expired() {
    test_timeout::start();
    let (sandbox, custody, id) = start().await;
    let [first, second] = [client(&sandbox, &custody).await, client(&sandbox, &custody).await];
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_DEVICE_SERVER).times(1));
    first.users().activate(id).await.unwrap_err();
    let user = second.users().of(id);
    assert!(!user.context().await.unwrap().unwrap().has_session);
    first.users().activate(id).await.unwrap();
    let before = sessions(&sandbox);
    user.api().list_credentials().await.unwrap();
    assert_eq!(sessions(&sandbox), before, "it is taken over");
    advance(120 * MINUTE).await;
    assert_eq!(sandbox.end_sessions_of(id), 1);
    user.api().list_credentials().await.unwrap();
    assert_eq!(sessions(&sandbox), before + 1);
}
