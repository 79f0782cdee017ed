//! The generated client. It builds the requests and sends nothing.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::Request;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

use crate::transport::Transport;

/// The characters that are percent-encoded in a segment of a path: those of <https://url.spec.whatwg.org/#path-percent-encode-set>,
/// and those that would end the segment or be read as encoded: `/`, `\` and `%`.
const NOT_IN_A_SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'/')
    .add(b'\\')
    .add(b'%');

#[allow(clippy::all, dead_code, unused_imports, missing_docs, unreachable_pub)]
mod generated {
    use crate::api::client::{RequestError as Error, add_query, encode_path, set_json};
    use crate::types;

    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}

/// The client that builds the requests of the typed methods.
pub(super) fn requests(transport: &Transport) -> generated::Client {
    generated::Client::new_with_client(transport.base_url(), transport.http())
}

/// Why a request could not be made.
pub(super) enum RequestError {
    /// It could not be built. The reason is left out, because values of the typed methods do not cause it.
    Unbuildable,
    /// Something that the caller has given is refused, for this reason.
    Refused(String),
}

impl From<reqwest::Error> for RequestError {
    fn from(_: reqwest::Error) -> Self {
        Self::Unbuildable
    }
}

fn encode_path(segment: &str) -> String {
    utf8_percent_encode(segment, NOT_IN_A_SEGMENT).to_string()
}

/// Adds a parameter to the query, unless it is absent. A list is one parameter for each of its items, an object one for each of its
/// members.
fn add_query(request: &mut Request, name: &str, value: &impl Serialize) -> Result<(), RequestError> {
    fn add(request: &mut Request, name: &str, value: Value) {
        let text = match value {
            Value::Null => return,
            Value::Array(items) => return items.into_iter().for_each(|item| add(request, name, item)),
            Value::Object(members) => {
                return members.into_iter().for_each(|(name, value)| add(request, &name, value));
            }
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
        };
        request.url_mut().query_pairs_mut().append_pair(name, &text);
    }
    add(request, name, serde_json::to_value(value).map_err(|_| RequestError::Unbuildable)?);
    Ok(())
}

/// Sets the body.
pub(super) fn set_json(request: &mut Request, body: &impl Serialize) -> Result<(), RequestError> {
    fn set(request: &mut Request, json: Vec<u8>) {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(json.into());
    }
    set(request, serde_json::to_vec(body).map_err(|_| RequestError::Unbuildable)?);
    Ok(())
}

/// Adds a header that a caller gives to a request.
pub(super) fn with_header(
    request: Result<Request, RequestError>,
    name: &'static str,
    text: Option<&str>,
) -> Result<Request, RequestError> {
    let mut request = request?;
    if let Some(text) = text {
        let refused = || RequestError::Refused(format!("{name}: a header is ASCII on one line"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| RequestError::Unbuildable)?;
        request.headers_mut().insert(name, HeaderValue::from_str(text).map_err(|_| refused())?);
    }
    Ok(request)
}

#[cfg(test)]
mod tests;
