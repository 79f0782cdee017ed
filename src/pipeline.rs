//! What happens to one call between the generated client and the wire, in this order:
//!
//! 1. take the token that the operation asks for, opening a session if there is none;
//! 2. put the headers on, with a request id of its own, and take off what the generator added;
//! 3. sign the very bytes that will be sent;
//! 4. send;
//! 5. read the whole answer, up to a bound;
//! 6. a 401 on the session's token: renew the session once and go again from 1;
//! 7. verify bunq's signature over the very bytes that came;
//! 8. hand the answer back.
//!
//! The pipeline decides nothing about what an answer means. For the operations that make a session it is given
//! the token and never asks the session for one, which keeps the two from going round in a circle.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use progenitor_client::{ClientHooks, ClientInfo, OperationInfo};
use reqwest::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Request, Response, StatusCode};
use uuid::Uuid;

use crate::api;
use crate::error::{Error, ErrorKind, Facts, Sent};
use crate::operation::Operation;
use crate::session::{Access, Session};
use crate::signature::{VerifyingKey, message_with_headers};
use crate::types::{ErrorResponse, InstallationResponse};

/// The largest answer that is read. A full page of 200 provisions is well under 1 MiB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// How much of bunq's own words an error carries.
const MAX_MESSAGES: usize = 5;
const MAX_MESSAGE_CHARS: usize = 500;

const CLIENT_AUTHENTICATION: HeaderName = HeaderName::from_static("x-bunq-client-authentication");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-bunq-client-request-id");
const CLIENT_RESPONSE_ID: HeaderName = HeaderName::from_static("x-bunq-client-response-id");
const CLIENT_SIGNATURE: HeaderName = HeaderName::from_static("x-bunq-client-signature");
const SERVER_SIGNATURE: HeaderName = HeaderName::from_static("x-bunq-server-signature");

/// What every request says of itself.
const FIXED_HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-cache"),
    (USER_AGENT, concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"))),
    (HeaderName::from_static("x-bunq-language"), "en_US"),
    (HeaderName::from_static("x-bunq-region"), "nl_NL"),
    (HeaderName::from_static("x-bunq-geolocation"), "0 0 0 0 000"),
];

/// What all calls of one client share.
#[derive(Debug)]
pub(crate) struct Pipeline {
    http: reqwest::Client,
    base_url: String,
    session: Session,
}

impl Pipeline {
    pub(crate) fn new(http: reqwest::Client, base_url: String, session: Session) -> Self {
        Self { http, base_url, session }
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
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
    outcome: OnceLock<Result<Facts, Error>>,
}

impl Call {
    pub(crate) fn new(pipeline: Arc<Pipeline>, operation: &'static Operation, credentials: Credentials) -> Self {
        Self { pipeline, operation, credentials, outcome: OnceLock::new() }
    }

    /// What came of the call; nothing if no request was made.
    pub(crate) fn outcome(&self) -> Option<Result<Facts, Error>> {
        self.outcome.get().cloned()
    }

    async fn run(&self, request: Request) -> Result<(Facts, Bytes), Error> {
        let mut refused = None;
        loop {
            let access = match &self.credentials {
                Credentials::Given(access) => access.clone(),
                Credentials::Session => self.pipeline.session.access(&self.pipeline, refused.as_ref()).await?,
            };
            let (facts, answer) = self.exchange(&request, &access).await?;
            let renewable = matches!(self.credentials, Credentials::Session) && refused.is_none();
            if answer.status == StatusCode::UNAUTHORIZED && renewable {
                refused = access.token;
                continue;
            }
            if !answer.status.is_success() {
                return Err(refusal(facts, &answer));
            }
            return match verify(&access, &answer) {
                Ok(()) => Ok((facts, answer.body)),
                Err(problem) => Err(Error::new(ErrorKind::Signature, Sent::Answered, problem).about(facts)),
            };
        }
    }

