//! The response of one attempt, and the check of its signature.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::Digest;
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::credentials::Credentials;
use super::signature::{SignatureForm, VerifyingKey};
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::types::{InstallationResponse, from_json};

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
    pub(super) fn compression(&self, credentials: &Credentials) -> Option<String> {
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
pub(super) fn invalid_signature(kind: ErrorKind, problem: &str, credentials: &Credentials) -> Error {
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

/// The cause if bunq has given its key just now.
const CHANGED: &str =
    "bunq has given its key just now, so something between this machine and bunq changes the responses";

/// The cause if the key is from an earlier run.
const OUTDATED: &str = "if this stays so, the client's copy of bunq's key is damaged or out of date";

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

/// For tests of this folder.
#[cfg(test)]
pub(super) mod samples {
    use std::sync::LazyLock;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::transport::credentials::Installation;
    use crate::transport::signature::SigningKey;
    use crate::types::Secret;

    pub(in crate::transport) fn response<'a>(
        status: u16,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: impl Into<Bytes>,
    ) -> ReceivedResponse {
        let headers = headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers.collect());
        ReceivedResponse { status, headers, body: body.into() }
    }

    /// The credentials of a client that knows this key as bunq's.
    pub(in crate::transport) fn credentials(server_key: VerifyingKey) -> Credentials {
        static OWN_KEY: LazyLock<Secret> = LazyLock::new(|| SigningKey::generate().unwrap().to_pkcs8().unwrap());
        let signing_key = SigningKey::from_pkcs8(&OWN_KEY).unwrap();
        let installation = Installation { signing_key, server_key, token: "token".into(), received: None };
        Credentials { installation: Some(installation.into()), ..Credentials::default() }
    }

    /// What a future makes that waits for nothing: a small body is one piece.
    pub(in crate::transport) fn at_once<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize as _;

    use super::samples::{at_once, credentials, response};
    use super::*;
    use crate::operation::Operation;
    use crate::transport::refusal::refusal;

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
            let headers: Vec<(&str, &str)> = Vec::deserialize(&case["headers"]).unwrap();
            let status = u16::deserialize(&case["status"]).unwrap();
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
}
