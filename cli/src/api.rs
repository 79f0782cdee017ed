//! `api`: any operation of the document.

use std::io;
use std::path::PathBuf;

use bunq_partner::{Api, Client, ContentType, ErrorKind, RequestBody, RequestPreview, SessionOf, files};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::arguments::ApiOptions;
use super::download;
use super::exit::Failure;
use super::invocation::Invocation;
use super::output::write_value;
use super::provisions::{show_previews, shown_upload};
use super::reading;
use super::standard_input::announce;
use super::upload;

/// No body in JSON is larger.
const MAX_JSON: usize = 1024 * 1024;

/// How a user can be named.
const IN_CUSTODY: &str = "ID is that of its provision: `bunq-partner users list` shows who is in custody";

/// The body of a call.
pub(super) enum Body {
    None,
    Json(Value),
    File { content_type: &'static str, bytes: Bytes },
}

impl Body {
    fn of_request(&self) -> RequestBody<'_> {
        match self {
            Self::None => RequestBody::None,
            Self::Json(json) => json.into(),
            Self::File { content_type, bytes } => RequestBody::bytes(content_type, bytes.clone()),
        }
    }
}

pub(super) async fn run(invocation: &Invocation, options: &ApiOptions, body: &Body) -> Result<(), Failure> {
    if options.dry_run.dry_run {
        return show_previews(invocation.format(), &[preview(invocation, options, body.of_request())?]);
    }
    let has_file = options.operation.returns_bytes || !options.operation.content_types.is_empty();
    let client = match has_file {
        true => invocation.connection.client_with(upload::with_time_for_files)?,
        false => invocation.client()?,
    };
    let response = methods(&client, options).call(options.operation, &parameters(options), body.of_request()).await?;
    if let Some(id) = response.response_id() {
        invocation.note(&format!("response id {id}"));
    }
    if options.operation.returns_bytes {
        return download::deliver(invocation, options.output_file.as_deref(), &response);
    }
    let json = match (&response[..], invocation.shows_secrets()) {
        // The call has succeeded, and bunq has nothing to say of it.
        (b"", _) if !options.operation.has_result => Some(Value::Object(Map::new())),
        (body, true) => serde_json::from_slice(body).ok(),
        (_, false) => response.redacted(),
    };
    let not_json =
        || Failure::of_kind(ErrorKind::InvalidResponse, "the call has succeeded, but its response is not JSON");
    Ok(write_value(invocation.format(), &json.ok_or_else(not_json)?)?)
}

/// What the call changes at bunq, in the words of a question; `None` if it reads.
pub(super) fn change(invocation: &Invocation, options: &ApiOptions, body: &Body) -> Result<Option<String>, Failure> {
    if options.operation.method == "GET" {
        return Ok(None);
    }
    let RequestPreview { method, url, headers, body, upload, .. } = preview(invocation, options, body.of_request())?;
    let headers = headers.iter().map(|(name, text)| format!("{name} {text}"));
    let sent = body.map(|body| body.to_string()).into_iter().chain(upload.as_ref().map(shown_upload)).chain(headers);
    let sent: Vec<_> = sent.collect();
    let with = if sent.is_empty() { String::new() } else { format!(" with {}", sent.join(" and ")) };
    let user = options.user.map(|id| format!(" as the user of {id}")).unwrap_or_default();
    Ok(Some(format!("Send {method} {url}{with}{user}")))
}

