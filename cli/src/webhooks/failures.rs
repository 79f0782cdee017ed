//! `webhooks failures` and `retry`: the calls that bunq could not deliver.

use bunq_partner::text::url_without_path;
use bunq_partner::types::{NotificationFilterFailure, NotificationTarget};
use bunq_partner::{Operation, ProvisionId, RequestBody, RetriedFailures};
use futures_util::StreamExt as _;
use serde_json::json;

use super::super::arguments::{RetryOptions, ShownUrls};
use super::super::exit::{Failure, after_output};
use super::super::invocation::Invocation;
use super::super::listing;
use super::super::output::{Field, GREEN, HIDDEN, Record, YELLOW, names};
use super::super::provisions::show_previews;
use super::super::records::time;
use super::{api, notifications, of, shown};

/// How many failures one request has.
const BATCH: usize = 100;

pub(super) async fn list(
    invocation: &Invocation,
    limit: Option<usize>,
    ShownUrls { show_urls }: ShownUrls,
    user: Option<ProvisionId>,
) -> Result<(), Failure> {
    let failures = notifications(invocation, user)?.failures().take(limit.unwrap_or(usize::MAX));
    listing::print(invocation, failures, |failure| vec![Record::of(fields(Some(failure), show_urls))]).await
}

pub(super) async fn retry(
    invocation: &Invocation,
    options: &RetryOptions,
    target: Option<&NotificationTarget>,
) -> Result<(), Failure> {
    let user = options.whose.user;
    if options.dry_run.dry_run {
        return show_requests(invocation, options, target);
    }
    let notifications = notifications(invocation, user)?;
    let retried = match target {
        Some(target) => notifications.retry_target(target).await,
        None => notifications.retry(options.failures.iter().copied()).await,
    };
    let (done, outcome) = match retried {
        Ok(done) => (done, Ok(())),
        Err(error) => {
            let done = error.last_seen::<RetriedFailures>().cloned().unwrap_or_default();
            let user = of(user);
            let again =
                format!("run the same command again; `bunq-partner webhooks failures{user}` shows what is left");
            (done, Err(Failure::from(error).with_hint(again)))
        }
    };
    let requested = done.requested.iter().map(|id| (id, "requested"));
    let mut printer = invocation.printer();
    for (id, outcome) in requested.chain(done.gone.iter().map(|id| (id, "gone"))) {
        printer.add(Record::of(retry_fields(Some((id.get(), outcome)))))?;
    }
    if printer.is_empty() && outcome.is_ok() && done == RetriedFailures::default() {
        invocation.note("there are none");
    }
    let written = if outcome.is_err() && printer.is_empty() { Ok(()) } else { printer.finish() };
    after_output(outcome, written)
}

/// Shows the requests. Which failures there are to a URL is not known before the first of them.
fn show_requests(
    invocation: &Invocation,
    options: &RetryOptions,
    target: Option<&NotificationTarget>,
) -> Result<(), Failure> {
    let api = api(invocation, options.whose.user)?;
    let retry = |ids: String| {
        let body = json!({ "notification_filter_failed_ids": ids });
        api.preview(&Operation::RETRY_NOTIFICATION_FILTER_FAILURES, &[], &body)
    };
    let previews = match target {
        Some(target) => {
            let ids = format!("the ids of the calls to {}, {BATCH} at a time", url_without_path(target.as_str()));
            let count = [("count", "200")];
            vec![api.preview(&Operation::LIST_NOTIFICATION_FILTER_FAILURES, &count, RequestBody::None)?, retry(ids)?]
        }
        None => {
            let mut ids: Vec<_> = options.failures.iter().map(|id| id.get()).collect();
            ids.sort_unstable();
            ids.dedup();
            let joined = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            ids.chunks(BATCH).map(|batch| retry(joined(batch))).collect::<Result<_, _>>()?
        }
    };
    show_previews(invocation.format(), &previews)
}

pub(crate) fn columns() -> Vec<&'static str> {
    names(&fields(None, false))
}

pub(crate) fn retry_columns() -> Vec<&'static str> {
    names(&retry_fields(None))
}

fn fields(failure: Option<&NotificationFilterFailure>, is_shown: bool) -> Vec<Field> {
    let target = failure.and_then(|failure| Some(failure.notification_target.as_ref()?.as_str()));
    let message = failure.and_then(|failure| failure.exception_message.as_deref());
    let message = message.map(|message| if is_shown { message } else { without_secrets(message, target) });
    vec![
        Field::new("failure_id", 0, failure.map(|failure| failure.id)),
        time("created", 1, failure.and_then(|failure| failure.created)),
        Field::text("category", 0, failure.and_then(|failure| failure.category.as_ref())),
        Field::text("event_type", 3, failure.and_then(|failure| failure.event_type.as_ref())),
        Field::new("object_id", 1, failure.and_then(|failure| failure.object_id)),
        Field::text("target", 0, target.map(|target| shown(target, is_shown))),
        Field::new("response_code", 2, failure.and_then(|failure| failure.response_code)),
        Field::text("exception_message", 2, message),
        Field::new("user_id", HIDDEN, failure.and_then(|failure| failure.user_id)),
    ]
}

/// How much of a part of a path is as good as the whole.
const TELLING: usize = 8;

/// What bunq says of a failure, unless that has something of the path of the URL, or of another one, or the URL is not known.
fn without_secrets<'a>(message: &'a str, target: Option<&str>) -> &'a str {
    let path =
        target.and_then(|target| target.split_once("://")).map(|(_, rest)| rest.split_once('/').unwrap_or_default().1);
    let Some(path) = path.filter(|_| !message.contains(['/', '%'])) else { return "[redacted]" };
    let is_told = |part: &str| {
        let told = |part: &[u8]| message.as_bytes().windows(part.len()).any(|window| window == part);
        part.as_bytes().windows(TELLING.min(part.len()).max(1)).any(told)
    };
    if path.split(['/', '?', '&', '=', '#']).any(is_told) { "[redacted]" } else { message }
}

fn retry_fields(retried: Option<(u64, &'static str)>) -> Vec<Field> {
    let style = if retried.is_some_and(|(_, outcome)| outcome == "gone") { YELLOW } else { GREEN };
    vec![
        Field::new("failure_id", 0, retried.map(|(id, _)| id)),
        Field::new("outcome", 0, retried.map(|(_, outcome)| outcome)).styled(Some(style)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bunq_says_of_a_failure_shows_no_part_of_the_path() {
        test_timeout::start();
        let target = Some("https://partner.example.com/bunq/planted-segment?key=value");
        for told in ["Connection timed out after 10000 milliseconds", "The target responded with 500"] {
            assert_eq!(without_secrets(told, target), told);
        }
        for told in [
            "no route to https://partner.example.com/x",
            "POST /bunq/planted: 500",
            "the segment planted-segment",
            "cut off after planted-se",
            "the segment planted%2Dsegment",
            "key value",
        ] {
            assert_eq!(without_secrets(told, target), "[redacted]");
        }
        let no_path = Some("https://partner.example.com");
        assert_eq!(without_secrets("it did not respond", no_path), "it did not respond");
        // Whatever it is, it may be of the path.
        assert_eq!(without_secrets("it did not respond", None), "[redacted]");
    }
}
