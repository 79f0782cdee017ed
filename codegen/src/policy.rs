//! Reads the calling rules of an operation from its `x-bunq-*` members.

use serde_json::{Value, json};

use super::document::{Diagnostic, Operation};

/// The extensions of an operation.
pub(crate) const EXTENSIONS: [&str; 11] = [
    "x-bunq-auth",
    "x-bunq-content-type",
    "x-bunq-idempotent",
    "x-bunq-known-from",
    "x-bunq-look",
    "x-bunq-managed",
    "x-bunq-questions",
    "x-bunq-rate-limit",
    "x-bunq-refusal",
    "x-bunq-result",
    "x-bunq-user",
];

/// The token that a call carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    None,
    Installation,
    Session,
}

/// Whose session an operation takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionOf {
    Partner,
    User,
    Either,
}

/// The calling rules of an operation.
pub(crate) struct Policy {
    pub(crate) auth: Auth,
    /// `None` if it takes no session.
    pub(crate) session_of: Option<SessionOf>,
    pub(crate) idempotent: bool,
    /// The client makes the call by itself to open or end a session; users of the crate cannot.
    pub(crate) managed: bool,
    pub(crate) calls: u32,
    pub(crate) seconds: u32,
}

impl Policy {
    pub(crate) fn read(operation: &Operation<'_>) -> Result<Self, Diagnostic> {
        let value = operation.value;
        let auth = match value["x-bunq-auth"].as_str() {
            Some("none") => Auth::None,
            Some("installation") => Auth::Installation,
            Some("session") => Auth::Session,
            _ => return Err(operation.diagnostic("set x-bunq-auth to none, installation or session")),
        };
        let session_of = match (auth, value["x-bunq-user"].as_str()) {
            (Auth::Session, Some("partner")) => Some(SessionOf::Partner),
            (Auth::Session, Some("user")) => Some(SessionOf::User),
            (Auth::Session, Some("either")) => Some(SessionOf::Either),
            (Auth::Session, _) => {
                return Err(
                    operation.diagnostic("say whose session it takes: set x-bunq-user to partner, user or either")
                );
            }
            _ if value.get("x-bunq-user").is_some() => {
                return Err(operation.diagnostic("it takes no session: remove x-bunq-user"));
            }
            _ => None,
        };
        let security = match auth {
            Auth::None => json!([]),
            Auth::Installation => json!([{"installationToken": []}]),
            Auth::Session => json!([{"sessionToken": []}]),
        };
        if value["security"] != security {
            return Err(operation.diagnostic(format_args!("set security to {security}, as its x-bunq-auth says")));
        }
        let idempotent = value["x-bunq-idempotent"]
            .as_bool()
            .ok_or_else(|| operation.diagnostic("set x-bunq-idempotent to true or false"))?;
        if operation.method == "get" && !idempotent {
            return Err(operation.diagnostic("a GET changes nothing: set x-bunq-idempotent to true"));
        }
        let managed = match value.get("x-bunq-managed") {
            None => false,
            Some(Value::Bool(true)) => true,
            Some(_) => return Err(operation.diagnostic("set x-bunq-managed to true, or remove it")),
        };
        if auth != Auth::Session && !managed {
            return Err(operation.diagnostic(
                "it does not take the token of the session, so only the client itself can call it: set x-bunq-managed to true",
            ));
        }
        let limit = value["x-bunq-rate-limit"].as_object().filter(|limit| limit.len() == 2);
        let positive = |member: &str| {
            limit?.get(member).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0)
        };
        let (Some(calls), Some(seconds)) = (positive("calls"), positive("seconds")) else {
            return Err(operation
                .diagnostic("set x-bunq-rate-limit to {calls, seconds}, both positive integers, and nothing else"));
        };
        Ok(Self { auth, session_of, idempotent, managed, calls, seconds })
    }
}
