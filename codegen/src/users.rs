//! The user in the path of an operation, the parameter `user_id`: the user of the session, or one that the caller names.

use serde_json::Value;

use super::document::{Document, Operation};
use super::envelope::{Envelope, parameters};
use super::ids;
use super::policy::Auth;

/// The extensions of the parameter.
pub(crate) const EXTENSIONS: [&str; 2] = ["x-bunq-default", "x-bunq-value"];

/// The user in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathUser {
    /// The user of the session. The client fills it in; no method and no call by name takes it.
    Session,
    /// The user that the caller names. If the caller names none, it is the user of the session.
    Chosen,
}

impl PathUser {
    /// What a parameter is.
    pub(crate) fn of(parameter: &Value) -> Option<Self> {
        let of_session = |name: &str| parameter[name] == "session";
        let is_filled_in = of_session("x-bunq-value");
        is_filled_in.then_some(Self::Session).or_else(|| of_session("x-bunq-default").then_some(Self::Chosen))
    }

    /// What the path of an operation has.
    pub(crate) fn in_path(document: &Document, operation: &Operation<'_>) -> Option<Self> {
        parameters(document, operation).find_map(Self::of)
    }
}

/// What is wrong with the user in the path of an operation.
pub(crate) fn problem(
    document: &Document,
    operation: &Operation<'_>,
    auth: Auth,
    envelope: &Envelope,
) -> Option<&'static str> {
    let mut users = parameters(document, operation).filter(|parameter| PathUser::of(parameter).is_some());
    let user = users.next()?;
    let is_in_path = user["in"] == "path" && user["name"] == "user_id";
    if !is_in_path || ids::kind_of(document, &user["schema"]).is_none() || users.next().is_some() {
        return Some("the user of its session is one id in its path, `user_id`: refer to one parameter for it");
    }
    if auth != Auth::Session {
        return Some("it takes no token of a session, which could have a user: leave the user out of its path");
    }
    let is_repeated = envelope.repeats.iter().any(|(_, source)| source == "user_id");
    is_repeated
        .then_some("its `user_id` is not known when its response is read: leave it out of what x-bunq-result repeats")
}
