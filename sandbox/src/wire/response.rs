//! Responses: bunq's envelopes, and bunq's signature over them.

use std::fmt;
use std::time::Duration;

use bunq_partner::RateLimit;
use bunq_partner::wire::SignatureForm;
use bunq_partner::wire::SigningKey;
use serde_json::{Value, json};

use crate::settings::DeadToken;

pub(crate) const REQUEST_ID: &str = "X-Bunq-Client-Request-Id";
const RESPONSE_ID: &str = "X-Bunq-Client-Response-Id";
const SIGNATURE: &str = "X-Bunq-Server-Signature";

/// A response on its way out, as [`Sandbox::before_signing`](crate::Sandbox::before_signing) and
/// [`Sandbox::after_signing`](crate::Sandbox::after_signing) may edit it.
///
/// Its body may hold tokens, so `Debug` shows no more than the status and the body's length.
#[derive(Clone)]
#[non_exhaustive]
pub struct RawResponse {
    /// The HTTP status. A status that HTTP does not allow, such as 99, becomes 500.
    pub status: u16,
    /// The headers. Those that frame the body (`Content-Length`, `Transfer-Encoding`) are left out, because the
    /// server sets them.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

impl RawResponse {
    /// A success: bunq's envelope around `items`.
    pub(crate) fn items(items: Vec<Value>) -> Self {
        Self::json(200, &Value::from_iter([("Response", items)]))
    }

    /// A success that names what was made or changed.
    pub(crate) fn id(id: u64) -> Self {
        Self::items(vec![json!({ "Id": { "id": id } })])
    }

    /// A file as it is.
    pub(crate) fn file(content_type: &str, file: &[u8]) -> Self {
        Self { body: file.to_vec(), ..Self::success(content_type) }
    }

    /// A page of a listing.
    pub(crate) fn page(items: Vec<Value>, pagination: Value) -> Self {
        Self::json(200, &Value::from_iter([("Response", items.into()), ("Pagination", pagination)]))
    }

    /// A failure, in bunq's envelope.
    pub(crate) fn refusal(refusal: &Refusal) -> Self {
        let mut error = json!({
            "error_description": refusal.message,
            "error_description_translated": refusal.message,
        });
        if let Some(additional) = &refusal.additional {
            error["error_additional_parameter"] = json!([additional]);
        }
        let mut response = Self::json(refusal.status, &json!({ "Error": [error] }));
        response.headers.extend(refusal.allow.clone().map(|methods| ("Allow".to_owned(), methods)));
        response
    }

    /// A proxy's response: a page of HTML, without bunq's headers.
    pub(crate) fn of_a_proxy(status: u16, page: &str) -> Self {
        Self::text(status, "text/html", page)
    }

    /// A failure of the sandbox itself, where nothing can be signed.
    pub(crate) fn broken(reason: &str) -> Self {
        Self::text(500, "text/plain", reason)
    }

    /// A refusal that is not the bank's.
    pub(crate) fn forbidden(reason: &str) -> Self {
        Self::text(403, "text/plain", reason)
    }

    fn text(status: u16, content_type: &str, text: &str) -> Self {
        Self { status, headers: vec![("Content-Type".to_owned(), content_type.to_owned())], body: text.into() }
    }

    fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes(), ..Self::success("application/json") }
    }

    /// A success without a body yet.
    fn success(content_type: &str) -> Self {
        let headers = vec![
            ("Content-Type".to_owned(), content_type.to_owned()),
            (RESPONSE_ID.to_owned(), uuid::Uuid::new_v4().to_string()),
        ];
        Self { status: 200, headers, body: Vec::new() }
    }

    /// Adds the id of the request.
    pub(crate) fn echo(&mut self, request_id: Option<&str>) {
        if let Some(id) = request_id {
            self.headers.push((REQUEST_ID.to_owned(), id.to_owned()));
        }
    }

    /// Removes the id of the request.
    pub(crate) fn without_echo(mut self) -> Self {
        self.headers.retain(|(name, _)| name != REQUEST_ID);
        self
    }

    /// Adds `Retry-After`.
    pub(crate) fn retry_after(&mut self, after: Duration) {
        self.headers.push(("Retry-After".to_owned(), whole_seconds(after)));
    }

    /// Whether it is not a success.
    pub(crate) fn is_refusal(&self) -> bool {
        !(200..300).contains(&self.status)
    }

    /// Edits the body if it is JSON.
    pub(crate) fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        if let Ok(mut body) = serde_json::from_slice(&self.body) {
            edit(&mut body);
            self.body = body.to_string().into_bytes();
        }
    }

    /// Signs another response than this one, and puts that signature on this one.
    pub(crate) fn sign_wrongly(&mut self, key: &SigningKey, form: SignatureForm) {
        let body = self.body.clone();
        self.body.push(b' ');
        self.sign(key, form);
        self.body = body;
    }

    /// Signs the response.
    pub(crate) fn sign(&mut self, key: &SigningKey, form: SignatureForm) {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let signature = key.sign(&form.message(self.status, headers, &self.body));
        match signature {
            Ok(signature) => self.headers.push((SIGNATURE.to_owned(), signature)),
            Err(error) => *self = Self::broken(&error.to_string()),
        }
    }
}

