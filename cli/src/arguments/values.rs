//! The values of arguments.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bunq_partner::jiff::SignedDuration;
use bunq_partner::jiff::civil::Date;
use bunq_partner::{Environment, Operation, ProvisionId, ProvisionStatus, SessionOf, Uuid};
use bunq_partner_sandbox::{Injection, InvalidInjection};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command, ValueEnum};
use serde::de::{
    DeserializeOwned, IntoDeserializer as _,
    value::{Error as NoValue, StringDeserializer},
};

use super::super::words::clean;

pub(super) fn environment() -> impl TypedValueParser<Value = Environment> {
    PossibleValuesParser::new(["sandbox", "production"]).try_map(|name| name.parse::<Environment>())
}

/// What the help is about beside the commands.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Topic {
    /// Options of all commands: bank, key, output
    Options,
    /// Environment variables and files
    Environment,
    /// Exit codes
    ExitCodes,
    /// Faults of the sandbox
    Faults,
    /// Operations of bunq's API
    Operations,
    /// JSON Schema of what --output json writes
    Schema,
}

impl Topic {
    /// All topics, each with its name and what it is about.
    pub(crate) fn all() -> impl Iterator<Item = PossibleValue> {
        Self::value_variants().iter().filter_map(ValueEnum::to_possible_value)
    }
}

/// An operation that can be called by name. Completions list all of them; an error message would be too long with them.
#[derive(Clone)]
pub(super) struct OperationParser;

impl TypedValueParser for OperationParser {
    type Value = &'static Operation;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<Self::Value, clap::Error> {
        operation.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let callable = Operation::ALL.iter().filter(|operation| !operation.managed);
        Some(Box::new(callable.map(|operation| PossibleValue::new(operation.id).help(called_as(operation)))))
    }
}

fn operation(id: &str) -> Result<&'static Operation, String> {
    match Operation::by_id(id) {
        Some(operation) if operation.managed => Err(made_by(operation)),
        Some(operation) => Ok(operation),
        None => Err("there is no such operation: `bunq-partner help operations` lists them".into()),
    }
}

/// Says who makes a call: the partner or a user.
pub(crate) fn called_as(operation: &Operation) -> &'static str {
    match operation.session_of {
        Some(SessionOf::User) => "as a user in custody, with --user ID",
        Some(SessionOf::Either) => "as the partner, or as a user in custody with --user ID",
        _ => "as the partner",
    }
}

/// Names the command that makes a call of the session.
pub(crate) fn made_by(operation: &Operation) -> String {
    match operation.method {
        "DELETE" => "the program makes this call itself: `bunq-partner session end`".into(),
        _ => "the program makes this call itself, when a command such as `bunq-partner whoami` needs a session".into(),
    }
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

/// An id of bunq's of another kind.
pub(super) fn own_id<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse::<T>().map_err(|error| error.to_string())
}

/// A status, in upper or lower case with `ignore_case`.
pub(super) fn status() -> impl TypedValueParser<Value = ProvisionStatus> {
    PossibleValuesParser::new(ProvisionStatus::KNOWN.iter().map(ProvisionStatus::as_str)).try_map(|text| {
        let known = |status: &&ProvisionStatus| status.as_str().eq_ignore_ascii_case(&text);
        ProvisionStatus::KNOWN.iter().find(known).cloned().ok_or_else(|| "there is no such status".to_owned())
    })
}

/// A value of an open enum, in upper or lower case. Completions list those that are known; bunq has others.
#[derive(Clone)]
pub(super) struct OpenParser<T: 'static>(pub(super) &'static [T], pub(super) fn(&T) -> &str);

impl<T: DeserializeOwned + Clone + Send + Sync + 'static> TypedValueParser for OpenParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parse = |text: &str| {
            let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let named = is_name.then(|| {
                let name: StringDeserializer<NoValue> = text.to_ascii_uppercase().into_deserializer();
                T::deserialize(name).ok()
            });
            let rule = || "it is a name of bunq's, of letters, digits and underscores, like USER_PERSON".to_owned();
            named.flatten().ok_or_else(rule)
        };
        parse.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let Self(known, name) = self;
        Some(Box::new(known.iter().map(move |value| PossibleValue::new(name(value)))))
    }
}

/// A content type that an operation takes.
pub(super) fn content_type() -> impl TypedValueParser<Value = &'static str> {
    let names: BTreeSet<_> =
        Operation::ALL.iter().flat_map(|operation| operation.content_types).map(|one| one.name).collect();
    PossibleValuesParser::new(names.iter().copied()).try_map(move |text| {
        names.get(text.as_str()).copied().ok_or_else(|| "there is no such content type".to_owned())
    })
}

pub(super) fn external_uuid(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| "a UUID is written as in 550e8400-e29b-41d4-a716-446655440000".to_owned())
}

pub(crate) fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| "a date is written as in 1990-12-31".to_owned())
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "an address is written as in 192.0.2.7 or 2001:db8::7".to_owned())
}

/// An address without a port.
pub(super) fn listening_address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(with_port) => {
            Err(format!("the port is given with --port {}, beside --listen {}", with_port.port(), with_port.ip()))
        }
        Err(_) => address(text),
    }
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "a count is written as in 100".to_owned())
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time: Option<SignedDuration> = text.parse().ok();
    time.and_then(|time| time.try_into().ok()).ok_or_else(|| "a time is written as in 90s, 15m or 2h".to_owned())
}

/// Its rules repeat what was typed.
pub(super) fn fault(text: &str) -> Result<Injection, String> {
    text.parse().map_err(|error: InvalidInjection| clean(&error.to_string()))
}

pub(super) fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a parameter is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
