//! What happens to one call between the generated client and the wire, in this order:
//!
//! 1. take the token that the operation asks for, opening a session if there is none;
//! 2. wait for a place within bunq's rate limit;
//! 3. put the headers on, with a request id of its own, and take off what the generator added;
//! 4. sign the very bytes that will be sent;
//! 5. send;
//! 6. read the whole answer, up to a bound;
//! 7. verify bunq's signature over the very bytes that came;
//! 8. a 401 on the session's token: renew the session once and go again from 1;
//! 9. another failure: ask `retry`, and go again from 1 after the pause that it names;
//! 10. hand the answer back.
//!
//! The call's deadline bounds it all. The pipeline decides nothing about what an answer means. For the operations that
//! make a session it is given the token and never asks the session for one, which keeps the two from going round in a
//! circle.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use progenitor_client::{ClientHooks, ClientInfo, OperationInfo};
use reqwest::{Request, Response, StatusCode, Url};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument, Span, field};

use crate::api;
use crate::drift::Novelty;
use crate::error::{Error, ErrorKind, Facts, Sent};
use crate::exchange;
use crate::operation::{Auth, Operation};
use crate::rate_limit::{Place, RateLimits, Told, named_limit};
use crate::retry::{self, Decision, Failure, RetryPolicy};
use crate::session::{Access, Session};

/// The longest pause that is kept: as bunq asks for it, and as anybody else may.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
const LONGEST_FOREIGN_PAUSE: Duration = Duration::from_secs(60);

/// A try gets at least this long, or a tenth of the call's time if that is less.
const LEAST_TRY: Duration = Duration::from_secs(1);

/// How many values that the document does not know are remembered as reported.
const MAX_REPORTED: usize = 1000;

/// How long, how often and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) connect_timeout: Duration,
    pub(crate) try_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_answer: usize,
    pub(crate) retry: RetryPolicy,
}

impl Bounds {
    /// What a try gets at least.
    pub(crate) fn least_try(&self) -> Duration {
        (self.call_timeout / 10).min(LEAST_TRY)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            try_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(120),
            max_answer: 16 * 1024 * 1024,
            retry: RetryPolicy::default(),
        }
    }
}

/// What all calls of one client share.
#[derive(Debug)]
pub(crate) struct Pipeline {
    http: reqwest::Client,
    base_url: String,
    /// The host in the base URL.
    host: String,
    limits: Arc<RateLimits>,
    bounds: Bounds,
    session: Session,
    /// The values that the document does not know and that have been reported.
    reported: Mutex<HashSet<Novelty>>,
}

