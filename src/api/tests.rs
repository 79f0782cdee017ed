//! The calls that the client makes by itself, as they are on the wire: a snapshot for each. Those of all others are in
//! tests/transport/wire.rs.

#[path = "../../tests/common/document.rs"]
mod document;
#[path = "../../tests/common/recorded.rs"]
mod recorded;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bunq_partner_sandbox::Sandbox;

use self::recorded::Wire;
use super::{Api, Response};
use crate::client::Client;
use crate::environment::Environment;
use crate::error::Error;
use crate::transport::credentials::{BoxFuture, Credentials, Installation, ProvideCredentials, Renewal};
use crate::transport::signature::{SigningKey, VerifyingKey};
use crate::transport::trouble::Trouble;
use crate::types::{DeviceServerRequest, InstallationRequest, PermittedIp, Secret, SessionServerRequest};

/// A client for the sandbox, whose types are those of another copy of this crate.
fn client(sandbox: &Sandbox) -> Client {
    let builder = Client::builder(Environment::Sandbox).without_rate_limits();
    builder.base_url(sandbox.base_url()).api_key(api_key(sandbox)).build().unwrap()
}

fn api_key(sandbox: &Sandbox) -> Secret {
    sandbox.api_key().expose().into()
}

fn api(sandbox: &Sandbox, credentials: Credentials) -> Api {
    Api { source: Arc::new(credentials), ..client(sandbox).api() }
}

/// The result of a call as it is recorded.
async fn shown<T: Debug>(call: impl Future<Output = Result<Response<T>, Error>>) -> String {
    format!("{:#?}", call.await.unwrap().into_inner())
}

#[tokio::test]
async fn from_nothing_to_a_session_and_back() {
    test_timeout::start();
    let examples = document::document()["components"]["examples"].clone();
    let example = |name: &str| format!("{:#}", examples[name]["value"]).into_bytes();
    let sandbox = Sandbox::start().await.unwrap();
    let wire = Wire { sandbox: sandbox.clone() };

    let signing_key = SigningKey::generate().unwrap();
    let request = InstallationRequest::new(signing_key.public_key_pem().unwrap());
    let unknown = api(&sandbox, Credentials::default());
    let call = shown(unknown.create_installation(&request));
    wire.record("create_installation", example("InstallationResponse"), call).await;
    let output = unknown.create_installation(&request).await.unwrap().into_inner();
    let server_key = VerifyingKey::from_pem(&output.server_public_key.server_public_key).unwrap();
    let installation = Arc::new(Installation { signing_key, server_key, token: output.token.token, received: None });

    let installed = api(&sandbox, Credentials::of_installation(&installation));
    let mut request = DeviceServerRequest::new("till 7".parse().unwrap(), api_key(&sandbox).into());
    request.permitted_ips = vec![PermittedIp::Any];
    let call = shown(installed.create_device_server(&request));
    wire.record("create_device_server", example("DeviceServerResponse"), call).await;
    let request = SessionServerRequest::new(api_key(&sandbox).into());
    let call = shown(installed.create_session(&request));
    wire.record("create_session", example("SessionServerResponseCompany"), call).await;

    let client = client(&sandbox);
    client.open_session().await.unwrap();
    wire.record("delete_session", example("EmptyResponse"), shown(client.api().delete_session(0))).await;
}

/// A source that provides a dead token first.
#[derive(Debug)]
struct Renewing {
    good: Credentials,
    refused: Mutex<Vec<Secret>>,
}

impl ProvideCredentials for Renewing {
    fn credentials<'a>(&'a self, _with_user: bool, _trouble: &'a Trouble) -> BoxFuture<'a, Result<Credentials, Error>> {
        let mut credentials = self.good.clone();
        if self.refused.lock().unwrap().is_empty() {
            credentials.token = Some("dead".into());
        }
        Box::pin(async { Ok(credentials) })
    }

    fn refuse<'a>(
        &'a self,
        credentials: &'a Credentials,
        refusal: &'a Error,
        is_again: bool,
    ) -> BoxFuture<'a, Renewal> {
        assert!(!is_again);
        assert!(refusal.refuses_token());
        self.refused.lock().unwrap().extend(credentials.token.clone());
        Box::pin(async { Renewal::Renewed })
    }

    fn reread<'a>(&'a self, _credentials: &'a Credentials) -> BoxFuture<'a, bool> {
        unreachable!("the other token is accepted")
    }
}

/// The transport asks for credentials and knows no session.
#[tokio::test]
async fn a_call_is_made_with_any_source_of_credentials() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = client(&sandbox);
    let good = client.api().source.credentials(false, &Trouble::default()).await.unwrap();
    let source = Arc::new(Renewing { good, refused: Mutex::default() });
    let before = sandbox.call_log().len();
    let api = Api { source: source.clone(), ..client.api() };
    api.get_installation().await.unwrap();
    assert_eq!(*source.refused.lock().unwrap(), [Secret::from("dead")]);
    assert_eq!(sandbox.call_log().len(), before + 2);
}
