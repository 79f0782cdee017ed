//! The way to a session: installation, device, session, each when it is needed and no more often.
//!
//! One task at a time walks it, however many ask; the others wait and share what it brings, success or failure.
//! Among processes that share a context, one at a time walks it too. It is walked to the end even if the call that set
//! it off is given up, so that no session is opened in vain. A session that has run out or was refused is replaced by
//! a new session alone: the installation and the device stay. Where the context is kept is [`context`](crate::context)'s
//! affair, how the three calls travel the pipeline's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderValue;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::call::{Answer, call_with};
use crate::context::{Context, Installation, Keeper, Lease, OpenSession};
use crate::device::Device;
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::pipeline::Pipeline;
use crate::secret::Secret;
use crate::signature::{SigningKey, VerifyingKey};
use crate::types::{
    DeviceServerRequest, IdResponse, InstallationRequest, InstallationResponse, SessionServerItem,
    SessionServerRequest, SessionServerResponse, UserReference,
};

/// A session is replaced this long before it runs out, or a tenth of its life before if that is less.
const RENEW_BEFORE_END: Duration = Duration::from_secs(60);

/// bunq's number for "the session that this call is made with".
const CURRENT_SESSION: i64 = 0;

/// What a call is made with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    /// Whose key signs the request and whose key the answer is verified with; none before there is one.
    pub(crate) installation: Option<Arc<Installation>>,
    pub(crate) token: Option<Secret>,
}

impl Access {
    fn of_installation(installation: &Arc<Installation>) -> Self {
        Self { installation: Some(Arc::clone(installation)), token: Some(installation.token.clone()) }
    }
}

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    device: Device,
    keeper: Keeper,
    state: Arc<Mutex<State>>,
}

/// What an opening comes to; nothing while it is under way.
type Outcome = Option<Result<Access, Error>>;

#[derive(Debug, Default)]
struct State {
    context: Option<Context>,
    /// The opening that is under way, for all who wait for it. They share what it brings, and none of them holds a
    /// lock: a future that is not polled keeps nobody else waiting.
    opening: Option<watch::Receiver<Outcome>>,
}

impl State {
    /// The open session's access, unless its time is up or its token is the one that bunq has `refused`.
    fn access(&self, refused: Option<&Secret>) -> Option<Access> {
        let context = self.context.as_ref()?;
        let session = context.session.as_ref()?;
        let over = session.renew_at.is_some_and(|renew_at| renew_at <= Timestamp::now());
        let live = !over && refused != Some(&session.token);
        live.then(|| context.access(session))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    fn access(&self, session: &OpenSession) -> Access {
        Access { installation: Some(Arc::clone(&self.installation)), token: Some(session.token.clone()) }
    }
}

impl Session {
    pub(crate) fn new(device: Device, keeper: Keeper) -> Self {
        Self { device, keeper, state: Arc::default() }
    }

    /// The session's access; a session is opened if there is none, or if `refused` is the token of the one there is.
    pub(crate) async fn access(&self, pipeline: &Arc<Pipeline>, refused: Option<&Secret>) -> Result<Access, Error> {
        let (mut outcome, begun) = {
            let mut state = lock(&self.state);
            if let Some(access) = state.access(refused) {
                return Ok(access);
            }
            match &state.opening {
                Some(opening) => (opening.clone(), None),
                None => {
                    let (tell, outcome) = watch::channel(None);
                    state.opening = Some(outcome.clone());
                    (outcome, Some(Opening { state: Arc::clone(&self.state), tell }))
                }
            }
        };
        if let Some(opening) = begun {
            tokio::spawn(opening.open(Arc::clone(pipeline), refused.cloned()).in_current_span());
        }
        match outcome.wait_for(Outcome::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(Error::internal("the way to a session was cut short")),
        }
    }

    /// Ends the open session at bunq, if there is one; to its end, even if nobody waits for it any more.
    pub(crate) async fn end(&self, pipeline: &Arc<Pipeline>) -> Result<(), Error> {
        let ending = tokio::spawn(end(Arc::clone(pipeline)).in_current_span()).await;
        ending.map_err(|error| Error::internal("the end of the session was cut short").caused_by(error))?
    }
}

/// Boxed, because the calls in it go through the pipeline, which awaits it.
type Way<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// An opening under way. Whatever becomes of it, another can begin when it is over.
struct Opening {
    state: Arc<Mutex<State>>,
    tell: watch::Sender<Outcome>,
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        // Another may have begun since this one was over: that one is not to be forgotten.
        if state.opening.as_ref().is_some_and(|opening| opening.same_channel(&self.tell.subscribe())) {
            state.opening = None;
        }
    }
}

