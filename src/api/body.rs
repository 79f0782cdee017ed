//! The body of a call by name, and the checks of bodies that are bytes, such as files, in both directions.

use std::fmt;

use bytes::Bytes;
use reqwest::Request;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::client::RequestError;
use crate::operation::{ContentType, Operation};
use crate::transport::Transport;

/// The body of a call by name: see [`Api::call`](crate::Api::call). A `&Value` and an `Option<&Value>` are converted into it.
///
/// Its `Debug` shows the kind, and the type and the size of bytes. It does not show the content, which may be about a person.
///
/// ```
/// use bunq_partner::RequestBody;
/// use serde_json::json;
///
/// let closing = json!({ "status": "CANCELLED" });
/// let (json, none) = (RequestBody::from(&closing), RequestBody::from(None));
/// let file = RequestBody::bytes("image/gif", &b"GIF89a"[..]);
/// assert_eq!(format!("{json:?} {none:?} {file:?}"), "Json(..) None Bytes(image/gif, 6 bytes)");
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum RequestBody<'a> {
    /// No body.
    #[default]
    None,
    /// JSON. It is sent unchanged, or refused if a text in it is `[redacted]`, which is how secrets are shown.
    Json(&'a Value),
    /// Bytes, such as a file: at least one, and at most [`max_upload_size`](crate::ClientBuilder::max_upload_size). They are sent
    /// and signed as they are.
    Bytes {
        /// The name of one of [`Operation::content_types`](crate::Operation::content_types), such as `image/png`.
        content_type: &'a str,
        /// The content of the file.
        bytes: Bytes,
    },
}

impl<'a> RequestBody<'a> {
    /// Makes a body of bytes with this content type. A `Vec<u8>` is taken over without a copy.
    pub fn bytes(content_type: &'a str, bytes: impl Into<Bytes>) -> Self {
        Self::Bytes { content_type, bytes: bytes.into() }
    }
}

impl<'a> From<&'a Value> for RequestBody<'a> {
    fn from(json: &'a Value) -> Self {
        Self::Json(json)
    }
}

impl<'a> From<Option<&'a Value>> for RequestBody<'a> {
    fn from(json: Option<&'a Value>) -> Self {
        json.map_or(Self::None, Self::Json)
    }
}

impl fmt::Debug for RequestBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Json(_) => f.write_str("Json(..)"),
            Self::Bytes { content_type, bytes } => write!(f, "Bytes({content_type}, {} bytes)", bytes.len()),
        }
    }
}

/// Sets these bytes and their content type as the body of a request, if the operation takes them.
pub(super) fn with_bytes(
    request: Result<Request, RequestError>,
    transport: &Transport,
    operation: &Operation,
    content_type: &str,
    body: Bytes,
) -> Result<Request, RequestError> {
    let mut request = request?;
    let most = transport.config().max_upload_size;
    let content_type = check(operation, content_type, &body, most).map_err(RequestError::Refused)?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type.name));
    *request.body_mut() = Some(body.into());
    Ok(request)
}

/// Returns the content type of this name, or what is wrong with the name or with the bytes.
fn check<'a>(operation: &'a Operation, name: &str, body: &[u8], most: usize) -> Result<&'a ContentType, String> {
    let types = operation.content_types;
    let Some(content_type) = types.iter().find(|content_type| content_type.name == name) else {
        return Err(format!("`{name}` is no content type that it takes: give {}", names(types)));
    };
    if body.is_empty() {
        return Err("the file is empty".into());
    }
    if body.len() > most {
        let size = body.len();
        return Err(format!("the file has {size} bytes, and at most {most} are sent: set max_upload_size to more"));
    }
    if !content_type.begins(body) {
        let other = types.iter().find(|other| other.begins(body));
        let found = other.map_or_else(
            || format!("it is none that the operation takes: convert it to one of {}", names(types)),
            |other| format!("it is {}", other.name),
        );
        return Err(format!("by its first bytes, the file is not {name}: {found}"));
    }
    Ok(content_type)
}

fn names(types: &[ContentType]) -> String {
    types.iter().map(|content_type| content_type.name).collect::<Vec<_>>().join(", ")
}

/// What is wrong with a result that is bytes.
pub(super) fn problem_of_result(body: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "Response")]
        _items: IgnoredAny,
    }
    if body.is_empty() {
        return Some("the response is empty");
    }
    serde_json::from_slice::<Envelope>(body)
        .is_ok()
        .then_some("the response is bunq's envelope, where a file is expected")
}
