//! The request of one attempt: its headers, its signature, and how it is sent.
//!
//! This module knows nothing of permits and other attempts, and does not interpret the response.

use aws_lc_rs::digest::Digest;
use bytes::{Bytes, BytesMut};
use reqwest::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Request, StatusCode};
use uuid::Uuid;

use super::certificates::wrong_setting;
use super::config::TransportConfig;
use super::connections::{Connections, Reuse};
use super::credentials::Credentials;
use super::http_config::HttpConfig;
use super::path_user;
use super::response::{self, REQUEST_ID, RESPONSE_ID, ReceivedResponse, WARNING};
use crate::error::{CallMetadata, Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::types::{CacheControl, Language};

/// The largest number of characters that are stored of a response's id.
const MAX_ID_CHARS: usize = 100;

/// The largest number of characters that are stored of a warning.
const MAX_WARNING_CHARS: usize = 500;

pub(crate) const AUTHENTICATION: HeaderName = HeaderName::from_static("x-bunq-client-authentication");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("x-bunq-client-signature");

/// The headers of every request.
pub(crate) fn fixed_headers(config: &HttpConfig) -> Result<HeaderMap, Error> {
    let constant = HeaderValue::from_static;
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Error::internal("a header cannot be sent"));
    Ok(HeaderMap::from_iter([
        (CACHE_CONTROL, value(CacheControl::NoCache.as_str())?),
        (USER_AGENT, config.user_agent()?),
        (HeaderName::from_static("x-bunq-language"), value(config.language.unwrap_or(Language::EnUs).as_str())?),
        (HeaderName::from_static("x-bunq-region"), constant("nl_NL")),
        (HeaderName::from_static("x-bunq-geolocation"), constant("0 0 0 0 000")),
    ]))
}

/// Makes the request of one attempt: the user of its session in the path, its headers, its own id, its signature. Its body is shared
/// with those of the other attempts.
///
/// Every request with a body, which has this digest, is signed, except the installation, which introduces the key.
pub(crate) fn prepare(
    request: &Request,
    operation: &Operation,
    digest: Option<&Digest>,
    credentials: &Credentials,
    fixed_headers: &HeaderMap,
    metadata: &mut CallMetadata,
) -> Result<Request, Error> {
    let failed = |problem: &str| Error::internal(problem).with_metadata(metadata.clone());
    let mut request = request.try_clone().ok_or_else(|| failed("the body can be sent only once"))?;
    let user = credentials.user.map(|user| user.to_string()).unwrap_or_default();
    if let Some(path) = path_user::filled_in(operation, request.url(), &user) {
        if user.is_empty() {
            return Err(failed("the credentials have no user for the path"));
        }
        request.url_mut().set_path(&path);
    }
    let signature = match (&credentials.installation, digest) {
        (Some(installation), Some(digest)) => {
            Some(installation.signing_key.sign_digest(digest).map_err(|error| failed(&error.to_string()))?)
        }
        _ => None,
    };
    let request_id = Uuid::new_v4().to_string();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| failed("a token cannot be sent as a header"));
    let headers = request.headers_mut();
    headers.extend(fixed_headers.clone());
    headers.insert(REQUEST_ID, value(&request_id)?);
    if let Some(signature) = signature {
        headers.insert(SIGNATURE, value(&signature)?);
    }
    if let Some(token) = &credentials.token {
        let mut token = value(token.expose())?;
        token.set_sensitive(true);
        headers.insert(AUTHENTICATION, token);
    }
    metadata.request_id = Some(request_id);
    Ok(request)
}

/// The largest size of the body of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// The name of its setting.
    setting: &'static str,
    bytes: usize,
}

impl Bound {
    /// The bound of a response with this status.
    fn of(operation: &Operation, status: StatusCode, config: &TransportConfig) -> Self {
        // A refusal is JSON, whatever the result is.
        if operation.returns_bytes && status.is_success() {
            Self { setting: "max_download_size", bytes: config.max_download_size }
        } else {
            Self { setting: "max_response_size", bytes: config.max_response_size }
        }
    }
}

