//! The response of one attempt: its signature, and the error that a refusal becomes.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::Digest;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::credentials::Credentials;
use super::signature::{SignatureForm, VerifyingKey};
use crate::error::{Error, ErrorKind, FORBIDDEN, Remedy, Sent, is_token_refusal};
use crate::operation::{Auth, Operation};
use crate::types::{ErrorResponse, InstallationResponse, from_json};

/// How many of bunq's messages an error carries.
const MAX_MESSAGES: usize = 5;

/// How many characters an error carries of the name of a compression.
const MAX_ENCODING: usize = 40;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-bunq-client-request-id");
pub(crate) const RESPONSE_ID: HeaderName = HeaderName::from_static("x-bunq-client-response-id");
pub(crate) const WARNING: HeaderName = HeaderName::from_static("x-bunq-warning");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("x-bunq-server-signature");

/// A complete response as received.
pub(crate) struct ReceivedResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl ReceivedResponse {
    /// The request id that the response echoes.
    pub(crate) fn echo(&self) -> Option<&[u8]> {
        self.headers.get(REQUEST_ID).map(HeaderValue::as_bytes)
    }

    /// What is wrong if the response is compressed. The requests of this crate do not allow it, and a signature covers
    /// the body as bunq has sent it.
    fn compression(&self, credentials: &Credentials) -> Option<String> {
        let encoding = self.headers.get(CONTENT_ENCODING)?.to_str().unwrap_or("in an unknown way");
        (!encoding.trim().eq_ignore_ascii_case("identity")).then(|| {
            format!(
                "the response is compressed ({}), which bunq was not asked for, so that its signature does not fit: have what is \
                 between this machine and bunq leave its responses as they are",
                credentials.excerpt(encoding, MAX_ENCODING)
            )
        })
    }

    /// How long bunq asks to wait, given in seconds or as a date.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        text.parse().ok().map(Duration::from_secs).or_else(|| {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(date.duration_since(Timestamp::now())).ok()
        })
    }
}

/// Checks the signature of a response, which covers only the body, or in the older form the headers too.
///
/// The response to the installation brings the key that it is checked with, so its signature only shows that it is
/// complete; TLS shows who sent it. bunq does not document that it signs that response, so there the signature may be
/// missing.
///
/// Returns what the signature covers, if there is one.
pub(crate) async fn verify(
    credentials: &Credentials,
    response: &ReceivedResponse,
    used: &FormInUse,
) -> Result<Option<SignedMessage>, Error> {
    if let Some(problem) = response.compression(credentials) {
        return Err(Error::new(ErrorKind::Signature, Sent::Responded, problem));
    }
    let refused = |problem: &str| Error::new(ErrorKind::Signature, Sent::Responded, problem);
    let signature = response.headers.get(SIGNATURE).map(HeaderValue::as_bytes);
    let introduced;
    let (key, signature) = match (&credentials.installation, signature) {
        (Some(installation), Some(signature)) => (&installation.server_key, signature),
        (Some(_), None) => return Err(refused(MISSING)),
        (None, None) => return Ok(None),
        (None, Some(signature)) => {
            introduced = introduced_key(&response.body).map_err(|problem| refused(&problem))?;
            (&introduced, signature)
        }
    };
    let headers = || response.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let status = response.status.as_u16();
    for form in used.first() {
        let digest = form.digest(status, headers(), &response.body).await;
        if key.verifies_digest(digest.as_ref(), signature) {
            used.note(form);
            return Ok(Some(SignedMessage { form, digest }));
        }
    }
    Err(invalid_signature(ErrorKind::Signature, INVALID, credentials))
}

/// The form of the last signature that was valid. It is tried first, so that a body is hashed once.
#[derive(Debug, Default)]
pub(crate) struct FormInUse {
    is_older: AtomicBool,
}

impl FormInUse {
    fn first(&self) -> [SignatureForm; 2] {
        let forms = [SignatureForm::Body, SignatureForm::WithHeaders];
        if self.is_older.load(Ordering::Relaxed) { [forms[1], forms[0]] } else { forms }
    }

