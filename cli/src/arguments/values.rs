//! What a value on the command line may be.

use std::time::Duration;

use bunq_partner::jiff::SignedDuration;
use bunq_partner::{Environment, Operation, ProvisionId, ProvisionStatus};
use clap::builder::{PossibleValuesParser, TypedValueParser};

pub(super) fn environment() -> impl TypedValueParser<Value = Environment> {
    PossibleValuesParser::new(["sandbox", "production"]).try_map(|name| name.parse::<Environment>())
}

pub(super) fn operation() -> impl TypedValueParser<Value = &'static Operation> {
    let callable = Operation::ALL.iter().filter(|operation| !operation.managed).map(|operation| operation.id);
    PossibleValuesParser::new(callable)
        .try_map(|id| Operation::by_id(&id).ok_or_else(|| "there is no such operation".to_owned()))
}

pub(super) fn provision_id(text: &str) -> Result<ProvisionId, String> {
    text.parse::<ProvisionId>().map_err(|error| format!("{error}; `bunq-partner list` shows the ids"))
}

/// In upper or lower case, with `ignore_case`.
pub(super) fn status() -> impl TypedValueParser<Value = ProvisionStatus> {
    PossibleValuesParser::new(ProvisionStatus::KNOWN.iter().map(ProvisionStatus::as_str)).try_map(|text| {
        let known = |status: &&ProvisionStatus| status.as_str().eq_ignore_ascii_case(&text);
        ProvisionStatus::KNOWN.iter().find(known).cloned().ok_or_else(|| "there is no such status".to_owned())
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
