//! `api`: any operation of the document.

use std::io;

use bunq_partner::{ErrorKind, RequestPreview, files};
use serde_json::{Map, Value};

use super::arguments::ApiOptions;
use super::exit::Failure;
use super::invocation::Invocation;
use super::output::write_value;
use super::provisions::show_previews;
use super::reading;
use super::standard_input::announce;

/// No body is larger.
const MAX_BODY: usize = 1024 * 1024;

pub(super) async fn run(invocation: &Invocation, options: &ApiOptions, body: Option<&Value>) -> Result<(), Failure> {
    if options.dry_run.dry_run {
        return show_previews(invocation.format(), &[preview(invocation, options, body)?]);
    }
    let response = invocation.client()?.api().call(options.operation, &parameters(options), body).await?;
    let json = match (&response[..], invocation.shows_secrets()) {
        // The call has succeeded, and bunq has nothing to say of it.
        (b"", _) if !options.operation.has_result => Some(Value::Object(Map::new())),
        (body, true) => serde_json::from_slice(body).ok(),
        (_, false) => response.redacted(),
    };
    let not_json =
        || Failure::of_kind(ErrorKind::InvalidResponse, "the call has succeeded, but its response is not JSON");
    if let Some(id) = response.response_id() {
        invocation.note(&format!("response id {id}"));
    }
    Ok(write_value(invocation.format(), &json.ok_or_else(not_json)?)?)
}

/// What the call changes at bunq, in the words of a question; `None` if it reads.
pub(super) fn change(
    invocation: &Invocation,
    options: &ApiOptions,
    body: Option<&Value>,
) -> Result<Option<String>, Failure> {
    if options.operation.method == "GET" {
        return Ok(None);
    }
    let RequestPreview { method, url, .. } = preview(invocation, options, body)?;
    let body = body.map(|body| format!(" with {body}")).unwrap_or_default();
    Ok(Some(format!("Send {method} {url}{body}")))
}

/// Checks what is given, before a body is read from standard input.
pub(super) fn check(invocation: &Invocation, options: &ApiOptions) -> Result<(), Failure> {
    preview(invocation, options, options.body.is_some().then_some(&Value::Null)).map(drop)
}

/// The request that would be sent.
fn preview(invocation: &Invocation, options: &ApiOptions, body: Option<&Value>) -> Result<RequestPreview, Failure> {
    let preview = invocation.client()?.api().preview(options.operation, &parameters(options), body);
    preview.map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => {
            let hint = format!("`bunq-partner help api {}` says what it takes", options.operation.id);
            Failure::from(error).with_hint(hint)
        }
        _ => error.into(),
    })
}

fn parameters(options: &ApiOptions) -> Vec<(&str, &str)> {
    options.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Reads the body that is given. It may wait for standard input; dropping the future does not wait for it.
pub(super) async fn body(options: &ApiOptions) -> Result<Option<Value>, Failure> {
    let Some(text) = &options.body else { return Ok(None) };
    let read = match text.strip_prefix('@') {
        _ if text == "-" => {
            announce("a body in JSON");
            reading::text(MAX_BODY, || Ok(io::stdin())).await
        }
        Some(file) => {
            let file = file.to_owned();
            reading::text(MAX_BODY, move || files::open_plain(file)).await
        }
        // A shell takes it over from a file with the rest.
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).into()),
    };
    let read = read.map_err(|error| Failure::usage(format!("--body {text}: {error}")))?;
    // The message of serde_json may quote a part of it, which may be about a person.
    serde_json::from_str(read.expose()).map(Some).map_err(|error| {
        Failure::usage(format!("--body is not JSON: line {}, column {}", error.line(), error.column()))
    })
}
