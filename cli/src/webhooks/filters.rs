//! `webhooks list`, `ensure` and `remove`.

use std::slice;

use bunq_partner::types::{NotificationCategory, NotificationFilter, NotificationTarget};
use bunq_partner::{Acceptance, Error, ErrorKind, Operation, ProvisionId, RequestBody, RowState};
use serde_json::{Value, json};

use super::super::arguments::{FilterOptions, ShownUrls};
use super::super::exit::Failure;
use super::super::invocation::Invocation;
use super::super::output::{Field, GREEN, HIDDEN, Record, names};
use super::super::provisions::show_previews;
use super::{api, notifications, of, shown};

pub(super) async fn list(
    invocation: &Invocation,
    ShownUrls { show_urls }: ShownUrls,
    user: Option<ProvisionId>,
) -> Result<(), Failure> {
    let filters = notifications(invocation, user)?.list().await?;
    if filters.is_empty() {
        let user = of(user);
        invocation.note(&format!("bunq tells nothing: `bunq-partner webhooks ensure CATEGORY{user}` sets a filter"));
    }
    let mut printer = invocation.printer();
    for filter in &filters {
        printer.add(Record::of(fields(Some(filter), show_urls)))?;
    }
    Ok(printer.finish()?)
}

pub(super) async fn ensure(
    invocation: &Invocation,
    options: &FilterOptions,
    target: &NotificationTarget,
) -> Result<(), Failure> {
    let FilterOptions { category, whose, urls, dry_run, .. } = options;
    invocation.note_unknown(slice::from_ref(category), NotificationCategory::KNOWN, NotificationCategory::as_str);
    let url = shown(target.as_str(), urls.show_urls);
    if dry_run.dry_run {
        let added = json!({ "category": category, "notification_target": url });
        return show_requests(invocation, whose.user, [json!("the filters that the call above shows"), added]);
    }
    let ensured = notifications(invocation, whose.user)?.ensure(category.clone(), target.clone()).await;
    let ensured = ensured.map_err(|error| not_changed(category, whose.user, error))?;
    if !ensured.is_confirmable {
        invocation.note(&format!(
            "no operation reads what calls of {category} are about, and nothing signs them: whoever knows the URL can send one"
        ));
    }
    let fields = ensured_fields(Some((&ensured.filter, ensured.acceptance, ensured.is_confirmable)), urls.show_urls);
    Ok(invocation.printer().single(Record::of(fields))?)
}

pub(super) async fn remove(
    invocation: &Invocation,
    options: &FilterOptions,
    target: &NotificationTarget,
) -> Result<(), Failure> {
    let FilterOptions { category, whose, urls, dry_run, .. } = options;
    let url = shown(target.as_str(), urls.show_urls);
    if dry_run.dry_run {
        let left = format!("the filters that the call above shows, without {category} to {url}");
        return show_requests(invocation, whose.user, [json!(left)]);
    }
    let removed = notifications(invocation, whose.user)?.remove(category.clone(), target.clone()).await;
    let removed = removed.map_err(|error| not_changed(category, whose.user, error))?;
    Ok(invocation.printer().single(Record::of(removed_fields(Some((category, &url, removed)))))?)
}

/// Shows the requests of a change. bunq replaces all filters at once, and which there are is not known before the first of them.
fn show_requests<const N: usize>(
    invocation: &Invocation,
    user: Option<ProvisionId>,
    filters: [Value; N],
) -> Result<(), Failure> {
    let (api, body) = (api(invocation, user)?, json!({ "notification_filters": Value::from_iter(filters) }));
    let previews = [
        api.preview(&Operation::LIST_NOTIFICATION_FILTERS, &[], RequestBody::None)?,
        api.preview(&Operation::REPLACE_NOTIFICATION_FILTERS, &[], &body)?,
    ];
    show_previews(invocation.format(), &previews)
}

/// The failure of a change, with what to do about filters.
pub(super) fn not_changed(category: &NotificationCategory, user: Option<ProvisionId>, error: Error) -> Failure {
    let is_third = error.last_seen::<Vec<NotificationFilter>>().is_some();
    let is_known = NotificationCategory::KNOWN.contains(category);
    let is_of_user = user.is_some();
    let user = of(user);
    let hint = match (error.kind(), error.field()) {
        _ if error.is_doubtful() => Some("run the same command again: it looks before it writes".to_owned()),
        (ErrorKind::Unattainable, _) => Some(format!("`bunq-partner webhooks list{user}` shows what is there")),
        (ErrorKind::InvalidInput, Some("url")) if is_third => Some(format!(
            "`bunq-partner webhooks list{user} --show-urls` shows both, and `bunq-partner webhooks remove {category}{user}` removes one"
        )),
        (ErrorKind::InvalidInput, Some("category")) if is_known && is_of_user => Some("leave out --user".to_owned()),
        (ErrorKind::InvalidInput, Some("category")) if is_known => {
            Some("give --user ID, the id of a provision: `bunq-partner users list` shows who is in custody".to_owned())
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

pub(crate) fn columns() -> Vec<&'static str> {
    names(&fields(None, false))
}

pub(crate) fn ensured_columns() -> Vec<&'static str> {
    names(&ensured_fields(None, false))
}

pub(crate) fn removed_columns() -> Vec<&'static str> {
    names(&removed_fields(None))
}

fn fields(filter: Option<&NotificationFilter>, is_shown: bool) -> Vec<Field> {
    let verification = filter.map(|filter| &filter.all_verification_type).filter(|all| !all.is_empty());
    let verification = verification.map(|all| all.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" "));
    vec![
        Field::text("category", 0, filter.map(|filter| &filter.category)),
        Field::text("target", 0, filter.map(|filter| shown(filter.notification_target.as_str(), is_shown))),
        Field::text("verification", 1, verification),
    ]
}

fn ensured_fields(ensured: Option<(&NotificationFilter, Acceptance, bool)>, is_shown: bool) -> Vec<Field> {
    let mut fields = fields(ensured.map(|(filter, ..)| filter), is_shown);
    fields.push(outcome(ensured.map(|(_, acceptance, _)| acceptance)));
    fields.push(Field::new("is_confirmable", HIDDEN, ensured.map(|(.., is_confirmable)| is_confirmable)));
    fields
}

fn removed_fields(removed: Option<(&NotificationCategory, &str, Acceptance)>) -> Vec<Field> {
    vec![
        Field::text("category", 0, removed.map(|(category, ..)| category)),
        Field::text("target", 0, removed.map(|(_, url, _)| url)),
        outcome(removed.map(|(.., acceptance)| acceptance)),
    ]
}

fn outcome(acceptance: Option<Acceptance>) -> Field {
    Field::new("outcome", 0, acceptance.map(|acceptance| RowState::from(acceptance).as_str())).styled(Some(GREEN))
}
