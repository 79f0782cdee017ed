//! The user that a session acts for.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{CreateSessionOutput, User, UserId, UserReference};

/// The user of a session: bunq's paths begin with `/user/{id}`.
///
/// Its `Debug` does not show the name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionUser {
    /// What kind of user it is.
    pub kind: UserKind,
    /// The id for paths. For a provisioned user it is the id of the `UserApiKey`, not of the person.
    pub id: UserId,
    /// For an API key, the id of the user that it acts for. bunq may name a provisioned user by it: in objects, and in its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<UserId>,
    /// The name that bunq shows for the user. For an API key it is the name of the user that it acts for.
    pub display_name: Option<String>,
}

/// The kinds of users that a session can act for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UserKind {
    /// A company, such as a partner.
    Company,
    /// A person.
    Person,
    /// An API key with which one user acts for another, as a partner does for a provisioned user.
    ApiKey,
    /// A payment service provider.
    PaymentServiceProvider,
}

impl fmt::Debug for SessionUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionUser").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Returns the user in the response to `create_session`, if it has an id and is of a known kind.
pub(super) fn user_of(output: &CreateSessionOutput) -> Option<SessionUser> {
    if let Some(key) = &output.user_api_key {
        let granted_by = || key.granted_by_user.iter().flat_map(users);
        let display_name = granted_by().find_map(|user| user.display_name.clone());
        let granted_by = granted_by().find_map(|user| user.id);
        return Some(SessionUser { kind: UserKind::ApiKey, id: key.id?, granted_by, display_name });
    }
    let kinds = [
        (UserKind::Company, &output.user_company),
        (UserKind::Person, &output.user_person),
        (UserKind::PaymentServiceProvider, &output.user_payment_service_provider),
    ];
    kinds.into_iter().find_map(|(kind, user)| {
        let user = user.as_ref()?;
        Some(SessionUser { kind, id: user.id?, granted_by: None, display_name: user.display_name.clone() })
    })
}

/// Returns how long the session lasts: the shortest timeout among the users in the response.
pub(super) fn session_timeout(output: &CreateSessionOutput) -> Option<Duration> {
    let own = [&output.user_company, &output.user_person, &output.user_payment_service_provider];
    let key = output.user_api_key.as_ref();
    let references = key.into_iter().flat_map(|key| [&key.requested_by_user, &key.granted_by_user]).flatten();
    let all = own.into_iter().flatten().chain(references.flat_map(users));
    let seconds = all.filter_map(|user| user.session_timeout.and_then(|seconds| u64::try_from(seconds).ok()));
    seconds.min().map(Duration::from_secs)
}

fn users(reference: &UserReference) -> impl Iterator<Item = &User> {
    [&reference.user_company, &reference.user_person, &reference.user_payment_service_provider].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn output(name: &str, user: serde_json::Value) -> CreateSessionOutput {
        let only = |other: &str| if name == other { user.clone() } else { json!(null) };
        CreateSessionOutput {
            token: from_value(json!({"token": "t"})).unwrap(),
            user_company: from_value(only("UserCompany")).unwrap(),
            user_person: from_value(only("UserPerson")).unwrap(),
            user_api_key: from_value(only("UserApiKey")).unwrap(),
            user_payment_service_provider: from_value(only("UserPaymentServiceProvider")).unwrap(),
        }
    }

    #[test]
    fn the_timeout_is_read_from_any_kind_of_user() {
        test_timeout::start();
        for (name, user, seconds) in [
            ("UserCompany", json!({"session_timeout": 7}), Some(7)),
            ("UserPerson", json!({"id": 1, "session_timeout": 7}), Some(7)),
            ("UserPaymentServiceProvider", json!({"session_timeout": 7}), Some(7)),
            ("UserApiKey", json!({"requested_by_user": {"UserCompany": {"session_timeout": 7}}}), Some(7)),
            ("UserApiKey", json!({"granted_by_user": {"UserPerson": {"session_timeout": 7}}}), Some(7)),
            (
                "UserApiKey",
                json!({"requested_by_user": {"UserCompany": {"session_timeout": 9}},
                       "granted_by_user": {"UserPerson": {"session_timeout": 7}}}),
                Some(7),
            ),
            ("UserCompany", json!({"session_timeout": -1}), None),
            ("UserCompany", json!({}), None),
        ] {
            assert_eq!(session_timeout(&output(name, user.clone())), seconds.map(Duration::from_secs), "{name} {user}");
        }
    }

    #[test]
    fn the_user_is_read_from_any_kind_of_user() {
        test_timeout::start();
        let id = |id: u64| UserId::try_from(id).unwrap();
        let user = |kind, granted_by, name: &str| {
            Some(SessionUser { kind, id: id(7), granted_by, display_name: Some(name.into()) })
        };
        for (name, item, expected) in [
            ("UserCompany", json!({"id": 7, "display_name": "Acme"}), user(UserKind::Company, None, "Acme")),
            ("UserPerson", json!({"id": 7, "display_name": "Ada"}), user(UserKind::Person, None, "Ada")),
            (
                "UserApiKey",
                json!({"id": 7, "granted_by_user": {"UserPerson": {"id": 8, "display_name": "Ada"}},
                       "requested_by_user": {"UserCompany": {"id": 9, "display_name": "Acme"}}}),
                user(UserKind::ApiKey, Some(id(8)), "Ada"),
            ),
            ("UserCompany", json!({"display_name": "Acme"}), None),
        ] {
            assert_eq!(user_of(&output(name, item.clone())), expected, "{name} {item}");
        }
        assert_eq!(
            format!("{:?}", user(UserKind::Company, None, "Acme").unwrap()),
            "SessionUser { kind: Company, id: UserId(7), .. }"
        );
    }
}
