//! Proving who a user is: a session with the SDK of a provider is started, submitted and waited for.

mod outcome;
mod resource;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

pub use self::outcome::IdentityOutcome;
use self::resource::Processed;
use crate::api::{Api, RequestPreview};
use crate::custody::Steps;
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::feed::{Acceptance, Feed, Waiter};
use crate::operation::Operation;
use crate::reconcile::{Looked, Once, Reconciled, VerbConfig};
use crate::types::{
    CreateIdentityVerificationSessionRequest, IdentityVerificationProvider, IdentityVerificationSession,
    IdentityVerificationSessionId, IdentityVerificationSessionStatus as Status, RequestedIdentityVerificationPurpose,
    RequestedIdentityVerificationSessionStatus, Secret, UpdateIdentityVerificationSessionRequest,
};

/// What to do when nobody knows whether a session was started.
const ADVICE: (&str, Remedy) = ("bunq lists no sessions", Remedy::StartAnother);

/// What is said of a session that was started, and that bunq does not know.
const GONE: &str = "it was started before, and bunq does not know it any more";

/// Proves who a user is, with the SDK of a provider. Cheap to clone.
///
/// ```no_run
/// # async fn example(identity: bunq_partner::Identity) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::IdentityOutcome;
///
/// let mut started = identity.start().await?;
/// // The user's app gives it to the SDK. It is a secret, and is handed out here alone.
/// let token = started.take_token();
/// // When the user is done with the SDK:
/// let session = identity.submit(started.id()).await?.await?;
/// match session.outcome() {
///     Some(IdentityOutcome::Approved) => println!("the user is known"),
///     other => println!("start another session: {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Identity {
    api: Api,
    config: VerbConfig,
    steps: Steps,
    feed: Feed<IdentityVerificationSession>,
    submitting: Submitting,
}

/// Held by the call that submits a session of a user. Clones share it.
pub(crate) type Submitting = Arc<Mutex<()>>;

/// A session that was started, or adopted.
#[derive(Debug, Clone)]
pub struct StartedIdentity {
    session: IdentityVerificationSession,
    token: Option<Secret>,
    acceptance: Acceptance,
}

impl StartedIdentity {
    /// bunq's id of the session.
    pub fn id(&self) -> IdentityVerificationSessionId {
        self.session.id
    }

    /// The session as it was read, without its token.
    pub fn session(&self) -> &IdentityVerificationSession {
        &self.session
    }

    /// Whether the session was started by this call, or was there [`Already`](Acceptance::Already).
    pub fn acceptance(&self) -> Acceptance {
        self.acceptance
    }

    /// Returns the token for the SDK, once. It is `None` after that, and where bunq does not show it: a session that is submitted needs
    /// none, and bunq does not say whether it shows the token of an adopted session again.
    pub fn take_token(&mut self) -> Option<Secret> {
        self.token.take()
    }
}

impl Identity {
    pub(crate) fn new(api: Api, config: VerbConfig, steps: Steps, submitting: Submitting) -> Self {
        // Nothing nudges it, and no call tells of it.
        let feed = Feed::new(api.clone(), 1.0);
        Self { api, config, steps, feed, submitting }
    }

