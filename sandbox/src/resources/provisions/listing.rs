//! The query of a listing, and the links to the pages around a page.

use bunq_partner::Operation;
use bunq_partner::types::{Cursor, ListProvisionsQuery, ProvisionStatus};
use jiff::Timestamp;
use serde_json::Value;

use crate::clock::Numbers;
use crate::input;
use crate::resources::paging::{self, Around};
use crate::resources::provisions::provision::{StoredProvision, Terms};
use crate::wire::response::Refusal;
use crate::wire::routes::ROOT;

/// The query of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listing(ListProvisionsQuery);

impl Listing {
    pub(crate) fn from_query(query: Option<&str>) -> Result<Self, Refusal> {
        let mut listing = ListProvisionsQuery::default();
        let mut seen = Vec::new();
        for (name, value) in input::query_parameters(query.unwrap_or_default()) {
            let shown_name = input::shown(&name.as_str().into());
            if !Operation::LIST_PROVISIONS.query.contains(&name.as_str()) {
                return Err(Refusal::bad_request(format!("A listing knows no parameter {shown_name}.")));
            }
            if seen.contains(&name) {
                let hint = if name == "status" { " Several statuses go into one, with commas." } else { "" };
                return Err(Refusal::bad_request(format!("The parameter {shown_name} is there twice.{hint}")));
            }
            match name.as_str() {
                "status" => listing.status = statuses(&value)?,
                "external_uuid" => {
                    listing.external_uuid =
                        Some(input::uuid(&value).ok_or_else(|| paging::invalid(&name, &value, "a UUID"))?);
                }
                "count" => listing.count = Some(paging::count(&value)?),
                "older_id" | "newer_id" => listing.cursor = Some(paging::cursor(&name, &value, listing.cursor)?),
                other => return Err(Refusal::not_implemented(format_args!("the parameter {other} of a listing"))),
            }
            seen.push(name);
        }
        Ok(Self(listing))
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.0.cursor
    }

    pub(crate) fn count(&self) -> usize {
        paging::items_on_a_page(self.0.count)
    }

    /// Whether `provision` matches the filters, after the steps that are due by now.
    pub(crate) fn admits(
        &self,
        provision: &mut StoredProvision,
        terms: Terms,
        now: Timestamp,
        numbers: &mut Numbers,
    ) -> bool {
        provision.catch_up(terms, now, numbers);
        (self.0.status.is_empty() || self.0.status.contains(&provision.status()))
            && self.0.external_uuid.is_none_or(|uuid| uuid == provision.external_uuid)
    }

    /// The links around a page; `None`: it is empty.
    pub(crate) fn pagination(&self, page: Option<Around>) -> Value {
        paging::links(page, |cursor, id| self.url(cursor, id))
    }

    /// The same listing from another cursor, as a relative URL.
    fn url(&self, cursor: &str, id: u64) -> String {
        let mut url = format!("{ROOT}{}?", Operation::LIST_PROVISIONS.path);
        if !self.0.status.is_empty() {
            let names: Vec<_> = self.0.status.iter().map(ProvisionStatus::as_str).collect();
            url += &format!("status={}&", names.join(","));
        }
        if let Some(uuid) = self.0.external_uuid {
            url += &format!("external_uuid={uuid}&");
        }
        url + &format!("count={}&{cursor}={id}", self.count())
    }
}

fn statuses(names: &str) -> Result<Vec<ProvisionStatus>, Refusal> {
    let status = |name: &str| {
        let shown = input::shown(&name.into());
        match serde_json::from_value(name.into()) {
            Ok(ProvisionStatus::Unknown(_)) | Err(_) => {
                Err(Refusal::bad_request(format!("status has the value {shown}: there is no such status.")))
            }
            Ok(status) => Ok(status),
        }
    };
    names.split(',').map(status).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_query_parameter_is_read() {
        test_timeout::start();
        let listing = Listing::from_query(Some(
            "status=CREATED%2CACTIVE&count=200&older_id=7&external_uuid=550e8400-e29b-41d4-a716-446655440000",
        ))
        .unwrap();
        assert_eq!(listing.0.status, [ProvisionStatus::Created, ProvisionStatus::Active]);
        assert_eq!((listing.count(), listing.cursor()), (200, Some(Cursor::OlderThan(7))));
        assert!(listing.0.external_uuid.is_some());
        assert_eq!(Listing::from_query(None).unwrap().count(), 10);
    }

    #[test]
    fn every_parameter_of_the_document_is_implemented() {
        test_timeout::start();
        for name in Operation::LIST_PROVISIONS.query {
            let refusal = Listing::from_query(Some(&format!("{name}=?"))).unwrap_err();
            assert_eq!(refusal.status, 400, "{}", refusal.message);
        }
    }

    #[test]
    fn a_query_that_is_wrong_is_refused_with_the_reason() {
        test_timeout::start();
        for (query, complaint) in [
            ("status=", r#"status has the value """#),
            ("status=CREATED,created", r#"status has the value "created""#),
            ("status=CREATED&status=ACTIVE", r#"The parameter "status" is there twice. Several"#),
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
    fn links_keep_the_filters_and_end_with_the_list() {
        test_timeout::start();
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
