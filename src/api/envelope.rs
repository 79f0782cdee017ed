//! How the generated methods unpack an envelope. Problems are returned as texts.

use std::fmt::Display;

/// Returns what `pick` finds in the first item that has it.
pub(super) fn first<I, T>(items: Vec<I>, pick: impl Fn(I) -> Option<T>, expected: &str) -> Result<T, String> {
    items.into_iter().find_map(pick).ok_or_else(|| format!("the response has no {expected}"))
}

/// Returns a member that must be present.
pub(super) fn required<T>(member: Option<T>, name: &str) -> Result<T, String> {
    member.ok_or_else(|| format!("the response has no {name}"))
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
