//! One exchange, from the request to the response that is to go on the wire:
//!
//! 1. the request is read, up to a limit, and refused if a web page makes it; what is asked of the sandbox itself is done, and neither
//!    counted nor disturbed;
//! 2. the rate limits are checked and an injected fault is selected;
//! 3. the bank makes the response, the fault changes it, and the log records the call;
//! 4. what has changed is written to the state file, if there is one;
//! 5. the response may be edited;
//! 6. it is signed;
//! 7. it may be edited again.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::wire::SigningKey;
use bunq_partner::{Auth, LimitScope, Operation, RateLimit};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::bank::Bank;
use crate::deliveries::message::Event;
use crate::deliveries::queue::{Deliveries, Try};
use crate::deliveries::sending::Tls;
use crate::deliveries::sent_log::NotificationOutcome;
use crate::deliveries::trigger::{self, Trigger};
use crate::keys;
use crate::lock;
use crate::profile::Profile;
use crate::resources;
use crate::saved_state::{self, SavedState};
use crate::state_file::StateFile;
use crate::wire::call::ReceivedCall;
use crate::wire::call_log::{CallLog, CallLogEntry, ReceivedSignature};
use crate::wire::fault::{Delivery, Echo, Effect, EndedSessions, Fault, PlayedSignature, Scene};
use crate::wire::injection::{Injections, Struck};
use crate::wire::limits::{Counted, ServerRateLimits};
use crate::wire::response::{REQUEST_ID, RawResponse, Refusal};
use crate::wire::routes::Route;
use crate::wire::web_page;

/// The largest body that is taken, the largest that is bytes, such as a scan, and how long it may take to come.
const LARGEST_BODY: usize = 1024 * 1024;
const LARGEST_FILE: usize = 16 * LARGEST_BODY;
const LONGEST_BODY_READ: Duration = Duration::from_secs(60);
/// A body that is too large is read up to here, because a caller that is still writing does not read the refusal.
const LARGEST_READ: usize = 2 * LARGEST_FILE;

/// The limit that a refusal names if the path belongs to no operation.
const NO_LIMIT: RateLimit = RateLimit::new(3, Duration::from_secs(3));

/// What an exchange needs. An edit may lock the state, so the edits are not locked while the state is. Neither lock is held
/// across an await.
pub(crate) struct SharedState {
    pub(crate) profile: Profile,
    /// Whether it listens on loopback alone.
    pub(crate) is_on_loopback: bool,
    pub(crate) state: Mutex<BankState>,
    pub(crate) edits: Mutex<Edits>,
    /// How targets of notification filters are called.
    pub(crate) tls: Tls,
    /// Told when there may be something to deliver.
    pub(crate) wake: Notify,
    /// Told when the worker has taken up everything that was due.
    pub(crate) settled: Notify,
}

/// The bank, with its rate limits, injected faults, and the log of calls.
pub(crate) struct BankState {
    pub(crate) bank: Bank,
    /// What responses are signed with.
    pub(crate) key: SigningKey,
    pub(crate) rate_limits: ServerRateLimits,
    pub(crate) injections: Injections,
    pub(crate) call_log: CallLog,
    pub(crate) deliveries: Deliveries,
    /// The last regular response to each operation, by its id.
    pub(crate) last_responses: HashMap<&'static str, RawResponse>,
    pub(crate) state_file: Option<StateFile>,
}

/// Changes a response to a call.
pub(crate) type Edit = Box<dyn FnMut(&CallLogEntry, &mut RawResponse) + Send>;

/// The functions that edit responses.
#[derive(Default)]
pub(crate) struct Edits {
    pub(crate) before_signing: Option<Edit>,
    pub(crate) after_signing: Option<Edit>,
}

/// The result of a call.
struct HandledCall {
    signature: ReceivedSignature,
    fault: Option<Fault>,
    /// The part of the fault that comes after the bank has responded.
    effect: Effect,
    carried_out: bool,
    response: RawResponse,
}

impl HandledCall {
    /// A call that reaches neither limits, faults nor the operations of the bank.
    fn apart(call: &ReceivedCall, response: RawResponse) -> Self {
        let is_signed = call.header("X-Bunq-Client-Signature").is_some();
        let signature = if is_signed { ReceivedSignature::Unchecked } else { ReceivedSignature::None };
        Self { signature, fault: None, effect: unsigned(), carried_out: false, response }
    }

    fn entry(&self, operation: Option<&'static Operation>, call: ReceivedCall) -> CallLogEntry {
        let ReceivedCall { method, path, query, headers, body: bytes, .. } = call;
        let body = std::str::from_utf8(&bytes).map(str::to_owned).unwrap_or_default();
        let Self { signature, fault, carried_out, response: RawResponse { status, .. }, .. } = *self;
        CallLogEntry { operation, method, path, query, headers, body, bytes, status, signature, fault, carried_out }
    }
}

