//! API keys: whose they are, and the addresses that they may be used from.

use std::net::{IpAddr, Ipv4Addr};

use bunq_partner::{Client, ErrorKind, HttpConfig, Operation, PermittedIps};
use bunq_partner_sandbox::Sandbox;
use serde_json::Value;

fn from(sandbox: &Sandbox, last: u8, permitted_ips: PermittedIps) -> Client {
    let http = HttpConfig::default().local_address(IpAddr::from([127, 0, 0, last]));
    sandbox.client().http(http).permitted_ips(permitted_ips).build().unwrap()
}

async fn is_refused(client: &Client, operation: &'static Operation) {
    let error = client.open_session().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unauthorized, Some(operation)));
    assert_eq!(error.bunq_messages(), ["User credentials are incorrect. Incorrect API key or IP address."]);
}

#[tokio::test]
async fn a_key_is_bound_to_the_addresses_of_its_first_device() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let others = PermittedIps::Only(vec![Ipv4Addr::new(127, 0, 0, 2)]);
    is_refused(&from(&sandbox, 1, others), &Operation::CREATE_DEVICE_SERVER).await;

    let listed = PermittedIps::Only(vec![Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)]);
    from(&sandbox, 1, listed).open_session().await.unwrap();
    from(&sandbox, 2, PermittedIps::Caller).open_session().await.expect("it is listed");
    is_refused(&from(&sandbox, 3, PermittedIps::Caller), &Operation::CREATE_DEVICE_SERVER).await;
    is_refused(&from(&sandbox, 3, PermittedIps::Any), &Operation::CREATE_DEVICE_SERVER).await;

    // The bindings are part of the state.
    let saved = sandbox.saved_state().unwrap();
    let again = Sandbox::builder().saved_state(saved).start().await.unwrap();
    from(&again, 2, PermittedIps::Caller).open_session().await.unwrap();
    is_refused(&from(&again, 3, PermittedIps::Caller), &Operation::CREATE_DEVICE_SERVER).await;
    from(&again, 1, PermittedIps::Any).open_session().await.unwrap();
    from(&again, 3, PermittedIps::Caller).open_session().await.expect("the key may be used from everywhere now");
}

/// The ids of the user and of the person, from the last session that was opened.
async fn ids(client: &Client, sandbox: &Sandbox) -> [u64; 2] {
    let (send, receive) = std::sync::mpsc::channel();
    sandbox.before_signing(move |call, response| {
        if call.path.ends_with("/session-server") {
            let _ = send.send(serde_json::from_slice::<Value>(&response.body).unwrap());
        }
    });
    client.open_session().await.unwrap();
    let response = receive.try_recv().unwrap();
    let places = ["/Response/2/UserApiKey/id", "/Response/2/UserApiKey/granted_by_user/UserPerson/id"];
    places.map(|place| response.pointer(place).unwrap().as_u64().unwrap())
}

#[tokio::test]
async fn a_user_has_the_same_id_in_every_session() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let [id, other] = sandbox.populate(2).try_into().unwrap();
    let partner = sandbox.client().build().unwrap();
    let credential = partner.provisions().get(id).await.unwrap().credential.unwrap();
    let client = partner.for_user(&credential).unwrap().build().unwrap();
    let first = ids(&client, &sandbox).await;
    client.end_session().await.unwrap();
    assert_eq!(ids(&client, &sandbox).await, first);

    let reset = partner.provisions().reset_token(id).await.unwrap().await.unwrap().credential.unwrap();
    assert_eq!(ids(&partner.for_user(&reset).unwrap().build().unwrap(), &sandbox).await, first);
    let credential = partner.provisions().get(other).await.unwrap().credential.unwrap();
    let others = ids(&partner.for_user(&credential).unwrap().build().unwrap(), &sandbox).await;
    let all = [first[0], first[1], others[0], others[1], id.get(), other.get()];
    let distinct: std::collections::HashSet<_> = all.into_iter().collect();
    assert_eq!(distinct.len(), all.len(), "no id is taken for another: {all:?}");
}

/// What the first version with objects reads of one without.
#[tokio::test]
async fn a_state_without_objects_is_read() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let id = sandbox.populate(1)[0];
    let partner = sandbox.client().build().unwrap();
    let credential = partner.provisions().get(id).await.unwrap().credential.unwrap();
    let user = partner.for_user(&credential).unwrap().build().unwrap();
    user.open_session().await.unwrap();
    let mut state: Value = serde_json::from_str(sandbox.saved_state().unwrap().expose()).unwrap();
    assert!(state.as_object_mut().unwrap().remove("objects").is_some());
    state["provisions"][0].as_object_mut().unwrap().remove("user").unwrap();
    for session in state["access"]["sessions"].as_object_mut().unwrap().values_mut() {
        if session["user"] != "Partner" {
            session["user"] = "Provisioned".into();
        }
    }
    let again = Sandbox::builder().saved_state(state.to_string().into()).start().await.unwrap();
    again.client().build().unwrap().provisions().get(id).await.unwrap();
    is_refused(&from(&again, 2, PermittedIps::Caller), &Operation::CREATE_DEVICE_SERVER).await;
}
