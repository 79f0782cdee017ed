//! The page of a listing: how many, from where, and the links around it.

use bunq_partner::types::{Cursor, PageSize};
use serde_json::{Value, json};

use crate::input;
use crate::objects::table::Stored;
use crate::wire::response::Refusal;
use crate::wire::routes::ROOT;

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

/// What part of a listing is asked for.
pub(crate) struct Window {
    count: usize,
    cursor: Option<Cursor>,
}

impl Window {
    /// Reads the query of a listing of these objects.
    pub(crate) fn of(query: Option<&str>, what: &str) -> Result<Self, Refusal> {
        let (mut size, mut around) = (None, None);
        for (name, value) in input::query_parameters(query.unwrap_or_default()) {
            match name.as_str() {
                "count" => size = Some(count(&value)?),
                "older_id" | "newer_id" => around = Some(cursor(&name, &value, around)?),
                _ => {
                    let name = input::shown(&name.into());
                    return Err(Refusal::bad_request(format!("A listing of {what} knows no parameter {name}.")));
                }
            }
        }
        Ok(Self { count: items_on_a_page(size), cursor: around })
    }

    /// The page of these objects, which are in order, oldest first. It has the newest first, and the links around it, with this path, which may have filters.
    pub(crate) fn page<'a, T>(
        &self,
        all: &[&'a Stored<T>],
        path: &str,
    ) -> Result<(Vec<&'a Stored<T>>, Value), Refusal> {
        let newest_first = all.iter().rev().copied();
        let page: Vec<_> = match self.cursor {
            None => newest_first.take(self.count).collect(),
            Some(Cursor::OlderThan(id)) => {
                newest_first.filter(|object| object.id < id.cast_unsigned()).take(self.count).collect()
            }
            Some(Cursor::NewerThan(id)) => {
                let newer = all.iter().copied().filter(|object| object.id > id.cast_unsigned());
                let mut page: Vec<_> = newer.take(self.count).collect();
                page.reverse();
                page
            }
            Some(other) => return Err(Refusal::not_implemented(format_args!("the cursor {other}"))),
        };
        let around = page.first().zip(page.last()).map(|(newest, oldest)| Around {
            newest: newest.id,
            oldest: oldest.id,
            has_newer: all.last().is_some_and(|last| last.id > newest.id),
            has_older: all.first().is_some_and(|first| first.id < oldest.id),
        });
        let count = self.count;
        let joint = if path.contains('?') { '&' } else { '?' };
        Ok((page, links(around, |cursor, id| format!("{ROOT}{path}{joint}count={count}&{cursor}={id}"))))
    }
}