    /// Sets the longest time of each operation, in place of [`ClientBuilder::operation_timeout`].
    ///
    /// [`ClientBuilder::operation_timeout`]: crate::ClientBuilder::operation_timeout
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.operation_timeout(timeout), ..self }
    }

    /// Starts a session, or adopts the last one that was started here, whatever became of it: see
    /// [`outcome`](IdentityVerificationSession::outcome). To try again after a session that was not approved, call
    /// [`start_another`](Self::start_another).
    ///
    /// bunq has no list of sessions. The custody keeps that one is about to be started, before the request is sent, and its id
    /// afterwards. So a session is never started twice unnoticed, also over a crash.
    ///
    /// # Errors
    ///
    /// [`Unattainable`](ErrorKind::Unattainable) if one may have been started, and nobody knows its id: after a crash, after a response
    /// that was lost, or while another call starts it. Such an error [is doubtful](Error::is_doubtful), and nothing was sent. If the session was
    /// started and could not be read or kept, the error has its id: `error.last_seen::<IdentityVerificationSessionId>()`. One that could not be
    /// kept is doubtful too.
    /// [`NotFound`](ErrorKind::NotFound) if bunq does not know the session any more that was started before.
    pub async fn start(&self) -> Result<StartedIdentity, Error> {
        let request = verification();
        let (id, acceptance) = self.once(&request).send(|api| create(api, verification())).await?;
        let started = self.started(id, acceptance).await;
        started.map_err(|error| match error.is_gone() {
            true => error.with_advice(GONE).with_remedy(Remedy::StartAnother),
            false => error,
        })
    }

    /// Starts a session, although another was started, or may have been.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start). bunq may refuse another session while one runs.
    pub async fn start_another(&self) -> Result<StartedIdentity, Error> {
        let request = verification();
        let (id, acceptance) = self.once(&request).send_again(|api| create(api, verification())).await?;
        self.started(id, acceptance).await
    }

    /// Takes over a session of the user whose id is known, so that [`start`](Self::start) returns it from now on.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if the user has no such session.
    pub async fn adopt(&self, id: IdentityVerificationSessionId) -> Result<StartedIdentity, Error> {
        let started = self.started(id, Acceptance::Already).await?;
        self.steps.done(&Operation::CREATE_IDENTITY_VERIFICATION_SESSION, &verification(), id.get()).await?;
        Ok(started)
    }

    /// Tells bunq that the user is done with the SDK, and returns the waiter for the result.
    ///
    /// The session is read first, and after a failure. It is submitted only if it is `CREATED`; if it was submitted before, the result is
    /// the waiter, which says so ([`Already`](Acceptance::Already)). The custody keeps that the request is about to be sent: after a failure
    /// in doubt, also over a crash, it is sent again only when the first one cannot [arrive any more](crate::ClientBuilder::late_arrival).
    ///
    /// # Errors
    ///
    /// [`Unattainable`](ErrorKind::Unattainable) if bunq shows a status that this version does not know. If the error
    /// [is doubtful](Error::is_doubtful), the outcome is unknown; to call this again does no harm.
    pub async fn submit(
        &self,
        id: IdentityVerificationSessionId,
    ) -> Result<Waiter<IdentityVerificationSession>, Error> {
        let budget = self.api.budget();
        let problem = "another call submits a session of this user, and takes longer than this one may";
        let _alone = budget.lock(&self.submitting, problem).await?;
        let send = |api: Api| async move {
            let response = api.update_identity_verification_session(id, &submission()).await?;
            Ok(response.response_id().map(str::to_owned))
        };
        let look = |api: Api| async move {
            is_submitted(&self.feed.over(api).read(id).await?).map(|is_submitted| is_submitted.then_some(None))
        };
        let looked = Looked {
            api: &self.api,
            steps: &self.steps,
            config: self.config,
            budget,
            operation: &Operation::UPDATE_IDENTITY_VERIFICATION_SESSION,
            request: &id,
            id: id.get(),
            looks_first: true,
        };
        let Reconciled { done: response_id, acceptance, .. } = looked.send(send, look, |_| true).await?;
        Ok(self.waiter(id, acceptance).accepted_in(response_id))
    }

    /// Returns the request with which [`start`](Self::start) starts a session, to be looked at. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`Internal`](ErrorKind::Internal) if it cannot be built.
    pub fn preview_start(&self) -> Result<RequestPreview, Error> {
        self.api.preview_of(|api| create(api, verification()))
    }

    /// Returns the request that [`submit`](Self::submit) sends, to be looked at. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`Internal`](ErrorKind::Internal) if it cannot be built.
    pub fn preview_submit(&self, id: IdentityVerificationSessionId) -> Result<RequestPreview, Error> {
        self.api.preview_of(|api| async move { api.update_identity_verification_session(id, &submission()).await })
    }

    /// Waits for the result of a session, without submitting it.
    pub fn wait_until_processed(&self, id: IdentityVerificationSessionId) -> Waiter<IdentityVerificationSession> {
        self.waiter(id, Acceptance::NotRequested)
    }

    fn waiter(&self, id: IdentityVerificationSessionId, acceptance: Acceptance) -> Waiter<IdentityVerificationSession> {
        Waiter::new(self.feed.clone(), id, Processed, acceptance, self.config.poll_interval)
    }

    fn once<'a>(
        &'a self,
        request: &'a CreateIdentityVerificationSessionRequest,
    ) -> Once<'a, CreateIdentityVerificationSessionRequest> {
        let operation = &Operation::CREATE_IDENTITY_VERIFICATION_SESSION;
        Once { api: &self.api, steps: &self.steps, operation, request, advice: ADVICE }
    }

    /// Reads a session whose id is known.
    async fn started(
        &self,
        id: IdentityVerificationSessionId,
        acceptance: Acceptance,
    ) -> Result<StartedIdentity, Error> {
        let read = self.api.get_identity_verification_session(id).await;
        let mut session = read.map_err(|error| error.with_last_seen(Arc::new(id)))?.into_inner();
        let token = session.token.take();
        Ok(StartedIdentity { session, token, acceptance })
    }
}

fn verification() -> CreateIdentityVerificationSessionRequest {
    let purpose = RequestedIdentityVerificationPurpose::Verification;
    CreateIdentityVerificationSessionRequest::new(IdentityVerificationProvider::Incode, purpose)
}

fn submission() -> UpdateIdentityVerificationSessionRequest {
    UpdateIdentityVerificationSessionRequest::new(RequestedIdentityVerificationSessionStatus::Submitted)
}

async fn create(
    api: Api,
    request: CreateIdentityVerificationSessionRequest,
) -> Result<IdentityVerificationSessionId, Error> {
    Ok(api.create_identity_verification_session(&request).await?.into_inner())
}

/// Whether a session was submitted.
fn is_submitted(seen: &IdentityVerificationSession) -> Result<bool, Error> {
    match &seen.status {
        Status::Created => Ok(false),
        Status::Submitted | Status::Processed => Ok(true),
        Status::Unknown(_) if seen.result.is_some() => Ok(true),
        Status::Unknown(status) => {
            let problem = format_args!("session {} is {status}: only one that is CREATED is submitted", seen.id);
            Err(Error::new(ErrorKind::Unattainable, Sent::Responded, problem))
        }
    }
}