/// Checks what is given, before a body is read.
pub(super) fn check(invocation: &Invocation, options: &ApiOptions) -> Result<(), Failure> {
    let (id, types) = (options.operation.id, options.operation.content_types);
    match (options.operation.session_of, options.user) {
        (Some(SessionOf::User), None) => {
            return Err(Failure::usage(format!("{id} is a user's: give --user ID")).with_hint(IN_CUSTODY));
        }
        (Some(SessionOf::Partner) | None, Some(_)) => {
            return Err(Failure::usage(format!("{id} is the partner's: leave out --user")));
        }
        _ => {}
    }
    let is_text = |body: &String| body != "-" && !body.starts_with('@');
    if !types.is_empty() && options.body.as_ref().is_some_and(is_text) {
        return Err(Failure::usage(format!("the body of {id} is a file: --body @FILE, or - for standard input")));
    }
    if types.is_empty() && options.content_type.is_some() {
        return Err(Failure::usage(format!("--content-type is for a body that is a file, and {id} takes none")));
    }
    // The body is not read yet. One that the operation takes stands for it.
    let begins = |ContentType { name, first_bytes, .. }: &ContentType| {
        RequestBody::bytes(name, first_bytes.first().copied().unwrap_or_default())
    };
    let body = match (&options.body, options.content_type) {
        (None, _) => RequestBody::None,
        (Some(_), None) => types.first().map_or(RequestBody::Json(&Value::Null), begins),
        (Some(_), Some(name)) => {
            let taken = types.iter().find(|content_type| content_type.name == name);
            taken.map_or(RequestBody::bytes(name, Bytes::new()), begins)
        }
    };
    preview(invocation, options, body)?;
    match (&options.output_file, options.operation.returns_bytes) {
        (Some(_), false) => {
            Err(Failure::usage(format!("--output-file is for a response that is a file: that of {id} is JSON")))
        }
        (None, false) => Ok(()),
        (None, true) if options.dry_run.dry_run => Ok(()),
        (path, true) => download::check(invocation, &format!("the response of {id}"), path.as_deref()),
    }
}

/// The request that would be sent.
fn preview(invocation: &Invocation, options: &ApiOptions, body: RequestBody<'_>) -> Result<RequestPreview, Failure> {
    let preview = methods(&invocation.client()?, options).preview(options.operation, &parameters(options), body);
    preview.map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => {
            let hint = format!("`bunq-partner help api {}` says what it takes", options.operation.id);
            Failure::from(error).with_hint(hint)
        }
        _ => error.into(),
    })
}

/// The methods with which the partner makes the call, or the user that is named.
fn methods(client: &Client, options: &ApiOptions) -> Api {
    options.user.map_or_else(|| client.api(), |id| client.users().of(id).api())
}

fn parameters(options: &ApiOptions) -> Vec<(&str, &str)> {
    options.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Reads the body that is given. It may wait for standard input; dropping the future does not wait for it.
pub(super) async fn body(options: &ApiOptions) -> Result<Body, Failure> {
    let Some(text) = &options.body else { return Ok(Body::None) };
    let unread = |error: io::Error| Failure::usage(format!("--body {text}: {error}"));
    let file = text.strip_prefix('@').map(str::to_owned);
    let types = options.operation.content_types;
    if !types.is_empty() {
        let bytes = upload::read(file.map(PathBuf::from)).await.map_err(unread)?;
        let found = types.iter().find(|content_type| content_type.begins(&bytes)).map(|content_type| content_type.name);
        let content_type = options.content_type.or(found).ok_or_else(|| {
            let names: Vec<_> = types.iter().map(|content_type| content_type.name).collect();
            Failure::usage(format!("--body {text}: by its first bytes it is none of {}", names.join(", ")))
                .with_hint("convert it to one of them, such as a scan in HEIC or TIFF to JPEG")
        })?;
        return Ok(Body::File { content_type, bytes });
    }
    let read = match file {
        _ if text == "-" => {
            announce("a body in JSON");
            reading::text(MAX_JSON, || Ok(io::stdin())).await
        }
        Some(file) => reading::text(MAX_JSON, move || files::open_plain(file)).await,
        // A shell takes it over from a file with the rest.
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).into()),
    };
    // The message of serde_json may quote a part of it, which may be about a person.
    serde_json::from_str(read.map_err(unread)?.expose()).map(Body::Json).map_err(|error| {
        Failure::usage(format!("--body is not JSON: line {}, column {}", error.line(), error.column()))
    })
}
