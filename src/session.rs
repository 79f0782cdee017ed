//! The way to a session: installation, device, session, each when it is needed and no more often.
//!
//! One task at a time walks it, however many ask; the others wait and share what it brings, success or failure.
//! It is walked to the end even if the call that set it off is given up, so that no session is opened in vain. A
//! session that has run out or was refused is replaced by a new session alone: the installation and the device
//! stay. How its three calls travel is the pipeline's.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::call::{Answer, call};
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::pipeline::{Credentials, Pipeline};
use crate::secret::Secret;
use crate::signature::{SigningKey, VerifyingKey};
use crate::types::{
    DeviceServerRequest, InstallationRequest, InstallationResponse, SessionServerItem, SessionServerRequest,
    SessionServerResponse,
};

/// A session is replaced this long before it runs out, or a tenth of its life before if that is less.
const RENEW_BEFORE_END: Duration = Duration::from_secs(60);

/// What a call is made with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    /// Whose key signs the request and whose key the answer is verified with; none before there is one.
    pub(crate) installation: Option<Arc<Installation>>,
    pub(crate) token: Option<Secret>,
}

/// The keys that this client and bunq have exchanged, and the token for the calls that make a session.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) signing_key: SigningKey,
    pub(crate) server_key: VerifyingKey,
    token: Secret,
}

/// What the device is registered as.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) api_key: Secret,
    pub(crate) description: String,
    pub(crate) permitted_ips: PermittedIps,
}

/// From where an API key may be used, as told to bunq when the device is registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PermittedIps {
    /// From the address that registers it alone, which is what bunq does unless told otherwise.
    #[default]
    Caller,
    /// From these addresses. bunq knows no IPv6 here.
    Only(Vec<Ipv4Addr>),
    /// From anywhere.
    Any,
}

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    device: Device,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    installation: Option<Arc<Installation>>,
    device_registered: bool,
    open: Option<Open>,
    /// The last failure to open a session, for those who were already waiting for it.
    failure: Option<(Instant, Error)>,
}

#[derive(Debug)]
struct Open {
    token: Secret,
    renew_at: Option<Instant>,
}

impl State {
    /// The open session's access, unless its time is up or its token is the one that bunq has `refused`.
    fn access(&self, refused: Option<&Secret>) -> Option<Access> {
        let open = self.open.as_ref()?;
        let over = open.renew_at.is_some_and(|renew_at| renew_at <= Instant::now());
        let live = !over && refused != Some(&open.token);
        live.then(|| Access { installation: self.installation.clone(), token: Some(open.token.clone()) })
    }
}

impl Session {
    pub(crate) fn new(device: Device) -> Self {
        Self { device, state: Arc::default() }
    }

    /// The session's access; a session is opened if there is none, or if `refused` is the token of the one there is.
    pub(crate) async fn access(&self, pipeline: &Arc<Pipeline>, refused: Option<&Secret>) -> Result<Access, Error> {
        let asked = Instant::now();
        let state = Arc::clone(&self.state).lock_owned().await;
        if let Some(access) = state.access(refused) {
            return Ok(access);
        }
        if let Some((at, error)) = &state.failure
            && *at >= asked
        {
            return Err(error.clone());
        }
        let opening = tokio::spawn(open(Arc::clone(pipeline), state));
        opening.await.map_err(|error| {
            Error::new(ErrorKind::Connection, Sent::Maybe, "the opening of a session was cut short").caused_by(error)
        })?
    }

    /// Takes the open session away, so that no further call uses it.
    pub(crate) async fn take(&self) -> Option<Access> {
        let mut state = self.state.lock().await;
        let access = state.access(None);
        state.open = None;
        access
    }
}

/// Opens a session while `state` is held. Boxed because the calls in here go through the pipeline, which awaits it.
fn open(
    pipeline: Arc<Pipeline>,
    mut state: OwnedMutexGuard<State>,
) -> Pin<Box<dyn Future<Output = Result<Access, Error>> + Send>> {
    Box::pin(async move {
        let result = advance(&pipeline, &mut state).await;
        state.failure = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
        result
    })
}