/// Handles a request; returns the response, and how it is delivered.
pub(crate) async fn exchange(
    shared: Arc<SharedState>,
    from: IpAddr,
    request: Request<Incoming>,
) -> (RawResponse, Delivery) {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let route = Route::of(head.method.as_str(), head.uri.path());
    let operation = route.as_ref().ok().map(|route| route.operation);
    let takes_file = operation.is_some_and(|operation| !operation.content_types.is_empty());
    let largest = if takes_file { LARGEST_FILE } else { LARGEST_BODY };
    let body = timeout(LONGEST_BODY_READ, read(body, largest)).await.ok().flatten();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let is_complete = body.is_some();
    let call = ReceivedCall {
        from,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.unwrap_or_default(),
    };

    // A caller without a token has not been told the key yet.
    let knows_key = operation.is_none_or(|operation| operation.auth != Auth::None);

    let (entry, mut response, effect, key) = {
        let mut state = lock(&shared.state);
        let mut handled = match web_page::refusal(&call, shared.is_on_loopback) {
            Some(reason) => HandledCall::apart(&call, RawResponse::forbidden(&reason)),
            None if is_complete => match state.trigger(&call) {
                Some(response) => HandledCall::apart(&call, response),
                None => state.decide(&call, route, arrived),
            },
            None => cut_off(&call, largest),
        };
        if state.look() {
            shared.wake.notify_one();
        }
        if let Err(error) = state.save() {
            handled.response = RawResponse::broken(&format!("{error}."));
            handled.effect = unsigned();
        }
        if let (Some(delay), true) = (handled.effect.arrival, handled.carried_out) {
            tokio::spawn(arrive_late(Arc::clone(&shared), call.clone(), delay));
        }
        let entry = handled.entry(operation, call);
        state.call_log.push(entry.clone());
        (entry, handled.response, handled.effect, state.key.clone())
    };
    let Effect { signature, status, delivery, .. } = effect;
    let foreign_key = match signature {
        PlayedSignature::Foreign => keys::foreign().await.ok(),
        _ => None,
    };
    if let Some(edit) = &mut lock(&shared.edits).before_signing {
        edit(&entry, &mut response);
    }
    let is_signed = shared.profile.is_signed(&response) && (shared.profile.signed_installation || knows_key);
    match signature {
        PlayedSignature::None => {}
        PlayedSignature::Wrong => response.sign_wrongly(&key, shared.profile.signature_form),
        PlayedSignature::Foreign => match foreign_key {
            Some(key) => response.sign(&key, shared.profile.signature_form),
            None => response = RawResponse::broken("no foreign key could be made"),
        },
        PlayedSignature::Regular if !is_signed => {}
        PlayedSignature::Regular => response.sign(&key, shared.profile.signature_form),
    }
    response.status = status.unwrap_or(response.status);
    if let Some(edit) = &mut lock(&shared.edits).after_signing {
        edit(&entry, &mut response);
    }
    (response, delivery)
}

/// Reads a body; `None` if it is cut off or too large.
async fn read(mut body: Incoming, largest: usize) -> Option<Bytes> {
    let (mut read, mut kept) = (0, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        read += data.len();
        if read > LARGEST_READ {
            return None;
        }
        if read <= largest {
            kept.extend_from_slice(&data);
        }
    }
    (read <= largest).then(|| kept.freeze())
}

/// Carries out a call after this long.
async fn arrive_late(shared: Arc<SharedState>, call: ReceivedCall, delay: Duration) {
    sleep(delay).await;
    let mut state = lock(&shared.state);
    let signature = state.bank.judge(&call);
    // The connection is closed: a refusal cannot be delivered.
    let _ = Route::of(&call.method, &call.path)
        .and_then(|route| resources::perform(&mut state.bank, &route, &call, signature));
    if state.look() {
        shared.wake.notify_one();
    }
    // The next call says if it has failed.
    let _ = state.save();
}

/// For what is not a response of the bank.
fn unsigned() -> Effect {
    Effect { signature: PlayedSignature::None, ..Effect::default() }
}

/// The result of a call that was not received completely.
fn cut_off(call: &ReceivedCall, largest: usize) -> HandledCall {
    let refusal = Refusal::bad_request(format!("The body was cut off or is larger than {largest} bytes."));
    let mut response = RawResponse::refusal(&refusal);
    response.echo(call.header(REQUEST_ID));
    HandledCall { effect: Effect::default(), ..HandledCall::apart(call, response) }
}

impl BankState {
    /// Finds what is to be told to targets of notification filters; returns whether there is anything to do now or later.
    pub(crate) fn look(&mut self) -> bool {
        self.deliveries.look(&mut self.bank)
    }

