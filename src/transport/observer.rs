//! Observers of verified exchanges.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::HeaderValue;

use super::credentials::{BoxFuture, Credentials};
use super::response::{ReceivedResponse, SIGNATURE, SignedMessage};
use super::signature::{SignatureForm, signed_headers};
use crate::error::CallMetadata;
use crate::operation::Operation;
use crate::types::ProvisionId;

/// Observes each success response of a client, those of its users included, after its signature was verified.
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
    /// The provision of the user for whom it was called; `None` if it was called for the partner itself.
    pub for_user: Option<ProvisionId>,
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
    pub body: Bytes,
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
        for_user: Option<ProvisionId>,
        credentials: &Credentials,
        response: &ReceivedResponse,
        signed: &SignedMessage,
    ) -> Option<Self> {
        let signature = response.headers.get(SIGNATURE).and_then(|value| value.to_str().ok())?;
        let headers = || response.headers.iter().map(|(name, value)| (name.as_str(), HeaderValue::as_bytes(value)));
        let signed_headers: Vec<_> = signed_headers(headers())
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned()))
            .collect();
        // A secret can only be read in a body that is text.
        let repeats_in_body = std::str::from_utf8(&response.body).is_ok_and(|body| credentials.occur_in(body));
        let repeats_secret = repeats_in_body || signed_headers.iter().any(|(_, value)| credentials.occur_in(value));
        Some(Self {
            operation: metadata.operation,
            for_user,
            at: Timestamp::now(),
            request_id: metadata.request_id.clone(),
            response_id: metadata.response_id.clone(),
            status: response.status.as_u16(),
            signed_headers,
            body: response.body.clone(),
            signature: signature.to_owned(),
            signature_form: signed.form,
            public_key: credentials.installation.as_ref()?.server_key.to_pem(),
            signed_sha256: signed.digest.as_ref().to_vec(),
            repeats_secret,
        })
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("operation", &self.operation.id)
            .field("for_user", &self.for_user)
            .field("status", &self.status)
            .field("request_id", &self.request_id)
            .field("response_id", &self.response_id)
            .finish_non_exhaustive()
    }
}
