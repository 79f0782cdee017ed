//! Observers of verified exchanges.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use reqwest::header::HeaderValue;

use super::credentials::{BoxFuture, Credentials};
use super::response::{ReceivedResponse, SIGNATURE};
use super::signature::{SignatureForm, signed_headers};
use crate::error::CallMetadata;
use crate::operation::Operation;

/// Observes each success response of a client after its signature was verified.
///
/// [`ReceiptFile`](crate::ReceiptFile) is one. The call goes on when the future has finished, or when its own time is
/// up. An observer cannot change or fail a call; it must record its own failures.
pub trait ExchangeObserver: fmt::Debug + Send + Sync + 'static {
    /// Records an exchange. It must not block its thread.
    fn observe<'a>(&'a self, exchange: &'a Exchange) -> BoxFuture<'a, ()>;
}

impl<T: ExchangeObserver + ?Sized> ExchangeObserver for Arc<T> {
    fn observe<'a>(&'a self, exchange: &'a Exchange) -> BoxFuture<'a, ()> {
        (**self).observe(exchange)
    }
}

/// A call and its response, whose signature is valid.
///
/// Its `Debug` does not show the body, which may contain tokens and be about a person.
#[derive(Clone)]
#[non_exhaustive]
pub struct Exchange {
    /// The operation that was called.
    pub operation: &'static Operation,
    /// When the response was verified, by this machine's clock.
    pub at: Timestamp,
    /// The `X-Bunq-Client-Request-Id` of the request.
    pub request_id: Option<String>,
    /// The `X-Bunq-Client-Response-Id` of the response.
    pub response_id: Option<String>,
    /// The HTTP status of the response.
    pub status: u16,
    /// The response headers that the older signature form covers, in its order.
    pub signed_headers: Vec<(String, String)>,
    /// The exact bytes of the body.
    pub body: Vec<u8>,
    /// bunq's signature, in base64.
    pub signature: String,
    /// What the signature covers.
    pub signature_form: SignatureForm,
    /// bunq's public key, with which the signature was verified, as PEM.
    pub public_key: String,
    /// The SHA-256 of the exact bytes that the signature covers.
    pub(crate) signed_sha256: Vec<u8>,
    /// Whether the response repeats a secret of the call.
    pub(crate) repeats_secret: bool,
}

impl Exchange {
    /// Makes the exchange of a response. `None` while bunq's key is not known yet.
    pub(super) fn new(
        metadata: &CallMetadata,
        credentials: &Credentials,
        response: &ReceivedResponse,
        form: SignatureForm,
    ) -> Option<Self> {
        let signature = response.headers.get(SIGNATURE).and_then(|value| value.to_str().ok())?;
        let headers = || response.headers.iter().map(|(name, value)| (name.as_str(), HeaderValue::as_bytes(value)));
        let status = response.status.as_u16();
        let signed = digest(&SHA256, &form.message(status, headers(), &response.body));
        let signed_headers: Vec<_> = signed_headers(headers())
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned()))
            .collect();
        let body = String::from_utf8_lossy(&response.body);
        let repeats = |text: &str| credentials.redact(text) != text;
        let repeats_secret = repeats(&body) || signed_headers.iter().any(|(_, value)| repeats(value));
        Some(Self {
            operation: metadata.operation,
            at: Timestamp::now(),
            request_id: metadata.request_id.clone(),
            response_id: metadata.response_id.clone(),
            status,
            signed_headers,
            body: response.body.to_vec(),
            signature: signature.to_owned(),
            signature_form: form,
            public_key: credentials.installation.as_ref()?.server_key.to_pem(),
            signed_sha256: signed.as_ref().to_vec(),
            repeats_secret,
        })
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("operation", &self.operation.id)
            .field("status", &self.status)
            .field("request_id", &self.request_id)
            .field("response_id", &self.response_id)
            .finish_non_exhaustive()
    }
}