fn whole_seconds(duration: Duration) -> String {
    let rounded_up = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    rounded_up.to_string()
}

impl fmt::Debug for RawResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawResponse")
            .field("status", &self.status)
            .field("body_length", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A refusal: its status and its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    /// The allowed methods, if the method is refused.
    allow: Option<String>,
    /// What bunq adds to the message.
    additional: Option<Value>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None, additional: None }
    }

    /// With more about the refusal beside its message.
    pub(crate) fn with_additional(self, additional: Value) -> Self {
        Self { additional: Some(additional), ..self }
    }

    /// The path exists, but not with this method. HTTP requires the list of its methods.
    pub(crate) fn method_not_allowed(method: &str, path: &str, allow: String) -> Self {
        Self { allow: Some(allow), ..Self::new(405, format!("{path} does not know the method {method}.")) }
    }

    /// Something in the request is wrong.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// The body must be signed, and is not.
    pub(crate) fn unsigned(status: u16) -> Self {
        Self::new(status, "The request must be signed: X-Bunq-Client-Signature is missing.")
    }

    /// The caller did not prove who it is.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, message)
    }

    /// The sandbox has no such thing, though the document or a later version of it may.
    pub(crate) fn not_implemented(what: impl fmt::Display) -> Self {
        Self::new(501, format!("The sandbox does not implement {what}."))
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// The token is dead or unknown.
    pub(crate) fn dead(manner: DeadToken) -> Self {
        match manner {
            DeadToken::Unauthorized => Self::unauthorized("The session is over, or the token is unknown."),
            DeadToken::InsufficientAuthentication => Self::new(403, "Insufficient authentication."),
            DeadToken::InsufficientAuthorisation => Self::new(403, "Insufficient authorisation."),
        }
    }

    /// The id of the request is not new.
    pub(crate) fn used_request_id(status: u16, id: &str) -> Self {
        Self::new(status, format!("The {REQUEST_ID} {id} has been used before."))
    }

    /// The call would break a rate limit, which bunq names in these words.
    pub(crate) fn too_many_calls(limit: RateLimit) -> Self {
        let RateLimit { calls, per, .. } = limit;
        let seconds = per.as_secs_f64();
        Self::new(
            429,
            format!("Too many requests. You can do a maximum of {calls} calls per {seconds} seconds to this endpoint."),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunq_partner::wire::VerifyingKey;

    #[test]
    fn a_refusal_is_written_in_bunqs_envelope() {
        test_timeout::start();
        let response = RawResponse::refusal(&Refusal::not_found("Nothing here."));
        assert_eq!(response.status, 404);
        assert_eq!(
            String::from_utf8(response.body).unwrap(),
            r#"{"Error":[{"error_description":"Nothing here.","error_description_translated":"Nothing here."}]}"#
        );
    }

    #[test]
    fn a_limit_is_named_in_bunqs_words() {
        test_timeout::start();
        let limit = |per| RateLimit::new(3, per);
        let whole = Refusal::too_many_calls(limit(Duration::from_secs(3))).message;
        assert!(whole.contains("a maximum of 3 calls per 3 seconds "), "{whole}");
        let part = Refusal::too_many_calls(limit(Duration::from_millis(250))).message;
        assert!(part.contains("a maximum of 3 calls per 0.25 seconds "), "{part}");
    }

    #[test]
    fn seconds_are_rounded_up() {
        test_timeout::start();
        assert_eq!(whole_seconds(Duration::from_millis(2001)), "3");
        assert_eq!(whole_seconds(Duration::ZERO), "0");
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX.to_string());
    }

    #[test]
    fn both_forms_of_signature_cover_what_they_should() {
        test_timeout::start();
        let key = SigningKey::generate().unwrap();
        let verifying = VerifyingKey::from_pem(&key.public_key_pem().unwrap()).unwrap();
        for form in [SignatureForm::Body, SignatureForm::WithHeaders] {
            let mut response = RawResponse::id(7);
            response.echo(Some("request-1"));
            response.sign(&key, form);
            let (_, signature) = response.headers.last().unwrap();
            let headers = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let signed = headers.filter(|(name, _)| *name != SIGNATURE);
            let message = form.message(200, signed, &response.body);
            assert!(verifying.verifies(&message, signature.as_bytes()), "{form:?}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        test_timeout::start();
        let response = RawResponse::items(vec![json!({ "Token": { "token": "t0ken" } })]);
        assert_eq!(format!("{response:?}"), "RawResponse { status: 200, body_length: 42, .. }");
    }
}
