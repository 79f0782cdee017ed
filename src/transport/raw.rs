//! Single exchanges as they are: the private room of `bunq-partner probe`, which asks a bank what it does with a repeated
//! request id, a dead token or a missing signature. It is hidden behind the feature `cli`, and no part of the crate's interface.
//!
//! Nothing is retried, renewed or verified here. The rate limit is kept unless a request says otherwise.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::OptionFuture;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde_json::Value;

use super::Transport;
use super::call_budget::CallBudget;
use super::connections::Reuse;
use super::rate_limit::Place;
use super::request::{self, AUTHENTICATION, SIGNATURE as SENT_SIGNATURE};
use super::response::{REQUEST_ID, ReceivedResponse, SIGNATURE};
use super::signature::{SigningKey, VerifyingKey, message_with_headers};
use crate::error::{CallMetadata, Error};
use crate::operation::Operation;
use crate::types::{InvalidValue, Secret};

/// How long a request waits for its turn at most; a session is opened once in 30 seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// The keys of a client, and bunq's as soon as it is known.
#[derive(Debug)]
pub struct RawKeys {
    own: SigningKey,
    bunqs: Option<VerifyingKey>,
}

impl RawKeys {
    /// Makes keys. It takes tens of milliseconds of the thread's time.
    ///
    /// # Errors
    ///
    /// [`Internal`](crate::ErrorKind::Internal) if none can be made.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self { own: SigningKey::generate().map_err(Error::internal)?, bunqs: None })
    }

    /// The public key, in PEM.
    ///
    /// # Errors
    ///
    /// [`Internal`](crate::ErrorKind::Internal) if it cannot be encoded.
    pub fn public_key(&self) -> Result<String, Error> {
        self.own.public_key_pem().map_err(Error::internal)
    }

    /// Takes bunq's key, in PEM.
    ///
    /// # Errors
    ///
    /// If it is no public RSA key of 2048 to 8192 bits.
    pub fn trust(&mut self, pem: &str) -> Result<(), InvalidValue> {
        let key = VerifyingKey::from_pem(pem).map_err(|problem| InvalidValue::new("server_public_key", problem))?;
        self.bunqs = Some(key);
        Ok(())
    }
}

/// One request, which need not be right.
#[derive(Clone)]
pub struct RawRequest<'a> {
    /// The operation whose rate limit it counts towards.
    pub operation: &'static Operation,
    /// Its method.
    pub method: &'static str,
    /// Its path below the base URL, with its query.
    pub path: String,
    /// Its body.
    pub body: Option<Value>,
    /// Its token.
    pub token: Option<&'a Secret>,
    /// Whether it is signed.
    pub is_signed: bool,
    /// Its `X-Bunq-Client-Request-Id`; `None`: one of its own.
    pub request_id: Option<String>,
    /// Whether it waits for its turn within the rate limit.
    pub keeps_rate_limit: bool,
}

impl fmt::Debug for RawRequest<'_> {
    /// Without the body, which may hold an API key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a signature of a response is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawSignature {
    /// There is none.
    Missing,
    /// It is bunq's, over the body alone.
    Body,
    /// It is bunq's in its older form, over status, headers and body.
    WithHeaders,
    /// It is not bunq's.
    Invalid,
}

/// A response as it came.
pub struct UnverifiedResponse {
    received: ReceivedResponse,
    /// The request's id.
    pub request_id: String,
}

impl UnverifiedResponse {
    /// Its HTTP status.
    pub fn status(&self) -> u16 {
        self.received.status.as_u16()
    }

    /// The value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.received.headers.get(name)?.to_str().ok()
    }

    /// Its body, if that is JSON; else `null`. It may hold tokens.
    pub fn body(&self) -> Value {
        serde_json::from_slice(&self.received.body).unwrap_or_default()
    }

    /// What its signature is worth.
    pub fn signature(&self, keys: &RawKeys) -> RawSignature {
        let Some(signature) = self.received.headers.get(SIGNATURE).map(HeaderValue::as_bytes) else {
            return RawSignature::Missing;
        };
        let Some(key) = &keys.bunqs else { return RawSignature::Invalid };
        let headers = self.received.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        if key.verifies(&self.received.body, signature) {
            RawSignature::Body
        } else if key.verifies(&message_with_headers(self.status(), headers, &self.received.body), signature) {
            RawSignature::WithHeaders
        } else {
            RawSignature::Invalid
        }
    }
}

impl fmt::Debug for UnverifiedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedResponse").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Sends requests as they are.
#[derive(Clone, Debug)]
pub struct RawClient {
    transport: Arc<Transport>,
}

impl RawClient {
    pub(crate) fn new(transport: Arc<Transport>) -> Self {
        Self { transport }
    }

    /// Sends one request, and returns its response, whatever that is.
    ///
    /// # Errors
    ///
    /// If there is no complete response, or one to another request.
    pub async fn send(&self, keys: &RawKeys, raw: RawRequest<'_>) -> Result<UnverifiedResponse, Error> {
        let Transport { limits, config, connections, headers, .. } = &*self.transport;
        let mut metadata = CallMetadata::new(raw.operation, 1);
        let url: Url = format!("{}{}", self.transport.base_url, raw.path).parse().map_err(Error::internal)?;
        let method = Method::from_bytes(raw.method.as_bytes()).map_err(Error::internal)?;
        let body = raw.body.map(|body| Bytes::from(body.to_string()));
        let mut built = self.transport.http().request(method, url).header("accept", "application/json");
        if let Some(body) = &body {
            built = built.header("content-type", "application/json").body(body.clone());
        }
        let mut request = built.build().map_err(|error| Error::internal(error.without_url()))?;
        *request.timeout_mut() = Some(config.attempt_timeout);

        let request_id = raw.request_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let value = |text: &str| HeaderValue::from_str(text).map_err(Error::internal);
        request.headers_mut().extend(headers.clone());
        request.headers_mut().insert(REQUEST_ID, value(&request_id)?);
        if let (true, Some(body)) = (raw.is_signed, &body) {
            let signature = keys.own.sign(body).map_err(Error::internal)?;
            request.headers_mut().insert(SENT_SIGNATURE, value(&signature)?);
        }
        if let Some(token) = raw.token {
            let mut token = value(token.expose())?;
            token.set_sensitive(true);
            request.headers_mut().insert(AUTHENTICATION, token);
        }
        metadata.request_id = Some(request_id.clone());

        let _permit = if raw.keeps_rate_limit {
            let budget = CallBudget::after(LONGEST_WAIT, limits.next_rank());
            let too_late = |wait| Error::internal(format_args!("its turn comes in {wait:.0?} only"));
            let place = limits.approach(raw.operation, budget.rank(), budget.send_by()).await.map_err(too_late)?;
            OptionFuture::from(place.map(Place::permit)).await.transpose().map_err(too_late)?
        } else {
            None
        };
        let received =
            request::send(connections, Reuse::Allowed, request, config.max_response_size, &mut metadata).await;
        let received = received.map_err(|error| error.with_metadata(metadata))?;
        Ok(UnverifiedResponse { received, request_id })
    }
}