/// Walks what is left of the way to a session. Each step is kept as soon as it is done.
async fn advance(pipeline: &Arc<Pipeline>, state: &mut State) -> Result<Access, Error> {
    state.open = None;
    let device = &pipeline.session().device;
    let installation = match &state.installation {
        Some(installation) => Arc::clone(installation),
        None => Arc::clone(state.installation.insert(Arc::new(install(pipeline).await?))),
    };
    let access = Access { installation: Some(Arc::clone(&installation)), token: Some(installation.token.clone()) };
    if !state.device_registered {
        register(pipeline, device, access.clone()).await?;
        state.device_registered = true;
    }
    let open = state.open.insert(open_session(pipeline, device, access).await?);
    Ok(Access { installation: Some(installation), token: Some(open.token.clone()) })
}

async fn install(pipeline: &Arc<Pipeline>) -> Result<Installation, Error> {
    let own = |error| Error::invalid_input("signing key", error);
    let signing_key = tokio::task::spawn_blocking(SigningKey::generate)
        .await
        .map_err(|error| Error::invalid_input("signing key", error))?
        .map_err(own)?;
    let request = InstallationRequest { client_public_key: signing_key.public_key_pem().map_err(own)? };
    let credentials = Credentials::Given(Access::default());
    let answer: Answer<InstallationResponse> =
        call(pipeline, &Operation::CREATE_INSTALLATION, credentials, async |api| {
            api.create_installation(&request).await
        })
        .await?;
    answer.take(|answer| {
        let (mut token, mut server_key) = (None, None);
        for item in answer.response {
            token = token.or(item.token);
            server_key = server_key.or(item.server_public_key);
        }
        let token = token.ok_or("the answer holds no Token")?.token;
        let server_key = server_key.ok_or("the answer holds no ServerPublicKey")?;
        let server_key = VerifyingKey::from_pem(&server_key.server_public_key).map_err(|error| error.to_string())?;
        Ok(Installation { signing_key, server_key, token })
    })
}

async fn register(pipeline: &Arc<Pipeline>, device: &Device, access: Access) -> Result<(), Error> {
    let request = DeviceServerRequest {
        description: device.description.clone(),
        secret: device.api_key.clone(),
        permitted_ips: match &device.permitted_ips {
            PermittedIps::Caller => Vec::new(),
            PermittedIps::Only(addresses) => addresses.iter().map(ToString::to_string).collect(),
            PermittedIps::Any => vec!["*".to_string()],
        },
    };
    call(pipeline, &Operation::CREATE_DEVICE_SERVER, Credentials::Given(access), async |api| {
        api.create_device_server(&request).await
    })
    .await
    .map(drop)
}

async fn open_session(pipeline: &Arc<Pipeline>, device: &Device, access: Access) -> Result<Open, Error> {
    let request = SessionServerRequest { secret: device.api_key.clone() };
    let answer: Answer<SessionServerResponse> =
        call(pipeline, &Operation::CREATE_SESSION, Credentials::Given(access), async |api| {
            api.create_session(&request).await
        })
        .await?;
    let opened = Instant::now();
    answer.take(|answer| {
        let (mut token, mut life) = (None, None);
        for item in answer.response {
            life = life.or(session_timeout(&item));
            token = token.or(item.token);
        }
        let token = token.ok_or("the answer holds no Token")?.token;
        let renew_at = life.and_then(|life| opened.checked_add(life - RENEW_BEFORE_END.min(life / 10)));
        Ok(Open { token, renew_at })
    })
}

/// How long the session lasts, which stands with whichever kind of user it is for.
fn session_timeout(item: &SessionServerItem) -> Option<Duration> {
    let users = [&item.user_company, &item.user_person, &item.user_payment_service_provider];
    let own = users.into_iter().flatten().find_map(|user| user.session_timeout);
    let granted = item.user_api_key.as_ref().and_then(|key| {
        let by = key.requested_by_user.as_ref()?;
        [&by.user_company, &by.user_person, &by.user_payment_service_provider]
            .into_iter()
            .flatten()
            .find_map(|user| user.session_timeout)
    });
    own.or(granted).and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
}