impl Pipeline {
    pub(crate) fn new(
        http: reqwest::Client,
        base_url: String,
        limits: Arc<RateLimits>,
        bounds: Bounds,
        session: Session,
    ) -> Self {
        let host = Url::parse(&base_url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        Self { http, base_url, host, limits, bounds, session, reported: Mutex::default() }
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) fn limits(&self) -> &Arc<RateLimits> {
        &self.limits
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// By when a call that begins now is to be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.bounds.call_timeout
    }

    /// By when a try has to begin that is to be over by `deadline`: one that is sure to be cut short would only raise
    /// doubt.
    pub(crate) fn send_by(&self, deadline: Instant) -> Instant {
        deadline.checked_sub(self.bounds.least_try()).unwrap_or(deadline)
    }

    /// Reports values that the document does not know, each once.
    pub(crate) fn report(&self, novelties: Vec<Novelty>) {
        for novelty in novelties {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.len() < MAX_REPORTED && !reported.contains(&novelty) {
                let (schema, value) = &novelty;
                tracing::warn!(schema, value, "bunq sent a value that this version does not know");
                reported.insert(novelty);
            }
        }
    }
}

/// Where a call takes its token from.
#[derive(Debug)]
pub(crate) enum Credentials {
    /// From whoever makes the call.
    Given(Access),
    /// From the session, which is opened or renewed as needed.
    Session,
}

/// One call on its way, and what came of it.
#[derive(Debug)]
pub(crate) struct Call {
    pipeline: Arc<Pipeline>,
    operation: &'static Operation,
    credentials: Credentials,
    deadline: Instant,
    outcome: OnceLock<Result<Facts, Error>>,
}

impl Call {
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        operation: &'static Operation,
        credentials: Credentials,
        deadline: Instant,
    ) -> Self {
        Self { pipeline, operation, credentials, deadline, outcome: OnceLock::new() }
    }

    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    pub(crate) fn operation(&self) -> &'static Operation {
        self.operation
    }

    /// What came of the call; nothing if no request was made.
    pub(crate) fn outcome(&self) -> Option<Result<Facts, Error>> {
        self.outcome.get().cloned()
    }

    async fn run(&self, request: Request) -> Result<(Facts, Bytes), Error> {
        let mut attempts = 0;
        let mut refused: Option<Access> = None;
        loop {
            let access = self.access(refused.as_ref()).await?;
            self.in_time(attempts)?;
            let place = self.place(attempts).await?;
            // A future that was not polled for long wakes up late.
            self.in_time(attempts)?;
            attempts += 1;
            let error = match self.attempt(&request, &access, place, attempts).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            // A signed 401 is bunq's word that it has not done it; any other proves nothing.
            let again = error.is_signed() || self.operation.is_repeatable();
            if error.kind() == ErrorKind::Unauthorized && self.is_of_session() && refused.is_none() && again {
                tracing::info!("bunq does not accept the session any more: it is renewed");
                refused = Some(access);
                continue;
            }
            let failure = Failure::of(&error, self.operation.is_repeatable(), attempts);
            let left = self.send_by().saturating_duration_since(Instant::now());
            match retry::decide(&failure, &self.pipeline.bounds.retry, left, fastrand::f64()) {
                Decision::Stop => return Err(error),
                Decision::After(pause) => {
                    tracing::info!(kind = ?error.kind(), attempts, pause_ms = pause.as_millis(), "the call is tried again");
                    sleep(pause).await;
                }
            }
        }
    }

    fn is_of_session(&self) -> bool {
        matches!(self.credentials, Credentials::Session)
    }

    async fn access(&self, refused: Option<&Access>) -> Result<Access, Error> {
        let access = match &self.credentials {
            Credentials::Given(access) => access.clone(),
            Credentials::Session => {
                let refused = refused.and_then(|access| access.token.as_ref());
                let opening = self.pipeline.session.access(&self.pipeline, refused);
                match timeout_at(self.send_by(), opening).await {
                    Ok(access) => access.map_err(Error::before_sending)?,
                    Err(_) => return Err(self.late("the session was not open in time", 0)),
                }
            }
        };
        let fits = match self.operation.auth {
            Auth::None => access.token.is_none(),
            Auth::Installation | Auth::Session => access.token.is_some() && access.installation.is_some(),
        };
        if fits { Ok(access) } else { Err(Error::internal("the call is made with another token than it takes")) }
    }

    async fn place(&self, attempts: u32) -> Result<Option<Place>, Error> {
        self.pipeline.limits.place(self.operation, self.send_by()).await.map_err(|wait| {
            let message =
                format_args!("bunq's rate limit has no place for the call for another {wait:.1?}, which is too long");
            Error::new(ErrorKind::RateLimited, Sent::No, message).retry_in(Some(wait)).about(self.facts(attempts))
        })
    }

    fn send_by(&self) -> Instant {
        self.pipeline.send_by(self.deadline)
    }

    fn in_time(&self, attempts: u32) -> Result<(), Error> {
        if Instant::now() > self.send_by() {
            return Err(self.late("there is no time left to send it", attempts));
        }
        Ok(())
    }

    fn late(&self, problem: &str, attempts: u32) -> Error {
        Error::new(ErrorKind::Timeout, Sent::No, problem).about(self.facts(attempts))
    }

    fn facts(&self, attempts: u32) -> Facts {
        Facts { operation: self.operation, attempts, request_id: None, status: None, response_id: None }
    }

    async fn attempt(
        &self,
        request: &Request,
        access: &Access,
        mut place: Option<Place>,
        attempts: u32,
    ) -> Result<(Facts, Bytes), Error> {
        let mut facts = self.facts(attempts);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut request = exchange::prepare(request, access, &mut facts)?;
        *request.timeout_mut() = Some(self.pipeline.bounds.try_timeout.min(left));
        let answer =
            exchange::exchange(&self.pipeline.http, request, self.pipeline.bounds.max_answer, &mut facts).await;
        let span = Span::current();
        span.record("http.request.resend_count", attempts - 1);
        if let Some(status) = facts.status {
            span.record("http.response.status_code", status);
        }
        let answer = answer.map_err(|error| error.about(facts.clone()))?;

        let verified = exchange::verify(access, &answer);
        if answer.status.is_success() {
            return match verified {
                Ok(()) => Ok((facts, answer.body)),
                Err(problem) => Err(Error::new(ErrorKind::Signature, Sent::Answered, problem).about(facts)),
            };
        }
        let signed = answer.is_signed() && verified.is_ok();
        let error = exchange::refusal(&answer, self.operation).about(facts).signed(signed);
        // Anybody may ask for a pause, within reason.
        let longest = if signed { LONGEST_PAUSE } else { LONGEST_FOREIGN_PAUSE };
        let mut retry_after = answer.retry_after().map(|pause| pause.min(longest));
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            let named = error.bunq_messages().iter().find_map(|message| named_limit(message));
            // Only bunq can say what its limit is.
            let limit = named.filter(|_| signed);
            retry_after = match &mut place {
                Some(place) => Some(place.refused(Told { retry_after, limit })),
                None => retry_after.or(limit.map(|limit| limit.per)),
            };
            tracing::warn!(?retry_after, ?limit, "bunq refuses the call for its rate");
        }
        Err(error.retry_in(retry_after))
    }

    /// The call as OpenTelemetry names such things.
    fn span(&self) -> Span {
        let Operation { id, method, path, .. } = self.operation;
        let address = self.pipeline.host.as_str();
        tracing::info_span!(
            "bunq_call",
            otel.name = format_args!("{method} {path}"),
            otel.kind = "client",
            bunq.operation = id,
            http.request.method = method,
            url.template = path,
            server.address = address,
            http.request.resend_count = field::Empty,
            http.response.status_code = field::Empty,
            error.type = field::Empty,
        )
    }
}

impl ClientHooks<Arc<Call>> for api::Client {
    async fn exec(&self, request: Request, info: &OperationInfo) -> reqwest::Result<Response> {
        let call = self.inner();
        debug_assert_eq!(info.operation_id, call.operation.id, "the call is made under another operation's policy");
        let span = call.span();
        let (outcome, body) = match call.run(request).instrument(span.clone()).await {
            Ok((facts, body)) => (Ok(facts), body),
            // The generated client has no place for our errors: `call` takes them from the outcome.
            Err(error) => {
                span.record("error.type", field::debug(error.kind()));
                (Err(error), Bytes::new())
            }
        };
        // The hook runs once a call, so the outcome is set here and nowhere else.
        let _ = call.outcome.set(outcome);
        Ok(http::Response::new(body).into())
    }
}