impl Opening {
    /// Opens a session to the end, even if the call that set it off is given up, and tells all who wait.
    async fn open(self, pipeline: Arc<Pipeline>, refused: Option<Secret>) {
        let outcome = open(Arc::clone(&pipeline), refused).await;
        // Before the news of it: whoever has used what it brought, and was refused, begins another.
        lock(&self.state).opening = None;
        self.tell.send_replace(Some(outcome));
    }
}

fn open(pipeline: Arc<Pipeline>, refused: Option<Secret>) -> Way<Access> {
    Box::pin(async move {
        let Session { keeper, state, .. } = pipeline.session();
        let take_over = |kept: Option<Context>| {
            let mut state = lock(state);
            if kept.is_some() {
                state.context = kept;
            }
            state.access(refused.as_ref())
        };
        if lock(state).context.is_none() {
            // A session that is still good needs no lock.
            if let Some(access) = take_over(keeper.load().await?) {
                return Ok(access);
            }
        }
        let lease = keeper.lock(pipeline.bounds().call_timeout).await?;
        // Another process may have been here meanwhile.
        if let Some(access) = take_over(lease.load().await?) {
            return Ok(access);
        }
        let known = lock(state).context.clone();
        let opened = advance(&pipeline, known, &lease).await;
        if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unauthorized && error.is_bunqs_own()) {
            // Should bunq have forgotten the installation, the store is the place to remove it from: the next opening
            // goes by what is there then.
            lock(state).context = None;
        }
        opened
    })
}

/// Walks what is left of the way to a session. Each step is kept as soon as it is done.
async fn advance(pipeline: &Arc<Pipeline>, known: Option<Context>, lease: &Lease) -> Result<Access, Error> {
    let Session { device, state, .. } = pipeline.session();
    let keep = async |context: &Context| {
        lock(state).context = Some(context.clone());
        lease.save(context).await
    };
    let mut context = match known {
        Some(context) => Context { session: None, ..context },
        None => {
            let installation = Arc::new(install(pipeline).await?);
            let context = Context { installation, device_registered: false, session: None };
            keep(&context).await?;
            context
        }
    };
    let access = Access::of_installation(&context.installation);
    if !context.device_registered {
        register(pipeline, device, access.clone()).await?;
        context.device_registered = true;
        keep(&context).await?;
    }
    let session = open_session(pipeline, device, access).await?;
    tracing::info!(renew_at = ?session.renew_at.map(|at| at.to_string()), "a session is open");
    let access = context.access(&session);
    context.session = Some(session);
    keep(&context).await?;
    Ok(access)
}

fn end(pipeline: Arc<Pipeline>) -> Way<()> {
    Box::pin(async move {
        let Session { keeper, state, .. } = pipeline.session();
        // Whoever opens a session holds the lease too.
        let lease = keeper.lock(pipeline.bounds().call_timeout).await?;
        let kept = lease.load().await?;
        let Some(mut context) = kept.or_else(|| lock(state).context.clone()) else { return Ok(()) };
        let Some(session) = context.session.take() else { return Ok(()) };
        let access = context.access(&session);
        let ended = call_with(&pipeline, &Operation::DELETE_SESSION, access, async |api| {
            api.delete_session(CURRENT_SESSION).await
        })
        .await;
        match ended {
            Err(error) if error.kind() != ErrorKind::Unauthorized || !error.is_bunqs_own() => Err(error),
            _ => {
                lock(state).context = Some(context.clone());
                lease.save(&context).await
            }
        }
    })
}

async fn install(pipeline: &Arc<Pipeline>) -> Result<Installation, Error> {
    let signing_key = tokio::task::spawn_blocking(SigningKey::generate).await.map_err(Error::internal)?;
    let signing_key = signing_key.map_err(Error::internal)?;
    let request = InstallationRequest { client_public_key: signing_key.public_key_pem().map_err(Error::internal)? };
    let answer: Answer<InstallationResponse> =
        call_with(pipeline, &Operation::CREATE_INSTALLATION, Access::default(), async |api| {
            api.create_installation(&request).await
        })
        .await?;
    answer.take(|answer| {
        let (mut token, mut server_key) = (None, None);
        for item in answer.response {
            token = token.or(item.token);
            server_key = server_key.or(item.server_public_key);
        }
        let token = usable(token.ok_or("the answer holds no Token")?.token)?;
        let server_key = server_key.ok_or("the answer holds no ServerPublicKey")?;
        let server_key = VerifyingKey::from_pem(&server_key.server_public_key).map_err(|error| error.to_string())?;
        Ok(Installation { signing_key, server_key, token })
    })
}

