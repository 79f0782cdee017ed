//! `-v`: a line on standard error for each attempt of a call, and its headers with `-vv`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::arguments::OutputFormat;
use super::super::screen;
use super::super::words::clean;
use super::fields::{Fields, Waited};

/// Writes what is known of an attempt that has ended, as JSON for scripts.
pub(super) fn write(format: OutputFormat, attempt: &Fields, time: Duration, waited: Waited) {
    match format.is_json() {
        true => screen::say_json(&json!({ "call": json(attempt, time, waited) })),
        false => screen::say(&lines(attempt, time, waited)),
    }
}

fn lines(attempt: &Fields, time: Duration, waited: Waited) -> String {
    let outcome = match (attempt.status, &attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.clone(),
        // The command has ended meanwhile, or has given up.
        (None, None) => "unfinished".into(),
    };
    let mut line = format!("{} {} {outcome} in {} ms", attempt.method, attempt.template, time.as_millis());
    let ids = [("request", &attempt.request_id), ("response", &attempt.response_id)];
    for (name, id) in ids.iter().filter_map(|(name, id)| Some((name, id.as_ref()?))) {
        line += &format!(", {name} {id}");
    }
    for (name, time) in named(waited).into_iter().filter(|(_, time)| !time.is_zero()) {
        line += &format!(", waited {} ms for the {name}", time.as_millis());
    }
    if let Some(count) = attempt.resend_count {
        line += &format!(", retry {count}");
    }
    let headers = [('>', &attempt.request), ('<', &attempt.response)];
    let headers = headers.iter().flat_map(|(sign, headers)| {
        headers.iter().flat_map(|headers| headers.lines()).map(move |header| format!("  {sign} {header}"))
    });
    std::iter::once(line).chain(headers).map(|line| clean(&line) + "\n").collect()
}

fn json(attempt: &Fields, time: Duration, waited: Waited) -> Value {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let waited: Map<_, _> =
        named(waited).into_iter().map(|(name, time)| (name.to_owned(), milliseconds(time).into())).collect();
    let headers = |headers: &Option<String>| -> Value {
        let pairs = |headers: &String| -> Value {
            headers.lines().filter_map(|line| line.split_once(": ")).map(|(name, value)| json!([name, value])).collect()
        };
        headers.as_ref().map(pairs).unwrap_or_default()
    };
    json!({
        "method": attempt.method,
        "path": attempt.template,
        "http_status": attempt.status,
        "error_kind": attempt.error,
        "milliseconds": milliseconds(time),
        "request_id": attempt.request_id,
        "response_id": attempt.response_id,
        "waited_milliseconds": waited,
        "retry": attempt.resend_count.unwrap_or_default(),
        "request_headers": headers(&attempt.request),
        "response_headers": headers(&attempt.response),
    })
}

fn named(waited: Waited) -> [(&'static str, Duration); 3] {
    [("permit", waited.permit), ("session", waited.session), ("retry", waited.retry)]
}
