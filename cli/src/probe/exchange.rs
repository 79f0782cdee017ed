//! Single exchanges as they are, which no client makes: a repeated request id, a missing signature, a dead token.
//!
//! Nothing is retried, renewed or verified here. bunq's rate limit is kept unless a request says otherwise.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use bunq_partner::reqwest::{Client, Error, Method};
use bunq_partner::wire::{SignatureForm, SigningKey, VerifyingKey};
use bunq_partner::{ErrorKind, Operation, RateLimit, Secret, Uuid};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use tracing::{Span, field, info_span};

use super::super::exit::Failure;

const REQUEST_ID: &str = "x-bunq-client-request-id";
const RESPONSE_ID: &str = "x-bunq-client-response-id";
const SERVER_SIGNATURE: HeaderName = HeaderName::from_static("x-bunq-server-signature");

const HEADERS: [(&str, &str); 6] = [
    ("accept", "application/json"),
    ("cache-control", "no-cache"),
    ("user-agent", concat!("bunq-partner/", env!("CARGO_PKG_VERSION"))),
    ("x-bunq-language", "en_US"),
    ("x-bunq-region", "nl_NL"),
    ("x-bunq-geolocation", "0 0 0 0 000"),
];

const TIMEOUT: Duration = Duration::from_secs(30);

/// No response is larger.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// One request, which need not be right.
#[derive(Clone)]
pub(super) struct ProbeRequest {
    /// The operation whose rate limit it counts towards.
    pub(super) operation: &'static Operation,
    pub(super) method: &'static str,
    /// Its path below the base URL, with its query.
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) token: Option<Secret>,
    pub(super) is_signed: bool,
    /// `None`: an id of its own.
    pub(super) request_id: Option<String>,
    /// Whether it waits for its turn within the rate limit.
    pub(super) keeps_rate_limit: bool,
}

impl ProbeRequest {
    /// A signed request of an operation without parameters in its path.
    pub(super) fn of(operation: &'static Operation, body: Option<Value>) -> Self {
        Self {
            operation,
            method: operation.method,
            path: operation.path.to_owned(),
            body,
            token: None,
            is_signed: true,
            request_id: None,
            keeps_rate_limit: true,
        }
    }

    /// A request to this path, without a body.
    pub(super) fn at(operation: &'static Operation, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::of(operation, None) }
    }
}

/// A response as it came. Its body may hold tokens.
pub(super) struct ProbeResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
    pub(super) request_id: String,
}

impl ProbeResponse {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it names its request.
    pub(super) fn is_echo(&self) -> bool {
        self.headers.get(REQUEST_ID).is_some_and(|echo| echo.as_bytes() == self.request_id.as_bytes())
    }

    /// Its body, if that is JSON; else `null`.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a signature of a response is worth.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    /// There is no signature.
    Not,
    /// It is bunq's, in this form.
    As(SignatureForm),
    /// It is not bunq's.
    Invalid,
}

/// Sends requests as they are, with keys of its own. Clones have the same keys, and count towards the same rate limits.
#[derive(Clone)]
pub(super) struct Exchanges {
    http: Client,
    base_url: String,
    key: SigningKey,
    /// bunq's key, as soon as it is known.
    bunqs_key: Option<Arc<VerifyingKey>>,
    /// When the latest calls of each operation had ended.
    ended: Arc<Mutex<HashMap<&'static str, VecDeque<Instant>>>>,
}

impl Exchanges {
    /// Reaches the bank as a client does. Makes keys, which takes tens of milliseconds of the thread's time.
    pub(super) fn with(client: &bunq_partner::Client) -> Result<Self, Failure> {
        let key = SigningKey::generate().map_err(internal)?;
        let (http, base_url) = (client.reqwest_client()?, client.base_url().to_owned());
        Ok(Self { http, base_url, key, bunqs_key: None, ended: Arc::default() })
    }

    /// Sends for another installation at the same bank, with a key of its own.
    pub(super) fn with_another_key(&self) -> Result<Self, Failure> {
        Ok(Self { key: SigningKey::generate().map_err(internal)?, bunqs_key: None, ..self.clone() })
    }

    pub(super) fn public_key(&self) -> Result<String, Failure> {
        self.key.public_key_pem().map_err(internal)
    }

    /// Takes bunq's key, in PEM.
    pub(super) fn trust(&mut self, pem: &str) -> Result<(), Failure> {
        let unusable = |error| Failure::of_kind(ErrorKind::InvalidResponse, format!("the installation: {error}"));
        self.bunqs_key = Some(Arc::new(VerifyingKey::from_pem(pem).map_err(unusable)?));
        Ok(())
    }

    pub(super) fn signed(&self, response: &ProbeResponse) -> Signed {
        let Some(signature) = response.headers.get(SERVER_SIGNATURE) else { return Signed::Not };
        let headers = || response.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let holds = |form: &SignatureForm| {
            let message = form.message(response.status, headers(), &response.body);
            self.bunqs_key.as_ref().is_some_and(|key| key.verifies(&message, signature.as_bytes()))
        };
        let form = [SignatureForm::Body, SignatureForm::WithHeaders].into_iter().find(holds);
        form.map_or(Signed::Invalid, Signed::As)
    }

    /// Whether bunq's key is known.
    pub(super) fn can_verify(&self) -> bool {
        self.bunqs_key.is_some()
    }

