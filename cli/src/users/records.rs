//! What is printed of users in custody. No token and nothing about a person is among it.

use bunq_partner::jiff::Timestamp;
use bunq_partner::{ContextSummary, CustodyEntry, Error, Provision, ProvisionId, UserClient};
use serde_json::Value;

use super::super::exit::Failure;
use super::super::output::{Field, GREEN, HIDDEN, RED, Record, YELLOW, names};
use super::super::records::{in_doubt, provision_fields, time};

/// A user of a list.
pub(super) fn entry(entry: &CustodyEntry) -> Record {
    Record::of(entry_fields(Some(entry), entry.problem.as_deref()))
}

pub(in super::super) fn list_columns() -> Vec<&'static str> {
    names(&entry_fields(None, None))
}

/// A user, with what bunq says of its provision, and what is known of its session.
pub(super) fn details(
    seen: &Provision,
    entry: Option<&CustodyEntry>,
    session: Option<&ContextSummary>,
    problem: Option<String>,
) -> Record {
    Record::of(detail_fields(Some(seen), entry, session, problem.as_deref()))
}

pub(in super::super) fn show_columns() -> Vec<&'static str> {
    names(&detail_fields(None, None, None, None))
}

/// What came of the activation of a user.
pub(super) fn outcome(id: ProvisionId, activated: &Result<UserClient, Error>, user_id: Option<u64>) -> Record {
    let error = activated.as_ref().err();
    let word = match error {
        None => "activated",
        Some(error) if error.is_doubtful() => UNFINISHED,
        Some(_) => "failed",
    };
    let json = error.map(|error| Failure::from(error.clone()).json());
    let more = [("error".to_owned(), json.unwrap_or_default())];
    Record { fields: outcome_fields(Some(id), word, error, user_id), more: more.into_iter().collect() }
}

/// The outcome of a user that is not activated because of an interruption.
pub(super) fn interruption(id: ProvisionId) -> Record {
    let more = [("error".to_owned(), Value::Null)];
    Record { fields: outcome_fields(Some(id), UNFINISHED, None, None), more: more.into_iter().collect() }
}

pub(in super::super) fn outcome_columns() -> Vec<&'static str> {
    names(&outcome_fields(None, UNFINISHED, None, None))
}

const UNFINISHED: &str = "unfinished";

fn outcome_fields(id: Option<ProvisionId>, word: &str, error: Option<&Error>, user_id: Option<u64>) -> Vec<Field> {
    let style = match error {
        Some(_) => RED,
        None if word == UNFINISHED => YELLOW,
        None => GREEN,
    };
    vec![
        Field::new("id", 0, id),
        Field::new("outcome", 0, word).styled(Some(style)),
        Field::new("user_id", 1, user_id),
        Field::new("error_kind", 0, error.map(|error| error.kind().as_str())).styled(Some(RED)),
        Field::text("response_id", 2, error.and_then(Error::response_id)),
        in_doubt(error.is_some_and(Error::is_doubtful)),
    ]
}

fn entry_fields(entry: Option<&CustodyEntry>, problem: Option<&str>) -> Vec<Field> {
    let (word, style) = state(entry, problem);
    let unused = entry.filter(|entry| !entry.is_activated);
    vec![
        Field::new("id", 0, entry.map(|entry| entry.provision_id)),
        Field::new("external_uuid", 1, entry.and_then(|entry| entry.external_uuid)),
        Field::new("state", 0, word).shown_as(word.replace('_', " ")).styled(Some(style)),
        time("credential_expiry", 0, unused.and_then(|entry| entry.expiry)),
        Field::text("problem", 2, problem),
    ]
}

/// What can be done with what is in custody of a user.
fn state(entry: Option<&CustodyEntry>, problem: Option<&str>) -> (&'static str, &'static str) {
    match entry {
        _ if problem.is_some() => ("unusable", RED),
        None => ("not_in_custody", YELLOW),
        Some(entry) if entry.is_activated => ("activated", GREEN),
        Some(entry) if entry.expiry.is_some_and(|expiry| expiry.as_jiff() <= Timestamp::now()) => ("expired", RED),
        Some(_) => ("unactivated", YELLOW),
    }
}

fn detail_fields(
    seen: Option<&Provision>,
    entry: Option<&CustodyEntry>,
    session: Option<&ContextSummary>,
    problem: Option<&str>,
) -> Vec<Field> {
    let of_bunq =
        ["id", "external_uuid", "status", "sub_status", "waiting_for", "credential_status", "credential_expiry"];
    let mut fields: Vec<_> =
        provision_fields(seen, false).into_iter().filter(|field| of_bunq.contains(&field.name)).collect();
    fields.extend(entry_fields(entry, problem).into_iter().filter(|field| ["state", "problem"].contains(&field.name)));
    let has_session = problem.is_none().then(|| session.is_some_and(|session| session.has_session));
    let user = session.and_then(|session| session.user.as_ref());
    fields.extend([
        Field::new("has_session", HIDDEN, has_session).shown_as(if has_session == Some(true) { "yes" } else { "" }),
        time("session_renewal", HIDDEN, session.and_then(|session| session.renew_at).map(Into::into)),
        Field::new("user_id", HIDDEN, user.map(|user| user.id)),
    ]);
    fields
}
