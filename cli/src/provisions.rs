//! The commands that create, close and show provisions.

use std::io;
use std::time::Duration;

use bunq_partner::{Acceptance, ErrorKind, NewProvision, ProvisionId, RequestPreview, UploadPreview, Uuid};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use super::arguments::{CloseOptions, CreateOptions, ListOptions, OutputFormat, Personal, WaitOptions};
use super::batch::Batch;
use super::exit::{Failure, after_output};
use super::invocation::Invocation;
use super::listing;
use super::output::{write_text, write_value};
use super::progress;
use super::records::{self, ProvisionOutcome};
use super::release::Release;
use super::words::clean;

/// The time of a call, and how much more each provision gets: bunq lets two closings through in three seconds.
const CALL_TIME: Duration = Duration::from_secs(120);
const TIME_FOR_EACH: Duration = Duration::from_secs(2);

pub(super) async fn close(invocation: &Invocation, options: &CloseOptions, ids: &[ProvisionId]) -> Result<(), Failure> {
    if options.dry_run.dry_run {
        let provisions = invocation.client()?.provisions();
        let previews = ids.iter().map(|id| provisions.preview_close(*id)).collect::<Result<Vec<_>, _>>()?;
        return show_previews(invocation.format(), &previews);
    }
    let client = invocation.client()?;
    let release = Release::of(invocation, &client, ids).await;
    let provisions = &client.provisions().operation_timeout(time_for(ids.len()));
    let mut outcomes: FuturesUnordered<_> = ids
        .iter()
        .enumerate()
        .map(|(place, id)| async move {
            let outcome = match provisions.close(*id).await {
                Ok(waiter) => follow(waiter, options.waiting).await,
                Err(error) => ProvisionOutcome::refused(Some(*id), error),
            };
            (place, outcome)
        })
        .collect();
    let mut batch = Batch::new(invocation);
    while let Some((place, outcome)) = outcomes.next().await {
        if ids.len() == 1 {
            let done = report_one(invocation, outcome);
            release.remove_closed(invocation, &client).await;
            return done;
        }
        batch.add(place, Some(outcome.record(invocation.shows_secrets())), outcome.failure);
    }
    let done = batch.finish();
    release.remove_closed(invocation, &client).await;
    done?;
    invocation.connection.check_receipts()
}

/// How long calls for so many provisions may take.
fn time_for(provisions: usize) -> Duration {
    CALL_TIME + TIME_FOR_EACH.saturating_mul(u32::try_from(provisions).unwrap_or(u32::MAX))
}

pub(super) async fn create(invocation: &Invocation, options: &CreateOptions) -> Result<(), Failure> {
    let external_uuid = options.external_uuid();
    let (Some(email), Some(phone_number)) = (options.email.clone(), options.phone_number.clone()) else {
        return Err(Failure::usage("give --email and --phone-number"));
    };
    let mut new = match options.director {
        Some(director) => NewProvision::company(external_uuid, email, phone_number, director),
        None => NewProvision::person(external_uuid, email, phone_number),
    };
    if let (Some(date_of_birth), Some(country)) = (options.date_of_birth, &options.country) {
        new = new.with_transaction_audit(date_of_birth, country.clone());
    }
    if options.dry_run.dry_run {
        return show_previews(invocation.format(), &[invocation.client()?.provisions().preview_create(new)?]);
    }
    // Whatever becomes of this program, the user can be found with it.
    invocation.tell("external_uuid", &external_uuid.to_string());
    let provisions = invocation.client()?.provisions();
    let requested = if options.ensure { provisions.ensure(new).await } else { provisions.create(new).await };
    let outcome = match requested {
        Ok(waiter) => {
            if waiter.acceptance() == Acceptance::Already {
                let created = waiter.created().map(|created| format!(", created {}", created.as_jiff()));
                invocation.note(&format!(
                    "the user was there already: provision {}{}; {}",
                    waiter.id(),
                    created.unwrap_or_default(),
                    records::UNUSED
                ));
            }
            follow(waiter, options.waiting).await
        }
        Err(error) => ProvisionOutcome::refused(None, error),
    };
    report_one(invocation, ProvisionOutcome { external_uuid: Some(external_uuid), ..outcome })
}

