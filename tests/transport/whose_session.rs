//! Operations of a partner are refused to its users, and those of users to the partner, before anything is sent.

use std::fmt::Debug;

use bunq_partner::{Api, Error, ErrorKind, MemoryCustody, Operation, Response, Sent, SessionOf};
use bunq_partner_sandbox::Sandbox;

include!(concat!(env!("OUT_DIR"), "/calls.rs"));

async fn shown<T: Debug>(call: impl Future<Output = Result<Response<T>, Error>>) -> Result<String, Error> {
    call.await.map(|response| format!("{response:?}"))
}

/// What a call with its typed method, a call by name and a preview come to.
async fn attempts(api: &Api, operation: &Operation) -> [Option<Error>; 3] {
    let typed = call_with_examples(api, operation, |_| None).await.unwrap().err();
    // Whose operation it is comes before what is wrong with its parameters.
    [typed, api.call(operation, &[], None).await.err(), api.preview(operation, &[], None).err()]
}

#[tokio::test]
async fn a_call_with_the_session_of_others_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let partner = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
    let id = sandbox.populate(1)[0];
    let users = partner.users().of(id).api();
    sandbox.take_call_log();
    let partners = partner.api();
    let doors = ["`client.api()`", "`client.users().of(id).api()`"];
    for operation in Operation::ALL.iter().filter(|operation| !operation.managed) {
        let (refused, whose, door) = match operation.session_of {
            Some(SessionOf::Partner) => (&users, "a partner", doors[0]),
            Some(SessionOf::User) => (&partners, "a user", doors[1]),
            _ => {
                for api in [&partners, &users] {
                    let problem =
                        api.preview(operation, &[], None).map_or_else(|error| error.to_string(), |_| String::new());
                    assert!(!doors.iter().any(|door| problem.contains(door)), "{problem}");
                }
                continue;
            }
        };
        for error in attempts(refused, operation).await {
            let error = error.unwrap();
            assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidInput, Sent::No), "{operation:?}: {error}");
            let text = error.to_string();
            assert!([operation.id, whose, door].iter().all(|part| text.contains(part)), "{text}");
        }
    }
    // No session was opened for it either.
    assert_eq!(sandbox.take_call_log().len(), 0);
}
