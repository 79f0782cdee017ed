//! The three calls that open a session: installation, device, session. The session decides when to make each of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::context::OpenSession;
use super::user::{session_timeout, user_of};
use crate::api::Api;
use crate::error::{Error, ErrorKind, Remedy};
use crate::transport::Transport;
use crate::transport::call_budget::CallBudget;
use crate::transport::credentials::{Credentials, Installation, can_be_sent};
use crate::transport::signature::{SignatureError, SigningKey, VerifyingKey};
use crate::transport::trouble::Trouble;
use crate::types::{
    DeviceDescription, DeviceServerRequest, InstallationRequest, PermittedIps, Secret, SessionServerRequest,
};

/// A session is replaced this long before it expires, or a tenth of its life before, if that is shorter.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(60);

/// Evidence that a 403 with the text for a dead token is about the caller and not about the token.
pub(super) const JUST_OPENED: &str = "the key has just opened the session";
pub(super) const ACCEPTED: &str = "bunq accepts the session in another call";

type MakeKey = dyn Fn() -> Result<SigningKey, SignatureError> + Send + Sync;

/// What makes the key of each installation.
#[derive(Clone)]
pub(crate) struct SigningKeys(pub(crate) Arc<MakeKey>);

impl Default for SigningKeys {
    fn default() -> Self {
        Self(Arc::new(SigningKey::generate))
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys(..)")
    }
}

/// Whose installation the sessions of users belong to. No source of bunq's settles which of the two it takes: see
/// [`user_installation`](crate::ClientBuilder::user_installation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum UserInstallation {
    /// Each user has an installation of its own, with a key and a device.
    #[default]
    Own,
    /// The sessions of all users are opened under the installation of the partner.
    Partner,
}

/// The device that is registered with bunq.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) api_key: Secret,
    /// Under which installation sessions are opened, if the key is the credential of a provisioned user.
    pub(crate) user_installation: Option<UserInstallation>,
    pub(crate) description: DeviceDescription,
    pub(crate) permitted_ips: PermittedIps,
    pub(crate) signing_keys: SigningKeys,
}

impl Device {
    /// Adds advice to an error if bunq does not accept the API key.
    fn advise(&self, error: Error) -> Error {
        match error.kind() {
            // Only bunq knows the key, so another's refusal says nothing about it.
            _ if !error.is_from_bunq() => error,
            ErrorKind::Unauthorized => match self.user_installation {
                Some(used) => {
                    let used = match used {
                        UserInstallation::Own => "an installation of its own",
                        UserInstallation::Partner => "the installation of the partner",
                    };
                    let advice = format!(
                        "the user's credential may have expired, or have been used with another installation, or the call \
                         comes from an address that it is not bound to, or bunq takes no user with {used}"
                    );
                    error.with_advice(&advice).with_remedy(Remedy::ResetTokenOrSetInstallation)
                }
                None => error.with_advice(
                    "the key may be wrong, or of the other environment, or the call comes from an IP address that the key is \
                     not bound to",
                ),
            },
            _ => error,
        }
    }
}

fn api(transport: &Arc<Transport>, credentials: Credentials) -> Api {
    Api::new(Arc::clone(transport), Arc::new(credentials))
}

/// Makes a key for an installation.
pub(super) async fn make_key(device: &Device) -> Result<SigningKey, Error> {
    let SigningKeys(make) = device.signing_keys.clone();
    let made = tokio::task::spawn_blocking(move || make()).await.map_err(Error::internal)?;
    made.map_err(Error::internal)
}

/// Exchanges a key for bunq's.
pub(super) async fn install(
    transport: &Arc<Transport>,
    device: &Device,
    signing_key: SigningKey,
    trouble: &Trouble,
) -> Result<Installation, Error> {
    let request = InstallationRequest::new(signing_key.public_key_pem().map_err(Error::internal)?);
    // No call before it has sent the key, but one of another client may have.
    let credentials = Credentials::default().hiding(&device.api_key);
    let response = api(transport, credentials).telling(trouble).create_installation(&request).await?;
    response.try_map(|output| {
        let token = header_value(output.token.token)?;
        let unusable = |problem| format!("the response's ServerPublicKey cannot be used: {problem}");
        let server_key = VerifyingKey::from_pem(&output.server_public_key.server_public_key).map_err(unusable)?;
        Ok(Installation { signing_key, server_key, token, received: Some(Instant::now()) })
    })
}

/// Binds the API key to the installation.
pub(super) async fn register(
    transport: &Arc<Transport>,
    device: &Device,
    credentials: Credentials,
    trouble: &Trouble,
) -> Result<(), Error> {
    let mut request = DeviceServerRequest::new(device.description.clone(), device.api_key.clone().into());
    request.permitted_ips = device.permitted_ips.clone().into();
    let response = api(transport, credentials).telling(trouble).create_device_server(&request).await;
    response.map(drop).map_err(|error| device.advise(error))
}

/// Opens a session for the API key, within the budget of the call.
pub(super) async fn open(
    transport: &Arc<Transport>,
    device: &Device,
    credentials: Credentials,
    trouble: &Trouble,
    budget: CallBudget,
) -> Result<OpenSession, Error> {
    let request = SessionServerRequest::new(device.api_key.clone().into());
    let api = api(transport, credentials).telling(trouble).until(budget);
    let response = api.create_session(&request).await;
    let response = response.map_err(|error| device.advise(error))?;
    let opened = Timestamp::now();
    response.try_map(|output| {
        let life = session_timeout(&output);
        let user = user_of(&output);
        let token = header_value(output.token.token)?;
        let renew_at = life.and_then(|life| opened.checked_add(life - RENEW_BEFORE_EXPIRY.min(life / 10)).ok());
        Ok(OpenSession { token, opened_at: Some(opened), renew_at, user })
    })
}

/// Ends the session whose credentials are given.
pub(super) async fn end(transport: &Arc<Transport>, credentials: Credentials) -> Result<(), Error> {
    delete_session(api(transport, credentials)).await
}

/// Ends the session of this very call.
pub(crate) async fn delete_session(api: Api) -> Result<(), Error> {
    /// bunq's id for the session of the call itself.
    const CURRENT_SESSION: i64 = 0;
    api.delete_session(CURRENT_SESSION).await.map(drop)
}

/// Asks bunq whether it accepts the token. `None` if that cannot be found out.
pub(super) async fn accepts(transport: &Arc<Transport>, credentials: Credentials) -> Option<bool> {
    match api(transport, credentials).get_installation().await {
        Ok(_) => Some(true),
        Err(error) => error.refuses_token().then_some(false),
    }
}

/// Refuses a token that cannot be sent back as a header.
fn header_value(token: Secret) -> Result<Secret, String> {
    if can_be_sent(&token) { Ok(token) } else { Err("the response's Token cannot be sent as a header".into()) }
}
