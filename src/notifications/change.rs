//! What is to become of one filter, and which filters cannot be.

use std::fmt;

use reqwest::Url;

use crate::environment::{Environment, is_loopback};
use crate::error::Error;
use crate::text::url_without_path;
use crate::transport::rate_limit::Role;
use crate::types::{NotificationCategory, NotificationFilter, NotificationTarget};

/// The greatest number of targets of a category.
const MOST_TARGETS: usize = 2;

/// The greatest length of the name of a category. bunq documents none.
const MAX_CATEGORY: usize = 100;

/// How many filters a message names.
const NAMED: usize = 10;

/// What is to become of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    There,
    Gone,
}

/// A change of one filter among all.
pub(super) struct FilterChange {
    category: NotificationCategory,
    target: NotificationTarget,
    url: Url,
    wanted: Wanted,
}

impl FilterChange {
    pub(super) fn new(
        category: NotificationCategory,
        target: NotificationTarget,
        wanted: Wanted,
    ) -> Result<Self, Error> {
        let url = parsed(&target)?;
        Ok(Self { category, target, url, wanted })
    }

    /// Whether this is the filter, perhaps with its URL in another spelling.
    pub(super) fn is_about(&self, filter: &NotificationFilter) -> bool {
        let target = filter.notification_target.as_str();
        filter.category == self.category && Url::parse(target).is_ok_and(|url| url == self.url)
    }

    /// Whether these filters have the change.
    pub(super) fn is_made(&self, filters: &[NotificationFilter]) -> bool {
        filters.iter().any(|filter| self.is_about(filter)) == (self.wanted == Wanted::There)
    }

    /// These filters with the change. The others are as they came.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the category has two other targets.
    pub(super) fn merged(&self, filters: &[NotificationFilter]) -> Result<Vec<NotificationFilter>, Error> {
        let mut merged: Vec<_> = filters.iter().filter(|filter| !self.is_about(filter)).cloned().collect();
        if self.wanted == Wanted::Gone {
            return Ok(merged);
        }
        let of_category = merged.iter().filter(|filter| filter.category == self.category);
        let mut others: Vec<_> = of_category.map(|filter| filter.notification_target.as_str()).collect();
        others.sort_unstable();
        others.dedup();
        if others.len() >= MOST_TARGETS {
            let shown: Vec<_> = others.iter().map(|target| url_without_path(target)).collect();
            let problem = format_args!(
                "{} has {} targets, {}, and bunq takes no more than {MOST_TARGETS}: remove one first",
                self.category,
                others.len(),
                shown.join(" and ")
            );
            let found = std::sync::Arc::new(filters.to_vec());
            return Err(Error::invalid_input("url", problem).with_last_seen(found));
        }
        merged.push(NotificationFilter::new(self.category.clone(), self.target.clone()));
        Ok(merged)
    }
}

impl fmt::Display for FilterChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.wanted {
            Wanted::There => "the filter",
            Wanted::Gone => "the removal of the filter",
        };
        write!(f, "{what} of {} to {}", self.category, url_without_path(self.target.as_str()))
    }
}

/// Filters in the words of a message.
pub(super) fn listed(filters: &[NotificationFilter]) -> String {
    let named = filters.iter().take(NAMED);
    let named =
        named.map(|filter| format!("{} to {}", filter.category, url_without_path(filter.notification_target.as_str())));
    match (filters.len(), named.collect::<Vec<_>>().join(", ")) {
        (0, _) => "none".to_owned(),
        (..=NAMED, named) => named,
        (all, named) => format!("{named} and {} more", all - NAMED),
    }
}

pub(super) fn parsed(target: &NotificationTarget) -> Result<Url, Error> {
    let refused = |error| Error::invalid_input("url", format_args!("it is no URL: {error}"));
    Url::parse(target.as_str()).map_err(refused)
}

/// Refuses a target that bunq does not call, or must not.
pub(super) fn check_url(target: &NotificationTarget, environment: Environment) -> Result<(), Error> {
    let url = parsed(target)?;
    let problem = if !url.username().is_empty() || url.password().is_some() {
        "it has credentials, which whoever reads the filters would see: leave out what stands before the `@`"
    } else if url.scheme() == "https" {
        return Ok(());
    } else if !is_loopback(&url) {
        "it is not HTTPS, and bunq calls nothing else"
    } else if environment == Environment::Production {
        "it is not HTTPS: plain HTTP to this machine is for a client of the sandbox environment"
    } else {
        return Ok(());
    };
    Err(Error::invalid_input("url", problem))
}

/// The category that the document knows by this name, if it does.
pub(super) fn as_known(category: NotificationCategory) -> NotificationCategory {
    let known = NotificationCategory::KNOWN.iter().find(|known| known.as_str() == category.as_str());
    known.cloned().unwrap_or(category)
}

/// Refuses a category that bunq does not have, or not with this session.
pub(super) fn check_category(category: &NotificationCategory, role: Role) -> Result<(), Error> {
    let of_users = "it is a user's: set it with the session of the user, not with the partner's";
    let problem = match (category, role) {
        (NotificationCategory::PartnerUserProvision, Role::User) => {
            "it is the partner's: set it with the partner's session, not with a user's"
        }
        (NotificationCategory::UserOnboarding, Role::Partner)
        | (NotificationCategory::UserInformationInquiry, Role::Partner)
        | (NotificationCategory::Support, Role::Partner) => of_users,
        (NotificationCategory::Unknown(name), _) if !is_name(name) => {
            "the name of a category has capital letters, digits and `_` alone, as in PARTNER_USER_PROVISION"
        }
        (
            NotificationCategory::PartnerUserProvision
            | NotificationCategory::UserOnboarding
            | NotificationCategory::UserInformationInquiry
            | NotificationCategory::Support
            | NotificationCategory::Unknown(_),
            Role::Partner | Role::User,
        ) => return Ok(()),
    };
    Err(Error::invalid_input("category", problem))
}

fn is_name(name: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.len() <= MAX_CATEGORY && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(is_of_name)
}

/// Whether an operation reads what calls of this category are about.
pub(super) fn is_confirmable(category: &NotificationCategory) -> bool {
    match category {
        NotificationCategory::PartnerUserProvision
        | NotificationCategory::UserOnboarding
        | NotificationCategory::UserInformationInquiry => true,
        NotificationCategory::Support | NotificationCategory::Unknown(_) => false,
    }
}
