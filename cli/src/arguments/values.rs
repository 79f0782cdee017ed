//! What a value on the command line may be.

use std::time::Duration;

use bunq_partner::jiff::SignedDuration;
use bunq_partner::{Operation, ProvisionId, ProvisionStatus};

pub(super) fn operations() -> impl Iterator<Item = &'static str> {
    Operation::ALL.iter().filter(|operation| !operation.managed).map(|operation| operation.id)
}

pub(super) fn operation(id: String) -> Result<&'static Operation, String> {
    Operation::by_id(&id).ok_or_else(|| "there is no such operation".to_owned())
}

/// An id, or `-`.
#[derive(Clone, Copy)]
pub(crate) enum IdArgument {
    Id(ProvisionId),
    /// The ids are on standard input.
    StandardInput,
}

pub(super) fn id_argument(text: &str) -> Result<IdArgument, String> {
    if text == "-" { Ok(IdArgument::StandardInput) } else { provision_id(text).map(IdArgument::Id) }
}

pub(super) fn provision_id(text: &str) -> Result<ProvisionId, String> {
    text.parse::<ProvisionId>().map_err(|error| format!("{error}; `bunq-partner list` shows the ids"))
}

pub(super) fn status(text: &str) -> Result<ProvisionStatus, String> {
    let known = |status: &&ProvisionStatus| status.as_str().eq_ignore_ascii_case(text);
    ProvisionStatus::KNOWN.iter().find(known).cloned().ok_or_else(|| {
        let known: Vec<_> = ProvisionStatus::KNOWN.iter().map(ProvisionStatus::as_str).collect();
        format!("there are {}", known.join(", "))
    })
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time: Option<SignedDuration> = text.parse().ok();
    time.and_then(|time| time.try_into().ok()).ok_or_else(|| "a time is written as in 90s, 15m or 2h".to_owned())
}

pub(super) fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a parameter is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