/// Which responses must name the request that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// None but files: one caller uses the connections.
    Optional,
    /// Successes: no other caller uses the connection, but what a session is opened with must be certain.
    OfSuccesses,
    /// All: what does not may be another caller's.
    Required,
}

/// Sends a request and reads the whole response.
///
/// A response to another request is not used, and the connections that it may have come on are given up. So is a success that does not
/// say which request it belongs to, if it must. Of a refusal that does not, only the status is kept. What is kept of the headers is
/// without the secrets of the call.
pub(crate) async fn send(
    connections: &Connections,
    reuse: Reuse,
    request: Request,
    credentials: &Credentials,
    config: &TransportConfig,
    echo: Echo,
    metadata: &mut CallMetadata,
) -> Result<ReceivedResponse, Error> {
    let connection = connections.get(reuse)?;
    let mut response = connection.http.execute(request).await.map_err(broken)?;
    let (status, mut headers) = (response.status(), std::mem::take(response.headers_mut()));
    metadata.status = Some(status.as_u16());
    let text = |name: &HeaderName, max_chars| Some(credentials.excerpt(headers.get(name)?.to_str().ok()?, max_chars));
    metadata.response_id = text(&RESPONSE_ID, MAX_ID_CHARS);
    metadata.warning = text(&WARNING, MAX_WARNING_CHARS);
    let named = headers.get(REQUEST_ID).map(HeaderValue::as_bytes);
    let is_echoed = named.map(|named| metadata.request_id.as_deref().map(str::as_bytes) == Some(named));
    let problem = match is_echoed {
        Some(false) => Some("the response belongs to another request (X-Bunq-Client-Request-Id), and was not used"),
        // Nothing else says whose it is, and which file.
        None if (echo != Echo::Optional || metadata.operation.returns_bytes) && status.is_success() => {
            Some("the response does not say to which request it belongs (X-Bunq-Client-Request-Id), and was not used")
        }
        Some(true) | None => None,
    };
    if let Some(problem) = problem {
        let error = Error::new(ErrorKind::Connection, Sent::Maybe, problem);
        return Err(match connections.give_up(&connection) {
            Ok(()) => error,
            // If other connections cannot be made, the next response is checked against its request too.
            Err(failed) => error.with_source(failed),
        });
    }
    let mut body = read(response, Bound::of(metadata.operation, status, config)).await?;
    if echo == Echo::Required && is_echoed.is_none() {
        // A refusal may tell another caller what bunq knows of a person.
        body.clear();
        headers.remove(response::SIGNATURE);
    }
    Ok(ReceivedResponse { status, headers, body })
}

async fn read(mut response: reqwest::Response, Bound { setting, bytes: most }: Bound) -> Result<Bytes, Error> {
    let too_large = || {
        let problem = format_args!("the response is larger than {most} bytes: set {setting} to more");
        Error::new(ErrorKind::InvalidResponse, Sent::Responded, problem)
    };
    let announced = response.content_length().map_or(Ok(0), usize::try_from);
    let announced = announced.ok().filter(|announced| *announced <= most).ok_or_else(too_large)?;
    // A buffer that grows is copied.
    let mut body = BytesMut::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if chunk.len() > most - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The error for a broken connection, which says whether the request may have been sent.
fn broken(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let (kind, sent, message) = if error.is_connect() {
        (ErrorKind::Connect, Sent::No, "no connection to bunq")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, Sent::Maybe, "bunq did not respond in time")
    } else {
        (ErrorKind::Connection, Sent::Maybe, "the connection to bunq broke before the response was complete")
    };
    let setting = if kind == ErrorKind::Connect { wrong_setting(&error) } else { None };
    let is_misconfiguration = setting.is_some();
    let failed = match setting.flatten() {
        Some(change) => Error::new(kind, sent, format_args!("{message}: {change}")),
        None => Error::new(kind, sent, message),
    };
    failed.with_source(error).due_to_a_setting(is_misconfiguration)
}
