//! One call, between the generated client and the wire, in this order:
//!
//! 1. take credentials from the source that comes with the call;
//! 2. take a place in the queue for a permit within bunq's rate limit, and wait until its turn is near;
//! 3. fill in the user of the session if the path has it, add the headers, with a new request id for this attempt, and sign the exact
//!    bytes that will be sent;
//! 4. wait for the permit, which is held only during the exchange;
//! 5. send, on a fresh connection if an earlier attempt ended without a complete response;
//! 6. read the whole response, up to a maximum size, and settle the permit;
//! 7. compare the echoed request id with the one sent, verify bunq's signature over the exact bytes received, and show
//!    the exchange to the observer;
//! 8. if bunq refuses the token, tell the source; if the source has another token, start again at 1, once;
//! 9. if it has none, or if the signature is not valid, ask the source for another installation; if it has one, start
//!    again at 1, once;
//! 10. after another failure, ask the [`CallPolicy`], and start again at 1 after the pause that it names;
//! 11. return the bytes of the response.
//!
//! A request that must not run twice is repeated only if it was certainly not sent. The call's budget bounds all of it. After a
//! shutdown, a call that waits fails, and no attempt begins.
//! The transport knows neither sessions nor provisions, and does not interpret responses.

pub(crate) mod call_budget;
mod certificates;
pub(crate) mod config;
pub(crate) mod connections;
pub(crate) mod credentials;
mod headers;
pub(crate) mod health;
pub(crate) mod http_config;
pub(crate) mod metrics;
pub(crate) mod observer;
pub(crate) mod path_user;
pub(crate) mod proxy;
pub(crate) mod rate_limit;
mod refusal;
mod request;
mod response;
pub(crate) mod runtime;
pub(crate) mod shutdown;
pub(crate) mod signature;
pub(crate) mod spans;
pub(crate) mod trouble;

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest::Digest;
use bytes::Bytes;
use futures_util::future::{Either, OptionFuture, select};
use reqwest::header::HeaderMap;
use reqwest::{Body, Request, Url};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument, Span};

use self::call_budget::CallBudget;
use self::config::TransportConfig;
use self::connections::{Connections, Reuse};
use self::credentials::{BoxFuture, Credentials, ProvideCredentials, Renewal};
use self::health::Health;
use self::observer::{Exchange, ExchangeObserver};
use self::rate_limit::store::Settlement;
use self::rate_limit::{Caller, MAX_UNPROVEN_PAUSE, NoPermit, Permit, Place, RateLimits, Role, Throttled, named_limit};
use self::request::Echo;
use self::response::FormInUse;
use self::shutdown::Gate;
use self::signature::sha256;
use self::spans::Awaited;
use self::trouble::Trouble;
use crate::error::{CallMetadata, Error, ErrorKind, Remedy, Sent};
use crate::operation::{Auth, Operation};
use crate::retry::{self, Attempts, CallPolicy, Decision, Policy};
use crate::sync::lock;
use crate::types::{ProvisionId, UnknownValue};

/// The longest pause that a refusal can ask for if bunq has signed it.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// How many unknown values are remembered as reported.
const MAX_REPORTED: usize = 1000;

/// What all calls of one caller share: of the partner, or of one of its users.
#[derive(Debug)]
pub(crate) struct Transport {
    shared: Arc<Shared>,
    limits: Arc<RateLimits>,
    caller: Caller,
    /// Whose user's calls these are; `None`: the partner's own.
    for_user: Option<ProvisionId>,
    observer: Option<Arc<dyn ExchangeObserver>>,
}

/// What the partner and all its users share.
#[derive(Debug)]
struct Shared {
    connections: Connections,
    /// The headers of every request.
    headers: HeaderMap,
    config: TransportConfig,
    gate: Gate,
    health: Arc<Health>,
    signature_form: FormInUse,
    /// The unknown values that have been reported.
    reported: Mutex<HashSet<UnknownValue>>,
    /// Users make calls over these connections too.
    has_users: AtomicBool,
}