    fn note(&self, form: SignatureForm) {
        self.is_older.store(form == SignatureForm::WithHeaders, Ordering::Relaxed);
    }
}

/// What a signature of a response covers.
#[derive(Debug)]
pub(crate) struct SignedMessage {
    pub(crate) form: SignatureForm,
    /// The SHA-256 of its bytes.
    pub(crate) digest: Digest,
}

/// The error for a signature that is not valid, which says what may be the cause.
fn invalid_signature(kind: ErrorKind, problem: &str, credentials: &Credentials) -> Error {
    let is_new = credentials.installation.as_ref().is_none_or(|installation| installation.is_new());
    let cause = if is_new { CHANGED } else { OUTDATED };
    let error = Error::new(kind, Sent::Responded, format_args!("{problem}; {cause}")).with_invalid_signature(true);
    if is_new { error } else { error.with_remedy(Remedy::Reinstall) }
}

/// For a success response without a signature.
const MISSING: &str = "bunq's signature is missing from the response, which was not used: something between this machine and bunq \
                       has removed it, or has answered in bunq's place";

/// For a success response whose signature is not valid.
const INVALID: &str = "bunq's signature of the response is not valid, and it was not used";

/// For a refusal whose signature is not valid.
const CONTRADICTED: &str = "refused, perhaps not by bunq: the signature of the refusal is not valid";

/// The cause if bunq has given its key just now.
const CHANGED: &str =
    "bunq has given its key just now, so something between this machine and bunq changes the responses";

/// The cause if the key is from an earlier run.
const OUTDATED: &str = "if this stays so, the client's copy of bunq's key is damaged or out of date";

/// For a refusal that either has bunq's envelope or echoes the id, but not both.
const UNPROVEN: &str = "refused, perhaps not by bunq but by a proxy: check what is between this machine and bunq";

/// For a refusal that has neither.
const NOT_BUNQ: &str =
    "something other than bunq has answered, such as a proxy: check what is between this machine and bunq";

fn introduced_key(body: &[u8]) -> Result<VerifyingKey, Cow<'static, str>> {
    const NONE: &str = "the response brings no public key to verify it with";
    let envelope: InstallationResponse = from_json(body).map_err(|_| NONE)?;
    let key = envelope.response.into_iter().find_map(|item| item.server_public_key).ok_or(NONE)?;
    let unusable = |problem| format!("the response brings a public key that it cannot be verified with: {problem}");
    VerifyingKey::from_pem(&key.server_public_key).map_err(|problem| unusable(problem).into())
}

/// Whether bunq has signed a refusal. The wait that an unsigned one asks for is capped.
pub(crate) async fn is_signed(response: &ReceivedResponse, credentials: &Credentials, used: &FormInUse) -> bool {
    credentials.installation.is_some() && verify(credentials, response, used).await.is_ok()
}

