//! The result of a successful call, with the ids that bunq's support asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use reqwest::{Body, Request};
use serde::Serialize;
use serde_json::Value;

use crate::error::{CallMetadata, Error};
use crate::operation::{ContentType, Operation};
use crate::transport::VerifiedResponse;
use crate::transport::path_user::{SESSION_USER, filled_in};
use crate::types::{REDACTED, redact, redact_members};

/// The verified bytes of a response. It derefs to them.
///
/// Its `Debug` shows only their number, because they may contain tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseBody(Bytes);

impl ResponseBody {
    /// The body as JSON, with `"[redacted]"` in place of each member that the document calls secret, in any object.
    /// Other members may be about a person. `None` if the body is not JSON.
    pub fn redacted(&self) -> Option<Value> {
        let mut body = serde_json::from_slice(&self.0).ok()?;
        redact(&mut body);
        Some(body)
    }
}

impl Deref for ResponseBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<ResponseBody> for Vec<u8> {
    fn from(body: ResponseBody) -> Self {
        body.0.into()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseBody({} bytes)", self.0.len())
    }
}

/// A request that was not sent: see [`Api::preview`](crate::Api::preview). Of its headers it has those that the caller gives. The
/// others contain a token and a signature, and are made when a request is sent.
///
/// Its `Debug` does not show the body, which may be about a person.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RequestPreview {
    /// Its HTTP method.
    pub method: &'static str,
    /// Its URL. `{user_id}` in it stands for the user of the session, whom the client fills in when it sends the request.
    pub url: String,
    /// The [headers that the caller gives](Operation::headers). They may be about a person.
    pub headers: BTreeMap<&'static str, String>,
    /// Its body, if it is JSON.
    pub body: Option<Value>,
    /// Type and size of its body, if the body is bytes.
    pub upload: Option<UploadPreview>,
    #[serde(skip)]
    personal: &'static [&'static str],
}

/// A body of bytes that was not sent, in a [`RequestPreview`]: its type and its size, without the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UploadPreview {
    /// The content type, such as `image/png`.
    pub content_type: &'static str,
    /// The number of bytes.
    pub size: usize,
}

impl RequestPreview {
    pub(super) fn new(operation: &'static Operation, request: &Request) -> Self {
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        let headers = operation.headers.iter().filter_map(|name| Some((*name, header(name)?.to_owned()))).collect();
        let sent = request.body().and_then(Body::as_bytes);
        let is_it = |content_type: &&ContentType| header("content-type") == Some(content_type.name);
        let content_type = operation.content_types.iter().find(is_it).map(|content_type| content_type.name);
        let (body, upload) = match (content_type, sent) {
            (Some(content_type), Some(sent)) => (None, Some(UploadPreview { content_type, size: sent.len() })),
            (_, sent) => (sent.and_then(|body| serde_json::from_slice(body).ok()), None),
        };
        let url = request.url();
        let url = match filled_in(operation, url, SESSION_USER) {
            Some(path) => url.as_str().replacen(url.path(), &path, 1),
            None => url.to_string(),
        };
        Self { method: operation.method, url, headers, body, upload, personal: operation.personal }
    }

    /// The same request with `"[redacted]"` in place of each value of its headers and its body that the document calls
    /// [personal](Operation::personal).
    #[must_use]
    pub fn without_personal(mut self) -> Self {
        let headers = self.headers.iter_mut().filter(|(name, _)| self.personal.contains(*name));
        headers.for_each(|(_, text)| REDACTED.clone_into(text));
        self.body.iter_mut().for_each(|body| redact_members(body, self.personal));
        self
    }
}

impl fmt::Debug for RequestPreview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestPreview").field("method", &self.method).field("url", &self.url).finish_non_exhaustive()
    }
}

/// The result of a successful call. It derefs to the result itself.
///
/// ```no_run
/// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
/// let provision = client.api().get_provision("123".parse()?).await?;
/// println!("{} (bunq's id of the response: {:?})", provision.status, provision.response_id());
/// let provision = provision.into_inner();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Response<T> {
    value: T,
    metadata: CallMetadata,
}

impl Response<ResponseBody> {
    pub(super) fn of_bytes(response: VerifiedResponse) -> Self {
        Self::new(ResponseBody(response.body), response.metadata)
    }
}

impl<T> Response<T> {
    pub(super) fn new(value: T, metadata: CallMetadata) -> Self {
        Self { value, metadata }
    }

    /// Returns the result without the ids of the exchange.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Maps the result. A problem becomes an error with the ids of the exchange.
    pub(crate) fn try_map<U>(self, map: impl FnOnce(T) -> Result<U, String>) -> Result<U, Error> {
        map(self.value).map_err(|problem| Error::invalid_response(self.metadata, problem))
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        // A successful call always has one.
        self.metadata.status.unwrap_or_default()
    }

    /// The `X-Bunq-Client-Request-Id` of the attempt that succeeded.
    pub fn request_id(&self) -> Option<&str> {
        self.metadata.request_id.as_deref()
    }

    /// The `X-Bunq-Client-Response-Id`. bunq's support asks for it: log it.
    pub fn response_id(&self) -> Option<&str> {
        self.metadata.response_id.as_deref()
    }

    /// bunq's `X-Bunq-Warning`, a note for developers.
    pub fn warning(&self) -> Option<&str> {
        self.metadata.warning.as_deref()
    }

    /// How many attempts the call took.
    pub fn attempts(&self) -> u32 {
        self.metadata.attempts
    }
}

impl<T> Deref for Response<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