impl Transport {
    pub(crate) fn new(
        url: &Url,
        limits: Arc<RateLimits>,
        caller: Caller,
        config: TransportConfig,
        observer: Option<Arc<dyn ExchangeObserver>>,
    ) -> Result<Self, Error> {
        let headers = request::fixed_headers(&config.http)?;
        let (http, connect_timeout, to) = (config.http.clone(), config.connect_timeout, url.clone());
        let connections = Connections::new(move |reuse| http.client(&to, connect_timeout, reuse))?;
        let (gate, health, reported) = (Gate::of_client(&config.shutdown), Arc::default(), Mutex::default());
        let (signature_form, has_users) = (FormInUse::default(), AtomicBool::default());
        let shared = Shared { connections, headers, config, gate, health, signature_form, reported, has_users };
        Ok(Self { shared: Arc::new(shared), limits, caller, for_user: None, observer })
    }

    /// The transport of the user of this partner's provision. It has the connections, the settings and the observer of the partner's.
    pub(crate) fn for_user(&self, id: ProvisionId) -> Self {
        self.shared.has_users.store(true, Ordering::Relaxed);
        let limits = self.limits.for_user();
        // The token of the user may be replaced, so the user is known by its provision.
        let name = format!("{}/{id}", self.caller.api_key_fingerprint).into();
        let caller = limits.caller(Arc::clone(&self.caller.base_url), name, Role::User);
        Self { shared: Arc::clone(&self.shared), limits, caller, for_user: Some(id), observer: self.observer.clone() }
    }

    /// The HTTP client to build requests with.
    pub(crate) fn http(&self) -> reqwest::Client {
        self.shared.connections.unconnected()
    }

    /// Makes an HTTP client without a connection yet.
    #[cfg(feature = "reqwest-builder")]
    pub(crate) fn new_http(&self) -> Result<reqwest::Client, Error> {
        self.shared.connections.new_client()
    }

    pub(crate) fn api_key_fingerprint(&self) -> &str {
        &self.caller.api_key_fingerprint
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.caller.base_url
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whose calls these are.
    pub(crate) fn role(&self) -> Role {
        self.caller.role
    }

    pub(crate) fn limits(&self) -> &Arc<RateLimits> {
        &self.limits
    }

    /// How long a call of `operation` would wait for its permit if it began now.
    pub(crate) fn expected_wait(&self, operation: &Operation) -> Duration {
        self.limits.expected_wait(operation, &self.caller)
    }

    pub(crate) fn config(&self) -> &TransportConfig {
        &self.shared.config
    }

    /// What the requests of all calls pass.
    pub(crate) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    pub(crate) fn health(&self) -> &Arc<Health> {
        &self.shared.health
    }

    /// Logs values that the document does not know, each once.
    pub(crate) fn report_unknown(&self, values: Vec<UnknownValue>) {
        for unknown in values {
            let mut reported = lock(&self.shared.reported);
            if reported.len() < MAX_REPORTED && !reported.contains(&unknown) {
                let (schema, value) = &unknown;
                tracing::warn!(schema, value, "bunq sent a value that this version does not know");
                reported.insert(unknown);
            }
        }
    }

    /// How attempts of an operation follow each other.
    pub(crate) fn policy(&self, operation: &Operation) -> CallPolicy {
        CallPolicy::new(self.shared.config.retry, self.limits.governs(operation))
    }

    /// Which responses must name their request: those that may be another caller's.
    fn expected_echo(&self, operation: &Operation) -> Echo {
        if !self.shared.has_users.load(Ordering::Relaxed) {
            Echo::Optional
        } else if self.role() == Role::Partner && operation.auth != Auth::Session {
            Echo::OfSuccesses
        } else {
            Echo::Required
        }
    }

    /// Makes one call, and returns its success response.
    pub(crate) async fn call(
        &self,
        operation: &'static Operation,
        request: Request,
        source: &dyn ProvideCredentials,
        CallOptions { budget, reuse, gate, trouble }: CallOptions<'_>,
    ) -> Result<VerifiedResponse, Error> {
        runtime::check()?;
        let span = spans::call(operation);
        let echo = self.expected_echo(operation);
        // A refusal that need not name its request comes on a connection that no user's call was on.
        let reuse = if echo == Echo::OfSuccesses { Reuse::Never } else { reuse };
        let mut call = Call {
            transport: self,
            operation,
            request,
            digest: OnceLock::new(),
            source,
            budget,
            trouble,
            policy: self.policy(operation),
            made: 0,
            reuse,
            echo,
            gate,
            has_renewed: false,
            has_reread: false,
            last: None,
        };
        let outcome = retry::repeat(&mut call).instrument(span.clone()).await;
        let outcome = outcome.map_err(|(failed, ())| match failed {
            Failed::Finally(error) | Failed::Renewed(error) | Failed::Undecided(error) => error,
        });
        trouble.note(None);
        spans::record(&span, operation, &outcome);
        outcome.map(|(metadata, body)| VerifiedResponse { metadata, body, span })
    }
}

/// How one call is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOptions<'a> {
    pub(crate) budget: CallBudget,
    pub(crate) reuse: Reuse,
    pub(crate) gate: &'a Gate,
    /// Says what holds the call up, until it returns.
    pub(crate) trouble: &'a Trouble,
}

