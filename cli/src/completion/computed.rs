//! Values that depend on what else is typed.

use std::future::ready;
use std::path::PathBuf;

use bunq_partner::{CustodyEntry, CustodyFilter, FileCustody, Operation};
use bunq_partner_sandbox::Injection;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::answer::{Answer, Candidate, Kind, commands};
use super::typed::Typed;
use crate::arguments::{ConnectionOptions, Topic};
use crate::custody::entries;
use crate::profile::Profiles;
use crate::settings::{Bank, Settings};

/// Completes the value of an argument, of which this much is typed.
type Complete = fn(&Typed<'_>, &str) -> Answer;

/// The arguments whose values are computed, by their ids.
pub(super) const COMPUTED: [(&str, Complete); 9] = [
    ("body", text),
    ("faults", fault),
    ("parameters", parameter),
    ("profile", profile),
    ("text", text),
    ("topic", topic),
    // Commands for one user have its provision's id.
    ("id", user),
    ("user", user),
    ("users", user),
];

/// More ids are no help.
const MAX_USERS: usize = 200;

/// A text, such as JSON, or `@` and a file.
fn text(_: &Typed<'_>, value: &str) -> Answer {
    if value.starts_with('@') { Answer::new("@", Kind::Files) } else { Answer::nothing() }
}

/// A profile of the file. Nothing that the file names is opened or run. Names that a shell would have to quote are left out.
fn profile(_: &Typed<'_>, value: &str) -> Answer {
    let profiles = Profiles::load().ok();
    let is_plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c));
    Answer::values("", value, profiles.iter().flat_map(Profiles::names).filter(is_plain))
}

/// A user in custody. Nothing secret is read, and no file but those of the custody and of the profiles.
fn user(typed: &Typed<'_>, value: &str) -> Answer {
    let said = |option| typed.values(option).last();
    let options = ConnectionOptions {
        profile: said("profile").map(str::to_owned),
        base_url: said("base_url").map(str::to_owned),
        ..ConnectionOptions::default()
    };
    let of_profile = || match Settings::load(&options).ok()?.bank().ok()? {
        Bank::At(settings) => settings.custody.value,
        Bank::Internal => None,
    };
    let folder = said("custody").map(PathBuf::from).or_else(of_profile);
    let users = folder.and_then(|folder| users(FileCustody::new(folder), value)).unwrap_or_default();
    let candidate = |entry: &CustodyEntry| {
        Candidate::new(entry.provision_id.to_string(), if entry.is_activated { "activated" } else { "not activated" })
    };
    Answer::values("", value, users.iter().map(candidate))
}

/// The first users in custody whose ids begin like this.
fn users(custody: FileCustody, start: &str) -> Option<Vec<CustodyEntry>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(async {
        let begins = |entry: &CustodyEntry| ready(entry.provision_id.to_string().starts_with(start));
        entries(&custody, CustodyFilter::All).try_filter(begins).take(MAX_USERS).try_collect().await.ok()
    })
}

/// A fault in the notation of [`Injection`].
fn fault(_: &Typed<'_>, value: &str) -> Answer {
    let start = value.rfind(',').map_or(0, |comma| comma + 1);
    let (before, part) = value.split_at(start);
    let (name, typed) = part.split_at(part.find('=').map_or(0, |equals| equals + 1));
    let answer = match (before, name) {
        ("", "") => {
            let faults = Injection::fault_names();
            Answer::values(
                "",
                typed,
                faults.split(", ").map(|fault| match fault.split_once('=') {
                    Some((name, _)) => Candidate::new(format!("{name}="), fault),
                    None => fault.into(),
                }),
            )
        }
        ("", _) => Answer::nothing(),
        (_, "") => Answer::values("", typed, ["on=", "after=", "times=", "carried-out="]),
        (_, "on=") => Answer::values(name, typed, Operation::ALL.iter().map(|operation| operation.id)),
        (_, "carried-out=") => Answer::values(name, typed, ["yes", "no"]),
        (_, "times=") => Answer::values(name, typed, ["always"]),
        _ => Answer::nothing(),
    };
    answer.after(before)
}

/// The name of a parameter of the operation that is typed.
fn parameter(typed: &Typed<'_>, value: &str) -> Answer {
    let Some(operation) = typed.values("operation").next().and_then(Operation::by_id) else { return Answer::nothing() };
    let elsewhere = operation.query.iter().chain(operation.headers).copied();
    let names = operation.path_parameters().chain(elsewhere).map(|name| format!("{name}="));
    let given: Vec<_> = typed.values("parameters").chain([value]).collect();
    Answer::values("", value, names.filter(|name| !given.iter().any(|given| given.starts_with(name))))
}

/// A topic of the help, or a command.
fn topic(typed: &Typed<'_>, value: &str) -> Answer {
    let mut command = typed.program;
    for word in typed.values("topic") {
        let Some(below) = command.find_subcommand(word) else { return Answer::nothing() };
        command = below;
    }
    let topics = Topic::all().filter(|_| typed.values("topic").next().is_none());
    let topics = topics.map(|topic| Candidate::new(topic.get_name(), topic.get_help().cloned().unwrap_or_default()));
    Answer::values("", value, commands(command).chain(topics))
}
