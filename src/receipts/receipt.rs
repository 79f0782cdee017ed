//! One receipt: what bunq has signed, and the check of it.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::transport::observer::Exchange;
use crate::transport::signature::{SignatureForm, VerifyingKey, message_with_headers};
use crate::types::{SECRET_MEMBERS, redact};

/// The format that this version writes, and the newest that it reads.
const VERSION: u32 = 1;

const REQUEST_ID: &str = "X-Bunq-Client-Request-Id";
const RESPONSE_ID: &str = "X-Bunq-Client-Response-Id";

/// A response that bunq has signed, and its signature. Its JSON is a line of a [`ReceiptFile`](crate::ReceiptFile).
///
/// It holds no credential: of a response that holds one, it has a digest. It may be about a person.
///
/// # What it proves
///
/// - With [`SignatureForm::Body`]: that bunq has signed this body. The signature does not bind the request, the status, the ids or
///   the time; those are what this machine has noted.
/// - With [`SignatureForm::WithHeaders`]: that bunq has signed this status, these headers and this body. The id of the request is
///   among the headers, but what was requested with it is not.
/// - With a digest in place of the body: that bunq has signed a message with this digest. Whoever has the message can show it.
/// - All that only if the [public key](Self::public_key) is bunq's: the receipt cannot show that itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The version of the format.
    #[serde(rename = "bunq_partner_receipt")]
    pub version: u32,
    /// When the response was verified, by the clock of the machine that wrote the receipt.
    pub at: Timestamp,
    /// The operation that was called.
    pub operation: String,
    /// The `X-Bunq-Client-Request-Id` of the request.
    pub request_id: Option<String>,
    /// The `X-Bunq-Client-Response-Id` of the response.
    pub response_id: Option<String>,
    /// The HTTP status of the response.
    pub status: u16,
    /// The headers of the response that the older form of signatures covers, in its order. None if they repeat a secret.
    pub headers: Vec<(String, String)>,
    /// The body, unless it holds a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The SHA-256 of what was signed, in hexadecimal digits, if the body holds a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_sha256: Option<String>,
    /// What the signature covers.
    pub signature_form: SignatureForm,
    /// bunq's signature, in base64.
    pub signature: String,
    /// bunq's public key, as PEM.
    pub public_key: String,
}

impl Receipt {
    /// The receipt of an exchange.
    pub(super) fn new(exchange: &Exchange) -> Self {
        let body = std::str::from_utf8(&exchange.body).ok();
        let body = body.filter(|body| !exchange.repeats_secret && !holds_secret(body));
        let headers = if exchange.repeats_secret { Vec::new() } else { exchange.signed_headers.clone() };
        let signed = || match exchange.signature_form {
            SignatureForm::WithHeaders => message(exchange.status, &exchange.signed_headers, &exchange.body),
            _ => exchange.body.clone(),
        };
        Self {
            version: VERSION,
            at: exchange.at,
            operation: exchange.operation.id.to_owned(),
            request_id: exchange.request_id.clone(),
            response_id: exchange.response_id.clone(),
            status: exchange.status,
            headers,
            body: body.map(str::to_owned),
            signed_sha256: body.is_none().then(|| hex(digest(&SHA256, &signed()).as_ref())),
            signature_form: exchange.signature_form,
            signature: exchange.signature.clone(),
            public_key: exchange.public_key.clone(),
        }
    }

    /// Checks the signature with the public key of the receipt, which has to be bunq's if that is known.
    pub(super) fn check(&self, bunqs: Option<&VerifyingKey>) -> Result<(), String> {
        if self.version > VERSION {
            return Err("it has a format that this version of bunq-partner does not know".into());
        }
        let unusable = |problem| format!("its public key cannot be used: {problem}");
        let key = VerifyingKey::from_pem(&self.public_key).map_err(unusable)?;
        let signature = self.signature.as_bytes();
        let is_valid = match (&self.body, &self.signed_sha256) {
            (Some(body), None) if self.signature_form == SignatureForm::Body => {
                key.verifies(body.as_bytes(), signature)
            }
            (Some(body), None) => key.verifies(&message(self.status, &self.headers, body.as_bytes()), signature),
            (None, Some(digest)) => unhex(digest).is_some_and(|digest| key.verifies_digest(&digest, signature)),
            _ => return Err("it has neither a body nor a digest, or both".into()),
        };
        if !is_valid {
            return Err("its signature is not valid".into());
        }
        let header = |wanted: &str| self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let is_contradicted = self.signature_form == SignatureForm::WithHeaders
            && self.body.is_some()
            && (header(REQUEST_ID).is_some_and(|id| Some(id) != self.request_id.as_ref())
                || header(RESPONSE_ID).is_some_and(|id| Some(id) != self.response_id.as_ref()));
        if is_contradicted {
            return Err("its ids are not those that are signed".into());
        }
        if bunqs.is_some_and(|bunqs| bunqs.to_der() != key.to_der()) {
            return Err("it is signed with another key than bunq's".into());
        }
        Ok(())
    }

    /// Whether the body itself is signed for, and not only a digest of it.
    pub fn shows_body(&self) -> bool {
        self.body.is_some()
    }

    /// The SHA-256 of the public key in its X.509 form, in hexadecimal digits, as
    /// `openssl pkey -pubin -outform DER | sha256sum` shows it.
    pub fn public_key_fingerprint(&self) -> Option<String> {
        let key = VerifyingKey::from_pem(&self.public_key).ok()?;
        Some(hex(digest(&SHA256, key.to_der()).as_ref()))
    }
}

fn message(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    message_with_headers(status, headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), body)
}

/// Whether a body holds a member that the document calls secret. Of what is not JSON, nothing is known.
fn holds_secret(body: &str) -> bool {
    // Of two members with one name, a parser shows the last.
    if SECRET_MEMBERS.iter().any(|name| body.contains(&format!("\"{name}\""))) {
        return true;
    }
    let Ok(body) = serde_json::from_str::<serde_json::Value>(body) else { return true };
    let mut redacted = body.clone();
    redact(&mut redacted, SECRET_MEMBERS);
    redacted != body
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(byte).collect::<Option<_>>())?
}