/// A success response whose signature is valid.
#[derive(Debug, Clone)]
pub(crate) struct VerifiedResponse {
    pub(crate) metadata: CallMetadata,
    pub(crate) body: Bytes,
    /// The span of the call, for problems that are found in the response afterwards.
    pub(crate) span: Span,
}

/// One call in progress, and what its attempts share.
struct Call<'a> {
    transport: &'a Transport,
    operation: &'static Operation,
    request: Request,
    /// The digest of the body, once it has been made.
    digest: OnceLock<Digest>,
    source: &'a dyn ProvideCredentials,
    budget: CallBudget,
    trouble: &'a Trouble,
    policy: CallPolicy,
    /// How many attempts were made.
    made: u32,
    reuse: Reuse,
    echo: Echo,
    gate: &'a Gate,
    has_renewed: bool,
    has_reread: bool,
    /// The failure that led to the attempt in progress.
    last: Option<Error>,
}

/// An attempt that can begin.
struct Ready {
    credentials: Credentials,
    request: Request,
    metadata: CallMetadata,
    permit: Option<Permit>,
}

/// A failed attempt.
enum Failed {
    /// No other attempt follows.
    Finally(Error),
    /// Another attempt follows at once, with other credentials.
    Renewed(Error),
    /// The policy decides.
    Undecided(Error),
}

impl Policy for Call<'_> {
    type Failure = Failed;
    type Stop = ();

    fn after(&mut self, failed: &Failed, _: Instant, chance: f64) -> Decision<()> {
        match failed {
            Failed::Finally(_) => Decision::Stop(()),
            Failed::Renewed(error) => {
                self.policy.count(error);
                Decision::RetryAfter(Duration::ZERO)
            }
            Failed::Undecided(error) => self.policy.after(error, self.budget.left_to_send(), chance),
        }
    }
}

