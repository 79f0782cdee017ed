//! What a response of the bank's says, without keys, tokens and ids.

use std::collections::{BTreeMap, BTreeSet};

use bunq_partner::wire::SignatureForm;
use bunq_partner::{ErrorKind, Uuid};
use serde::Serialize;
use serde_json::Value;

use super::super::exit::Failure;
use super::exchange::{ProbeResponse, Signed};

/// No provision has this id.
pub(super) const UNUSED_ID: u64 = 999_999_999_999;

/// An answer of the bank's.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fact {
    pub(super) question: &'static str,
    pub(super) answer: String,
    #[serde(rename = "http_status")]
    pub(super) status: u16,
    /// Whether and how the response is signed.
    pub(super) signature: &'static str,
    /// What bunq says, if it is a refusal.
    pub(super) message: Option<String>,
}

/// The statuses of each way of signing, for the report.
pub(super) fn signatures(facts: &[Fact]) -> BTreeMap<&str, BTreeSet<u16>> {
    let mut seen: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for fact in facts {
        seen.entry(fact.signature).or_default().insert(fact.status);
    }
    seen
}

/// The status of a refusal that is about the request: not about its rate, and no failure of the bank's.
pub(super) fn refusal(response: &ProbeResponse) -> Option<u16> {
    let status = response.status;
    (400..500).contains(&status).then_some(status).filter(|status| ![408, 429, 491].contains(status))
}

pub(super) fn is_success(response: &ProbeResponse) -> bool {
    (200..300).contains(&response.status)
}

/// The first member of this kind among the items of a response.
pub(super) fn item<'a>(body: &'a Value, pointer: &str) -> Option<&'a Value> {
    body["Response"].as_array()?.iter().find_map(|item| item.pointer(pointer))
}

pub(super) fn text(body: &Value, pointer: &str) -> Option<String> {
    item(body, pointer)?.as_str().map(str::to_owned)
}

pub(super) fn message(response: &ProbeResponse) -> Option<String> {
    response.json()["Error"][0]["error_description"].as_str().map(str::to_owned)
}

pub(super) fn with_status(response: &ProbeResponse) -> String {
    if is_success(response) { "accepted".into() } else { response.status.to_string() }
}

pub(super) fn accepted_or_status(response: &ProbeResponse) -> String {
    if is_success(response) { "accepted".into() } else { format!("refused: {}", response.status) }
}

/// A word, unless it is an id that was made for this run.
pub(super) fn without_id(word: &str) -> &str {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_number = bare.len() > 5 && bare.bytes().all(|byte| byte.is_ascii_digit()) && bare != UNUSED_ID.to_string();
    if is_number || Uuid::try_parse(bare).is_ok() { "[id]" } else { word }
}

pub(super) fn yes_no(is_so: bool) -> String {
    if is_so { "yes".into() } else { "no".into() }
}

pub(super) fn signature_name(signed: Signed) -> &'static str {
    match signed {
        Signed::Not => "none",
        Signed::As(SignatureForm::Body) => "the body",
        Signed::As(SignatureForm::WithHeaders) => "status, headers and body",
        Signed::As(_) => "in a form of its own",
        Signed::Invalid => "not valid",
    }
}

pub(super) fn unexpected(what: &str, response: &ProbeResponse) -> Failure {
    let said = message(response).map(|said| format!(": {said}")).unwrap_or_default();
    let is_about_key = said.contains("Incorrect API key") || matches!(response.status, 401 | 403);
    let kind = if is_about_key { ErrorKind::Unauthorized } else { ErrorKind::Rejected };
    Failure::of_kind(kind, format!("{what} got {} from the bank{said}", response.status))
        .with_hint("`bunq-partner doctor` finds out what is wrong")
}