    /// Sends one request, and returns its response, whatever that is. What `-v` shows of it is what the library tells of its calls.
    pub(super) async fn send(&self, request: ProbeRequest) -> Result<ProbeResponse, Failure> {
        let operation = request.operation;
        let call = info_span!("bunq_call", bunq.operation = operation.id);
        let RateLimit { calls, per, .. } = operation.rate_limit;
        let mut ended = self.ended.lock().await;
        let ended = ended.entry(operation.id).or_default();
        while request.keeps_rate_limit
            && ended.len() >= usize::try_from(calls).unwrap_or(usize::MAX)
            && let Some(first) = ended.pop_front()
        {
            let (until, time) = (first + per, (first + per).saturating_duration_since(Instant::now()));
            let _waiting = wait(&call, "permit", operation, time);
            sleep_until(until).await;
        }
        let attempt = info_span!(
            parent: &call,
            "bunq_attempt",
            http.request.method = request.method,
            url.template = operation.path,
            http.response.status_code = field::Empty,
            bunq.request_id = field::Empty,
            bunq.response_id = field::Empty,
            error.type = field::Empty,
        );
        let response = self.exchange(request).await;
        ended.push_back(Instant::now());
        match &response {
            Ok(response) => {
                attempt.record("http.response.status_code", i64::from(response.status));
                attempt.record("bunq.request_id", &*response.request_id);
                let response_id = response.headers.get(RESPONSE_ID).and_then(|id| id.to_str().ok());
                attempt.record("bunq.response_id", response_id);
            }
            Err(failure) => _ = attempt.record("error.type", failure.kind().map(ErrorKind::as_str)),
        }
        response.map_err(|failure| failure.of(operation.id))
    }

    async fn exchange(&self, raw: ProbeRequest) -> Result<ProbeResponse, Failure> {
        let method = Method::from_bytes(raw.method.as_bytes()).map_err(internal)?;
        let url = format!("{}{}", self.base_url, raw.path);
        let request_id = raw.request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
        let mut request = self.http.request(method, url).timeout(TIMEOUT).header(REQUEST_ID, &request_id);
        for (name, value) in HEADERS {
            request = request.header(name, value);
        }
        if let Some(body) = raw.body.map(|body| body.to_string()) {
            if raw.is_signed {
                let signature = self.key.sign(body.as_bytes()).map_err(internal)?;
                request = request.header("x-bunq-client-signature", signature);
            }
            request = request.header("content-type", "application/json").body(body);
        }
        if let Some(token) = raw.token {
            let mut token = HeaderValue::from_str(token.expose()).map_err(internal)?;
            token.set_sensitive(true);
            request = request.header("x-bunq-client-authentication", token);
        }
        let mut response = request.send().await.map_err(broken)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if headers.get(REQUEST_ID).is_some_and(|echo| echo.as_bytes() != request_id.as_bytes()) {
            let problem = "the response belongs to another request (X-Bunq-Client-Request-Id), and was not used";
            return Err(Failure::of_kind(ErrorKind::Connection, problem));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if chunk.len() > MAX_BODY - body.len() {
                let problem = format!("the response is larger than {MAX_BODY} bytes");
                return Err(Failure::of_kind(ErrorKind::InvalidResponse, problem));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(ProbeResponse { status, headers, body, request_id })
    }
}

/// The span of a wait before an exchange, which ends when it is dropped.
pub(super) fn wait(call: &Span, reason: &str, operation: &Operation, time: Duration) -> Span {
    let seconds = time.as_secs_f64();
    info_span!(parent: call, "bunq_wait", bunq.wait.reason = reason, bunq.wait.seconds = seconds, bunq.operation = operation.id)
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::of_kind(ErrorKind::Internal, error.to_string())
}

/// There is no complete response.
fn broken(error: Error) -> Failure {
    let (kind, problem) = if error.is_connect() {
        (ErrorKind::Connect, "no connection to bunq")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, "bunq did not respond in time")
    } else {
        (ErrorKind::Connection, "the connection to bunq broke before the response was complete")
    };
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let message = causes.fold(problem.to_owned(), |message, cause| format!("{message}: {cause}"));
    Failure::of_kind(kind, message).with_hint("`bunq-partner doctor` finds out what is wrong")
}

#[cfg(test)]
mod tests {
    use bunq_partner_sandbox::Sandbox;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_limit_is_kept_unless_a_request_says_otherwise() {
        test_timeout::start();
        let operation = &Operation::GET_INSTALLATION;
        let RateLimit { calls, per, .. } = operation.rate_limit;
        let sandbox = Sandbox::builder().rate_limit(operation, calls, per).start().await.unwrap();
        let exchanges = Exchanges::with(&sandbox.client().build().unwrap()).unwrap();
        let began = Instant::now();
        let mut statuses = Vec::new();
        for keeps_rate_limit in [vec![true; 2 * usize::try_from(calls).unwrap() + 1], vec![false; 9]].concat() {
            let request = ProbeRequest { keeps_rate_limit, ..ProbeRequest::of(operation, None) };
            statuses.push(exchanges.send(request).await.unwrap().status);
        }
        let (kept, others) = statuses.split_at(statuses.len() - 9);
        assert!(!kept.contains(&429) && began.elapsed() >= 2 * per, "{kept:?} {:?}", began.elapsed());
        assert!(others.contains(&429), "{others:?}");
    }
}