    async fn exchange(&self, request: &Request, access: &Access) -> Result<(Facts, Answer), Error> {
        let request_id = Uuid::new_v4().to_string();
        let mut facts = Facts { operation: self.operation, request_id, status: None, response_id: None };
        let request = prepare(request, access, &facts.request_id)
            .map_err(|problem| Error::invalid_input(self.operation.id, problem))?;

        let response = match self.pipeline.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return Err(broken(error).about(facts)),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        facts.status = Some(status.as_u16());
        facts.response_id = headers.get(CLIENT_RESPONSE_ID).and_then(|id| id.to_str().ok()).map(bounded);
        match read(response).await {
            Ok(body) => Ok((facts, Answer { status, headers, body })),
            Err(error) => Err(error.about(facts)),
        }
    }
}

impl ClientHooks<Arc<Call>> for api::Client {
    async fn exec(&self, request: Request, info: &OperationInfo) -> reqwest::Result<Response> {
        let call = self.inner();
        debug_assert_eq!(info.operation_id, call.operation.id, "the call is made under another operation's policy");
        let (outcome, body) = match call.run(request).await {
            Ok((facts, body)) => (Ok(facts), body),
            // The generated client has no place for our errors: `call` takes them from the outcome.
            Err(error) => (Err(error), Bytes::new()),
        };
        // The hook runs once a call, so the outcome is set here and nowhere else.
        let _ = call.outcome.set(outcome);
        Ok(http::Response::new(body).into())
    }
}

/// An answer as it came, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Makes the request that goes over the wire: its headers, its own id, its signature.
fn prepare(request: &Request, access: &Access, request_id: &str) -> Result<Request, String> {
    let mut request = request.try_clone().ok_or("its body can be sent only once")?;
    let signature = match (&access.installation, request.body().and_then(reqwest::Body::as_bytes)) {
        (Some(installation), Some(body)) => Some(installation.signing_key.sign(body).map_err(|e| e.to_string())?),
        _ => None,
    };
    let headers = request.headers_mut();
    headers.remove("api-version");
    for (name, value) in FIXED_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| "a token is not fit for a header".to_string());
    headers.insert(CLIENT_REQUEST_ID, value(request_id)?);
    if let Some(signature) = signature {
        headers.insert(CLIENT_SIGNATURE, value(&signature)?);
    }
    if let Some(token) = &access.token {
        let mut token = value(token.expose())?;
        token.set_sensitive(true);
        headers.insert(CLIENT_AUTHENTICATION, token);
    }
    Ok(request)
}

/// Reads the whole answer, but no more than [`MAX_ANSWER`].
async fn read(mut response: Response) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            let problem = format_args!("the answer is larger than {MAX_ANSWER} bytes");
            return Err(Error::new(ErrorKind::InvalidResponse, Sent::Answered, problem));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Checks the signature of a success answer, in the form over the body alone or the older one with the headers.
///
/// The installation's answer brings the key to check with. Under that key its signature shows that it came whole;
/// who sent it is for TLS to show, and bunq does not say that it signs it, so there it may be missing.
fn verify(access: &Access, answer: &Answer) -> Result<(), &'static str> {
    let signature = answer.headers.get(SERVER_SIGNATURE).map(HeaderValue::as_bytes);
    let introduced;
    let (key, signature) = match (&access.installation, signature) {
        (Some(installation), Some(signature)) => (&installation.server_key, signature),
        (Some(_), None) => return Err("bunq's signature is missing from the answer, which was not used"),
        (None, None) => return Ok(()),
        (None, Some(signature)) => {
            introduced = introduced_key(&answer.body).ok_or("the answer brings no public key to verify it with")?;
            (&introduced, signature)
        }
    };
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    if key.verifies(&answer.body, signature)
        || key.verifies(&message_with_headers(answer.status.as_u16(), headers, &answer.body), signature)
    {
        return Ok(());
    }
    Err("bunq's signature is not right for the answer, which was not used")
}

fn introduced_key(body: &[u8]) -> Option<VerifyingKey> {
    let answer: InstallationResponse = serde_json::from_slice(body).ok()?;
    let key = answer.response.into_iter().find_map(|item| item.server_public_key)?;
    VerifyingKey::from_pem(&key.server_public_key).ok()
}

/// The error that an answer other than a success stands for.
fn refusal(facts: Facts, answer: &Answer) -> Error {
    let (kind, message) = match answer.status.as_u16() {
        401 => (
            ErrorKind::Unauthorized,
            "bunq does not accept the credentials: check the API key, that it is of this environment, \
             and that it may be used from this machine's IP address",
        ),
        404 => (ErrorKind::NotFound, "bunq knows no such thing"),
        429 => (ErrorKind::RateLimited, "too many calls for bunq's rate limit"),
        466 => (ErrorKind::Rejected, "bunq demands a signature"),
        491 => (ErrorKind::Maintenance, "bunq is being maintained"),
        500.. => (ErrorKind::Server, "bunq, or something on the way to it, has failed"),
        _ => (ErrorKind::Rejected, "bunq refuses the request"),
    };
    Error::new(kind, Sent::Answered, message).about(facts).saying(bunq_messages(&answer.body))
}

/// What bunq says in an error answer; nothing if the body is not its envelope.
fn bunq_messages(body: &[u8]) -> Vec<String> {
    let said = serde_json::from_slice::<ErrorResponse>(body).map(|answer| answer.error).unwrap_or_default();
    said.iter().take(MAX_MESSAGES).map(|item| bounded(&item.error_description)).collect()
}

/// A text from outside, made fit for one line of an error.
fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE_CHARS).collect()
}

/// A failure of the connection, and whether the request may have gone through before it.
fn broken(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let (kind, sent, message) = if error.is_connect() {
        (ErrorKind::Connect, Sent::No, "no connection to bunq")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, Sent::Maybe, "bunq did not answer in time")
    } else {
        (ErrorKind::Connection, Sent::Maybe, "the connection to bunq broke before the answer was there")
    };
    Error::new(kind, sent, message).caused_by(error)
}

/// How long a connection may take to come about, and a whole exchange to be over.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
