//! The page of a listing: how many, from where, and the links around it.

use bunq_partner::types::{Cursor, PageSize};
use serde_json::{Value, json};

use crate::input;
use crate::wire::response::Refusal;

const DEFAULT_COUNT: usize = 10;

/// Says that a parameter has a value that it must not have.
pub(crate) fn invalid(name: &str, value: &str, what: &str) -> Refusal {
    let value = input::shown(&value.into());
    Refusal::bad_request(format!("{name} has the value {value}: it must be {what}."))
}

/// The value of `count`.
pub(crate) fn count(value: &str) -> Result<PageSize, Refusal> {
    let count = input::number(value).and_then(|count| PageSize::new(count).ok());
    count.ok_or_else(|| invalid("count", value, "a number from 1 to 200"))
}

/// How many items a page has.
pub(crate) fn items_on_a_page(count: Option<PageSize>) -> usize {
    count.and_then(|count| count.get().try_into().ok()).unwrap_or(DEFAULT_COUNT)
}

/// The cursor of the parameter `older_id` or `newer_id`. `before` is the one that the listing has already.
pub(crate) fn cursor(name: &str, value: &str, before: Option<Cursor>) -> Result<Cursor, Refusal> {
    if before.is_some() {
        return Err(Refusal::bad_request("older_id and newer_id exclude each other."));
    }
    let cursor = format!("{name}={value}").parse().ok().filter(|_| input::number(value).is_some());
    cursor.ok_or_else(|| invalid(name, value, "an id"))
}

/// The ids at both ends of a page, and whether others beyond them are listed too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    pub(crate) newest: u64,
    pub(crate) oldest: u64,
    pub(crate) has_newer: bool,
    pub(crate) has_older: bool,
}

/// The links around a page; `None`: it is empty. `url` makes that of a cursor and an id.
pub(crate) fn links(page: Option<Around>, url: impl Fn(&str, u64) -> String) -> Value {
    let Some(page) = page else {
        return json!({ "future_url": null, "newer_url": null, "older_url": null });
    };
    let newer = url("newer_id", page.newest);
    json!({
        "future_url": newer,
        "newer_url": page.has_newer.then_some(&newer),
        "older_url": page.has_older.then(|| url("older_id", page.oldest)),
    })
}
