//! One request and its answer: headers, signature, bytes, and what an answer other than a success stands for.
//!
//! It makes one try and knows of no other; tokens, places and further tries are the pipeline's.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use reqwest::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Body, Request, Response, StatusCode};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Facts, Sent, one_line};
use crate::operation::{Auth, Operation};
use crate::session::Access;
use crate::signature::{VerifyingKey, message_with_headers};
use crate::types::{ErrorResponse, InstallationResponse};

/// How many of bunq's messages an error carries.
const MAX_MESSAGES: usize = 5;

/// Longer than any id that bunq gives.
const MAX_ID_CHARS: usize = 100;

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

/// An answer as it came, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether it carries a signature, of whatever worth.
    pub(crate) fn is_signed(&self) -> bool {
        self.headers.contains_key(SERVER_SIGNATURE)
    }

    /// How long bunq asks to wait: in seconds, or until a date.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        text.parse().ok().map(Duration::from_secs).or_else(|| {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(date.duration_since(Timestamp::now())).ok()
        })
    }
}

/// Makes the request that goes over the wire: its headers, its own id, its signature.
///
/// The installation introduces the key and is not signed; all else that has a body is.
pub(crate) fn prepare(request: &Request, access: &Access, facts: &mut Facts) -> Result<Request, Error> {
    let failed = |problem: &str| Error::internal(problem).about(facts.clone());
    let mut request = request.try_clone().ok_or_else(|| failed("the body can be sent only once"))?;
    let signature = match (&access.installation, request.body().and_then(Body::as_bytes)) {
        (Some(installation), Some(body)) => {
            Some(installation.signing_key.sign(body).map_err(|error| failed(&error.to_string()))?)
        }
        _ => None,
    };
    let request_id = Uuid::new_v4().to_string();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| failed("a token is not fit for a header"));
    let headers = request.headers_mut();
    headers.remove("api-version");
    for (name, value) in FIXED_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CLIENT_REQUEST_ID, value(&request_id)?);
    if let Some(signature) = signature {
        headers.insert(CLIENT_SIGNATURE, value(&signature)?);
    }
    if let Some(token) = &access.token {
        let mut token = value(token.expose())?;
        token.set_sensitive(true);
        headers.insert(CLIENT_AUTHENTICATION, token);
    }
    facts.request_id = Some(request_id);
    Ok(request)
}

/// Sends a request and reads the answer, of which no more than `max_answer` bytes.
pub(crate) async fn exchange(
    http: &reqwest::Client,
    request: Request,
    max_answer: usize,
    facts: &mut Facts,
) -> Result<Answer, Error> {
    let response = http.execute(request).await.map_err(broken)?;
    let (status, headers) = (response.status(), response.headers().clone());
    facts.status = Some(status.as_u16());
    let response_id = headers.get(CLIENT_RESPONSE_ID).and_then(|id| id.to_str().ok());
    facts.response_id = response_id.map(|id| one_line(id, MAX_ID_CHARS));
    Ok(Answer { status, headers, body: read(response, max_answer).await? })
}

async fn read(mut response: Response, max_answer: usize) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if chunk.len() > max_answer - body.len() {
            let problem = format_args!("the answer is larger than {max_answer} bytes");
            return Err(Error::new(ErrorKind::InvalidResponse, Sent::Answered, problem));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Checks the signature of an answer, in the form over the body alone or the older one with the headers.
///
/// The installation's answer brings the key to check with. Under that key its signature shows that it came whole;
/// who sent it is for TLS to show, and bunq does not say that it signs it, so there it may be missing.
pub(crate) fn verify(access: &Access, answer: &Answer) -> Result<(), &'static str> {
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
pub(crate) fn refusal(answer: &Answer, operation: &Operation) -> Error {
    let (kind, message) = match answer.status.as_u16() {
        401 if operation.auth == Auth::Installation => (
            ErrorKind::Unauthorized,
            "bunq does not accept the installation: check the API key and the environment; should bunq have forgotten \
             it, remove what the context store keeps, or build the client anew if that is its memory",
        ),
        401 => (
            ErrorKind::Unauthorized,
            "bunq does not accept the credentials: check the API key, that it is of this environment, \
             and that it may be used from this machine's IP address",
        ),
        404 => (ErrorKind::NotFound, "bunq knows no such thing"),
        429 => (ErrorKind::RateLimited, "too many calls for bunq's rate limit"),
        466 => (ErrorKind::Rejected, "bunq demands a signature"),
        491 => (ErrorKind::Maintenance, "bunq is being maintained"),
        408 | 500.. => (ErrorKind::Server, "bunq, or something on the way to it, has failed"),
        _ => (ErrorKind::Rejected, "bunq refuses the request"),
    };
    Error::new(kind, Sent::Answered, message).saying(&bunq_messages(&answer.body))
}

/// What bunq says in an error answer; nothing if the body is not its envelope.
fn bunq_messages(body: &[u8]) -> Vec<String> {
    let said = serde_json::from_slice::<ErrorResponse>(body).map(|answer| answer.error).unwrap_or_default();
    said.into_iter()
        .filter_map(|item| item.error_description.or(item.error_description_translated))
        .take(MAX_MESSAGES)
        .collect()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::context::Installation;
    use crate::signature::SigningKey;

    fn answer(retry_after: &str) -> Answer {
        let headers = [(RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap())].into_iter().collect();
        Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() }
    }

    #[test]
    fn retry_after_is_in_seconds_or_a_date() {
        assert_eq!(answer("7").retry_after(), Some(Duration::from_secs(7)));
        let soon = Timestamp::now() + Duration::from_secs(100);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&soon).unwrap();
        let wait = answer(&date).retry_after().unwrap();
        assert!(wait <= Duration::from_secs(100) && wait > Duration::from_secs(50), "{date}: {wait:?}");
        for nonsense in ["", "-1", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(answer(nonsense).retry_after(), None, "{nonsense}");
        }
    }

    #[test]
    fn believes_what_the_vectors_call_valid_and_nothing_else() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../openapi/vectors/verifying.json")).unwrap();
        let own_key = SigningKey::generate().unwrap().to_pkcs8().unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let installation = Installation {
                signing_key: SigningKey::from_pkcs8(&own_key).unwrap(),
                server_key: VerifyingKey::from_pem(case["public_key_pem"].as_str().unwrap()).unwrap(),
                token: "token".into(),
            };
            let access = Access { installation: Some(installation.into()), token: None };
            let headers: Vec<(&str, &str)> = Deserialize::deserialize(&case["headers"]).unwrap();
            let answer = Answer {
                status: StatusCode::from_u16(Deserialize::deserialize(&case["status"]).unwrap()).unwrap(),
                headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
                body: Bytes::copy_from_slice(case["body"].as_str().unwrap().as_bytes()),
            };
            assert_eq!(verify(&access, &answer).is_ok(), case["valid"], "{}", case["name"]);
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200), status in 100_u16..1000) {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: [(SERVER_SIGNATURE, HeaderValue::from_static("AAAA"))].into_iter().collect(),
                body: body.into(),
            };
            prop_assert!(verify(&Access::default(), &answer).is_err());
            prop_assert!(refusal(&answer, &Operation::GET_PROVISION).to_string().len() < 4000);
        }
    }
}