pub(super) async fn get(invocation: &Invocation, ids: &[ProvisionId]) -> Result<(), Failure> {
    let provisions = invocation.client()?.provisions().operation_timeout(time_for(ids.len()));
    let read = async |id| provisions.get(id).await.map(|seen| records::provision(&seen, invocation.shows_secrets()));
    let read = &read;
    if let [id] = *ids {
        return Ok(invocation.printer().single(read(id).await?)?);
    }
    let mut batch = Batch::new(invocation);
    let mut results: FuturesUnordered<_> =
        ids.iter().enumerate().map(|(place, id)| async move { (place, read(*id).await) }).collect();
    while let Some((place, result)) = results.next().await {
        match result {
            Ok(record) => batch.add(place, Some(record), None),
            Err(error) => batch.add(place, None, Some(error)),
        }
    }
    drop(results);
    batch.finish()
}

pub(super) async fn find(invocation: &Invocation, external_uuid: Uuid) -> Result<(), Failure> {
    match invocation.client()?.provisions().find(external_uuid).await? {
        Some(seen) => Ok(invocation.printer().single(records::provision(&seen, invocation.shows_secrets()))?),
        None => {
            let problem = format!("there is no provision with the external_uuid {external_uuid}");
            Err(Failure::of_kind(ErrorKind::NotFound, problem)
                .with_hint("`bunq-partner list` shows those that there are"))
        }
    }
}

pub(super) async fn list(invocation: &Invocation, options: &ListOptions) -> Result<(), Failure> {
    let limit = options.limit.unwrap_or(usize::MAX);
    let mut listing = invocation.client()?.provisions().list().status(options.status.iter().cloned());
    if let Some(count) = listing::page_size(limit) {
        listing = listing.count(count);
    }
    let records = |seen: &_| vec![records::provision(seen, invocation.shows_secrets())];
    listing::print(invocation, listing.stream().take(limit), records).await
}

/// Waits if that is wanted.
async fn follow(waiter: bunq_partner::Waiter, waiting: WaitOptions) -> ProvisionOutcome {
    let outcome = ProvisionOutcome::accepted(&waiter);
    if !waiting.wait {
        return outcome;
    }
    outcome.waited(progress::wait(waiter.timeout(waiting.timeout), records::change).await)
}

fn report_one(invocation: &Invocation, outcome: ProvisionOutcome) -> Result<(), Failure> {
    let receipts = invocation.connection.check_receipts();
    let is_shown = outcome.accepted.is_some() || invocation.format() != OutputFormat::Table;
    let record = outcome.record(invocation.shows_secrets());
    let written = if is_shown { invocation.printer().single(record) } else { Ok(()) };
    after_output(outcome.failure.map_or(receipts, |error| Err(error.into())), written)
}

/// Shows the requests for a user, without what is about a person unless that is asked for.
pub(super) fn show_requests_for_user(
    format: OutputFormat,
    mut previews: Vec<RequestPreview>,
    Personal { show_personal }: Personal,
) -> Result<(), Failure> {
    if !show_personal {
        previews = previews.into_iter().map(RequestPreview::without_personal).collect();
    }
    show_previews(format, &previews)
}

pub(super) fn show_previews(format: OutputFormat, previews: &[RequestPreview]) -> Result<(), Failure> {
    if format == OutputFormat::Json {
        return Ok(write_value(format, &json!(previews))?);
    }
    for preview in previews {
        if format == OutputFormat::Table {
            show_preview(preview)?;
        } else {
            write_value(format, &json!(preview))?;
        }
    }
    Ok(())
}

fn show_preview(RequestPreview { method, url, headers, body, upload, .. }: &RequestPreview) -> io::Result<()> {
    let headers: String = headers.iter().map(|(name, text)| format!("{name}: {}\n", clean(text))).collect();
    let upload = upload.as_ref().map(|upload| shown_upload(upload) + "\n").unwrap_or_default();
    write_text(&format!("\x1b[1m{method}\x1b[0m {url}\n{headers}{upload}"))?;
    body.as_ref().map_or(Ok(()), |body| write_value(OutputFormat::Table, body))
}

/// A file in place of its bytes.
pub(super) fn shown_upload(UploadPreview { content_type, size, .. }: &UploadPreview) -> String {
    let bytes = if *size == 1 { "byte" } else { "bytes" };
    format!("{size} {bytes} of {content_type}")
}
