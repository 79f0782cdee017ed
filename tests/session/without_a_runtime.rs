//! Calls outside of a Tokio runtime fail, and do not panic.

use bunq_partner::{Client, Environment, Error, ErrorKind, Sent};
use bunq_partner_sandbox::Sandbox;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::common::{id, person};

#[test]
fn every_call_is_an_error() {
    test_timeout::start();
    let client = Client::builder(Environment::Sandbox).api_key("sandbox_0123456789").build().unwrap();
    let (provisions, api) = (client.provisions(), client.api());
    let outcomes = [
        client.open_session().now_or_never(),
        client.end_session().now_or_never(),
        client.reinstall().now_or_never(),
        client.user().map(|user| user.map(drop)).now_or_never(),
        api.list_device_servers().map(|devices| devices.map(drop)).now_or_never(),
        provisions.create(person()).map(|waiter| waiter.map(drop)).now_or_never(),
        provisions.close(id(1)).map(|waiter| waiter.map(drop)).now_or_never(),
        provisions.reset_token(id(1)).map(|waiter| waiter.map(drop)).now_or_never(),
        provisions.wait_until_closed(id(1)).wait().map(|provision| provision.map(drop)).now_or_never(),
        Box::pin(provisions.wait_until_closed(id(1)).changes())
            .next()
            .map(|seen| seen.unwrap().map(drop))
            .now_or_never(),
        Box::pin(provisions.list().stream()).next().map(|seen| seen.unwrap().map(drop)).now_or_never(),
    ];
    for outcome in outcomes {
        let error: Error = outcome.expect("it waits for something").unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Internal, Sent::No));
        assert!(error.to_string().contains("there is no Tokio runtime here"), "{error}");
    }
    let problem = Sandbox::start().now_or_never().unwrap().unwrap_err();
    assert!(problem.to_string().contains("there is no Tokio runtime here"), "{problem}");
}
