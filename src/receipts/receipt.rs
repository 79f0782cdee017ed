//! One receipt: what bunq has signed, and how it is checked.

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::transport::observer::Exchange;
use crate::transport::signature::{SignatureForm, VerifyingKey, message_with_headers, signed_headers};
use crate::types::{ProvisionId, SECRET_MEMBERS, redact};

/// The format that this version writes, and the newest that it reads.
const VERSION: u32 = 1;

const REQUEST_ID: &str = "X-Bunq-Client-Request-Id";
const RESPONSE_ID: &str = "X-Bunq-Client-Response-Id";

/// A response that bunq has signed, with its signature. Its JSON is one line of a [`ReceiptFile`](crate::ReceiptFile).
///
/// It contains no credential: if the response contains one, the receipt has only a digest of it. So it has of a response to a
/// [user's](Self::for_user) call that has more than ids, because that is about a person. One to a call of the partner may be about a
/// person too.
///
/// # What it proves
///
/// - With [`SignatureForm::Body`]: bunq has signed this body. The signature does not cover the request, the status, the
///   ids or the time; this machine has recorded those.
/// - With [`SignatureForm::WithHeaders`]: bunq has signed this status, these headers and this body.
///   [`signed_request_id`](Self::signed_request_id) and [`signed_response_id`](Self::signed_response_id) say whether
///   the ids are among the headers. The request itself is not signed.
/// - With a digest in place of the body: bunq has signed a message with this digest. Whoever has the message can show
///   it.
/// - All of this holds only if the [public key](Self::public_key) is bunq's, which the receipt itself cannot prove.
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
    /// The provision of the user for whom it was called; `None` if it was called for the partner itself. This machine has recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_user: Option<ProvisionId>,
    /// The `X-Bunq-Client-Request-Id` of the request.
    pub request_id: Option<String>,
    /// The `X-Bunq-Client-Response-Id` of the response.
    pub response_id: Option<String>,
    /// The HTTP status of the response.
    pub status: u16,
    /// The response headers that the older signature form covers, in its order. Empty if they repeat a secret.
    pub headers: Vec<(String, String)>,
    /// The body, unless it contains a secret, or is about a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The SHA-256 of the signed message, in hexadecimal, if the receipt does not have the body.
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
        let noted = Self {
            version: VERSION,
            at: exchange.at,
            operation: exchange.operation.id.to_owned(),
            for_user: exchange.for_user,
            request_id: exchange.request_id.clone(),
            response_id: exchange.response_id.clone(),
            status: exchange.status,
            headers: if exchange.repeats_secret { Vec::new() } else { exchange.signed_headers.clone() },
            body: None,
            signed_sha256: Some(hex(&exchange.signed_sha256)),
            signature_form: exchange.signature_form,
            signature: exchange.signature.clone(),
            public_key: exchange.public_key.clone(),
        };
        let body = std::str::from_utf8(&exchange.body).ok();
        let may_be_shown = |body: &&str| match exchange.for_user {
            _ if exchange.repeats_secret => false,
            None => !holds_secret(body),
            Some(_) => has_only_ids(body),
        };
        let body = body.filter(may_be_shown).map(str::to_owned);
        // If the receipt cannot reproduce the signed message byte for byte, it has a digest of it instead.
        let shown = Self { body, signed_sha256: None, ..noted.clone() };
        let message = shown.check_ids().and_then(|()| shown.signed_message());
        let is_shown = message.is_ok_and(|message| digest(&SHA256, &message).as_ref() == exchange.signed_sha256);
        if is_shown { shown } else { noted }
    }

    /// Checks the signature with the receipt's public key. If `bunqs` is given, the two keys must be equal.
    pub(super) fn check(&self, bunqs: Option<&VerifyingKey>) -> Result<(), String> {
        if self.version > VERSION {
            return Err("it has a format that this version of bunq-partner does not know".into());
        }
        let unusable = |problem| format!("its public key cannot be used: {problem}");
        let key = VerifyingKey::from_pem(&self.public_key).map_err(unusable)?;
        let signature = self.signature.as_bytes();
        let is_valid = match (&self.body, &self.signed_sha256) {
            (Some(_), None) => key.verifies(&self.signed_message()?, signature),
            (None, Some(digest)) => unhex(digest).is_some_and(|digest| key.verifies_digest(&digest, signature)),
            _ => return Err("it has neither a body nor a digest, or both".into()),
        };
        if !is_valid {
            return Err("its signature is not valid".into());
        }
        if bunqs.is_some_and(|bunqs| bunqs.to_der() != key.to_der()) {
            return Err("it is signed with another key than bunq's".into());
        }
        Ok(self.check_ids()?)
    }

    /// Compares the ids with those that are signed.
    fn check_ids(&self) -> Result<(), &'static str> {
        let is_contradicted =
            |name, id: &Option<String>| self.signed_headers(name).any(|value| Some(value) != id.as_ref());
        if is_contradicted(REQUEST_ID, &self.request_id) || is_contradicted(RESPONSE_ID, &self.response_id) {
            return Err("its ids are not those that are signed");
        }
        Ok(())
    }

    /// The bytes that bunq has signed. Anything that could be read in two ways is refused, so that the receipt says
    /// what was signed.
    fn signed_message(&self) -> Result<Vec<u8>, &'static str> {
        let body = self.body.as_deref().ok_or("it does not show its body")?;
        // From bytes, as all else is read: what reads a text would be compiled beside it.
        if serde_json::from_slice::<IgnoredAny>(body.as_bytes()).is_err() {
            return Err("its body is not JSON");
        }
        if self.signature_form == SignatureForm::Body {
            return Ok(body.as_bytes().to_vec());
        }
        let headers = || self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let is_header = |(name, value): (&str, &[u8])| {
            HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_bytes(value).is_ok()
        };
        // The headers must have bunq's order and case, and there must be no others.
        let canonical = signed_headers(headers());
        let is_canonical = headers().eq(canonical.iter().map(|(name, value)| (name.as_str(), *value)));
        if !is_canonical || !headers().all(is_header) {
            return Err("its headers are not written as bunq signs them");
        }
        Ok(message_with_headers(self.status, headers(), body.as_bytes()))
    }

    /// The id of the request, if bunq has signed it. Use it only on receipts that a
    /// [`ReceiptReader`](crate::ReceiptReader) has checked.
    pub fn signed_request_id(&self) -> Option<&str> {
        self.signed_headers(REQUEST_ID).next().map(String::as_str)
    }

    /// The id of the response, if bunq has signed it. Use it only on receipts that a
    /// [`ReceiptReader`](crate::ReceiptReader) has checked.
    pub fn signed_response_id(&self) -> Option<&str> {
        self.signed_headers(RESPONSE_ID).next().map(String::as_str)
    }

    /// The values of this header that the receipt shows and the signature covers.
    fn signed_headers(&self, wanted: &str) -> impl Iterator<Item = &String> {
        let are_signed = self.shows_body() && self.signature_form == SignatureForm::WithHeaders;
        self.headers.iter().filter(move |(name, _)| are_signed && name == wanted).map(|(_, value)| value)
    }

    /// Whether the signature covers the body that the receipt shows. Otherwise it has only a digest.
    pub fn shows_body(&self) -> bool {
        self.body.is_some()
    }

    /// The SHA-256 of the public key in its X.509 form, in hexadecimal, as printed by `openssl pkey -pubin -outform DER
    /// | sha256sum`.
    pub fn public_key_fingerprint(&self) -> Option<String> {
        let key = VerifyingKey::from_pem(&self.public_key).ok()?;
        Some(hex(digest(&SHA256, key.to_der()).as_ref()))
    }
}

/// Whether a body has a member that the document calls secret. If it is not JSON, it counts as one that has.
fn holds_secret(body: &str) -> bool {
    // If two members have the same name, a parser shows only the last, so the text is searched first.
    if SECRET_MEMBERS.iter().any(|name| body.contains(&format!("\"{name}\""))) {
        return true;
    }
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body.as_bytes()) else { return true };
    let mut redacted = body.clone();
    redact(&mut redacted);
    redacted != body
}

/// Whether a body is bunq's envelope with ids and nothing else.
fn has_only_ids(body: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Envelope {
        #[serde(rename = "Response")]
        _items: Vec<Item>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[serde(rename = "Id")]
        _id: Id,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Id {
        #[serde(rename = "id")]
        _id: u64,
    }
    serde_json::from_slice::<Envelope>(body.as_bytes()).is_ok()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(byte).collect::<Option<_>>())?
}
