//! The spans of a call, of its attempts, and of what it waits for between them.
//!
//! An attempt's span has OpenTelemetry's names for an HTTP request, and is a child of its call's span. Numbers are
//! `i64`, because exporters write a `u64` that is recorded later as text.

use std::time::Duration;

use reqwest::Request;
use tracing::{Span, field, info_span};

use crate::error::{CallMetadata, Error};
use crate::operation::Operation;

pub(super) fn call(operation: &Operation) -> Span {
    info_span!(
        "bunq_call",
        otel.name = operation.id,
        otel.status_code = field::Empty,
        bunq.operation = operation.id,
        bunq.attempts = field::Empty,
        bunq.request_id = field::Empty,
        bunq.response_id = field::Empty,
        error.type = field::Empty,
    )
}

/// The span of the attempt with this number.
pub(super) fn attempt(operation: &Operation, request: &Request, number: u32) -> Span {
    let url = request.url();
    info_span!(
        "bunq_attempt",
        otel.name = format_args!("{} {}", operation.method, operation.path),
        otel.kind = "client",
        otel.status_code = field::Empty,
        http.request.method = operation.method,
        http.request.resend_count = (number > 1).then(|| i64::from(number - 1)),
        http.response.status_code = field::Empty,
        url.full = url.as_str(),
        url.template = operation.path,
        server.address = url.host_str(),
        server.port = url.port_or_known_default().map(i64::from),
        bunq.request_id = field::Empty,
        bunq.response_id = field::Empty,
        error.type = field::Empty,
    )
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Awaited<'a> {
    /// A permit within the rate limit of this operation.
    Permit(&'a str),
    /// A session, which is being opened.
    Session,
    /// The next attempt after this failure.
    Retry(&'a Error),
    /// The next check whether the request that has failed in this way was carried out.
    Check(&'a Error),
}

/// The span of a wait, which ends when it is dropped; `time` is how long it is expected to take, if that is known.
pub(crate) fn wait(awaited: Awaited<'_>, time: Option<Duration>) -> Span {
    let id = |error: &Error| error.operation().map(|operation| operation.id);
    let (reason, operation, failure) = match awaited {
        Awaited::Permit(operation) => ("permit", Some(operation), None),
        Awaited::Session => ("session", None, None),
        Awaited::Retry(error) => ("retry", id(error), Some(error)),
        Awaited::Check(error) => ("check", id(error), Some(error)),
    };
    info_span!(
        "bunq_wait",
        bunq.wait.reason = reason,
        bunq.wait.seconds = time.map(|time| time.as_secs_f64()),
        bunq.operation = operation,
        error.type = failure.map(|error| error.kind().as_str()),
    )
}

/// Records the outcome of a call or of an attempt, as far as the span has fields for it.
pub(super) fn record<T>(span: &Span, operation: &Operation, outcome: &Result<(CallMetadata, T), Error>) {
    let metadata = outcome.as_ref().map_or_else(Error::metadata, |(metadata, _)| Some(metadata));
    // If a call that opens the session has failed, the ids are that call's, so they are left out.
    let metadata = metadata.filter(|metadata| metadata.operation == operation);
    if let Some(CallMetadata { attempts, request_id, status, response_id, .. }) = metadata {
        span.record("bunq.attempts", i64::from(*attempts));
        span.record("bunq.request_id", request_id.as_deref());
        span.record("bunq.response_id", response_id.as_deref());
        span.record("http.response.status_code", status.map(i64::from));
    }
    if let Err(error) = outcome {
        record_failure(span, error);
    }
}

/// Records that a call or an attempt has failed.
pub(crate) fn record_failure(span: &Span, error: &Error) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.kind().as_str());
}
