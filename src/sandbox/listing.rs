//! The query of a listing, and the links to the pages around a page.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Pace;
use super::answer::Refusal;
use super::clock::Numbers;
use super::input;
use super::life_cycle::Status;
use super::provision::Provision;
use super::routes::PROVISIONS;

const DEFAULT_COUNT: usize = 10;
const LARGEST_COUNT: u64 = 200;

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursor {
    /// At the newest.
    Newest,
    /// Below this id.
    OlderThan(u64),
    /// Above this id.
    NewerThan(u64),
}

/// What is asked of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) cursor: Cursor,
    pub(super) count: usize,
    /// Empty: every status.
    statuses: Vec<Status>,
    external_uuid: Option<Uuid>,
}

impl Listing {
    pub(super) fn from_query(query: Option<&str>) -> Result<Self, Refusal> {
        let mut listing =
            Self { cursor: Cursor::Newest, count: DEFAULT_COUNT, statuses: Vec::new(), external_uuid: None };
        let mut seen = Vec::new();
        for (name, value) in input::query_parameters(query.unwrap_or_default()) {
            if seen.contains(&name) {
                let hint = if name == "status" { " Several statuses go into one, with commas." } else { "" };
                let name = input::shown(&name.into());
                return Err(Refusal::bad_request(format!("The parameter {name} stands there twice.{hint}")));
            }
            let invalid = |what: &str| {
                let value = input::shown(&value.as_str().into());
                Refusal::bad_request(format!("{name} has the value {value}: it must be {what}."))
            };
            match name.as_str() {
                "status" => listing.statuses = statuses(&value)?,
                "external_uuid" => {
                    listing.external_uuid = Some(input::uuid(&value).ok_or_else(|| invalid("a UUID"))?);
                }
                "count" => {
                    let count = input::number(&value).filter(|count| (1..=LARGEST_COUNT).contains(count));
                    let count = count.and_then(|count| usize::try_from(count).ok());
                    listing.count = count.ok_or_else(|| invalid("a number from 1 to 200"))?;
                }
                "older_id" | "newer_id" if listing.cursor != Cursor::Newest => {
                    return Err(Refusal::bad_request("older_id and newer_id exclude each other."));
                }
                "older_id" => listing.cursor = Cursor::OlderThan(id(&value).ok_or_else(|| invalid("an id"))?),
                "newer_id" => listing.cursor = Cursor::NewerThan(id(&value).ok_or_else(|| invalid("an id"))?),
                _ => {
                    let name = input::shown(&name.into());
                    return Err(Refusal::bad_request(format!("A listing knows no parameter {name}.")));
                }
            }
            seen.push(name);
        }
        Ok(listing)
    }

    /// Whether the filters let `provision` through, as it is by now.
    pub(super) fn admits(&self, provision: &mut Provision, pace: Pace, now: Timestamp, numbers: &mut Numbers) -> bool {
        provision.catch_up(pace, now, numbers);
        (self.statuses.is_empty() || self.statuses.contains(&provision.status()))
            && self.external_uuid.is_none_or(|uuid| uuid == provision.external_uuid)
    }

    /// The links around a page; `None`: it is empty.
    pub(super) fn pagination(&self, page: Option<Around>) -> Value {
        let Some(page) = page else {
            return json!({ "future_url": null, "newer_url": null, "older_url": null });
        };
        let newer = self.url("newer_id", page.newest);
        json!({
            "future_url": newer,
            "newer_url": page.has_newer.then_some(&newer),
            "older_url": page.has_older.then(|| self.url("older_id", page.oldest)),
        })
    }

    /// The same listing from another cursor, as a relative URL.
    fn url(&self, cursor: &str, id: u64) -> String {
        let mut url = format!("{PROVISIONS}?");
        if !self.statuses.is_empty() {
            let names: Vec<_> = self.statuses.iter().map(|status| status.name()).collect();
            url += &format!("status={}&", names.join(","));
        }
        if let Some(uuid) = self.external_uuid {
            url += &format!("external_uuid={uuid}&");
        }
        url + &format!("count={}&{cursor}={id}", self.count)
    }
}

/// The ids at both ends of a page, and whether the filters let anything through beyond them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    pub(super) newest: u64,
    pub(super) oldest: u64,
    pub(super) has_newer: bool,
    pub(super) has_older: bool,
}

fn id(text: &str) -> Option<u64> {
    input::number(text).filter(|id| *id > 0)
}

fn statuses(names: &str) -> Result<Vec<Status>, Refusal> {
    let status = |name: &str| {
        Status::named(name).ok_or_else(|| {
            let name = input::shown(&name.into());
            Refusal::bad_request(format!("status has the value {name}: there is no such status."))
        })
    };
    names.split(',').map(status).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_in_full() {
        let listing = Listing::from_query(Some(
            "status=CREATED%2CACTIVE&count=200&older_id=7&external_uuid=550e8400-e29b-41d4-a716-446655440000",
        ))
        .unwrap();
        assert_eq!(listing.statuses, [Status::Created, Status::Active]);
        assert_eq!((listing.count, listing.cursor), (200, Cursor::OlderThan(7)));
        assert!(listing.external_uuid.is_some());
        assert_eq!(Listing::from_query(None).unwrap().count, 10);
    }

    #[test]
    fn a_query_that_is_wrong_is_refused_with_the_reason() {
        for (query, complaint) in [
            ("status=", r#"status has the value """#),
            ("status=CREATED,created", r#"status has the value "created""#),
            ("status=CREATED&status=ACTIVE", r#"The parameter "status" stands there twice. Several"#),
            ("count=0", r#"count has the value "0""#),
            ("count=201", r#"count has the value "201""#),
            ("older_id=x", r#"older_id has the value "x""#),
            ("newer_id=-1", r#"newer_id has the value "-1""#),
            ("newer_id=0", r#"newer_id has the value "0""#),
            ("newer_id=1&older_id=2", "older_id and newer_id exclude"),
            ("external_uuid=1", r#"external_uuid has the value "1""#),
            ("page=2", r#"A listing knows no parameter "page""#),
        ] {
            let refusal = Listing::from_query(Some(query)).unwrap_err();
            assert!(refusal.status == 400 && refusal.message.starts_with(complaint), "{}", refusal.message);
        }
    }

    #[test]
    fn links_keep_the_filters_and_end_where_there_is_nothing_more() {
        let listing = Listing::from_query(Some("status=CREATED,ACTIVE&count=2&older_id=9")).unwrap();
        let around = |has_more| Some(Around { newest: 8, oldest: 7, has_newer: has_more, has_older: has_more });
        assert_eq!(
            listing.pagination(around(true)),
            json!({
                "future_url": "/v1/partner-user-provision?status=CREATED,ACTIVE&count=2&newer_id=8",
                "newer_url": "/v1/partner-user-provision?status=CREATED,ACTIVE&count=2&newer_id=8",
                "older_url": "/v1/partner-user-provision?status=CREATED,ACTIVE&count=2&older_id=7",
            })
        );
        let whole = listing.pagination(around(false));
        assert!(whole["future_url"].is_string() && whole["newer_url"].is_null() && whole["older_url"].is_null());
        assert!(listing.pagination(None)["future_url"].is_null());
    }
}
