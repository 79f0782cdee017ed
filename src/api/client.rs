//! The generated client. It builds the requests and sends nothing.

use std::collections::HashMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Body, Request};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

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

/// The bounds of a body, beside those of its values.
pub(super) struct BodyBounds {
    /// It has at least one of these members, if there are any.
    pub(super) one_of: &'static [&'static str],
    pub(super) lists: &'static [ListBounds],
}

/// How many values a list has that is there.
pub(super) struct ListBounds {
    pub(super) name: &'static str,
    pub(super) least: usize,
    pub(super) most: usize,
}

/// Refuses a request whose body is not within these bounds.
pub(super) fn within_bounds(
    request: Result<Request, RequestError>,
    bounds: &BodyBounds,
) -> Result<Request, RequestError> {
    let request = request?;
    let body = request.body().and_then(Body::as_bytes).unwrap_or_default();
    let members: HashMap<String, &RawValue> = serde_json::from_slice(body).map_err(|_| RequestError::Unbuildable)?;
    if members.is_empty() && !bounds.one_of.is_empty() {
        let problem = format!("the body is empty: give at least one of {}", bounds.one_of.join(", "));
        return Err(RequestError::Refused(problem));
    }
    for ListBounds { name, least, most } in bounds.lists {
        let list = members.get(*name).map(|list| serde_json::from_str::<Vec<IgnoredAny>>(list.get()));
        let problem = match list.transpose().map_err(|_| RequestError::Unbuildable)?.map_or(*least, |list| list.len()) {
            count if count < *least => format!("{name} has {count} values: give {least} at least"),
            count if count > *most => format!("{name} has {count} values: give {most} at most"),
            _ => continue,
        };
        return Err(RequestError::Refused(problem));
    }
    Ok(request)
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