/// Returns the error for a response that is not a success, and decides whether bunq itself refuses.
///
/// bunq refuses if the body is bunq's envelope and the response belongs to the request with `request_id`. Most refusals
/// are not signed; if there is a signature, it must be valid. Before there is an installation, no signature can be
/// verified.
pub(crate) fn refusal(
    response: &ReceivedResponse,
    is_signed: bool,
    operation: &Operation,
    credentials: &Credentials,
    request_id: Option<&str>,
    max_details: usize,
) -> Error {
    let items = from_json(&response.body).map(|envelope: ErrorResponse| envelope.error);
    let items = items.unwrap_or_default();
    let is_echoed = response.echo().is_some_and(|echo| request_id.map(str::as_bytes) == Some(echo));
    let compression = response.compression(credentials);
    let is_contradicted = compression.is_none()
        && response.headers.contains_key(SIGNATURE)
        && credentials.installation.is_some()
        && !is_signed;
    let is_envelope = !items.is_empty();
    let is_from_bunq = is_envelope && is_echoed && !is_contradicted;

    let additional = is_envelope.then(|| additional_parameters(&response.body, max_details)).flatten();
    let additional = additional.map(|text| text.map(|text| credentials.redact(&text)));
    let texts = items.into_iter().filter_map(|item| item.error_description.or(item.error_description_translated));
    let messages: Vec<_> = texts.take(MAX_MESSAGES).map(|text| credentials.redact(&text)).collect();
    let (kind, bunqs) = meaning(response.status.as_u16(), operation, &messages);
    let message = match kind {
        _ if kind == ErrorKind::Server || is_from_bunq => bunqs,
        _ if is_envelope || is_echoed => UNPROVEN,
        _ => NOT_BUNQ,
    };
    // Only bunq knows what a caller may do, so another's 403 is a plain refusal.
    let kind = if kind == ErrorKind::Forbidden && !is_from_bunq { ErrorKind::Rejected } else { kind };
    let error = match compression {
        Some(problem) if kind != ErrorKind::Server => Error::new(kind, Sent::Responded, problem),
        _ if is_contradicted => invalid_signature(kind, CONTRADICTED, credentials),
        // It is the first call, and its path holds no id.
        _ if response.status == StatusCode::NOT_FOUND && operation.auth == Auth::None => {
            Error::new(ErrorKind::Rejected, Sent::Responded, NO_API).due_to_a_setting(true)
        }
        _ => Error::new(kind, Sent::Responded, message),
    };
    error.with_refusal(is_from_bunq, &messages, additional)
}

/// What bunq adds to the messages of a refusal, as a JSON array of the values, or the problem if it is longer than `most` bytes; none
/// if it adds nothing.
fn additional_parameters(body: &[u8], most: usize) -> Option<Result<String, String>> {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        #[serde(rename = "Error", borrow)]
        error: Vec<Item<'a>>,
    }
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow, default)]
        error_additional_parameter: Option<&'a RawValue>,
    }
    let refusal: Refusal<'_> = serde_json::from_slice(body).ok()?;
    let values: Vec<_> =
        refusal.error.into_iter().filter_map(|item| item.error_additional_parameter).map(RawValue::get).collect();
    if values.is_empty() {
        return None;
    }
    // Each with a comma or a bracket behind it.
    let length = 1 + values.iter().map(|value| value.len() + 1).sum::<usize>();
    if length > most {
        return Some(Err(format!(
            "bunq has added {length} bytes to the refusal, and {most} are kept: set max_refusal_details to more"
        )));
    }
    Some(Ok(format!("[{}]", values.join(","))))
}

/// For a server that does not know the path of the installation.
const NO_API: &str =
    "the base URL does not lead to bunq's API: it ends with `/v1`, after the path of a gateway if there is one";

