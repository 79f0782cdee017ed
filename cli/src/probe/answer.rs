//! What a response of the bank's says, without keys, tokens and ids.

use std::collections::{BTreeMap, BTreeSet};

use bunq_partner::Uuid;
use bunq_partner::wire::SignatureForm;
use bunq_partner_sandbox::DeadToken;
use serde::Serialize;
use serde_json::Value;

use super::exchange::{ProbeResponse, Signed};

/// No provision has this id.
pub(super) const UNUSED_ID: u64 = 999_999_999_999;

/// An answer of the bank's.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fact {
    pub(super) question: &'static str,
    pub(super) answer: String,
    /// `None`: the call has failed, and answers nothing.
    #[serde(rename = "http_status")]
    pub(super) status: Option<u16>,
    /// Whether and how the response is signed.
    pub(super) signature: Option<&'static str>,
    /// What bunq says, if it is a refusal.
    pub(super) message: Option<String>,
}

/// The statuses of each way of signing, for the report.
pub(super) fn signatures(facts: &[Fact]) -> BTreeMap<&str, BTreeSet<u16>> {
    let mut seen: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for (signature, status) in facts.iter().filter_map(|fact| fact.signature.zip(fact.status)) {
        seen.entry(signature).or_default().insert(status);
    }
    seen
}

/// The status, if the response is a refusal.
pub(super) fn refusal(response: &ProbeResponse) -> Option<u16> {
    (!response.is_success()).then_some(response.status)
}

/// The first member of this kind among the items of a response.
pub(super) fn item<'a>(body: &'a Value, pointer: &str) -> Option<&'a Value> {
    body["Response"].as_array()?.iter().find_map(|item| item.pointer(pointer))
}

pub(super) fn text(body: &Value, pointer: &str) -> Option<String> {
    item(body, pointer)?.as_str().map(str::to_owned)
}

/// How long a session lasts, in seconds: for the API key with which one user acts for another, the shortest time of the two.
pub(super) fn session_timeout(body: &Value) -> Option<u64> {
    let kinds = ["UserCompany", "UserPerson", "UserPaymentServiceProvider"];
    let places = ["", "/UserApiKey/requested_by_user", "/UserApiKey/granted_by_user"];
    let pointers = places.iter().flat_map(|place| kinds.map(|kind| format!("{place}/{kind}/session_timeout")));
    pointers.filter_map(|pointer| item(body, &pointer)?.as_u64()).min()
}

/// How a refusal with this status and these words refuses a token that is dead or unknown, if it does.
pub(super) fn dead_token(status: u16, message: Option<&str>) -> Option<DeadToken> {
    let message = message.unwrap_or_default().to_lowercase();
    match status {
        401 => Some(DeadToken::Unauthorized),
        403 if message.contains("insufficient authentication") => Some(DeadToken::InsufficientAuthentication),
        403 if message.contains("insufficient authorisation") => Some(DeadToken::InsufficientAuthorisation),
        _ => None,
    }
}

pub(super) fn with_status(response: &ProbeResponse) -> String {
    refusal(response).map_or("accepted".into(), |status| status.to_string())
}

pub(super) fn accepted_or_status(response: &ProbeResponse) -> String {
    refusal(response).map_or("accepted".into(), |status| format!("refused: {status}"))
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
