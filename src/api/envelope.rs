//! How the generated methods unpack an envelope. Problems are returned as texts.

use std::fmt::Display;

use crate::types::{Id, InvalidValue, Pagination};

/// Returns what `pick` finds in the first item that has it.
pub(super) fn first<I, T>(items: Vec<I>, pick: impl Fn(I) -> Option<T>, expected: &str) -> Result<T, String> {
    // These loops are compiled for each operation, and a chain of iterators is several times as much.
    for item in items {
        if let Some(found) = pick(item) {
            return Ok(found);
        }
    }
    Err(missing(expected))
}

/// Returns what `pick` finds in each item that has it.
pub(super) fn each<I, T>(items: Vec<I>, pick: impl Fn(I) -> Option<T>) -> Vec<T> {
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        if let Some(item) = pick(item) {
            found.push(item);
        }
    }
    found
}

/// Checks that a list, which has no parameters for pages, does not go on at another page.
pub(super) fn is_whole(pagination: Option<Pagination>) -> Result<(), String> {
    match pagination.and_then(|pages| pages.older_url) {
        None => Ok(()),
        Some(_) => {
            Err("the response is a part of the list: there is an older page, which bunq documents no parameters for"
                .into())
        }
    }
}

/// Returns a member that must be present.
pub(super) fn required<T>(member: Option<T>, name: &str) -> Result<T, String> {
    member.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> String {
    format!("the response has no {name}")
}

/// Returns the id that an `Id` holds, as one of its kind.
pub(super) fn of_kind<T: TryFrom<i64, Error = InvalidValue>>(found: Id) -> Result<T, String> {
    found.id.try_into().map_err(|error: InvalidValue| format!("the response has no id: {error}"))
}

/// Checks that a member of the response, if present, is equal to the parameter of the request.
pub(super) fn repeats(name: &str, received: Option<&impl Display>, asked: &impl Display) -> Result<(), String> {
    match received.map(ToString::to_string) {
        Some(received) if received != asked.to_string() => {
            Err(format!("the response is about {name} {received}, not {asked}"))
        }
        _ => Ok(()),
    }
}

/// Joins values into one query parameter; `None` if there are none.
pub(super) fn joined(values: impl Iterator<Item = String>) -> Option<String> {
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(","))
}
