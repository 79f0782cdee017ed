//! One attempt's response: its signature, and the error that a refusal becomes.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::credentials::Credentials;
use super::signature::{VerifyingKey, message_with_headers};
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::{Auth, Operation};
use crate::types::{ErrorResponse, InstallationResponse};

/// How many of bunq's messages an error carries.
const MAX_MESSAGES: usize = 5;

pub(crate) const RESPONSE_ID: HeaderName = HeaderName::from_static("x-bunq-client-response-id");
pub(crate) const WARNING: HeaderName = HeaderName::from_static("x-bunq-warning");
const SIGNATURE: HeaderName = HeaderName::from_static("x-bunq-server-signature");

/// A response as it was received, complete.
pub(crate) struct ReceivedResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl ReceivedResponse {
    /// Whether it carries a signature, valid or not.
    pub(crate) fn has_signature(&self) -> bool {
        self.headers.contains_key(SIGNATURE)
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

/// Checks the signature of a response, in the form over the body alone or in the older one with the headers.
///
/// The response to the installation brings the key to check with, so its signature shows only that it is complete. TLS
/// shows who sent it. bunq does not say that it signs that response, so there the signature may be missing.
pub(crate) fn verify(credentials: &Credentials, response: &ReceivedResponse) -> Result<(), &'static str> {
    let signature = response.headers.get(SIGNATURE).map(HeaderValue::as_bytes);
    let introduced;
    let (key, signature) = match (&credentials.installation, signature) {
        (Some(installation), Some(signature)) => (&installation.server_key, signature),
        (Some(_), None) => return Err("bunq's signature is missing from the response, which was not used"),
        (None, None) => return Ok(()),
        (None, Some(signature)) => {
            introduced = introduced_key(&response.body).ok_or("the response brings no public key to verify it with")?;
            (&introduced, signature)
        }
    };
    let headers = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    if key.verifies(&response.body, signature)
        || key.verifies(&message_with_headers(response.status.as_u16(), headers, &response.body), signature)
    {
        return Ok(());
    }
    Err("bunq's signature is not valid for the response, which was not used")
}

fn introduced_key(body: &[u8]) -> Option<VerifyingKey> {
    let envelope: InstallationResponse = serde_json::from_slice(body).ok()?;
    let key = envelope.response.into_iter().find_map(|item| item.server_public_key)?;
    VerifyingKey::from_pem(&key.server_public_key).ok()
}

/// Returns the error for a response that is not a success.
pub(crate) fn refusal(response: &ReceivedResponse, operation: &Operation, is_signed: bool) -> Error {
    let (kind, message) = match response.status.as_u16() {
        401 if operation.auth == Auth::Installation => (
            ErrorKind::Unauthorized,
            "bunq does not accept the installation: check the API key and the environment; if bunq has forgotten it, \
             remove what the context store holds, or build a new client if there is no store",
        ),
        401 => (
            ErrorKind::Unauthorized,
            "bunq does not accept the credentials: check the API key, that it is of this environment, \
             and that it may be used from this machine's IP address",
        ),
        404 => (ErrorKind::NotFound, "bunq has no such object"),
        429 => (ErrorKind::RateLimited, "too many calls for bunq's rate limit"),
        466 => (ErrorKind::Rejected, "bunq demands a signature"),
        491 => (ErrorKind::Maintenance, "bunq is under maintenance"),
        408 | 500.. => (ErrorKind::Server, "bunq, or a proxy in front of it, has failed"),
        _ => (ErrorKind::Rejected, "bunq refuses the request"),
    };
    Error::new(kind, Sent::Responded, message).refused_by(&bunq_messages(&response.body), is_signed)
}

/// bunq's messages in an error response; none if the body is not its envelope.
fn bunq_messages(body: &[u8]) -> Vec<String> {
    let said = serde_json::from_slice::<ErrorResponse>(body).map(|envelope| envelope.error).unwrap_or_default();
    said.into_iter()
        .filter_map(|item| item.error_description.or(item.error_description_translated))
        .take(MAX_MESSAGES)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::transport::credentials::Installation;
    use crate::transport::signature::SigningKey;

    fn response(retry_after: &str) -> ReceivedResponse {
        let headers = [(RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap())].into_iter().collect();
        ReceivedResponse { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() }
    }

    #[test]
    fn retry_after_is_in_seconds_or_a_date() {
        assert_eq!(response("7").retry_after(), Some(Duration::from_secs(7)));
        let soon = Timestamp::now() + Duration::from_secs(100);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&soon).unwrap();
        let wait = response(&date).retry_after().unwrap();
        assert!(wait <= Duration::from_secs(100) && wait > Duration::from_secs(50), "{date}: {wait:?}");
        for nonsense in ["", "-1", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(response(nonsense).retry_after(), None, "{nonsense}");
        }
    }

    #[test]
    fn the_verifying_vectors_hold() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../openapi/vectors/verifying.json")).unwrap();
        let own_key = SigningKey::generate().unwrap().to_pkcs8().unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let installation = Installation {
                signing_key: SigningKey::from_pkcs8(&own_key).unwrap(),
                server_key: VerifyingKey::from_pem(case["public_key_pem"].as_str().unwrap()).unwrap(),
                token: "token".into(),
            };
            let credentials = Credentials { installation: Some(installation.into()), token: None };
            let headers: Vec<(&str, &str)> = Deserialize::deserialize(&case["headers"]).unwrap();
            let response = ReceivedResponse {
                status: StatusCode::from_u16(Deserialize::deserialize(&case["status"]).unwrap()).unwrap(),
                headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
                body: Bytes::copy_from_slice(case["body"].as_str().unwrap().as_bytes()),
            };
            assert_eq!(verify(&credentials, &response).is_ok(), case["valid"], "{}", case["name"]);
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200), status in 100_u16..1000) {
            let response = ReceivedResponse {
                status: StatusCode::from_u16(status).unwrap(),
                headers: [(SIGNATURE, HeaderValue::from_static("AAAA"))].into_iter().collect(),
                body: body.into(),
            };
            prop_assert!(verify(&Credentials::default(), &response).is_err());
            prop_assert!(refusal(&response, &Operation::GET_PROVISION, false).to_string().len() < 4000);
        }
    }
}