async fn register(pipeline: &Arc<Pipeline>, device: &Device, access: Access) -> Result<(), Error> {
    let request = DeviceServerRequest {
        description: device.description.clone(),
        secret: device.api_key.clone(),
        permitted_ips: device.permitted_ips.clone().into(),
    };
    let answer: Answer<IdResponse> = call_with(pipeline, &Operation::CREATE_DEVICE_SERVER, access, async |api| {
        api.create_device_server(&request).await
    })
    .await?;
    answer.take(|answer| match answer.response.into_iter().find_map(|item| item.id) {
        Some(_) => Ok(()),
        None => Err("the answer holds no Id".into()),
    })
}

async fn open_session(pipeline: &Arc<Pipeline>, device: &Device, access: Access) -> Result<OpenSession, Error> {
    let request = SessionServerRequest { secret: device.api_key.clone() };
    let answer: Answer<SessionServerResponse> =
        call_with(pipeline, &Operation::CREATE_SESSION, access, async |api| api.create_session(&request).await).await?;
    let opened = Timestamp::now();
    answer.take(|answer| {
        let (mut token, mut life) = (None, None);
        for item in answer.response {
            life = life.or(session_timeout(&item));
            token = token.or(item.token);
        }
        let token = usable(token.ok_or("the answer holds no Token")?.token)?;
        let renew_at = life.and_then(|life| opened.checked_add(life - RENEW_BEFORE_END.min(life / 10)).ok());
        Ok(OpenSession { token, renew_at })
    })
}

/// A token that can be sent back.
fn usable(token: Secret) -> Result<Secret, String> {
    match HeaderValue::from_str(token.expose()) {
        Ok(value) if !value.is_empty() => Ok(token),
        _ => Err("the answer's Token is not fit for a header".into()),
    }
}

/// How long the session lasts, which stands with whichever kind of user it is for; the shortest if there are several.
fn session_timeout(item: &SessionServerItem) -> Option<Duration> {
    let key = item.user_api_key.as_ref();
    let own = [&item.user_company, &item.user_person, &item.user_payment_service_provider];
    let of = |user: &UserReference| {
        [&user.user_company, &user.user_person, &user.user_payment_service_provider]
            .map(|user| user.as_ref().and_then(|user| user.session_timeout))
    };
    let requested = key.and_then(|key| key.requested_by_user.as_ref()).map(of);
    let granted = key.and_then(|key| key.granted_by_user.as_ref()).map(of);
    let own = own.map(|user| user.as_ref().and_then(|user| user.session_timeout));
    let told = own.into_iter().chain(requested.into_iter().flatten()).chain(granted.into_iter().flatten());
    told.flatten().filter_map(|seconds| u64::try_from(seconds).ok()).min().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_session_stands_with_whichever_user_it_is_for() {
        for (item, seconds) in [
            (r#"{"UserCompany": {"session_timeout": 7}}"#, Some(7)),
            (r#"{"UserPerson": {"id": 1, "session_timeout": 7}}"#, Some(7)),
            (r#"{"UserPaymentServiceProvider": {"session_timeout": 7}}"#, Some(7)),
            (r#"{"UserApiKey": {"requested_by_user": {"UserCompany": {"session_timeout": 7}}}}"#, Some(7)),
            (r#"{"UserApiKey": {"granted_by_user": {"UserPerson": {"session_timeout": 7}}}}"#, Some(7)),
            (
                r#"{"UserApiKey": {"requested_by_user": {"UserCompany": {"session_timeout": 9}},
                                   "granted_by_user": {"UserPerson": {"session_timeout": 7}}}}"#,
                Some(7),
            ),
            (r#"{"UserCompany": {"session_timeout": -1}}"#, None),
            (r#"{"UserCompany": {}}"#, None),
            (r#"{"Id": {"id": 1}}"#, None),
        ] {
            let item: SessionServerItem = serde_json::from_str(item).unwrap();
            assert_eq!(session_timeout(&item), seconds.map(Duration::from_secs), "{item:?}");
        }
    }
}