    /// Sends a notification now; returns to how many targets.
    pub(crate) fn announce(&mut self, category: &str, provision: u64) -> usize {
        let Self { bank, deliveries, .. } = self;
        Event::now(bank, category, provision).map_or(0, |event| deliveries.announce(bank, &event))
    }

    /// Does what a call asks of the sandbox itself; `None`: it is a call of bunq's API.
    fn trigger(&mut self, call: &ReceivedCall) -> Option<RawResponse> {
        let asked = Trigger::of(call, &self.bank)?;
        let done = asked.map(|Trigger { category, provision_id }| self.announce(&category, provision_id));
        Some(done.map_or_else(|refusal| RawResponse::refusal(&refusal), trigger::answer))
    }

    /// Whether nothing is being told to targets, or due.
    pub(crate) fn are_deliveries_settled(&self) -> bool {
        self.deliveries.are_settled(self.bank.clock.now())
    }

    /// Notes what came of a try to call a target.
    pub(crate) fn finish(&mut self, one: Try, outcome: NotificationOutcome) {
        self.deliveries.finish(&mut self.bank, one, outcome);
    }

    /// Writes to the state file what has changed since it was written to; an error if that has ever failed.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.state_file else { return Ok(()) };
        match saved_state::take_changes(&mut self.bank).map_err(io::Error::other)? {
            Some(changes) if !file.takes(&changes) => self.save_all(),
            changes => file.add(changes.as_ref()),
        }
    }

    /// Writes the state file anew.
    pub(crate) fn save_all(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.state_file else { return Ok(()) };
        file.replace(&SavedState::encode(&self.bank, &self.key).map_err(io::Error::other)?)
    }

    fn decide(&mut self, call: &ReceivedCall, route: Result<Route, Refusal>, arrived: Instant) -> HandledCall {
        let signature = self.bank.judge(call);
        let operation = route.as_ref().ok().map(|route| route.operation);
        let admitted = operation.map_or(Ok(()), |operation| {
            let by = self.counted(operation, call);
            self.rate_limits.admit(operation, by, arrived)
        });
        let struck = if admitted.is_ok() { self.injections.strike(operation) } else { None };
        let fault = struck.map(|struck| struck.fault);
        let mut effect = fault.map(|fault| fault.entry().effect).unwrap_or_default();

        let (carried_out, mut response) = match (admitted, struck) {
            (Err(limit), _) => (false, self.throttled(limit)),
            (Ok(()), Some(Struck { carried_out: false, .. })) => (false, RawResponse::items(Vec::new())),
            (Ok(()), Some(_)) if effect.arrival.is_some() => (true, RawResponse::items(Vec::new())),
            (Ok(()), _) => match route.and_then(|route| resources::perform(&mut self.bank, &route, call, signature)) {
                Ok(response) => (true, response),
                Err(refusal) => (false, RawResponse::refusal(&self.bank.settings.profile.refusal(refusal))),
            },
        };
        if let Some(edit) = effect.edit.take() {
            let limit = operation.map_or(NO_LIMIT, |operation| self.rate_limits.limit(operation));
            let scene = Scene { limit, request_id: call.header(REQUEST_ID), dead: self.bank.access.dead() };
            edit(&mut response, &scene);
        }
        match effect.ends {
            EndedSessions::None => {}
            EndedSessions::Own => self.bank.access.end_session_of_token(call.token()),
            EndedSessions::All => self.bank.access.end_all_sessions(),
        }
        let last = operation.and_then(|operation| self.last_responses.get(operation.id));
        match (effect.echo, last) {
            (Echo::Own, _) => response.echo(call.header(REQUEST_ID)),
            (Echo::None, _) => {}
            (Echo::LastResponse, Some(last)) => response = last.clone(),
            (Echo::LastResponse, None) => response.echo(Some(&uuid::Uuid::new_v4().to_string())),
            (Echo::LastWithout, last) => response = last.cloned().unwrap_or(response).without_echo(),
        }
        if let (Some(operation), None, true) = (operation, fault, carried_out) {
            self.last_responses.insert(operation.id, response.clone());
        }
        HandledCall { signature, fault, effect, carried_out, response }
    }

    /// Whose limit a call counts towards. Before there is a session, the address is all that tells callers apart.
    fn counted(&self, operation: &Operation, call: &ReceivedCall) -> Counted {
        let is_per_session = self.bank.settings.profile.limits_are_per == LimitScope::Session;
        let session = (is_per_session && operation.auth == Auth::Session)
            .then(|| self.bank.access.session_of_token(call.token()))
            .flatten();
        session.map_or(Counted::Address(call.from), Counted::Session)
    }

    /// A 429, with `Retry-After` if the profile says so.
    fn throttled(&self, limit: RateLimit) -> RawResponse {
        let mut response = RawResponse::refusal(&Refusal::too_many_calls(limit));
        if self.bank.settings.profile.retry_after {
            response.retry_after(limit.per);
        }
        response
    }
}