/// What a status of bunq's means, as a kind and in words. A wrong API key has the status 400; its message tells it from
/// other mistakes.
fn meaning(status: u16, operation: &Operation, messages: &[String]) -> (ErrorKind, &'static str) {
    let takes_api_key = operation.auth == Auth::Installation;
    let is_about_the_key = || messages.iter().any(|message| message.contains("Incorrect API key or IP address"));
    // The key has opened the session, so the message does not blame the key.
    let refused = match operation.auth {
        Auth::None => "bunq does not accept the installation",
        Auth::Installation | Auth::Session => "bunq does not accept the session any more: a later call opens another",
    };
    let is_about_the_token = || messages.iter().any(|message| is_token_refusal(message));
    match status {
        400 if takes_api_key && is_about_the_key() => (ErrorKind::Unauthorized, "bunq does not accept the API key"),
        401 | 403 if takes_api_key => {
            (ErrorKind::Unauthorized, "bunq does not accept the API key, or not the installation it came with")
        }
        401 => (ErrorKind::Unauthorized, refused),
        403 if is_about_the_token() => (ErrorKind::Unauthorized, refused),
        403 => (ErrorKind::Forbidden, FORBIDDEN),
        404 => (ErrorKind::NotFound, "bunq has no such object"),
        429 => (ErrorKind::RateLimited, "too many calls for bunq's rate limit"),
        466 => (ErrorKind::Rejected, "bunq demands a signature"),
        491 => (ErrorKind::Maintenance, "bunq is under maintenance"),
        // bunq's own server errors are not always in its envelope.
        408 | 500.. => (ErrorKind::Server, "bunq, or a proxy in front of it, has failed"),
        _ => (ErrorKind::Rejected, "bunq refuses the request"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;
    use crate::transport::credentials::Installation;
    use crate::transport::signature::SigningKey;
    use crate::types::Secret;

    fn response<'a>(
        status: u16,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: impl Into<Bytes>,
    ) -> ReceivedResponse {
        let headers = headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers.collect());
        ReceivedResponse { status, headers, body: body.into() }
    }

    /// The credentials of a client that knows this key as bunq's.
    fn credentials(server_key: VerifyingKey) -> Credentials {
        static OWN_KEY: LazyLock<Secret> = LazyLock::new(|| SigningKey::generate().unwrap().to_pkcs8().unwrap());
        let signing_key = SigningKey::from_pkcs8(&OWN_KEY).unwrap();
        let installation = Installation { signing_key, server_key, token: "token".into(), received: None };
        Credentials { installation: Some(installation.into()), ..Credentials::default() }
    }

    /// What a future makes that waits for nothing: a small body is one piece.
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().unwrap()
    }

    #[test]
    fn retry_after_is_in_seconds_or_a_date() {
        test_timeout::start();
        let retry_after = |text: &str| response(429, [("Retry-After", text)], "").retry_after();
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        let soon = Timestamp::now() + Duration::from_secs(100);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&soon).unwrap();
        let wait = retry_after(&date).unwrap();
        assert!(wait <= Duration::from_secs(100) && wait > Duration::from_secs(50), "{date}: {wait:?}");
        for nonsense in ["", "-1", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(retry_after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_verifying_vectors_hold() {
        test_timeout::start();
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../openapi/vectors/verifying.json")).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let text = |member: &str| case[member].as_str().unwrap();
            let headers: Vec<(&str, &str)> = Deserialize::deserialize(&case["headers"]).unwrap();
            let status = Deserialize::deserialize(&case["status"]).unwrap();
            let response = response(status, headers, text("body").to_owned());
            let credentials = credentials(VerifyingKey::from_pem(text("public_key_pem")).unwrap());
            // Whatever form held last.
            for last in [SignatureForm::Body, SignatureForm::WithHeaders] {
                let used = FormInUse::default();
                used.note(last);
                let signed = at_once(verify(&credentials, &response, &used));
                assert_eq!(signed.is_ok(), case["valid"], "{}", case["name"]);
                assert_eq!(used.first()[0], signed.map_or(last, |signed| signed.unwrap().form), "{}", case["name"]);
            }
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200), status in 100_u16..1000) {
            test_timeout::start();
            let response = response(status, [("X-Bunq-Server-Signature", "AAAA")], body);
            prop_assert!(at_once(verify(&Credentials::default(), &response, &FormInUse::default())).is_err());
            let refusal = refusal(&response, false, &Operation::GET_PROVISION, &Credentials::default(), None, 0);
            prop_assert!(refusal.to_string().len() < 4000);
        }
    }

    /// The rule that decides who refuses.
    #[test]
    fn a_refusal_of_bunqs_own_has_its_envelope_and_the_echo() {
        test_timeout::start();
        let key = SigningKey::generate().unwrap();
        let credentials = credentials(VerifyingKey::from_pem(&key.public_key_pem().unwrap()).unwrap());
        let envelope = r#"{"Error":[{"error_description":"No."}]}"#;
        let signature = key.sign(envelope.as_bytes()).unwrap();
        for (body, echo, signature, expected) in [
            (envelope, Some("sent"), None, true),
            (envelope, Some("sent"), Some(signature.as_str()), true),
            (envelope, Some("sent"), Some("AAAA"), false),
            (envelope, Some("another"), None, false),
            (envelope, Some("another"), Some(signature.as_str()), false),
            (envelope, None, None, false),
            (r#"{"Error":[]}"#, Some("sent"), None, false),
            (r#"{"error":"No."}"#, Some("sent"), None, false),
            ("<html>", Some("sent"), None, false),
            ("", Some("sent"), None, false),
        ] {
            let headers = [("X-Bunq-Client-Request-Id", echo), ("X-Bunq-Server-Signature", signature)];
            let response = response(403, headers.into_iter().filter_map(|(name, value)| Some((name, value?))), body);
            let is_signed = at_once(is_signed(&response, &credentials, &FormInUse::default()));
            let refusal = refusal(&response, is_signed, &Operation::GET_PROVISION, &credentials, Some("sent"), 0);
            assert_eq!(refusal.is_from_bunq(), expected, "{body} {echo:?} {signature:?}");
        }
    }

    #[test]
    fn a_wrong_key_is_told_from_another_mistake() {
        test_timeout::start();
        let wrong_key = ["User credentials are incorrect. Incorrect API key or IP address.".to_owned()];
        let mistake = ["The description is too long.".to_owned()];
        for operation in [&Operation::CREATE_DEVICE_SERVER, &Operation::CREATE_SESSION] {
            assert_eq!(meaning(400, operation, &wrong_key).0, ErrorKind::Unauthorized);
            assert_eq!(meaning(400, operation, &mistake).0, ErrorKind::Rejected);
            assert_eq!([401, 403].map(|status| meaning(status, operation, &[]).0), [ErrorKind::Unauthorized; 2]);
        }
        assert_eq!(meaning(400, &Operation::CREATE_PROVISION, &wrong_key).0, ErrorKind::Rejected);
        assert_eq!(meaning(403, &Operation::CREATE_PROVISION, &[]).0, ErrorKind::Forbidden);
        let dead_token = ["Insufficient authorisation.".to_owned()];
        assert_eq!(meaning(403, &Operation::CREATE_PROVISION, &dead_token).0, ErrorKind::Unauthorized);
    }

    #[test]
    fn what_bunq_adds_to_its_messages_is_kept() {
        test_timeout::start();
        const MOST: usize = 20_000;
        let refusal = |additional: &str| {
            let body = format!(r#"{{"Error":[{{"error_description":"No."{additional}}}, {{}}]}}"#);
            refusal(&response(466, [], body), false, &Operation::GET_PROVISION, &Credentials::default(), None, MOST)
        };
        let kept = refusal(r#","error_additional_parameter":[{"secret": "x"}]"#);
        assert_eq!(kept.additional_parameter(), Some(r#"[[{"secret": "x"}]]"#));
        assert!(!format!("{kept} {kept:?}").contains("secret"));
        assert_eq!(kept.details::<serde_json::Value>().unwrap(), [serde_json::json!({ "secret": "x" })]);
        let none = refusal(r#","error_additional_parameter":null"#);
        assert_eq!((none.additional_parameter(), none.details::<String>().unwrap()), (None, Vec::new()));
        let one = refusal(r#","error_additional_parameter":"x""#);
        assert_eq!(one.details::<String>().unwrap(), ["x"]);
        assert_eq!(one.details::<u8>().unwrap_err().kind(), ErrorKind::InvalidResponse);
        let many = refusal(&format!(r#","error_additional_parameter":[{}0]"#, "0,".repeat(1000)));
        assert!(many.additional_parameter().is_some() && many.details::<u8>().is_err());

        let text =
            |length: usize| format!(r#","error_additional_parameter":"{}""#, "x".repeat(length - r#"[""]"#.len()));
        assert_eq!(refusal(&text(MOST)).details::<String>().unwrap()[0].len(), MOST - 4);
        let cut = refusal(&text(MOST + 1));
        assert_eq!(cut.additional_parameter(), None);
        let told = cut.details::<String>().unwrap_err().to_string();
        let expected = "bunq has added 20001 bytes to the refusal, and 20000 are kept: set max_refusal_details to more";
        assert!(told.contains(expected), "{told}");
    }
}