impl Attempts for Call<'_> {
    type Done = (CallMetadata, Bytes);

    async fn attempt(&mut self) -> Result<(CallMetadata, Bytes), Failed> {
        // The shutdown comes first, or a request could leave after it.
        let ready = match select(pin!(self.gate.shut()), pin!(self.ready())).await {
            Either::Left(_) => Err(self.shut_down()),
            Either::Right((ready, _)) => ready,
        };
        let Ready { credentials, request, metadata, permit } = ready.map_err(Failed::Finally)?;
        self.trouble.note(self.last.clone());
        self.made += 1;
        let on_wire = self.gate.pass(self.operation);
        let span = spans::attempt(self.operation, &request, self.made);
        let exchange = self.exchange(request, metadata, &credentials, permit).instrument(span.clone()).await;
        spans::record(&span, self.operation, &exchange);
        on_wire.ended(&exchange);
        let error = match exchange {
            Ok(done) => {
                self.transport.shared.health.succeeded();
                return Ok(done);
            }
            Err(error) => error,
        };
        self.transport.shared.health.failed(&error);
        // The following events belong to the call's span.
        drop(span);
        if error.sent() == Sent::Maybe {
            self.reuse = Reuse::Never;
        }
        Err(self.renew(error, &credentials).await)
    }

    async fn pause(&mut self, failed: &Failed, time: Duration) -> ControlFlow<Result<Self::Done, ()>> {
        if let Failed::Undecided(error) = failed {
            let (kind, pause_seconds, attempts) = (error.kind().as_str(), time.as_secs_f64(), i64::from(self.made));
            tracing::info!(error.type = kind, attempts, pause_seconds, "the call is retried");
            metrics::retried(self.operation);
            self.last = Some(error.clone());
            self.trouble.note(self.last.clone());
            if !time.is_zero() {
                let _waiting = spans::wait(Awaited::Retry(error), Some(time));
                // The next attempt fails after a shutdown.
                let _ = timeout(time, self.gate.shut()).await;
            }
        }
        ControlFlow::Continue(())
    }
}

impl Call<'_> {
    /// Asks the source for other credentials if the failure is about those that were used.
    async fn renew(&mut self, error: Error, used: &Credentials) -> Failed {
        let may_repeat = error.permits_repeating(self.operation);
        let renewal = if error.refuses_token() {
            let renewal = self.in_time(self.source.refuse(used, &error, self.has_renewed)).await;
            Some(renewal.unwrap_or(Renewal::After(Duration::ZERO)))
        } else {
            error.has_invalid_signature().then_some(Renewal::No)
        };
        match renewal {
            Some(Renewal::Renewed) if may_repeat && !self.has_renewed => {
                self.has_renewed = true;
                return Failed::Renewed(error);
            }
            Some(Renewal::Forbidden(evidence)) => return Failed::Finally(error.forbidden(evidence)),
            Some(renewal @ (Renewal::No | Renewal::After(_))) => {
                let is_another = !std::mem::replace(&mut self.has_reread, true)
                    && self.in_time(self.source.reread(used)).await.unwrap_or_default();
                match renewal {
                    _ if is_another && may_repeat => {
                        self.last = Some(error.clone());
                        return Failed::Renewed(error);
                    }
                    Renewal::After(pause) if !is_another => return Failed::Finally(error.passing_after(pause)),
                    _ => {}
                }
            }
            Some(Renewal::Renewed) | None => {}
        }
        if may_repeat { Failed::Undecided(error) } else { Failed::Finally(error) }
    }

    /// Waits until an attempt can begin.
    async fn ready(&self) -> Result<Ready, Error> {
        let credentials = self.credentials().await?;
        if self.last.is_none() {
            let wait = self.transport.expected_wait(self.operation);
            if !wait.is_zero() {
                let message = format_args!("rate limited: next slot in {} s", wait.as_secs_f64().ceil());
                self.trouble.note(Some(self.rate_limited(wait, message)));
            }
        }
        let mut metadata = CallMetadata::new(self.operation, self.made + 1);
        let prepared = self.prepare(&credentials, &mut metadata).await;
        // The earlier failure says more than that there is no time for another attempt.
        let (request, permit) = prepared.map_err(|error| self.last.clone().unwrap_or(error))?;
        Ok(Ready { credentials, request, metadata, permit })
    }

    /// Takes the credentials of an attempt.
    async fn credentials(&self) -> Result<Credentials, Error> {
        let with_user = path_user::filled_in(self.operation, self.request.url(), "").is_some();
        let credentials = match self.in_time(self.source.credentials(with_user, self.trouble)).await {
            Some(credentials) => credentials.map_err(Error::before_sending)?,
            None => {
                let problem = "the session was not open in time";
                let held_up = self.trouble.of_awaited().map(|failure| Error::held_up(problem, failure));
                return Err(held_up.or(self.last.clone()).unwrap_or_else(|| self.too_late(problem)));
            }
        };
        let fits = match self.operation.auth {
            Auth::None => credentials.token.is_none(),
            Auth::Installation | Auth::Session => credentials.token.is_some() && credentials.installation.is_some(),
        };
        if fits {
            Ok(credentials)
        } else {
            Err(Error::internal("the call has another kind of token than the operation takes"))
        }
    }

    /// What `work` returns, if it ends while another attempt can begin.
    async fn in_time<T>(&self, work: BoxFuture<'_, T>) -> Option<T> {
        timeout_at(self.budget.send_by(), work).await.ok()
    }

    /// Signs the request and waits for its permit, if there is time to use it.
    async fn prepare(
        &self,
        credentials: &Credentials,
        metadata: &mut CallMetadata,
    ) -> Result<(Request, Option<Permit>), Error> {
        let Transport { shared, limits, caller, .. } = self.transport;
        let no_permit = |no_permit| match no_permit {
            NoPermit::TooLate(wait) => self.no_permit(wait),
            NoPermit::Failed(error) => {
                error.before_sending().with_metadata(CallMetadata::new(self.operation, self.made))
            }
        };
        self.check_time()?;
        let digest = if credentials.installation.is_some() { self.digest().await } else { None };
        let (rank, is_retry) = (self.budget.rank(), self.made > 0);
        let place = limits.approach(self.operation, rank, is_retry, self.budget.send_by(), caller).await;
        let place = place.map_err(no_permit)?;
        // It is signed first, so that the permit is held only during the exchange.
        let request = request::prepare(&self.request, self.operation, digest, credentials, &shared.headers, metadata)?;
        let permit = OptionFuture::from(place.map(Place::permit)).await.transpose().map_err(no_permit)?;
        // The future may not have been polled for a while.
        self.check_time()?;
        Ok((request, permit))
    }

    /// The digest of the body, which is the same in all attempts.
    async fn digest(&self) -> Option<&Digest> {
        let body = self.request.body().and_then(Body::as_bytes)?;
        if self.digest.get().is_none() {
            let made = sha256(&[body]).await;
            return Some(self.digest.get_or_init(|| made));
        }
        self.digest.get()
    }

    /// The failure of a call that waits for its permit beyond its deadline.
    fn no_permit(&self, wait: Duration) -> Error {
        let next = if wait.is_zero() {
            // Calls are sent one at a time until bunq accepts one.
            "bunq has refused a call, and has not answered the next one by".to_owned()
        } else {
            format!("next slot in {} s, after", wait.as_secs_f64().ceil())
        };
        let message = format_args!("rate limited: {next} this call's deadline");
        self.rate_limited(wait, message).with_remedy(Remedy::RaiseTimeout)
    }

    fn rate_limited(&self, wait: Duration, message: impl Display) -> Error {
        Error::new(ErrorKind::RateLimited, Sent::No, message)
            .with_retry_after(Some(wait))
            .with_metadata(CallMetadata::new(self.operation, self.made))
    }

    fn check_time(&self) -> Result<(), Error> {
        // A clock that is paused, or coarse, may not have moved since the call began.
        if Instant::now() > self.budget.send_by() || self.budget.left().is_zero() {
            return Err(self.too_late("the deadline passed before it could be sent").with_remedy(Remedy::RaiseTimeout));
        }
        Ok(())
    }

    fn shut_down(&self) -> Error {
        Error::new(ErrorKind::ShutDown, Sent::No, "it was not sent: the shutdown has begun")
            .with_metadata(CallMetadata::new(self.operation, self.made))
    }

    fn too_late(&self, problem: &str) -> Error {
        Error::new(ErrorKind::Timeout, Sent::No, problem).with_metadata(CallMetadata::new(self.operation, self.made))
    }

    async fn exchange(
        &self,
        mut request: Request,
        mut metadata: CallMetadata,
        credentials: &Credentials,
        permit: Option<Permit>,
    ) -> Result<(CallMetadata, Bytes), Error> {
        let Transport { shared, for_user, observer, .. } = self.transport;
        let Shared { connections, config, signature_form, .. } = &**shared;
        *request.timeout_mut() = Some(config.attempt_timeout.min(self.budget.left()));
        headers::sent(request.headers(), credentials);
        let sent = request::send(connections, self.reuse, request, credentials, config, self.echo, &mut metadata);
        let response = match sent.await {
            Ok(response) => response,
            Err(error) => {
                settle(permit, Settlement::Unknown).await;
                let has_file = self.operation.returns_bytes || !self.operation.content_types.is_empty();
                let error = match error.kind() {
                    ErrorKind::Timeout if has_file => error.with_remedy(Remedy::RaiseAttemptTimeout),
                    _ => error,
                };
                return Err(error.with_metadata(metadata));
            }
        };
        headers::received(&response.headers, credentials);

        if let Some(warning) = &metadata.warning {
            tracing::warn!(warning, "bunq has a warning for the developers of this program");
        }
        if response.status.is_success() {
            // The next call must wait neither for the verification nor for the observer.
            settle(permit, Settlement::Admitted).await;
            return match response::verify(credentials, &response, signature_form).await {
                Ok(signed) => {
                    if let (Some(observer), Some(signed)) = (observer, signed)
                        && let Some(exchange) = Exchange::new(&metadata, *for_user, credentials, &response, &signed)
                    {
                        // The call has succeeded even if this takes too long.
                        let _ = timeout(self.budget.left(), observer.observe(&exchange)).await;
                    }
                    Ok((metadata, response.body))
                }
                Err(error) => Err(error.with_metadata(metadata)),
            };
        }
        let request_id = metadata.request_id.as_deref();
        let most = config.max_refusal_details;
        let is_signed = response::is_signed(&response, credentials, signature_form).await;
        let error = refusal::refusal(&response, is_signed, self.operation, credentials, request_id, most);
        let error = error.with_metadata(metadata);
        let is_signed = is_signed && error.is_from_bunq();
        let longest = if is_signed { MAX_PAUSE } else { MAX_UNPROVEN_PAUSE };
        let mut retry_after = response.retry_after().map(|pause| pause.min(longest));
        if error.is_throttling() {
            let limit = error.bunq_messages().iter().find_map(|message| named_limit(message));
            let throttled = Throttled { retry_after, limit, is_signed };
            let per = self.operation.rate_limit.per;
            retry_after = Some(match permit {
                Some(permit) => permit.throttle(throttled, fastrand::f64()).await,
                None => throttled.pause(per, 0, fastrand::f64()),
            });
            let retry_after_seconds = retry_after.map(|pause| pause.as_secs_f64());
            let (calls, per_seconds) =
                (limit.map(|limit| i64::from(limit.calls)), limit.map(|limit| limit.per.as_secs_f64()));
            tracing::warn!(retry_after_seconds, calls, per_seconds, "bunq refuses the call for its rate");
            metrics::throttled(self.operation);
        } else {
            settle(permit, if error.is_from_bunq() { Settlement::Admitted } else { Settlement::Unknown }).await;
        }
        Err(error.with_retry_after(retry_after))
    }
}

/// Ends the permit of a call, if it needed one.
async fn settle(permit: Option<Permit>, settlement: Settlement) {
    OptionFuture::from(permit.map(|permit| permit.settle(settlement))).await;
}
